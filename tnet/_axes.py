"""Unfoldings and products along one axis, as views wherever the memory order allows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from contraction.arrays import Array, Namespace, namespace_name

SMALL = 8  # trailing sizes below this make too many too small matrix products


def unfold(x: Array, axis: int, xp: Namespace) -> Array:
    """Return the unfolding (all other axes, `axis`); no copy for the first and the last axis."""
    size = x.shape[axis]
    if axis == x.ndim - 1:
        return x.reshape(-1, size)
    moved: Any = x.reshape(size, -1) if axis == 0 else xp.moveaxis(x, axis, -1)
    if axis == 0:
        found: Array = moved.T
        return found
    found = moved.reshape(-1, size)
    return found


def fold(matrix: Array, shape: Sequence[int], axis: int, xp: Namespace) -> Array:
    """Undo `unfold`; the size of `axis` is taken from `matrix`, the others from `shape`."""
    others = [n for k, n in enumerate(shape) if k != axis]
    size = matrix.shape[1]
    if axis == 0 and len(shape) > 1:
        turned: Any = matrix.T  # type: ignore[attr-defined]
        return contiguous(turned).reshape(size, *others)
    wide = matrix.reshape(*others, size)
    if axis == len(shape) - 1:
        return wide
    return contiguous(xp.moveaxis(wide, -1, axis))


def apply_matrix(x: Array, matrix: Array, axis: int, xp: Namespace) -> Array:
    """Return the product of `matrix` (k, n) with axis `axis` (n) of `x`; the axis becomes k."""
    shape = tuple(x.shape)
    target = (*shape[:axis], matrix.shape[0], *shape[axis + 1 :])
    before, after = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    transposed: Any = matrix.T  # type: ignore[attr-defined]
    product: Array
    if before == 1:
        product = matrix @ x.reshape(shape[axis], after)
    elif after == 1:
        product = x.reshape(before, shape[axis]) @ transposed
    elif after < SMALL:
        return fold(unfold(x, axis, xp) @ transposed, shape, axis, xp)
    else:
        product = xp.matmul(matrix, x.reshape(before, shape[axis], after))
    return product.reshape(*target)


def all_but_axis(x: Array, y: Array, axis: int, xp: Namespace) -> Array:
    """Return the sum of x * y over every axis but one: (axis of x, axis of y)."""
    p, q = x.shape[axis], y.shape[axis]
    left: Any = x
    right: Any = y
    found: Array
    if axis == 0:
        found = left.reshape(p, -1) @ right.reshape(q, -1).T
    elif axis == len(x.shape) - 1:
        found = left.reshape(-1, p).T @ right.reshape(-1, q)
    else:
        rows = xp.moveaxis(left, axis, 0).reshape(p, -1)
        found = rows @ xp.moveaxis(right, axis, 0).reshape(q, -1).T
    return found


def contiguous(x: Array) -> Array:
    """Return `x` in row-major memory; itself if it is so already."""
    if namespace_name(x) == "numpy":
        return np.ascontiguousarray(x)
    held: Any = x
    found: Array = held.contiguous() if hasattr(held, "contiguous") else held.copy()
    return found
