"""TNGA: a genetic algorithm over the ranks of a graph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from contraction.errors import InputError
from structure_search.methods.base import AbstractMethod, Answer, Problem, Proposal, Proposals
from structure_search.methods.sampling import (
    candidate,
    check_probability,
    check_walk,
    limits_of,
)
from structure_search.space.search_space import SearchSpace, State, space_of
from structure_search.space.templates import Template

DRAWS = 100  # of one child that keeps to the limits


@final
@dataclass(frozen=True, kw_only=True)
class TNGA(AbstractMethod):
    """Survivors exchange the bonds of a node, and mutate; children replace their parents.

    The genome is the rank of every bond. Of a generation the `survivors` best remain as
    parents; parent k (from 0, the best) is drawn with weight
    ``max(log(alpha / (0.01 + 5 k)), 0.01)``. Two different parents exchange all ranks at one
    node, drawn at random, and give two children, each of whose ranks mutates with probability
    `mutation`: a bond that is there vanishes, one that is not gets a random rank. With
    ``max_rank=2`` that is the published genome, in which a bond has a given rank or is absent;
    with more, a bond that is there gets another rank in every second mutation.

    One generation is one batch.

    Li, Sun, "Evolutionary topology search for tensor network decomposition", ICML 2020, with
    the numbers of the code published with it. New: any ranks, any graph, a start (one of the
    first generation), limits.

    Parameters
    ----------
    template, max_rank
        The graph, all pairs of nodes by default, and the highest rank. Modes stay where they
        are: over all pairs moving them changes nothing that ranks cannot.
    population, survivors, generations
        Structures in a generation; parents that remain of them; generations.
    alpha, mutation
        See above.
    absent
        Probability that a bond is absent in the first generation.
    max_degree, max_params, max_memory
        Limits on structures; children are drawn again until they keep to them.
    sweeps, restarts
        Sweeps for each random start of a fit, and most starts.

    Examples
    --------
    >>> import numpy as np
    >>> import tnet
    >>> from structure_search import WeightedError, search
    >>> train = tnet.tensor_train((3, 3, 3), 2)
    >>> x = tnet.random_network(train, rng=np.random.default_rng(0)).to_dense()
    >>> found = search(
    ...     x,
    ...     method=TNGA(max_rank=2, population=6, survivors=4, generations=3),
    ...     objective=WeightedError(weight=100.0),
    ...     rng=np.random.default_rng(1),
    ... )
    >>> len(found.trace)
    18
    """

    template: Template = Template.FULL
    max_rank: int = 4
    population: int = 50
    survivors: int = 40
    generations: int = 30
    alpha: float = 200.0
    mutation: float = 0.05
    absent: float = 0.5
    max_degree: int | None = None
    max_params: int | None = None
    max_memory: int | str | None = None
    sweeps: int = 40
    restarts: int = 2

    def __post_init__(self) -> None:
        check_walk(self, counts={"population": 2, "survivors": 2, "generations": 1})
        for name in ("mutation", "absent"):
            check_probability(getattr(self, name), name)
        if self.survivors > self.population:
            raise InputError(
                f"{self.survivors} `survivors` of a `population` of {self.population}: at most "
                "all of it can survive."
            )
        if not 0.0 < self.alpha < math.inf:
            raise InputError(f"`alpha` is a positive number, got {self.alpha!r}.")

    def default_objective(self) -> None:
        """Return None: the objective must be given."""

    def propose(self, problem: Problem) -> Proposals:
        """Yield one generation at a time."""
        rng = problem.rng
        space, start = space_of(
            problem.modes,
            self.template,
            problem.start,
            highest=self.max_rank,
            limits=limits_of(self),
        )
        alive = [] if start is None else [start]
        while len(alive) < self.population:
            alive.append(space.sample(rng, absent=self.absent))
        for generation in range(1, self.generations + 1):
            structures = [space.structure(state) for state in alive]
            answers = yield [
                Proposal(
                    structure=structure,
                    sweeps=self.sweeps,
                    restarts=self.restarts,
                    label=f"generation {generation}",
                )
                for structure in structures
            ]
            parents = self._fittest(alive, answers, problem, space)
            alive = []
            while len(alive) < self.population:
                alive += self._children(space, parents, rng)
            del alive[self.population :]

    def _fittest(
        self,
        alive: Sequence[State],
        answers: Sequence[Answer],
        problem: Problem,
        space: SearchSpace,
    ) -> list[State]:
        def rank(k: int) -> tuple[float, ...]:
            error = answers[k].error
            if not math.isfinite(error):
                return (math.inf,)
            return problem.objective.order(candidate(space.structure(alive[k]), error))

        order = sorted(range(len(alive)), key=rank)
        return [alive[k] for k in order[: self.survivors]]

    def _children(
        self, space: SearchSpace, parents: Sequence[State], rng: np.random.Generator
    ) -> list[State]:
        ages = np.arange(len(parents))
        weights = np.maximum(np.log(self.alpha / (0.01 + 5.0 * ages)), 0.01)
        shares = weights / weights.sum()
        for _ in range(DRAWS):
            a, b = rng.choice(len(parents), size=2, replace=False, p=shares)
            pair = crossed(space, parents[a], parents[b], rng)
            children = [self._mutated(space, child, rng) for child in pair]
            if fit := [child for child in children if space.allows(child)]:
                return fit
        return [parents[0]]

    def _mutated(self, space: SearchSpace, state: State, rng: np.random.Generator) -> State:
        low, high = space.lowest, space.highest
        ranks = []
        for rank in state.ranks:
            if high > low and rng.random() < self.mutation:
                vanish = rank > low and (high - low < 2 or rng.random() < 0.5)
                others = [r for r in range(low + 1, high + 1) if r != rank]
                rank = low if vanish else others[int(rng.integers(len(others)))]
            ranks.append(rank)
        return state._replace(ranks=tuple(ranks))


def crossed(
    space: SearchSpace, a: State, b: State, rng: np.random.Generator
) -> tuple[State, State]:
    """Return two states whose ranks at one node, drawn at random, are exchanged.

    Examples
    --------
    >>> import tnet
    >>> space = SearchSpace(graph=tnet.tensor_train((4, 4)), highest=3)
    >>> one, two = State((1,), space.places), State((3,), space.places)
    >>> [s.ranks for s in crossed(space, one, two, np.random.default_rng(0))]
    [(3,), (1,)]
    """
    names = space.graph.node_names
    node = names[int(rng.integers(len(names)))]
    own = {k for k, bond in enumerate(space.bonds) if bond in space.graph.legs[node]}
    pairs = list(enumerate(zip(a.ranks, b.ranks, strict=True)))
    first = tuple(y if k in own else x for k, (x, y) in pairs)
    second = tuple(x if k in own else y for k, (x, y) in pairs)
    return a._replace(ranks=first), b._replace(ranks=second)
