"""TNLS: local search by random steps whose size falls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from contraction.truncation import check_rank
from structure_search.methods.base import AbstractMethod, Answer, Problem, Proposal, Proposals
from structure_search.methods.sampling import (
    arrangement_of,
    candidate,
    check_probability,
    check_walk,
    limits_of,
)
from structure_search.results import Candidate
from structure_search.space.search_space import SearchSpace, State, space_of
from structure_search.space.templates import Template

LONGEST = 4  # step of a rank
DRAWS = 100  # of one sample that keeps to the limits
COOLING = 0.9  # of the steps, from one generation to the next
CALMING = 0.94  # of the probability of an exchange


@final
@dataclass(frozen=True, kw_only=True)
class TNLS(AbstractMethod):
    """Samples around a centre; the best of a generation becomes the centre if it is no worse.

    In generation g every rank of the centre changes by a normal number of standard deviation
    0.9^(g-1), rounded, at most 4 and turned inwards at a bound; and with probability 0.94^(g-1)
    two modes, drawn at random, change places. One generation is one batch; samples that cannot
    come before the centre may be answered by a bound, which changes no decision.

    Asks for 1 + samples * (generations - 1) structures.

    Li, Zeng, Tao, Zhao, "Permutation search of tensor network structures via local sampling",
    ICML 2022 (arXiv:2206.06597), with the numbers of the code published with it. New: any
    template, a start, limits.

    Parameters
    ----------
    template, max_rank
        As for `TnALE`.
    exchanges
        Most exchanges of two modes in one sample; 0 keeps the arrangement.
    samples, generations
        Samples in a generation; generations, the first of which is the start alone.
    absent
        Probability that a bond of the first structure is absent.
    max_degree, max_params, max_memory
        Limits on structures; samples are drawn again until they keep to them.
    sweeps, restarts
        Sweeps for each random start of a fit, and most starts.

    Examples
    --------
    >>> import numpy as np
    >>> import tnet
    >>> from structure_search import WeightedError, search
    >>> ring = tnet.tensor_ring((3, 3, 3), (2, 1, 2))
    >>> x = tnet.random_network(ring, rng=np.random.default_rng(0)).to_dense()
    >>> found = search(
    ...     x,
    ...     method=TNLS(max_rank=3, samples=10, generations=4),
    ...     objective=WeightedError(weight=100.0),
    ...     rng=np.random.default_rng(1),
    ... )
    >>> len(found.trace)
    31
    """

    template: Template = Template.RING
    max_rank: int = 7
    exchanges: int = 1
    samples: int = 60
    generations: int = 20
    absent: float = 0.0
    max_degree: int | None = None
    max_params: int | None = None
    max_memory: int | str | None = None
    sweeps: int = 40
    restarts: int = 3

    def __post_init__(self) -> None:
        check_walk(self, counts={"samples": 1, "generations": 1})
        check_rank(self.exchanges, "exchanges", least=0)
        check_probability(self.absent, "absent")

    def default_objective(self) -> None:
        """Return None: the objective must be given."""

    def propose(self, problem: Problem) -> Proposals:
        """Yield one generation at a time."""
        space, centre = space_of(
            problem.modes,
            self.template,
            problem.start,
            highest=self.max_rank,
            arrangement=arrangement_of(self.exchanges),
            limits=limits_of(self),
        )
        if centre is None:
            centre = space.sample(problem.rng, absent=self.absent)
        goal, best = problem.objective, None
        (answer,) = yield [self._proposal(space, centre, problem, best, 1)]
        best = _candidate(space, centre, answer)
        for generation in range(2, self.generations + 1):
            drawn = [self._step(space, centre, generation - 1, problem.rng) for _ in self._batch]
            answers = yield [self._proposal(space, s, problem, best, generation) for s in drawn]
            for state, answer in zip(drawn, answers, strict=True):
                found = _candidate(space, state, answer)
                if found and (best is None or goal.order(found) <= goal.order(best)):
                    centre, best = state, found

    @property
    def _batch(self) -> range:
        return range(self.samples)

    def _proposal(
        self,
        space: SearchSpace,
        state: State,
        problem: Problem,
        best: Candidate | None,
        generation: int,
    ) -> Proposal:
        structure = space.structure(state)
        return Proposal(
            structure=structure,
            sweeps=self.sweeps,
            restarts=self.restarts,
            useful=problem.objective.useful_error(structure, best),
            label=f"generation {generation}",
        )

    def _step(self, space: SearchSpace, centre: State, age: int, rng: np.random.Generator) -> State:
        for _ in range(DRAWS):
            state = centre._replace(ranks=stepped(space, centre, COOLING**age, rng))
            if len(space.variables) > len(space.bonds):
                for _ in range(self.exchanges):
                    if rng.random() < CALMING**age:
                        near = space.values(state, len(space.bonds), 1)
                        k = int(rng.integers(1, len(near)))
                        state = space.changed(state, len(space.bonds), near[k])
            if space.allows(state):
                return state
        return centre


def stepped(
    space: SearchSpace, centre: State, deviation: float, rng: np.random.Generator
) -> tuple[int, ...]:
    """Return the ranks of `centre` changed by rounded normal numbers, turned inwards at bounds.

    Examples
    --------
    >>> import tnet
    >>> space = SearchSpace(graph=tnet.tensor_train((4, 4, 4)), highest=3)
    >>> centre = State((1, 3), space.places)
    >>> stepped(space, centre, 0.01, np.random.default_rng(0))
    (1, 3)
    """
    low, high = space.lowest, space.highest
    noise = np.rint(rng.normal(0.0, deviation, size=len(centre.ranks)))
    ranks = []
    for rank, step in zip(centre.ranks, np.clip(noise, -LONGEST, LONGEST), strict=True):
        moved = rank + int(step)
        if not low <= moved <= high:
            moved = rank - int(step)
        ranks.append(min(max(moved, low), high))
    return tuple(ranks)


def _candidate(space: SearchSpace, state: State, answer: Answer) -> Candidate | None:
    """Return what was found for a state; None where nothing was fitted."""
    if not np.isfinite(answer.error):
        return None
    return candidate(space.structure(state), answer.error)
