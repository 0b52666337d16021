"""One session of a search: asks the method, answers it, keeps the best, knows when to stop.

Each batch of proposals is settled as a whole, its fits are done by the workers, and the results
are recorded in the order of the batch, whoever was done first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from typing import final

import numpy as np

from contraction.blas_threads import gram_flops, threads_for
from contraction.workers.ordering import in_order
from contraction.workers.schedulers import Crew, Scheduler, Serial
from structure_search import journal, run_folder
from structure_search.evaluating import Evaluator
from structure_search.fitting import Fitted
from structure_search.keeping import Keeper, Progress
from structure_search.limits import Clock, Limits
from structure_search.methods.base import AbstractMethod, Answer, Problem, Proposal
from structure_search.objectives import AbstractObjective
from structure_search.pending import Pending, run_solve
from structure_search.replay import replay_of
from structure_search.results import Outcome, Result
from structure_search.store import NetworkStore
from structure_search.tasks.base import AbstractTask, Failed
from structure_search.workers import Errand, fit_crew, in_rows
from tnet.structure import Structure

AHEAD = 16  # fits for each worker that may be done before an earlier one is


@dataclass(frozen=True, kw_only=True)
class Task:
    """One session of a search, ready to run."""

    task: AbstractTask
    method: AbstractMethod
    objective: AbstractObjective
    start: Structure | None
    seed: int
    limits: Limits
    workers: Scheduler = field(default_factory=Serial)
    progress: Progress | None = None
    max_fit_flops: float | None = None


def drive(
    task: Task,
    store: NetworkStore,
    run: run_folder.RunFolder | None,
    record: journal.RunRecord | None,
) -> Result:
    """Run the method until it ends or a limit is met, and collect the result."""
    with threads_for(gram_flops(task.task.modes.values())):
        return _driven(task, store, run, record)


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
        replay=replay_of(record),
        max_fit_flops=task.max_fit_flops,
    )
    keeper = Keeper(evaluator, task.objective, run, task.progress, min_gain=task.limits.min_gain)
    with ExitStack() as stack:
        stack.callback(keeper.save)  # whatever happens, the best so far is in the folder
        with fit_crew(task.workers, task.task) as crew:
            outcome = _Session(task, evaluator, keeper, crew).run()
        stack.pop_all()
    if not keeper.found and outcome in (Outcome.INTERRUPTED, Outcome.TERMINATED):
        raise KeyboardInterrupt  # there is no result to return
    best = keeper.require_best()
    net = keeper.best_network()
    front = keeper.front
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
        error_of=task.task.error_of,
    )


@final
class _Session:
    """Asks the method, has its proposals evaluated, and ends in time."""

    def __init__(self, task: Task, evaluator: Evaluator, keeper: Keeper, crew: Crew) -> None:
        self._task, self._evaluator, self._keeper, self._crew = task, evaluator, keeper, crew
        self._clock = Clock(task.limits)
        self._sent = 0
        self._outcome: Outcome | None = None  # of a search that a limit ends
        if not evaluator.trace:
            self._clock.start()  # going over a journal is not counted

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
                answers = self._answers(batch)
                if self._outcome is not None:
                    return self._outcome
                batch = proposals.send(answers)
        except StopIteration:
            return Outcome.REACHED if self._keeper.met else Outcome.EXHAUSTED
        finally:
            proposals.close()

    def _answers(self, batch: Sequence[Proposal]) -> list[Answer]:
        """Return the answers to a batch, in its order, up to where a limit ends the search."""
        answers: list[Answer] = []
        crew = self._crew
        work = self._admitted(self._evaluator.settle(batch), answers)
        with closing(
            in_order(self._fit, work, crew.workers, AHEAD * crew.workers, crew.abort)
        ) as results:
            for pending, done in results:
                if not pending.replayed and (why := self._converged()) is not None:
                    done = why
                if isinstance(done, Outcome):
                    self._outcome = done
                    break
                found = self._own_fit(pending) if pending.solve is not None else done
                answers.append(self._evaluator.finish(pending, found))
                if not pending.replayed:
                    self._keeper.record(answers[-1].evaluation)
        if self._outcome is not None:  # a limit may have been seen before the last results
            self._outcome = self._converged() or self._outcome
        return answers

    def _admitted(
        self, batch: Sequence[Pending], answers: Sequence[Answer]
    ) -> Iterator[tuple[Pending, Errand | None]]:
        """Yield what may be begun, each when there is room for it among the workers.

        What was begun is waited for and recorded, whatever ends the search, unless it converged.
        """
        known = len(self._evaluator.trace)
        new = 0
        for count, pending in enumerate(batch):
            if not pending.replayed:
                idle = count == len(answers)  # all before this one are recorded
                why = (self._converged() if idle else None) or self._limit(known + new)
                if why is not None:
                    self._outcome = why
                    return
                new += 1
            errand = None
            if pending.job is not None:
                errand, self._sent = Errand(self._sent, pending.job), self._sent + 1
            yield pending, errand

    def _fit(
        self, work: tuple[Pending, Errand | None]
    ) -> tuple[Pending, Fitted | Failed | Outcome | None]:
        """Have a worker do a fit, unless somebody wants the search to end before it begins."""
        pending, errand = work
        if errand is None:
            return pending, None
        if self._crew.workers and errand.number and (why := self._clock.outcome()) is not None:
            return pending, why
        return pending, self._crew.run(errand)

    def _own_fit(self, pending: Pending) -> Fitted | Failed:
        found = run_solve(pending)
        if isinstance(found, Failed):
            return found
        return replace(found, network=in_rows(found.network))

    def _limit(self, evaluations: int) -> Outcome | None:
        most = self._task.limits.max_evaluations
        if (why := self._clock.outcome()) is not None:
            return why
        return Outcome.BUDGET if most is not None and evaluations >= most else None

    def _converged(self) -> Outcome | None:
        patience = self._task.limits.patience
        done = patience is not None and self._keeper.without_gain >= patience
        return Outcome.CONVERGED if done else None
