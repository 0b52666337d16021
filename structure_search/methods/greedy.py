"""Greedy: grow a network bond by bond, then take away what is not needed."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias, final

from contraction.errors import InputError
from contraction.truncation import check_rank
from structure_search.methods import consensus, incomplete
from structure_search.methods.base import (
    AbstractMethod,
    Answer,
    Problem,
    Proposal,
    Proposals,
)
from structure_search.methods.growth import Growth, Limits, appended, growths
from structure_search.methods.incomplete import isolated as isolated
from structure_search.methods.shrinking import Backward, has_price, shrunk
from structure_search.objectives import AbstractObjective, RelativeError
from structure_search.results import Candidate, as_candidate

Ridge: TypeAlias = float | None  # the one that did best so far; None where it is not chosen here
Growing: TypeAlias = Generator[Sequence[Proposal], Sequence[Answer], tuple[Answer, Ridge]]

TINY = 1e-300
FIRM = 4.0  # a ridge for one sweep from a network that fits no noise yet
PATIENCE = 4  # steps that may not lower the error over entries held out


class Screening(StrEnum):
    """Which edges are really fitted in a step of growth: those that come first by ..."""

    GAIN = "the fall of the squared error by one slice, everything else held fixed"
    RATE = "that fall per parameter"
    OBJECTIVE = "the objective that this fall would lead to"
    NONE = "nothing: every edge is fitted"


class StepChoice(StrEnum):
    """Which of the fitted edges is kept: the one with ..."""

    ERROR = "the least error"
    ERROR_PER_PARAMETER = "the largest fall of the squared error per parameter"
    LOG_PER_PARAMETER = "the largest fall of the logarithm of the error per parameter"
    OBJECTIVE = "the best value of the objective"


@final
@dataclass(frozen=True, kw_only=True)
class Greedy(AbstractMethod):
    """Grow the network one slice at a time, then lower, exchange and split.

    Growth starts from rank one (or from `start`). The gain of one more slice on every pair of
    nodes is found by a fit of the new slices to the residual; the few that come first by
    `screening` are really tried, and the best by `choice` is kept with its weights. Growth ends
    where the error is within the objective's, or where no edge that was tried betters it: the
    weighted sum of size and error, the error within a budget, or the error over entries held
    out, which so decide what is added and when it is enough. With missing
    entries and a budget it grows again within a train, and within a ring. Each time neighbours
    are made one node in the end where that saves parameters, growth goes on with what is saved,
    and the better end is kept. Where the error is given and free growth missed it or came out
    large, small trains and rings are starts as well.

    Then, as long as the objective does not suffer, ranks are lowered, rank is exchanged between
    bonds, and (with `inner_nodes`, under `RelativeError`) nodes are split by the singular values
    of their arrays. Structures that the singular values of some bipartition rule out are passed
    over without a fit: a cut of rank k leaves at least the tail beyond k (a lower bound, so
    nothing possible is lost). Under a budget the network is swept on instead.

    Growth after Hashemizadeh, Liu, Miller, Rabusseau, arXiv:2008.05437, with another score, a
    look-ahead and the backward part added.

    Parameters
    ----------
    screening, choice
        See `Screening` and `StepChoice`. By default both are by the objective for
        `WeightedError` and `Custom`; otherwise by gain per parameter and by the fall of the
        logarithm. The published rule is `Screening.GAIN` with ``look_ahead=1``.
    look_ahead
        How many edges are really tried in each step.
    trial_sweeps, sweeps
        Sweeps for a trial, and after a step.
    fit_sweeps, restarts
        Sweeps for a smaller structure from the present network, and random starts after that
        (none where the first fit comes within half of the error allowed, relative to it).
    inner_nodes
        Whether nodes without a mode may appear.
    max_degree
        Most bonds of rank above one at one node.
    max_rank
        Largest rank of a bond.
    exchange
        How many exchanges of rank may be tried in vain before the search ends; 0 for none.
        Under `WeightedError` and `Custom` the same number holds for lower ranks.
    members
        How many more networks are grown, with missing entries, some held out, and a budget: each
        on nine tenths of the fitted entries. A network near the mean of all is tried as well.
        The default is none: each costs about a fifth of the time of the search without them.

    Examples
    --------
    >>> import numpy as np
    >>> import tnet
    >>> from structure_search import RelativeError, search
    >>> ring = tnet.tensor_ring((4, 4, 4, 4), (2, 2, 2, 2))
    >>> x = tnet.contract(tnet.random_network(ring, rng=np.random.default_rng(0)))
    >>> goal = RelativeError(tol=1e-4)
    >>> found = search(x, method=Greedy(), objective=goal, rng=np.random.default_rng(1))
    >>> found.best.num_params <= ring.num_params
    True
    """

    screening: Screening | None = None
    choice: StepChoice | None = None
    look_ahead: int = 4
    trial_sweeps: int = 5
    sweeps: int = 10
    fit_sweeps: int = 30
    restarts: int = 2
    inner_nodes: bool = True
    max_degree: int | None = None
    max_rank: int | None = None
    exchange: int = 12
    members: int = 0

    def __post_init__(self) -> None:
        for name in ("look_ahead", "trial_sweeps", "sweeps", "fit_sweeps", "restarts"):
            check_rank(getattr(self, name), name)
        check_rank(self.exchange, "exchange", least=0)
        check_rank(self.members, "members", least=0)
        if self.max_degree is not None:
            check_rank(self.max_degree, "max_degree", least=2)
        if self.max_rank is not None:
            check_rank(self.max_rank, "max_rank", least=2)
        if self.screening is not None:  # a record of a run has their values
            object.__setattr__(self, "screening", Screening(self.screening))
        if self.choice is not None:
            object.__setattr__(self, "choice", StepChoice(self.choice))
        if not isinstance(self.inner_nodes, bool):
            raise InputError(f"`inner_nodes` is True or False, got {self.inner_nodes!r}.")

    def default_objective(self) -> None:
        """Return None: greedy growth needs to be told where to stop."""

    def propose(self, problem: Problem) -> Proposals:
        """Yield the growth, then the smaller structures."""
        now, ridge = yield from self._alone(problem)
        ends = [now]
        for way in incomplete.other_ways(problem):
            below = incomplete.room(problem, now)
            if any(s.num_params >= below for s in way.structures):
                continue
            other, chosen = yield from self._another_way(problem, way, below)
            ends.append(other)
            if _rank(problem, other) < _rank(problem, now):
                now, ridge = other, chosen
        if self.members and consensus.may_help(problem):
            other, chosen = yield from self._agreed(problem, ends, ridge)
            if _rank(problem, other) < _rank(problem, now):
                now, ridge = other, chosen
        if not isinstance(problem.objective, RelativeError) and not incomplete.has_room(problem):
            now, ridge = yield from self._sweep(now, self.fit_sweeps, "polish", ridge)
        goal = problem.objective
        if has_price(goal) or (isinstance(goal, RelativeError) and now.error <= goal.tol):
            yield from shrunk(problem, now, self._backward(goal, ridge))

    # ---- agreement --------------------------------------------------------------------------

    def _agreed(self, problem: Problem, ends: list[Answer], ridge: Ridge) -> Growing:
        """Grow on parts of the entries, then towards the mean of all; return the best of it."""
        sweeps = min(self.sweeps, 3)
        few = replace(self, look_ahead=1, trial_sweeps=min(self.trial_sweeps, 2), sweeps=sweeps)
        for k, part in enumerate(consensus.parts(problem, self.members)):
            ended, chosen = consensus.run_through(few._alone(part), part)
            if ended.network is not None:
                label = f"part {k}"
                ends += yield [consensus.again(ended.network, self.trial_sweeps, chosen, label)]
        mean = consensus.mean_of(ends, problem)
        dense = consensus.without_gaps(mean, problem)
        near, _ = consensus.run_through(replace(few, look_ahead=2)._alone(dense), dense)
        if (net := near.network) is None:
            return _nearest(ends), ridge
        tried: list[Ridge] = [None]
        if ridge is not None:
            tried = list(dict.fromkeys((*incomplete.ridges_near(ridge), FIRM)))
        answers = yield [consensus.again(net, 1, r, "agreed") for r in tried]
        best = _nearest(answers)
        return best, tried[answers.index(best)]

    def _alone(self, problem: Problem) -> Growing:
        """Grow freely from rank one, or from the start."""
        begin = problem.start or isolated(problem)
        ridge = incomplete.FIRST_RIDGE if incomplete.may_choose_ridge(problem) else None
        answers = yield incomplete.first_fits(problem, begin, self.sweeps, ridge)
        return (yield from self._grown(problem, _nearest(answers), ridge))

    # ---- forward ---------------------------------------------------------------------------

    def _grown(
        self,
        problem: Problem,
        now: Answer,
        ridge: Ridge,
        edges: incomplete.Edges | None = None,
        below: float = math.inf,
    ) -> Growing:
        """Grow; then, under a budget with missing entries, pack and grow freely into the room.

        Packing comes late: nodes of several modes make every further bond dear.
        """
        now, ridge = yield from self._grow(problem, now, ridge, edges, below)
        if not incomplete.has_room(problem):
            return now, ridge
        now, ridge = yield from self._sweep(now, self.fit_sweeps, "polish", ridge)
        while (net := now.network) is not None:
            small = incomplete.packed(net, self._limits(problem.objective))
            if small is net:
                break
            answers = yield [
                Proposal(
                    structure=small.structure,
                    start=small,
                    sweeps=self.trial_sweeps,
                    before=now.effort,
                    ridge=ridge,
                    parent=now.request,
                    label="pack",
                )
            ]
            other, chosen = yield from self._grow(problem, answers[0], ridge)
            other, chosen = yield from self._sweep(other, self.fit_sweeps, "polish", chosen)
            if not _rank(problem, other) < _rank(problem, now):
                break
            now, ridge = other, chosen
        return now, ridge

    def _grow(
        self,
        problem: Problem,
        now: Answer,
        ridge: Ridge,
        edges: incomplete.Edges | None = None,
        below: float = math.inf,
    ) -> Growing:
        goal = problem.objective
        patience = 0 if problem.task.complete else PATIENCE
        allows = incomplete.allowed(problem, edges, below)
        limits = Limits(max_degree=self.max_degree, max_rank=self.max_rank, allows=allows)
        best = now, ridge
        while now.error > goal.enough and (net := now.network) is not None:
            residual = problem.task.residual(net)
            options = growths(net, residual, limits, observed=problem.task.observed)
            tried = self._screened(problem, now, options)
            if not tried:
                break
            answers = yield [
                Proposal(
                    structure=g.structure,
                    start=appended(net, g, problem.rng),
                    sweeps=self.trial_sweeps,
                    before=now.effort,
                    ridge=ridge,
                    parent=now.request,
                    label=f"grow {g.ends[0]}-{g.ends[1]}",
                )
                for g in tried
            ]
            found = self._chosen(problem, now, answers)
            if found is None and patience > 0 and self._finite(answers):
                patience -= 1  # few entries say little: a step or two may not show
                found = _nearest(self._finite(answers))
            if found is None:
                break
            now = found
            if now.error > goal.enough and self.sweeps > self.trial_sweeps:
                more = self.sweeps - self.trial_sweeps
                now, ridge = yield from self._sweep(now, more, "sweep", ridge)
            if problem.task.complete or _rank(problem, now) < _rank(problem, best[0]):
                best = now, ridge
        return best

    def _backward(self, goal: AbstractObjective, ridge: Ridge) -> Backward:
        return Backward(
            sweeps=self.fit_sweeps,
            restarts=self.restarts,
            ridge=ridge,
            exchange=self.exchange,
            inner_nodes=self.inner_nodes,
            limits=self._limits(goal),
        )

    def _another_way(self, problem: Problem, way: incomplete.Way, below: float) -> Growing:
        """Grow once more; the entries held out tell which way was better."""
        ridge = incomplete.FIRST_RIDGE if incomplete.may_choose_ridge(problem) else None
        answers = yield way.starts(problem, self.sweeps, self.fit_sweeps, 2 * self.restarts, ridge)
        return (yield from self._grown(problem, _nearest(answers), ridge, way.edges, below))

    def _limits(self, goal: AbstractObjective) -> Limits:
        return Limits(max_degree=self.max_degree, max_rank=self.max_rank, allows=goal.allows)

    def _screened(self, problem: Problem, now: Answer, options: list[Growth]) -> list[Growth]:
        goal = problem.objective
        by = self.screening or (Screening.OBJECTIVE if has_price(goal) else Screening.RATE)
        if by is Screening.NONE:
            return options
        if by is Screening.OBJECTIVE and not problem.norm:
            by = Screening.RATE  # a loss: the gains have no common measure with it
        options = [g for g in options if g.gain > 0.0]
        if by is Screening.GAIN:
            options.sort(key=lambda g: (-g.gain, g.ends))
        elif by is Screening.OBJECTIVE:
            options.sort(key=lambda g: (goal.order(_expected(problem, now, g)), g.ends))
        return options[: self.look_ahead]

    def _chosen(self, problem: Problem, now: Answer, answers: Sequence[Answer]) -> Answer | None:
        """Return the trial to go on with; None where none is of use."""
        goal = problem.objective
        by = self.choice or (
            StepChoice.OBJECTIVE if has_price(goal) else StepChoice.LOG_PER_PARAMETER
        )
        useful = self._finite(answers)
        if not isinstance(goal, RelativeError) or not problem.task.complete:
            useful = [
                a
                for a in useful
                if goal.order(as_candidate(a.evaluation)) < goal.order(as_candidate(now.evaluation))
            ]

        def key(answer: Answer) -> tuple[float, ...]:
            if by is StepChoice.OBJECTIVE:
                return goal.order(as_candidate(answer.evaluation))
            error, before = answer.error, now.error
            if by is StepChoice.ERROR:
                return (error,)
            more = max(1, answer.evaluation.num_params - now.evaluation.num_params)
            if by is StepChoice.ERROR_PER_PARAMETER:
                return ((error**2 - before**2) / more,)
            return ((math.log(max(error, TINY)) - math.log(max(before, TINY))) / more,)

        return min(useful, key=lambda a: (key(a), a.evaluation.index), default=None)

    def _finite(self, answers: Sequence[Answer]) -> list[Answer]:
        return [a for a in answers if math.isfinite(a.error)]

    def _sweep(self, now: Answer, sweeps: int, label: str, ridge: Ridge) -> Growing:
        """Sweep on; with the ridge and those near it, if there is a choice."""
        tried = [None] if ridge is None else incomplete.ridges_near(ridge)
        answers = yield [
            Proposal(
                structure=now.evaluation.structure,
                start=now.network,
                sweeps=sweeps,
                before=now.effort,
                ridge=r,
                parent=now.request,
                label=label,
            )
            for r in tried
        ]
        best = _nearest(answers)
        return best, tried[answers.index(best)]


def _nearest(answers: Sequence[Answer]) -> Answer:
    return min(answers, key=lambda a: (a.error, a.evaluation.index))


def _rank(problem: Problem, answer: Answer) -> tuple[float, ...]:
    return problem.objective.order(as_candidate(answer.evaluation))


def _expected(problem: Problem, now: Answer, growth: Growth) -> Candidate:
    """Return what a growth promises: the error left by its slices alone."""
    gain = growth.gain / problem.norm**2 if problem.norm else 0.0
    return Candidate(
        structure=growth.structure,
        num_params=growth.structure.num_params,
        error=math.sqrt(max(0.0, now.error**2 - gain)),
        index=0,
    )
