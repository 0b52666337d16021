"""Entries: a tensor known at some of its indices only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from contraction import arrays as arrays_
from contraction.arrays import Array, namespace, namespace_name
from contraction.errors import DTypeError, InputError, ShapeError


@dataclass(frozen=True, eq=False)
class Entries:
    """The observed entries of a tensor, in coordinate form.

    Parameters
    ----------
    indices
        (entries, order) whole numbers, one row per entry, on the host. An entry may come more
        than once; each counts.
    values
        (entries,) in any namespace; every value must be finite.
    shape
        Shape of the tensor.

    Raises
    ------
    ShapeError
        The shapes do not fit, or an index lies outside the tensor.
    InputError
        No entry at all.

    Examples
    --------
    >>> Entries(np.array([[0, 1], [2, 0]]), np.array([1.0, 2.0]), (3, 2)).count
    2
    """

    indices: np.ndarray[Any, np.dtype[np.int64]]
    values: Array
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        indices = arrays_.to_numpy(self.indices)
        values = arrays_.as_array(self.values, what="the values")
        shape = tuple(int(n) for n in self.shape)
        if not np.issubdtype(indices.dtype, np.integer):
            raise DTypeError(f"`indices` are whole numbers, got {indices.dtype}.")
        if indices.shape != (*values.shape, len(shape)):
            raise ShapeError(
                f"{len(shape)} modes need `indices` of shape (entries, {len(shape)}) and "
                f"`values` of shape (entries,), got {indices.shape} and {tuple(values.shape)}."
            )
        if not len(indices):
            raise InputError("there is no observed entry; nothing can be fitted.")
        outside = (indices < 0) | (indices >= np.asarray(shape))
        if outside.any():
            row, axis = np.argwhere(outside)[0]
            raise ShapeError(
                f"row {row} of `indices` is {indices[row].tolist()}, outside the shape {shape} "
                f"along axis {axis}; indices run from 0."
            )
        arrays_.require_finite(values, what="the observed values")
        object.__setattr__(self, "indices", indices.astype(np.int64, copy=False))
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "shape", shape)

    @property
    def count(self) -> int:
        """Number of entries."""
        return len(self.indices)

    @property
    def norm(self) -> float:
        """Frobenius norm of the entries."""
        xp = namespace(self.values)
        return float(xp.linalg.vector_norm(self.values))

    def take(self, rows: Sequence[int] | np.ndarray[Any, Any]) -> Entries:
        """Return some of the entries."""
        chosen = np.asarray(rows)
        xp = namespace(self.values)
        values = xp.take(self.values, beside(chosen, self.values), axis=0)
        return Entries(self.indices[chosen], values, self.shape)


def beside(host: np.ndarray[Any, np.dtype[Any]], like: Array) -> Any:
    """Return a host array in the namespace and on the device of `like`."""
    return arrays_.to(host, namespace=namespace_name(like), device=arrays_.device(like))


def observed(x: Array, mask: Array | None = None, *, always: bool = False) -> Entries | None:
    """Return the observed entries of `x`, or None if all of them are.

    Parameters
    ----------
    x
        The tensor; NaN marks a missing entry.
    mask
        True where an entry is known; of the shape of `x`. Where it is False `x` is not read.
    always
        Return the entries even if none is missing.

    Raises
    ------
    ShapeError
        `mask` has another shape.
    DTypeError
        `mask` does not hold truth values.
    NonFiniteError
        An observed entry is infinite.
    InputError
        No entry is observed.

    Examples
    --------
    >>> found = observed(np.array([[1.0, np.nan], [2.0, 3.0]]))
    >>> found.count, found.indices[1].tolist()
    (3, [1, 0])
    """
    xp = namespace(x)
    known = ~xp.isnan(x)
    if mask is not None:
        known = known & checked_mask(mask, x)
    shape = tuple(int(n) for n in x.shape)
    if not always and bool(xp.all(known)):
        return None
    where = np.flatnonzero(arrays_.to_numpy(known).reshape(-1))
    if not len(where):
        raise InputError(
            f"x of shape {shape} has no observed entry: all are NaN or masked; nothing can be "
            "fitted."
        )
    flat = x.reshape((-1,))
    values = xp.take(flat, beside(where, x), axis=0)
    return Entries(np.stack(np.unravel_index(where, shape), axis=1), values, shape)


def checked_mask(mask: Array, x: Array) -> Any:
    """Return `mask` beside `x`, checked."""
    if isinstance(mask, (list, tuple)):
        mask = np.asarray(mask)
    if arrays_.dtype_name(mask) not in ("bool", "bool_"):
        raise DTypeError(
            f"`mask` is True where an entry is known; expected bool, got {mask.dtype}."
        )
    if tuple(mask.shape) != tuple(x.shape):
        raise ShapeError(f"`mask` has shape {tuple(mask.shape)}, x has {tuple(x.shape)}.")
    return beside(arrays_.to_numpy(mask), x)
