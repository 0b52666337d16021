"""Layout: how the nodes of a structure lie in memory during a fit, and the legs between them.

A *core* is a node's array with its own modes, if it has any, merged to one leading axis. Cores
are kept in the visiting order of the dimension tree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property

from contraction.arrays import Array
from tnet.als.dimension_tree import DimensionTree
from tnet.als.pairs import Labels, transposed
from tnet.structure import Structure


class Layout:
    """The cores of `structure`, and the label sets of node groups of `tree`."""

    def __init__(self, structure: Structure, tree: DimensionTree) -> None:
        self.structure = structure
        self.tree = tree
        self.names = tree.order
        self.place = {name: k for k, name in enumerate(self.names)}
        size, open_legs = structure.size, set(structure.open_legs)
        self.own = {n: tuple(x for x in ls if x in open_legs) for n, ls in structure.nodes}
        self.ranks = {n: tuple(x for x in ls if x not in open_legs) for n, ls in structure.nodes}
        self.shared = tuple(x for x in structure.holders if x not in open_legs)
        # no leg can have the name of a group: a line break is not printable
        self.group = {n: f"\n{n}" for n in self.names}
        self.sizes: dict[str, int] = dict(size)
        for name in self.names:
            self.sizes[self.group[name]] = math.prod(size[x] for x in self.own[name])
        self.core_shapes = tuple(
            tuple(self.sizes[x] for x in self.core_labels(n)) for n in self.names
        )

    @cached_property
    def to_core(self) -> tuple[tuple[int, ...], ...]:
        """Per node, the axis order of its core before merging."""
        legs = self.structure.legs
        return tuple(
            tuple(legs[n].index(x) for x in self.own[n] + self.ranks[n]) for n in self.names
        )

    def cores(self, arrays: Mapping[str, Array]) -> list[Array]:
        """Return the cores of node arrays."""
        return [
            transposed(arrays[name], axes).reshape(shape)
            for name, axes, shape in zip(self.names, self.to_core, self.core_shapes, strict=True)
        ]

    def arrays(self, cores: Sequence[Array]) -> dict[str, Array]:
        """Return the node arrays of cores, in the axis order of the structure."""
        found = {}
        for name, axes, core in zip(self.names, self.to_core, cores, strict=True):
            shape = self.structure.node_shape(name)
            back = tuple(axes.index(k) for k in range(len(axes)))
            found[name] = transposed(core.reshape(tuple(shape[k] for k in axes)), back)
        return found

    def crossing(self, nodes: Sequence[str]) -> Labels:
        """Return the legs between `nodes` and the rest, in one order for both sides."""
        inside = set(nodes)
        holders = self.structure.holders
        legs = {x for n in nodes for x in self.ranks[n]}
        return tuple(x for x in self.shared if x in legs and not inside.issuperset(holders[x]))

    def core_labels(self, node: str) -> Labels:
        """Return the labels of a core's axes."""
        return (*self.groups([node]), *self.ranks[node])

    def labels(self, nodes: Sequence[str]) -> list[Labels]:
        """Return the labels of several cores."""
        return [self.core_labels(n) for n in nodes]

    def groups(self, nodes: Sequence[str]) -> Labels:
        """Return the labels of the merged modes of `nodes`."""
        return tuple(self.group[n] for n in nodes if self.own[n])

    def span(self, nodes: Sequence[str]) -> int:
        """Return the number of entries the modes of `nodes` span."""
        return math.prod(self.sizes[self.group[n]] for n in nodes)

    def columns(self, nodes: Sequence[str]) -> Labels:
        """Return the columns of the block that leads to `nodes`: for one node as its core has."""
        return self.ranks[nodes[0]] if len(nodes) == 1 else self.crossing(nodes)
