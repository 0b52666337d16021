"""Lowering: which kernel does each step of a tree, and in which order its axes lie in memory.

At equal multiply-adds the way a step is done decides its time: a permutation in memory costs
as much as the matrix product it prepares. Every value therefore has several candidate axis
orders; a dynamic programme over the tree keeps the cheapest few for each value, a candidate
being the cost of everything below it, and the root picks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from contraction.cost import CostModel
from contraction.tree import Pair, Tree
from contraction.ways import Copy as Copy
from contraction.ways import Kernel as Kernel
from contraction.ways import Order as Order
from contraction.ways import StepWays
from contraction.ways import Way as Way
from contraction.ways import singles as singles

LITTLE = 1 << 13  # multiply-adds of a step that takes little more than its call
_Step = StepWays


class Candidate(NamedTuple):
    """A value with its axes in a certain order, and the cheapest way found to make it."""

    seconds: float
    order: Order
    way: Way | None = None
    left: int = 0  # which candidate of the left value
    right: int = 0


def choose_ways(
    tree: Tree,
    orders: Sequence[Order],
    model: CostModel,
    *,
    width: int = 6,
    fixed: Mapping[int, Way] = MappingProxyType({}),
) -> tuple[list[Way], list[Order], list[float], float]:
    """Return the way, the axis orders of all values, the seconds of each step, those in all.

    Parameters
    ----------
    tree
        The contraction tree.
    orders
        The labels of each leaf in memory order.
    model
        The rates.
    width
        Candidates kept per value.
    fixed
        Step -> the way it is done. A way that the axis orders of its operands do not allow is
        passed over.
    """
    count = len(orders)
    found = _all_candidates(tree, orders, model, width, fixed)
    root = 2 * count - 2
    best, total = 0, math.inf
    for index, candidate in enumerate(found[root]):
        seconds = candidate.seconds
        if candidate.order != tree.output:
            seconds += model.view  # the result may lie in memory in any order
        if seconds < total:
            best, total = index, seconds
    return *_backtrack(tree, found, best), total


def rival_ways(
    tree: Tree, orders: Sequence[Order], model: CostModel, step: int, *, width: int = 6
) -> list[Way]:
    """Return all ways of doing one step, those of the shortest estimated time first."""
    found = _all_candidates(tree, orders, model, width, {})
    pair = tree.pairs[step]
    ways = StepWays(tree, pair, _wishes(tree)[len(orders) + step], model).ways
    best: dict[Way, float] = {}
    for left in found[pair.left]:
        for right in found[pair.right]:
            below = left.seconds + right.seconds
            for seconds, _, way in ways(left.order, right.order):
                best[way] = min(best.get(way, math.inf), below + seconds)
    return sorted(best, key=best.__getitem__)


def _all_candidates(
    tree: Tree,
    orders: Sequence[Order],
    model: CostModel,
    width: int,
    fixed: Mapping[int, Way],
) -> list[list[Candidate]]:
    found: list[list[Candidate]] = [[Candidate(0.0, order)] for order in orders]
    wishes = _wishes(tree)
    count = len(orders)
    for k, pair in enumerate(tree.pairs):
        found.append(_candidates(tree, pair, found, wishes[count + k], model, width, fixed.get(k)))
    return found


def _backtrack(
    tree: Tree, found: Sequence[Sequence[Candidate]], best: int
) -> tuple[list[Way], list[Order], list[float]]:
    chosen = [0] * len(found)
    chosen[-1] = best
    count = len(tree.leaves)
    ways: list[Way] = []
    seconds: list[float] = []
    for k in range(len(tree.pairs) - 1, -1, -1):
        pair, candidate = tree.pairs[k], found[count + k][chosen[count + k]]
        chosen[pair.left], chosen[pair.right] = candidate.left, candidate.right
        assert candidate.way is not None
        ways.append(candidate.way)
        below = (
            found[pair.left][candidate.left].seconds + found[pair.right][candidate.right].seconds
        )
        seconds.append(candidate.seconds - below)
    ways.reverse()
    seconds.reverse()
    return ways, [found[v][c].order for v, c in enumerate(chosen)], seconds


def _wishes(tree: Tree) -> list[dict[int, int]]:
    """Return, for each value, a rank of its labels: those of one fate at its next use together."""
    count = len(tree.leaves)
    wishes: list[dict[int, int]] = [{} for _ in range(len(tree.legs))]
    for pair in tree.pairs:
        for value, kept in ((pair.left, pair.left_only), (pair.right, pair.right_only)):
            if value >= count:
                labels = (*pair.batch, *kept, *pair.summed)
                wishes[value] = {label: i for i, label in enumerate(labels)}
    wishes[-1] = {label: i for i, label in enumerate(tree.output)}
    return wishes


def _candidates(
    tree: Tree,
    pair: Pair,
    found: Sequence[Sequence[Candidate]],
    wish: dict[int, int],
    model: CostModel,
    width: int,
    fixed: Way | None,
) -> list[Candidate]:
    best: dict[Order, Candidate] = {}
    step = StepWays(tree, pair, wish, model)
    if step.b * step.m * step.n * step.k <= LITTLE:
        width = min(width, 2)
    for i, left in enumerate(found[pair.left]):
        for j, right in enumerate(found[pair.right]):
            below = left.seconds + right.seconds
            if len(best) >= width and below >= sorted(c.seconds for c in best.values())[width - 1]:
                break  # those that follow take longer still
            for seconds, order, way in step.ways(left.order, right.order):
                if fixed is not None and way != fixed:
                    continue
                known = best.get(order)
                if known is None or below + seconds < known.seconds:
                    best[order] = Candidate(below + seconds, order, way, i, j)
    if not best:  # the fixed way is none of these
        return _candidates(tree, pair, found, wish, model, width, None)
    return sorted(best.values(), key=lambda c: c.seconds)[:width]
