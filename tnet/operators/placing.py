"""Where in a tree the factors of terms lie: modes in a row, subtrees as its intervals."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tnet.operators.assembling import RawCore
from tnet.operators.collecting import TermTable
from tnet.operators.grouping import hash_of
from tnet.trees import RootedTree

Ints = Any


class Placing(NamedTuple):
    """The slots of every node: its children, the one with most modes first, then its own modes.

    Attributes
    ----------
    children, modes
        Node -> its children and the numbers of its modes, in the order of the slots.
    bounds
        Node -> where its slots begin in the row of all modes, and where the last one ends.
    position
        Mode -> its place in the row.
    """

    tree: RootedTree
    children: dict[str, tuple[str, ...]]
    modes: dict[str, tuple[int, ...]]
    bounds: dict[str, Ints]
    position: Ints


def placed(tree: RootedTree) -> Placing:
    """Lay out the modes so that every subtree is an interval."""
    number = {mode: k for k, mode in enumerate(tree.structure.modes)}
    own = {n: tuple(number[x] for x in legs if x in number) for n, legs in tree.structure.nodes}
    size: dict[str, int] = {}
    for node in tree.post_order:
        size[node] = len(own[node]) + sum(size[child] for child in tree.children[node])
    position = np.zeros(len(number), dtype=np.int64)
    start = {tree.root: 0}
    children: dict[str, tuple[str, ...]] = {}
    bounds: dict[str, Ints] = {}
    for node in tree.pre_order:
        below = sorted(tree.children[node], key=lambda child: -size[child])
        children[node] = tuple(below)
        widths = [size[child] for child in below] + [1] * len(own[node])
        bounds[node] = start[node] + np.cumsum([0, *widths])
        start.update(zip(below, bounds[node].tolist(), strict=False))
        position[list(own[node])] = bounds[node][len(below) : -1]
    return Placing(tree, children, own, bounds, position)


def in_leg_order(core: RawCore, node: str, placing: Placing) -> RawCore:
    """Bring the columns from the order of the slots into that of the legs."""
    tree = placing.tree
    slots = [tree.bond[child] for child in placing.children[node]]
    slots += [tree.structure.modes[k] for k in placing.modes[node]]
    legs = [leg for leg in tree.structure.legs[node] if leg != tree.bond.get(node)]
    return core._replace(inputs=core.inputs[:, [slots.index(leg) for leg in legs]])


class Contents(NamedTuple):
    """What some terms hold at the slots of one node: names (terms, slots, 2), and local indices.

    `rest` names what they hold outside the node's subtree.
    """

    names: Any
    index: Ints
    rest: Any


class PlacedTerms:
    """The factors of all terms in the order of the row. Read only, once made."""

    def __init__(self, table: TermTable, placing: Placing) -> None:
        self.placing = placing
        position = placing.position[table.mode]
        order = np.lexsort((position, table.term))
        self.term = table.term[order]
        self.place = position[order]
        self.index = table.index[order]
        self.hashes = hash_of(self.place, self.index)
        self.offset = np.searchsorted(self.term, np.arange(len(table.coefficients) + 1))
        by_place = np.argsort(position, kind="stable")
        self._by_place = table.term[by_place]
        self._starts = np.searchsorted(position[by_place], np.arange(len(placing.position) + 1))
        self.names = np.zeros((len(table.coefficients), 2), dtype=np.uint64)
        np.add.at(self.names, self.term, self.hashes)

    def at(self, node: str, terms: Ints) -> Contents:
        """Return what `terms` hold at the slots of `node`."""
        bounds = self.placing.bounds[node]
        length = self.offset[terms + 1] - self.offset[terms]
        owner = np.repeat(np.arange(len(terms)), length)
        flat = np.arange(len(owner)) + np.repeat(
            self.offset[terms] - np.cumsum(length) + length, length
        )
        place = self.place[flat]
        inside = (place >= bounds[0]) & (place < bounds[-1])
        owner, flat, place = owner[inside], flat[inside], place[inside]
        slot = np.searchsorted(bounds, place, side="right") - 1
        names = np.zeros((len(terms), len(bounds) - 1, 2), dtype=np.uint64)
        np.add.at(names, (owner, slot), self.hashes[flat])
        first = len(self.placing.children[node])
        index = np.zeros((len(terms), len(bounds) - 1 - first), dtype=np.int64)
        own = slot >= first
        index[owner[own], slot[own] - first] = self.index[flat[own]]
        return Contents(names, index, self.names[terms] - names.sum(axis=1, dtype=np.uint64))

    def first_here(self, node: str) -> Ints:
        """Return the terms that hold something at a mode of `node`, each once."""
        bounds = self.placing.bounds[node]
        low, high = self._starts[bounds[len(self.placing.children[node])]], self._starts[bounds[-1]]
        return np.unique(self._by_place[low:high])

    def meeting(self) -> dict[str, Ints]:
        """Return the terms that hold something at two slots or more of a node, for every node."""
        order = self.placing.tree.pre_order
        split = np.full(max(len(self.placing.position) - 1, 1), len(order), dtype=np.int64)
        for rank, node in enumerate(order):
            bounds = self.placing.bounds[node]
            split[bounds[(bounds > bounds[0]) & (bounds < bounds[-1])] - 1] = rank
        # the node at which two places part is the highest one between them: a range minimum
        pairs = np.flatnonzero(self.term[1:] == self.term[:-1])
        low, high = self.place[pairs], self.place[pairs + 1]
        found = range_minima(split, low, high)
        term = self.term[pairs]
        by_node = np.lexsort((term, found))
        cuts = np.searchsorted(found[by_node], np.arange(len(order) + 1))
        parts = ((node, term[by_node[cuts[k] : cuts[k + 1]]]) for k, node in enumerate(order))
        return {node: np.unique(part) for node, part in parts if len(part)}


def range_minima(values: Ints, low: Ints, high: Ints) -> Ints:
    """Return the minimum of ``values[low:high]`` for many ranges that are not empty.

    Examples
    --------
    >>> range_minima(np.array([3, 1, 2]), np.array([0, 2]), np.array([2, 3])).tolist()
    [1, 2]
    """
    rows = [values]
    while 2 ** len(rows) <= len(values):
        half = 2 ** (len(rows) - 1)
        rows.append(np.minimum(rows[-1][:-half], rows[-1][half:]))
    level = np.frexp((high - low).astype(np.float64))[1] - 1
    found = np.empty(len(low), dtype=np.int64)
    for k, row in enumerate(rows):
        here = level == k
        found[here] = np.minimum(row[low[here]], row[high[here] - 2**k])
    return found
