"""Exact search: the best trees of a small network by dynamic programming over its subsets.

The state is a set of leaves. What a set costs is known once all its splits into two are, and a
split is looked at once for both its halves. Without outer products only connected sets count,
and a sparse network has few of them (Moerkotte and Neumann, VLDB 2006; Pfeifer, Haegeman and
Verstraete, Phys. Rev. E 90, 033315 (2014)). A few trees are kept for each set, for the
estimated seconds of a step depend on how its operands were made.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from contraction.cost import CostModel
from contraction.search.problem import Found, Problem
from contraction.tree import Pairs, reorder

OUTER = 6  # leaves up to which outer products are tried everywhere
WORK = 20_000  # splits beyond which a search is given up
HUGE = 1 << 200  # entries above which all counts are alike; the product of four is still a float


class Volumes(NamedTuple):
    """A step as a batch of matrix products (m, k) x (k, n); HUGE at most."""

    batch: int
    m: int
    n: int
    k: int


class Made(NamedTuple):
    """A tree over a set of leaves."""

    cost: float
    left: int = 0  # the set of leaves on the left, as a mask
    right: int = 0
    left_rank: int = 0  # which of the trees of the left set
    right_rank: int = 0
    rows: int = 0  # labels that the left brought into the result, as a mask
    columns: int = 0


class Measure(Protocol):
    """What is summed over the steps of a tree."""

    def __call__(self, volumes: Volumes) -> float:
        """Return the cost of one step, without what its operands' axis orders add."""
        ...


def seconds_of(model: CostModel) -> Measure:
    """Return the estimated seconds of a step whose operands lie as it wishes."""

    def measure(volumes: Volumes) -> float:
        batch, m, n, k = volumes
        if k == 1:
            if m == 1 or n == 1 or batch > 1:
                return model.multiply(batch * m * n, max(m, n, 8), across=False)
            return min(
                model.multiply(m * n, max(m, n), across=False),
                model.matmul(1, m, n, 1),
            )
        seconds = min(model.matmul(batch, m, n, k), model.matmul(batch, n, m, k))
        if batch > 1 and m * n <= 8 * max(m, n):
            run = max(m, n, k)
            fused = model.multiply_sum(batch * m * n * k, run, along=True, across=False)
            seconds = min(seconds, fused)
        return seconds

    return measure


def multiply_adds(volumes: Volumes) -> float:
    """Return the multiply-adds of a step."""
    return float(volumes.batch * volumes.m * volumes.n * volumes.k)


def entries_written(volumes: Volumes) -> float:
    """Return the entries of the result of a step."""
    return float(volumes.batch * volumes.m * volumes.n)


def combination(weight: float) -> Measure:
    """Return the multiply-adds and `weight` for each entry written."""

    def measure(volumes: Volumes) -> float:
        written = float(volumes.batch * volumes.m * volumes.n)
        return written * (volumes.k + weight)

    return measure


def exact(
    problem: Problem,
    measure: Measure,
    *,
    copies: CostModel | None = None,
    keep: int = 4,
    work: int = WORK,
) -> list[Found] | None:
    """Return the best trees by a sum over their steps, best first; None if that is too much work.

    Outer products are tried everywhere up to `OUTER` leaves, and not at all above.

    Parameters
    ----------
    problem
        A network, connected if it is larger than `OUTER`; None is returned otherwise.
    measure
        The cost of a step.
    copies
        Rates of the copies that are charged where the axes of an operand do not fall into the
        blocks that a matrix product can look at; without them none are.
    keep
        Trees kept for each set of leaves, and returned.
    work
        Splits beyond which the search is given up; each takes some microseconds.
    """
    search = _Search(problem, measure, copies, keep)
    splits = search.splits(work)
    if splits is None:
        return None
    search.run(splits)
    return search.found() or None


def least_peak(problem: Problem, *, work: int = WORK) -> Found | None:
    """Return the tree with the fewest entries alive at once; None if that is too much work.

    Of two branches the better one is made first, and the inputs count nothing; copies are left
    out.
    """
    search = _Peaks(problem, multiply_adds, None, 1)
    splits = search.splits(work)
    if splits is None:
        return None
    search.run(splits)
    return next(iter(search.found()), None)


class _Search:
    def __init__(
        self, problem: Problem, measure: Measure, copies: CostModel | None, keep: int
    ) -> None:
        self.problem, self.measure, self.copies, self.keep = problem, measure, copies, keep
        self.count = len(problem.leaves)
        self.all = (1 << self.count) - 1
        self.output = sum(1 << x for x in problem.output)
        self.sizes = [max(size, 1) for size in problem.sizes]
        self.volumes: dict[int, int] = {0: 1}
        self.union = {1 << i: sum(1 << x for x in held) for i, held in enumerate(problem.leaves)}
        self.legs = dict(self.union)
        self.made: dict[int, list[Made]] = {1 << i: [Made(0.0)] for i in range(self.count)}

    def volume(self, labels: int) -> int:
        """Return the product of the sizes of the labels in a mask, or HUGE."""
        known = self.volumes.get(labels)
        if known is None:
            known, rest = 1, labels
            while rest and known < HUGE:
                low = rest & -rest
                known *= self.sizes[low.bit_length() - 1]
                rest ^= low
            known = self.volumes[labels] = min(known, HUGE)
        return known

    def splits(self, work: int) -> dict[int, list[tuple[int, int]]] | None:
        """Return the splits of every set, sets before those that hold them; None if too many."""
        pairs = _all_splits(self.count) if self.count <= OUTER else self._connected_splits()
        splits: dict[int, list[tuple[int, int]]] = {}
        for number, (left, right) in enumerate(pairs):
            if number >= work:
                return None
            splits.setdefault(left | right, []).append((left, right))
        return {mask: splits[mask] for mask in sorted(splits, key=int.bit_count)}

    def _connected_splits(self) -> Iterator[tuple[int, int]]:
        holders = [0] * len(self.sizes)
        for i, held in enumerate(self.problem.leaves):
            for label in held:
                holders[label] |= 1 << i
        near = [0] * self.count
        for i, held in enumerate(self.problem.leaves):
            for label in held:
                near[i] |= holders[label]
            near[i] &= ~(1 << i)
        return connected_splits(near)

    def run(self, splits: dict[int, list[tuple[int, int]]]) -> None:
        """Fill the table, small sets first."""
        for mask, pairs in splits.items():
            union = self.union[pairs[0][0]] | self.union[pairs[0][1]]
            self.union[mask] = union
        for mask, pairs in splits.items():
            self.legs[mask] = self.union[mask] & self._outside(mask)
            self.made[mask] = self.best(mask, pairs)

    def _outside(self, mask: int) -> int:
        held = self.output
        rest = self.all ^ mask
        while rest:
            low = rest & -rest
            held |= self.union[low]
            rest ^= low
        return held

    def best(self, mask: int, pairs: list[tuple[int, int]]) -> list[Made]:
        """Return the best few trees of a set."""
        found: list[Made] = []
        bar, kept, made = math.inf, self.legs[mask], self.made
        for left, right in pairs:
            below = made[left][0].cost + made[right][0].cost
            if below >= bar:
                continue
            a, b = self.legs[left], self.legs[right]
            shared = a & b
            summed = shared & ~kept
            step = self.measure(
                Volumes(
                    self.volume(shared & kept),
                    self.volume(a & ~shared),
                    self.volume(b & ~shared),
                    self.volume(summed),
                )
            )
            if below + step >= bar:
                continue
            for i, one in enumerate(made[left]):
                if one.cost + made[right][0].cost + step >= bar:
                    break
                for j, other in enumerate(made[right]):
                    cost = one.cost + other.cost + step
                    if cost >= bar or (i and j):
                        break
                    if self.copies is not None and summed:
                        cost += self._copy(left, one, summed) + self._copy(right, other, summed)
                    found.append(Made(cost, left, right, i, j, a & ~b & kept, b & ~a & kept))
            if len(found) >= self.keep:
                found = heapq.nsmallest(self.keep, found)
                bar = found[-1].cost
        return sorted(found)[: self.keep]

    def _copy(self, mask: int, made: Made, summed: int) -> float:
        """Return the seconds of the copy that an operand needs, judged by its blocks.

        A result lies as (batch, rows, columns), with any order inside each. A product can look
        at it if what is summed, or what is kept, is a block or within one.
        """
        labels = self.legs[mask]
        if made.left:
            kept = labels & ~summed
            for block in (made.rows, made.columns, labels & ~made.rows & ~made.columns):
                if block and (not summed & ~block or not kept & ~block):
                    return 0.0
        elif self._in_one_run(mask, summed):
            return 0.0
        assert self.copies is not None
        return self.copies.copy(self.volume(labels), 1 << 10)

    def _in_one_run(self, mask: int, summed: int) -> bool:
        """Tell whether what is summed lies together at an end of a leaf."""
        held = self.problem.leaves[mask.bit_length() - 1]
        fates = [bool(summed >> x & 1) for x in held]
        return sum(x != y for x, y in itertools.pairwise(fates)) <= 1

    def found(self) -> list[Found]:
        """Return the trees of the whole network."""
        if self.count == 1:
            return [Found((), (), -math.inf)]
        return [
            Found(self._pairs(made), (), math.log2(made.cost) if made.cost > 0 else -math.inf)
            for made in self.made.get(self.all, [])
        ]

    def _pairs(self, root: Made) -> Pairs:
        """Return the pairs of a tree; its sets become numbers in the order of creation."""
        pairs: list[tuple[int, int]] = []
        stack, number = [(root, -1, 0)], self.count
        steps: list[list[int]] = []
        while stack:
            made, parent, side = stack.pop()
            if parent >= 0:
                steps[parent][side] = ~len(steps)
            steps.append([0, 0])
            here = len(steps) - 1
            for side, (mask, rank) in enumerate(
                ((made.left, made.left_rank), (made.right, made.right_rank))
            ):
                if mask & (mask - 1):
                    stack.append((self.made[mask][rank], here, side))
                else:
                    steps[here][side] = mask.bit_length() - 1
        last = number + len(steps) - 1
        for left, right in reversed(steps):  # the root comes first, and must be the last pair
            pairs.append(tuple(v if v >= 0 else last - ~v for v in (left, right)))  # type: ignore[arg-type]
        return reorder(pairs, self.count)


class _Peaks(_Search):
    def best(self, mask: int, pairs: list[tuple[int, int]]) -> list[Made]:
        """Return the tree of the smallest peak; of equal ones that of the fewest multiply-adds."""
        size = self.volume(self.legs[mask])
        best: Made | None = None
        for left, right in pairs:
            one, other = self.made[left][0], self.made[right][0]
            a = self.volume(self.legs[left]) if left & (left - 1) else 0
            b = self.volume(self.legs[right]) if right & (right - 1) else 0
            first = max(one.cost, a + other.cost)
            second = max(other.cost, b + one.cost)
            peak = float(max(min(first, second), a + b + size))
            if best is None or peak < best.cost:
                best = Made(peak, left, right)
        assert best is not None
        return [best]


def _all_splits(count: int) -> Iterator[tuple[int, int]]:
    for mask in range(3, 1 << count):
        low = mask & -mask
        rest = mask ^ low
        right = rest
        while right:  # every part without the lowest leaf
            yield mask ^ right, right
            right = (right - 1) & rest


def connected_splits(near: list[int]) -> Iterator[tuple[int, int]]:
    """Yield every pair of disjoint connected sets that touch, once (Moerkotte and Neumann).

    Parameters
    ----------
    near
        For each leaf the mask of its neighbours.

    Examples
    --------
    >>> list(connected_splits([0b010, 0b101, 0b010]))
    [(2, 4), (1, 2), (1, 6), (3, 4)]
    """

    def around(mask: int) -> int:
        found, rest = 0, mask
        while rest:
            low = rest & -rest
            found |= near[low.bit_length() - 1]
            rest ^= low
        return found & ~mask

    def grown(start: int, barred: int) -> Iterator[int]:
        """Yield the connected sets that hold `start` and nothing barred."""
        yield start
        stack = [(start, barred)]
        while stack:
            mask, barred = stack.pop()
            edge = around(mask) & ~barred
            part = edge
            while part:
                yield mask | part
                stack.append((mask | part, barred | edge))
                part = (part - 1) & edge

    for i in reversed(range(len(near))):
        below = (2 << i) - 1  # leaves up to this one start their own sets
        for left in grown(1 << i, below):
            edge = around(left) & ~below
            rest = edge
            while rest:
                top = 1 << (rest.bit_length() - 1)
                rest ^= top
                # a right set belongs to the lowest of its leaves that touch the left
                for right in grown(top, below | left | edge & (top - 1)):
                    yield left, right
