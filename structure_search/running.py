"""The driver: runs a method over an evaluator, keeps the record, and knows when to stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from contraction.arrays import as_array, dtype_name, namespace, require_finite
from contraction.errors import CheckpointError, InputError, ShapeError
from contraction.truncation import check_rank
from structure_search import journal, run_folder
from structure_search.driving import Progress, Stop, Task, drive
from structure_search.methods.base import AbstractMethod, method_to_dict
from structure_search.methods.registry import method_from_dict
from structure_search.objectives import (
    AbstractObjective,
    objective_from_dict,
    objective_to_dict,
)
from structure_search.results import (
    Result,
)
from structure_search.store import NetworkStore
from structure_search.tasks.decomposition import Decomposition
from tnet.formats import modes_of
from tnet.structure import Structure


def search(
    x: Any,
    *,
    method: AbstractMethod,
    objective: AbstractObjective | None = None,
    max_evaluations: int | None = None,
    max_seconds: float | None = None,
    rng: np.random.Generator,
    start: Structure | None = None,
    modes: Sequence[str] | None = None,
    run: str | PathLike[str] | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
    source: Mapping[str, Any] | None = None,
) -> Result:
    """Look for the network structure that fits `x` best.

    Parameters
    ----------
    x
        The data: an array of any namespace, finite, of order one or more. Never modified.
    method
        How to search: `Greedy`, `CoreShape`, `RandomSearch`, or any other method.
    objective
        What to look for: `RelativeError(tol=)` is the smallest network within an error,
        `MaxParams(params=)` the least error within a number of parameters. May be left out
        where the method implies it (`CoreShape`).
    max_evaluations
        Most evaluations, counting those answered by the cache or a bound.
    max_seconds
        Most wall time of this session; the evaluation that is running is finished.
    rng
        Source of all random numbers; one number is drawn from it.
    start
        A structure to begin from, for the methods that use one; its modes are those of `x`.
    modes
        Names of the axes of `x`; by default those of `start`, or x0, x1, ...
    run
        A folder to keep the run in: every evaluation is journalled at once, and `resume` goes
        on where the search stopped, however it stopped.
    progress
        Called with each new evaluation and the best candidate.
    stop
        Asked before each evaluation; the search ends if it answers with an outcome.
    source
        Where `x` came from, for run.json: `source` (name), `path` and how it was read.

    Returns
    -------
    Result
        The best candidate, its fitted network, the trace, the front and the outcome.

    Raises
    ------
    NonFiniteError
        `x` holds NaN or infinity.
    InputError
        No objective, a budget below one, or a run folder that is in use for another run.
    StructureError
        `start` has other modes than `x`.

    Examples
    --------
    >>> from structure_search import Greedy, RelativeError
    >>> i, j, k = np.ogrid[1:5, 1:6, 1:7]
    >>> found = search(
    ...     1.0 / (i + j + k),
    ...     method=Greedy(),
    ...     objective=RelativeError(tol=1e-2),
    ...     rng=np.random.default_rng(0),
    ... )
    >>> found.best.error <= 1e-2, found.outcome.name
    (True, 'REACHED')
    """
    task = _task(
        x,
        method=method,
        objective=objective,
        max_evaluations=max_evaluations,
        max_seconds=max_seconds,
        seed=int(rng.integers(2**63)),
        start=start,
        modes=modes,
        progress=progress,
        stop=stop,
    )
    if run is None:
        return drive(task, NetworkStore(like=task.task.x), None, None)
    folder = Path(run)
    run_folder.create(folder, _config(task, source or {}, _entropy(rng)))
    return _in_folder(task, folder)


def resume(
    run: str | PathLike[str],
    x: Any = None,
    *,
    objective: AbstractObjective | None = None,
    max_evaluations: int | None = None,
    max_seconds: float | None = None,
    method: AbstractMethod | None = None,
    force: bool = False,
    progress: Progress | None = None,
    stop: Stop | None = None,
) -> Result:
    """Go on with a run, also one that had finished, with the same or a wider goal.

    The method is run again over the journalled answers, so a resumed run asks for the same
    structures as one that was never stopped; no journalled evaluation is lost or repeated.

    Parameters
    ----------
    run
        The run folder.
    x
        The data. By default they are read again from where run.json says.
    objective, max_evaluations
        A new goal or budget (over all sessions); by default those of the last session.
    max_seconds
        Most wall time of this session, from its first new evaluation: going over the journal
        is not counted, so that every session gets further.
    method
        The method, if it is not one of this package.
    force
        Go on although the data have changed.
    progress, stop
        As for `search`.

    Raises
    ------
    CheckpointError
        The folder is no run folder or is damaged, or the data are not those of the run.
    RunLockedError
        Another process works in it.
    """
    folder = Path(run)
    config = journal.read_config(folder)
    journal.require_resumable(config, folder)
    record = journal.read_run(folder)
    if x is None:
        x = reopen(config)
    found = run_folder.fingerprint(as_array(x, what="the data"))
    if found != config["input"]["sha256"] and not force:
        raise CheckpointError(
            f"the data are not those of the run in {folder}: shape, type or entries changed. "
            "Give the original data, or force it (--force) to mix both in one run."
        )
    start = config.get("start")
    task = _task(
        x,
        method=method or method_from_dict(config["method"]),
        objective=objective or objective_from_dict(record.settings["objective"]),
        max_evaluations=max_evaluations or record.settings["max_evaluations"],
        max_seconds=max_seconds,
        seed=int(config["seed"]),
        start=None if start is None else Structure.from_dict(start),
        progress=progress,
        stop=stop,
        modes=tuple(config["input"]["modes"]),
    )
    return _in_folder(task, folder)


def reopen(config: Mapping[str, Any]) -> Any:
    """Return the data of a run, read again from where run.json says.

    Raises
    ------
    InputError
        The run was started from an array in memory, which only its owner has.
    """
    about = config["input"]
    if not about.get("source"):
        raise InputError(
            "this run was started from an array in memory; pass the same array as `x`."
        )
    from structure_search.data_source import reopen_source

    return reopen_source(about)


def _task(
    x: Any,
    *,
    method: AbstractMethod,
    objective: AbstractObjective | None,
    max_evaluations: int | None,
    max_seconds: float | None,
    seed: int,
    start: Structure | None,
    progress: Progress | None,
    stop: Stop | None,
    modes: Sequence[str] | None = None,
) -> Task:
    goal = objective or method.default_objective()
    if goal is None:
        raise InputError(
            f"{type(method).__name__} needs an `objective`: RelativeError(tol=...) for the "
            "smallest network within an error, MaxParams(params=...) for the least error."
        )
    if max_evaluations is not None:
        check_rank(max_evaluations, "max_evaluations")
    if max_seconds is not None and not max_seconds > 0:
        raise InputError(f"`max_seconds` is a positive number, got {max_seconds!r}.")
    data = as_array(x, what="the data")
    if data.ndim == 0 or 0 in tuple(data.shape):
        raise ShapeError(f"the data need at least one entry and one mode, got {data.shape}.")
    require_finite(data, what="the data")
    # one order in memory, whatever the caller's: equal data shall give equal searches
    data = namespace(data).reshape(namespace(data).reshape(data, (-1,)), tuple(data.shape))
    named = _named(tuple(int(n) for n in data.shape), modes, start)
    return Task(
        task=Decomposition(x=data, modes=named),
        method=method,
        objective=goal,
        start=start,
        seed=seed,
        max_evaluations=max_evaluations,
        max_seconds=max_seconds,
        progress=progress,
        stop=stop,
    )


def _named(
    shape: tuple[int, ...], modes: Sequence[str] | None, start: Structure | None
) -> dict[str, int]:
    """Return mode name -> size, in the axis order of the data."""
    if modes is None:
        modes = tuple(modes_of(shape)) if start is None else start.modes
    if len(set(modes)) != len(shape):
        raise ShapeError(f"`modes` names {len(shape)} axes, each differently; got {list(modes)}.")
    named = modes_of(dict(zip(modes, shape, strict=True)))
    if start is not None and dict(zip(start.modes, start.shape, strict=True)) != named:
        raise ShapeError(
            f"`start` has modes {dict(zip(start.modes, start.shape, strict=True))}, "
            f"the data have {named}."
        )
    return named


def _entropy(rng: np.random.Generator) -> int | None:
    """Return the number that `rng` was seeded with, if it is one: what people call the seed."""
    entropy = getattr(rng.bit_generator.seed_seq, "entropy", None)
    return int(entropy) if isinstance(entropy, (int, np.integer)) else None


def _config(task: Task, source: Mapping[str, Any], entropy: int | None) -> dict[str, Any]:
    data = task.task
    about = {
        **run_folder.to_plain(dict(source)),
        "shape": list(map(int, data.x.shape)),
        "dtype": dtype_name(data.x),
        "modes": dict(data.modes),
        "norm": data.norm,
        "sha256": data.fingerprint(),
        "task": data.to_dict(),
    }
    return {
        "method": run_folder.to_plain(method_to_dict(task.method)),
        "objective": objective_to_dict(task.objective),
        "seed": task.seed,
        "entropy": entropy,
        "max_evaluations": task.max_evaluations,
        "max_seconds": task.max_seconds,
        "start": None if task.start is None else task.start.to_dict(),
        "input": about,
    }


def _in_folder(task: Task, folder: Path) -> Result:
    store = NetworkStore(like=task.task.x)
    with run_folder.opened(folder, store) as (run, record):
        run.begin(
            {
                "objective": objective_to_dict(task.objective),
                "max_evaluations": task.max_evaluations,
                "max_seconds": task.max_seconds,
            }
        )
        return drive(task, store, run, record)
