"""The distance from a network to a dense array, one block at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import contraction
from contraction import arrays as arrays_
from contraction.arrays import Array
from contraction.errors import BackendError, NonFiniteError, ShapeError
from tnet.network import Network
from tnet.scaling import array_norm

BLOCK_ENTRIES = 1 << 21  # 16 MiB of float64: past every cache, far below any memory


def dense_distance(net: Network, x: Array) -> tuple[float, float]:
    """Return (||net - x||, ||x||) for a dense array of the shape of `net`.

    Sums are accumulated in double precision whatever the dtypes.

    Examples
    --------
    >>> import numpy as np
    >>> from tnet.formats import tensor_train
    >>> net = Network(tensor_train((2, 2), 1), {"g0": np.ones((2, 1)), "g1": np.ones((1, 2))})
    >>> dense_distance(net, np.eye(2))
    (1.4142135623730951, 1.4142135623730951)
    """
    if not hasattr(x, "dtype"):
        x = arrays_.as_array(x)
    if tuple(x.shape) != net.shape:
        raise ShapeError(f"the array has shape {tuple(x.shape)}, the network {net.shape}.")
    place, own = (arrays_.namespace_name(x), arrays_.device(x)), (net.namespace, net.device)
    if place != own:
        raise BackendError(
            f"the array lives in {'/'.join(place)}, the network in {'/'.join(own)}; move one of "
            "them (Network.to, contraction.arrays.to)."
        )
    away, size = [], []
    try:
        for block, part in _blocks(net, x):
            size.append(array_norm(block))
            away.append(array_norm(block - part))
    except NonFiniteError:
        for node, array in net.arrays.items():
            arrays_.require_finite(array, what=f"the array of node {node!r}")
        arrays_.require_finite(x, what="the dense array")
        raise
    return math.hypot(*away), math.hypot(*size)


def _blocks(net: Network, x: Array) -> Iterator[tuple[Array, Array]]:
    """Yield (block of x, the same block of the network), cut along the longest mode."""
    structure = net.structure
    xp = arrays_.namespace_by_name(net.namespace)
    kind = arrays_.dtype_in(xp, _wider(net.dtype, arrays_.dtype_name(x)))
    if not structure.modes:
        yield xp.astype(x, kind, copy=False), net.to_dense()
        return
    axis = max(range(len(net.shape)), key=net.shape.__getitem__)
    mode = structure.modes[axis]
    node = structure.holders[mode][0]
    own = structure.legs[node].index(mode)
    rest = math.prod(net.shape) // net.shape[axis]
    step = max(1, BLOCK_ENTRIES // rest)
    for start in range(0, net.shape[axis], step):
        cut = slice(start, start + step)
        piece: Any = xp.astype(_along(x, axis, cut), kind, copy=False)
        arrays = {**net.arrays, node: _along(net[node], own, cut)}
        shorter = structure.resized({mode: int(piece.shape[axis])})
        yield piece, contraction.plan(shorter.spec()).run(list(arrays.values()))


def _along(x: Any, axis: int, cut: slice) -> Any:
    return x[(slice(None),) * axis + (cut,)]


def _wider(net: str, data: str) -> str:
    """Return the dtype to compare in: float64 or complex128, unless all is single precision."""
    complex_ = "complex" in net or "complex" in data
    if net in ("float32", "complex64") and data in ("float32", "complex64", "float16", "bfloat16"):
        return "complex64" if complex_ else "float32"
    return "complex128" if complex_ else "float64"
