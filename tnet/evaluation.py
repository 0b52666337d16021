"""Entries and slices of the full tensor, which is never formed.

`evaluate` gives the values at many index rows at once; `select` fixes or cuts modes and returns a
network again; `sum_over` sums modes away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from contraction import arrays as arrays_
from contraction.arrays import Array
from contraction.errors import DTypeError, InputError, ShapeError, StructureError
from tnet.network import Network
from tnet.row_sweep import rows_by_plan, rows_on_tree
from tnet.structure import Structure


def evaluate(net: Network, indices: Any) -> Array:
    """Return the entries of the full tensor at many index rows.

    On a tree the rows sweep from the leaves to the root as a matrix, and rows with the same
    index at a node share one matrix product; on any other graph one plan with a batch label
    contracts all rows of a chunk. Memory is bounded by working in chunks of rows.

    Parameters
    ----------
    net
        Any network.
    indices
        Whole numbers of shape (rows, order): one column per mode, in the order of
        `net.structure.modes`, each from 0 to size - 1. Any namespace; lists too.

    Returns
    -------
    Array
        The values, of shape (rows,), beside the arrays of the network.

    Raises
    ------
    DTypeError
        Indices that are no whole numbers (booleans neither).
    ShapeError
        Not one column per mode.
    InputError
        An index out of range; negative ones are refused, as they are mostly mistakes in data.

    Notes
    -----
    For m rows of a tensor train of rank r: 2 m r^2 flops per node and some m r numbers.

    Examples
    --------
    >>> from tnet.formats import tensor_train
    >>> from tnet.network import random_network
    >>> net = random_network(tensor_train((2, 3, 4), 2), rng=np.random.default_rng(0))
    >>> rows = np.array([[0, 0, 0], [1, 2, 3]])
    >>> dense = net.to_dense()
    >>> bool(np.allclose(evaluate(net, rows), [dense[0, 0, 0], dense[1, 2, 3]]))
    True
    """
    rows = _checked_rows(net, indices)
    xp = arrays_.namespace_by_name(net.namespace)
    if not len(rows):
        some: Any = net[net.structure.node_names[0]]
        empty: Array = xp.zeros((0,), dtype=some.dtype, device=some.device)
        return empty
    return rows_on_tree(net, rows) if net.structure.is_tree else rows_by_plan(net, rows)


def select(net: Network, chosen: Mapping[str, Any]) -> Network:
    """Return the network of a part of the tensor: modes fixed, cut or reordered.

    The rules are those of NumPy indexing, mode by mode: a whole number fixes a mode, which then
    disappears; a slice or a list of numbers (or a boolean mask) keeps the mode. Negative numbers
    count from the end. Numbers and slices give views; only the nodes that hold a chosen mode get
    new arrays. The centre stays if every chosen mode is in it.

    Raises
    ------
    StructureError
        A name that is no mode.
    InputError
        A number out of range, or a choice of nothing.

    Examples
    --------
    >>> from tnet.formats import tensor_train
    >>> net = Network(tensor_train((2, 2), 1), {"g0": np.eye(2)[:, :1], "g1": np.eye(2)[:1]})
    >>> select(net, {"x0": 0}).to_dense()
    array([1., 0.])
    >>> select(net, {"x0": slice(None, None, -1), "x1": [0]}).to_dense()
    array([[0.],
           [1.]])
    """
    structure = net.structure
    _check_modes(net, chosen)
    touched = list(dict.fromkeys(structure.holders[mode][0] for mode in chosen))
    xp = arrays_.namespace_by_name(net.namespace)
    arrays, nodes = dict(net.arrays), dict(structure.nodes)
    for node in touched:
        x: Any = net[node]
        kept: list[str] = []
        for leg in structure.legs[node]:
            if leg in chosen:
                x = _take(xp, x, len(kept), leg, chosen[leg])
            if leg not in chosen or not _is_number(chosen[leg]):
                kept.append(leg)
        arrays[node], nodes[node] = x, tuple(kept)
    return _rebuilt(net, nodes, arrays, touched)


def sum_over(net: Network, modes: Sequence[str]) -> Network:
    """Return the network of the tensor summed over some modes, which disappear.

    Raises
    ------
    StructureError
        A name that is no mode.

    Examples
    --------
    >>> from tnet.formats import tensor_train
    >>> net = Network(tensor_train((2, 2), 1), {"g0": np.eye(2)[:, :1], "g1": np.ones((1, 2))})
    >>> sum_over(net, ["x1"]).to_dense()
    array([2., 0.])
    """
    if isinstance(modes, str):
        modes = [modes]
    structure = net.structure
    _check_modes(net, dict.fromkeys(modes))
    gone = set(modes)
    touched = list(dict.fromkeys(structure.holders[mode][0] for mode in modes))
    xp = arrays_.namespace_by_name(net.namespace)
    arrays, nodes = dict(net.arrays), dict(structure.nodes)
    for node in touched:
        legs = structure.legs[node]
        axes = tuple(axis for axis, leg in enumerate(legs) if leg in gone)
        arrays[node] = xp.asarray(xp.sum(net[node], axis=axes))
        nodes[node] = tuple(leg for leg in legs if leg not in gone)
    return _rebuilt(net, nodes, arrays, touched)


def _rebuilt(
    net: Network, nodes: dict[str, tuple[str, ...]], arrays: dict[str, Array], touched: list[str]
) -> Network:
    sizes = dict(net.structure.size)
    for node in touched:
        sizes |= dict(zip(nodes[node], map(int, arrays[node].shape), strict=True))
    kept = {leg for node in touched for leg in nodes[node]}
    lost = {leg for node in touched for leg in net.structure.legs[node]} - kept
    modes = [mode for mode in net.structure.modes if mode not in lost]
    center = net.center if set(touched) <= {net.center} else None
    return Network(Structure(nodes, sizes, modes), arrays, center)


def _check_modes(net: Network, names: Mapping[str, Any]) -> None:
    for mode in names:
        if len(net.structure.holders.get(mode, ())) != 1:
            raise StructureError(
                f"{mode!r} is no mode of the network; the modes are "
                f"{list(net.structure.modes[:12])}."
            )


def _is_number(choice: Any) -> bool:
    return isinstance(choice, (int, np.integer)) and not isinstance(choice, (bool, np.bool_))


def _take(xp: Any, x: Any, axis: int, mode: str, choice: Any) -> Any:
    size = int(x.shape[axis])
    before = (slice(None),) * axis
    if _is_number(choice):
        if not -size <= choice < size:
            raise InputError(f"mode {mode!r} has size {size}; index {choice} is out of range.")
        return x[(*before, int(choice) % size, ...)]
    if isinstance(choice, slice):
        places = range(*choice.indices(size))
        if len(places) and choice.indices(size)[2] > 0:
            return x[(*before, choice)]
        rows = np.arange(*choice.indices(size))  # torch has no negative steps
    else:
        rows = _whole(choice, f"the choice for mode {mode!r}", size)
    if not len(rows):
        raise InputError(f"the choice for mode {mode!r} is empty; a mode has at least one index.")
    return xp.take(x, xp.asarray(rows, device=x.device), axis=axis)


def _whole(choice: Any, what: str, size: int) -> Any:
    """Return a one-dimensional choice as indices from 0 to size - 1."""
    rows = arrays_.to_numpy(choice)
    if rows.ndim != 1:
        raise ShapeError(f"{what} has shape {rows.shape}; expected a number, a slice or a list.")
    if rows.dtype == bool:
        if len(rows) != size:
            raise ShapeError(f"{what} is a mask of {len(rows)} entries; the mode has {size}.")
        return np.flatnonzero(rows)
    if rows.size == 0:
        return np.zeros(0, np.int64)
    if rows.dtype.kind not in "iu":
        raise DTypeError(f"{what} holds {rows.dtype}; expected whole numbers.")
    rows = rows.astype(np.int64)
    bad = (rows < -size) | (rows >= size)
    if bad.any():
        raise InputError(f"{what}: index {rows[bad][0]} is out of range for size {size}.")
    return rows % size


def _checked_rows(net: Network, indices: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the indices as int64 of shape (rows, order) on the host, all in range."""
    rows = arrays_.to_numpy(indices)
    order = len(net.shape)
    if rows.size == 0 and rows.ndim == 1:
        rows = np.zeros((0, order), np.int64)
    if rows.ndim != 2 or rows.shape[1] != order:
        raise ShapeError(
            f"`indices` has shape {rows.shape}; expected (rows, {order}), one column for each "
            f"mode of {list(net.structure.modes[:12])}. For one entry pass [[i, j, ...]]."
        )
    if rows.dtype.kind not in "iu":
        raise DTypeError(f"`indices` holds {rows.dtype}; expected whole numbers.")
    shape = np.array(net.shape, dtype=np.int64)
    bad = (rows < 0) | (rows >= shape)
    if bad.any():
        row, column = (int(k) for k in np.argwhere(bad)[0])
        raise InputError(
            f"row {row} of `indices` has {int(rows[row, column])} for mode "
            f"{net.structure.modes[column]!r}, whose indices go from 0 to {shape[column] - 1}."
        )
    return rows.astype(np.int64, copy=False)
