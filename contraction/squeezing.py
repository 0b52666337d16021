"""Squeezing: labels of a given tree sliced, one after the other, until it fits the memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

from contraction.cost import CostModel
from contraction.loop_program import fitting_loops
from contraction.loops import loop_order, sliced_canonical
from contraction.spec import Canonical
from contraction.tree import Pairs, Tree, build_tree

TRIED = 12  # labels of the largest steps that are compared for each slice


def squeezed(
    canonical: Canonical,
    pairs: Pairs,
    slices: Sequence[int],
    max_size: float,
    model: CostModel,
    *,
    library: str = "numpy",
) -> tuple[tuple[int, ...], int]:
    """Return labels to slice so that a tree fits, `slices` among them, and the peak reached.

    Each time the label goes that lowers the memory most for what it adds to the work (Gray and
    Kourtis, Quantum 5, 410 (2021), section 4.3). When nothing is left to slice and the tree
    still does not fit, the best that was found is returned: look at the peak.

    Cost: for each label sliced, a few passes over the tree.
    """
    chosen = list(slices)
    best: tuple[int, ...] = tuple(chosen)
    least = _peak(canonical, pairs, chosen, max_size, model, library)
    while least > max_size:
        tree = build_tree(sliced_canonical(canonical, chosen), pairs)
        before = _rough_peak(tree), _work(tree)
        tried = []
        for label in _candidates(tree):
            other = build_tree(sliced_canonical(canonical, [*chosen, label]), pairs)
            tried.append((_merit(other, tree.sizes[label], before), -label))
        if not tried:
            break
        chosen.append(-max(tried)[1])
        peak = _peak(canonical, pairs, chosen, max_size, model, library)
        if peak < least:
            best, least = tuple(chosen), peak
    return best, least


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


def _peak(
    canonical: Canonical,
    pairs: Pairs,
    slices: Sequence[int],
    max_size: float,
    model: CostModel,
    library: str,
) -> int:
    loops = loop_order(canonical, pairs, slices)
    program = fitting_loops(canonical, pairs, loops, model, library=library, max_size=max_size)
    return program.peak_size
