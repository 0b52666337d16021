"""One session of a search: asks the method, answers it, keeps the best, knows when to stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from contraction.blas_threads import threads_for
from contraction.errors import InputError
from structure_search import journal, run_folder
from structure_search.evaluating import Evaluator, Pending, run_solve
from structure_search.fitting import Fitted
from structure_search.methods.base import AbstractMethod, Problem
from structure_search.objectives import AbstractObjective
from structure_search.results import (
    Candidate,
    Evaluation,
    Outcome,
    Result,
    as_candidate,
    pareto_front,
)
from structure_search.store import NetworkStore
from structure_search.tasks.base import AbstractTask, Failed, run_job
from tnet.network import Network
from tnet.structure import Structure
from tnet.trees import rooted

Progress: TypeAlias = Callable[[Evaluation, Candidate], None]
Stop: TypeAlias = Callable[[], Outcome | None]


@dataclass(frozen=True, kw_only=True)
class Task:
    """One session of a search, ready to run."""

    task: AbstractTask
    method: AbstractMethod
    objective: AbstractObjective
    start: Structure | None
    seed: int
    max_evaluations: int | None
    max_seconds: float | None
    progress: Progress | None
    stop: Stop | None


def drive(
    task: Task,
    store: NetworkStore,
    run: run_folder.RunFolder | None,
    record: journal.RunRecord | None,
) -> Result:
    """Run the method until it ends or a limit is met, and collect the result."""
    with threads_for(_pass_flops(task)):
        return _driven(task, store, run, record)


def _pass_flops(task: Task) -> float:
    """Return the flops of the smallest Gram matrix of the data: the scale of one product."""
    sizes = task.task.modes.values()
    return 2.0 * min(sizes) * math.prod(sizes)


def _driven(
    task: Task,
    store: NetworkStore,
    run: run_folder.RunFolder | None,
    record: journal.RunRecord | None,
) -> Result:
    evaluator = Evaluator(
        task=task.task,
        spectra=task.task.spectra(),
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
    if not keeper.found and outcome in (Outcome.INTERRUPTED, Outcome.TERMINATED):
        raise KeyboardInterrupt  # there is no result to return
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
            spectra=keeper.spectra(),
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

    def __init__(self, task: Task, evaluator: Evaluator, run: run_folder.RunFolder | None) -> None:
        self._task, self._evaluator, self._run = task, evaluator, run
        self._best: Evaluation | None = None
        self._network: Network | None = None
        # when the clock of `max_seconds` began: at once, or after going over a journal
        self._begun = None if evaluator.trace else time.monotonic()
        for evaluation in evaluator.trace:
            self._consider(evaluation)

    @property
    def found(self) -> bool:
        """Whether anything was fitted."""
        return self._best is not None

    def run(self) -> Outcome:
        """Run the method to its end or to a limit."""
        task = self._task
        problem = Problem(
            task=task.task,
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
                for pending in self._evaluator.settle(batch):
                    known = pending.replayed
                    if not known and (why := self._limit()) is not None:
                        return why
                    answers.append(self._evaluator.finish(pending, self._done(pending)))
                    if not known:
                        self._record(answers[-1].evaluation)
                batch = proposals.send(answers)
        except StopIteration:
            pass
        finally:
            proposals.close()
        best = self._best
        met = best is not None and task.objective.met(as_candidate(best))
        return Outcome.REACHED if met else Outcome.EXHAUSTED

    def _done(self, pending: Pending) -> Fitted | Failed | None:
        if pending.solve is not None:
            return run_solve(pending)
        return None if pending.job is None else run_job(self._task.task, pending.job)

    def _limit(self) -> Outcome | None:
        task, now = self._task, time.monotonic()
        self._begun = now if self._begun is None else self._begun
        if task.stop is not None and (why := task.stop()) is not None:
            return why
        if task.max_evaluations is not None:
            if len(self._evaluator.trace) >= task.max_evaluations:
                return Outcome.BUDGET
        if task.max_seconds is not None and now - self._begun >= task.max_seconds:
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
            if not order(as_candidate(evaluation)) < order(as_candidate(best)):
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

    def spectra(self) -> dict[str, Any]:
        """Return the data's singular values for the report: by mode, and by bond of a tree."""
        assert self._best is not None
        cuts, structure = self._evaluator.spectra, self._best.structure
        names = tuple(self._task.task.modes)
        found: dict[str, dict[str, tuple[str, ...]]] = {"modes": {}, "bonds": {}}
        if len(names) > 1:
            found["modes"] = {mode: (mode,) for mode in names}
        if structure.is_tree:
            found["bonds"] = bond_sides(structure)
        out: dict[str, Any] = {}
        for kind, parts in found.items():
            values = {name: cuts.singular_values(rows) for name, rows in parts.items()}
            out[kind] = {n: [float(s) for s in v] for n, v in values.items() if v is not None}
        return out


def bond_sides(structure: Structure) -> dict[str, tuple[str, ...]]:
    """Return bond -> the modes on one side of it, for a tree.

    Examples
    --------
    >>> import tnet
    >>> bond_sides(tnet.tensor_train((2, 3, 4), 2))
    {'g0-g1': ('x1', 'x2'), 'g1-g2': ('x2',)}
    """
    seen = rooted(structure)
    below = seen.leaves_below
    sides = {seen.bond[node]: below[node] for node in structure.node_names if node in seen.bond}
    return {bond: rows for bond, rows in sides.items() if 0 < len(rows) < len(structure.modes)}
