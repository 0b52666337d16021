"""Starts: a network carried over to a structure with other ranks or bonds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from contraction import linalg
from contraction.arrays import Array, namespace, random_normal
from contraction.errors import StructureError
from tnet.als.pairs import transposed
from tnet.network import Network, random_network
from tnet.structure import Structure


def carried_over(net: Network, structure: Structure, *, rng: np.random.Generator) -> Network:
    """Return `net` on another structure over the same modes, changing as little as possible.

    Nodes and legs are matched by name. A bond that grows keeps the tensor exactly: all its
    holders but the last get noise in the new slices, the last one zeros. A bond that shrinks,
    or goes, keeps its most important slices (by the singular values of the product of its two
    holders; by the norms of the slices for a hyperbond). New nodes are random.

    Raises
    ------
    StructureError
        A mode has another size, or no node is shared.

    Examples
    --------
    >>> from tnet import contract, tensor_train
    >>> rng = np.random.default_rng(0)
    >>> net = random_network(tensor_train((3, 4), 1), rng=rng)
    >>> grown = carried_over(net, tensor_train((3, 4), 2), rng=rng)
    >>> bool(np.allclose(contract(grown), contract(net)))
    True
    """
    old = net.structure
    if old == structure:
        return net
    _check(old, structure)
    held: dict[str, Any] = dict(net.arrays)
    legs = {node: list(names) for node, names in old.nodes}
    for leg in (*old.bonds, *old.hyperbonds):
        size = structure.size.get(leg, 1)
        if size < old.size[leg]:
            _shrink(held, legs, old, leg, size)
    fresh: Mapping[str, Any] = {}
    if not set(structure.node_names) <= set(held):
        like = next(iter(net.arrays.values()))
        fresh = random_network(structure, rng=rng, like=like).arrays
    return Network(
        structure,
        {
            node: _grown(held[node], legs[node], structure, node, rng)
            if node in held
            else fresh[node]
            for node in structure.node_names
        },
    )


def _check(old: Structure, new: Structure) -> None:
    for mode in new.modes:
        if mode not in old.modes or old.size[mode] != new.size[mode]:
            raise StructureError(
                f"the start does not fit: mode {mode!r} has size {new.size[mode]} in the "
                f"structure and {old.size.get(mode)} in the start."
            )
    if not set(old.legs) & set(new.legs):
        raise StructureError(
            f"the start shares no node with the structure: {list(old.node_names[:6])} and "
            f"{list(new.node_names[:6])}; rename them (Structure.renamed)."
        )


def _shrink(
    held: dict[str, Any], legs: dict[str, list[str]], old: Structure, leg: str, size: int
) -> None:
    holders = old.holders[leg]
    fronts = [_front(held[n], legs[n].index(leg)) for n in holders]
    if len(holders) == 2:
        a, b = fronts
        xp = namespace(a[0])
        Q1, R1 = linalg.qr(a[0].T)
        factors: tuple[Any, Any] = linalg.qr(b[0].T)
        Q2, R2 = factors
        U, s, Vh = linalg.svd(R1 @ R2.T)
        root = xp.astype(xp.sqrt(s[:size]), a[0].dtype)
        parts = [(Q1 @ U[:, :size] * root).T, (Q2 @ Vh[:size].T * root).T]
        size = int(root.shape[0])
    else:
        xp = namespace(fronts[0][0])
        weight = xp.prod(xp.stack([xp.linalg.vector_norm(m, axis=1) for m, _ in fronts]), axis=0)
        keep = xp.argsort(weight, descending=True, stable=True)[:size]
        parts = [xp.take(m, keep, axis=0) for m, _ in fronts]
    for node, part, (_, shape) in zip(holders, parts, fronts, strict=True):
        axis = legs[node].index(leg)
        order = (axis, *(k for k in range(len(shape)) if k != axis))
        moved = part.reshape((size, *(shape[k] for k in order[1:])))
        held[node] = transposed(moved, tuple(order.index(k) for k in range(len(order))))


def _front(x: Any, axis: int) -> tuple[Any, tuple[int, ...]]:
    """Return (leg, everything else) and the shape it had."""
    order = (axis, *(k for k in range(x.ndim) if k != axis))
    return transposed(x, order).reshape((x.shape[axis], -1)), tuple(x.shape)


def _grown(
    x: Any, legs: list[str], structure: Structure, node: str, rng: np.random.Generator
) -> Array:
    """Drop legs that are gone (of size one by now), add new ones, and pad what has grown."""
    xp = namespace(x)
    wanted = structure.legs[node]
    for axis in reversed(range(len(legs))):
        if legs[axis] not in wanted:
            x = x[(*(slice(None) for _ in range(axis)), 0)]
            legs = legs[:axis] + legs[axis + 1 :]
    fresh = [leg for leg in wanted if leg not in legs]
    x = x.reshape((*x.shape, *(1 for _ in fresh)))
    legs = [*legs, *fresh]
    x = transposed(x, tuple(legs.index(leg) for leg in wanted))
    size = safe_norm(x) / max(1.0, math.sqrt(math.prod(x.shape)))
    for axis, leg in enumerate(wanted):
        more = structure.size[leg] - int(x.shape[axis])
        if more <= 0:
            continue
        shape = (*x.shape[:axis], more, *x.shape[axis + 1 :])
        last = structure.holders[leg][-1] == node
        pad: Any = random_normal(rng, shape, like=x) * (0.0 if last else size)
        x = xp.concat((x, pad), axis=axis)
    out: Array = x
    return out


def spanning_tree(structure: Structure) -> Structure | None:
    """Return the graph without the smallest bonds that close its cycles.

    None where that is no use: there are hyperbonds, or a node without modes would hang on one
    bond alone.

    Examples
    --------
    >>> from tnet import tensor_ring
    >>> spanning_tree(tensor_ring((4, 5, 6), [3, 2, 4])).bonds
    ('g2-g0', 'g0-g1')
    """
    if structure.hyperbonds:
        return None
    part = {node: node for node in structure.node_names}
    gone = set()
    for bond in sorted(structure.bonds, key=lambda b: -structure.size[b]):
        ends = list(structure.holders[bond])
        for k, end in enumerate(ends):
            while part[end] != end:
                part[end] = end = part[part[end]]
            ends[k] = end
        if ends[0] == ends[1]:
            gone.add(bond)
        part[ends[0]] = ends[1]
    open_legs = set(structure.open_legs)
    nodes = [(n, tuple(x for x in legs if x not in gone)) for n, legs in structure.nodes]
    if any(len(legs) <= 1 and open_legs.isdisjoint(legs) for _, legs in nodes):
        return None
    return Structure(nodes, structure.sizes, structure.modes)


def balanced(arrays: dict[str, Array], scale: float) -> dict[str, Array]:
    """Return arrays of equal norm whose network is `scale` times as large.

    Sweeps leave all the weight in the last node; equal norms keep later arithmetic in range.
    """
    logs = {}
    for node, x in arrays.items():
        norm = safe_norm(x)
        if norm == 0.0 or not np.isfinite(norm):
            return arrays  # the network is zero
        logs[node] = np.log(norm)
    mean = (sum(logs.values()) + np.log(scale)) / len(arrays)
    # two steps, because the factor itself may be out of range
    return {
        node: x
        * float(np.exp((mean - logs[node]) / 2.0))
        * float(np.exp((mean - logs[node]) / 2.0))
        for node, x in arrays.items()
    }


def safe_norm(x: Any) -> float:
    """Return the Frobenius norm, also of numbers whose squares are out of range."""
    xp = namespace(x)
    largest = float(xp.max(xp.abs(x)))
    if 1e-15 < largest < 1e15 or largest == 0.0 or not math.isfinite(largest):
        return float(xp.linalg.vector_norm(x))
    return largest * float(xp.linalg.vector_norm(x / largest))
