"""The smallest tree for given ranks of all cuts, with any number of nodes without a mode.

A bond of a tree is a cut, and the rank of the data across it is enough there: a tree whose bonds
have the ranks of the data holds them exactly (Grasedyck, SIAM J. Matrix Anal. Appl. 31 (2010),
2029-2054, section 3). So every tree of cuts is a candidate, whether the data came from a tree
or not.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from structure_search.bounds import LARGEST, CutSpectra
from structure_search.methods.cut_rank_graphs import structure_of
from structure_search.methods.cut_rank_table import CutRanks, Floats, rows_of
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


def joined_tree(
    spectra: CutSpectra, modes: Mapping[str, int], rank: Callable[[int, Floats], int]
) -> Structure | None:
    """Return a tree for many modes: the two sides whose union is narrowest are joined, and again.

    Parameters
    ----------
    spectra
        Of the data.
    modes
        Mode name -> size.
    rank
        Side of a cut and its singular values (over the norm) -> the rank of the bond there.

    Returns
    -------
    Structure or None
        None where the data have more than 2**24 entries.

    Notes
    -----
    Each union is compressed to its rank before the next is looked for, so that the array shrinks
    as the tree grows. Cost: one SVD for every pair of sides that was ever there, about N**2 in all.
    """
    if math.prod(modes.values()) > LARGEST or len(modes) < 3:
        return None
    core = spectra.compressed()
    sides = [1 << n for n in range(core.ndim)]
    nodes = list(range(core.ndim))
    bonds: dict[tuple[int, int], int] = {}
    hub = core.ndim
    ranks = []
    known: dict[int, int] = {}  # ranks of unions; joining others leaves them nearly as they are
    for k in range(core.ndim):
        core, found = _narrowed(core, k, sides[k], rank)
        ranks.append(found)
    while len(sides) > 3:
        for pair in itertools.combinations(range(len(sides)), 2):
            union = sides[pair[0]] | sides[pair[1]]
            if union not in known:
                known[union] = max(1, rank(union, _values(spectra, modes, core, pair, union)))
        a, b = min(
            itertools.combinations(range(len(sides)), 2),
            key=lambda pair: _gain(core, pair, known[sides[pair[0]] | sides[pair[1]]]),
        )
        core = np.moveaxis(core, (a, b), (0, 1))
        core = core.reshape(-1, *core.shape[2:])
        side = sides[a] | sides[b]
        for k in (a, b):
            bonds[min(nodes[k], hub), max(nodes[k], hub)] = ranks[k]
        keep = [k for k in range(len(sides)) if k not in (a, b)]
        core, found = _narrowed(core, 0, side, rank)
        sides = [side, *(sides[k] for k in keep)]
        nodes = [hub, *(nodes[k] for k in keep)]
        ranks = [found, *(ranks[k] for k in keep)]
        hub += 1
    for node, found in zip(nodes, ranks, strict=True):
        bonds[node, hub] = found
    return contracted(structure_of(CutRanks(modes=modes, least={}, most={}), bonds))


def _values(
    spectra: CutSpectra, modes: Mapping[str, int], core: Floats, pair: tuple[int, int], union: int
) -> Floats:
    """Return the singular values of the union of two sides."""
    if union.bit_count() == 2:  # of the data themselves: for every tree the same
        found = spectra.exact_values(rows_of(union, tuple(modes)))
        if found is not None:
            return found
    front = np.moveaxis(core, pair, (0, 1))
    wide = front.reshape(front.shape[0] * front.shape[1], -1)
    return np.linalg.svd(wide, compute_uv=False).astype(np.float64)


def _gain(core: Floats, pair: tuple[int, int], rank: int) -> tuple[float, int]:
    """Return how much of its rows the union of two sides needs, and its rank."""
    return rank / (core.shape[pair[0]] * core.shape[pair[1]]), rank


def _narrowed(
    core: Floats, axis: int, side: int, rank: Callable[[int, Floats], int]
) -> tuple[Floats, int]:
    front = np.moveaxis(core, axis, 0)
    wide = front.reshape(len(front), -1)
    left, values, _right = np.linalg.svd(wide, full_matrices=False)
    found = max(1, rank(side, values.astype(np.float64)))
    small = left[:, :found].conj().T @ wide
    return np.moveaxis(small.reshape(found, *front.shape[1:]), 0, axis), found


def contracted(structure: Structure) -> Structure:
    """Return a tree with nodes joined where that saves parameters and no node gets two modes.

    Examples
    --------
    >>> import tnet
    >>> tree = tnet.balanced_tree((2, 2, 2, 2), 2)
    >>> small = contracted(tree)
    >>> small.num_params < tree.num_params
    True
    """
    nodes = {node: list(legs) for node, legs in structure.nodes}
    size, modes = structure.size, set(structure.modes)
    held = {leg: list(structure.holders[leg]) for leg in structure.bonds}

    def cost(legs: list[str]) -> int:
        return math.prod(size[leg] for leg in legs)

    while True:
        best: tuple[int, str, list[str]] | None = None
        for bond, (a, b) in held.items():
            joined = [leg for leg in nodes[a] + nodes[b] if leg != bond]
            saved = cost(nodes[a]) + cost(nodes[b]) - cost(joined)
            if len(modes.intersection(joined)) < 2 and saved > (0 if best is None else best[0]):
                best = saved, bond, joined
        if best is None:
            return Structure(
                nodes, {x: size[x] for n in nodes.values() for x in n}, structure.modes
            )
        _, bond, joined = best
        a, b = held.pop(bond)
        if not modes.intersection(nodes[a]):
            a, b = b, a
        nodes[a] = joined
        del nodes[b]
        for leg in joined:
            if leg in held:
                held[leg] = [a if node == b else node for node in held[leg]]
