"""Buffers: the memory that NumPy's element-wise loops take beside their operands and result.

NumPy walks along all operands at once, its innermost axis being the one of the smallest strides,
axes that are neighbours everywhere joined. An operand that has no single stride over what is done
in one go is read into a buffer first. How much is done in one go is chosen such that there are few
goes and few buffers. What is said here holds from NumPy 2.3 on; older ones take no more than a
whole buffer for each operand.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

BUFFER = 8192  # entries of one buffer
Strides = tuple[int, ...]


class Loop(NamedTuple):
    """Axes as NumPy walks along them, the innermost first."""

    shape: tuple[int, ...]
    strides: tuple[Strides, ...]  # of every operand; zero where it is broadcast or a sum

    @property
    def buffers(self) -> int:
        """Entries of all buffers; the last operand is the one that is written to."""
        return _buffers(self)


def dense_strides(shape: Sequence[int]) -> Strides:
    """Return the strides, in entries, of an array in C order, zero for axes of size one.

    Examples
    --------
    >>> dense_strides((2, 3, 1, 4))
    (12, 4, 0, 1)
    """
    strides, step = [], 1
    for length in reversed(shape):
        strides.append(0 if length == 1 else step)
        step *= length
    return tuple(reversed(strides))


def made_loop(shape: Sequence[int], operands: Sequence[Strides], kept: int) -> tuple[Loop, bool]:
    """Return the loop that makes a new array, and whether its axes lie in C order.

    Parameters
    ----------
    shape
        Of the loop: the axes of the result, and behind them those that are summed.
    operands
        Their strides along these axes.
    kept
        How many axes the result has.

    Examples
    --------
    >>> made_loop((2, 3), [(3, 1), (1, 2)], 2)
    (Loop(shape=(3, 2), strides=((1, 3), (2, 1), (1, 3))), True)
    >>> made_loop((2, 3), [(1, 2)], 2)[1]
    False
    """
    order = _walked(shape, operands)
    target, step = [0] * len(shape), 1
    for axis in order:
        if axis < kept:
            target[axis] = step
            step *= shape[axis]
    wide = [stride for axis, stride in enumerate(target[:kept]) if shape[axis] > 1]
    in_order = all(x >= y for x, y in itertools.pairwise(wide))
    return _joined(shape, [*operands, tuple(target)], order), in_order


def given_loop(shape: Sequence[int], operands: Sequence[Strides]) -> Loop:
    """Return the loop over operands of which the last is written to."""
    return _joined(shape, operands, _walked(shape, operands))


def ordered_loop(shape: Sequence[int], operands: Sequence[Strides]) -> Loop:
    """Return the loop that makes an array in C order when asked for that."""
    order = [axis for axis in range(len(shape) - 1, -1, -1) if shape[axis] != 1]
    return _joined(shape, [*operands, dense_strides(shape)], order)


def product_buffers(shape: Sequence[int], operands: Sequence[Strides]) -> int:
    """Return the entries of the buffers for an element-wise product in C order."""
    return ordered_loop(shape, operands).buffers


def fused_buffers(shape: Sequence[int], operands: Sequence[Strides], kept: int) -> int:
    """Return the entries that einsum takes beside the result of a product that it sums.

    Loops of up to three axes need no buffers. Where the result does not lie in C order it is
    copied, when the buffers are gone.
    """
    loop, in_order = made_loop(shape, operands, kept)
    copied = 0 if in_order else math.prod(shape[:kept])
    return max(loop.buffers if len(loop.shape) > 3 else 0, copied)


def strides_along(
    order: Sequence[int], groups: Sequence[Sequence[int] | None], sizes: Sequence[int]
) -> Strides:
    """Return the strides of a value in memory order `order` along groups of labels.

    Examples
    --------
    >>> strides_along((0, 1, 2), [(2,), None, (0, 1)], (2, 3, 4))
    (1, 0, 4)
    """
    step, strides = 1, {}
    for label in reversed(order):
        strides[label] = step
        step *= sizes[label]
    return tuple(strides[group[-1]] if group else 0 for group in groups)


def _walked(shape: Sequence[int], operands: Sequence[Strides]) -> list[int]:
    """Return the axes in the order in which they are walked along, the innermost first."""
    order = [axis for axis in range(len(shape) - 1, -1, -1) if shape[axis] != 1]
    for place in range(1, len(order)):
        axis, to = order[place], place
        for before in range(place - 1, -1, -1):
            swap = _goes_inside(axis, order[before], operands)
            if swap:
                to = before
            elif swap is not None:
                break
        order.insert(to, order.pop(place))
    return order


def _goes_inside(axis: int, other: int, operands: Sequence[Strides]) -> bool | None:
    """Tell whether an axis is walked along inside of another; None if nothing decides.

    Operands that disagree leave the axes in C order.
    """
    inside: bool | None = None
    for strides in operands:
        if strides[axis] and strides[other]:
            if abs(strides[other]) <= abs(strides[axis]):
                inside = False
            elif inside is None:
                inside = True
    return inside


def _joined(shape: Sequence[int], operands: Sequence[Strides], order: Sequence[int]) -> Loop:
    lengths: list[int] = []
    strides: list[list[int]] = [[] for _ in operands]
    for axis in order:
        steps = [given[axis] for given in operands]
        if lengths and all(
            known[-1] * lengths[-1] == step for known, step in zip(strides, steps, strict=True)
        ):
            # only the stride of the inner one matters
            lengths[-1] *= shape[axis]
            continue
        lengths.append(shape[axis])
        for known, step in zip(strides, steps, strict=True):
            known.append(step)
    return Loop(tuple(lengths), tuple(map(tuple, strides)))


def _buffers(loop: Loop) -> int:
    shape, strides = loop
    if not shape or not math.prod(shape):
        return 0
    count = len(strides)
    along = [1] * count  # axes over which an operand has a single stride
    turns = 0  # axis at which sums end and begin
    turned = [False] * count
    cost, size = 1, shape[0]
    best = (0, cost, size, 1)
    for axis in range(1, len(shape)):
        if turns or (size >= BUFFER and cost > 1):
            break
        for k, steps in enumerate(strides):
            if along[k] == axis:
                if steps[axis - 1] * shape[axis - 1] == steps[axis]:
                    along[k] += 1
                    continue
                cost += 1
            if k == count - 1 and (steps[axis] == 0 or steps[axis - 1] == 0):
                turned[k], turns = True, axis
        core, size = size, size * shape[axis]
        once = min(size, BUFFER) if cost > 1 else size
        if cost * best[2] <= best[1] * once:
            best = axis, cost, size, core
    outer, _, size, core = best
    sums = turns > 0 and outer == turns
    used = 0
    for k, steps in enumerate(strides):
        again = sums and (turned[k] or along[k] == outer or (steps[turns] == 0))
        used += along[k] + again <= outer
    return used * (size if size <= BUFFER else core * (BUFFER // core))
