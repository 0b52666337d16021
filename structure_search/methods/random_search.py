"""RandomSearch: structures drawn at random, the yardstick for every other method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from structure_search.methods.base import AbstractMethod, Problem, Proposal, Proposals
from structure_search.methods.sampling import check_probability, check_walk, limits_of
from structure_search.space.search_space import Arrangement, SearchSpace, space_of
from structure_search.space.templates import Template
from tnet.structure import Structure

BATCH = 16  # structures that workers may be given at once


@final
@dataclass(frozen=True, kw_only=True)
class RandomSearch(AbstractMethod):
    """Draw `samples` structures: bonds of a template are there at random, with random ranks.

    The modes are put on the template in random order (over all pairs that changes nothing).
    With a `start` structure its graph is kept and only the ranks are drawn. Structures beyond
    a limit, or a number of parameters that the objective allows, have their largest ranks
    lowered until they keep to it.

    Parameters
    ----------
    template
        The graph; by default a bond between every two nodes.
    max_rank
        Ranks are uniform in 2..max_rank (of a start in 1..max_rank).
    density
        Probability that a bond of the template is there.
    samples
        How many structures to draw.
    max_degree, max_params, max_memory
        Limits, as in `Limits`.
    sweeps, restarts
        For each fit.

    Examples
    --------
    >>> import numpy as np
    >>> from structure_search import MaxParams, search
    >>> x = np.random.default_rng(0).standard_normal((3, 3, 3))
    >>> method = RandomSearch(max_rank=3, samples=4)
    >>> goal = MaxParams(params=60)
    >>> found = search(x, method=method, objective=goal, rng=np.random.default_rng(1))
    >>> len(found.trace)
    4
    """

    template: Template = Template.FULL
    max_rank: int = 4
    density: float = 0.5
    samples: int = 100
    max_degree: int | None = None
    max_params: int | None = None
    max_memory: int | str | None = None
    sweeps: int = 40
    restarts: int = 2

    def __post_init__(self) -> None:
        check_walk(self, counts={"samples": 1})
        check_probability(self.density, "density")

    def default_objective(self) -> None:
        """Return None: the objective must be given."""

    def propose(self, problem: Problem) -> Proposals:
        """Yield structures in batches; they do not depend on the answers."""
        space, start = space_of(
            problem.modes,
            self.template if problem.start is None else Template.TRAIN,
            problem.start,
            highest=self.max_rank,
            arrangement=Arrangement.FREE if problem.start is None else Arrangement.FIXED,
            limits=limits_of(self),
        )
        absent = 0.0 if start is not None else 1.0 - self.density
        for first in range(0, self.samples, BATCH):
            numbers = range(first, min(first + BATCH, self.samples))
            drawn = [self._draw(space, problem, absent) for _ in numbers]
            yield [
                Proposal(
                    structure=structure,
                    sweeps=self.sweeps,
                    restarts=self.restarts,
                    label=f"sample {k}",
                )
                for k, structure in zip(numbers, drawn, strict=True)
            ]

    def _draw(self, space: SearchSpace, problem: Problem, absent: float) -> Structure:
        state = space.sample(problem.rng, absent=absent)
        structure = space.structure(state)
        while not problem.objective.allows(structure) and max(state.ranks, default=1) > 1:
            widest = state.ranks.index(max(state.ranks))
            state = space.changed(state, widest, state.ranks[widest] - 1)
            structure = space.structure(state)
        return structure
