"""Binding: messages as closures of one array library, and the derivatives in their final shape."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from contraction.arrays import namespace_by_name
from contraction.execute import Library, stages
from contraction.program import Program
from contraction.reuse.messages import Finish, Messages

Unary = Callable[[Any], Any]
Binary = Callable[[Any, Any], Any]


class Bound:
    """The kernels of a set of messages for one array library."""

    def __init__(self, messages: Messages, name: str) -> None:
        self.messages, self.name, library = messages, name, Library(name)
        program = Program(messages.loads, messages.steps, messages.final, (), 0.0, 0, 0, 0)
        self.loads, self.kernels, self._final = stages(program, name)
        self.load_of = dict(self.loads)
        self._finishes = {i: _finisher(f, library) for i, f in messages.finishes.items()}

    def __reduce__(self) -> tuple[Any, ...]:
        return Bound, (self.messages, self.name)

    def prepared(self, arrays: Sequence[Any]) -> list[Any]:
        """Return the table of values with the inputs as the steps want them."""
        values = [*arrays, None, *[None] * len(self.kernels)]
        for i, prepare in self.loads:
            values[i] = prepare(values[i])
        return values

    def weights(self, cotangent: Any) -> Any:
        """Return the cotangent as the steps want it."""
        return None if cotangent is None else cotangent.reshape(self.messages.cotangent)

    def result(self, root: Any) -> Any:
        """Return the value of the root in the shape of the result."""
        made = root if self._final is None else self._final(root)
        return np.asarray(made) if self.name == "numpy" else made

    def environment(self, leaf: int, message: Any) -> Any:
        """Return the derivative by an input in the shape of that input."""
        return self._finishes[leaf](message)


def _finisher(finish: Finish, library: Library) -> Unary:
    """Return the function that shapes a derivative."""
    first, axes, last, name = finish.first, finish.axes, finish.last, library.name
    spread, diagonal, shape = finish.spread, finish.diagonal, finish.shape
    turn = None if axes is None else operator.methodcaller(library.permute, axes)

    def shaped(x: Any) -> Any:
        if first is not None:
            x = x.reshape(first)
        if turn is not None:
            x = turn(x)
        if last is not None:
            x = x.reshape(last)
        if spread is not None:
            x = _broadcast(x, spread, name)
        if diagonal is not None:
            return _on_diagonal(x, diagonal, shape, name)
        if finish.copied:
            x = x.clone() if name == "torch" else x.copy()
        return x if shape or name != "numpy" else np.asarray(x)

    return shaped


def _broadcast(x: Any, shape: tuple[int, ...], name: str) -> Any:
    wide = namespace_by_name(name).broadcast_to(x, shape)
    return wide.contiguous() if name == "torch" else wide.copy()


def _on_diagonal(x: Any, axes: tuple[int, ...], shape: tuple[int, ...], name: str) -> Any:
    """Return zeros of `shape` with `x` where all axes of one label agree.

    `axes` gives, for each axis of the result, the axis of `x` with its label.
    """
    if name == "torch":
        out = x.new_zeros(shape)
        strides = out.stride()
    else:
        xp: Any = namespace_by_name(name)
        out = xp.zeros(shape, dtype=x.dtype, device=x.device)
        strides = out.strides
    along = [0] * x.ndim
    for axis, stride in zip(axes, strides, strict=True):
        along[axis] += stride
    if name == "torch":
        out.as_strided(x.shape, along).copy_(x)
    else:
        namespace_by_name(name).lib.stride_tricks.as_strided(out, x.shape, along)[...] = x
    return out
