"""Sharing out a budget of parameters over the bonds of a network by their spectra."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from contraction.errors import RankError
from contraction.truncation import check_rank
from tnet.structure import Structure

EXCHANGED = 32  # bonds; the exchanges cost the square of their number
Squares: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]


def allocate(
    spectra: Mapping[str, Sequence[float] | Squares],
    structure: Structure,
    max_params: int,
    *,
    min_rank: int = 1,
    max_rank: int | None = None,
) -> dict[str, int]:
    """Return ranks whose network has at most `max_params` entries and discards little.

    Parameters
    ----------
    spectra
        Bond -> descending singular values, as `tnet.bond_spectra` gives them. Bonds that are
        missing keep their rank.
    structure
        The network; its ranks are the largest allowed.
    max_params
        Budget on `Structure.num_params`, kept exactly.
    min_rank, max_rank
        Limits on every rank (a bond of lower rank keeps its own).

    Raises
    ------
    RankError
        Even the smallest ranks do not fit; the message says what would.

    Notes
    -----
    Two greedy runs, of which the one with the smaller sum of discarded squares (the squared
    error bound of `tnet.truncate`) is kept: down from the full ranks, always giving up the
    value with the least square per parameter saved, then up again into what the budget leaves;
    and up from the smallest ranks. O(n log n) for n singular values: giving up a rank only ever
    makes the neighbouring values dearer per parameter, so a heap with stale entries is exact.
    With up to 32 bonds, exchanges follow: give up one rank, grow elsewhere, keep what is better.

    Examples
    --------
    >>> import tnet
    >>> pair = tnet.tensor_train((4, 5), 3)
    >>> allocate({"g0-g1": [3.0, 2.0, 1.0]}, pair, 20)
    {'g0-g1': 2}
    """
    check_rank(max_params, "max_params")
    full = {
        bond: min(structure.size[bond], len(values), max_rank or structure.size[bond])
        for bond, values in spectra.items()
    }
    least = {bond: min(min_rank, rank) for bond, rank in full.items()}
    squares = _squares(spectra)
    smallest = _Ranks(structure, least)
    if smallest.params > max_params:
        raise RankError(
            f"a budget of {max_params} parameters is too small: with every rank at its minimum "
            f"the network still has {smallest.params}. Ask for max_params >= {smallest.params}."
        )
    down = _Ranks(structure, full)
    _shrink(down, least, squares, max_params)
    _grow(down, full, squares, max_params)
    _grow(smallest, full, squares, max_params)
    found = min((down, smallest), key=lambda ranks: _discarded(ranks.rank, squares))
    if len(full) <= EXCHANGED:
        found = _exchange(found, least, full, squares, max_params)
    return found.rank


def _squares(spectra: Mapping[str, Sequence[float] | Squares]) -> dict[str, Squares]:
    """Return the squares relative to the largest value, which alone might leave the range."""
    found = {bond: np.asarray(values, dtype=np.float64) for bond, values in spectra.items()}
    top = max((float(values.max(initial=0.0)) for values in found.values()), default=0.0)
    return {bond: (values / (top or 1.0)) ** 2 for bond, values in found.items()}


class _Ranks:
    """Ranks under way, with the number of parameters of every node kept up to date."""

    def __init__(self, structure: Structure, rank: Mapping[str, int]) -> None:
        self.structure = structure
        self.rank = dict(rank)
        self.holders = {bond: structure.holders[bond] for bond in rank}
        sizes = {**structure.size, **rank}
        self.node = {n: math.prod(sizes[leg] for leg in legs) for n, legs in structure.nodes}
        self.params = sum(self.node.values())

    def step(self, bond: str) -> int:
        """Return how many parameters one rank of `bond` is worth."""
        return sum(self.node[node] for node in self.holders[bond]) // self.rank[bond]

    def change(self, bond: str, by: int) -> None:
        """Raise or lower the rank of `bond`."""
        rank = self.rank[bond]
        for node in self.holders[bond]:
            more = self.node[node] // rank * by
            self.node[node] += more
            self.params += more
        self.rank[bond] = rank + by


def _shrink(
    ranks: _Ranks, least: Mapping[str, int], squares: Mapping[str, Squares], budget: int
) -> None:
    """Lower ranks, cheapest value per parameter first, until the budget is met."""

    def price(bond: str) -> float:
        return float(squares[bond][ranks.rank[bond] - 1]) / ranks.step(bond)

    heap = [(price(bond), bond) for bond, rank in ranks.rank.items() if rank > least[bond]]
    heapq.heapify(heap)
    while ranks.params > budget:
        _, bond = heapq.heappop(heap)
        now = price(bond)
        if heap and now > heap[0][0]:  # a neighbour has changed since: prices only rise
            heapq.heappush(heap, (now, bond))
            continue
        ranks.change(bond, -1)
        if ranks.rank[bond] > least[bond]:
            heapq.heappush(heap, (price(bond), bond))


def _grow(
    ranks: _Ranks, full: Mapping[str, int], squares: Mapping[str, Squares], budget: int
) -> None:
    """Raise ranks, dearest value per parameter first, while the budget allows."""

    def worth(bond: str) -> float:
        return -float(squares[bond][ranks.rank[bond]]) / ranks.step(bond)

    heap = [(worth(bond), bond) for bond, rank in ranks.rank.items() if rank < full[bond]]
    heapq.heapify(heap)
    while heap:
        _, bond = heapq.heappop(heap)
        now = worth(bond)
        if now == 0.0 or ranks.params + ranks.step(bond) > budget:
            continue  # a step only gets more expensive, so it will never fit again
        if heap and now > heap[0][0]:
            heapq.heappush(heap, (now, bond))
            continue
        ranks.change(bond, 1)
        if ranks.rank[bond] < full[bond]:
            heapq.heappush(heap, (worth(bond), bond))


def _exchange(
    ranks: _Ranks,
    least: Mapping[str, int],
    full: Mapping[str, int],
    squares: Mapping[str, Squares],
    budget: int,
) -> _Ranks:
    """Trade one rank of a bond for ranks elsewhere as long as that discards less."""
    lost = _discarded(ranks.rank, squares)
    better = True
    while better:
        better = False
        for bond in full:
            if ranks.rank[bond] <= least[bond]:
                continue
            trial = _Ranks(ranks.structure, ranks.rank)
            trial.change(bond, -1)
            _grow(trial, {**full, bond: trial.rank[bond]}, squares, budget)
            now = _discarded(trial.rank, squares)
            if now < lost * (1.0 - 1e-9):
                ranks, lost, better = trial, now, True
    return ranks


def _discarded(rank: Mapping[str, int], squares: Mapping[str, Squares]) -> float:
    return sum(float(squares[bond][kept:].sum()) for bond, kept in rank.items())
