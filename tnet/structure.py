"""Structure: the frozen graph under every network. Nodes, legs and sizes; no numbers inside.

Edges are implied by shared leg names, so there is nothing to keep in sync: a leg held by one
node is open (a mode of the full tensor), by two nodes a bond, by three or more a hyperbond.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

from contraction import Spec
from contraction.errors import StructureError
from contraction.truncation import check_rank
from tnet._checks import check_name, is_whole

OF_THE_GRAPH = {"nodes", "modes", "node_names", "legs", "holders", "open_legs", "bonds"}
OF_THE_GRAPH |= {"hyperbonds", "is_tree", "components"}  # what sizes do not change
Nodes = tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Structure:
    """A network without its numbers: hashable, comparable, cheap to edit.

    Parameters
    ----------
    nodes
        Node name -> its legs, in the axis order of the node's array (a mapping, or pairs).
    sizes
        Leg -> its length (a mapping, or pairs).
    modes
        The open legs in the axis order of the full tensor; by default in order of appearance.

    Raises
    ------
    StructureError
        No node, a repeated name, a leg without a size, a size below one, a leg twice on one
        node, or `modes` that are not the open legs.

    Examples
    --------
    >>> s = Structure({"a": ("x", "r"), "b": ("r", "y")}, {"x": 4, "r": 2, "y": 5})
    >>> s.num_params, s.shape, s.bonds, s.is_tree
    (18, (4, 5), ('r',), True)
    """

    nodes: Nodes
    sizes: tuple[tuple[str, int], ...]
    modes: tuple[str, ...] = ()
    _hash: int = field(default=0, init=False, repr=False, compare=False)

    def __init__(
        self,
        nodes: Mapping[str, Sequence[str]] | Sequence[tuple[str, Sequence[str]]],
        sizes: Mapping[str, int] | Sequence[tuple[str, int]],
        modes: Sequence[str] | None = None,
    ) -> None:
        pairs = nodes.items() if isinstance(nodes, Mapping) else nodes
        frozen = tuple((name, tuple(legs)) for name, legs in pairs)
        known = dict(sizes)
        used = tuple(dict.fromkeys(leg for _, legs in frozen for leg in legs))
        _check_nodes(frozen)
        _check_sizes(used, known)
        put = object.__setattr__
        put(self, "nodes", frozen)
        put(self, "sizes", tuple((leg, int(known[leg])) for leg in sorted(used)))
        put(self, "modes", self.open_legs if modes is None else tuple(modes))
        if modes is not None and sorted(self.modes) != sorted(self.open_legs):
            raise StructureError(
                f"`modes` must name each open leg once: the open legs are "
                f"{list(self.open_legs)}, got {list(self.modes)}."
            )
        put(self, "_hash", hash((self.nodes, self.sizes, self.modes)))

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[Any, ...]:
        # hashes of text differ from process to process, so the structure is made again
        return Structure, (self.nodes, self.sizes, self.modes)

    # ---- what the graph is -------------------------------------------------------------

    @cached_property
    def node_names(self) -> tuple[str, ...]:
        """The nodes, in order."""
        return tuple(name for name, _ in self.nodes)

    @cached_property
    def legs(self) -> Mapping[str, tuple[str, ...]]:
        """Node -> its legs, in axis order."""
        return MappingProxyType(dict(self.nodes))

    @cached_property
    def size(self) -> Mapping[str, int]:
        """Leg -> its length."""
        return MappingProxyType(dict(self.sizes))

    @cached_property
    def holders(self) -> Mapping[str, tuple[str, ...]]:
        """Leg -> the nodes that hold it."""
        found: dict[str, list[str]] = {}
        for name, legs in self.nodes:
            for leg in legs:
                found.setdefault(leg, []).append(name)
        return MappingProxyType({leg: tuple(names) for leg, names in found.items()})

    @cached_property
    def open_legs(self) -> tuple[str, ...]:
        """Legs held by one node, in order of appearance."""
        return tuple(leg for leg, names in self.holders.items() if len(names) == 1)

    @cached_property
    def bonds(self) -> tuple[str, ...]:
        """Legs shared by two nodes."""
        return tuple(leg for leg, names in self.holders.items() if len(names) == 2)

    @cached_property
    def hyperbonds(self) -> tuple[str, ...]:
        """Legs shared by three nodes or more."""
        return tuple(leg for leg, names in self.holders.items() if len(names) > 2)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Shape of the full tensor: the sizes of `modes`."""
        return tuple(self.size[leg] for leg in self.modes)

    @cached_property
    def ranks(self) -> Mapping[str, int]:
        """Bond or hyperbond -> its rank."""
        inner = self.bonds + self.hyperbonds
        return MappingProxyType({leg: self.size[leg] for leg in inner})

    @cached_property
    def num_params(self) -> int:
        """Number of entries of all arrays together."""
        return sum(math.prod(self.size[leg] for leg in legs) for _, legs in self.nodes)

    @cached_property
    def is_tree(self) -> bool:
        """True if the graph is connected, without cycles, parallel bonds or hyperbonds."""
        if self.hyperbonds or len(self.bonds) != len(self.nodes) - 1:
            return False
        return len(self.components) == 1

    @cached_property
    def components(self) -> tuple[tuple[str, ...], ...]:
        """The connected parts, each a tuple of node names."""
        seen: set[str] = set()
        parts = []
        for start in self.node_names:
            if start in seen:
                continue
            seen.add(start)
            part = [start]
            for node in part:  # grows while it is walked: breadth first
                fresh = [other for other in self.neighbours(node) if other not in seen]
                seen.update(fresh)
                part.extend(fresh)
            parts.append(tuple(part))
        return tuple(parts)

    def neighbours(self, node: str) -> tuple[str, ...]:
        """Return the nodes that share a leg with `node`, each once."""
        found = (other for leg in self.legs[node] for other in self.holders[leg])
        return tuple(dict.fromkeys(other for other in found if other != node))

    def node_shape(self, node: str) -> tuple[int, ...]:
        """Return the shape of the array of `node`."""
        return tuple(self.size[leg] for leg in self.legs[node])

    def same_graph(self, other: Structure) -> bool:
        """Tell whether nodes, legs and modes agree, whatever the sizes."""
        return self.nodes == other.nodes and self.modes == other.modes

    def spec(self, output: Sequence[str] | None = None) -> Spec:
        """Return the contraction that gives the full tensor (or the legs of `output`)."""
        inputs = tuple(legs for _, legs in self.nodes)
        return Spec(inputs, self.modes if output is None else tuple(output), dict(self.sizes))

    # ---- edits: each returns a new structure -------------------------------------------

    def resized(self, sizes: Mapping[str, int]) -> Structure:
        """Return the structure with some legs of other lengths."""
        for leg in sizes:
            self._require_leg(leg)
        _check_sizes(tuple(sizes), sizes)
        # the graph is the same, and needs no second check: searches do this thousands of times
        made = object.__new__(Structure)
        known = {**self.size, **sizes}
        pairs = tuple((leg, int(known[leg])) for leg, _ in self.sizes)
        same = {name: x for name, x in self.__dict__.items() if name in OF_THE_GRAPH}
        made.__dict__.update(same, sizes=pairs, _hash=hash((self.nodes, pairs, self.modes)))
        return made

    def with_bond(self, a: str, b: str, rank: int = 1, *, name: str | None = None) -> Structure:
        """Return the structure with one more bond between nodes `a` and `b`."""
        check_rank(rank, "rank")
        leg = name or f"{a}-{b}"
        if a == b or a not in self.legs or b not in self.legs:
            raise StructureError(f"a bond joins two different nodes of the network, got {a}, {b}.")
        if leg in self.size:
            raise StructureError(f"leg {leg!r} exists already; give the bond another `name`.")
        nodes = [(n, (*legs, leg) if n in (a, b) else legs) for n, legs in self.nodes]
        return Structure(nodes, {**self.size, leg: rank}, self.modes)

    def without_bond(self, bond: str) -> Structure:
        """Return the structure with `bond` (or hyperbond) removed from its nodes."""
        self._require_leg(bond)
        if bond in self.modes:
            raise StructureError(f"{bond!r} is an open leg; only a bond can be removed.")
        nodes = [(n, tuple(leg for leg in legs if leg != bond)) for n, legs in self.nodes]
        return Structure(nodes, self.sizes, self.modes)

    def renamed(
        self, legs: Mapping[str, str] | None = None, nodes: Mapping[str, str] | None = None
    ) -> Structure:
        """Return the structure with other names for some legs or nodes."""
        leg_of, node_of = dict(legs or {}), dict(nodes or {})
        for leg in leg_of:
            self._require_leg(leg)
        for node in node_of:
            if node not in self.legs:
                raise StructureError(f"there is no node {node!r}; the nodes are {self._some()}.")
        fresh = [leg_of.get(leg, leg) for leg in self.size]
        if len(set(fresh)) != len(fresh):
            raise StructureError(f"renaming {leg_of} would give two legs the same name.")
        return Structure(
            [(node_of.get(n, n), tuple(leg_of.get(x, x) for x in ls)) for n, ls in self.nodes],
            {leg_of.get(leg, leg): size for leg, size in self.sizes},
            tuple(leg_of.get(leg, leg) for leg in self.modes),
        )

    def permuted(self, modes: Sequence[str]) -> Structure:
        """Return the structure with the modes of the full tensor in another order."""
        return Structure(self.nodes, self.sizes, modes)

    # ---- plain data --------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Return the structure as plain data for JSON."""
        return {
            "nodes": [[name, list(legs)] for name, legs in self.nodes],
            "sizes": dict(self.sizes),
            "modes": list(self.modes),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Structure:
        """Return the structure that `to_dict` wrote.

        Examples
        --------
        >>> s = Structure({"a": ("x", "y")}, {"x": 2, "y": 3})
        >>> Structure.from_dict(s.to_dict()) == s
        True
        """
        try:
            return cls([(n, tuple(ls)) for n, ls in data["nodes"]], data["sizes"], data["modes"])
        except (KeyError, TypeError, AttributeError) as error:
            raise StructureError(
                f"a structure needs `nodes`, `sizes` and `modes`; reading failed at {error!r}."
            ) from error

    def _require_leg(self, leg: str) -> None:
        if leg not in self.size:
            raise StructureError(f"there is no leg {leg!r}; the legs are {list(self.size)[:12]}.")

    def _some(self) -> list[str]:
        return list(self.node_names[:12])


def _check_nodes(nodes: Nodes) -> None:
    if not nodes:
        raise StructureError("a structure needs at least one node.")
    names = [name for name, _ in nodes]
    if len(set(names)) != len(names):
        seen: set[str] = set()
        twice = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise StructureError(f"node {twice!r} is named twice; node names are unique.")
    for name, legs in nodes:
        check_name(name, "node")
        if len(set(legs)) != len(legs):
            raise StructureError(
                f"node {name!r} holds a leg twice: {list(legs)}; take the trace first."
            )


def _check_sizes(used: Sequence[str], sizes: Mapping[str, int]) -> None:
    for leg in used:
        check_name(leg, "leg")
        if leg not in sizes:
            given = list(sizes)[:12]
            raise StructureError(f"leg {leg!r} has no size; sizes are given for {given}.")
        size = sizes[leg]
        if not is_whole(size) or size < 1:
            raise StructureError(f"leg {leg!r} needs a whole size >= 1, got {size!r}.")
