"""What a report says beyond the search: fixed formats at the same error, where the error sits.

Both need the data, which a run folder does not hold.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np

import tnet
from contraction.arrays import as_array
from contraction.blas_threads import gram_flops, threads_for
from contraction.errors import CheckpointError, InputError, MemoryBudgetError
from contraction.folder_lock import run_lock
from structure_search.journal import RunRecord, read_run, write_baselines
from structure_search.reporting.completions import completions, task_again
from structure_search.reporting.figures import best_of
from structure_search.reporting.fixed_formats import CP_SECONDS, FixedFormat, fixed_formats
from structure_search.reporting.report_parts import task_of
from structure_search.reporting.residuals import read_residuals, write_residuals
from structure_search.run_folder import fingerprint

LARGEST = 2**24  # entries of the data: beyond, the comparison would take longer than many searches
LEAST = 1e-12  # no format is asked for less error: rounding alone may cost that


def level_of(run: RunRecord) -> float:
    """Return the error that the fixed formats are brought to: the allowed one, or the best's."""
    best = best_of(run)
    goal = run.settings["objective"].get("tol")
    level = goal if goal is not None else best.error if best is not None else 0.0
    return max(LEAST, float(level))


def is_compared(run: RunRecord) -> bool:
    """Tell whether the folder holds the comparison for its goal and its best network."""
    level = level_of(run)
    if completes(run):
        at = run.metrics.get("index")
        return bool(run.baselines) and all(row.get("beside") == at for row in run.baselines)
    known = read_residuals(run.folder)
    if known is None or known.index != run.metrics.get("index"):
        return False
    return bool(run.baselines) and all(row.get("tol") == level for row in run.baselines)


def completes(run: RunRecord) -> bool:
    """Tell whether entries are missing: then formats of equal size stand beside each other."""
    return task_of(run).get("name") == "completion"


def require_comparable(run: RunRecord) -> None:
    """Raise unless there is a network to compare, and data small enough.

    Raises
    ------
    InputError
        No network has been fitted yet, or entries are missing.
    MemoryBudgetError
        The data have more than `LARGEST` entries.
    """
    if best_of(run) is None or run.network_path is None:
        raise InputError("no network has been fitted yet.")
    task = task_of(run)
    if task.get("name", "decomposition") not in ("decomposition", "completion"):
        raise InputError("a loss was searched for; fixed formats stand beside data alone.")
    if task.get("held_out") == "given":
        raise InputError("the held-out entries were given one by one, and are not in the folder.")
    entries = math.prod(run.shape)
    if entries > LARGEST:
        raise MemoryBudgetError(f"the data have {entries:,} entries, at most {LARGEST:,} are.")


def compare(
    folder: str | os.PathLike[str],
    x: Any,
    *,
    cp_seconds: float = CP_SECONDS,
    show: Callable[[FixedFormat], None] | None = None,
) -> None:
    """Bring fixed formats to the error of a run, for its report, and say where the error sits.

    Writes baselines.json and best/residual.json; `write_report` draws them.

    Parameters
    ----------
    folder
        The run folder.
    x
        The data of the run.
    cp_seconds
        No further CP rank is tried after that.
    show
        Called with each fixed format.

    Raises
    ------
    CheckpointError
        The folder is no run folder or is damaged, or `x` are not its data.
    InputError, MemoryBudgetError
        As for `require_comparable`.
    RunLockedError
        A search works in the folder.
    """
    with run_lock(read_run(folder).folder):
        run = read_run(folder)
        require_comparable(run)
        assert run.network_path is not None
        if completes(run):
            write_baselines(run.folder, _beside_completion(run, x, show))
            return
        data = as_array(x, what="the data")
        if fingerprint(data) != run.config["input"]["sha256"]:
            raise CheckpointError("the data are not those of the run.")
        seed = run.config.get("entropy")
        rng = np.random.default_rng(run.config["seed"] if seed is None else seed)
        rows = []
        # many small factorisations by NumPy and SciPy in turns, whose idle threads would fight
        with threads_for(gram_flops(run.shape)):
            for fixed in fixed_formats(data, level_of(run), rng=rng, cp_seconds=cp_seconds):
                rows.append(fixed.to_dict())
                if show is not None:
                    show(fixed)
        net = tnet.load(run.network_path)
        write_residuals(run.folder, net, data, index=int(run.metrics["index"]))
        write_baselines(run.folder, rows)  # last: with them the comparison is complete


def _beside_completion(
    run: RunRecord, x: Any, show: Callable[[FixedFormat], None] | None
) -> list[dict[str, Any]]:
    """Fit fixed formats of the size of the best network to the same entries; return rows."""
    best = best_of(run)
    assert best is not None
    task = task_again(run, x)
    if task.fingerprint() != run.config["input"]["sha256"]:
        raise CheckpointError("the data are not those of the run.")
    rows = []
    for fixed in completions(task, best, tol=level_of(run)):
        rows.append({**fixed.to_dict(), "beside": int(run.metrics["index"])})
        if show is not None:
            show(fixed)
    return rows
