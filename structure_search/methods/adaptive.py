"""Adaptive: what the data and the objective ask for, one strategy after the other."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import final

from contraction.truncation import check_rank
from structure_search.methods.adaptive_stages import Best, Turns, one, side_by_side
from structure_search.methods.adaptive_walk import Walk
from structure_search.methods.base import AbstractMethod, Problem, Proposal, Proposals
from structure_search.methods.cut_rank import CutRank, graphs_below
from structure_search.methods.cut_rank_levels import levels
from structure_search.methods.cut_rank_table import CLOSE, structure_cuts
from structure_search.methods.greedy import Greedy, isolated
from structure_search.methods.growth import Limits
from structure_search.methods.tree_search import TreeSearch
from structure_search.methods.trees.parts import structure_of
from structure_search.objectives import Custom, RelativeError, WeightedError
from structure_search.results import as_candidate

MANY_MODES = 6  # from here graphs with loops beat trees so often that growth comes first
EARLY = 3  # batches of trees before anything else
FLOPS = 1e10  # for graphs from cuts of which none is narrow; about a second
NEXT_TO_NOTHING = 1e-3  # what an error may add to a weighted sum and count as none


@final
@dataclass(frozen=True, kw_only=True)
class Adaptive(AbstractMethod):
    """The default: several strategies in an order that depends on the task and the answers.

    Where every entry is known, an error is allowed and a cut of the data has at most half its
    full rank above their noise, the ranks of all cuts come first (`CutRank`): if some network
    agrees with them and is within the tolerance, the data are explained, and only smaller ranks
    are tried then. On all other data a few good trees (`TreeSearch`) come first, so that there
    is an answer early. The best trees and greedy growth (`Greedy`) go on side by side then (from
    six modes growth comes before trees), graphs from cuts follow where they are smaller than
    what was found and cheap to fit, and what is best is lowered, exchanged and divided until
    nothing more is gained. A network is never larger than the data: one node is tried then.

    Where size has a price (`WeightedError`, `Custom`) a walk begins at rank one: what every bond
    would gain with one more value, or lose with one less, is worked out without a fit, and the
    best few bonds at once, and the best exchanges, are fitted side by side for a few sweeps from
    the present network. Where a round of such steps, and sweeps after it, gain nothing, growth
    by single bonds is tried as well; with few modes it goes on beside the walk.

    Where entries are missing, growth decides alone.

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
        free = free and problem.task.complete and len(problem.modes) > 1
        if isinstance(problem.objective, WeightedError | Custom):
            yield from self._priced(problem, best, free=free)
        elif free:
            yield from self._smallest(problem, best)
        else:
            yield from best.of(self._greedy.propose(problem))
        if problem.task.complete and _too_large(problem, best):
            whole = structure_of({}, tuple(problem.modes.values()), tuple(problem.modes))
            yield from best.of(one(Proposal(structure=whole, label="one node")))

    @property
    def _greedy(self) -> Greedy:
        return Greedy(max_rank=self.max_rank, max_degree=self.max_degree)

    def _smallest(self, problem: Problem, best: Best) -> Proposals:
        """Yield what is within a tolerance or a budget: from cuts, trees and growth."""
        goal = problem.objective
        tol = goal.tol if isinstance(goal, RelativeError) else None
        deficient = tol is not None and _deficient(problem, tol)
        if deficient:
            yield from best.of(CutRank().propose(problem))
            if _explained(problem, best):
                return
        growth = best.of(self._greedy.propose(problem))
        if not (goal.cap or goal.enough > 0.0):  # trees alone need either
            yield from growth
        else:
            trees = Turns(TreeSearch().propose(problem))
            if not deficient:
                yield from best.of(trees.next(EARLY))
            if len(problem.modes) >= MANY_MODES:
                yield from growth
                yield from best.of(trees.rest())
            else:
                yield from side_by_side([best.of(trees.rest()), growth])
        if tol is not None and not deficient:
            yield from best.of(graphs_below(problem, tol, _params(problem, best), FLOPS))
        if best.answer is not None:
            last = replace(problem, start=best.answer.evaluation.structure)
            yield from best.of(self._greedy.propose(last))

    def _priced(self, problem: Problem, best: Best, *, free: bool) -> Proposals:
        """Yield what the cuts show, a walk, and the trees that are as near as where it ended."""
        goal = problem.objective
        limits = Limits(max_degree=self.max_degree, max_rank=self.max_rank, allows=goal.allows)
        begin = problem.start or isolated(problem)
        yield from best.of(one(Proposal(structure=begin, sweeps=20, restarts=1, label="start")))
        if free and isinstance(goal, WeightedError):
            tol = min(0.5, math.sqrt(NEXT_TO_NOTHING / goal.weight))
            if _deficient(problem, tol):
                near = replace(problem, objective=RelativeError(tol=tol))
                yield from best.of(CutRank().propose(near))
        if best.answer is None:
            return
        walk = best.of(Walk(problem, limits).run(best.answer))
        growth = self._greedy.propose(problem)
        if len(problem.modes) >= MANY_MODES:
            yield from walk
            ended = best.answer
            yield from best.of(growth)
            if best.answer is not ended:
                yield from best.of(Walk(problem, limits).run(best.answer))
            return
        yield from side_by_side([walk, best.of(growth)])
        if free and 0.0 < best.answer.error < 1.0:
            near = replace(problem, objective=RelativeError(tol=best.answer.error))
            yield from best.of(TreeSearch().propose(near))


def _params(problem: Problem, best: Best) -> int:
    """Return the parameters of the best network within the objective, or those of the data."""
    dense = math.prod(problem.modes.values())
    found = best.answer
    if found is None or not problem.objective.met(as_candidate(found.evaluation)):
        return dense
    return min(dense, found.evaluation.num_params)


def _too_large(problem: Problem, best: Best) -> bool:
    """Tell whether the best network has more parameters than the data have entries."""
    found = best.answer
    return found is not None and found.evaluation.num_params > math.prod(problem.modes.values())


def _deficient(problem: Problem, tol: float) -> bool:
    """Tell whether a cut of the data has at most half its full rank above the noise they show."""
    shown = next(levels(problem.spectra, problem.modes, tol))
    total = math.prod(shown.sizes)
    for side, most in shown.most.items():
        rows = math.prod(size for n, size in enumerate(shown.sizes) if side >> n & 1)
        if 2 * most <= min(rows, total // rows):
            return True
    return False


def _explained(problem: Problem, best: Best) -> bool:
    """Tell whether the best network has just the ranks that the data show across all cuts."""
    goal, found = problem.objective, best.answer
    if found is None or found.error > goal.enough:
        return False
    structure = found.evaluation.structure
    if 2 * structure.num_params > math.prod(problem.modes.values()):
        return False
    shown = next(levels(problem.spectra, problem.modes, goal.enough))
    cuts = structure_cuts(structure.permuted(tuple(problem.modes)), shown.most)
    return all(abs(cuts[side] - math.log(most)) <= CLOSE for side, most in shown.most.items())
