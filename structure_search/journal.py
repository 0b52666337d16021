"""The journal of a run: what is written, line by line, and how it is read back.

A run is one folder, readable without tnet::

    run.json            written once: versions, method, objective, seed, input
    lock                the process that works here (see `contraction.folder_lock`)
    events.jsonl        append-only, one JSON object a line, each with its crc32
    networks.bin        arrays of fitted networks, appended; events point into it
    best/network.tnet   the best network
    best/metrics.json   {"num_params", "error", "compression", "outcome", "structure", ...}
    best/pareto.json    [{"num_params", "error", "ranks", "structure", "index", ...}, ...]
    best/spectra.json   {"modes": {mode: [singular values]}, "bonds": {bond: [...]}}
    best/residual.json  optional: {"index": of the evaluation, "slices": {mode: [errors]}}
    baselines.json      optional: [{"name", "num_params", "error", "seconds", "tol", "met"}, ...]

Every event has `seq` (0, 1, 2, ...), `kind` and `crc32`; the kinds are

``session``
    A process began: `started` (seconds since 1970), `pid`, `host`, `objective`,
    `max_evaluations`, `max_seconds`, `patience`, `min_gain`, `workers`, `tnet`.
``evaluation``
    The fields of `Evaluation.to_dict` (`index`, `key`, `structure`, `ranks`, `num_params`,
    `error` or null, `bound`, `seconds`, `elapsed`, `source`, `sweeps`, `label`, `request`,
    `failure`), `best` (whether it was the best so far), `session`, and `network`: where its
    arrays are in networks.bin, with `dtype`, `crc32`, `center` and `certificate`, or null.
``end``
    A session ended: `outcome` (name), `advice`, `evaluations`, `elapsed`, `counts`.

RUNNING is never written: whatever has no line was not done.
"""

from __future__ import annotations

import json
import os
import shlex
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contraction import atomic
from contraction.errors import CheckpointError
from structure_search.results import Evaluation, Outcome

FORMAT = 1
EVENTS, CONFIG, NETWORKS, BASELINES = "events.jsonl", "run.json", "networks.bin", "baselines.json"
BEST = "best"
NETWORK, METRICS, PARETO, SPECTRA = "network.tnet", "metrics.json", "pareto.json", "spectra.json"
CONFIG_KEYS = ("method", "objective", "seed", "max_evaluations", "start", "input")
INPUT_KEYS = ("shape", "dtype", "modes", "sha256")
SECONDS_BETWEEN_SYNCS = 1.0


def encode_event(event: Mapping[str, Any]) -> bytes:
    """Return one line of the journal, with the crc32 of everything else in it.

    Examples
    --------
    >>> decode_event(encode_event({"seq": 0, "kind": "end"}))
    {'kind': 'end', 'seq': 0}
    """
    body = _compact(event)
    crc = zlib.crc32(body.encode("utf-8"))
    return f'{body[:-1]},"crc32":{crc}}}\n'.encode()


def _compact(event: Mapping[str, Any]) -> str:
    return json.dumps(event, sort_keys=True, separators=(",", ":"), allow_nan=False)


def decode_event(line: bytes) -> dict[str, Any] | None:
    """Return the event on a line, or None if the line is not whole."""
    body, mark, tail = line.rpartition(b',"crc32":')
    if not mark or not tail.endswith(b"}\n") or not tail[:-2].isdigit():
        return None
    body += b"}"
    if zlib.crc32(body) != int(tail[:-2]):
        return None
    event: dict[str, Any] = json.loads(body)
    return event


def read_events(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the events of a journal and the number of good bytes.

    A damaged end (a process was killed while it wrote the last line) is left out; a damaged
    line with good ones after it is an error.

    Raises
    ------
    CheckpointError
        A line in the middle is damaged, or lines are missing.
    """
    events: list[dict[str, Any]] = []
    good = 0
    bad = 0
    with open(path, "rb") as stream:
        for number, line in enumerate(stream, 1):
            event = decode_event(line)
            if event is None:
                bad = bad or number
                continue
            if bad or event.get("seq") != len(events):
                raise CheckpointError(
                    f"line {bad or number} of {path} is damaged, and lines after it are not; "
                    f"restore the file, or keep the lines before it: tnet resume "
                    f"{shlex.quote(str(path.parent))} --repair "
                    "(structure_search.journal.repair) puts the rest aside."
                )
            events.append(event)
            good += len(line)
    return events, good


def repair(folder: str | os.PathLike[str]) -> Path | None:
    """Keep the lines of a damaged journal up to the damage, and put the rest aside.

    Returns the file with the rest, or None if the journal was sound. Evaluations after the
    damage are done again when the run goes on.

    Raises
    ------
    RunLockedError
        A process works in the folder.
    """
    from contraction.folder_lock import run_lock

    root = Path(folder)
    read_config(root)
    with run_lock(root):
        path = root / EVENTS
        content = path.read_bytes() if path.exists() else b""
        good = count = 0
        for line in content.splitlines(keepends=True):
            event = decode_event(line)
            if event is None or event.get("seq") != count:
                break
            good, count = good + len(line), count + 1
        if good == len(content):
            return None
        aside = root / f"events.damaged-{int(time.time())}.jsonl"
        atomic.write_bytes(aside, content[good:])
        atomic.write_bytes(path, content[:good])
        return aside


class Journal:
    """Appends events to the journal of one run; the only writer of the file.

    A line is handed to the operating system at once, so that killing the process loses
    nothing; it is flushed to the disk at most `SECONDS_BETWEEN_SYNCS` later, with the next line
    or by `LateFlush` (a power cut loses no more than that). Flushing every line would cost
    several milliseconds each.
    """

    def __init__(self, folder: Path, *, seq: int, good: int) -> None:
        self._path = folder / EVENTS
        self._seq = seq
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
        self._handle = os.open(self._path, flags, 0o644)
        if os.fstat(self._handle).st_size > good:
            os.ftruncate(self._handle, good)  # the half line of a killed process
        self._synced = time.monotonic()
        self._dirty = False

    def append(self, kind: str, fields: Mapping[str, Any], *, sync: bool = False) -> None:
        """Write one event."""
        line = memoryview(encode_event({**fields, "kind": kind, "seq": self._seq}))
        while line:
            line = line[os.write(self._handle, line) :]
        self._seq += 1
        self._dirty = True
        if sync or time.monotonic() - self._synced >= SECONDS_BETWEEN_SYNCS:
            self.sync()

    @property
    def dirty(self) -> bool:
        """Whether something was written that is not flushed yet."""
        return self._dirty

    @property
    def due(self) -> bool:
        """Whether the next line will be flushed to the disk."""
        return time.monotonic() - self._synced >= SECONDS_BETWEEN_SYNCS

    def sync(self) -> None:
        """Flush what was written to the disk."""
        if self._dirty:
            self._dirty = False  # first, for a line may be written in the meantime
            os.fsync(self._handle)
        self._synced = time.monotonic()

    def close(self) -> None:
        """Flush and close."""
        self.sync()
        os.close(self._handle)


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """Everything a run folder says, for reports and for resuming.

    Attributes
    ----------
    folder
        The run folder.
    config
        run.json: `format`, `tnet`, `python`, `numpy`, `argv`, `created`, `method`, `objective`,
        `seed`, `max_evaluations`, `max_seconds`, `start`, `input` (`source`, `path`, `shape`,
        `dtype`, `modes`, `sha256`, `norm`).
    events
        All events, in order.
    evaluations
        Those of kind ``evaluation``, in order; `raw` beside them in `events`.
    outcome
        How the last session ended; None while one is running or after a kill.
    elapsed
        Seconds of searching over all sessions.
    metrics, pareto, spectra, baselines
        The JSON files of the same names; empty if they are not there.
    network_path
        best/network.tnet, or None if it is not there yet.
    good_bytes
        Length of the undamaged part of events.jsonl.
    """

    folder: Path
    config: Mapping[str, Any]
    events: tuple[Mapping[str, Any], ...] = field(repr=False)
    evaluations: tuple[Evaluation, ...] = field(repr=False)
    outcome: Outcome | None
    elapsed: float
    metrics: Mapping[str, Any] = field(repr=False)
    pareto: tuple[Mapping[str, Any], ...] = field(repr=False)
    spectra: Mapping[str, Mapping[str, Sequence[float]]] = field(repr=False)
    baselines: tuple[Mapping[str, Any], ...] = field(repr=False)
    network_path: Path | None
    good_bytes: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the data; empty if run.json does not say it."""
        return tuple((self.config.get("input") or {}).get("shape") or ())

    @property
    def settings(self) -> Mapping[str, Any]:
        """The `objective`, `max_evaluations` and `max_seconds` of the last session."""
        sessions = (e for e in reversed(self.events) if e["kind"] == "session")
        return next(sessions, self.config)


def read_config(folder: Path) -> dict[str, Any]:
    """Return run.json.

    Raises
    ------
    CheckpointError
        There is none, it cannot be read, or a newer tnet wrote it.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise CheckpointError(f"{folder} is no run folder: it has no {CONFIG}.")
    config = _read_json(path)
    if not isinstance(config, dict) or not isinstance(config.get("format"), int):
        raise CheckpointError(f"{path} is damaged: it names no format.")
    if config["format"] > FORMAT:
        raise CheckpointError(
            f"{path} has format {config['format']}, this tnet reads up to {FORMAT}; "
            f"it needs tnet >= {config.get('tnet', '?')}."
        )
    return config


def require_resumable(config: Mapping[str, Any], folder: Path) -> None:
    """Raise `CheckpointError` unless run.json says everything that going on needs."""
    about = config.get("input")
    missing = [key for key in CONFIG_KEYS if key not in config]
    missing += [key for key in INPUT_KEYS if not isinstance(about, dict) or key not in about]
    if missing:
        raise CheckpointError(f"{folder / CONFIG} is damaged: it lacks {', '.join(missing)}.")


def read_run(folder: str | os.PathLike[str]) -> RunRecord:
    """Read a run folder, also while a search works in it.

    Raises
    ------
    CheckpointError
        The folder is no run folder, is damaged, or was written by a newer version.
    """
    root = Path(folder)
    config = read_config(root)
    events, good = read_events(root / EVENTS) if (root / EVENTS).exists() else ([], 0)
    ended = events[-1] if events and events[-1]["kind"] == "end" else None
    try:
        found = tuple(Evaluation.from_dict(e) for e in events if e["kind"] == "evaluation")
        outcome = None if ended is None else Outcome[ended["outcome"]]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"an event of {root / EVENTS} lacks a field: {error!r}.") from error
    network = root / BEST / NETWORK
    return RunRecord(
        folder=root,
        config=config,
        events=tuple(events),
        evaluations=found,
        outcome=outcome,
        elapsed=max((float(e["elapsed"]) for e in events if "elapsed" in e), default=0.0),
        metrics=_optional(root / BEST / METRICS, {}),
        pareto=tuple(_optional(root / BEST / PARETO, [])),
        spectra=_optional(root / BEST / SPECTRA, {}),
        baselines=tuple(_optional(root / BASELINES, [])),
        network_path=network if network.is_file() else None,
        good_bytes=good,
    )


def write_baselines(folder: str | os.PathLike[str], baselines: Sequence[Mapping[str, Any]]) -> None:
    """Write baselines.json: fixed formats to compare with, for the report.

    Each has `name`, `num_params`, `error` and, if known, `seconds`, the error asked for (`tol`)
    and whether it was reached (`met`).
    """
    write_json(Path(folder) / BASELINES, [dict(row) for row in baselines])


def write_json(path: Path, data: Any) -> None:
    """Write strict JSON atomically."""
    atomic.write_text(path, json.dumps(data, indent=1, allow_nan=False) + "\n")


def _optional(path: Path, otherwise: Any) -> Any:
    return _read_json(path) if path.is_file() else otherwise


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}.") from error
