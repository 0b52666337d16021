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

HALF = 32  # bits of a code for each of its two values
# without numba's own memory no arrays are counted, which took half of the time; none can be made
INLINED = njit(nogil=True, forceinline=True, _nrt=False)


class Heap(NamedTuple):
    """Entries by score, the least first; how many there are is kept beside it."""

    score: Floats
    code: Ints


class Partners(NamedTuple):
    """The pairs of values made with older ones that are not in the heap: one of each is there."""

    score: Floats
    value: Ints  # the older one
    first: Ints  # of the pairs of each value made
    stop: Ints


@INLINED
def before(score, code, other, other_code):
    """Tell whether an entry comes before another."""
    return score < other or (score == other and code < other_code)


@INLINED
def push(heap, used, score, code):
    """Add an entry to the heap of `used` entries."""
    k = used
    while k > 0:
        parent = (k - 1) >> 1
        if not before(score, code, heap.score[parent], heap.code[parent]):
            break
        heap.score[k], heap.code[k] = heap.score[parent], heap.code[parent]
        k = parent
    heap.score[k], heap.code[k] = score, code


@INLINED
def pop(heap, used):
    """Take the least entry out of the heap of `used` entries and return its code."""
    least, last = heap.code[0], used - 1
    score, code = heap.score[last], heap.code[last]
    k, child = 0, 1
    while child < last:
        right = child + 1
        if right < last and before(
            heap.score[right], heap.code[right], heap.score[child], heap.code[child]
        ):
            child = right
        if before(score, code, heap.score[child], heap.code[child]):
            break
        heap.score[k], heap.code[k] = heap.score[child], heap.code[child]
        k, child = child, 2 * child + 1
    heap.score[k], heap.code[k] = score, code
    return least


@INLINED
def propose(heap, used, partners, slots, made, name):
    """Put the best pair of a value made and an older one into the heap; return its new length."""
    first = kept = partners.first[made]
    best, least, best_value = first, np.inf, 0
    for k in range(first, partners.stop[made]):
        value = partners.value[k]
        if slots[value] >= 0:
            score = partners.score[k]
            partners.score[kept], partners.value[kept] = score, value
            if kept == first or before(score, value, least, best_value):
                best, least, best_value = kept, score, value
            kept += 1
    partners.stop[made] = kept
    if kept == first:
        return used
    push(heap, used, least, best_value << HALF | name)
    kept -= 1
    partners.score[best], partners.value[best] = partners.score[kept], partners.value[kept]
    partners.stop[made] = kept
    return used + 1


@INLINED
def compacted(partners, slots, leaves, made):
    """Forget the pairs of values that are joined; return how many there are then."""
    filled = 0
    for k in range(made):
        first, stop = partners.first[k], partners.stop[k]
        partners.first[k] = filled
        if slots[leaves + k] >= 0:
            for old in range(first, stop):
                partners.score[filled], partners.value[filled] = (
                    partners.score[old],
                    partners.value[old],
                )
                filled += 1
        partners.stop[k] = filled
    return filled
