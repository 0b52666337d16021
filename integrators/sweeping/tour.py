"""Tours: the order in which a moving centre walks the edges of a tree, as plain data.

A path, a star and a balanced tree are the same: an Euler tour of the rooted tree that walks every
edge once away from the root and once back.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from tnet.trees import RootedTree


class Move(NamedTuple):
    """One step of the centre along an edge.

    Attributes
    ----------
    source, target
        The nodes.
    bond
        The leg they share.
    down
        True if `target` is the child.
    first
        True if `source` is left for the first time in this tour on the way down, or is left
        for good on the way up. False: only on the way to another branch.
    """

    source: str
    target: str
    bond: str
    down: bool
    first: bool


def euler_tour(
    tree: RootedTree, skipped: Collection[str] = (), *, backwards: bool = False
) -> tuple[Move, ...]:
    """Return the closed walk from the root along every edge, once down and once up.

    Parameters
    ----------
    tree
        The tree.
    skipped
        Nodes whose subtrees are left out, with the edge above them.
    backwards
        Visit the children of every node in opposite order: the walk is then the same walk
        reversed in time.

    Returns
    -------
    tuple of Move
        2 (nodes - 1) moves; none for a single node. Linear in the number of nodes.

    Examples
    --------
    >>> import tnet
    >>> chain = tnet.rooted(tnet.tensor_train((2, 2, 2), 2), "g0")
    >>> [f"{m.source}{m.target}" for m in euler_tour(chain)]
    ['g0g1', 'g1g2', 'g2g1', 'g1g0']
    """
    away = frozenset(skipped)
    moves: list[Move] = []

    def below(node: str) -> list[str]:
        found = [child for child in tree.children[node] if child not in away]
        return found if backwards else found[::-1]

    stack = [(tree.root, below(tree.root))]
    touched: set[str] = set()
    while stack:
        node, left = stack[-1]
        if left:
            child = left.pop()
            moves.append(Move(node, child, tree.bond[child], True, node not in touched))
            touched.add(node)
            stack.append((child, below(child)))
            continue
        stack.pop()
        if stack:
            moves.append(Move(node, stack[-1][0], tree.bond[node], False, True))
    return tuple(moves)


def down_sweep(tree: RootedTree, skipped: Collection[str] = ()) -> tuple[Move, ...]:
    """Return the walk that starts at the root and ends at the last node it reaches.

    It is `up_sweep` reversed in time.

    Examples
    --------
    >>> import tnet
    >>> star = tnet.rooted(tnet.tucker((2, 2, 2), 2))
    >>> [m.target for m in down_sweep(star)]
    ['u2', 'core', 'u1', 'core', 'u0']
    """
    moves = list(euler_tour(tree, skipped, backwards=True))
    while moves and not moves[-1].down:
        moves.pop()
    return tuple(moves)


def up_sweep(tree: RootedTree, skipped: Collection[str] = ()) -> tuple[Move, ...]:
    """Return the walk that starts at the first leaf and ends at the root.

    Examples
    --------
    >>> import tnet
    >>> star = tnet.rooted(tnet.tucker((2, 2, 2), 2))
    >>> [m.target for m in up_sweep(star)]
    ['core', 'u1', 'core', 'u2', 'core']
    """
    moves = list(euler_tour(tree, skipped))
    start = 0
    while start < len(moves) and moves[start].down:
        start += 1
    return tuple(moves[start:])


def deepest_leaf(tree: RootedTree) -> str:
    """Return an end of a longest path of the tree: a root without useless walks for paths.

    Examples
    --------
    >>> import tnet
    >>> deepest_leaf(tnet.rooted(tnet.tensor_train((2, 2, 2), 2), "g1"))
    'g0'
    """
    depth = {tree.root: 0}
    for node in tree.pre_order[1:]:
        above = tree.parent[node]
        assert above is not None
        depth[node] = depth[above] + 1
    return max(tree.pre_order, key=lambda node: depth[node])
