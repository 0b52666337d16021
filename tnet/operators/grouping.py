"""Equal rows of integers, found by sorting; products of local operators named by a hash.

A product is named by the sum of the hashes of its factors, 128 bits in all: adding and taking
away a factor is one addition, and two different ones among 10^6 share a name with probability
below 10^-26.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Ints = Any
_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def _scramble(x: Any) -> Any:
    """Mix the bits of 64-bit integers (the finaliser of SplitMix64, Steele et al. 2014)."""
    x = (x ^ (x >> np.uint64(30))) * _FIRST
    x = (x ^ (x >> np.uint64(27))) * _SECOND
    return x ^ (x >> np.uint64(31))


def hash_of(slot: Ints, index: Ints) -> Any:
    """Return the hash (n, 2) of the factor `index` at `slot`; index 0, the identity, has 0."""
    slot = np.atleast_1d(slot).astype(np.uint64)  # arrays wrap around without a warning

    number = np.atleast_1d(index).astype(np.uint64)
    first = _scramble(_scramble((slot + np.uint64(1)) * _STEP) + number * _SECOND)
    second = _scramble(first ^ _scramble(number * _STEP + slot))
    both = np.stack(np.broadcast_arrays(first, second), axis=-1)
    return both * (number != 0)[..., None].astype(np.uint64)


def group(*columns: Ints) -> tuple[Ints, Ints]:
    """Give numbers to the distinct rows of integer columns.

    Returns
    -------
    which
        Row -> number of its group; groups are numbered in lexicographic order.
    first
        Group -> the first row in it.

    Examples
    --------
    >>> which, first = group(np.array([3, 1, 3]), np.array([0, 5, 0]))
    >>> which.tolist(), first.tolist()
    ([1, 0, 1], [1, 0])
    """
    count = len(columns[0])
    if count == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    order = np.lexsort(columns[::-1]) if len(columns) > 1 else np.argsort(columns[0], kind="stable")
    fresh = np.zeros(count, dtype=bool)
    fresh[0] = True
    for column in columns:
        ordered = column[order]
        fresh[1:] |= ordered[1:] != ordered[:-1]
    which = np.empty(count, dtype=np.int64)
    which[order] = np.cumsum(fresh) - 1
    return which, order[fresh]


def group_rows(*blocks: Ints) -> tuple[Ints, Ints]:
    """Give numbers to the distinct rows of integer matrices that stand side by side.

    Matrices without columns have equal rows.
    """
    columns = [column for block in blocks for column in block.T]
    return group(*(columns or [np.zeros(len(blocks[0]), dtype=np.int64)]))
