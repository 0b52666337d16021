"""TreeSearch: the best tree for the data, with its ranks, from the spectra of bipartitions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from contraction.errors import InputError
from contraction.truncation import check_rank
from structure_search.methods.base import AbstractMethod, Problem, Proposal, Proposals
from structure_search.methods.trees.parts import structure_of
from structure_search.methods.trees.runs import AbstractRun, NearestRun, SmallestRun
from structure_search.objectives import RelativeError

COARSEST, FINEST = 0.7, 1e-5  # errors that a budget is taken to lie between


@final
@dataclass(frozen=True, kw_only=True)
class TreeSearch(AbstractMethod):
    """The smallest tree network within an error, or the nearest one within a budget.

    A bond of a tree cuts the modes in two, and cutting the data there to rank r costs the tail
    of the singular values of that unfolding beyond r. The sum of the squared tails of all bonds
    bounds the squared error. For any price per squared tail the cheapest of *all* trees over
    the modes (trains in all orders, Tucker, balanced trees and their mixtures, with inner
    nodes, any degree and several modes at a node), with the best ranks, follows from a dynamic
    programme over sets of modes (`structure_search.methods.trees.laminar`); no tree is enumerated.

    The bound is loose where several bonds discard the same part, so the programme is solved for
    several powers of the tails as well, between their sum and their largest; each tree it finds
    is really factorised, with the ranks of its own programme at the price that just reaches the
    objective. Then follow the trees that differ in one bond from the best, and changes of one
    or two ranks. The error of every network is exact.

    Above nine modes the sets are the intervals of four orders of the modes, two of them from
    the mutual information of pairs, and all sets around the best trees found.

    A mode whose size has factors can be split by reshaping the data before the search: the
    trees over the parts hold all trees over the whole, and smooth modes shrink.

    Sets as bonds of a tree and the choice by spectra: Guo, Gorodetsky et al., arXiv:2502.02711
    (an integer programme with bins there). Tails: Grasedyck, SIAM J. Matrix Anal. Appl. 31
    (2010) 2029.

    Parameters
    ----------
    keep
        How many trees are looked around, and have their ranks refined.
    rounds
        Most rounds of looking around.
    patience
        How many changes of ranks of one tree may be in vain before the next one's turn.

    Examples
    --------
    >>> from structure_search import search
    >>> i, j, k = np.ogrid[1:9, 1:10, 1:11]
    >>> goal = RelativeError(tol=1e-2)
    >>> rng = np.random.default_rng(0)
    >>> found = search(1.0 / (i + j + k), method=TreeSearch(rounds=1), objective=goal, rng=rng)
    >>> found.best.num_params, found.best.error < 1e-2
    (62, True)
    """

    needs_every_entry: ClassVar[bool] = True

    keep: int = 3
    rounds: int = 6
    patience: int = 24

    def __post_init__(self) -> None:
        check_rank(self.keep, "keep")
        check_rank(self.rounds, "rounds", least=0)
        check_rank(self.patience, "patience", least=0)

    def default_objective(self) -> RelativeError | None:
        """There is none: the error or the budget has to be given."""
        return None

    def propose(self, problem: Problem) -> Proposals:
        """Yield trees with ranks."""
        problem.require_complete("TreeSearch")
        if len(problem.modes) == 1:  # there is one tree
            alone = structure_of({}, tuple(problem.modes.values()), tuple(problem.modes))
            yield [Proposal(structure=alone, label="1 nodes")]
            return
        run = self._run(problem)
        yield from run.trees()
        for _ in range(self.rounds):
            before = run.best
            yield from run.around()
            if run.best >= before:
                break
        for sets in run.leaders(self.keep):
            yield from run.descend(sets)

    def _run(self, problem: Problem) -> AbstractRun:
        goal = problem.objective
        if goal.cap is not None:
            tol = self._reachable(problem, goal.cap)
            return NearestRun(problem, tol, goal.cap, self.keep, self.patience)
        if not goal.enough > 0.0:
            raise InputError(
                "TreeSearch looks for the smallest network within an error above zero, or the "
                f"nearest within a budget of parameters; got {goal}."
            )
        return SmallestRun(problem, goal.enough, self.keep, self.patience)

    def _reachable(self, problem: Problem, budget: int) -> float:
        """Return an error that no tree within `budget` has, from the ranks of single modes."""
        tails = [problem.spectra.tails([mode]) for mode in problem.modes]
        sizes = list(problem.modes.values())
        errors = np.geomspace(COARSEST, FINEST, 60)
        for error in errors:
            ranks = [
                size if t is None else max(1, int(np.count_nonzero(t > error)))
                for size, t in zip(sizes, tails, strict=True)
            ]
            # a node with a mode has at least as many entries as the mode's cut has values
            if sum(rank * size for rank, size in zip(ranks, sizes, strict=True)) > 2 * budget:
                return float(error)
        return FINEST
