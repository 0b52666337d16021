"""Cutting: which labels are sliced where derivatives do not fit a budget otherwise.

Labels are added one by one, each time one of the largest step: the one that costs least. All
that is looked at are counts of entries and of multiply-adds, so that many sets cost little.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import NamedTuple

from contraction.spec import Canonical
from contraction.tree import Pairs, build_tree

MOST_WORK = 64  # times the multiply-adds without slices, beyond which no label is sliced
CALL = 4096  # multiply-adds that take about as long as the call of a step
MOST_LABELS = 24


class Cut(NamedTuple):
    """Labels to slice."""

    labels: tuple[int, ...]
    size: int  # entries that a step and the derivatives take, without what else is alive


def cuts(
    canonical: Canonical, pairs: Pairs, slices: tuple[int, ...], leaves: Collection[int]
) -> list[Cut]:
    """Return `slices`, and sets of ever more labels, the largest step smaller with each.

    A step is taken to be repeated for the sliced labels that the inputs below it hold. No set
    makes the work without anything shared more than `MOST_WORK` times as much.

    Cost: for each set the number of steps times that of the labels of one step.
    """
    work = _Work(canonical, pairs, leaves)
    for label in slices:
        work.slice(label)
    found = [Cut(slices, work.largest()[1])]
    most = MOST_WORK * max(work.apart(None), 1)
    while len(work.sliced) < len(slices) + MOST_LABELS:
        step, _ = work.largest()
        allowed = [x for x in work.labels_of(step) if work.apart(x) <= most]
        if not allowed:
            break
        work.slice(min(allowed, key=lambda x: (work.shared(x), work.apart(x), x)))
        found.append(Cut(tuple(work.sliced), work.largest()[1]))
    return found


class _Work:
    """Counts of a tree while labels are sliced."""

    def __init__(self, canonical: Canonical, pairs: Pairs, leaves: Collection[int]) -> None:
        tree = build_tree(canonical, pairs)
        self._count, self._sizes = len(tree.leaves), tree.sizes
        self.sliced: list[int] = []
        self._legs = tree.legs
        self._held = [math.prod(tree.sizes[x] for x in legs) for legs in tree.legs]
        self._found = sum(math.prod(tree.sizes[x] for x in canonical.inputs[i]) for i in leaves)
        self._values = [(p.left, p.right) for p in tree.pairs]
        self._labels = [
            frozenset((*p.batch, *p.summed, *p.left_only, *p.right_only)) for p in tree.pairs
        ]
        self._once = [math.prod(tree.sizes[x] for x in labels) for labels in self._labels]
        self._turns = [1] * len(self._once)
        below = [frozenset(held) for held in canonical.inputs]
        masks = [sum(1 << x for x in held) for held in below]
        for pair in tree.pairs:
            masks.append(masks[pair.left] | masks[pair.right])
        self._below = masks[self._count :]

    def labels_of(self, step: int) -> list[int]:
        """Return the labels of a step that may be sliced."""
        if step < 0:
            return []
        labels = self._labels[step].difference(self.sliced)
        return sorted(x for x in labels if self._sizes[x] > 1)

    def largest(self) -> tuple[int, int]:
        """Return the step that takes most, with its entries and those of the derivatives."""
        first, held = self._count, self._held
        best, most = -1, 0
        for k, (i, j) in enumerate(self._values):
            made = held[first + k]
            left, right = held[i], held[j]
            needs = max(
                made + (left if i >= first else 0) + (right if j >= first else 0),
                made + left + right if k + 1 < len(self._values) else left + right,
            )
            if needs > most:
                best, most = k, needs
        return best, most + self._found

    def slice(self, label: int) -> None:
        """Take a label out of all values."""
        size = self._sizes[label]
        self.sliced.append(label)
        if size < 2:
            return
        for v, legs in enumerate(self._legs):
            if label in legs:
                self._held[v] //= size
        for k, labels in enumerate(self._labels):
            if label in labels:
                self._once[k] //= size
            if self._below[k] >> label & 1:
                self._turns[k] *= size

    def shared(self, label: int) -> int:
        """Return the multiply-adds once a label is sliced, with the cost of calls."""
        size, total = self._sizes[label], 0
        steps = zip(self._labels, self._once, self._turns, self._below, strict=True)
        for labels, once, turns, below in steps:
            if below >> label & 1:
                total += (once // size if label in labels else once) * turns * size
                total += CALL * turns * size
            else:
                total += (once + CALL) * turns
        return total

    def apart(self, label: int | None) -> int:
        """Return the same when no slice shares anything with another."""
        size = 1 if label is None else self._sizes[label]
        turns = math.prod(self._sizes[x] for x in self.sliced) * size
        total = 0
        for labels, once in zip(self._labels, self._once, strict=True):
            total += (once // size if label in labels else once) + CALL
        return total * turns
