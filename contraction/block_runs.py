"""Runs of two fused steps, block by block; `contraction.blocks` says when and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from contraction.steps import Blocks, Place

Unary: TypeAlias = Callable[[Any], Any]
Binary: TypeAlias = Callable[[Any, Any], Any]
Empty: TypeAlias = Callable[[Any, tuple[int, ...]], Any]


def defer(x: Any, y: Any) -> Any:
    """Return the operands of a step that the next one does."""
    return x, y


def in_blocks(
    blocks: Blocks,
    once: Sequence[Unary | None],
    whole: tuple[Binary, Binary],
    rest: tuple[Binary, Binary],
    empty: Empty,
) -> Binary:
    """Return the kernel that does both steps.

    Parameters
    ----------
    blocks
        The steps.
    once
        What prepares each of the three operands before the first block, or None.
    whole, rest
        The two kernels for a block, and for the last one if that is narrower.
    empty
        Makes an array like another one, of a given shape.
    """
    length, width, cuts, placed = blocks.length, blocks.width, blocks.cuts, blocks.placed

    def parts(operands: list[Any]) -> Iterator[tuple[int, Any]]:
        for start in range(0, length, width):
            x, y, z = (
                array if cut is None else array[:, start : start + width]
                for array, cut in zip(operands, cuts, strict=True)
            )
            first, second = whole if start + width <= length else rest
            yield start, second(first(x, y), z) if blocks.product_left else second(z, first(x, y))

    def added(operands: list[Any]) -> Any:
        total = None
        for _, part in parts(operands):
            if total is None:
                total = part
            else:
                total += part
            del part  # before the next is made
        return total

    def put_together(operands: list[Any], shape: Place) -> Any:
        total = slots = None
        for start, part in parts(operands):
            if slots is None:
                total = empty(part, blocks.shape)
                slots = total.reshape(shape)
            slots[:, start : start + width] = part.reshape((shape[0], -1, shape[2]))
            del part
        return total

    def run(x: Any, y: Any) -> Any:
        (a, b), c = (x, y) if blocks.product_left else (y, x)
        operands = [a, b, c]
        for i, (cut, prepare) in enumerate(zip(cuts, once, strict=True)):
            if cut is not None:
                operands[i] = operands[i].reshape(cut)
            elif prepare is not None:
                operands[i] = prepare(operands[i])
        return added(operands) if placed is None else put_together(operands, placed)

    return run
