"""Passages: nodes of two bonds and no mode, which sweeps step over.

The array of such a node is a matrix, so an optimum over it and one neighbour can never raise the
rank of a bond above that of the other: the root of a balanced binary tree would hold the whole
state at its first rank. Sweeps therefore work on the tree without these nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from contraction.arrays import Namespace, namespace_by_name
from contraction.linalg import qr
from tnet._axes import apply_matrix
from tnet.network import Network
from tnet.operators.tree_operator import SparseCore, TreeOperator
from tnet.structure import Structure

Legs = Mapping[str, tuple[str, ...]]


class Passage(NamedTuple):
    """A node that was merged into a neighbour.

    Attributes
    ----------
    node, neighbour
        The names.
    near, far
        The bond to the neighbour, and the other one, which the neighbour holds in its place.
    """

    node: str
    neighbour: str
    near: str
    far: str


@lru_cache(maxsize=64)
def passages(structure: Structure) -> tuple[Passage, ...]:
    """Return the nodes of two bonds and no mode, in an order in which they can be merged.

    Examples
    --------
    >>> import tnet
    >>> passages(tnet.balanced_tree((2, 2, 2, 2)))
    (Passage(node='t0', neighbour='t1', near='t0-t1', far='t0-t2'),)
    >>> passages(tnet.tensor_train((2, 2, 2)))
    ()
    """
    bonds = set(structure.bonds)
    holders = {leg: list(structure.holders[leg]) for leg in bonds}
    found = []
    for node, legs in structure.nodes:
        if len(legs) == 2 and bonds.issuperset(legs):
            near, far = legs
            neighbour = next(n for n in holders[near] if n != node)
            found.append(Passage(node, neighbour, near, far))
            holders[far] = [neighbour if n == node else n for n in holders[far]]
    return tuple(found)


def way(found: Sequence[Passage], node: str) -> list[str]:
    """Return a node, the one it was merged into, and so on to one that is left.

    Examples
    --------
    >>> way([Passage("a", "b", "x", "y")], "a"), way([], "a")
    (['a', 'b'], ['a'])
    """
    nodes = [node]
    for p in found:
        if p.node == nodes[-1]:
            nodes.append(p.neighbour)
    return nodes


def shorter(legs: Legs, found: Sequence[Passage]) -> dict[str, tuple[str, ...]]:
    """Return node -> legs without the passages."""
    now = dict(legs)
    for p in found:
        del now[p.node]
        now[p.neighbour] = tuple(p.far if x == p.near else x for x in now[p.neighbour])
    return now


def merged(
    arrays: Mapping[str, Any], legs: Legs, found: Sequence[Passage], xp: Namespace
) -> dict[str, Any]:
    """Return the arrays of the tree without the passages."""
    now, held = dict(arrays), dict(legs)
    for p in found:
        matrix = now.pop(p.node)
        if held[p.node].index(p.far) == 1:
            matrix = matrix.T
        axis = held[p.neighbour].index(p.near)
        now[p.neighbour] = apply_matrix(now[p.neighbour], matrix, axis, xp)
        held = shorter(held, (p,))
    return now


def restored(
    arrays: Mapping[str, Any], legs: Legs, found: Sequence[Passage], centre: str, xp: Namespace
) -> dict[str, Any]:
    """Return the arrays of the whole tree: passages are identities, or take over the centre.

    Parameters
    ----------
    arrays
        Of the tree without passages.
    legs
        Node -> legs of the whole tree.
    centre
        The node that is to hold the norm: if it is a passage, it takes it over from the node
        that it was merged into.
    """
    ways = way(found, centre)
    stages = [dict(legs)]
    for p in found:
        stages.append(shorter(stages[-1], (p,)))
    now = dict(arrays)
    for k in range(len(found) - 1, -1, -1):
        p = found[k]
        axis = stages[k][p.neighbour].index(p.near)
        x = now[p.neighbour]
        if p.node in ways[:-1]:
            x, matrix = _split(x, axis, xp)
            now[p.neighbour] = x
        else:
            r = int(x.shape[axis])
            matrix = xp.eye(r, dtype=x.dtype, device=_device(x))
        now[p.node] = matrix if stages[k][p.node].index(p.near) == 0 else matrix.T
    return now


def _split(x: Any, axis: int, xp: Namespace) -> tuple[Any, Any]:
    """Return an isometry towards an axis, and the matrix (new, old) of the axis."""
    moved = xp.moveaxis(x, axis, -1)
    Q, R = qr(moved.reshape(-1, moved.shape[-1]))
    whole = Q.reshape((*moved.shape[:-1], Q.shape[1]))
    return xp.moveaxis(whole, -1, axis), R


def _device(x: Any) -> Any:
    return x.device


@lru_cache(maxsize=16)
def without_passages(operator: TreeOperator) -> TreeOperator:
    """Return the operator on the tree without passages; cached by identity.

    Examples
    --------
    >>> import tnet
    >>> tree = tnet.balanced_tree({"a": 2, "b": 2, "c": 2})
    >>> shorter_one = without_passages(tnet.operator(tree, [(1.0, {"a": "x", "c": "x"})]))
    >>> shorter_one.structure.node_names
    ('t1', 'u0', 'u1', 'u2')
    """
    structure = operator.structure
    found = passages(structure)
    if not found:
        return operator
    cores = dict(operator.cores)
    legs = dict(structure.legs)
    for p in found:
        gone = cores.pop(p.node)
        if legs[p.node].index(p.far) == 0:
            gone = SparseCore(gone.channels[:, ::-1], gone.weights)
        column = legs[p.neighbour].index(p.near)
        cores[p.neighbour] = _joined(cores[p.neighbour], column, gone)
        legs = shorter(legs, (p,))
    sizes = {leg: structure.size[leg] for held in legs.values() for leg in held}
    return TreeOperator(
        Structure(legs, sizes, structure.modes), operator.locals, cores, operator.error
    )


def _joined(core: SparseCore, column: int, matrix: SparseCore) -> SparseCore:
    """Return a core with one column of channels carried on by a sparse matrix of channels."""
    follow: dict[int, list[tuple[int, Any]]] = {}
    for (k, to), weight in zip(matrix.channels.tolist(), matrix.weights.tolist(), strict=True):
        follow.setdefault(k, []).append((to, weight))
    sums: dict[tuple[int, ...], Any] = {}
    for row, weight in zip(core.channels.tolist(), core.weights.tolist(), strict=True):
        for to, factor in follow.get(row[column], ()):
            key = (*row[:column], to, *row[column + 1 :])
            sums[key] = sums.get(key, 0.0) + weight * factor
    width = core.channels.shape[1]
    channels = np.array(list(sums), dtype=np.int64).reshape(-1, width)
    return SparseCore(channels, np.array(list(sums.values())))


def shortened(net: Network) -> Network:
    """Return a network without its passages; the same tensor.

    Examples
    --------
    >>> import tnet
    >>> net = tnet.random_network(tnet.balanced_tree((2, 2, 2), 2), rng=np.random.default_rng(0))
    >>> bool(np.allclose(shortened(net).to_dense(), net.to_dense()))
    True
    """
    structure = net.structure
    found = passages(structure)
    if not found:
        return net
    xp = namespace_by_name(net.namespace)
    arrays = merged(net.arrays, structure.legs, found, xp)
    legs = shorter(structure.legs, found)
    sizes = {leg: structure.size[leg] for held in legs.values() for leg in held}
    centre = None if net.center is None else way(found, net.center)[-1]
    return Network(Structure(legs, sizes, structure.modes), arrays, centre)


def lengthened(net: Network, structure: Structure) -> Network:
    """Undo `shortened`: the network on the whole graph, with its centre where it is.

    Examples
    --------
    >>> import tnet
    >>> net = tnet.random_network(tnet.balanced_tree((2, 2, 2), 2), rng=np.random.default_rng(0))
    >>> again = lengthened(shortened(net), net.structure)
    >>> again.structure.same_graph(net.structure), np.allclose(again.to_dense(), net.to_dense())
    (True, True)
    """
    found = passages(structure)
    if not found:
        return net
    xp = namespace_by_name(net.namespace)
    arrays = restored(net.arrays, structure.legs, found, net.center or "", xp)
    sizes = {
        leg: int(n)
        for node, legs in structure.nodes
        for leg, n in zip(legs, arrays[node].shape, strict=True)
    }
    return Network(structure.resized(sizes), arrays, net.center)
