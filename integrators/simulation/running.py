"""Running a description: begin, go on, extend; checkpoints in between."""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from contraction.errors import InputError, RunLockedError, TnetError
from integrators.flow import Outcome, Row
from integrators.simulation.building import Simulation, build
from integrators.simulation.records import Record, describe_process
from integrators.simulation.run_files import need_h5py, read_last, write_run
from integrators.simulation.settings import WHAT, TaskKind, check_suffix, read_task
from integrators.simulation.tables import Table, nearest
from integrators.simulation.tasks import AbstractTask, task_of
from tnet.failures import UsageError
from tnet.toml_files import read_toml

SHARE_FOR_WRITING = 0.1  # of the time, at most, once a checkpoint takes long
CHANGES = {  # what `extend` can change: name -> table and key of the description
    "t_final": ("task", "t_final"),
    "beta": ("task", "beta"),
    "sweeps": ("task", "sweeps"),
    "max_rank": ("truncation", "max_rank"),
    "tol": ("truncation", "tol"),
}
GOALS = {  # what says when a run is over
    TaskKind.QUENCH: "t_final",
    TaskKind.IMAGINARY_TIME: "t_final",
    TaskKind.THERMAL: "beta",
    TaskKind.GROUND_STATE: "sweeps",
}

Show: TypeAlias = "Callable[[Record, Row | None], None]"
Stop: TypeAlias = "Callable[[], Outcome | None]"


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one session leaves: the record, how it ended, and remarks for the user."""

    record: Record
    path: Path
    outcome: Outcome
    notes: tuple[str, ...] = ()


def prepare(
    source: str | Path | Mapping[str, Any], output: str | Path | None = None
) -> tuple[Simulation, str]:
    """Return the simulation of a TOML file (or of its tables), and the file's text.

    Raises
    ------
    UsageError
        The description is wrong; see `build`.
    """
    if isinstance(source, Mapping):
        document, text, folder, stem = dict(source), "", Path(), "simulation"
    else:
        path = Path(source)
        document, text = read_toml(path, WHAT)
        folder, stem = path.parent, path.stem
    simulation = build(document, folder=folder, stem=stem)
    if output is not None:
        check_suffix(Path(output), "the output")
        simulation = replace(simulation, output=replace(simulation.output, path=Path(output)))
    place = simulation.output.path
    if not place.parent.is_dir():
        raise UsageError(f"the folder {str(place.parent)!r} does not exist.", hint="make it first")
    return simulation, text


def simulate(
    source: str | Path | Mapping[str, Any],
    *,
    output: str | Path | None = None,
    replace_run: bool = False,
    workers: int | None = None,
    show: Show | None = None,
    stop: Stop | None = None,
) -> Run:
    """Run what a description says, from the beginning.

    Parameters
    ----------
    source
        A TOML file, or its tables.
    output
        Where to keep the run; by default as the description says.
    replace_run
        Begin anew although there is a run already.
    workers
        Threads over the branches of the root, in place of what the description says; the numbers
        do not depend on them.
    show
        Called with the record and the last row after every step.
    stop
        Called after every step; an `Outcome` it returns ends the session, saved.

    Returns
    -------
    Run

    Raises
    ------
    UsageError
        The description is wrong, or there is a run already.
    RunLockedError
        Another process works on it.
    """
    need_h5py()
    simulation, text = prepare(source, output)
    simulation = with_workers(simulation, workers)
    path = simulation.output.path
    if path.exists() and not replace_run:
        raise UsageError(
            f"{path} holds a run already.",
            hint=f"tnet simulate resume {path} goes on with it; --force begins anew",
        )
    with locked(path):
        task = task_of(simulation)
        record = Record(
            document=simulation.document, text=text, meta=describe_process(), moment=task.first()
        )
        write_run(path, record)  # what cannot be written shall not be computed
        return _session(simulation, task, record, path, show, stop)


def continue_run(path: str | Path, *, show: Show | None = None, stop: Stop | None = None) -> Run:
    """Go on with a run from its last checkpoint; the numbers are those of a run without a stop.

    Raises
    ------
    CheckpointError
        The file and the checkpoint before it are damaged.
    RunLockedError
        Another process works on it.
    """
    return extend_run(path, {}, show=show, stop=stop)


def extend_run(
    path: str | Path,
    changes: Mapping[str, Any],
    *,
    workers: int | None = None,
    show: Show | None = None,
    stop: Stop | None = None,
) -> Run:
    """Go on with a run, finished or not, with something changed.

    Parameters
    ----------
    path
        The file of the run.
    changes
        New values of `t_final`, `beta`, `sweeps`, `max_rank` or `tol`.
    workers, show, stop
        As for `simulate`.

    Raises
    ------
    UsageError
        A change that is not known, or that leaves nothing to do or goes back in time.
    """
    need_h5py()
    place = Path(path)
    with locked(place):
        record, told = read_last(place)
        document = changed_document(record, changes)
        simulation = build(document, folder=place.parent, stem=place.stem, begun=True)
        simulation = with_workers(simulation, workers)
        at = record.moment.time
        now = [{"key": k, "value": v, "at": at, "time": time.time()} for k, v in changes.items()]
        record = record.changed(
            document=document, changes=[*record.changes, *now], failure="", finished=False
        )
        task = task_of(simulation)
        notes = [told] if told else []
        if task.is_over(record):
            notes.append("the run had come to its end already: nothing was left to do.")
        done = _session(simulation, task, record, place, show, stop)
        return replace(done, notes=tuple(notes))


def changed_document(record: Record, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of a run with some values changed.

    Raises
    ------
    UsageError
        A change that is not known, or one that goes back behind what is done.
    """
    document: dict[str, Any] = copy.deepcopy(dict(record.document))
    kind = TaskKind(record.kind)
    goal = GOALS[kind]
    for name, value in changes.items():
        if name not in CHANGES:
            raise UsageError(f"{name!r} cannot be changed.", hint=nearest(name, CHANGES))
        if name in GOALS.values() and name != goal:
            raise UsageError(f"{name} does not belong to this kind of run ({kind.value}).")
        table, key = CHANGES[name]
        document.setdefault(table, {})[key] = value
    reached = record.moment.time * (2.0 if kind is TaskKind.THERMAL else 1.0)
    final = document.get("task", {}).get(goal)
    if goal in changes and isinstance(final, (int, float)) and final < reached:
        raise UsageError(f"the run has come to {reached:g} already, beyond {final:g}.")
    return document


def end_of(document: Mapping[str, Any]) -> float:
    """Return where a run ends: a time (half of beta for a thermal state), or a number of sweeps."""
    task = read_task(Table({"task": document.get("task", {})}, ""))
    return float(task.sweeps) or task.t_final


def with_workers(simulation: Simulation, workers: int | None) -> Simulation:
    """Return a simulation whose stepper uses so many threads, where it can use any."""
    if workers is None or not hasattr(simulation.stepper, "workers"):
        return simulation
    return replace(simulation, stepper=replace(simulation.stepper, workers=workers))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a run file.

    Raises
    ------
    RunLockedError
        A living process holds it.
    """
    from filelock import FileLock, Timeout

    if not path.parent.is_dir():
        raise InputError(f"the folder {str(path.parent)!r} does not exist.")
    place = path.with_name(f".{path.name}.lock")
    try:
        place.touch()  # says why where nothing can be written there
        lock = FileLock(place, timeout=0)
        lock.acquire()
    except Timeout:
        raise RunLockedError(f"another process works on {str(path)!r}; wait for it.") from None
    try:
        _sweep_up(path)
        yield
    finally:
        lock.release()


def _sweep_up(path: Path) -> None:
    """Remove what a process that was killed while it wrote a checkpoint has left beside the run."""
    name = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{16}}\.tmp")
    for other in path.parent.iterdir():
        if name.fullmatch(other.name):
            with suppress(OSError):
                other.unlink()


def _session(
    simulation: Simulation,
    task: AbstractTask,
    record: Record,
    path: Path,
    show: Show | None,
    stop: Stop | None,
) -> Run:
    """Work until the end, a stop or an error; whatever happens, what was recorded is saved."""
    keeper = _Keeper(path, simulation.output.checkpoint_seconds)
    rows, seconds = list(record.rows), list(record.seconds)
    began = time.monotonic() - (seconds[-1] if seconds else 0.0)
    last, outcome = record.changed(rows=rows, seconds=seconds), Outcome.FINISHED
    try:
        for moment, row in task.work(record):
            if row is not None:
                rows.append(row)
                seconds.append(time.monotonic() - began)
            last = last.changed(moment=moment)
            if row is not None:
                keeper.maybe(last)
            if show is not None:
                show(last, row)
            told = stop() if stop is not None else None
            if told is not None and not task.is_over(last):
                outcome = told
                break
    except (TnetError, MemoryError, ArithmeticError) as error:
        keeper.write(last.changed(failure=f"{type(error).__name__}: {error}"))
        raise
    last = last.changed(finished=outcome is Outcome.FINISHED)
    keeper.write(last)
    return Run(record=last, path=path, outcome=outcome)


class _Keeper:
    """Writes checkpoints: not more often than asked for, nor for more than a share of the time."""

    def __init__(self, path: Path, seconds: float) -> None:
        self._path, self._seconds = path, seconds
        self._cost, self._when = 0.0, time.monotonic()

    def maybe(self, record: Record) -> None:
        """Write a checkpoint if one is due."""
        wait = max(self._seconds, self._cost / SHARE_FOR_WRITING) if self._seconds else 0.0
        if time.monotonic() - self._when >= wait:
            self.write(record)

    def write(self, record: Record) -> None:
        """Write a checkpoint now."""
        began = time.monotonic()
        write_run(self._path, record)
        self._when = time.monotonic()
        self._cost = self._when - began
