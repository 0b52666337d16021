"""RootedTree: a tree structure seen from one node. The root is a view, not part of the graph."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

from contraction.errors import StructureError
from tnet.structure import Structure


@dataclass(frozen=True, eq=False)
class RootedTree:
    """Parents, children and orders of a tree structure, seen from `root`.

    Build one with `rooted(structure, root)`, which caches. Everything is linear in the number
    of nodes and free of recursion.

    Attributes
    ----------
    structure, root
        What was rooted, and where.
    parent
        Node -> its parent; the root maps to None.
    children
        Node -> its children, in leg order.
    bond
        Node -> the bond to its parent; the root has none.
    pre_order
        Every node after its parent.
    """

    structure: Structure
    root: str
    parent: dict[str, str | None]
    children: dict[str, tuple[str, ...]]
    bond: dict[str, str]
    pre_order: tuple[str, ...]

    @cached_property
    def post_order(self) -> tuple[str, ...]:
        """Every node before its parent; the root is last."""
        return self.pre_order[::-1]

    @cached_property
    def height(self) -> dict[str, int]:
        """Node -> length of the longest way down to a leaf."""
        found: dict[str, int] = {}
        for node in self.post_order:
            found[node] = max((found[child] + 1 for child in self.children[node]), default=0)
        return found

    @cached_property
    def levels(self) -> tuple[tuple[str, ...], ...]:
        """Nodes of equal height, leaves first: nodes of one level do not depend on each other."""
        rows: list[list[str]] = [[] for _ in range(max(self.height.values()) + 1)]
        for node in self.pre_order:
            rows[self.height[node]].append(node)
        return tuple(tuple(row) for row in rows)

    @cached_property
    def leaves_below(self) -> dict[str, tuple[str, ...]]:
        """Node -> the open legs of its subtree. Costs O(nodes x depth): for small trees."""
        open_legs = set(self.structure.open_legs)
        found: dict[str, tuple[str, ...]] = {}
        for node in self.post_order:
            own = tuple(leg for leg in self.structure.legs[node] if leg in open_legs)
            found[node] = own + tuple(x for c in self.children[node] for x in found[c])
        return found

    def axis(self, node: str) -> int:
        """Return the axis of `node`'s array that points to its parent."""
        return self.structure.legs[node].index(self.bond[node])

    def path(self, a: str, b: str) -> tuple[str, ...]:
        """Return the nodes on the way from `a` to `b`, both included."""
        up = [a]
        while (above := self.parent[up[-1]]) is not None:
            up.append(above)
        place = {node: k for k, node in enumerate(up)}
        down = [b]
        while down[-1] not in place:
            above = self.parent[down[-1]]
            assert above is not None
            down.append(above)
        return tuple(up[: place[down[-1]]]) + tuple(reversed(down))


@lru_cache(maxsize=256)
def rooted(structure: Structure, root: str | None = None) -> RootedTree:
    """Return `structure` as a tree with the given root (by default its first node).

    Raises
    ------
    StructureError
        The structure is no tree (the message names a cycle, a hyperbond or the parts), or has
        no node `root`.

    Examples
    --------
    >>> chain = Structure({"a": ("x", "r"), "b": ("r", "y")}, {"x": 4, "r": 2, "y": 5})
    >>> rooted(chain, "b").post_order
    ('a', 'b')
    """
    root = structure.node_names[0] if root is None else root
    if root not in structure.legs:
        raise StructureError(
            f"there is no node {root!r}; the nodes are {list(structure.node_names[:12])}."
        )
    require_tree(structure)
    parent: dict[str, str | None] = {root: None}
    children: dict[str, tuple[str, ...]] = {}
    bond: dict[str, str] = {}
    order = [root]
    for node in order:  # grows while it is walked
        below = []
        for leg in structure.legs[node]:
            for other in structure.holders[leg]:
                if other != node and other != parent[node]:
                    parent[other] = node
                    bond[other] = leg
                    below.append(other)
        children[node] = tuple(below)
        order.extend(below)
    return RootedTree(structure, root, parent, children, bond, tuple(order))


def require_tree(structure: Structure) -> None:
    """Raise `StructureError` saying what to do unless `structure` is a tree."""
    if structure.is_tree:
        return
    if structure.hyperbonds:
        leg = structure.hyperbonds[0]
        raise StructureError(
            f"this needs a tree, but leg {leg!r} is a hyperbond of "
            f"{len(structure.holders[leg])} nodes; use tnet.fit, which accepts any graph."
        )
    if len(structure.components) > 1:
        parts = "; ".join(", ".join(part[:6]) for part in structure.components[:4])
        raise StructureError(
            f"this needs one connected tree, but the network falls into "
            f"{len(structure.components)} parts: {parts}. Join them by a bond of rank 1 "
            "(Structure.with_bond)."
        )
    cycle = find_cycle(structure)
    raise StructureError(
        f"this needs a tree, but bonds {', '.join(cycle)} form a cycle; cut one of them "
        "(Structure.without_bond) or use tnet.fit, which accepts cycles."
    )


def find_cycle(structure: Structure) -> tuple[str, ...]:
    """Return the bonds of one cycle, or an empty tuple if there is none."""
    way: dict[str, tuple[str, str]] = {}  # node -> (bond used to reach it, node it came from)
    for start in structure.node_names:
        if start in way:
            continue
        way[start] = ("", "")
        queue = [start]
        for node in queue:
            for leg in structure.legs[node]:
                if leg == way[node][0]:
                    continue
                for other in structure.holders[leg]:
                    if other == node:
                        continue
                    if other in way:
                        return _join(way, node, other, leg)
                    way[other] = (leg, node)
                    queue.append(other)
    return ()


def _join(way: dict[str, tuple[str, str]], a: str, b: str, leg: str) -> tuple[str, ...]:
    def up(node: str) -> dict[str, str]:
        bonds = {}
        while way[node][0]:
            bonds[way[node][0]] = node
            node = way[node][1]
        return bonds

    left, right = up(a), up(b)
    return (leg, *(x for x in left if x not in right), *(x for x in right if x not in left))
