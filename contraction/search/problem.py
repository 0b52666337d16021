"""What the search members work on and return: a hypergraph with sizes, and trees over it.

A `Problem` is a contraction without what does not matter for the order of the pairs: labels of
size one, labels repeated on one input and labels that only one input holds are gone.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from contraction.spec import Canonical
from contraction.tree import Pairs, check_pairs, leaf_labels

LOOKED_AT = 32  # holders of a label that are tried as hosts of one value


class Problem(NamedTuple):
    """A hypergraph: the labels of every leaf, those of the output, and the sizes by label.

    Labels are 0 .. E-1. Each is held by a leaf, is held by two leaves at least or is in the
    output, and stands once on a leaf. Sizes are two or more, or zero.
    """

    leaves: tuple[tuple[int, ...], ...]
    output: tuple[int, ...]
    sizes: tuple[int, ...]


class Found(NamedTuple):
    """A tree that a search member found."""

    pairs: Pairs  # over the leaves of the problem, as in `contraction.tree`
    slices: tuple[int, ...] = ()  # labels that are fixed, and looped over outside
    log2_cost: float = math.inf  # of all multiply-adds of all slices, or of another objective


class Counts(NamedTuple):
    """What a tree costs, as logarithms to base two: the numbers may have hundreds of digits."""

    log2_flops: float  # multiply-adds, all slices together
    log2_size: float  # entries of the largest result of a step, of one slice
    log2_write: float  # entries written by all steps, all slices together


class Simplified(NamedTuple):
    """A problem after the steps that every good tree begins with.

    `expand` turns a tree of the smaller problem into one of the original.
    """

    original: Problem
    problem: Problem
    prefix: Pairs  # the steps taken, over the leaves of the original
    values: tuple[int, ...]  # for each leaf of `problem` its value in the original
    labels: tuple[int, ...]  # for each label of `problem` its label in the original

    def expand(self, found: Found) -> Found:
        """Return the tree over the original problem; its cost is recounted in multiply-adds."""
        names = list(self.values)
        pairs = list(self.prefix)
        count = len(self.original.leaves)
        for i, j in found.pairs:
            pairs.append((names[i], names[j]))
            names.append(count + len(pairs) - 1)
        slices = tuple(self.labels[x] for x in found.slices)
        counts = recount(self.original, pairs, slices)
        return Found(tuple(pairs), slices, counts.log2_flops)


def problem_of(canonical: Canonical) -> tuple[Problem, tuple[int, ...]]:
    """Return the problem of a contraction, and the label there of each label of the problem.

    Examples
    --------
    >>> problem_of(Canonical(((0, 0, 1), (2, 1, 3), (4,)), (2,), (5, 6, 7, 1, 8)))
    (Problem(leaves=((0,), (1, 0), ()), output=(1,), sizes=(6, 7)), (1, 2))
    """
    leaves, _ = leaf_labels(canonical)
    output = [x for x in canonical.output if canonical.sizes[x] != 1]
    return renumbered(leaves, output, canonical.sizes)


def renumbered(
    leaves: Iterable[Sequence[int]], output: Iterable[int], sizes: Sequence[int]
) -> tuple[Problem, tuple[int, ...]]:
    """Return the problem with its labels numbered as they appear, and their names before."""
    number: dict[int, int] = {}
    numbered = tuple(tuple(number.setdefault(x, len(number)) for x in held) for held in leaves)
    kept = tuple(number[x] for x in output)
    return Problem(numbered, kept, tuple(sizes[x] for x in number)), tuple(number)


def holder_counts(problem: Problem) -> list[int]:
    """Return for each label by how many it is held; the output counts as one more holder."""
    holders = [0] * len(problem.sizes)
    for held in (*problem.leaves, problem.output):
        for label in held:
            holders[label] += 1
    return holders


def recount(
    problem: Problem, pairs: Sequence[tuple[int, int]], slices: Sequence[int] = ()
) -> Counts:
    """Return the costs of a tree, counted step by step in whole numbers.

    Every step of every slice counts, also those that are the same for all slices. A cost of
    zero has the logarithm -inf.

    Parameters
    ----------
    problem, pairs
        The tree.
    slices
        Labels that are fixed, and looped over outside; they may be in the output.

    Raises
    ------
    PlanError
        The pairs are not one tree over the leaves.

    Examples
    --------
    >>> chain = Problem(((0, 1), (1, 2), (2, 3)), (0, 3), (2, 4, 8, 16))
    >>> recount(chain, [(0, 1), (3, 2)])
    Counts(log2_flops=8.321928094887362, log2_size=5.0, log2_write=5.584962500721156)
    """
    check_pairs(pairs, len(problem.leaves))
    holders = holder_counts(problem)
    sizes = list(problem.sizes)
    repeats = 1
    for label in set(slices):
        repeats *= sizes[label]
        sizes[label] = 1
    legs: list[frozenset[int]] = [frozenset(held) for held in problem.leaves]
    flops = write = largest = 0
    for i, j in pairs:
        shared = legs[i] & legs[j]
        union = legs[i] | legs[j]
        gone = set()
        for label in shared:
            holders[label] -= 1
            if holders[label] == 1:
                gone.add(label)
        made = math.prod(sizes[x] for x in union - gone)
        flops += made * math.prod(sizes[x] for x in gone)
        write += made
        largest = max(largest, made)
        legs[i] = legs[j] = frozenset()
        legs.append(union - gone)
    return Counts(log2(repeats * flops), log2(largest), log2(repeats * write))


def smallest_first(values: Sequence[tuple[int, int]], fresh: int) -> Pairs:
    """Return pairs that join (volume, number) `values` without shared labels, smallest first.

    Examples
    --------
    >>> smallest_first([(8, 0), (2, 1), (3, 4)], fresh=5)
    ((1, 4), (5, 0))
    """
    heap, pairs = list(values), []
    heapq.heapify(heap)
    while len(heap) > 1:
        (a, i), (b, j) = heapq.heappop(heap), heapq.heappop(heap)
        pairs.append((i, j))
        heapq.heappush(heap, (a * b, fresh))
        fresh += 1
    return tuple(pairs)


def log2(value: int) -> float:
    """Return the logarithm of a whole number of any length; -inf for zero."""
    return math.log2(value) if value else -math.inf


def simplified(problem: Problem) -> Simplified:
    """Return the problem after joining each value whose labels are all on another value.

    Such a step makes nothing larger than it was. The smallest value is joined first, and with
    the smallest of its hosts. Scalars are joined with each other, and the last of them with the
    smallest value where that is smaller than the output. Cost: near-linear.

    Examples
    --------
    >>> small = simplified(Problem(((0,), (0, 1), (1, 2), (2, 3), (3, 1)), (), (2, 3, 4, 5)))
    >>> small.prefix, small.values, len(small.problem.leaves)
    (((0, 1), (5, 2)), (3, 4, 6), 3)
    """
    absorbing = _Absorbing(problem)
    absorbing.run()
    return absorbing.result()


class _Absorbing:
    """The values still there while subsets are absorbed, each in the slot of its host's leaf."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.left = holder_counts(problem)
        self.weights = [math.log2(max(size, 1)) for size in problem.sizes]
        self.legs: list[set[int] | None] = [set(held) for held in problem.leaves]
        self.weight = [math.fsum(self.weights[x] for x in held) for held in problem.leaves]
        self.names = list(range(len(problem.leaves)))  # the value that is in a slot
        # dicts keep insertion order, sets do not
        self.holders: list[dict[int, None]] = [{} for _ in problem.sizes]
        for slot, held in enumerate(problem.leaves):
            for label in held:
                self.holders[label][slot] = None
        self.pairs: list[tuple[int, int]] = []
        self.queue = [(weight, slot, slot) for slot, weight in enumerate(self.weight)]
        heapq.heapify(self.queue)

    def run(self) -> None:
        """Absorb while anything can be absorbed."""
        scalars: deque[int] = deque()
        while self.queue:
            _, name, slot = heapq.heappop(self.queue)
            if self.legs[slot] is None or name != self.names[slot]:
                continue
            if not self.legs[slot]:
                scalars.append(slot)
                continue
            host = self._host(slot)
            if host is not None:
                self._absorb(slot, host)
        while len(scalars) > 1:  # in turns, so that the tree is not a chain
            self._absorb(scalars.popleft(), scalars[0])
            scalars.rotate(-1)
        if scalars:
            others = [slot for slot in self._slots() if slot != scalars[0]]
            smallest = min(others, key=self.weight.__getitem__, default=None)
            output = math.fsum(self.weights[x] for x in self.problem.output)
            if smallest is not None and self.weight[smallest] < output:
                self._absorb(scalars[0], smallest)

    def result(self) -> Simplified:
        """Return what is left as a problem."""
        slots = sorted(self._slots(), key=self.names.__getitem__)
        leaves = [sorted(self.legs[slot] or ()) for slot in slots]  # sets have no fixed order
        problem, labels = renumbered(leaves, self.problem.output, self.problem.sizes)
        values = tuple(self.names[slot] for slot in slots)
        return Simplified(self.problem, problem, tuple(self.pairs), values, labels)

    def _slots(self) -> Iterator[int]:
        return (slot for slot, held in enumerate(self.legs) if held is not None)

    def _host(self, slot: int) -> int | None:
        """Return the smallest value that holds all labels of this one."""
        held = self.legs[slot] or set()
        rarest = min(held, key=lambda x: (len(self.holders[x]), x))
        best: tuple[float, int] | None = None
        looked = 0
        for other in reversed(self.holders[rarest]):
            if other == slot:
                continue
            if held <= (self.legs[other] or set()):
                found = (self.weight[other], other)
                best = found if best is None else min(best, found)
            looked += 1
            if looked == LOOKED_AT:
                break
        return None if best is None else best[1]

    def _absorb(self, slot: int, host: int) -> None:
        held, kept = self.legs[slot] or set(), self.legs[host] or set()
        self.legs[slot] = None
        self.pairs.append((self.names[slot], self.names[host]))
        self.names[host] = len(self.problem.leaves) + len(self.pairs) - 1
        for label in sorted(held):
            del self.holders[label][slot]
            self.left[label] -= 1
            if self.left[label] == 1:
                del self.holders[label][host]
                kept.discard(label)
                self.weight[host] -= self.weights[label]
        heapq.heappush(self.queue, (self.weight[host], self.names[host], host))
