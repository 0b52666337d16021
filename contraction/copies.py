"""Copies of permuted arrays in C order, tile by tile where the caches want it.

A plain copy walks along the result. Where the entries it then reads lie a large power of two
apart they fall into a few lines of the cache, and where several axes pass between two entries
that are neighbours in the source every line is fetched once for each of its entries. Taken in
tiles that hold both neighbours of the source and neighbours of the result, the same copy is up
to eight times as fast.
"""

from __future__ import annotations

import itertools
import math
from functools import lru_cache
from typing import Any

import numpy as np

LITTLE = 1 << 14  # entries below which everything lies in the nearest cache
ALIASED = 1 << 10  # bytes: entries a multiple of this apart compete for the same cache lines
FAR = 1 << 18  # bytes over which such entries must reach before they do
TILE = 16  # entries of the innermost axis of the result in one tile
WORTH = 1 << 11  # entries that a tile of a copy must have to be worth its call
WORTHY = 1 << 13  # the same of a product
PLANE = 1 << 10  # entries of a plane that is copied at once when nothing competes


def in_c_order(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return `x` with its axes in memory in their own order, itself if they are so already.

    Parameters
    ----------
    x
        Any array, usually a permuted view; of a NumPy scalar an array without axes is made.

    Cost: one pass over the memory, and about a microsecond for each tile of at least
    `WORTH` entries.

    Examples
    --------
    >>> x = np.arange(6.0).reshape(2, 3)
    >>> in_c_order(x.T)
    array([[0., 3.],
           [1., 4.],
           [2., 5.]])
    """
    x = np.asarray(x)
    if x.size < LITTLE or x.flags.c_contiguous:
        return np.asarray(x, order="C")
    tiles = _tiles(x.shape, x.strides, WORTH)
    if not tiles:
        return np.asarray(x, order="C")
    out = np.empty(x.shape, x.dtype)
    for tile in itertools.product(*tiles):
        out[tile] = x[tile]
    return out


def product_in_c_order(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the element-wise product of two broadcast views, in C order.

    Parameters
    ----------
    x, y
        Arrays of one number of axes.

    Examples
    --------
    >>> x = np.arange(6.0).reshape(2, 3)
    >>> product_in_c_order(x.T, np.ones((1, 2))).flags.c_contiguous
    True
    """
    for view, other in ((x, y), (y, x)):
        if view.size >= LITTLE and not view.flags.c_contiguous:
            tiles = _tiles(view.shape, view.strides, WORTHY)
            if tiles and all(n in (1, m) for n, m in zip(other.shape, view.shape, strict=True)):
                return _tiled_product(view, other, tiles)
    return np.asarray(np.multiply(x, y, order="C"))


def product_tile(
    shapes: tuple[tuple[int, ...], ...], strides: tuple[tuple[int, ...], ...]
) -> tuple[int, ...] | None:
    """Return the shape of the first tile of `product_in_c_order`, None if it takes the whole.

    Parameters
    ----------
    shapes, strides
        Of both operands; strides in bytes.
    """
    for (shape, steps), other in zip(zip(shapes, strides, strict=True), shapes[::-1], strict=True):
        if math.prod(shape) < LITTLE or _in_order(shape, steps):
            continue
        tiles = _tiles(shape, steps, WORTHY)
        if tiles and all(n in (1, m) for n, m in zip(other, shape, strict=True)):
            return tuple(len(range(n)[axis[0]]) for n, axis in zip(shape, tiles, strict=True))
    return None


def _in_order(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    steps = [step for n, step in zip(shape, strides, strict=True) if n > 1]
    return all(x > y for x, y in itertools.pairwise(steps))


def _tiled_product(
    x: np.ndarray[Any, Any], y: np.ndarray[Any, Any], tiles: tuple[tuple[slice, ...], ...]
) -> np.ndarray[Any, Any]:
    out = np.empty(x.shape, np.result_type(x, y))
    narrow = [n == 1 for n in y.shape]
    for tile in itertools.product(*tiles):
        # of a list: tuples of generators linger in the interpreter's free lists
        there = [slice(None) if one else part for one, part in zip(narrow, tile, strict=True)]
        np.multiply(x[tile], y[tuple(there)], out=out[tile])
    return out


@lru_cache(maxsize=512)
def _tiles(
    shape: tuple[int, ...], steps: tuple[int, ...], worth: int
) -> tuple[tuple[slice, ...], ...]:
    """Return the slices of each axis whose products are the tiles; empty for a plain copy."""
    strides, last = [abs(step) for step in steps], len(shape) - 1
    while shape[last] == 1:
        last -= 1
    wide = [axis for axis in range(len(shape)) if shape[axis] > 1]
    near = min(wide, key=strides.__getitem__)  # along which the source has its neighbours
    length = shape[last]
    if near == last or length < TILE // 2:
        return ()
    competing = strides[last] % ALIASED == 0 and strides[last] * length >= FAR
    if not competing and (length < 2 * TILE or length * shape[near] < PLANE):
        return ()
    tiles: list[tuple[slice, ...]] = [(slice(None),)] * len(shape)
    count, most = 1, math.prod(shape) // worth
    if competing:
        width = TILE
        while length > width * most:
            width *= 2
        tiles[last] = tuple(slice(i, i + width) for i in range(0, length, width))
        count = len(tiles[last])
    for axis in range(near + 1, last):  # what passes between two neighbours of the source
        if count * shape[axis] <= most:
            tiles[axis] = tuple(slice(i, i + 1) for i in range(shape[axis]))
            count *= shape[axis]
    return tuple(tiles) if count > 1 else ()
