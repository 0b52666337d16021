"""Adaptive: what the data and the objective ask for, one strategy after the other."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, final

from contraction.truncation import check_rank
from structure_search.methods.adaptive_stages import Best, side_by_side
from structure_search.methods.base import AbstractMethod, Answer, Problem, Proposal, Proposals
from structure_search.methods.cut_rank import CutRank
from structure_search.methods.cut_rank_levels import levels, violated
from structure_search.methods.greedy import Greedy
from structure_search.methods.tree_search import TreeSearch
from structure_search.objectives import RelativeError

Stage: TypeAlias = Generator[Sequence[Proposal], Sequence[Answer], None]


@final
@dataclass(frozen=True, kw_only=True)
class Adaptive(AbstractMethod):
    """The default: several strategies in an order that depends on the task and the answers.

    Where every entry is known and an error is allowed, the ranks of all cuts come first
    (`CutRank`): if some network agrees with them and is within the tolerance, the data are
    explained, and only smaller ranks are tried then. Otherwise the best trees (`TreeSearch`)
    and greedy growth (`Greedy`) go on side by side, and what is best is lowered, exchanged and
    divided until nothing more is gained. With missing entries or a loss, growth decides alone.

    Parameters
    ----------
    max_rank
        Largest rank of a bond; None for any.
    max_degree
        Most bonds of rank above one at one node; None for any.

    Examples
    --------
    >>> import numpy as np
    >>> import tnet
    >>> from structure_search import search
    >>> ring = tnet.tensor_ring((4, 4, 4, 4), (2, 2, 2, 2))
    >>> x = tnet.contract(tnet.random_network(ring, rng=np.random.default_rng(0)))
    >>> goal = RelativeError(tol=1e-4)
    >>> found = search(x, method=Adaptive(), objective=goal, rng=np.random.default_rng(1))
    >>> found.best.num_params, ring.num_params
    (64, 64)
    """

    max_rank: int | None = None
    max_degree: int | None = None

    def __post_init__(self) -> None:
        if self.max_degree is not None:
            check_rank(self.max_degree, "max_degree", least=2)
        if self.max_rank is not None:
            check_rank(self.max_rank, "max_rank", least=2)

    def default_objective(self) -> None:
        """Return None: what to look for has to be said."""

    def propose(self, problem: Problem) -> Proposals:
        """Yield the stages that suit the problem."""
        best = Best(problem.objective)
        free = self.max_rank is None and self.max_degree is None
        greedy = Greedy(max_rank=self.max_rank, max_degree=self.max_degree)
        goal = problem.objective
        if not (problem.task.complete and free):
            yield from best.of(greedy.propose(problem))
            return
        if isinstance(goal, RelativeError):
            yield from best.of(CutRank().propose(problem))
            if _explained(problem, best):
                return
        if isinstance(goal, RelativeError) or goal.cap is not None:
            trees = best.of(TreeSearch().propose(problem))
            yield from side_by_side([trees, best.of(greedy.propose(problem))])
            if best.answer is not None:
                last = replace(problem, start=best.answer.evaluation.structure)
                yield from best.of(greedy.propose(last))
            return
        yield from best.of(greedy.propose(problem))


def _explained(problem: Problem, best: Best) -> bool:
    """Tell whether the best network agrees with the ranks that the data show, and fits."""
    goal, found = problem.objective, best.answer
    if found is None or found.error > goal.enough:
        return False
    shown = next(levels(problem.spectra, problem.modes, goal.enough))
    return violated(found.evaluation.structure, shown) == 0
