"""Blocks: two steps in a row fused, so that what passes between them never exists as a whole.

A product that the next step multiplies by a small factor and sums, as in a matricised tensor
times a Khatri-Rao product, is written to memory and read again for a few operations an entry.
Cut along one of its labels both steps are done for one block after the other, and a block stays
in the cache. The first step of such a pair does nothing when its turn comes; the second one does
the work of both.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from contraction.cost import CostModel
from contraction.lowering import Order, Way
from contraction.steps import Blocks, Place, Shape, Step, View, make_step
from contraction.tree import Tree

BLOCK = 1 << 16  # entries of a block, about
LARGE = 1 << 20  # entries of a product that does not stay in the caches between two steps
SHORT = 1 << 12  # entries of a product that is worth cutting where memory is short
PIECES = 16  # blocks at least, where memory is short
LABELS = 4  # outermost labels of a product along which it may be cut
ADDED = (
    4  # times the entries of the blocks' results that are added up, at most those of the product
)
SMALLER = 2  # times which a product is as large as what the next step makes of it, at least


class Lowered(NamedTuple):
    """A tree with its ways, and for all values their labels in memory and their shapes."""

    tree: Tree
    ways: Sequence[Way]
    orders: Sequence[Order]
    shapes: Sequence[Shape]


def fuse(
    lowered: Lowered, steps: Sequence[Step], model: CostModel, *, short: bool = False
) -> list[Step]:
    """Return the steps with pairs of them fused where that pays.

    Parameters
    ----------
    lowered, steps
        The tree, and its steps.
    model
        Rates that decide: the product is neither written to memory nor read from there, but
        there are more calls, and what is not cut is read for each block.
    short
        Whether memory is short: then all pairs are fused that can be.

    Notes
    -----
    A step is fused with the next one only, and into one pair at most.
    """
    made, count = list(steps), len(lowered.tree.leaves)
    for j in range(1, len(made)):
        k = j - 1
        first, second = made[k], made[j]
        if count + k not in (second.left, second.right) or first.blocks is not None:
            continue
        if first.size < max(SMALLER * second.size, SHORT if short else LARGE):
            continue
        for label in lowered.orders[count + k][:LABELS]:
            blocks = _cut(lowered, steps, k, label, short)
            saved = 0.0 if blocks is None else _saved(model, first, second, blocks)
            if blocks is not None and (short or saved > 0.0):
                seconds = max(second.seconds - saved, 0.0)
                made[k] = first._replace(deferred=True)
                made[j] = second._replace(blocks=blocks, seconds=seconds)
                break
    return made


def _cut(lowered: Lowered, steps: Sequence[Step], k: int, label: int, short: bool) -> Blocks | None:
    """Return the steps k and k + 1 done in blocks along a label, or None if no view allows it."""
    first, second = steps[k], steps[k + 1]
    product, sizes = len(lowered.tree.leaves) + k, lowered.tree.sizes
    wanted = min(BLOCK, first.size // PIECES) if short else BLOCK
    pieces = -(-first.size // max(1, wanted))
    width = -(-sizes[label] // min(pieces, sizes[label]))
    rest, count = sizes[label] % width, -(-sizes[label] // width)
    placed = _place(lowered, product + 1, label)
    if count < 2 or (placed is None and count * second.size > first.size // ADDED):
        return None
    left = second.left == product
    values = first.left, first.right, second.right if left else second.left
    cuts = tuple(_place(lowered, value, label) for value in values)
    whole = _block(lowered, k, label, dict(zip(values, cuts, strict=True)), width)
    if whole is None:
        return None
    narrow = _block(lowered, k, label, dict(zip(values, cuts, strict=True)), rest) if rest else None
    views = _views(first, second, left=left)
    uncut = [i for i in range(3) if cuts[i] is None]
    if any(_views(*whole, left=left)[i] != views[i] for i in uncut):
        return None
    entries = [lowered.tree.size(value) for value in values]
    return Blocks(
        sizes[label],
        width,
        whole,
        narrow,
        (cuts[0], cuts[1], cuts[2]),
        left,
        placed,
        lowered.shapes[product + 1],
        held=sum(entries[i] for i in uncut if views[i].copied or views[i].last),
        uncut=sum(entries[i] for i in uncut),
    )


def _views(first: Step, second: Step, *, left: bool) -> tuple[View, View, View]:
    """Return the views of the three operands; `left` tells where the product stands."""
    return first.view_left, first.view_right, second.view_right if left else second.view_left


def _place(lowered: Lowered, value: int, label: int) -> Place | None:
    """Return the entries before a label, its size, and those after it; None if it is not held."""
    order, sizes = lowered.orders[value], lowered.tree.sizes
    if label not in order:
        return None
    at = order.index(label)
    before, after = (math.prod([sizes[x] for x in part]) for part in (order[:at], order[at + 1 :]))
    return before, sizes[label], after


def _block(
    lowered: Lowered, k: int, label: int, cuts: Mapping[int, Place | None], width: int
) -> tuple[Step, Step] | None:
    """Return both steps for a block of `width`; None if a part of an operand must be copied."""
    tree, ways, orders, shapes = lowered
    product = len(tree.leaves) + k
    sizes = (*tree.sizes[:label], width, *tree.sizes[label + 1 :])
    narrow = tree._replace(sizes=sizes)
    seen = {v: (cut[0], width, cut[2]) if cut else shapes[v] for v, cut in cuts.items()}
    wide = dict.fromkeys((value for value, cut in cuts.items() if cut), tree.sizes)
    first, seen[product] = make_step(narrow, k, ways[k], orders, seen, wide)
    second, _ = make_step(narrow, k + 1, ways[k + 1], orders, seen, wide)
    views = _views(first, second, left=second.left == product)
    for cut, view in zip(cuts.values(), views, strict=True):
        if cut is not None and cut[0] > 1 and view.first is not None:
            if cut[0] not in itertools.accumulate(view.first, operator.mul):
                return None  # the reshape would copy
    once = {value for value, cut in cuts.items() if cut is None}  # not copied for each block
    made = []
    for step in (first, second):
        less = 0
        for value, view in ((step.left, step.view_left), (step.right, step.view_right)):
            cut = cuts.get(value)
            dense = (cut is None or cut[0] == 1) and _in_order(view, seen[value])
            if (view.copied or view.last) and (value in once or dense):
                less += narrow.size(value)
        made.append(step._replace(twins=False, copies=step.copies - less))
    return made[0], made[1]


def _in_order(view: View, shape: Shape) -> bool:
    """Tell whether a copy is none, for what is permuted are axes of size one."""
    sizes = shape if view.first is None else view.first
    axes = [axis for axis in view.axes or () if sizes[axis] != 1]
    return axes == sorted(axes)


def _saved(model: CostModel, first: Step, second: Step, blocks: Blocks) -> float:
    """Return the seconds that blocks save, or less than zero."""
    more = -(-blocks.length // blocks.width) - 1
    gain = first.size * (model.gemm_write + 2 * model.far)
    calls = model.call + model.sum_call + 6 * model.view
    again = blocks.uncut * model.gemm_read
    if blocks.placed is None:
        again += second.size * model.product
    return gain - more * (calls + again)
