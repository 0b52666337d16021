"""Many entries of a network at once: the rows of an index matrix are a batch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import contraction
from contraction import arrays as arrays_
from contraction.arrays import Array
from tnet.network import Network, contract
from tnet.trees import rooted

CHUNK_ENTRIES = 1 << 22  # numbers that one chunk of rows may take: 32 MiB of float64
GROUP_COST = 8192  # entries that can be gathered in the time of one more small matrix product
FIRST_TRY = 256  # rows of the plan that shows what one row takes
_BATCH = ("row",)  # a tuple, so no leg can have the same name

Rows = np.ndarray[Any, np.dtype[np.int64]]


def rows_on_tree(net: Network, rows: Rows) -> Array:
    """Return the entries at `rows` by one sweep from the leaves to the root, chunk by chunk.

    Examples
    --------
    >>> from tnet.structure import Structure
    >>> net = Network(Structure({"a": ("x",)}, {"x": 3}), {"a": np.arange(3.0)})
    >>> rows_on_tree(net, np.array([[2], [0]]))
    array([2., 0.])
    """
    xp = arrays_.namespace_by_name(net.namespace)
    sites, peak = _sites(net)
    return _in_chunks(xp, rows, max(1, CHUNK_ENTRIES // peak), lambda part: _sweep(xp, sites, part))


def rows_by_plan(net: Network, rows: Rows) -> Array:
    """Return the entries at `rows` of a network of any graph, by one plan per chunk size.

    Examples
    --------
    >>> from tnet.structure import Structure
    >>> net = Network(Structure({"a": ("x",), "b": ("y",)}, {"x": 3, "y": 2}),
    ...               {"a": np.arange(3.0), "b": np.ones(2)})
    >>> rows_by_plan(net, np.array([[2, 0], [0, 1]]))
    array([2., 0.])
    """
    xp = arrays_.namespace_by_name(net.namespace)
    structure = net.structure
    if not structure.modes:
        scalar: Any = contract(net)
        repeated: Array = _take(xp, scalar.reshape(1), np.zeros(len(rows), np.int64))
        return repeated
    place = _places(net)
    tables = [by_modes(net, node, bonds_of(net, node), place) for node in structure.node_names]
    gathered = sum(math.prod(table.x.shape[1:]) for table in tables if table.columns)
    some = min(len(rows), FIRST_TRY)
    peak = contraction.plan(_batched_spec(net, some)).peak_size
    # gathered rows are used once, so they should stay in the cache (measured: up to 7 x faster)
    chunk = max(1, CHUNK_ENTRIES // 8 // max(1, gathered + peak // some))

    def run(part: Rows) -> Array:
        arrays = [_gathered(xp, table, part) if table.columns else table.x[0] for table in tables]
        result: Array = contraction.plan(_batched_spec(net, len(part))).run(arrays)
        return result

    return _in_chunks(xp, rows, chunk, run)


def bonds_of(net: Network, node: str) -> tuple[str, ...]:
    """Return the legs of `node` that are no modes."""
    return tuple(leg for leg in net.structure.legs[node] if leg in net.structure.ranks)


def _in_chunks(xp: Any, rows: Rows, chunk: int, run: Callable[[Rows], Array]) -> Array:
    count = math.ceil(len(rows) / chunk)
    parts = [run(part) for part in np.array_split(rows, count)]
    joined: Array = parts[0] if count == 1 else xp.concat(parts)
    return joined


@dataclass(frozen=True)
class Table:
    """The array of one node with its modes in front, as one axis: x[flat index, other legs]."""

    x: Any
    columns: tuple[int, ...]  # of the index matrix
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Site:
    """One node of the sweep: its table, and the children whose rows it takes, in axis order."""

    name: str
    table: Table
    children: tuple[str, ...]


def by_modes(net: Network, node: str, order: tuple[str, ...], place: Mapping[str, int]) -> Table:
    """Bring the array of a node to the axes (all its modes as one, then the legs of `order`)."""
    structure = net.structure
    xp = arrays_.namespace_by_name(net.namespace)
    legs = structure.legs[node]
    modes = [leg for leg in legs if leg not in structure.ranks]
    axes = tuple(legs.index(leg) for leg in (*modes, *order))
    sizes = tuple(structure.size[mode] for mode in modes)
    shape = (math.prod(sizes), *(structure.size[leg] for leg in order))
    x = xp.permute_dims(net[node], axes).reshape(shape)
    return Table(x, tuple(place[mode] for mode in modes), sizes)


def _places(net: Network) -> dict[str, int]:
    """Mode -> its column of the index matrix."""
    return {mode: column for column, mode in enumerate(net.structure.modes)}


def _flat(table: Table, rows: Rows) -> Rows:
    flat = np.zeros(len(rows), np.int64)
    for column, size in zip(table.columns, table.sizes, strict=True):
        flat = flat * size + rows[:, column]
    return flat


def _gathered(xp: Any, table: Table, rows: Rows) -> Any:
    return _take(xp, table.x, _flat(table, rows))


def _take(xp: Any, x: Any, index: Rows) -> Any:
    """Return the rows of x at `index`."""
    return xp.take(x, xp.asarray(index, device=x.device), axis=0)


def _batched_spec(net: Network, count: int) -> contraction.Spec:
    structure = net.structure
    inputs: list[tuple[Hashable, ...]] = []
    for node in structure.node_names:
        bonds = bonds_of(net, node)
        has_modes = len(bonds) < len(structure.legs[node])
        inputs.append((_BATCH, *bonds) if has_modes else bonds)
    sizes: dict[Hashable, int] = dict(structure.sizes)
    sizes[_BATCH] = count
    return contraction.Spec(tuple(inputs), (_BATCH,), sizes)


def _sites(net: Network) -> tuple[list[Site], int]:
    """Lay out every node for the sweep; return the sites and the peak of numbers per row."""
    tree = rooted(net.structure)
    size, place = net.structure.size, _places(net)
    sites, live, peak = [], 0, 1
    for node in tree.post_order:
        # the child of the largest bond goes first: its product serves whole groups of rows
        children = sorted(tree.children[node], key=lambda child: -size[tree.bond[child]])
        below = tuple(tree.bond[child] for child in children)
        above = () if node == tree.root else (tree.bond[node],)
        table = by_modes(net, node, below + above, place)
        sites.append(Site(node, table, tuple(children)))
        work = math.prod(table.x.shape[1:])
        peak = max(peak, live + 2 * work)
        live += math.prod(size[leg] for leg in above) - sum(size[leg] for leg in below)
    return sites, peak


def _sweep(xp: Any, sites: list[Site], rows: Rows) -> Array:
    """Carry (rows, bond) matrices from the leaves to the root."""
    held: dict[str, Any] = {}
    for site in sites:
        flat = _flat(site.table, rows)
        factors = [held.pop(child) for child in site.children]
        held[site.name] = site_rows(xp, site.table.x, flat, factors)
    result: Array = held[sites[-1].name].reshape(len(rows))
    return result


def site_rows(xp: Any, x: Any, flat: Rows, factors: list[Any]) -> Any:
    """Contract one node for all rows: x[flat[k], :, ..., :] with row k of every factor."""
    count, values = len(flat), int(x.shape[0])
    if not factors:
        return _take(xp, x, flat)
    if values == 1:
        return _product(xp, x[0], factors)
    groups = min(values, count)
    if count * math.prod(x.shape[1:]) < groups * GROUP_COST:
        return _batched_product(xp, _take(xp, x, flat), factors)
    order = np.argsort(flat, kind="stable")
    bounds = np.searchsorted(flat[order], np.arange(values + 1))
    turned = [_take(xp, factor, order) for factor in factors]
    parts = [
        _product(xp, x[value], [factor[start:stop] for factor in turned])
        for value, (start, stop) in enumerate(itertools.pairwise(bounds))
        if stop > start
    ]
    back = np.empty(count, np.int64)
    back[order] = np.arange(count)
    return _take(xp, xp.concat(parts), back)


def _product(xp: Any, x: Any, factors: list[Any]) -> Any:
    """Contract one array with rows of factors: the first by one matrix product."""
    first = factors[0]
    rest = tuple(x.shape[1:])
    left = (first @ x.reshape(x.shape[0], -1)).reshape(first.shape[0], *rest)
    return _batched_product(xp, left, factors[1:])


def _batched_product(xp: Any, x: Any, factors: list[Any]) -> Any:
    """Contract axis 1 of x (rows, ...) with each factor (rows, size) in turn."""
    for factor in factors:
        rows, size = factor.shape
        after = tuple(x.shape[2:])
        flat = x.reshape(rows, size, math.prod(after))
        x = xp.matmul(factor[:, None, :], flat).reshape(rows, *after)
    return x
