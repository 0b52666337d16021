"""A heap of pairs by score, compiled, in which every value made has its best pair only.

Pairs are written as codes; of equal scores the least code comes first. A value's other pairs wait
in `Partners`, where they cost nothing once the value is joined.

Imported by other kernels only.
"""

# mypy: disallow_untyped_defs=False, disallow_untyped_decorators=False, disallow_untyped_calls=False

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from contraction.search.greedy_network import Floats, Ints


class Partners(NamedTuple):
    """The pairs of values made with older ones that are not in the heap: one of each is there."""

    score: Floats
    value: Ints  # the older one
    range: Ints  # of the pairs of each value made: first and stop


@njit(nogil=True, forceinline=True)
def sift_down(scores, codes, used, k):
    """Put entry `k` in its place below."""
    score, code = scores[k], codes[k]
    while True:
        child = 2 * k + 1
        if child >= used:
            break
        right = child + 1
        if right < used and (
            scores[right] < scores[child]
            or (scores[right] == scores[child] and codes[right] < codes[child])
        ):
            child = right
        if scores[child] > score or (scores[child] == score and codes[child] > code):
            break
        scores[k], codes[k] = scores[child], codes[child]
        k = child
    scores[k], codes[k] = score, code


@njit(nogil=True, forceinline=True)
def push(scores, codes, used, score, code):
    """Add an entry to the heap of `used` entries."""
    k = used
    while k > 0:
        parent = (k - 1) >> 1
        if scores[parent] < score or (scores[parent] == score and codes[parent] < code):
            break
        scores[k], codes[k] = scores[parent], codes[parent]
        k = parent
    scores[k], codes[k] = score, code


@njit(nogil=True, forceinline=True)
def pop(scores, codes, used):
    """Take the least entry out of the heap of `used` entries and return its code."""
    code = codes[0]
    scores[0], codes[0] = scores[used - 1], codes[used - 1]
    sift_down(scores, codes, used - 1, 0)
    return code


@njit(nogil=True, forceinline=True)
def propose(scores, codes, used, partners, values, name, n):
    """Put the best pair of a value and an older one into the heap; return its new length."""
    first, stop = partners.range[name - n]
    best, kept = -1, first
    for k in range(first, stop):
        value = partners.value[k]
        if values.slots[value] >= 0:
            score = partners.score[k]
            partners.score[kept], partners.value[kept] = score, value
            if best < 0 or (score, value) < (partners.score[best], partners.value[best]):
                best = kept
            kept += 1
    partners.range[name - n, 1] = kept
    if best < 0:
        return used
    push(scores, codes, used, partners.score[best], partners.value[best] * (2 * n - 1) + name)
    kept -= 1
    partners.score[best], partners.value[best] = partners.score[kept], partners.value[kept]
    partners.range[name - n, 1] = kept
    return used + 1


@njit(nogil=True, forceinline=True)
def room_for(partners, filled, values, n, made, count):
    """Return the partners with room for `count` more; those of joined values make room."""
    if filled + count <= len(partners.score):
        return partners, filled
    kept = 0
    for k in range(made):
        kept += partners.range[k, 1] - partners.range[k, 0] if values.slots[n + k] >= 0 else 0
    wide = 2 * (kept + count) + 16 * n
    moved = Partners(np.empty(wide), np.empty(wide, np.int64), partners.range)
    filled = 0
    for k in range(made):
        if values.slots[n + k] >= 0:
            first, stop = partners.range[k]
            moved.range[k] = filled, filled + stop - first
            for old in range(first, stop):
                moved.score[filled] = partners.score[old]
                moved.value[filled] = partners.value[old]
                filled += 1
    return moved, filled
