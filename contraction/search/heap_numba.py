"""A binary heap of scores with codes, compiled: the least score first, then the least code.

Imported by other kernels only.
"""

# mypy: disallow_untyped_defs=False, disallow_untyped_decorators=False, disallow_untyped_calls=False

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True)
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


@njit(nogil=True)
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


@njit(nogil=True)
def pop(scores, codes, used):
    """Take the least entry out of the heap of `used` entries and return its code."""
    code = codes[0]
    scores[0], codes[0] = scores[used - 1], codes[used - 1]
    sift_down(scores, codes, used - 1, 0)
    return code


@njit(nogil=True)
def grown(scores, codes, used, more):
    """Return the heap with room for `more` entries."""
    if used + more <= len(scores):
        return scores, codes
    wide_scores = np.empty(2 * (used + more))
    wide_codes = np.empty(2 * (used + more), np.int64)
    wide_scores[:used] = scores[:used]
    wide_codes[:used] = codes[:used]
    return wide_scores, wide_codes
