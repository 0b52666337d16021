"""The ranks of a tree with the least sum of squared tails within a number of parameters, exactly.

A dynamic programme over the tree whose states are (values at the node, parameters so far,
squared tails so far). A price per squared tail, found by bisection, gives ranks that are nearly
the best, and a bound on what any completion of a state costs at this price; states that cannot
do better than the ranks found are dropped. Few are left, since the gap is small.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from contraction.errors import InputError, RankError
from contraction.truncation import check_rank
from structure_search.methods.trees.ladders import within
from structure_search.methods.trees.laminar import (
    Family,
    Int,
    Parts,
    Programme,
    family_params,
    hulls,
)
from structure_search.methods.trees.parts import divisions_of
from tnet.allocation import allocate
from tnet.structure import Structure
from tnet.trees import rooted

MOST_STATES = 1 << 17  # of one set; beyond, the ones with the best bounds
Float = np.ndarray[Any, np.dtype[np.float64]]


class _States(NamedTuple):
    """Ways to build the part of a set: its values, parameters and squared tails, and the origin."""

    q: Int
    params: Int
    tails: Float
    rank: Int
    left: Int
    right: Int


def best_ranks(
    spectra: Mapping[str, Sequence[float] | Float], structure: Structure, max_params: int
) -> dict[str, int]:
    """Return the ranks of a tree with at most `max_params` entries that discard least.

    The exact counterpart of `tnet.allocation.allocate`: the sum of the squares of what all
    bonds discard, which bounds the squared error of `tnet.truncate`, is as small as can be.

    Parameters
    ----------
    spectra
        Bond -> descending singular values, for every bond, as `tnet.bond_spectra` gives them.
    structure
        A tree in which every bond cuts the modes in two differently; its ranks are the largest
        allowed.
    max_params
        Budget on `Structure.num_params`.

    Raises
    ------
    RankError
        Even ranks of one do not fit.
    InputError
        A bond has no spectrum, cuts off no mode, or cuts as another one does.

    Examples
    --------
    >>> import tnet
    >>> best_ranks({"g0-g1": [3.0, 2.0, 1.0]}, tnet.tensor_train((4, 5), 3), 20)
    {'g0-g1': 2}
    """
    check_rank(max_params, "max_params")
    masks = _cuts(structure)
    if set(masks) != set(spectra):
        raise InputError(f"`spectra` has bonds {list(spectra)}, the tree {list(masks)}.")
    ranks, tails = {}, {}
    for bond, mask in masks.items():
        squares = np.asarray(spectra[bond], dtype=np.float64) ** 2
        most = max(1, min(structure.size[bond], len(squares)))
        ranks[mask] = np.arange(1, most + 1, dtype=np.int64)
        tails[mask] = np.append(np.cumsum(squares[::-1])[::-1], 0.0)[1 : most + 1]
    tree = Programme(
        sizes=structure.shape,
        divisions=divisions_of(ranks, len(structure.modes)),
        ranks=ranks,
        tails=tails,
        bonds=frozenset(ranks),
    )
    least = family_params(dict.fromkeys(ranks, 1), structure.shape)
    if least > max_params:
        raise RankError(
            f"a budget of {max_params} parameters is too small: with ranks of one the tree still "
            f"has {least}. Ask for max_params >= {least}."
        )
    start = allocate(spectra, structure, max_params)
    family = _family({masks[bond]: rank for bond, rank in start.items()}, tree)
    found = least_tails(tree, max_params, family)
    return {bond: found.ranks[mask] for bond, mask in masks.items()}


def _cuts(structure: Structure) -> dict[str, int]:
    tree = rooted(structure)
    number = {mode: 1 << k for k, mode in enumerate(structure.modes)}
    everything = (1 << len(number)) - 1
    root = tree.leaves_below[tree.root][0]
    masks: dict[str, int] = {}
    for node, bond in tree.bond.items():
        mask = sum(number[mode] for mode in tree.leaves_below[node])
        mask = everything ^ mask if mask & number[root] else mask
        if mask in (0, everything) or mask in masks.values():
            raise InputError(f"bond {bond!r} cuts off no mode, or cuts as another bond does.")
        masks[bond] = mask
    return masks


def _family(ranks: dict[int, int], tree: Programme) -> Family:
    squared = sum(
        float(tree.tails[m][int(np.searchsorted(tree.ranks[m], r))]) for m, r in ranks.items()
    )
    return Family(ranks, family_params(ranks, tree.sizes), squared)


def least_tails(tree: Programme, budget: int, known: Family) -> Family:
    """Return the family of a tree with the least squared tails within `budget`.

    Parameters
    ----------
    tree
        A programme with one division of every set.
    budget
        Most parameters.
    known
        Any family within the budget.
    """
    if known.squared == 0.0:
        return known
    begin = known.num_params / known.squared
    nearby, weight = within(tree, budget, begin)
    if nearby.num_params <= budget and nearby.squared < known.squared:
        known = nearby
    outside = _Outside(tree, hulls(tree, weight), weight)
    limit = (budget + weight * known.squared) * (1.0 + 1e-9)
    opened: dict[int, _States] = {}
    states: dict[int, _States] = {}
    zero = np.zeros(1, np.int64)
    for k, size in enumerate(tree.sizes):
        one = _States(zero + size, zero, np.zeros(1), zero, zero, zero)
        opened[1 << k] = one
        states[1 << k] = _behind(tree, 1 << k, one, outside, weight, limit)
    for mask, (half,) in sorted(tree.divisions.items(), key=lambda item: item[0].bit_count()):
        pair = _pairs(states[half], states[mask ^ half])
        bound = outside.opened(mask, pair.q.astype(np.float64))
        opened[mask] = _pruned(pair, bound, weight, limit)
        if mask != tree.everything:
            states[mask] = _behind(tree, mask, opened[mask], outside, weight, limit)
    last = opened[tree.everything]
    fits = np.flatnonzero(last.params + last.q <= budget)
    if not len(fits):
        return known
    best = int(fits[np.argmin(last.tails[fits])])
    found = _read(tree, opened, states, best)
    return found if found.squared < known.squared else known


class _Outside:
    """The least price of the rest of the tree around a part, as a function of its values."""

    def __init__(
        self,
        tree: Programme,
        parts: Parts,
        weight: float,
    ) -> None:
        self.tree, self.parts, self.weight = tree, parts, weight
        self.above = {}
        for mask, (half,) in tree.divisions.items():
            self.above[half] = (mask, mask ^ half)
            self.above[mask ^ half] = (mask, half)

    def part(self, mask: int, q: Float) -> Float:
        """Return the price around a finished part, seen from inside: up to the root and down."""
        way = [mask]
        while way[-1] != self.tree.everything:
            way.append(self.above[way[-1]][0])
        return self._part(way, q)

    def _part(self, way: list[int], q: Float) -> Float:
        # from the part outwards: replace q by what the node above holds, and remember the price
        frames: list[tuple[int, Float]] = [(way[0], q)]
        grids = []
        for mask in way[:-1]:
            held, shares = self.parts.of(self.above[mask][1])
            flat = np.multiply.outer(frames[-1][1], held)
            above = self.above[mask][0]
            values, back = np.unique(flat, return_inverse=True)
            grids.append((shares, back.reshape(flat.shape), values, above))
            if above in self.tree.ranks:
                frames.append((above, self.tree.ranks[above].astype(np.float64)))
            else:
                frames.append((above, values))
        price = frames[-1][1]  # at the root the node is what it holds
        for shares, back, values, above in reversed(grids):
            if above in self.tree.ranks:
                rank = self.tree.ranks[above]
                fixed = self.weight * self.tree.tails[above] + price
                price = np.min(np.multiply.outer(values, rank) + fixed, axis=1)
            price = np.min(price[back] + shares, axis=1)
        return price

    def opened(self, mask: int, q: Float) -> Float:
        """Return the price around an open part: with the bond around it, if there is one."""
        values, back = np.unique(q, return_inverse=True)
        if mask == self.tree.everything:
            return q
        if mask not in self.tree.ranks:
            return self.part(mask, values)[back]
        rank = self.tree.ranks[mask]
        fixed = self.weight * self.tree.tails[mask] + self.part(mask, rank.astype(np.float64))
        price: Float = np.min(np.multiply.outer(values, rank) + fixed, axis=1)
        return price[back]


def _pairs(a: _States, b: _States) -> _States:
    left, right = np.divmod(np.arange(len(a.q) * len(b.q)), len(b.q))
    return _States(
        q=a.q[left] * b.q[right],
        params=a.params[left] + b.params[right],
        tails=a.tails[left] + b.tails[right],
        rank=np.zeros(len(left), np.int64),
        left=left,
        right=right,
    )


def _behind(
    tree: Programme, mask: int, inner: _States, outside: _Outside, weight: float, limit: float
) -> _States:
    """Return the states of a set behind its bond; the open ones if it has none."""
    if mask not in tree.ranks:
        return inner
    rank = tree.ranks[mask]
    left, right = np.divmod(np.arange(len(inner.q) * len(rank)), len(rank))
    made = _States(
        q=rank[right],
        params=inner.params[left] + inner.q[left] * rank[right],
        tails=inner.tails[left] + tree.tails[mask][right],
        rank=rank[right],
        left=left,
        right=right,
    )
    bound = outside.part(mask, rank.astype(np.float64))[right]
    return _pruned(made, bound, weight, limit)


def _pruned(states: _States, bound: Float, weight: float, limit: float) -> _States:
    """Drop states that no completion makes good enough, and those that another one beats."""
    least = states.params + weight * states.tails + bound
    kept = np.flatnonzero(least <= limit)
    if len(kept) > MOST_STATES:
        kept = kept[np.argsort(least[kept], kind="stable")[:MOST_STATES]]
    order = kept[np.lexsort((states.tails[kept], states.params[kept], states.q[kept]))]
    tails, q = states.tails[order], states.q[order]
    chosen = []
    best, last = math.inf, -1
    for k, (t, n) in enumerate(zip(tails.tolist(), q.tolist(), strict=True)):
        if n != last or t < best:
            chosen.append(k)
            best, last = t, n
    columns: list[Any] = [column[order[chosen]] for column in states]
    return _States(*columns)


def _read(
    tree: Programme, opened: Mapping[int, _States], states: Mapping[int, _States], best: int
) -> Family:
    ranks: dict[int, int] = {}
    waiting = [(tree.everything, best)]
    while waiting:
        mask, k = waiting.pop()
        if mask.bit_count() == 1:
            continue
        (half,) = tree.divisions[mask]
        places = ((half, opened[mask].left[k]), (mask ^ half, opened[mask].right[k]))
        for part, place in places:
            below = int(place)
            if part in tree.ranks:
                ranks[part] = int(states[part].rank[below])
                below = int(states[part].left[below])
            waiting.append((part, below))
    return _family(ranks, tree)
