"""Plans on disk: trees whose search took long, found again by later processes.

An entry is a small JSON file in the folder `plans` of the cache folder, named by a hash of the
work: the labels and sizes of the contraction, the objective, the memory, the dtype and the
device. A tree from a longer search serves a request for a shorter one, or without a budget; one
for other memory never does. Files appear whole or not at all, so that any number of processes
may share the folder; one that does not read as a plan of that work is removed. The
entries used longest ago go first when there are too many. The environment variable
`TNET_PLAN_CACHE`, set to 0, turns all of it off.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from contraction.atomic import write_text
from contraction.cache_folder import cache_folder, wanted_folder
from contraction.errors import PlanError
from contraction.search.objectives import Objective
from contraction.search.problem import Found
from contraction.spec import Canonical
from contraction.tree import check_pairs

VARIABLE = "TNET_PLAN_CACHE"
VERSION = 2  # of the files, and of the search: older plans are not looked at
WORTH = 0.2  # seconds of search from which a plan is kept
MOST_FILES = 1000
MOST_BYTES = 64 << 20
LARGEST = 16 << 20  # bytes of one file
ABANDONED = 3600.0  # seconds after which a temporary file has no writer any more


def enabled() -> bool:
    """Tell whether plans are kept on disk: unless `TNET_PLAN_CACHE` is 0, off, no or false.

    Examples
    --------
    >>> enabled()
    True
    """
    return os.environ.get(VARIABLE, "").strip().lower() not in ("0", "off", "no", "false")


def plan_key(
    canonical: Canonical,
    objective: Objective,
    *,
    max_size: float = math.inf,
    dtype: str = "float64",
    device: str = "numpy",
    seed: int = 0,
) -> str:
    """Return the name of a piece of work: equal for equal structures, whatever their labels.

    Parameters
    ----------
    canonical, objective, seed
        What is contracted, what is made small, and the seed of the search.
    max_size
        Entries that may be alive at once.
    dtype, device
        For which the plan is timed; any text, such as "numpy" or "cupy NVIDIA H200".

    Examples
    --------
    >>> work = Canonical(((0, 1), (1, 2)), (0, 2), (2, 3, 4))
    >>> len(plan_key(work, Objective.TIME))
    64
    >>> plan_key(work, Objective.TIME) == plan_key(work, Objective.FLOPS)
    False
    """
    limit = None if max_size == math.inf else int(max_size)
    said = json.dumps([VERSION, *canonical, objective.value, limit, dtype, device, seed])
    return hashlib.sha256(said.encode()).hexdigest()


def load(key: str, canonical: Canonical, *, seconds: float | None = None) -> Found | None:
    """Return the tree stored for a piece of work, or None.

    Parameters
    ----------
    key
        From `plan_key`.
    canonical
        The work, against which the entry is checked.
    seconds
        What the search would be given: a tree that was searched for less long is not taken.
        None takes any.

    Cost: one small file, well below a millisecond for 50 inputs.
    """
    if not enabled():
        return None
    path = _path(wanted_folder(), key)
    try:
        if path.stat().st_size > LARGEST:
            raise ValueError("too large for a plan")
        found, searched = _read(path.read_text(encoding="utf-8"), key, canonical)
    except OSError:
        return None
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError, PlanError):
        with contextlib.suppress(OSError):
            path.unlink()
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # used just now
    return found if seconds is None or searched >= seconds else None


def store(key: str, found: Found, *, seconds: float) -> bool:
    """Keep a tree for later processes, and tell whether it was kept.

    Parameters
    ----------
    key
        From `plan_key`.
    found
        The tree, with the labels of the canonical form.
    seconds
        How long the search took, or was allowed to take; short ones are not worth a file.

    A folder that cannot be written to is no error: plans are found again by searching.
    """
    if seconds < WORTH or not enabled():
        return False
    data = {
        "version": VERSION,
        "key": key,
        "seconds": seconds,
        "pairs": found.pairs,
        "slices": found.slices,
        "log2_cost": found.log2_cost if math.isfinite(found.log2_cost) else None,
    }
    text = json.dumps({**data, "sum": _checksum(data)}, separators=(",", ":"))
    if len(text) > LARGEST:
        return False
    try:
        path = _path(cache_folder(), key)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_text(path, text + "\n")
        _tidy(path.parent)
    except (OSError, ValueError):  # a full disk, a folder that another user owns
        return False
    return True


def _path(folder: Path, key: str) -> Path:
    return folder / "plans" / f"{key}.json"


def _read(text: str, key: str, canonical: Canonical) -> tuple[Found, float]:
    data: Any = json.loads(text)
    if data["version"] != VERSION or data["key"] != key:
        raise ValueError("a plan of something else")
    if data.pop("sum") != _checksum(data):
        raise ValueError("damaged")
    pairs = tuple((_whole(i), _whole(j)) for i, j in data["pairs"])
    check_pairs(pairs, len(canonical.inputs))
    slices = tuple(_whole(x) for x in data["slices"])
    if len(set(slices)) < len(slices) or not all(0 <= x < len(canonical.sizes) for x in slices):
        raise ValueError("sliced labels that are not there")
    cost = math.inf if data["log2_cost"] is None else float(data["log2_cost"])
    return Found(pairs, slices, cost), float(data["seconds"])


def _checksum(data: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!r} is no whole number")
    return value


def _tidy(folder: Path) -> None:
    """Remove the files used longest ago while there are too many or they are too large."""
    kept = sorted(_files(folder), reverse=True)  # the newest first
    total = 0
    for number, (used, size, name) in enumerate(kept):
        total += size
        abandoned = name.endswith(".tmp") and time.time() - used > ABANDONED
        full = name.endswith(".json") and (number >= MOST_FILES or total > MOST_BYTES)
        if abandoned or full:
            with contextlib.suppress(OSError):  # another process was faster
                os.unlink(name)


def _files(folder: Path) -> Iterator[tuple[float, int, str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.is_file(follow_symlinks=False):
                    known = entry.stat(follow_symlinks=False)
                    yield known.st_mtime, known.st_size, entry.path
