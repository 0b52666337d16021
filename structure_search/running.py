"""The driver: runs a method over an evaluator, keeps the record, and knows when to stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from contraction.arrays import Array, as_array, dtype_name, namespace, require_finite
from contraction.errors import CheckpointError, InputError, ShapeError
from contraction.truncation import check_rank
from structure_search import journal, run_folder
from structure_search.bounds import CutSpectra
from structure_search.evaluating import Evaluator
from structure_search.fitting import Fitter
from structure_search.methods.base import AbstractMethod, Problem, method_to_dict
from structure_search.methods.registry import method_from_dict
from structure_search.objectives import (
    AbstractObjective,
    objective_from_dict,
    objective_to_dict,
)
from structure_search.results import (
    Candidate,
    Evaluation,
    Outcome,
    Result,
    as_candidate,
    pareto_front,
)
from structure_search.store import NetworkStore
from tnet.formats import modes_of
from tnet.network import Network
from tnet.structure import Structure

Progress: TypeAlias = Callable[[Evaluation, Candidate], None]
Stop: TypeAlias = Callable[[], Outcome | None]


@dataclass(frozen=True, kw_only=True)
class _Task:
    """One session of a search, ready to run."""

    x: Array
    modes: Mapping[str, int]
    norm: float
    method: AbstractMethod
    objective: AbstractObjective
    start: Structure | None
    seed: int
    max_evaluations: int | None
    max_seconds: float | None
    progress: Progress | None
    stop: Stop | None


def search(
    x: Any,
    *,
    method: AbstractMethod,
    objective: AbstractObjective | None = None,
    max_evaluations: int | None = None,
    max_seconds: float | None = None,
    rng: np.random.Generator,
    start: Structure | None = None,
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
        progress=progress,
        stop=stop,
    )
    if run is None:
        return _drive(task, NetworkStore(like=task.x), None, None)
    folder = Path(run)
    run_folder.create(folder, _config(task, source or {}))
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
        Most wall time of this session.
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
    record = journal.read_run(folder)
    last = next((e for e in reversed(record.events) if e["kind"] == "session"), config)
    if x is None:
        x = reopen(config)
    if run_folder.fingerprint(as_array(x)) != config["input"]["sha256"] and not force:
        raise CheckpointError(
            f"the data are not those of the run in {folder}: shape, type or entries changed. "
            "Give the original data, or force it (--force) to mix both in one run."
        )
    start = config.get("start")
    task = _task(
        x,
        method=method or method_from_dict(config["method"]),
        objective=objective or objective_from_dict(last["objective"]),
        max_evaluations=max_evaluations or last["max_evaluations"],
        max_seconds=max_seconds,
        seed=int(config["seed"]),
        start=None if start is None else Structure.from_dict(start),
        progress=progress,
        stop=stop,
        modes=config["input"]["modes"],
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
    modes: Mapping[str, int] | None = None,
) -> _Task:
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
    if start is not None and tuple(start.shape) != tuple(data.shape):
        raise ShapeError(
            f"`start` is a structure of shape {start.shape}, the data have {tuple(data.shape)}."
        )
    if modes is None:
        names = modes_of(tuple(int(n) for n in data.shape))
        modes = names if start is None else dict(zip(start.modes, start.shape, strict=True))
    return _Task(
        x=data,
        modes=modes,
        norm=float(namespace(data).linalg.vector_norm(data)),
        method=method,
        objective=goal,
        start=start,
        seed=seed,
        max_evaluations=max_evaluations,
        max_seconds=max_seconds,
        progress=progress,
        stop=stop,
    )


def _config(task: _Task, source: Mapping[str, Any]) -> dict[str, Any]:
    about = {
        **run_folder.to_plain(dict(source)),
        "shape": list(map(int, task.x.shape)),
        "dtype": dtype_name(task.x),
        "modes": dict(task.modes),
        "norm": task.norm,
        "sha256": run_folder.fingerprint(task.x),
    }
    return {
        "method": run_folder.to_plain(method_to_dict(task.method)),
        "objective": objective_to_dict(task.objective),
        "seed": task.seed,
        "max_evaluations": task.max_evaluations,
        "max_seconds": task.max_seconds,
        "start": None if task.start is None else task.start.to_dict(),
        "input": about,
    }


def _in_folder(task: _Task, folder: Path) -> Result:
    store = NetworkStore(like=task.x)
    with run_folder.opened(folder, store) as (run, record):
        run.begin(
            {
                "objective": objective_to_dict(task.objective),
                "max_evaluations": task.max_evaluations,
                "max_seconds": task.max_seconds,
            }
        )
        return _drive(task, store, run, record)


def _drive(
    task: _Task,
    store: NetworkStore,
    run: run_folder.RunFolder | None,
    record: journal.RunRecord | None,
) -> Result:
    """Run the method until it ends or a limit is met, and collect the result."""
    spectra = CutSpectra(task.x, tuple(task.modes), task.norm)
    evaluator = Evaluator(
        fitter=Fitter(task.x),
        spectra=spectra,
        store=store,
        objective=task.objective,
        seed=task.seed,
        journal=record.evaluations if record else (),
    )
    keeper = _Keeper(task, evaluator, run)
    with ExitStack() as stack:
        stack.callback(keeper.save)  # whatever happens, the best so far is in the folder
        outcome = keeper.run()
        stack.pop_all()
    best = keeper.require_best()
    net = keeper.best_network()
    front = pareto_front(evaluator.trace)
    if run is not None:
        run.end(
            best,
            net,
            front,
            outcome=outcome,
            counts=evaluator.counts,
            elapsed=evaluator.elapsed,
            spectra=keeper.spectra(spectra, net),
        )
    return Result(
        best=best,
        network=net,
        trace=tuple(evaluator.trace),
        pareto=front,
        outcome=outcome,
        counts=evaluator.counts,
        seconds=evaluator.elapsed,
    )


class _Keeper:
    """Asks the method, answers it, and keeps the best."""

    def __init__(self, task: _Task, evaluator: Evaluator, run: run_folder.RunFolder | None) -> None:
        self._task, self._evaluator, self._run = task, evaluator, run
        self._best: Evaluation | None = None
        self._network: Network | None = None
        self._begun = time.monotonic()
        for evaluation in evaluator.trace:
            self._consider(evaluation)

    def run(self) -> Outcome:
        """Run the method to its end or to a limit."""
        task = self._task
        problem = Problem(
            x=task.x,
            modes=task.modes,
            norm=task.norm,
            objective=task.objective,
            start=task.start,
            spectra=self._evaluator.spectra,
            rng=np.random.Generator(np.random.Philox(key=[task.seed, 0])),
        )
        proposals = task.method.propose(problem)
        try:
            batch = next(proposals)
            while True:
                answers = []
                for proposal in batch:
                    known = self._evaluator.journalled(proposal)
                    if not known and (why := self._limit()) is not None:
                        return why
                    answers.append(self._evaluator.evaluate(proposal))
                    if not known:
                        self._record(answers[-1].evaluation)
                batch = proposals.send(answers)
        except StopIteration:
            pass
        finally:
            proposals.close()
        best = self._best
        met = best is not None and task.objective.met(best.num_params, best.error)
        return Outcome.REACHED if met else Outcome.EXHAUSTED

    def _limit(self) -> Outcome | None:
        task = self._task
        if task.stop is not None and (why := task.stop()) is not None:
            return why
        if task.max_evaluations is not None:
            if len(self._evaluator.trace) >= task.max_evaluations:
                return Outcome.BUDGET
        if task.max_seconds is not None and time.monotonic() - self._begun >= task.max_seconds:
            return Outcome.TIME
        return None

    def _record(self, evaluation: Evaluation) -> None:
        better = self._consider(evaluation)
        if self._run is not None:
            self._run.add(evaluation, best=better)
            if better:
                self._run.save_best(
                    self.require_best(), self.best_network(), pareto_front(self._evaluator.trace)
                )
        if self._task.progress is not None and self._best is not None:
            self._task.progress(evaluation, as_candidate(self._best))

    def _consider(self, evaluation: Evaluation) -> bool:
        if not math.isfinite(evaluation.error):
            return False
        order, best = self._task.objective.order, self._best
        if best is not None:
            now = order(evaluation.num_params, evaluation.error)
            if not now < order(best.num_params, best.error):
                return False
        self._best = evaluation
        self._network = self._evaluator.network(evaluation)
        return True

    def require_best(self) -> Candidate:
        """Return the best candidate; nothing fitted is an error of the caller's limits."""
        if self._best is None:
            failures = [e.failure for e in self._evaluator.trace if e.failure]
            why = f" The last failure: {failures[-1]}" if failures else ""
            raise InputError(
                f"the search ended before any structure was fitted; allow more evaluations or "
                f"time.{why}"
            )
        return as_candidate(self._best)

    def best_network(self) -> Network:
        """Return the network of the best candidate, fitted again only if it was lost."""
        assert self._best is not None
        if self._network is None:
            self._network = self._evaluator.refit(self._best)
        return self._network

    def save(self) -> None:
        """Write the best so far, when the search ends by an exception."""
        if self._run is not None and self._best is not None:
            self._run.save_now(
                self.require_best(), self.best_network(), pareto_front(self._evaluator.trace)
            )

    def spectra(self, cuts: CutSpectra, net: Network) -> dict[str, Any]:
        """Return the spectra for the report: of every mode, and of the bonds of a tree."""
        modes = {}
        for mode in self._task.modes:
            values = cuts.singular_values([mode])
            if values is not None and len(self._task.modes) > 1:
                modes[mode] = [float(s) for s in values]
        bonds: dict[str, list[float]] = {}
        if net.structure.is_tree and len(net.structure.nodes) > 1:
            import tnet

            found = tnet.bond_spectra(net)
            bonds = {bond: [float(s) for s in values] for bond, values in found.items()}
        return {"modes": modes, "bonds": bonds}
