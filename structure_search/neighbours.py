"""What fits of other structures say about a structure: an error it need not exceed, or a start.

Structures are compared where their nodes, and the modes on these, are the same; bonds are matched
by name. One that has every bond of another, each as large, contains it: with zeros in the new
slices it holds the same tensors. So the error found for the smaller one is an upper bound for
the larger one. (Lower bounds pass in the other direction, from larger to smaller ones, but those
known here come from the ranks of cuts, which bound the smaller structure better themselves.)
"""

from __future__ import annotations

import math
from collections import OrderedDict, defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypeAlias

from structure_search.canonical import canonical_key
from tnet.structure import Structure

MOST = 512  # the latest structures on the same nodes that are looked at
NEAR = 3.0  # sum of the logarithms of the ratios of ranks: beyond, a start helps no more

Bonds: TypeAlias = Mapping[str, tuple[frozenset[str], int]]
Nodes: TypeAlias = frozenset[tuple[str, frozenset[str]]]


class Known(NamedTuple):
    """A structure that was fitted, the error found, and the evaluation that keeps the network."""

    structure: Structure
    bonds: Bonds
    error: float
    held: int  # index of that evaluation


class Neighbours:
    """The fitted structures, by their nodes.

    Examples
    --------
    >>> import tnet
    >>> ring = tnet.tensor_ring((4, 4, 4), 2)
    >>> known = Neighbours()
    >>> known.add(ring, 0.01, 7)
    >>> [k.held for k in known.contained(ring.resized({"g0-g1": 3}), 0.1)]
    [7]
    >>> list(known.contained(ring.resized({"g0-g1": 1}), 0.1))
    []
    """

    def __init__(self) -> None:
        self._by_nodes: defaultdict[Nodes, OrderedDict[str, Known]] = defaultdict(OrderedDict)

    def add(self, structure: Structure, error: float, held: int) -> None:
        """Remember the best fit of a structure."""
        group = self._by_nodes[_nodes(structure)]
        key = canonical_key(structure)
        group[key] = Known(structure, _bonds(structure), error, held)
        group.move_to_end(key)
        if len(group) > MOST:
            group.popitem(last=False)

    def contained(self, structure: Structure, error: float) -> Iterator[Known]:
        """Yield what `structure` contains with an error of at most `error`, the best first."""
        group = self._by_nodes.get(_nodes(structure))
        if group is None:
            return
        wide = _bonds(structure)
        found = [k for k in group.values() if k.error <= error and _contains(wide, k.bonds)]
        yield from sorted(found, key=lambda k: k.error)

    def nearest(self, structure: Structure) -> Known | None:
        """Return the structure whose ranks differ least, and of several the best; None if far."""
        group = self._by_nodes.get(_nodes(structure))
        if group is None:
            return None
        bonds = _bonds(structure)
        near = ((_distance(bonds, k.bonds), k.error, k) for k in group.values())
        distance, _, found = min(near, key=lambda item: item[:2])
        return found if distance <= NEAR else None


def _nodes(structure: Structure) -> Nodes:
    open_legs = set(structure.modes)
    return frozenset((n, frozenset(open_legs.intersection(legs))) for n, legs in structure.nodes)


def _bonds(structure: Structure) -> Bonds:
    size, holders = structure.size, structure.holders
    return {b: (frozenset(holders[b]), r) for b, r in structure.ranks.items() if size[b] > 1}


def _contains(wide: Bonds, narrow: Bonds) -> bool:
    return all(
        bond in wide and wide[bond][0] == holders and wide[bond][1] >= rank
        for bond, (holders, rank) in narrow.items()
    )


def _distance(a: Bonds, b: Bonds) -> float:
    nowhere: tuple[frozenset[str], int] = (frozenset(), 1)
    total = 0.0
    for bond in a.keys() | b.keys():
        (held, rank), (other, size) = a.get(bond, nowhere), b.get(bond, nowhere)
        if held and other and held != other:
            return math.inf  # the same name for another bond
        total += abs(math.log2(rank / size))
    return total
