"""What annealing walks on: trees as arrays, sets of labels as bits, volumes as tables.

A tree is two arrays: the parent of every value, and the exclusive or of its two children, from
which either child gives the other. A rotation changes two entries of each, and the root keeps
its number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from contraction.search.problem import Problem
from contraction.tree import Pairs, reorder

LARGEST = 900.0  # log2 of a cost at the start above which all costs are scaled down


class Links(NamedTuple):
    """A rooted binary tree: leaves 0 .. N-1, then the values that pairs make, the root last."""

    parent: list[int]  # -1 for the root
    kids: list[int]  # exclusive or of the two children; 0 for a leaf


class Volumes(NamedTuple):
    """How many entries a set of labels has: the product over `classes` of table[count].

    There is one class for each distinct size: its labels as a mask, and the powers of the size.
    """

    classes: tuple[tuple[int, tuple[float, ...]], ...]
    shift: float  # log2 of what every volume was divided by

    def __call__(self, labels: int) -> float:
        """Return the scaled volume of a set of labels; inf where a float cannot hold it."""
        volume = 1.0
        for mask, table in self.classes:
            volume *= table[(labels & mask).bit_count()]
        return volume

    def function(self) -> Callable[[int], float]:
        """Return the same as a plain function: quicker where all sizes are equal."""
        if len(self.classes) != 1:
            return self.__call__
        table = self.classes[0][1]
        return lambda labels: table[labels.bit_count()]


def links_of(pairs: Sequence[tuple[int, int]], count: int) -> Links:
    """Return the links of a tree over `count` leaves."""
    parent = [-1] * (count + len(pairs))
    kids = [0] * count
    for k, (i, j) in enumerate(pairs):
        parent[i] = parent[j] = count + k
        kids.append(i ^ j)
    return Links(parent, kids)


def pairs_of(parent: Sequence[int], count: int) -> Pairs:
    """Return the pairs of a tree given by its parents."""
    children: list[list[int]] = [[] for _ in range(len(parent) - count)]
    for value, above in enumerate(parent):
        if above >= 0:
            children[above - count].append(value)
    return reorder([(i, j) for i, j in children], count)


def mask_of(labels: Iterable[int]) -> int:
    """Return a set of labels as bits."""
    mask = 0
    for label in labels:
        mask |= 1 << label
    return mask


def labels_of(mask: int) -> list[int]:
    """Return the labels of a mask, in order.

    Examples
    --------
    >>> labels_of(0b1101)
    [0, 2, 3]
    """
    labels = []
    while mask:
        low = mask & -mask
        labels.append(low.bit_length() - 1)
        mask ^= low
    return labels


def legs_of(problem: Problem, pairs: Sequence[tuple[int, int]], dropped: int = 0) -> list[int]:
    """Return the labels of every value of a tree as bits, without those in `dropped`.

    A value keeps the labels that it has in common with what is outside of it: hyperedges and
    labels of the output need no counting.
    """
    kept = ~dropped
    below = [mask_of(held) & kept for held in problem.leaves]
    for i, j in pairs:
        below.append(below[i] | below[j])
    count = len(problem.leaves)
    outside = [0] * len(below)
    outside[-1] = mask_of(problem.output) & kept
    for k in reversed(range(len(pairs))):
        i, j = pairs[k]
        outside[i] = outside[count + k] | below[j]
        outside[j] = outside[count + k] | below[i]
    return [under & over for under, over in zip(below, outside, strict=True)]


def log2_sizes(problem: Problem) -> list[float]:
    """Return log2 of the size of each label; an empty label counts as one entry."""
    return [math.log2(max(size, 1)) for size in problem.sizes]


def volumes_of(problem: Problem, shift: float = 0.0) -> Volumes:
    """Return the volumes of sets of labels, each divided by 2**shift."""
    members: dict[int, list[int]] = {}
    for label, size in enumerate(problem.sizes):
        members.setdefault(max(size, 1), []).append(label)
    classes: list[tuple[int, tuple[float, ...]]] = []
    for size, labels in members.items():
        weight, first = math.log2(size), shift / len(members)
        table = tuple(exp2(weight * count - first) for count in range(len(labels) + 1))
        classes.append((mask_of(labels), table))
    return Volumes(tuple(classes), shift)


def limit_of(max_log2_size: float, shift: float) -> float:
    """Return the limit on volumes that are divided by 2**shift.

    It lies a little above for rounding.
    """
    return exp2(max_log2_size - shift + 1e-9)


def shift_of(exponents: Iterable[float], max_log2_size: float) -> float:
    """Return log2 of what costs are divided by, so that they and the limit are floats.

    Where that cannot be, costs very far above the limit become infinite.
    """
    return max(0.0, min(max(exponents) - LARGEST, max_log2_size + LARGEST))


def holders_of(problem: Problem) -> list[list[int]]:
    """Return for each label the leaves that hold it."""
    holders: list[list[int]] = [[] for _ in problem.sizes]
    for value, held in enumerate(problem.leaves):
        for label in held:
            holders[label].append(value)
    return holders


def exp2(exponent: float) -> float:
    """Return 2**exponent, or inf where a float cannot hold it."""
    return math.exp2(exponent) if exponent < 1024 else math.inf


class StepCosts(NamedTuple):
    """log2 of the cost of a step: its multiply-adds, and weighted entries written."""

    classes: tuple[tuple[int, float], ...]  # for each distinct size its labels, and its log2
    writing: float  # log2 of the multiply-adds that one entry written is worth

    def __call__(self, union: int, made: int) -> float:
        """Return the cost of the step over the labels `union` that makes those in `made`."""
        cost = sum(weight * (union & mask).bit_count() for mask, weight in self.classes)
        if self.writing == -math.inf:
            return cost
        written = sum(weight * (made & mask).bit_count() for mask, weight in self.classes)
        return log2_sum([cost, self.writing + written])


def step_costs(problem: Problem, write_weight: float) -> StepCosts:
    """Return the costs of the steps of a problem."""
    masks: dict[int, int] = {}
    for label, size in enumerate(problem.sizes):
        masks[max(size, 1)] = masks.get(max(size, 1), 0) | 1 << label
    writing = math.log2(write_weight) if write_weight > 0 else -math.inf
    return StepCosts(tuple((mask, math.log2(size)) for size, mask in masks.items()), writing)


def log2_costs(
    problem: Problem, pairs: Sequence[tuple[int, int]], legs: Sequence[int], write_weight: float
) -> list[float]:
    """Return log2 of the cost of every step."""
    cost, count = step_costs(problem, write_weight), len(problem.leaves)
    return [cost(legs[i] | legs[j], legs[count + k]) for k, (i, j) in enumerate(pairs)]


def log2_sum(exponents: Sequence[float]) -> float:
    """Return log2 of a sum of powers of two.

    Examples
    --------
    >>> log2_sum([3000.0, 3000.0])
    3001.0
    """
    largest = max(exponents, default=-math.inf)
    if largest == -math.inf:
        return largest
    return largest + math.log2(math.fsum(math.exp2(x - largest) for x in exponents))


def log2_total(
    problem: Problem,
    pairs: Sequence[tuple[int, int]],
    slices: Iterable[int] = (),
    write_weight: float = 0.0,
) -> float:
    """Return log2 of the cost of a tree, all its slices together.

    Cost: one popcount for each distinct size and step.
    """
    dropped = mask_of(slices)
    legs = legs_of(problem, pairs, dropped)
    repeats = math.fsum(log2_sizes(problem)[label] for label in labels_of(dropped))
    return repeats + log2_sum(log2_costs(problem, pairs, legs, write_weight))


def log2_work(
    problem: Problem,
    pairs: Sequence[tuple[int, int]],
    slices: Iterable[int] = (),
    write_weight: float = 0.0,
) -> float:
    """Return log2 of the cost of a tree whose steps that no slice changes are done once.

    A step changes from slice to slice if a leaf below it holds a sliced label.

    Examples
    --------
    >>> star = Problem(((0, 1), (1, 2), (2, 3), (3, 0)), (), (4, 2, 2, 8))
    >>> pairs = ((0, 1), (2, 3), (4, 5))
    >>> round(2 ** log2_work(star, pairs, [3])), round(2 ** log2_total(star, pairs, [3]))
    (144, 256)
    """
    dropped = mask_of(slices)
    legs = legs_of(problem, pairs, dropped)
    costs = log2_costs(problem, pairs, legs, write_weight)
    repeats = math.fsum(log2_sizes(problem)[label] for label in labels_of(dropped))
    varies = [bool(mask_of(held) & dropped) for held in problem.leaves]
    for i, j in pairs:
        varies.append(varies[i] or varies[j])
    changed = varies[len(problem.leaves) :]
    return log2_sum([x + repeats * v for x, v in zip(costs, changed, strict=True)])
