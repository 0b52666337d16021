"""What fits of other structures say about a structure: an error it need not exceed, or a start.

Structures are compared where their nodes, and the modes on these, are the same; bonds are matched
by name and ends. One that has every bond of another, each as large, contains it: with zeros in
the new slices it holds the same tensors. So the error found for the smaller one is an upper bound
for the larger one. (Lower bounds pass in the other direction, from larger to smaller ones, but
those known here come from the ranks of cuts, which bound the smaller structure better themselves.)
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from structure_search.canonical import canonical_key
from tnet.structure import Structure

MOST = 512  # the latest structures on the same nodes that are looked at
NEAR = 3.0  # sum of the logarithms of the ratios of ranks: beyond, a start helps no more
ROUNDING = 1e-9  # of that sum

Bond: TypeAlias = tuple[str, frozenset[str]]
Nodes: TypeAlias = frozenset[tuple[str, frozenset[str]]]
Float: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]


class Known(NamedTuple):
    """A structure that was fitted, the error found, and the evaluation that keeps the network."""

    structure: Structure
    error: float
    held: int  # index of that evaluation


class Neighbours:
    """The fitted structures, by their nodes.

    Cost of a question: some microseconds and a pass over a matrix of 512 rows and as many columns
    as there were different bonds, however many structures were fitted.

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
        self._groups: dict[Nodes, _Group] = {}

    def add(self, structure: Structure, error: float, held: int) -> None:
        """Remember the best fit of a structure."""
        nodes = _nodes(structure)
        group = self._groups.get(nodes)
        if group is None:
            group = self._groups[nodes] = _Group()
        group.add(Known(structure, error, held))

    def contained(self, structure: Structure, error: float) -> list[Known]:
        """Return what `structure` contains with an error of at most `error`, the best first."""
        group = self._groups.get(_nodes(structure))
        return [] if group is None else group.contained(structure, error)

    def nearest(self, structure: Structure) -> Known | None:
        """Return the structure whose ranks differ least, and of several the best; None if far."""
        group = self._groups.get(_nodes(structure))
        return None if group is None else group.nearest(structure)


class _Group:
    """Structures on the same nodes, as rows of logarithms of ranks."""

    def __init__(self) -> None:
        self._rows: OrderedDict[str, int] = OrderedDict()  # by key, the oldest first
        self._known: list[Known] = []
        self._columns: dict[Bond, int] = {}
        self._ranks: Float = np.zeros((MOST, 0))
        self._errors: Float = np.full(MOST, math.inf)

    def add(self, found: Known) -> None:
        key = canonical_key(found.structure)
        row = self._rows.pop(key, len(self._known))
        if row == MOST:
            _, row = self._rows.popitem(last=False)
        self._rows[key] = row
        self._known[row : row + 1] = [found]
        self._errors[row] = found.error
        bonds = _bonds(found.structure)
        for bond in bonds:
            self._columns.setdefault(bond, len(self._columns))
        if (more := len(self._columns) - self._ranks.shape[1]) > 0:
            self._ranks = np.pad(self._ranks, ((0, 0), (0, more)))
        self._ranks[row], _ = self._row(bonds)

    def contained(self, structure: Structure, error: float) -> list[Known]:
        near = np.flatnonzero(self._errors[: len(self._known)] <= error)
        if not len(near):
            return []
        wide, _ = self._row(_bonds(structure))
        inside = near[(self._ranks[near] <= wide + ROUNDING).all(axis=1)]
        return sorted((self._known[k] for k in inside), key=lambda k: (k.error, k.held))

    def nearest(self, structure: Structure) -> Known | None:
        ranks, elsewhere = self._row(_bonds(structure))
        far = np.abs(self._ranks[: len(self._known)] - ranks).sum(axis=1) + elsewhere
        least = float(far.min())
        if least > NEAR:
            return None
        close = np.flatnonzero(far <= least + ROUNDING)
        return min((self._known[k] for k in close), key=lambda k: (k.error, k.held))

    def _row(self, bonds: Mapping[Bond, float]) -> tuple[Float, float]:
        """Return the logarithms of ranks by column, and the sum of those that have no column."""
        row, elsewhere = np.zeros(len(self._columns)), 0.0
        for bond, rank in bonds.items():
            column = self._columns.get(bond)
            if column is None:
                elsewhere += rank
            else:
                row[column] = rank
        return row, elsewhere


def _nodes(structure: Structure) -> Nodes:
    open_legs = set(structure.modes)
    return frozenset((n, frozenset(open_legs.intersection(legs))) for n, legs in structure.nodes)


def _bonds(structure: Structure) -> dict[Bond, float]:
    """Return the bonds with the logarithms of their ranks; those of rank one are none."""
    holders = structure.holders
    return {
        (bond, frozenset(holders[bond])): math.log2(rank)
        for bond, rank in structure.ranks.items()
        if rank > 1
    }
