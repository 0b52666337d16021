"""Pair interactions through few of their sites: nested skeletons from sampled coefficients.

Below every edge some sites are chosen whose rows of coefficients, against all sites elsewhere,
span those of the others (an interpolative decomposition); a node chooses among what its children
chose. The columns of the other sites are sampled: densely where sites are near in the order of
the pairs, ever more thinly further away, and at random. Further random columns, held out, tell
how well this went. Cheng, Gimbutas, Martinsson and Rokhlin, SIAM J. Sci. Comput. 26 (2005) 1389;
Bebendorf and Venn, Numer. Math. 121 (2012) 609.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from contraction.linalg import qr
from tnet.operators.pairs import values_at
from tnet.operators.placing import Placing
from tnet.operators.terms import Pairs

Ints = Any
Numbers = Any
DENSE = 16  # nearest sites that are all columns
STRETCH = 1.12  # of the distances beyond
RANDOM = 24  # columns at random
HELD_OUT = 8  # of either sort
SHARE = 0.05  # of the tolerance, for what a skeleton leaves out
FEW = 128  # sites that are all read
TRIALS = 5  # more columns, when the held-out ones are not met


@dataclass(frozen=True, eq=False)
class Kernel:
    """The coefficients of pairs as blocks between sites, by kind of the first site's operator.

    Where left and right operator are the same there is one kind and the block is symmetric; else
    kind 0 has the left operator on the first site and kind 1 the right one. Every coefficient is
    times the norms of its two local matrices over sqrt(n).
    """

    pairs: Pairs
    weights: tuple[Numbers, Numbers]  # of the left and the right operator, by site
    kinds: tuple[int, ...]
    index: tuple[Ints, Ints]  # of the local matrices, by kind and site
    norms: tuple[Numbers, Numbers]
    mode: Ints  # of every site
    placing: Placing

    @cached_property
    def order(self) -> Ints:
        """The sites in the order of the row in which all subtrees are intervals."""
        return np.argsort(self.placing.position[self.mode], kind="stable")

    @cached_property
    def rank(self) -> Ints:
        """The places of the sites in that row of sites."""
        found = np.empty(len(self.order), dtype=np.int64)
        found[self.order] = np.arange(len(self.order))
        return found

    @cached_property
    def sites_at(self) -> dict[str, Ints]:
        """The sites that are modes of every node, in the order of its slots."""
        site = {int(mode): k for k, mode in enumerate(self.mode)}
        return {
            node: np.array([site[m] for m in modes if m in site], dtype=np.int64)
            for node, modes in self.placing.modes.items()
        }

    def partner(self, kind: int) -> int:
        """Return the kind at the other end of a pair."""
        return self.kinds[-1 - kind]

    def block(self, kind: int, i: Ints, j: Ints) -> Numbers:
        """Return the coefficients between sites i and j, which have none in common."""
        first = np.broadcast_to(np.asarray(i)[:, None], (len(i), len(j)))
        second = np.broadcast_to(np.asarray(j)[None, :], (len(i), len(j)))
        found = np.zeros(first.shape, dtype=np.complex128)
        if len(self.kinds) == 1:
            here = np.ones(first.shape, dtype=bool)
            low, high = np.minimum(first, second), np.maximum(first, second)
        else:
            low, high = (first, second) if kind == 0 else (second, first)
            here = low < high
        if here.any():
            a, b = low[here], high[here]
            values = values_at(self.pairs, a, b)
            found[here] = values * (self.weights[0][a] * self.weights[1][b])
        return found if found.imag.any() else np.ascontiguousarray(found.real)


class Skeleton(NamedTuple):
    """One kind of one node: `chosen` sites, and all its rows in terms of theirs.

    `spread` is the triangular factor of the whole interpolation from the sites below.
    """

    rows: Ints
    chosen: Ints
    weights: Numbers
    spread: Numbers


def skeletons_of(
    kernel: Kernel, tol: float, few: int = FEW, seed: int = 0
) -> dict[str, tuple[Skeleton, ...]]:
    """Choose the skeletons of all nodes but the root, from the leaves up.

    Where no more than `few` sites are outside of a subtree all of them are read.
    """
    placing = kernel.placing
    rng = np.random.default_rng(seed)
    sites_at = kernel.sites_at
    places = placing.position[kernel.mode][kernel.order]
    ends = {n: np.searchsorted(places, [b[0], b[-1]]) for n, b in placing.bounds.items()}
    found: dict[str, tuple[Skeleton, ...]] = {}
    for node in placing.tree.post_order:
        if node == placing.tree.root:
            continue
        low, high = (int(x) for x in ends[node])
        columns = _Columns(kernel, low, high, rng)
        chosen = []
        for kind in kernel.kinds:
            below = [found[child][kind] for child in placing.children[node]]
            own = sites_at[node]
            rows = np.concatenate([*(s.chosen for s in below), own]).astype(np.int64)
            spread = _blocks([*(s.spread for s in below), np.eye(len(own))])
            chosen.append(_interpolated(kernel, kind, rows, spread, columns, tol, few))
        found[node] = tuple(chosen)
    return found


class _Columns:
    """Sites outside one subtree: those to fit, and others to check the fit."""

    def __init__(self, kernel: Kernel, low: int, high: int, rng: np.random.Generator) -> None:
        self.kernel, self.low, self.high, self.rng = kernel, low, high, rng
        self.count = len(kernel.mode)
        inside = kernel.order[low:high]
        self.ends = (int(inside.min()), int(inside.max())) if len(inside) else (0, 0)
        self.outside = self.count - len(inside)

    def all(self) -> Ints:
        order = self.kernel.order
        return np.concatenate([order[: self.low], order[self.high :]])

    def near(self, rows: Ints) -> Ints:
        steps = _distances(self.count)
        low, high = self.ends
        near = np.concatenate([low - steps, high + steps, rows - 1, rows + 1, rows - 2, rows + 2])
        return self._outside(near)

    def random(self, count: int) -> Ints:
        places = self.rng.integers(0, self.outside, count)
        places += (places >= self.low) * (self.high - self.low)
        return self.kernel.order[places]

    def random_near(self, count: int) -> Ints:
        """Sites at distances whose logarithms are uniform."""
        far = np.exp(self.rng.random(count) * math.log(self.count)).astype(np.int64)
        low, high = self.ends
        return self._outside(np.concatenate([low - far, high + far]))

    def _outside(self, sites: Ints) -> Ints:
        sites = np.unique(sites)
        sites = sites[(sites >= 0) & (sites < self.count)]
        place = self.kernel.rank[sites]
        return sites[(place < self.low) | (place >= self.high)]


def _distances(count: int) -> Ints:
    far = DENSE * STRETCH ** np.arange(max(math.log(max(count / DENSE, 1), STRETCH), 0) + 1)
    return np.unique(np.concatenate([np.arange(1, DENSE + 1), far.astype(np.int64)]))


def _interpolated(
    kernel: Kernel, kind: int, rows: Ints, spread: Numbers, columns: _Columns, tol: float, few: int
) -> Skeleton:
    """Choose sites among `rows`, reading more columns until the held-out ones are met."""
    if not len(rows) or not columns.outside:
        none = np.zeros((len(rows), 0))
        return Skeleton(rows, rows[:0], none, np.zeros((0, 0)))
    exact = columns.outside <= few
    if exact:
        read = columns.all()
    else:
        read = np.union1d(columns.near(rows), columns.random(max(RANDOM, len(rows))))
    A = kernel.block(kind, rows, read)
    share = max(SHARE * tol, 1e-15)
    for trial in range(TRIALS):
        picked, X = _decomposition(A, share)
        if exact or len(picked) == len(rows):
            break
        anywhere = columns.random(HELD_OUT)
        near = columns.random_near(HELD_OUT)
        held = kernel.block(kind, rows, np.concatenate([anywhere, near]))
        off = held - X @ held[picked]
        top = max(float(np.abs(A).max(initial=0.0)), float(np.abs(held).max(initial=0.0)))
        if float(np.abs(off).max(initial=0.0)) <= max(tol, 1e-14) * top or trial == TRIALS - 1:
            break
        more = columns.random((len(rows) + RANDOM) * 2**trial)
        fresh = np.concatenate([held, kernel.block(kind, rows, more)], axis=1)
        A = np.concatenate([A, fresh], axis=1)
    whole = spread @ X
    triangle = qr(whole)[1] if whole.shape[0] > whole.shape[1] > 0 else whole[: whole.shape[1]]
    return Skeleton(rows, rows[picked], X, np.asarray(triangle))


def _decomposition(A: Numbers, share: float) -> tuple[Ints, Numbers]:
    """Return which rows of a matrix span the others, and all rows in terms of these."""
    from scipy.linalg import qr as pivoted
    from scipy.linalg import solve_triangular

    R, order = pivoted(A.T, mode="r", pivoting=True, check_finite=False)
    diagonal = np.abs(np.diagonal(R))
    rank = int(np.count_nonzero(diagonal > share * diagonal[0])) if diagonal[0] else 0
    if rank == len(A):
        return np.arange(rank), np.eye(rank)
    X = np.zeros((len(A), rank), dtype=A.dtype)
    X[order[:rank]] = np.eye(rank)
    if rank:
        rest = solve_triangular(R[:rank, :rank], R[:rank, rank:], check_finite=False)
        X[order[rank:]] = rest.T
    return order[:rank], X


def _blocks(parts: list[Numbers]) -> Numbers:
    """Return a block-diagonal matrix."""
    rows, columns = (sum(p.shape[k] for p in parts) for k in (0, 1))
    found = np.zeros((rows, columns), dtype=np.result_type(*parts))
    r = c = 0
    for part in parts:
        found[r : r + part.shape[0], c : c + part.shape[1]] = part
        r, c = r + part.shape[0], c + part.shape[1]
    return found
