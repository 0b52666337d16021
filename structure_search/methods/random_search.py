"""RandomSearch: structures drawn at random, the yardstick for every other method."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import final

from contraction.errors import InputError
from contraction.truncation import check_rank
from structure_search.methods.base import AbstractMethod, Problem, Proposal, Proposals
from structure_search.methods.greedy import isolated
from tnet.structure import Structure


@final
@dataclass(frozen=True, kw_only=True)
class RandomSearch(AbstractMethod):
    """Draw `samples` structures: each pair of nodes is joined at random, with a random rank.

    With a `start` structure its graph is kept and only the ranks are drawn.

    Parameters
    ----------
    max_rank
        Ranks are uniform in 2..max_rank.
    density
        Probability that two nodes are joined.
    samples
        How many structures to draw.
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

    max_rank: int = 4
    density: float = 0.5
    samples: int = 100
    sweeps: int = 40
    restarts: int = 2

    def __post_init__(self) -> None:
        check_rank(self.max_rank, "max_rank", least=2)
        for name in ("samples", "sweeps", "restarts"):
            check_rank(getattr(self, name), name)
        if not 0.0 <= self.density <= 1.0:
            raise InputError(f"`density` is a probability, got {self.density!r}.")

    def default_objective(self) -> None:
        """Return None: the objective must be given."""

    def propose(self, problem: Problem) -> Proposals:
        """Yield one structure at a time."""
        cap = problem.objective.cap
        for k in range(self.samples):
            structure = self._draw(problem)
            while cap is not None and structure.num_params > cap and structure.ranks:
                widest = max(structure.ranks, key=lambda bond: structure.size[bond])
                if structure.size[widest] == 1:
                    break
                structure = structure.resized({widest: structure.size[widest] - 1})
            yield [
                Proposal(
                    structure=structure,
                    sweeps=self.sweeps,
                    restarts=self.restarts,
                    label=f"sample {k}",
                )
            ]

    def _draw(self, problem: Problem) -> Structure:
        rng = problem.rng
        if problem.start is not None:
            drawn = rng.integers(1, self.max_rank + 1, size=len(problem.start.ranks))
            ranks = dict(zip(problem.start.ranks, map(int, drawn), strict=True))
            return problem.start.resized(ranks)
        structure = isolated(problem)
        for a, b in itertools.combinations(structure.node_names, 2):
            if rng.random() < self.density:
                structure = structure.with_bond(a, b, int(rng.integers(2, self.max_rank + 1)))
        return structure
