"""Programs: a sum of products of small matrices, applied to an array in a few matrix products."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from contraction.arrays import Array, Namespace, namespace
from integrators.sweeping.plans import Branch, Finals, Number, Taken


class Slot(NamedTuple):
    """A range of axes of an array, and the matrices that may act there.

    Attributes
    ----------
    before, size, after
        Products of the sizes of the axes before, in and after the range.
    elements
        (n, size, size), or a tuple of scipy.sparse matrices.
    """

    before: int
    size: int
    after: int
    elements: Any


class _Single(NamedTuple):
    slot: Slot
    output: int
    matrix: Any


class _Final(NamedTuple):
    slot: Slot
    output: int
    rows: tuple[int, ...] | None  # None: all
    stack: Any


class _Stem(NamedTuple):
    slot: Slot
    stack: Any
    taken: tuple[Taken, ...]
    finals: tuple[_Final, ...]
    deeper: tuple[tuple[int, _Branch], ...]


class _Branch(NamedTuple):
    constants: tuple[tuple[int, Number], ...]
    singles: tuple[_Single, ...]
    stems: tuple[_Stem, ...]


class Program:
    """A branch with the matrices of its slots put in; immutable after construction.

    Parameters
    ----------
    branch
        What `plan_terms` returned.
    slots
        The slots by number, all for arrays of one size.
    outputs
        Number of results.
    xp
        Namespace of the matrices.
    """

    def __init__(self, branch: Branch, slots: Sequence[Slot], outputs: int, xp: Namespace) -> None:
        self._xp, self._outputs = xp, outputs
        self._branch = self._bound(branch, slots)

    def __call__(self, x: Array) -> list[Any]:
        """Return the results as flat arrays, None where there is no term."""
        out: list[Any] = [None] * self._outputs
        self._run(self._branch, x, out)
        return out

    def _bound(self, branch: Branch, slots: Sequence[Slot]) -> _Branch:
        singles = [
            _Single(slots[m.slot], m.output, _sum(slots[m.slot].elements, m.elements, m.weights))
            for m in branch.singles
        ]
        stems = []
        for stem in branch.stems:
            finals = tuple(self._final(f, slots[f.slot], len(stem.elements)) for f in stem.finals)
            deeper = tuple((row, self._bound(b, slots)) for row, b in stem.deeper)
            stack = _pick(slots[stem.slot].elements, stem.elements)
            stems.append(_Stem(slots[stem.slot], stack, stem.taken, finals, deeper))
        return _Branch(branch.constants, tuple(singles), tuple(stems))

    def _final(self, final: Finals, slot: Slot, rows: int) -> _Final:
        elements = slot.elements
        if isinstance(elements, tuple):
            stack: Any = tuple(_sum(elements, final.elements, row) for row in final.table)
        else:
            chosen = _pick(elements, final.elements)
            table = _like(final.table, elements, self._xp)
            n = slot.size
            stack = (table @ chosen.reshape(len(final.elements), n * n)).reshape(-1, n, n)
            if slot.before == 1:  # one product for all rows: their matrices side by side
                stack = self._xp.permute_dims(stack, (1, 0, 2)).reshape(n, -1)
        return _Final(slot, final.output, None if len(final.rows) == rows else final.rows, stack)

    def _run(self, branch: _Branch, x: Any, out: list[Any]) -> None:
        for k, weight in branch.constants:
            _add(out, k, _number(weight) * x.reshape(-1))
        for slot, k, matrix in branch.singles:
            _add(out, k, _one(matrix, x, slot, self._xp))
        for slot, stack, taken, finals, deeper in branch.stems:
            rows = _each(stack, x, slot, self._xp)
            for final in finals:
                picked = rows if final.rows is None else self._rows(rows, final.rows)
                _add(out, final.output, _summed(final, picked, self._xp))
            for row, follow in deeper:
                self._run(follow, rows[row], out)
            for t in taken:
                _add(out, t.output, _number(t.weight) * rows[t.row])

    def _rows(self, rows: Any, wanted: tuple[int, ...]) -> Any:
        return self._xp.stack([rows[k] for k in wanted])


def _add(out: list[Any], k: int, y: Any) -> None:
    """Add to a result; the first addend must belong to the caller alone."""
    if out[k] is None:
        out[k] = y
    else:
        out[k] += y


def _like(values: Any, elements: Any, xp: Namespace) -> Any:
    """Return host numbers beside `elements`, in their dtype."""
    if np.iscomplexobj(values) and not values.imag.any():
        values = values.real
    if isinstance(elements, np.ndarray):
        kind = np.result_type(elements, np.complex64) if np.iscomplexobj(values) else None
        return values.astype(kind or elements.real.dtype, copy=False)
    return xp.asarray(values, dtype=elements.dtype, device=elements.device)


def _sum(elements: Any, chosen: Sequence[int], weights: Any) -> Any:
    """Return the weighted sum of some matrices."""
    if isinstance(elements, tuple) or len(chosen) <= 3:
        total = elements[chosen[0]]
        total = total if weights[0] == 1.0 else total * _number(weights[0])
        for k, weight in zip(chosen[1:], weights[1:], strict=True):
            total = total + (elements[k] if weight == 1.0 else elements[k] * _number(weight))
        return total
    n = elements.shape[-1]
    table = _like(weights[None, :], elements, namespace(elements))
    return (table @ _pick(elements, chosen).reshape(len(chosen), n * n)).reshape(n, n)


def _number(weight: Any) -> Number:
    """Return a Python number, which leaves the dtype of arrays alone; real if it can be."""
    value = complex(weight)
    return value if value.imag else value.real


def _pick(elements: Any, chosen: Sequence[int]) -> Any:
    if isinstance(elements, tuple):
        return tuple(elements[k] for k in chosen)
    first, count = chosen[0], len(chosen)
    if tuple(chosen) == tuple(range(first, first + count)):
        return elements[first : first + count]
    return elements[list(chosen)]


def _one(matrix: Any, x: Any, slot: Slot, xp: Namespace) -> Any:
    """Return one matrix applied to a slot, flat."""
    before, n, after, elements = slot
    if isinstance(elements, tuple):
        return _sparse(matrix, x, slot, xp)
    if before == 1:
        return (matrix @ x.reshape(n, after)).reshape(-1)
    if after == 1:
        return (x.reshape(before, n) @ matrix.T).reshape(-1)
    return xp.matmul(matrix, x.reshape(before, n, after)).reshape(-1)


def _each(stack: Any, x: Any, slot: Slot, xp: Namespace) -> Any:
    """Return (n, ...) flat rows: every matrix of the stack applied to a slot."""
    before, n, after, _ = slot
    if isinstance(stack, tuple):
        return xp.stack([_sparse(matrix, x, slot, xp) for matrix in stack])
    count = stack.shape[0]
    if before == 1:
        return (stack.reshape(-1, n) @ x.reshape(n, after)).reshape(count, -1)
    if count == 1:
        return _one(stack[0], x, slot, xp).reshape(1, -1)
    if after == 1:
        rows = xp.matmul(x.reshape(1, before, n), _transposed(stack, xp))
    else:
        rows = xp.matmul(stack[:, None, :, :], x.reshape(1, before, n, after))
    return rows.reshape(count, -1)


def _summed(final: _Final, rows: Any, xp: Namespace) -> Any:
    """Return the sum over rows of their matrices applied to them, flat."""
    before, n, after, _ = slot = final.slot
    if isinstance(final.stack, tuple):
        total = _sparse(final.stack[0], rows[0], slot, xp)
        for k in range(1, len(final.stack)):
            total = total + _sparse(final.stack[k], rows[k], slot, xp)
        return total
    count = rows.shape[0]
    if before == 1:
        return (final.stack @ rows.reshape(count * n, after)).reshape(-1)
    if count == 1:
        return _one(final.stack[0], rows[0], slot, xp)
    if after == 1:
        found = xp.matmul(rows.reshape(count, before, n), _transposed(final.stack, xp))
    else:
        found = xp.matmul(final.stack[:, None, :, :], rows.reshape(count, before, n, after))
    return xp.sum(found, axis=0).reshape(-1)


def _transposed(stack: Any, xp: Namespace) -> Any:
    return xp.permute_dims(stack, (0, 2, 1))


def _sparse(matrix: Any, x: Any, slot: Slot, xp: Namespace) -> Any:
    before, n, after, _ = slot
    front = xp.permute_dims(x.reshape(before, n, after), (1, 0, 2)).reshape(n, -1)
    found = matrix @ front
    return xp.permute_dims(found.reshape(n, before, after), (1, 0, 2)).reshape(-1)


def slot_of(dims: Sequence[int], start: int, stop: int, elements: Any) -> Slot:
    """Return the slot of axes start, ..., stop - 1 of an array of shape `dims`."""
    return Slot(
        math.prod(dims[:start]), math.prod(dims[start:stop]), math.prod(dims[stop:]), elements
    )
