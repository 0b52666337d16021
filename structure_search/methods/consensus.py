"""Agreement of several growths: their mean predicts better than each, and a network comes near it.

Where few entries are known, a growth fits some of their noise and of the luck of its bonds.
Growths that hold out different entries err differently, so their mean is nearer to the data than
they are (Breiman, Machine Learning 24 (1996), 123-140). The mean is a full tensor: a network
within the budget that is near it is grown without any entry missing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np

import tnet
from contraction.arrays import Array
from structure_search.canonical import charged
from structure_search.fitting import Fitted, conform
from structure_search.methods.base import Answer, Problem, Proposal
from structure_search.results import ErrorOf, Evaluation, Source
from structure_search.tasks.base import FitJob, run_job
from structure_search.tasks.completion import Completion
from structure_search.tasks.decomposition import Decomposition
from tnet.als.start import carried_over
from tnet.network import Network

FOLDS = 10
FEWEST = 100  # entries to fit: a tenth of less says nothing
POOR = 1.15  # times the least error over the entries held out: such a network has no voice

Grown: TypeAlias = Generator[Sequence[Proposal], Sequence[Answer], tuple[Answer, float | None]]


@dataclass(kw_only=True)
class _Inner:
    """Answers to a growth within a growth: fits alone, neither journal nor cache."""

    problem: Problem
    seed: int
    count: int = field(default=0)

    def answer(self, proposal: Proposal) -> Answer:
        structure = charged(proposal.structure)
        start = proposal.start
        if start is not None:
            rng = np.random.default_rng((self.seed, self.count))
            start = conform(start, structure) or carried_over(start, structure, rng=rng)
        job = FitJob(
            structure=structure,
            start=start,
            sweeps=proposal.sweeps,
            restarts=proposal.restarts,
            enough=self.problem.objective.enough,
            stream=(self.seed, self.count),
            ridge=proposal.ridge,
        )
        done = run_job(self.problem.task, job)
        evaluation = Evaluation(
            index=self.count,
            key="",
            structure=structure,
            num_params=structure.num_params,
            error=done.error if isinstance(done, Fitted) else math.inf,
            source=done.source if isinstance(done, Fitted) else Source.FAILED,
            request=proposal.request,
            label=proposal.label,
        )
        self.count += 1
        net = done.network if isinstance(done, Fitted) else None
        return Answer(evaluation=evaluation, effort=proposal.effort, load=lambda: net)


def run_through(growth: Grown, problem: Problem) -> tuple[Answer, float | None]:
    """Return the end of a growth, every fit done here and now, one after the other.

    Parameters
    ----------
    growth
        Proposals of a growth on `problem`.
    problem
        Its generator also seeds the fits.
    """
    inner = _Inner(problem=problem, seed=int(problem.rng.integers(2**62)))
    batch = next(growth)
    while True:
        try:
            batch = growth.send([inner.answer(proposal) for proposal in batch])
        except StopIteration as ended:
            found: tuple[Answer, float | None] = ended.value
            return found


def parts(problem: Problem, count: int) -> list[Problem]:
    """Return problems of the fitted entries alone, each with another tenth of them held out.

    Examples
    --------
    >>> import structure_search as ss
    >>> from structure_search.tasks.completion import completion
    >>> task = completion(np.arange(40.0).reshape(5, 8), {"a": 5, "b": 8}, held_out=0.25)
    >>> whole = Problem(task=task, objective=ss.MaxParams(params=20), start=None,
    ...     spectra=task.spectra(), rng=np.random.default_rng(0))
    >>> [(p.task.train.count, p.task.test.count) for p in parts(whole, 2)]
    [(27, 3), (27, 3)]
    """
    task = problem.task
    assert isinstance(task, Completion)
    entries = task.train
    shares = np.array_split(problem.rng.permutation(entries.count), FOLDS)
    found = []
    for share in itertools.islice(itertools.cycle(shares), count):
        out = np.zeros(entries.count, dtype=bool)
        out[share] = True
        inner = Completion(
            entries.take(np.flatnonzero(~out)),
            entries.take(np.flatnonzero(out)),
            task.modes,
            ridge=task.ridge,
        )
        found.append(replace(problem, task=inner))
    return found


def may_help(problem: Problem) -> bool:
    """Tell whether more growths may be worth their time: gaps, entries held out, and a budget.

    Not where a structure is given that has bonds already: then that one is to be bettered.
    """
    task, start = problem.task, problem.start
    return (
        isinstance(task, Completion)
        and task.error_of is ErrorOf.HELD_OUT
        and task.train.count >= FEWEST
        and problem.objective.cap is not None
        and (start is None or max(start.ranks.values(), default=1) == 1)
    )


def mean_of(answers: Sequence[Answer], problem: Problem) -> Array:
    """Return the mean of the networks, without those that predict much worse than the best."""
    least = min(answer.error for answer in answers)
    order = list(problem.modes)
    total: Any = 0.0
    voices = 0
    for answer in answers:
        if answer.error <= POOR * least and (net := answer.network) is not None:
            total = total + tnet.contract(net, order)
            voices += 1
    found: Array = total / voices
    return found


def without_gaps(mean: Array, problem: Problem) -> Problem:
    """Return the problem of decomposing the mean, every entry of which is known."""
    task = Decomposition(mean, problem.modes)
    return replace(problem, task=task, spectra=task.spectra())


def again(net: Network, sweeps: int, ridge: float | None, label: str) -> Proposal:
    """Propose to sweep a network on all fitted entries."""
    return Proposal(structure=net.structure, start=net, sweeps=sweeps, ridge=ridge, label=label)
