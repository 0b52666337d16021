"""Moves between structures that save parameters: lower, drop and exchange ranks, split a node."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from contraction import linalg
from contraction.arrays import namespace, to_numpy
from structure_search.canonical import canonical_key, reduced
from structure_search.methods.growth import enlarged
from tnet.network import Network
from tnet.structure import Structure

SPLIT_TOLERANCE = 1e-2  # of a node's largest singular value; the fit decides in the end


@dataclass(frozen=True, kw_only=True)
class Move:
    """Another structure, and how to come by a network of it.

    Attributes
    ----------
    structure
        Where the move leads.
    label
        What it does.
    start
        Makes the network to fit from; None where a random start is as good.
    """

    structure: Structure
    label: str
    start: Callable[[], Network] | None = field(default=None, repr=False)

    @property
    def num_params(self) -> int:
        """Parameters of the structure that the move leads to."""
        return self.structure.num_params


def lowered(structure: Structure, steps: tuple[int, ...] = (1, 2)) -> Iterator[Move]:
    """Yield the structures with one bond lowered by each of `steps`."""
    for bond, rank in structure.ranks.items():
        for step in steps:
            if rank - step >= 1:
                smaller = reduced(structure.resized({bond: rank - step}))
                yield Move(structure=smaller, label=f"lower {bond} to {rank - step}")


def exchanged(structure: Structure, *, max_degree: int | None) -> Iterator[Move]:
    """Yield smaller structures with one bond lowered by one or two and another raised by one."""
    now = structure.num_params
    pairs = list(itertools.combinations(structure.node_names, 2))
    for bond, rank in structure.ranks.items():
        for step in (1, 2):
            if rank - step < 1:
                continue
            lower = structure.resized({bond: rank - step})
            for i, j in pairs:
                bigger = enlarged(lower, i, j)
                if bigger is None or bigger.num_params >= now:
                    continue
                if bigger.size.get(bond, 0) >= rank:
                    continue
                if max_degree is not None and max(_degrees(bigger)) > max_degree:
                    continue
                label = f"lower {bond} to {rank - step}, raise {i}-{j}"
                yield Move(structure=reduced(bigger), label=label)


def _degrees(structure: Structure) -> list[int]:
    live = {leg for leg in structure.ranks if structure.size[leg] > 1}
    return [sum(leg in live for leg in legs) for _, legs in structure.nodes]


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


def distinct(moves: Iterator[Move], seen: set[str]) -> list[Move]:
    """Return the moves to structures not in `seen`, the one that saves most first."""
    found: dict[str, Move] = {}
    for move in moves:
        key = canonical_key(move.structure)
        if key not in seen:
            found.setdefault(key, move)
    return sorted(found.values(), key=lambda m: (m.num_params, m.label))
