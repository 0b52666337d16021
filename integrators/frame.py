"""Frame: a tree numbered from one root, with the axes every time stepper works in.

Axis 0 of a core points to the parent (size one at the root), then follow the other legs of the
node in their order: its slots. A slot is a bond to a child, or a mode. With that one rule a
chain, a star and a binary tree with modes anywhere are the same thing to an algorithm.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from contraction.errors import StructureError
from tnet.structure import Structure
from tnet.trees import require_tree, rooted


class Slot(NamedTuple):
    """A leg of a node that does not point to its parent.

    Attributes
    ----------
    leg
        Its name.
    axis
        Its axis in the order of `structure.legs[node]`.
    child
        Number of the node below, or -1 where the leg is a mode.
    """

    leg: str
    axis: int
    child: int


@dataclass(frozen=True, eq=False)
class Frame:
    """A tree seen from its root; build one with `frame_of`, which caches.

    Nodes are numbered in pre-order: the root is 0 and every node comes after its parent, a
    subtree is a range of numbers. All tuples are indexed by these numbers.

    Attributes
    ----------
    structure
        The graph, with all bonds of rank one: ranks belong to states.
    names
        Names of the nodes.
    parent
        Number of the parent; -1 for the root.
    bond, axis
        Leg to the parent, and its axis in `structure.legs[node]`; "" and -1 for the root.
    place
        Which slot of its parent a node sits in; -1 for the root.
    slots
        The slots of each node, in leg order.
    end
        Subtree of a node: the numbers from `node` up to, not including, `end[node]`.
    number
        Name -> number.
    """

    structure: Structure
    names: tuple[str, ...]
    parent: tuple[int, ...]
    bond: tuple[str, ...]
    axis: tuple[int, ...]
    place: tuple[int, ...]
    slots: tuple[tuple[Slot, ...], ...]
    end: tuple[int, ...]
    number: dict[str, int]

    @property
    def count(self) -> int:
        """Number of nodes."""
        return len(self.names)

    @property
    def root(self) -> str:
        """Name of the root."""
        return self.names[0]

    @property
    def post_order(self) -> range:
        """Every node before its parent; the root is last."""
        return range(self.count - 1, -1, -1)

    def subtree(self, node: int) -> range:
        """Return the numbers of a node and all below it, parents first."""
        return range(node, self.end[node])

    def children(self, node: int) -> tuple[int, ...]:
        """Return the numbers of the children, in slot order."""
        return tuple(slot.child for slot in self.slots[node] if slot.child >= 0)

    @property
    def branches(self) -> tuple[int, ...]:
        """The children of the root: what is below them can be worked on in parallel."""
        return self.children(0)


def frame_of(structure: Structure, root: str | None = None) -> Frame:
    """Return the frame of a tree; states that differ in ranks only share one.

    Parameters
    ----------
    structure
        A tree.
    root
        Name of the root; by default a centre of the tree, which makes the depth least (a chain
        is rooted in the middle).

    Raises
    ------
    StructureError
        The structure is no tree, or has no node `root`.

    Notes
    -----
    Linear in the number of nodes, without recursion.

    Examples
    --------
    >>> import tnet
    >>> frame = frame_of(tnet.tensor_train((2, 2, 2, 2, 2)))
    >>> frame.root, frame.names, frame.parent
    ('g2', ('g2', 'g1', 'g0', 'g3', 'g4'), (-1, 0, 1, 0, 3))
    >>> [slot.leg for slot in frame.slots[0]]
    ['g1-g2', 'x2', 'g2-g3']
    """
    require_tree(structure)
    plain = structure.resized(dict.fromkeys(structure.bonds, 1))
    return _frame(plain, centre(plain) if root is None else root)


def centre(structure: Structure) -> str:
    """Return a node from which the farthest is as near as can be; the first of two on the way.

    Examples
    --------
    >>> import tnet
    >>> centre(tnet.tucker((2, 3, 4)))
    'core'
    """
    first = structure.node_names[0]
    one = rooted(structure, first).pre_order[-1]
    tree = rooted(structure, one)
    other = tree.pre_order[-1]  # breadth first: the last is farthest away
    way = tree.path(one, other)
    middle = (len(way) - 1) // 2
    candidates = {way[middle], way[len(way) - 1 - middle]}
    return next(node for node in structure.node_names if node in candidates)


@lru_cache(maxsize=64)
def _frame(structure: Structure, root: str) -> Frame:
    if root not in structure.legs:
        raise StructureError(
            f"there is no node {root!r} to be the root; the nodes are "
            f"{list(structure.node_names[:12])}."
        )
    tree = rooted(structure, root)
    names: list[str] = []
    stack = [root]
    while stack:
        names.append(stack.pop())
        stack.extend(reversed(tree.children[names[-1]]))
    number = {name: k for k, name in enumerate(names)}
    end = [k + 1 for k in range(len(names))]
    parents = [-1 if (above := tree.parent[name]) is None else number[above] for name in names]
    for node in range(len(names) - 1, 0, -1):
        end[parents[node]] = max(end[parents[node]], end[node])
    slots = tuple(_slots(structure, name, tree.bond.get(name, ""), number) for name in names)
    place = [-1] * len(names)
    for own in slots:
        for k, slot in enumerate(own):
            if slot.child >= 0:
                place[slot.child] = k
    bond = tuple(tree.bond.get(name, "") for name in names)
    axis = tuple(
        structure.legs[name].index(leg) if leg else -1
        for name, leg in zip(names, bond, strict=True)
    )
    return Frame(
        structure, tuple(names), tuple(parents), bond, axis, tuple(place), slots, tuple(end), number
    )


def _slots(structure: Structure, name: str, up: str, number: dict[str, int]) -> tuple[Slot, ...]:
    found = []
    for axis, leg in enumerate(structure.legs[name]):
        if leg != up:
            others = [number[n] for n in structure.holders[leg] if n != name]
            found.append(Slot(leg, axis, others[0] if others else -1))
    return tuple(found)
