"""Squeezing: labels of a given tree sliced, one after the other, until it fits the memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from contraction.cost import CostModel
from contraction.loop_program import LoopProgram, fitting_loops
from contraction.loops import loop_order, sliced_canonical
from contraction.spec import Canonical
from contraction.tree import Pairs, Tree, build_tree

TRIED = 12  # labels of the largest steps that are compared for each slice


class Task(NamedTuple):
    """A tree that has to fit."""

    canonical: Canonical
    pairs: Pairs
    max_size: float  # entries that may be alive at once
    model: CostModel
    library: str = "numpy"

    def lowered(self, slices: Sequence[int]) -> LoopProgram:
        """Return the program with some labels sliced."""
        canonical, pairs = self.canonical, self.pairs
        loops = loop_order(canonical, pairs, slices)
        return fitting_loops(
            canonical, pairs, loops, self.model, library=self.library, max_size=self.max_size
        )


def squeezed(
    task: Task, slices: Sequence[int], wanted: Sequence[int] = ()
) -> tuple[tuple[int, ...], int]:
    """Return labels to slice so that a tree fits, and the peak reached.

    Each time the label goes that lowers the memory most for what it adds to the work (Gray and
    Kourtis, Quantum 5, 410 (2021), section 4.3); in the end those come back without which it
    fits, too. When nothing is left to slice and the tree still does not fit, the best that was
    found is returned: look at the peak.

    Parameters
    ----------
    task
        The tree and what it has to fit.
    slices
        Labels to begin with.
    wanted
        Those that stay sliced.

    Cost: for each label sliced, a few passes over the tree and one lowering.
    """
    canonical, pairs = task.canonical, task.pairs
    chosen = list(slices)
    best: tuple[int, ...] = tuple(chosen)
    least = task.lowered(chosen).peak_size
    while least > task.max_size:
        tree = build_tree(sliced_canonical(canonical, chosen), pairs)
        before = _rough_peak(tree), _work(tree)
        tried = []
        for label in _candidates(tree):
            other = build_tree(sliced_canonical(canonical, [*chosen, label]), pairs)
            tried.append((_merit(other, tree.sizes[label], before), -label))
        if not tried:
            break
        chosen.append(-max(tried)[1])
        peak = task.lowered(chosen).peak_size
        if peak < least:
            best, least = tuple(chosen), peak
    if least <= task.max_size:
        best = thinned(task, best, wanted)
        least = task.lowered(best).peak_size
    return best, least


def thinned(task: Task, slices: Sequence[int], wanted: Sequence[int] = ()) -> tuple[int, ...]:
    """Return the slices of a tree that fits without those that it fits without, too.

    The largest go first, and only where the estimated time falls; those `wanted` stay. Cost: one
    lowering for each label, and as many again for each label that goes.
    """
    left = list(slices)
    tried: list[int] = []
    sizes = task.canonical.sizes
    spare = sorted(set(left).difference(wanted), key=lambda x: (-sizes[x], x))
    seconds = task.lowered(left).seconds if spare else 0.0
    while spare:
        label = spare.pop(0)
        fewer = [x for x in left if x != label]
        other = task.lowered(fewer)
        if other.peak_size <= task.max_size and other.seconds <= seconds:
            left, seconds = fewer, other.seconds
            spare, tried = [*tried, *spare], []
        else:
            tried.append(label)
    return tuple(left)


def _candidates(tree: Tree) -> list[int]:
    """Return labels of the step that has most alive, those of the largest size first."""
    count = len(tree.leaves)
    sizes = [0] * count + [tree.size(count + k) for k in range(len(tree.pairs))]
    if not tree.pairs:
        return []
    busiest = max(
        range(len(tree.pairs)),
        key=lambda k: sizes[tree.pairs[k].left] + sizes[tree.pairs[k].right] + sizes[count + k],
    )
    pair = tree.pairs[busiest]
    labels = {x for v in (pair.left, pair.right, count + busiest) for x in tree.legs[v]}
    if not labels:
        labels = {x for legs in tree.legs for x in legs}
    return sorted(labels, key=lambda x: (-tree.sizes[x], x))[:TRIED]


def _merit(tree: Tree, size: int, before: tuple[int, int]) -> float:
    peak, work = _log2(_rough_peak(tree)), _log2(_work(tree) * max(size, 1))
    saved, added = _log2(before[0]) - peak, work - _log2(before[1])
    return saved / (max(added, 0.0) + 0.1)


def _log2(number: int) -> float:
    return math.log2(number) if number else 0.0


def _work(tree: Tree) -> int:
    return sum(map(tree.step_size, tree.pairs))


def _rough_peak(tree: Tree) -> int:
    """Return the most entries of values alive at once, without copies and buffers."""
    count = len(tree.leaves)
    size = [0] * count + [tree.size(count + k) for k in range(len(tree.pairs))]
    alive = peak = 0
    for k, pair in enumerate(tree.pairs):
        alive += size[count + k]
        peak = max(peak, alive)
        alive -= size[pair.left] + size[pair.right]
    return peak
