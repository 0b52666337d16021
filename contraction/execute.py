"""Execute: check the arrays of a run, and bind a program to one array library.

A bound program is a list of closures without look-ups: per step one call, the views, and the
kernel. All libraries share it; what they spell differently is in `Library`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from contraction import arrays as arrays_
from contraction.block_runs import Binary, Unary, defer, in_blocks
from contraction.copies import in_c_order, product_in_c_order
from contraction.errors import BackendError, ShapeError
from contraction.lowering import Kernel
from contraction.program import Layouts, Load, Program, Step, View
from contraction.spec import Spec, check_ndim
from contraction.steps import Blocks, tidied

Runner: TypeAlias = Callable[[list[Any]], Any]

SMALL = 4096  # entries up to which an array in another memory order is simply copied
_FLOATS = frozenset(np.dtype(name) for name in arrays_.DTYPES)


def is_plain(values: list[Any], shapes: list[tuple[int, ...]]) -> bool:
    """Tell quickly whether all values are NumPy arrays of one float dtype, these shapes, C order.

    They then need no further check; anything else goes through `prepare` and `memory_orders`.
    """
    if len(values) != len(shapes) or type(values[0]) is not np.ndarray:
        return False
    dtype = values[0].dtype
    for x, shape in zip(values, shapes, strict=True):
        if type(x) is not np.ndarray or x.dtype is not dtype or x.shape != shape:
            return False
        if not x.flags.c_contiguous:
            return False
    return dtype in _FLOATS


def prepare(values: list[Any], spec: Spec) -> str:
    """Check the arrays of a run, give them one dtype in place, and return their library.

    Raises
    ------
    ShapeError
        Another number of arrays, or other shapes, than the spec has.
    BackendError
        Arrays of several libraries or devices, or sparse tensors.
    DTypeError
        Entries that are no numbers.
    """
    kinds = set(map(type, values))
    if len(kinds) != 1 or not _is_checked(kinds.pop(), values):
        for i, x in enumerate(values):
            checked: Any = arrays_.as_array(x, what=f"input {i}")
            if isinstance(checked, np.ndarray):
                checked = np.asarray(checked)  # a subclass may multiply in ways of its own
            values[i] = checked
        arrays_.namespace(*values)  # raises if there are several
    if [x.shape for x in values] != spec.shape_list:
        _refuse_shapes(values, spec)
    name = arrays_.namespace_name(values[0])
    if name != "numpy" and len({x.device if name == "torch" else x.device.id for x in values}) > 1:
        raise BackendError(
            f"the arrays lie on several devices: {sorted({str(x.device) for x in values})}; "
            "move all of them to one first (contraction.arrays.to)."
        )
    if name == "torch" and any(str(x.layout) != "torch.strided" for x in values):
        raise BackendError("sparse tensors are not supported; pass x.to_dense().")
    if len({x.dtype for x in values}) > 1:
        wanted = str(np.result_type(*(arrays_.dtype_name(x) for x in values)))
        for i, x in enumerate(values):
            values[i] = arrays_.to(x, dtype=wanted)
    return name


def _is_checked(kind: Any, values: list[Any]) -> bool:
    """Tell whether values of one type need no conversion: plain arrays of float dtypes."""
    if kind is np.ndarray or kind.__module__.partition(".")[0] in ("torch", "cupy"):
        return all(map(_is_float, {x.dtype for x in values}))
    return False


@lru_cache(maxsize=64)
def _is_float(dtype: Any) -> bool:
    if isinstance(dtype, np.dtype):
        return dtype in _FLOATS
    return str(dtype).rpartition(".")[2] in arrays_.DTYPES


def _refuse_shapes(values: list[Any], spec: Spec) -> None:
    if len(values) != len(spec.inputs):
        raise ShapeError(
            f"the contraction has {len(spec.inputs)} inputs, but {len(values)} arrays were given."
        )
    for i, (x, labels, want) in enumerate(zip(values, spec.inputs, spec.shapes, strict=True)):
        check_ndim(i, labels, x.shape)
        if tuple(x.shape) != want:
            raise ShapeError(
                f"input {i} with labels {labels} needs shape {want}, got {tuple(x.shape)}."
            )


def memory_orders(values: list[Any], name: str) -> Layouts | None:
    """Return how the axes of each value lie in memory; None where all lie in C order.

    A value whose memory is dense in some order of its axes is described by the permutation
    that brings it to C order; any other is replaced by a copy, in place.
    """
    if name == "torch":
        plain = [x.is_contiguous() for x in values]
    else:
        plain = [x.flags.c_contiguous for x in values]
    if all(plain):
        return None
    library = Library(name)
    layouts: list[tuple[int, ...] | None] = [None] * len(values)
    for i, x in enumerate(values):
        if not plain[i]:
            layouts[i] = _layout(x, library)
            if layouts[i] is None:
                values[i] = library.contiguous(x)
    return None if not any(layouts) else tuple(layouts)


def _layout(x: Any, library: Library) -> tuple[int, ...] | None:
    strides = x.stride() if library.name == "torch" else x.strides
    size = int(np.prod(x.shape))
    if size <= SMALL or min(strides) < 0:
        return None
    axes = tuple(sorted(range(len(strides)), key=lambda a: -strides[a]))
    turned = getattr(x, library.permute)(axes)
    dense = turned.is_contiguous() if library.name == "torch" else turned.flags.c_contiguous
    return axes if dense else None


class Library:
    """The few calls that the array libraries spell differently."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.permute = "permute" if name == "torch" else "transpose"

    def contiguous(self, x: Any) -> Any:
        """Return `x` in C order, itself if it is so already."""
        if self.name == "numpy":
            return in_c_order(x)
        if self.name == "torch":
            return x.contiguous()
        return x if x.flags.c_contiguous else x.copy()

    def matmul(self, step: Step) -> Binary:
        """Return the matrix product; its result lies in C order."""
        if self.name == "numpy" and (_turned(step.view_left) or _turned(step.view_right)):
            # NumPy would lay out the batch axes as on the operand
            matmul: Binary = partial(np.matmul, order="C")
            return matmul
        return operator.matmul

    def same(self, x: Any, y: Any) -> bool:
        """Tell whether two arrays of one shape and dtype are the same memory seen alike."""
        if x is y:
            return True
        if self.name == "torch":
            return bool(
                x.data_ptr() == y.data_ptr()
                and x.stride() == y.stride()
                and x.is_conj() == y.is_conj()
                and not (x.requires_grad or y.requires_grad)
            )
        if self.name == "cupy":
            return bool(x.data.ptr == y.data.ptr and x.strides == y.strides)
        here, there = x.__array_interface__["data"][0], y.__array_interface__["data"][0]
        return bool(here == there and x.strides == y.strides)

    def empty(self, like: Any, shape: tuple[int, ...]) -> Any:
        """Return an array with entries of any value, of the dtype and on the device of another."""
        if self.name == "torch":
            return like.new_empty(shape)
        return arrays_.namespace(like).empty(shape, dtype=like.dtype)

    def act(self, step: Step) -> Binary:
        """Return the kernel of a step, without its views."""
        if step.kernel is Kernel.MATMUL:
            return self.matmul(step)
        return self.multiply(step) if step.kernel is Kernel.MULTIPLY else self.multiply_sum(step)

    def multiply(self, step: Step) -> Binary:
        """Return the element-wise product; its result lies in C order."""
        if step.view_left.axes is None and step.view_right.axes is None:
            return operator.mul
        if self.name == "numpy":
            return product_in_c_order
        contiguous = self.contiguous
        if self.name != "torch" or tidied(step):
            return lambda a, b: contiguous(a * b)
        import torch

        def multiply(a: Any, b: Any) -> Any:
            if a.requires_grad or b.requires_grad:
                return contiguous(a * b)
            shape = [n if m == 1 else m for m, n in zip(a.shape, b.shape, strict=True)]
            # asked for C order, it walks in that order
            return torch.mul(a, b, out=a.new_empty(shape))

        return multiply

    def multiply_sum(self, step: Step) -> Binary:
        """Return the product summed over some axes of two arrays laid out alike."""
        axes, contiguous = step.sums, self.contiguous
        if self.name == "numpy" and step.subscripts:
            # asked for C order, einsum would walk the operands in that order too
            fused = partial(np.einsum, step.subscripts)
            return lambda a, b: contiguous(fused(a, b))
        return lambda a, b: contiguous((a * b).sum(axes))


def _turned(view: View) -> bool:
    """Tell whether a view permutes the batch axes of a matrix product."""
    if view.axes is None or view.copied:
        return False
    batch = view.axes[:-2]
    return list(batch) != sorted(batch)


class Stages(NamedTuple):
    """A program bound to a library, not yet joined into one function."""

    loads: list[tuple[int, Unary]]  # which input, and what prepares it
    steps: list[tuple[Binary, int, int]]
    finish: Unary | None


def stages(program: Program, name: str) -> Stages:
    """Return the closures of a program, one for each step."""
    library = Library(name)
    return Stages(
        [(load.value, _load(load, library)) for load in program.loads],
        [(_kernel(step, library), step.left, step.right) for step in program.steps],
        _view(program.final, library),
    )


def bind(program: Program, name: str) -> Runner:
    """Return a function from the list of inputs (consumed) to the result.

    Parameters
    ----------
    program
        The program.
    name
        "numpy", "torch" or "cupy".
    """
    loads, steps, finish = stages(program, name)
    # NumPy makes scalars of arrays without axes
    scalar, asarray = name == "numpy" and not program.shape, np.asarray

    def run(values: list[Any]) -> Any:
        for i, prepare in loads:
            values[i] = prepare(values[i])
        add = values.append
        for kernel, i, j in steps:
            add(kernel(values[i], values[j]))
            values[i] = values[j] = None  # frees what nothing else holds
        result = values[-1] if finish is None else finish(values[-1])
        return asarray(result) if scalar else result

    return run


def _load(load: Load, library: Library) -> Unary:
    permute, contiguous = operator.methodcaller, library.contiguous
    layout, diagonals, sums = load.layout, load.diagonals, load.sums
    turn = permute(library.permute, layout) if layout is not None else None

    def prepare(x: Any) -> Any:
        if turn is not None:
            x = turn(x)
        for i, j in diagonals:
            x = x.diagonal(0, i, j)
        if sums:
            x = x.sum(sums)
        return contiguous(x) if diagonals or sums else x

    return prepare


def _view(view: View, library: Library) -> Unary | None:
    first, axes, last = view.first, view.axes, view.last
    if view.swapped:
        inner, swap = _view(view._replace(swapped=False), library), _SWAP
        return swap if inner is None else lambda x: swap(inner(x))
    if axes is None:
        return None if first is None else lambda x: x.reshape(first)
    permute = operator.methodcaller(library.permute, axes)
    if view.copied:
        contiguous = library.contiguous

        def copy(x: Any) -> Any:
            x = contiguous(permute(x if first is None else x.reshape(first)))
            return x if last is None else x.reshape(last)

        return copy
    if first is None and last is None:
        return permute
    if last is None:
        return lambda x: permute(x.reshape(first))
    if first is None:
        return lambda x: permute(x).reshape(last)
    return lambda x: permute(x.reshape(first)).reshape(last)


_SWAP = operator.methodcaller("swapaxes", -2, -1)


def _kernel(step: Step, library: Library) -> Binary:
    if step.deferred:
        return defer
    if step.blocks is not None:
        return _in_blocks(step.blocks, library)
    a, b = _view(step.view_left, library), _view(step.view_right, library)
    act = library.act(step)
    plain = _viewed(act, a, b)
    return plain if a is None or b is None or not step.twins else _gram(a, act, plain, library)


def _viewed(act: Binary, a: Unary | None, b: Unary | None) -> Binary:
    if a is None:
        return act if b is None else lambda x, y: act(x, b(y))
    return (lambda x, y: act(a(x), y)) if b is None else (lambda x, y: act(a(x), b(y)))


def _in_blocks(blocks: Blocks, library: Library) -> Binary:
    """Return what does a deferred step and the one after it."""
    left, cuts = blocks.product_left, blocks.cuts

    def both(pair: tuple[Step, Step]) -> tuple[tuple[Binary, Binary], list[Unary | None]]:
        first, second = pair
        beside = second.view_right if left else second.view_left
        seen = [_view(v, library) for v in (first.view_left, first.view_right, beside)]
        a, b, c = (None if cut is None else v for v, cut in zip(seen, cuts, strict=True))
        product = _view(second.view_left if left else second.view_right, library)
        after = (product, c) if left else (c, product)
        kernels = _viewed(library.act(first), a, b), _viewed(library.act(second), *after)
        return kernels, seen

    whole, once = both(blocks.whole)
    rest = whole if blocks.rest is None else both(blocks.rest)[0]
    return in_blocks(blocks, once, whole, rest, library.empty)


def _gram(a: Unary, act: Binary, plain: Binary, library: Library) -> Binary:
    """Return what copies one operand only, and halves the arithmetic, where both are one array."""
    same = library.same

    def gram(x: Any, y: Any) -> Any:
        if same(x, y):
            x = a(x)
            return act(x, _SWAP(x))
        return plain(x, y)

    return gram
