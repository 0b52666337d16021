"""The smallest tree for given ranks of all cuts, with any number of nodes without a mode.

A bond of a tree is a cut, and the rank of the data across it is enough there: a tree whose bonds
have the ranks of the data holds them exactly (Grasedyck, SIAM J. Matrix Anal. Appl. 31 (2010),
2029-2054, section 3). So every tree of cuts is a candidate, whether the data came from a tree
or not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from structure_search.methods.cut_rank_graphs import structure_of
from structure_search.methods.cut_rank_table import CutRanks
from tnet.structure import Structure

TREES_UP_TO = 8  # modes: 21147 nodes are looked at, a quarter of a second
NO_MODE = -1


class _Node(NamedTuple):
    """The node at the top of a side: its mode, and the sides below it."""

    cost: int  # parameters of the whole part
    mode: int
    parts: tuple[int, ...]


def smallest_tree(ranks: CutRanks) -> Structure | None:
    """Return the tree with the fewest parameters whose bonds have the ranks `most` of the cuts.

    Each node has one mode or none. None if there are more than eight modes, or a cut has no
    rank.

    Cost: every node that a tree may have is looked at once, Bell(N + 1) of them for N modes.
    """
    order = len(ranks.sizes)
    last = 1 << (order - 1)
    if order > TREES_UP_TO or len(ranks.most) < last - 1:
        return None
    plan: dict[int, _Node] = {}
    for side in range(1, last):
        modes = [NO_MODE, *(n for n in range(order) if side >> n & 1)]
        plan[side] = _best(ranks, plan, side, modes, ranks.most[side])
    root = _best(ranks, plan, 2 * last - 1, [order - 1], 1)
    bonds: dict[tuple[int, int], int] = {}
    hubs = order
    waiting = [(order - 1, root.parts)]
    while waiting:
        above, parts = waiting.pop()
        for side in parts:
            node = plan[side]
            here = node.mode
            if here == NO_MODE:
                here, hubs = hubs, hubs + 1
            bonds[min(above, here), max(above, here)] = ranks.most[side]
            waiting.append((here, node.parts))
    return structure_of(ranks, bonds)


def _best(
    ranks: CutRanks, plan: Mapping[int, _Node], side: int, modes: list[int], up: int
) -> _Node:
    best: _Node | None = None
    for mode in modes:
        own, rest = (1, side) if mode == NO_MODE else (ranks.sizes[mode], side ^ (1 << mode))
        waiting: list[tuple[int, int, int, tuple[int, ...]]] = [(rest, up * own, 0, ())]
        while waiting:
            left, node, below, parts = waiting.pop()
            if best is not None and node + below >= best.cost:
                continue
            if left:
                waiting += [
                    (left ^ part, node * ranks.most[part], below + plan[part].cost, (*parts, part))
                    for part in _parts(left)
                    if part in plan
                ]
            elif mode != NO_MODE or len(parts) > 1:
                best = _Node(node + below, mode, parts)
    assert best is not None  # a node with a mode and one part for each other always is one
    return best


def _parts(side: int) -> Iterator[int]:
    """Yield the subsets of a side that hold its first mode."""
    first = side & -side
    rest = side ^ first
    part = rest
    while True:
        yield part | first
        if not part:
            return
        part = (part - 1) & rest


def share(tol: float, order: int) -> float:
    """Return what each bond of a tree may leave out so that the whole stays within `tol`.

    The squared error of the direct factorisation is at most the sum of the squared tails of its
    cuts (Grasedyck 2010, theorem 3.11), 2 N - 3 of them where each is a different cut.
    """
    return tol / math.sqrt(max(1, 2 * order - 3))
