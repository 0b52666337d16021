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
from functools import cached_property
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

    @cached_property
    def levels(self) -> tuple[_Level, ...]:
        """Sets by how many divisions lie below them."""
        known = [1 << k for k in range(len(self.sizes))] + list(self.divisions)
        number = {mask: k for k, mask in enumerate(known)}
        height = dict.fromkeys(known[: len(self.sizes)], 0)
        for mask in sorted(self.divisions, key=lambda m: (m.bit_count(), m)):
            height[mask] = 1 + max(
                max(height[half], height[mask ^ half]) for half in self.divisions[mask]
            )
        height[self.everything] = 1 + max(height.values())  # alone, and the last
        by_height: list[list[int]] = [[] for _ in range(1 + max(height.values()))]
        for mask in known:
            by_height[height[mask]].append(mask)
        return tuple(self._level(masks, number) for masks in by_height if masks)

    def _level(self, masks: Sequence[int], number: Mapping[int, int]) -> _Level:
        halves = [(k, m, h) for k, m in enumerate(masks) for h in self.divisions.get(m, ())]
        closed = [(k, m) for k, m in enumerate(masks) if m in self.ranks and m != self.everything]
        counts = [len(self.ranks[m]) for _, m in closed]
        empty = np.zeros(0)
        return _Level(
            sets=np.array([number[m] for m in masks], np.int64),
            owner=np.array([k for k, _, _ in halves], np.int64),
            half=np.array([number[h] for _, _, h in halves], np.int64),
            other=np.array([number[m ^ h] for _, m, h in halves], np.int64),
            bond_owner=np.repeat(np.array([k for k, _ in closed], np.int64), counts),
            rank=np.concatenate([empty, *(self.ranks[m] for _, m in closed)]),
            tail=np.concatenate([empty, *(self.tails[m] for _, m in closed)]),
            opened=np.array([m not in self.bonds for m in masks], np.bool_),
        )


class Family(NamedTuple):
    """A tree with ranks: set -> rank of the bond around it; its size and its squared tails."""

    ranks: dict[int, int]
    num_params: int
    squared: float


@dataclass(frozen=True)
class _Level:
    """Sets whose halves all lie in levels below, and what can be made of them at once.

    `owner` and `bond_owner` are places in `sets`; `half` and `other` number all sets.
    """

    sets: Int
    owner: Int
    half: Int
    other: Int
    bond_owner: Int
    rank: Float
    tail: Float
    opened: np.ndarray[Any, np.dtype[np.bool_]]  # whether a set may go without a bond


@dataclass(frozen=True)
class Parts:
    """Hulls of the parts of all sets, one after the other; q ascending, price descending.

    Attributes
    ----------
    begin, end
        Set -> its place in the columns.
    q, price
        Values of a part, and the price below it.
    mask, rank
        The set, and the rank of the bond around it; 0 without a bond.
    below
        The open part of the set that it is made of: a place in `left` and `right`.
    left, right
        For each open part the two parts that it joins; -1 for single modes.
    whole
        Numbers of the open parts of all modes, with `whole_q` and `whole_price`.
    """

    begin: Mapping[int, int]
    end: Mapping[int, int]
    q: Float
    price: Float
    mask: list[int]
    rank: Int
    below: Int
    left: Int
    right: Int
    whole: Int
    whole_q: Float
    whole_price: Float

    def of(self, mask: int) -> tuple[Float, Float]:
        """Return the values and the prices of the parts of a set."""
        place = slice(self.begin[mask], self.end[mask])
        return self.q[place], self.price[place]


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
    parts = hulls(programme, weight)
    ranks: dict[int, int] = {}
    squared = 0.0
    waiting = [int(parts.whole[np.argmin(parts.whole_price + parts.whole_q)])]
    while waiting:
        held = waiting.pop()
        if parts.left[held] < 0:
            continue
        for place in (int(parts.left[held]), int(parts.right[held])):
            mask, rank = parts.mask[place], int(parts.rank[place])
            if rank:
                ranks[mask] = rank
                where = int(np.searchsorted(programme.ranks[mask], rank))
                squared += float(programme.tails[mask][where])
            waiting.append(int(parts.below[place]))
    return Family(ranks, family_params(ranks, programme.sizes), squared)


def hulls(programme: Programme, weight: float) -> Parts:
    """Return for every set the hull of its parts, level by level."""
    known = [1 << k for k in range(len(programme.sizes))] + list(programme.divisions)
    begin, end = np.zeros(len(known), np.int64), np.zeros(len(known), np.int64)
    number = left = right = np.zeros(0, np.int64)
    points = _Points(number, np.zeros(0), np.zeros(0), number, number)
    inner = points
    for level in programme.levels:
        if level.half.size:
            inner = _joined(level, begin, end, points)
        else:
            single = np.full(len(level.sets), -1, np.int64)
            sizes = np.array(programme.sizes, np.float64)
            inner = _Points(np.arange(len(sizes)), sizes, np.zeros(len(sizes)), single, single)
        made = _finished(level, inner, len(left), weight)
        left, right = np.append(left, inner.left), np.append(right, inner.right)
        ends = np.cumsum(np.bincount(made.owner, minlength=len(level.sets)))
        end[level.sets] = len(number) + ends
        begin[level.sets] = len(number) + np.append(0, ends[:-1])
        number = np.append(number, level.sets[made.owner])
        points = points.followed_by(made)
    return Parts(
        begin=dict(zip(known, begin.tolist(), strict=True)),
        end=dict(zip(known, end.tolist(), strict=True)),
        q=points.q,
        price=points.price,
        mask=[known[k] for k in number.tolist()],
        rank=points.left,
        below=points.right,
        left=left,
        right=right,
        whole=len(left) - len(inner.q) + np.arange(len(inner.q)),
        whole_q=inner.q,
        whole_price=inner.price,
    )


class _Points(NamedTuple):
    """Parts of the sets of a level; `left` and `right` are what a part is made of.

    Of an open part the two parts it joins; of a finished one its rank and its open part.
    """

    owner: Int
    q: Float
    price: Float
    left: Int
    right: Int

    def corners(self) -> _Points:
        """Return the corners of every owner's hull, in order."""
        kept = _corners(self.owner, self.q, self.price)
        columns: list[Any] = [column[kept] for column in self]
        return _Points(*columns)

    def followed_by(self, others: _Points) -> _Points:
        """Return these and others."""
        columns: list[Any] = [np.append(a, b) for a, b in zip(self, others, strict=True)]
        return _Points(*columns)


def _joined(level: _Level, begin: Int, end: Int, points: _Points) -> _Points:
    """Return the open parts of a level: a part of one half and a part of the other."""
    which, first, second = _pairs(begin, end, level.half, level.other)
    return _Points(
        level.owner[which],
        points.q[first] * points.q[second],
        points.price[first] + points.price[second],
        first,
        second,
    ).corners()


def _finished(level: _Level, inner: _Points, before: int, weight: float) -> _Points:
    """Return the parts of a level: the open ones, and those behind a bond."""
    chosen, least = _closed(level, inner.owner, inner.q, inner.price)
    stays = np.flatnonzero(level.opened[inner.owner])
    return _Points(
        np.concatenate([inner.owner[stays], level.bond_owner]),
        np.concatenate([inner.q[stays], level.rank]),
        np.concatenate([inner.price[stays], least + weight * level.tail]),
        np.concatenate([np.zeros(len(stays), np.int64), level.rank.astype(np.int64)]),
        before + np.concatenate([stays, chosen]),
    ).corners()


def _pairs(begin: Int, end: Int, half: Int, other: Int) -> tuple[Int, Int, Int]:
    """Return all pairs of a part of one half and a part of the other, and their divisions."""
    widths = (end - begin)[other]
    counts = (end - begin)[half] * widths
    which = np.repeat(np.arange(len(counts)), counts)
    number = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
    first, second = np.divmod(number, widths[which])
    return which, begin[half][which] + first, begin[other][which] + second


def _closed(level: _Level, owner: Int, q: Float, price: Float) -> tuple[Int, Float]:
    """Return for every bond of a level the open part that is cheapest behind it, and its price."""
    counts = np.bincount(owner, minlength=len(level.sets))
    starts = (np.cumsum(counts) - counts)[level.bond_owner]
    counts = counts[level.bond_owner]
    bond = np.repeat(np.arange(len(counts)), counts)
    firsts = np.cumsum(counts) - counts
    place = np.arange(len(bond)) - np.repeat(firsts - starts, counts)
    below = price[place] + level.rank[bond] * q[place]
    if not len(bond):
        return place, below
    least = np.minimum.reduceat(below, firsts)
    hits = np.flatnonzero(below == least[bond])
    _, one = np.unique(bond[hits], return_index=True)
    return place[hits[one]], least


def _corners(owner: Int, q: Float, price: Float) -> Int:
    """Return the corners of the lower left convex hull of every owner's points, in order."""
    order = np.lexsort((price, q, owner))
    # numbers in order of price, lower for later owners: their running minimum starts anew
    number = np.empty(len(order), np.int64)
    number[np.argsort(price[order], kind="stable")] = np.arange(len(order))
    number -= owner[order] * len(order)
    before = np.minimum.accumulate(number)
    order = order[np.append(True, number[1:] < before[:-1])] if len(order) else order
    owner, q, price = owner[order], q[order], price[order]
    while len(order) > 2:
        # what lies on or above the line between its neighbours is no corner of the hull
        up = (price[1:-1] - price[:-2]) * (q[2:] - q[:-2])
        below = up < (price[2:] - price[:-2]) * (q[1:-1] - q[:-2])
        below |= owner[2:] != owner[:-2]
        if below.all():
            break
        kept = np.concatenate([[True], below, [True]])
        order, owner, q, price = order[kept], owner[kept], q[kept], price[kept]
    return order


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
