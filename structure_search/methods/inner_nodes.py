"""Moves that make, divide and join nodes without a mode."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from contraction import linalg
from contraction.arrays import Array, namespace, to_numpy
from structure_search.bounds import CutSpectra
from structure_search.canonical import reduced
from structure_search.methods.moves import Move
from tnet.formats import tucker
from tnet.network import Network, contract
from tnet.structure import Structure

SPLIT_TOLERANCE = 1e-2  # of a node's largest singular value; the fit decides in the end
JOINED_TOGETHER = 6  # inner nodes whose every group may be joined


def stars(modes: Mapping[str, int], spectra: CutSpectra, error: float) -> Iterator[Move]:
    """Yield the two Tucker networks that could be enough.

    The first has the least rank of every mode that any network within `error` needs, the second
    the ranks whose truncated tails add up to no more than `error`, so that it is sure to fit.
    """
    if len(modes) < 3:
        return
    for share, label in ((1.0, "least"), (len(modes) ** -0.5, "sufficient")):
        ranks = [spectra.rank([mode], share * error) for mode in modes]
        star = tucker(modes, [min(r, n) for r, n in zip(ranks, modes.values(), strict=True)])
        yield Move(structure=reduced(star), label=f"star of the {label} mode ranks")


def splits(net: Network) -> Iterator[Move]:
    """Yield networks with one node split in two where that saves parameters.

    For every node and every division of its legs in two parts of two legs or more, the
    singular values say which rank the new bond needs. A part without a mode becomes an inner
    node: so the core of a Tucker network appears.
    """
    for node in net.structure.node_names:
        legs = [leg for leg in net.structure.legs[node] if net.structure.size[leg] > 1]
        if len(legs) > 8 or len(legs) < 3:
            continue
        for count in range(1, len(legs)):
            for part in itertools.combinations(legs, count):
                if legs[0] in part:
                    yield from _split(net, node, part)


def _split(net: Network, node: str, part: tuple[str, ...]) -> Iterator[Move]:
    s = net.structure
    rest = tuple(leg for leg in s.legs[node] if leg not in part)
    rows, columns = (math.prod(s.size[leg] for leg in side) for side in (part, rest))
    most = (rows * columns - 1) // (rows + columns)  # the largest rank that saves anything
    if most < 1:
        return
    axes = tuple(s.legs[node].index(leg) for leg in (*part, *rest))
    xp: Any = namespace(net[node])
    matrix: Any = xp.permute_dims(net[node], axes).reshape((rows, columns))
    U, singular, Vh = linalg.svd(matrix)
    values = to_numpy(singular)
    needed = max(1, int(np.count_nonzero(values > SPLIT_TOLERANCE * values[0])))
    if needed > min(most, len(values) - 1):
        return
    other = _fresh(node, s)
    bond = f"{node}-{other}"
    nodes = dict(s.nodes)
    nodes[node] = (*part, bond)
    nodes[other] = (bond, *rest)
    structure = Structure(nodes, {**s.size, bond: needed}, s.modes)

    def start() -> Network:
        root: Any = xp.astype(xp.sqrt(singular[:needed]), matrix.dtype)
        left = (U[:, :needed] * root).reshape((*(s.size[leg] for leg in part), needed))
        right: Any = Vh[:needed]
        right = (right * root[:, None]).reshape((needed, *(s.size[leg] for leg in rest)))
        return Network(structure, {**net.arrays, node: left, other: right})

    yield Move(structure=structure, label=f"split {node} off {'+'.join(part)}", start=start)


def _fresh(node: str, structure: Structure) -> str:
    for k in itertools.count(1):
        if f"{node}.{k}" not in structure.legs:
            return f"{node}.{k}"
    raise AssertionError


def joins(net: Network) -> Iterator[Move]:
    """Yield networks with neighbouring nodes, at least one of them inner, made one.

    All pairs of neighbours, and all connected groups of inner nodes. Bonds that become parallel
    are fused. The tensor does not change.
    """
    s = net.structure
    inner = [node for node in s.node_names if not set(s.legs[node]) & set(s.modes)]
    groups: list[tuple[str, ...]] = [(hub, other) for hub in inner for other in s.neighbours(hub)]
    if len(inner) <= JOINED_TOGETHER:
        for count in range(3, len(inner) + 1):
            groups += itertools.combinations(inner, count)
    seen = set()
    for group in groups:
        if frozenset(group) not in seen and _connected(s, group):
            seen.add(frozenset(group))
            yield join(net, group)


def _connected(structure: Structure, group: tuple[str, ...]) -> bool:
    reached = [group[0]]
    for node in reached:
        near = set(structure.neighbours(node)) & set(group)
        reached += sorted(near - set(reached))
    return len(reached) == len(group)


def join(net: Network, group: tuple[str, ...]) -> Move:
    """Return the network with a connected group of nodes made one; its tensor is the same.

    Bonds that become parallel are fused. The node is named as the first of the group that has a
    mode.
    """
    s = net.structure
    outer = [leg for node in group for leg in s.legs[node] if set(s.holders[leg]) - set(group)]
    own = [leg for node in group for leg in s.legs[node] if leg in s.modes]
    keep = next((node for node in group if set(s.legs[node]) & set(s.modes)), group[0])
    bundles: dict[tuple[str, ...], list[str]] = {}
    for leg in dict.fromkeys(outer):
        if leg not in s.modes:
            bundles.setdefault(tuple(n for n in s.holders[leg] if n not in group), []).append(leg)
    size = dict(s.size)
    nodes = {node: list(legs) for node, legs in s.nodes if node not in group}
    for others, legs in bundles.items():
        size[legs[0]] = math.prod(s.size[leg] for leg in legs)
        for node in others:
            nodes[node] = [leg for leg in nodes[node] if leg not in legs] + [legs[0]]
    nodes[keep] = own + [legs[0] for legs in bundles.values()]
    order = [node for node in s.node_names if node in nodes]
    structure = Structure([(node, nodes[node]) for node in order], size, s.modes)

    def start() -> Network:
        part = Structure([(n, s.legs[n]) for n in group], s.size)
        flat = own + [leg for legs in bundles.values() for leg in legs]
        joined: Any = contract(Network(part, {n: net[n] for n in group}), flat)
        arrays: dict[str, Array] = {keep: joined.reshape(structure.node_shape(keep))}
        for node in order:
            if node == keep:
                continue
            at = [legs for others, legs in bundles.items() if node in others]
            moved = [leg for legs in at for leg in legs]
            first = [leg for leg in s.legs[node] if leg not in moved]
            xp: Any = namespace(net[node])
            axes = tuple(s.legs[node].index(leg) for leg in (*first, *moved))
            arrays[node] = xp.permute_dims(net[node], axes).reshape(structure.node_shape(node))
        return Network(structure, arrays)

    return Move(structure=structure, label=f"join {'+'.join(group)}", start=start)
