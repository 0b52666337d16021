"""Dimension tree: the binary tree over the nodes along which a sweep visits them.

At a vertex with node set A stands what the rest of the network leaves of the problem; its child
A1 is reached by contracting the nodes of the sibling A2. Every leaf is one node. Which tree is
chosen decides the cost of a sweep and nothing else (Kaya and Robert, SIAM J. Sci. Comput. 41
(2019) C209, for CP; here for any graph, with projections).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from tnet.structure import Structure

EXACT_UP_TO = 6  # nodes: 3^6 / 2 splits are weighed in 1 ms
EXACT_IF_DEAR = 9  # nodes: 3^9 / 2 splits take 50 ms, which sweeps of so many flops are worth:
DEAR = 1e8
HOPELESS = 1e13  # flops above which nobody will run it: any tree will do
INTERVALS_UP_TO = 64
VISIT = 2e5  # flops that the calls of one visit are worth
QR_PENALTY = 4.0  # a small QR runs at a fraction of the speed of a matmul


@dataclass(frozen=True)
class Vertex:
    """A vertex: the nodes below it (in visiting order) and the places of its two children."""

    nodes: tuple[str, ...]
    children: tuple[int, ...] = ()


@dataclass(frozen=True)
class DimensionTree:
    """Vertices, each before its children; the first is the root, which holds all nodes."""

    vertices: tuple[Vertex, ...]
    flops: float

    @property
    def order(self) -> tuple[str, ...]:
        """The nodes in visiting order."""
        return self.vertices[0].nodes


def dimension_tree(structure: Structure, entries: int = 0) -> DimensionTree:
    """Return the tree with the cheapest sweep: exactly for few nodes, else over intervals.

    With `entries` the sweep runs over that many observed entries, else over the full tensor.

    Cost: O(3^nodes) up to six nodes, and up to nine where a sweep is dear; beyond that nodes are
    put in one order of small cuts and only intervals of it are split, O(nodes^3).
    """
    costs = _EntryCosts(structure, entries) if entries else _Costs(structure)
    count = len(structure.nodes)
    if count <= EXACT_UP_TO:
        return _build(structure, costs, _exact_splits(costs, count))
    tree = _build(structure, costs, _interval_splits(costs, _small_cut_order(costs, count)))
    if count <= EXACT_IF_DEAR and DEAR < tree.flops < HOPELESS:
        return _build(structure, costs, _exact_splits(costs, count))
    return tree


V = TypeVar("V")


class _Memo(dict[int, V]):
    """Values of a function of a node set, found when first asked for."""

    def __init__(self, function: Callable[[int], V]) -> None:
        super().__init__()
        self.function = function

    def __missing__(self, nodes: int) -> V:
        found = self[nodes] = self.function(nodes)
        return found


class _Costs:
    """Sizes of node sets (bit masks) and the cost of one visit."""

    def __init__(self, structure: Structure) -> None:
        names = structure.node_names
        place = {name: k for k, name in enumerate(names)}
        open_legs = set(structure.open_legs)
        self.full = (1 << len(names)) - 1
        self.own = [
            float(math.prod(structure.size[x] for x in legs if x in open_legs))
            for _, legs in structure.nodes
        ]
        self.shared = [
            (sum(1 << place[n] for n in holders), float(structure.size[leg]))
            for leg, holders in structure.holders.items()
            if len(holders) > 1
        ]
        self.modes = _Memo(self._modes)
        self.cut = _Memo(self._cut)
        self.parts = _Memo(self._parts)
        self.first_mode = [
            min((structure.modes.index(x) for x in legs if x in open_legs), default=len(open_legs))
            for _, legs in structure.nodes
        ]

    def _modes(self, nodes: int) -> float:
        """Return the number of entries the modes of `nodes` span."""
        return math.prod(self.own[k] for k in range(nodes.bit_length()) if nodes >> k & 1)

    def _cut(self, nodes: int) -> float:
        """Return the product of the ranks that leave `nodes`."""
        out = 1.0
        for held, size in self.shared:
            if held & nodes and held & ~nodes:
                out *= size
        return out

    def _parts(self, nodes: int) -> list[int]:
        """Return the connected parts of everything outside `nodes`."""
        rest = self.full ^ nodes
        found = []
        while rest:
            part, grown = 0, rest & -rest
            while grown != part:
                part = grown
                for held, _ in self.shared:
                    if held & part:
                        grown |= held & ~nodes
            found.append(part)
            rest &= ~part
        return found

    def below(self, part: int) -> float:
        """Return the size of the auxiliary leg that stands for a part outside."""
        return min(self.cut[part], self.modes[part])

    def visit(self, nodes: int, child: int) -> float:
        """Return the cost of going from `nodes` to `child`, contracting the other nodes.

        Parts that hang together only through `child` are projected one by one.
        """
        other = nodes ^ child
        standing = {part: self.below(part) for part in self.parts[nodes]}
        size = self.modes[nodes] * math.prod(standing.values())
        leaf = child & (child - 1) == 0
        cost = VISIT
        for part in self.parts[child]:
            mine = part & other
            rows, columns = self.modes[mine], self.cut[part]
            for outside, below in standing.items():
                if outside & part:
                    rows *= below
            if mine:
                cost += 2.0 * rows * self.joint(mine, part & ~nodes)
            elif not leaf:
                continue
            if leaf:  # normal equations
                small = min(rows, columns)
                cost += 2.0 * size * columns + rows * columns * small + small**3
            elif rows > columns:
                cost += 2.0 * size * columns + QR_PENALTY * rows * columns**2
            else:
                cost += size
                continue
            size *= columns / rows
        return cost

    def joint(self, mine: int, outside: int) -> float:
        """Return the product of the ranks met when `mine` is contracted with what is outside."""
        out = 1.0
        for held, size in self.shared:
            if (held & mine and held & ~mine) or (held & outside and held & ~outside):
                out *= size
        return out


class _EntryCosts(_Costs):
    """The same for a sweep over observed entries: a visit costs its width times the entries."""

    def __init__(self, structure: Structure, entries: int) -> None:
        super().__init__(structure)
        self.entries = float(entries)

    def visit(self, nodes: int, child: int) -> float:
        other = nodes ^ child
        outside = self.full ^ nodes
        joint = 1.0
        for held, size in self.shared:
            if (held & other and held & ~other) or (held & nodes and held & outside):
                joint *= size
        columns = self.cut[child]
        solve = 0.0 if child & (child - 1) else self.entries * columns**2 + columns**3
        table = min(self.modes[other], self.entries) * self.cut[other]
        return VISIT + 2.0 * (self.entries * joint + table) + solve


Splits = dict[int, int]  # node set -> its first child


def _exact_splits(costs: _Costs, count: int) -> Splits:
    best: dict[int, float] = {1 << k: 0.0 for k in range(count)}
    splits: Splits = {}
    for nodes in range(1, 1 << count):
        if nodes in best:
            continue
        found = (math.inf, 0)
        part = (nodes - 1) & nodes
        while part > nodes ^ part:
            rest = nodes ^ part
            cost = best[part] + best[rest]
            if cost < found[0]:
                cost += costs.visit(nodes, part) + costs.visit(nodes, rest)
                found = min(found, (cost, part))
            part = (part - 1) & nodes
        best[nodes], splits[nodes] = found
    return splits


def _small_cut_order(costs: _Costs, count: int) -> list[int]:
    """Put nodes one after the other so that the cut behind the last one stays small."""
    inner = min(range(count), key=lambda k: (costs.cut[1 << k], k))
    order, taken = [inner], 1 << inner
    while len(order) < count:
        rest = [k for k in range(count) if not taken >> k & 1]
        near = [k for k in rest if any(h & taken and h >> k & 1 for h, _ in costs.shared)] or rest
        step = min(near, key=lambda k: (costs.cut[taken | 1 << k], k))
        order.append(step)
        taken |= 1 << step
    return order


def _interval_splits(costs: _Costs, order: list[int]) -> Splits:
    count = len(order)
    sums = [0]
    for k in order:
        sums.append(sums[-1] | 1 << k)
    best = {(i, i + 1): 0.0 for i in range(count)}
    splits: Splits = {}
    for width in range(2, count + 1):
        for i in range(count - width + 1):
            j = i + width
            nodes = sums[j] ^ sums[i]
            middle = [i + width // 2] if count > INTERVALS_UP_TO else range(i + 1, j)
            found = (math.inf, 0)
            for m in middle:
                left = sums[m] ^ sums[i]
                cost = best[i, m] + best[m, j]
                if cost < found[0]:
                    cost += costs.visit(nodes, left) + costs.visit(nodes, nodes ^ left)
                    found = min(found, (cost, left))
            best[i, j], splits[nodes] = found
    return splits


def _build(structure: Structure, costs: _Costs, splits: Splits) -> DimensionTree:
    names = structure.node_names

    def first_mode(nodes: int) -> int:
        return min(costs.first_mode[k] for k in range(nodes.bit_length()) if nodes >> k & 1)

    sets = [costs.full]
    children: list[tuple[int, ...]] = []
    flops = 0.0
    for nodes in sets:  # grows while it is walked
        if nodes not in splits:
            children.append(())
            continue
        # the half with the earlier modes first: then the data are often used as they lie
        halves = sorted((splits[nodes], nodes ^ splits[nodes]), key=first_mode)
        flops += sum(costs.visit(nodes, half) for half in halves)
        children.append((len(sets), len(sets) + 1))
        sets.extend(halves)
    order: list[tuple[str, ...]] = [()] * len(sets)
    for k in reversed(range(len(sets))):
        below = children[k]
        leaf = (names[sets[k].bit_length() - 1],)
        order[k] = order[below[0]] + order[below[1]] if below else leaf
    vertices = tuple(Vertex(order[k], children[k]) for k in range(len(sets)))
    return DimensionTree(vertices, flops)
