"""Cuts of a hypergraph in two: the best along an order, and better ones by moving single nodes."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

PASSES = 4
PATIENCE = 60  # moves without a better cut after which a pass ends


class Cut:
    """A hypergraph to be cut: for each node its nets, for each net its nodes and weight."""

    def __init__(
        self, count: int, nets: list[list[int]], weights: Sequence[float], least: int
    ) -> None:
        self.count, self.nets, self.weights = count, nets, weights
        self.least = least  # nodes on each side
        self.nets_of: list[list[int]] = [[] for _ in range(count)]
        for net, nodes in enumerate(nets):
            for node in nodes:
                self.nets_of[node].append(net)


def sweep(cut: Cut, order: Sequence[int]) -> list[bool]:
    """Return the sides of the lightest cut between a beginning and the end of an order.

    Examples
    --------
    >>> sweep(Cut(4, [[0, 1], [1, 2], [2, 3]], [2.0, 1.0, 2.0], 1), [0, 1, 2, 3])
    [True, True, False, False]
    """
    left = [0] * len(cut.nets)
    weight, best, where = 0.0, float("inf"), cut.count // 2
    for k, node in enumerate(order):
        for net in cut.nets_of[node]:
            weight += cut.weights[net] if left[net] == 0 else 0.0
            left[net] += 1
            weight -= cut.weights[net] if left[net] == len(cut.nets[net]) else 0.0
        if cut.least <= k + 1 <= cut.count - cut.least and weight < best:
            best, where = weight, k + 1
    side = [False] * cut.count
    for node in order[:where]:
        side[node] = True
    return side


def refine(cut: Cut, side: list[bool]) -> list[bool]:
    """Return a cut that is no heavier, by passes of single moves, each node once a pass.

    Cost: for each pass O(P log P) for nets of P pins in all, nets of many nodes aside.

    Examples
    --------
    >>> path = Cut(6, [[0, 1], [1, 2], [2, 3], [3, 4], [4, 5]], [1.0] * 5, 2)
    >>> sum(refine(path, [True, False] * 3)[:3]) in (0, 3)
    True
    """
    side = list(side)
    for _ in range(PASSES):
        if not _improve(cut, side):
            break
    return side


def _improve(cut: Cut, side: list[bool]) -> bool:
    """Make one pass of moves in place, and take back those after the lightest cut."""
    on_left = [sum(side[node] for node in nodes) for nodes in cut.nets]
    left = sum(side)
    gains = [_gain(cut, side, on_left, node) for node in range(cut.count)]
    # only nodes at the cut are worth a move to begin with
    heap = [(-gain, node) for node, gain in enumerate(gains) if _at_cut(cut, on_left, node)]
    heapq.heapify(heap)
    moved = [False] * cut.count
    moves: list[int] = []
    total = best = 0.0
    kept = 0
    while heap and len(moves) - kept < PATIENCE:
        gain, node = heapq.heappop(heap)
        if moved[node] or -gain != gains[node]:
            continue
        after = left - 1 if side[node] else left + 1
        if not cut.least <= after <= cut.count - cut.least:
            continue
        left, total = after, total - gain
        moved[node] = True
        moves.append(node)
        for other in _move(cut, side, on_left, node):
            if not moved[other]:
                gains[other] = _gain(cut, side, on_left, other)
                heapq.heappush(heap, (-gains[other], other))
        if total > best + 1e-9:
            best, kept = total, len(moves)
    for node in moves[kept:]:
        side[node] = not side[node]
    return kept > 0


def _at_cut(cut: Cut, on_left: list[int], node: int) -> bool:
    return any(0 < on_left[net] < len(cut.nets[net]) for net in cut.nets_of[node])


def _gain(cut: Cut, side: list[bool], on_left: list[int], node: int) -> float:
    """Return by how much the cut gets lighter when a node changes sides."""
    gain = 0.0
    for net in cut.nets_of[node]:
        size = len(cut.nets[net])
        mine = on_left[net] if side[node] else size - on_left[net]
        if mine == 1:
            gain += cut.weights[net]
        elif mine == size:
            gain -= cut.weights[net]
    return gain


def _move(cut: Cut, side: list[bool], on_left: list[int], node: int) -> set[int]:
    """Move a node in place and return the nodes whose gains may have changed."""
    step = -1 if side[node] else 1
    side[node] = not side[node]
    touched: set[int] = set()
    for net in cut.nets_of[node]:
        on_left[net] += step
        size = len(cut.nets[net])
        mine = on_left[net] if side[node] else size - on_left[net]
        if mine <= 2 or size - mine <= 1:  # other counts change no gain
            touched.update(cut.nets[net])
    return touched
