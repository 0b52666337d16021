"""Sets of modes that belong together, where there are too many modes to try all sets.

Modes that share information stand near each other in a good order. Three orders beside the
given one, and their intervals: two by the mutual information of pairs of modes, and the one
that interleaves, which joins the coarse digits of two halves and then the fine ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from structure_search.methods.trees.parts import Tails

Float = np.ndarray[Any, np.dtype[np.float64]]


def mutual_information(count: int, tails: Tails) -> Float:
    """Return the mutual information of every pair of modes, in nats.

    The entropies are those of the squared singular values of a cut, as for a quantum state:
    I(a, b) = S(a) + S(b) - S(ab) (Rissler, Noack, White, Chem. Phys. 323 (2006) 519). Cuts too
    wide to be known count as if their modes shared nothing.

    Cost: the spectra of count (count + 1) / 2 narrow cuts.
    """
    single = [_entropy(tails([a])) for a in range(count)]
    shared = np.zeros((count, count))
    for a in range(count):
        for b in range(a):
            both = _entropy(tails([b, a]))
            if both is not None and single[a] is not None and single[b] is not None:
                shared[a, b] = shared[b, a] = max(0.0, single[a] + single[b] - both)
    return shared


def _entropy(tails: Float | None) -> Any:
    if tails is None:
        return None
    share = -np.diff(tails**2)
    share = share[share > 1e-15]
    share = share / share.sum() if len(share) else share
    return -float(share @ np.log(share))


def orders(shared: Float) -> list[tuple[int, ...]]:
    """Return orders of the modes in which those that share information are near each other.

    Examples
    --------
    >>> near = np.array([[0, 0, 2, 1], [0, 0, 1, 0], [2, 1, 0, 0], [1, 0, 0, 0.0]])
    >>> orders(near)[1]
    (1, 2, 0, 3)
    """
    count = len(shared)
    half = (count + 1) // 2
    interleaved = [k for pair in zip(range(half), range(half, 2 * half), strict=True) for k in pair]
    made = [tuple(range(count)), _spectral(shared), _clustered(shared)]
    made.append(tuple(k for k in interleaved if k < count))
    found: dict[tuple[int, ...], None] = {}
    for order in made:
        found.setdefault(order if order[0] < order[-1] else order[::-1])
    return list(found)


def _spectral(shared: Float) -> tuple[int, ...]:
    """Sort by the second eigenvector of the Laplacian (Fiedler)."""
    laplacian = np.diag(shared.sum(axis=0)) - shared
    vector = np.linalg.eigh(laplacian)[1][:, 1]
    return tuple(int(k) for k in np.argsort(np.round(vector, 9), kind="stable"))


def _clustered(shared: Float) -> tuple[int, ...]:
    """Join the groups that share most on average, each time at their nearer ends."""
    groups = [[k] for k in range(len(shared))]
    while len(groups) > 1:
        _, a, b = max(
            (float(shared[np.ix_(groups[a], groups[b])].mean()), -a, -b)
            for a in range(len(groups))
            for b in range(a)
        )
        first, second = groups[-a], groups[-b]
        ways = [f + s for f in (first, first[::-1]) for s in (second, second[::-1])]
        cut = len(first)
        joined = max(ways, key=lambda way: float(shared[way[cut - 1], way[cut]]))
        groups = [g for k, g in enumerate(groups) if k not in (-a, -b)] + [joined]
    return tuple(groups[0])


def intervals(order: Sequence[int]) -> list[int]:
    """Return the sets of modes in a row.

    Examples
    --------
    >>> intervals((2, 0, 1))
    [4, 5, 1, 3, 2]
    """
    found = []
    for begin in range(len(order)):
        mask = 0
        for mode in order[begin:]:
            mask |= 1 << mode
            found.append(mask)
    return [mask for mask in found if mask.bit_count() < len(order)]


def format_trees(count: int, orders: Sequence[Sequence[int]]) -> list[list[int]]:
    """Return the sets of Tucker, of the balanced tree, and of trains in some orders.

    Examples
    --------
    >>> format_trees(3, [(0, 2, 1)])
    [[1, 2, 4], [1, 6, 2, 4], [1, 5]]
    """
    single = [1 << k for k in range(count)]
    balanced = []
    waiting = [(0, count)]
    while waiting:
        begin, end = waiting.pop(0)
        if end - begin < count:
            balanced.append((1 << end) - (1 << begin))
        if end - begin > 1:
            middle = (begin + end) // 2
            waiting += [(begin, middle), (middle, end)]
    trains = []
    for order in orders:
        mask, prefixes = 0, []
        for mode in order[:-1]:
            mask |= 1 << mode
            prefixes.append(mask)
        trains.append(prefixes)
    return [single, balanced, *trains]
