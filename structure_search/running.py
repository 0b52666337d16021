"""The driver: runs a method over an evaluator, keeps the record, and knows when to stop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from contraction.arrays import Array, dtype_name
from contraction.errors import CheckpointError, InputError
from contraction.workers.schedulers import Scheduler, Serial
from structure_search import journal, run_folder
from structure_search.arguments import check_callable, check_kind, check_number, check_reachable
from structure_search.driving import Task, drive
from structure_search.keeping import Progress
from structure_search.limits import Limits, Stop
from structure_search.methods.adaptive import Adaptive
from structure_search.methods.base import AbstractMethod, method_to_dict
from structure_search.methods.registry import method_from_dict
from structure_search.objectives import (
    AbstractObjective,
    RelativeError,
    objective_from_dict,
    objective_to_dict,
)
from structure_search.results import ErrorOf, Result
from structure_search.store import NetworkStore
from structure_search.tasks.base import AbstractTask
from structure_search.tasks.reading import read_task, recorded_held_out
from tnet.als.entries import Entries
from tnet.structure import Structure


def search(
    x: Any,
    *,
    method: AbstractMethod | None = None,
    objective: AbstractObjective | None = None,
    max_evaluations: int | None = None,
    max_seconds: float | None = None,
    rng: np.random.Generator,
    start: Structure | None = None,
    modes: Sequence[str] | None = None,
    run: str | PathLike[str] | None = None,
    workers: Scheduler | None = None,
    patience: int | None = None,
    min_gain: float = 1e-3,
    progress: Progress | None = None,
    stop: Stop | None = None,
    source: Mapping[str, Any] | None = None,
    mask: Array | None = None,
    held_out: float | Array | Entries | None = None,
    ridge: float | None = None,
    max_fit_flops: float | None = None,
) -> Result:
    """Look for the network structure that fits `x` best.

    Parameters
    ----------
    x
        The data: an array of any namespace, of order one or more; never modified. Or the
        observed `tnet.Entries` of one, or a `Loss`.
    method
        How to search: by default `Adaptive`, which combines the others; or `Greedy`, `CutRank`,
        `TreeSearch`, `TnALE`, or any other method.
    objective
        What to look for: `RelativeError(tol=)` is the smallest network within an error,
        `MaxParams(params=)` the least error within a number of parameters. May be left out
        where the method implies it (`CoreShape`).
    max_evaluations
        Most evaluations, counting those answered by the cache or a bound.
    max_seconds
        Most wall time of this session; fits that have begun are finished.
    rng
        Source of all random numbers; one number is drawn from it.
    start
        A structure to begin from, for the methods that use one; its modes are those of `x`.
    modes
        Names of the axes of `x`; by default those of `start`, or x0, x1, ...
    run
        A folder to keep the run in: every evaluation is journalled at once, and `resume` goes
        on where the search stopped, however it stopped.
    workers
        Who does the fits: `contraction.Serial` (the default), `Threads`, `Processes`, `Dask` or
        `Devices`. The fits of one batch of proposals are done side by side, so a method that
        proposes one structure at a time gains nothing. The same seed gives the same search, bit
        by bit, whoever does the fits; devices alone round otherwise. Every fit has one BLAS
        thread: for large data and few proposals at a time, `Serial(blas_threads=None)`.
    patience
        The search has converged when so many evaluations in a row brought no gain.
    min_gain
        What counts as a gain: an improvement by more than this share of the objective's first
        figure that differs by as much.
    progress
        Called with each new evaluation and the best candidate.
    stop
        Asked before each evaluation; the search ends if it answers with an outcome.
    source
        Where `x` came from, for run.json: `source` (name), `path` and how it was read.
    mask
        True where an entry is known; elsewhere `x` is not read. NaN in `x` means unknown, too.
        Then networks are fitted to the known entries alone (completion).
    held_out
        Entries that are not fitted but predicted, and over which the error is taken: a fraction
        of the known ones, drawn from `rng`, or a mask that is True there (`tnet.Entries` where
        `x` is such). Without it the error of a completion is the one over the known entries,
        which says little about the others; `Result.error_of` says which.
    ridge
        For completion: the regularisation of each fit, see `tnet.ALS`. By default every fit
        chooses its own.
    max_fit_flops
        Operations that one fit may take (`tnet.planned_flops` for each sweep; 3e10 are about a
        second); by default 1e12, or 1e5 for each entry of the data if that is more. Random
        starts beyond that are left out; a structure with which even the first start would take
        more is refused, and the search goes on.

    Returns
    -------
    Result
        The best candidate, its fitted network, the trace, the front and the outcome.

    Raises
    ------
    NonFiniteError
        `x` holds infinity; or entries are missing, and the method needs all of them.
    InputError
        No objective, no known entry, a run folder for a `Loss` (a function cannot be recorded),
        a budget below one, a run folder that is in use for another run, or a relative error
        below the rounding of the data with nothing else that ends the search.
    StructureError
        `start` has other modes than `x`.

    Examples
    --------
    >>> from structure_search import RelativeError
    >>> i, j, k = np.ogrid[1:5, 1:6, 1:7]
    >>> found = search(
    ...     1.0 / (i + j + k),
    ...     objective=RelativeError(tol=1e-2),
    ...     rng=np.random.default_rng(0),
    ... )
    >>> found.best.error <= 1e-2, found.outcome.name
    (True, 'REACHED')
    """
    check_kind(
        "rng", rng, np.random.Generator, "a generator of random numbers: np.random.default_rng(0)"
    )
    seed = int(rng.integers(2**63))
    task = _task(
        read_task(
            x, modes=modes, start=start, mask=mask, held_out=held_out, ridge=ridge, seed=seed
        ),
        method=Adaptive() if method is None else method,
        objective=objective,
        limits=Limits(
            max_evaluations=max_evaluations,
            max_seconds=max_seconds,
            patience=patience,
            min_gain=min_gain,
            stop=stop,
        ),
        workers=Serial() if workers is None else workers,
        max_fit_flops=max_fit_flops,
        seed=seed,
        start=start,
        progress=progress,
    )
    if run is None:
        return drive(task, NetworkStore(like=task.task.like), None, None)
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
    workers: Scheduler | None = None,
    patience: int | None = None,
    min_gain: float | None = None,
    progress: Progress | None = None,
    stop: Stop | None = None,
    mask: Array | None = None,
    held_out: Array | Entries | None = None,
) -> Result:
    """Go on with a run, also one that had finished, with the same goal or another one.

    The method is run again over the journalled answers, so a resumed run asks for the same
    structures as one that was never stopped; no journalled evaluation is lost or repeated. Under
    a tighter goal the fits that had ended because their error was enough go on from where they
    ended, as new evaluations; under a wider one, structures that a bound had ruled out may be
    fitted.

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
    workers
        As for `search`; they may be others than before.
    patience, min_gain
        When the search has converged; by default as in the last session.
    progress, stop
        As for `search`.
    mask, held_out
        As for `search`, where they were given entry by entry.

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
    about, seed = config["input"].get("task", {}), int(config["seed"])
    first = None if (start := config.get("start")) is None else Structure.from_dict(start)
    data = read_task(
        x,
        modes=tuple(config["input"]["modes"]),
        start=first,
        mask=mask,
        held_out=recorded_held_out(about, held_out),
        ridge=about.get("ridge"),
        seed=seed,
    )
    if data.fingerprint() != config["input"]["sha256"] and not force:
        raise CheckpointError(
            f"the data are not those of the run in {folder}: shape, type or entries changed. "
            "Give the original data, or force it (--force) to mix both in one run."
        )
    task = _task(
        data,
        method=method or method_from_dict(config["method"]),
        objective=objective or objective_from_dict(record.settings["objective"]),
        limits=Limits(
            max_evaluations=max_evaluations or record.settings["max_evaluations"],
            max_seconds=max_seconds,
            patience=patience or record.settings.get("patience"),
            min_gain=record.settings.get("min_gain", 1e-3) if min_gain is None else min_gain,
            stop=stop,
        ),
        workers=Serial() if workers is None else workers,
        max_fit_flops=config.get("max_fit_flops"),
        seed=seed,
        start=first,
        progress=progress,
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
    data: AbstractTask,
    *,
    method: AbstractMethod,
    objective: AbstractObjective | None,
    limits: Limits,
    workers: Scheduler,
    max_fit_flops: float | None,
    seed: int,
    start: Structure | None,
    progress: Progress | None,
) -> Task:
    check_kind("method", method, AbstractMethod, "a method, such as Greedy()")
    check_number("max_fit_flops", max_fit_flops, above=True)
    check_callable("progress", progress)
    check_callable("stop", limits.stop)
    if isinstance(workers, type) or not callable(getattr(workers, "staff", None)):
        raise InputError(f"`workers` is Serial(), Processes(2) or another one, got {workers!r}.")
    goal = method.default_objective() if objective is None else objective
    if goal is None:
        raise InputError(
            f"{type(method).__name__} needs an `objective`: RelativeError(tol=...) for the "
            "smallest network within an error, MaxParams(params=...) for the least error."
        )
    check_kind("objective", goal, AbstractObjective, "an objective, such as MaxParams(params=100)")
    if isinstance(goal, RelativeError) and data.error_of is not ErrorOf.LOSS:
        check_reachable(goal.tol, data.like, limited=limits.bounded)
    if method.needs_every_entry:
        data.require_complete(type(method).__name__)
    return Task(
        task=data,
        method=method,
        objective=goal,
        start=start,
        seed=seed,
        limits=limits,
        workers=workers,
        max_fit_flops=max_fit_flops,
        progress=progress,
    )


def _entropy(rng: np.random.Generator) -> int | None:
    """Return the number that `rng` was seeded with, if it is one: what people call the seed."""
    entropy = getattr(rng.bit_generator.seed_seq, "entropy", None)
    return int(entropy) if isinstance(entropy, (int, np.integer)) else None


def _config(task: Task, source: Mapping[str, Any], entropy: int | None) -> dict[str, Any]:
    data = task.task
    about = {
        **run_folder.to_plain(dict(source)),
        "shape": list(data.modes.values()),
        "dtype": dtype_name(data.like),
        "modes": dict(data.modes),
        "norm": data.norm * data.scale,
        "sha256": data.fingerprint(),
        "task": data.to_dict(),
    }
    return {
        "method": run_folder.to_plain(method_to_dict(task.method)),
        "objective": objective_to_dict(task.objective),
        "seed": task.seed,
        "entropy": entropy,
        **_recorded(task.limits),
        "max_fit_flops": task.max_fit_flops,
        "start": None if task.start is None else task.start.to_dict(),
        "input": about,
    }


def _recorded(limits: Limits) -> dict[str, Any]:
    names = ("max_evaluations", "max_seconds", "patience", "min_gain")
    return {name: getattr(limits, name) for name in names}


def _in_folder(task: Task, folder: Path) -> Result:
    store = NetworkStore(like=task.task.like)
    with run_folder.opened(folder, store) as (run, record):
        run.begin(
            {
                "objective": objective_to_dict(task.objective),
                **_recorded(task.limits),
                "workers": repr(task.workers),
            }
        )
        return drive(task, store, run, record)
