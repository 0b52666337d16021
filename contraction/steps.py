"""Steps: one kernel on two values, with the views by which it looks at them; plain data.

Every value lies in memory in C order along its labels, whatever shape it has at the moment, so
any grouping of neighbouring labels into one axis is a reshape that copies nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from contraction.buffers import (
    dense_strides,
    fused_buffers,
    given_loop,
    product_buffers,
    strides_along,
)
from contraction.copies import product_tile
from contraction.lowering import Copy, Kernel, Order, Way, singles
from contraction.tree import Tree

Shape = tuple[int, ...]
Place = tuple[int, int, int]  # entries before a label, its size, entries after it
ITEM = 8  # bytes of an entry, as far as they decide whether a product is formed in tiles
TRANSPOSED = 1 << 17  # entries of a product that is better transposed as a whole
SYMBOLS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


class View(NamedTuple):
    """How a value is looked at: reshape, permute, copy, reshape, swap the last two axes."""

    first: Shape | None = None
    axes: tuple[int, ...] | None = None
    copied: bool = False
    last: Shape | None = None
    swapped: bool = False


class Step(NamedTuple):
    """One kernel on two values."""

    kernel: Kernel
    left: int
    right: int
    view_left: View
    view_right: View
    sums: tuple[int, ...]  # axes that REDUCE sums over
    subscripts: str  # the same in words, for a fused einsum; empty without letters enough
    size: int  # entries of the result
    copies: int  # entries of the copies and products that the step makes on its way
    flops: int
    seconds: float = 0.0  # estimated
    fused: int = 0  # entries of the product that a fused einsum never forms
    buffers: int = 0  # entries that NumPy's element-wise loops take beside operands and result
    twins: bool = False  # the result is a Gram matrix if both operands are the same array
    expanded: int = 0  # entries of operands that PyTorch copies to all matrices of a batch
    deferred: bool = False  # done by the next step, in blocks
    blocks: Blocks | None = None  # how it is done together with the step before


class Blocks(NamedTuple):
    """Two steps in a row done block by block along one label; see `contraction.blocks`.

    What is cut is seen in three axes, of which the label is the second.
    """

    length: int
    width: int
    whole: tuple[Step, Step]  # for blocks of `width`
    rest: tuple[Step, Step] | None  # for a last one that is narrower
    cuts: tuple[Place | None, Place | None, Place | None]  # of the three operands; None: not cut
    product_left: bool  # the product is the left operand of the second step
    placed: Place | None  # where blocks lie in the result; None if they are added up
    shape: Shape  # of the result
    held: int  # entries of copies made of what is not cut
    uncut: int  # entries of it


def tidied(step: Step) -> bool:
    """Tell whether PyTorch brings a product to C order after it is formed.

    Its copy is faster than its products where two long axes are exchanged.
    """
    axes = step.view_left.axes or step.view_right.axes
    return axes is not None and len(axes) == 2 and step.size > TRANSPOSED


def view_of(
    order: Order,
    shape: Shape,
    groups: Sequence[Order | None],
    sizes: Sequence[int],
    *,
    copied: bool,
    swapped: bool = False,
) -> View:
    """Return the view of a value in memory order `order` whose axes are the label `groups`.

    None among the groups is an axis of size one. `copied` asks for a copy in C order where the
    groups alone do not force one; `swapped` exchanges the last two axes in the end.
    """
    target = tuple(math.prod([sizes[x] for x in g]) if g else 1 for g in groups)
    flat = tuple(x for g in groups if g for x in g)
    if flat == order:
        return View(first=None if shape == target else target, swapped=swapped)
    place = {x: i for i, x in enumerate(order)}
    if copied:  # the fewer axes are permuted, the faster: those of the groups come afterwards
        runs = [_runs(flat, place)]
    else:
        runs = [_runs(group or (), place) or [()] for group in groups]
    pieces = [piece for group in runs for piece in group]
    # pieces without labels are axes of size one, and may lie anywhere
    source = sorted(range(len(pieces)), key=lambda i: place[pieces[i][0]] if pieces[i] else -1)
    where = {piece: axis for axis, piece in enumerate(source)}
    split = tuple(math.prod([sizes[x] for x in pieces[i]]) for i in source)
    axes = tuple(where[i] for i in range(len(pieces)))
    permuted = tuple(split[axis] for axis in axes)
    last = None if permuted == target else target
    return View(None if shape == split else split, axes, copied, last, swapped)


def _runs(labels: Order, place: dict[int, int]) -> list[Order]:
    """Return the runs of labels that follow one another in memory too."""
    runs: list[list[int]] = []
    for label in labels:
        if runs and place[label] == place[runs[-1][-1]] + 1:
            runs[-1].append(label)
        else:
            runs.append([label])
    return [tuple(run) for run in runs]


def make_step(
    tree: Tree,
    k: int,
    way: Way,
    orders: Sequence[Order],
    shapes: Sequence[Shape] | Mapping[int, Shape],
    wide: Mapping[int, Sequence[int]] = MappingProxyType({}),
) -> tuple[Step, Shape]:
    """Return one step of a tree done in a given way, and the shape in which its result is left.

    Parameters
    ----------
    tree, k, way
        The step `k` of the tree, and its way.
    orders, shapes
        Of all values before it: the labels as they lie in memory, and the shape of the array.
    wide
        Value -> the sizes of labels in the array of which it is a part.
    """
    pair = tree.pairs[k]
    left, right = (pair.right, pair.left) if way.swapped else (pair.left, pair.right)
    copies = (way.copy_left is not Copy.NONE, way.copy_right is not Copy.NONE)
    turned = (False, False)
    first, second = orders[left], orders[right]
    sizes, subscripts = tree.sizes, ""
    sums: tuple[int, ...] = ()
    batch = _fused(way.batch, (first, second), copies)
    work = fused = 0
    if way.kernel is Kernel.MATMUL:
        ends = [way.m], [way.n]
        if not (batch or way.m or way.n):
            ends = [], []  # a scalar product of two vectors
        a: list[Order | None] = [*_held(batch, first), *ends[0], way.summed]
        b: list[Order | None] = [*_held(batch, second), way.summed, *ends[1]]
        # a copy lies in memory as is cheapest, and is then looked at the other way round
        turned = (way.copy_left is Copy.SUMS_FIRST, way.copy_right is Copy.SUMS_LAST)
        turned = turned if ends[0] else (False, False)
        if turned[0]:
            a[-2:] = reversed(a[-2:])
        if turned[1]:
            b[-2:] = reversed(b[-2:])
        made = (*batch, *ends[0], *ends[1])
    else:
        summed = _fused(singles(way.summed), (first, second), copies)
        made = batch or ((),)
        a = _held((*made, *summed), first)
        b = _held((*made, *summed), second)
        if way.kernel is Kernel.REDUCE:
            sums = tuple(range(len(made), len(made) + len(summed)))
            work = tree.step_size(pair)
            subscripts = _subscripts(len(a), len(made))
            if subscripts:
                fused, work = work, 0
    shape = tuple(math.prod([sizes[x] for x in g]) for g in made)
    view_left = view_of(first, shapes[left], a, sizes, copied=copies[0], swapped=turned[0])
    view_right = view_of(second, shapes[right], b, sizes, copied=copies[1], swapped=turned[1])
    operands = ((tree.size(left), view_left), (tree.size(right), view_right))
    work += sum(entries for entries, view in operands if view.copied or view.last)
    size, flops = tree.size(len(tree.leaves) + k), 2 * tree.step_size(pair)
    buffers = 0
    if way.kernel is not Kernel.MATMUL:
        seen = (
            (first, view_left, wide.get(left, sizes)),
            (second, view_right, wide.get(right, sizes)),
        )
        buffers = _buffers(subscripts, len(made), (a, b), seen, sizes)
    expanded = _expanded(way.kernel, batch, (a, b), operands, sizes)
    step = Step(
        way.kernel, left, right, view_left, view_right, sums, subscripts, size, work, flops,
        fused=fused, buffers=buffers, expanded=expanded,
        twins=_are_twins(tree, k, way, first, second),
    )  # fmt: skip
    return step, shape


def _are_twins(tree: Tree, k: int, way: Way, first: Order, second: Order) -> bool:
    """Tell whether a step multiplies a copy of an input by its own transpose, if both are one.

    Views need no such care: BLAS is told of the symmetry where both lie at the same place.
    """
    pair, sizes = tree.pairs[k], tree.sizes
    if way.copy_left is Copy.NONE or max(pair.left, pair.right) >= len(tree.leaves):
        return False
    if [sizes[x] for x in first] != [sizes[x] for x in second]:
        return False
    image = dict(zip(first, second, strict=True))
    alike = all(image[x] == x for x in (*pair.batch, *pair.summed))
    groups = sum(map(len, way.batch)) == len(pair.batch)
    return alike and groups and tuple(image[x] for x in way.m) == way.n


def _expanded(
    kernel: Kernel,
    batch: Sequence[Order],
    groups: tuple[Sequence[Order | None], Sequence[Order | None]],
    operands: Sequence[tuple[int, View]],
    sizes: Sequence[int],
) -> int:
    """Return the entries of operands whose batch axes no view makes one axis of all matrices."""
    if kernel is not Kernel.MATMUL or len(batch) < 2:
        return 0
    matrices, total = math.prod([sizes[x] for group in batch for x in group]), 0
    for axes, (_, view) in zip(groups, operands, strict=True):
        held = [group is not None for group in axes[: len(batch)]]
        turned = view.axes is not None and not view.copied
        if any(held) and (turned or not all(held)):
            matrix = [sizes[x] for group in axes[len(batch) :] if group for x in group]
            total += matrices * math.prod(matrix)
    return total


def _buffers(
    subscripts: str,
    kept: int,
    groups: tuple[Sequence[Order | None], Sequence[Order | None]],
    operands: Sequence[tuple[Order, View, Sequence[int]]],
    sizes: Sequence[int],
) -> int:
    """Return the entries of the buffers for operands that do not lie as their product does."""
    strides, lengths = [], [1] * len(groups[0])
    for held, (order, view, wide) in zip(groups, operands, strict=True):
        if view.copied or view.last:
            order, wide = tuple(x for group in held if group for x in group), sizes
        strides.append(strides_along(order, held, wide))
        for axis, group in enumerate(held):
            lengths[axis] = max(lengths[axis], math.prod([sizes[x] for x in group or ()]))
    if subscripts:
        return fused_buffers(lengths, strides, kept)
    tile = product_tile(
        tuple(
            tuple(n if along else 1 for n, along in zip(lengths, held, strict=True))
            for held in strides
        ),
        tuple(tuple(ITEM * along for along in held) for held in strides),
    )
    if tile is None:
        return product_buffers(lengths, strides)
    return given_loop(tile, [*strides, dense_strides(lengths)]).buffers


def _subscripts(axes: int, kept: int) -> str:
    """Return the words of a fused einsum, or nothing where there are not letters enough.

    It is faster than a product formed first and then summed whatever axes are summed.
    """
    letters = SYMBOLS[:axes]  # axes of size one are broadcast
    return f"{letters},{letters}->{letters[:kept]}" if axes <= len(SYMBOLS) else ""


def _held(groups: Sequence[Order], order: Order) -> list[Order | None]:
    held = set(order)
    return [group if group and group[0] in held else None for group in groups]


def _fused(
    groups: Sequence[Order], orders: tuple[Order, Order], free: tuple[bool, bool]
) -> tuple[Order, ...]:
    """Join neighbouring groups that are neighbours on both operands, or absent from one."""
    places = [{x: i for i, x in enumerate(order)} for order in orders]
    fused: list[Order] = []
    for group in groups:
        if fused and all(
            _neighbours(fused[-1][-1], group[0], place, copied)
            for place, copied in zip(places, free, strict=True)
        ):
            fused[-1] = (*fused[-1], *group)
        else:
            fused.append(group)
    return tuple(fused)


def _neighbours(x: int, y: int, place: dict[int, int], copied: bool) -> bool:
    if x not in place or y not in place:
        return x not in place and y not in place
    return copied or place[y] == place[x] + 1
