"""The best tree over given modes, with ranks, by dynamic programming over sets of modes.

A bond of a tree cuts the modes in two, and the sides that do not hold a chosen mode form a
laminar family: any two are disjoint or nested. So a tree with its ranks is a family of sets S
with a rank each. A node is a set with what is left of it outside its largest members; its size
is the product of its own modes, the ranks of those members, and its own rank.

For the price sum(node sizes) + weight * sum(squared tails) the best family follows set by set.
Let a part be anything that stands for the modes of S at one node, with q values in all: the
modes themselves, bonds to subtrees, or several of these, whose q multiply. Whatever the rest
of the tree is, its price is linear and growing in q, so that of all parts for S only the lower
left convex hull of the points (q, price below) can be of use. Hulls have few points; joining
them over all divisions of S in two, and closing S by a bond of any rank, is exact.

Sets are bits of whole numbers: mode k is bit k.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

Float = np.ndarray[Any, np.dtype[np.float64]]
Int = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True, kw_only=True)
class Programme:
    """What trees may be made of.

    Attributes
    ----------
    sizes
        Sizes of the modes.
    divisions
        Set -> one half of every division in two that is allowed. Holds the set of all modes;
        halves and their complements are single modes or have divisions of their own.
    ranks, tails
        Set -> the ranks that a bond around it may have, ascending, and the squared relative
        error of cutting there; a set that is missing is never closed by a bond.
    bonds
        Sets that always have a bond around them.
    """

    sizes: tuple[int, ...]
    divisions: Mapping[int, Sequence[int]]
    ranks: Mapping[int, Int]
    tails: Mapping[int, Float]
    bonds: frozenset[int] = frozenset()

    @property
    def everything(self) -> int:
        """The set of all modes."""
        return (1 << len(self.sizes)) - 1


class Family(NamedTuple):
    """A tree with ranks: set -> rank of the bond around it; its size and its squared tails."""

    ranks: dict[int, int]
    num_params: int
    squared: float


class Parts(NamedTuple):
    """The hull of the parts of a set, q ascending, price descending; and where each came from.

    An open part (rank 0) is the pair (left, right) of points of a division; a bond around the
    set closes the open part number `left`.
    """

    q: Float
    price: Float
    rank: Int
    half: Int
    left: Int
    right: Int


def cheapest(programme: Programme, weight: float) -> Family:
    """Return the family of least num_params + weight * squared, exactly.

    Cost: a few operations for every pair of hull points of every division.

    Examples
    --------
    >>> ranks, tails = np.array([1, 2]), np.array([0.5, 0.0])
    >>> pair = Programme(sizes=(4, 4), divisions={3: [1]}, ranks={1: ranks}, tails={1: tails})
    >>> cheapest(pair, 1e6)
    Family(ranks={1: 2}, num_params=16, squared=0.0)
    """
    open_parts, parts = hulls(programme, weight)
    last = open_parts[programme.everything]
    best = int(np.argmin(last.price + last.q))
    return _read(programme, open_parts, parts, best)


def hulls(programme: Programme, weight: float) -> tuple[dict[int, Parts], dict[int, Parts]]:
    """Return for every set the hull of its open parts, and of its parts with bonds as well."""
    open_parts: dict[int, Parts] = {}
    parts: dict[int, Parts] = {}
    for k, size in enumerate(programme.sizes):
        zero = np.zeros(1, np.int64)
        one = Parts(np.array([float(size)]), np.zeros(1), zero, zero, zero, zero)
        open_parts[1 << k] = one
        parts[1 << k] = _closed(programme, 1 << k, one, weight)
    for mask in sorted(programme.divisions, key=lambda m: (m.bit_count(), m)):
        open_parts[mask] = _joined(mask, programme.divisions[mask], parts)
        if mask != programme.everything:
            parts[mask] = _closed(programme, mask, open_parts[mask], weight)
    return open_parts, parts


def _hull(points: Parts) -> Parts:
    """Return the lower left convex hull."""
    order = np.lexsort((points.price, points.q))
    price = points.price[order]
    before = np.minimum.accumulate(price)
    order = order[np.append(True, price[1:] < before[:-1])]
    q, price = points.q[order], points.price[order]
    while len(order) > 2:
        # what lies on or above the line between its neighbours is no corner of the hull
        up = (price[1:-1] - price[:-2]) * (q[2:] - q[:-2])
        below = up < (price[2:] - price[:-2]) * (q[1:-1] - q[:-2])
        if below.all():
            break
        kept = np.concatenate([[True], below, [True]])
        order, q, price = order[kept], q[kept], price[kept]
    return Parts(*(column[order] for column in points))


def _joined(mask: int, halves: Sequence[int], parts: Mapping[int, Parts]) -> Parts:
    """Return the open parts of a set: a part of one half and a part of the other."""
    pairs = [(parts[half], parts[mask ^ half]) for half in halves]
    counts = np.array([len(a.q) * len(b.q) for a, b in pairs])
    widths = np.repeat([len(b.q) for _, b in pairs], counts)
    number = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    left, right = np.divmod(number, widths)
    points = Parts(
        q=np.concatenate([np.multiply.outer(a.q, b.q).ravel() for a, b in pairs]),
        price=np.concatenate([np.add.outer(a.price, b.price).ravel() for a, b in pairs]),
        rank=np.zeros(len(number), np.int64),
        half=np.repeat(np.fromiter(halves, np.int64), counts),
        left=left,
        right=right,
    )
    return _hull(points)


def _closed(programme: Programme, mask: int, inner: Parts, weight: float) -> Parts:
    """Return all parts of a set: the open ones, and those behind a bond around it."""
    if mask not in programme.ranks:
        return inner
    rank = programme.ranks[mask]
    below = inner.price + np.multiply.outer(rank.astype(np.float64), inner.q)
    chosen = np.argmin(below, axis=1)
    price = below[np.arange(len(rank)), chosen] + weight * programme.tails[mask]
    zero = np.zeros(len(rank), np.int64)
    closed = Parts(rank.astype(np.float64), price, rank, zero, chosen, zero)
    if mask in programme.bonds:
        return _hull(closed)
    # an open part keeps its number in `left`
    opened = inner._replace(left=np.arange(len(inner.q)))
    return _hull(Parts(*(np.concatenate(pair) for pair in zip(opened, closed, strict=True))))


def _read(
    programme: Programme, inner: Mapping[int, Parts], parts: Mapping[int, Parts], best: int
) -> Family:
    ranks: dict[int, int] = {}
    squared = 0.0
    waiting = [(programme.everything, best)]
    while waiting:
        mask, k = waiting.pop()
        if mask.bit_count() == 1:
            continue
        found = inner[mask]
        half = int(found.half[k])
        for part, place in ((half, int(found.left[k])), (mask ^ half, int(found.right[k]))):
            held = parts[part]
            rank = int(held.rank[place])
            if rank:
                ranks[part] = rank
                where = int(np.searchsorted(programme.ranks[part], rank))
                squared += float(programme.tails[part][where])
            waiting.append((part, int(held.left[place]) if part in programme.ranks else place))
    return Family(ranks, family_params(ranks, programme.sizes), squared)


def members(sets: Iterable[int], everything: int) -> dict[int, list[int]]:
    """Return for every set of a laminar family, and for all modes, its largest members.

    Examples
    --------
    >>> members([0b001, 0b011, 0b100], 0b111)
    {1: [], 4: [], 3: [1], 7: [4, 3]}
    """
    below: dict[int, list[int]] = {}
    tops: list[int] = []
    for mask in [*sorted(set(sets), key=lambda m: (m.bit_count(), m)), everything]:
        below[mask] = [top for top in tops if top & mask]
        tops = [top for top in tops if not top & mask] + [mask]
    return below


def family_params(ranks: Mapping[int, int], sizes: Sequence[int]) -> int:
    """Return the number of parameters of a tree.

    Examples
    --------
    >>> family_params({0b001: 2}, (4, 5, 6))
    68
    """
    total = 0
    for mask, held in members(ranks, (1 << len(sizes)) - 1).items():
        own = mask
        product = ranks.get(mask, 1)
        for member in held:
            own ^= member
            product *= ranks[member]
        for k, size in enumerate(sizes):
            product *= size if own >> k & 1 else 1
        total += product
    return total
