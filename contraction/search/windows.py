"""Windows of a contraction tree solved exactly: the polish of a tree, or a quick improvement.

A window is a part of the tree grown from one value down to a few values. The best tree over
those is found by dynamic programming over their subsets, where a set of values S makes what it
has in common with the rest and with what is outside: union(S) & (union(rest) | outer) (compare
Gray and Kourtis, Quantum 5, 410 (2021), section 3.4).
"""

from __future__ import annotations

import itertools
import math
import random
import time
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from contraction.errors import PlanError
from contraction.search.annealing_tree import (
    legs_of,
    log2_costs,
    log2_sizes,
    log2_sum,
    log2_total,
    mask_of,
    step_costs,
)
from contraction.search.problem import Found, Problem, holder_counts
from contraction.tree import check_pairs, reorder

WIDEST = 12  # values in a window; a window takes 3**width steps
FAINT = 300.0  # log2 beyond which costs within one window are all alike
GAIN = 1e-3  # log2 below which a pass over all windows gained nothing
PATIENCE = 3  # passes without a gain after which nothing more is expected; windows are random


class Layer(NamedTuple):
    """All sets of equally many values, and all ways to split each into two."""

    sets: Any
    left: Any  # (sets, splits)
    right: Any


def reoptimize(
    problem: Problem,
    start: Found,
    *,
    width: int = 8,
    seed: int,
    deadline: float | None = None,
    max_log2_size: float = math.inf,
    write_weight: float = 0.0,
) -> Found:
    """Return the tree with its windows solved exactly, over and over while that gains.

    Parameters
    ----------
    problem, start
        The network, and a tree over it. Its slices stay as they are.
    width
        Values in a window.
    seed
        Of the order and the shapes of the windows.
    deadline
        Value of `time.perf_counter` at which to stop.
    max_log2_size
        log2 of the entries that a value made inside of a window may have.
    write_weight
        Multiply-adds that one entry written is worth.

    Cost: some passes over all values, at 0.1 ms for each value where windows are of 8, and 0.3 ms
    where labels have three holders or more.

    Raises
    ------
    PlanError
        The start is not a tree over the leaves, or the width is not in 3..12.

    Examples
    --------
    >>> chain = Problem(((0, 1), (1, 2), (2, 3)), (0, 3), (2, 64, 64, 2))
    >>> reoptimize(chain, Found(((0, 2), (3, 1))), seed=0).log2_cost
    13.044394119358454
    """
    check_pairs(start.pairs, len(problem.leaves))
    if not 3 <= width <= WIDEST:
        raise PlanError(f"a window has 3 to {WIDEST} values, got a `width` of {width}.")
    pairs = start.pairs
    if len(problem.leaves) > 2:
        windows = _Windows(problem, start, width, max_log2_size, write_weight)
        windows.run(random.Random(seed), deadline)
        pairs = reorder([tuple(pair) for pair in windows.children], len(problem.leaves))  # type: ignore[misc]
    return Found(pairs, start.slices, log2_total(problem, pairs, start.slices, write_weight))


class _Windows:
    """A tree whose windows are replaced in place."""

    def __init__(
        self, problem: Problem, start: Found, width: int, limit: float, write_weight: float
    ) -> None:
        self.count, self.width, self.limit = len(problem.leaves), width, limit + 1e-6
        self.writing = math.log2(write_weight) if write_weight > 0 else -math.inf
        self.children = [list(pair) for pair in start.pairs]
        self.legs = legs_of(problem, start.pairs, mask_of(start.slices))
        self.step_cost = step_costs(problem, write_weight)
        self.cost = log2_costs(problem, start.pairs, self.legs, write_weight)
        self.weights = np.array(log2_sizes(problem))
        self.plain = max(holder_counts(problem), default=0) <= 2
        self.bytes = len(problem.sizes) // 8 + 1
        self.solved: set[frozenset[int]] = set()

    def run(self, draw: random.Random, deadline: float | None) -> None:
        """Solve windows until passes over all values gain nothing, or time is up."""
        before, idle = log2_sum(self.cost), 0
        while idle < PATIENCE:
            order = sorted(range(len(self.children)), key=lambda k: -self.cost[k])
            for root in order:
                if deadline is not None and time.perf_counter() >= deadline:
                    return
                self.solve(*self.grow(root, draw))
            now = log2_sum(self.cost)
            idle = 0 if now < before - GAIN else idle + 1
            before = now

    def grow(self, root: int, draw: random.Random) -> tuple[list[int], list[int]]:
        """Return the steps inside a window and the values at its edge.

        The dearest of two steps at the edge drawn at random is taken in next.
        """
        steps, edge = [root], list(self.children[root])
        while len(edge) < self.width:
            inner = [value for value in edge if value >= self.count]
            if not inner:
                break
            two = draw.choice(inner), draw.choice(inner)
            taken = max(two, key=lambda value: self.cost[value - self.count])
            edge.remove(taken)
            edge += self.children[taken - self.count]
            steps.append(taken - self.count)
        return steps, edge

    def solve(self, steps: list[int], edge: list[int]) -> None:
        """Replace a window by the best tree over its edge, if that is better."""
        key = frozenset(edge)
        if len(edge) < 3 or key in self.solved:
            return
        self.solved.add(key)
        top = max(self.cost[k] for k in steps)
        present = math.fsum(math.exp2(max(self.cost[k] - top, -FAINT)) for k in steps)
        outer = self.legs[self.count + steps[0]]
        best, choice = self._table(edge, outer, top)
        if best < present * (1 - 1e-9):
            self._rebuild(steps, edge, outer, choice)

    def _table(self, edge: list[int], outer: int, top: float) -> tuple[float, Any]:
        """Return the least cost of a window over 2**top, and how to split each set."""
        legs, weight = self._sets(edge, outer)
        size = legs @ weight
        everything, alone = len(size) - 1, 1 << np.arange(len(edge))
        best = np.where(size > self.limit, np.inf, 0.0)
        best[everything] = 0.0
        if self.writing > -math.inf:
            best += np.exp2(np.clip(size + self.writing - top, -FAINT, FAINT))
        best[alone] = 0.0
        choice = np.zeros(len(size), np.int64)
        # where a label has two holders at most, a step has the root of the volumes of its three
        half = np.exp2(np.clip(size / 2 - top / 3, -FAINT, FAINT))
        shared = None if self.plain else (legs * weight) @ legs.T
        for sets, left, right in layers(len(edge)):
            if shared is None:
                cost = half[left] * half[right] * half[sets][:, None]
            else:
                exponent = size[left] + size[right] - shared[left, right] - top
                cost = np.exp2(np.clip(exponent, -FAINT, FAINT))
            cost += best[left]
            cost += best[right]
            least, rows = cost.argmin(axis=1), np.arange(len(sets))
            choice[sets] = left[rows, least]
            best[sets] += cost[rows, least]
        return float(best[everything]), choice

    def _sets(self, edge: list[int], outer: int) -> tuple[Any, Any]:
        """Return the labels of the result of every set, as zeros and ones, and their weights."""
        raw = b"".join(
            mask.to_bytes(self.bytes, "little")
            for mask in (*map(self.legs.__getitem__, edge), outer)
        )
        bits = np.frombuffer(raw, np.uint8).reshape(-1, self.bytes)
        bits = np.unpackbits(bits, axis=1, bitorder="little")
        columns = np.flatnonzero(bits.any(axis=0))
        bits = bits[:, columns]
        union = np.zeros((1 << len(edge), len(columns)), np.uint8)
        for k in range(len(edge)):
            np.bitwise_or(union[: 1 << k], bits[k], out=union[1 << k : 2 << k])
        made = union & (union[::-1] | bits[-1])  # the rest of a set stands at the same place
        return made.astype(np.float64), self.weights[columns]

    def _rebuild(self, steps: list[int], edge: list[int], outer: int, choice: Any) -> None:
        """Write the best tree over the steps of a window; its root stays."""
        free, stack = steps[1:], [((1 << len(edge)) - 1, steps[0])]
        while stack:
            whole, step = stack.pop()
            union = self._union(edge, whole)
            rest = self._union(edge, (1 << len(edge)) - 1 & ~whole)
            self.legs[self.count + step] = union & (rest | outer)
            left = int(choice[whole])
            values = []
            for part in (left, whole ^ left):
                if part & (part - 1):
                    stack.append((part, free.pop()))
                    values.append(self.count + stack[-1][1])
                else:
                    values.append(edge[part.bit_length() - 1])
            self.children[step] = values
        for step in steps:
            i, j = self.children[step]
            union = self.legs[i] | self.legs[j]
            self.cost[step] = self.step_cost(union, self.legs[self.count + step])

    def _union(self, edge: list[int], part: int) -> int:
        union = 0
        for k, value in enumerate(edge):
            if part >> k & 1:
                union |= self.legs[value]
        return union


@lru_cache(maxsize=WIDEST)
def layers(width: int) -> tuple[Layer, ...]:
    """Return all sets of two, three, ... of `width` values, with their splits, as bits.

    Examples
    --------
    >>> [layer.left.shape for layer in layers(4)]
    [(6, 1), (4, 3), (1, 7)]
    """
    found = []
    for many in range(2, width + 1):
        sets = np.array(
            [sum(c) for c in itertools.combinations([1 << k for k in range(width)], many)]
        )
        # every part of the first set without its largest value, spread over each other set
        inner = 1 << np.arange(many - 1)
        parts = np.arange(1, 1 << many - 1)
        members = np.array(list(itertools.combinations(range(width), many)), np.int64)
        chosen = (parts[:, None] & inner) > 0
        left = (chosen[None] * (1 << members[:, None, :-1])).sum(axis=2)
        found.append(Layer(sets, left, sets[:, None] ^ left))
    return tuple(found)
