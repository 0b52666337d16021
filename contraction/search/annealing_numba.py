"""The kernels of annealing, compiled: sets of labels as words of 64 bits.

The same moves as in `contraction.search.annealing_plain` with random numbers of their own
(splitmix64: Steele, Lea and Flood, OOPSLA 2014), so results differ from plain Python's but
repeat with the seed. Only imported where the compiled code lies ready.
"""

# mypy: allow-untyped-defs, allow-untyped-decorators, allow-untyped-calls

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FIRST = np.uint64(0xBF58476D1CE4E5B9)
SECOND = np.uint64(0x94D049BB133111EB)
S27, S30, S31, S32 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)
LOW = np.uint64(0xFFFFFFFF)
FAR = 2.0**100  # times above the limit from which no difference is made

ONE, S11 = np.uint64(1), np.uint64(11)


_TREE = "int64[::1], int64[::1], uint64[:, ::1], float64[::1], float64[::1]"
_TABLES = "uint64[:, ::1], float64[:, ::1], float64"
_LABELS = "int64[::1], int64[::1], int64[::1]"
SIGNATURES = {
    "rotate": f"void({_TREE}, {_TABLES}, float64, float64, float64, int64, uint64[::1])",
    "toggle": f"void(int64, {_LABELS}, {_TREE}, {_TABLES}, int64[::1], int64[::1])",
    "choose": (
        f"int64({_LABELS}, {_TREE}, float64[::1], float64, float64, "
        "int64[::1], int64[::1], uint64[::1])"
    ),
}


@intrinsic
def popcount(context: Any, word: Any) -> Any:
    """Return the number of bits of a word; one instruction."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.uint64(types.uint64), generate


@njit
def draw(state):
    """Return 64 random bits."""
    state[0] += GOLDEN
    z = state[0]
    z = (z ^ (z >> S30)) * FIRST
    z = (z ^ (z >> S27)) * SECOND
    return z ^ (z >> S31)


@njit
def volume_of(bits, masks, tables):
    """Return the product over the classes of labels of table[count]."""
    words = bits.shape[0]
    volume = 1.0
    for k in range(masks.shape[0]):
        n = np.uint64(0)
        for w in range(words):
            n += popcount(bits[w] & masks[k, w])
        volume *= tables[k, n]
    return volume


@njit
def rotate(
    parent, kids, legs, cost, size, masks, tables, writing, limit, penalty, power, moves, state
):
    """Propose `moves` rotations; see `PlainTree.rotate`."""
    words = legs.shape[1]
    classes = masks.shape[0]
    span = np.uint64(legs.shape[0] - 1)
    for _ in range(moves):
        bits = draw(state)
        y = np.int64(((bits >> S32) * span) >> S32)
        c = parent[y]
        p = parent[c]
        if p < 0:
            continue
        z = kids[p] ^ c
        x = kids[c] ^ y
        below = above = made = 1.0
        for k in range(classes):
            n_below = n_above = n_made = np.uint64(0)
            for w in range(words):
                both = legs[y, w] | legs[z, w]
                ahead = legs[x, w]
                inner = both & (ahead | legs[p, w])
                mask = masks[k, w]
                n_below += popcount(both & mask)
                n_above += popcount((ahead | inner) & mask)
                n_made += popcount(inner & mask)
            below *= tables[k, n_below]
            above *= tables[k, n_above]
            made *= tables[k, n_made]
        if writing > 0.0:
            below += writing * made
            above += writing * size[p]
        new, old = below + above, cost[c] + cost[p]
        if made > limit:
            new *= (made / limit) ** penalty
        if size[c] > limit:
            old *= (size[c] / limit) ** penalty
        if new <= old or np.float64(bits & LOW) * 2.0**-32 < (old / new) ** power:
            parent[z] = c
            parent[x] = p
            kids[c] = y ^ z
            kids[p] = x ^ c
            for w in range(words):
                legs[c, w] = (legs[y, w] | legs[z, w]) & (legs[x, w] | legs[p, w])
            size[c] = made
            cost[c] = below
            cost[p] = above


@njit
def carriers(label, starts, holders, total, parent, seen, path):
    """Write the values that hold a label to `path` and return how many there are."""
    visited = 0
    for h in range(starts[label], starts[label + 1]):
        v = holders[h]
        while v >= 0:
            if seen[v] == 0:
                path[visited] = v
                visited += 1
            seen[v] += 1
            v = parent[v]
    found = 0
    for k in range(visited):
        v = path[k]
        if seen[v] < total[label]:
            path[found] = v
            found += 1
        seen[v] = 0
    return found


@njit
def toggle(
    label,
    starts,
    holders,
    total,
    parent,
    kids,
    legs,
    cost,
    size,
    masks,
    tables,
    writing,
    seen,
    path,
):
    """Add a label to all values that would hold it, or remove it from all that do."""
    found = carriers(label, starts, holders, total, parent, seen, path)
    word, bit = label >> 6, ONE << (np.uint64(label) & np.uint64(63))
    for k in range(found):
        v = path[k]
        legs[v, word] ^= bit
        size[v] = volume_of(legs[v], masks, tables)
    both = np.empty(legs.shape[1], np.uint64)
    for k in range(found):
        v = path[k]
        p = parent[v]
        if p < 0:
            continue
        other = kids[p] ^ v
        for w in range(both.shape[0]):
            both[w] = legs[v, w] | legs[other, w]
        cost[p] = volume_of(both, masks, tables)
        if writing > 0.0:  # zero times inf is no number
            cost[p] += writing * size[p]


@njit
def choose(
    starts, holders, total, parent, kids, legs, cost, size, weights, limit, noise, seen, path, state
):
    """Return the label to slice next, or -1 where all values are within the limit."""
    labels = weights.shape[0]
    excess = np.zeros(labels)
    worst = 0.0
    for v in range(parent.shape[0] // 2 + 1, parent.shape[0]):
        if size[v] > limit:
            for w in range(legs.shape[1]):
                word = legs[v, w]
                while word:
                    low = word & (~word + ONE)
                    word ^= low
                    label = (w << 6) + np.int64(popcount(low - ONE))
                    if weights[label] > 0.0:
                        excess[label] += min(size[v] / limit, FAR)
                        worst = max(worst, excess[label])
    if worst == 0.0:
        return -1
    everything = min(max(cost.sum(), 1e-300), 1e300)
    best, least = -1, np.inf
    for e in range(labels):
        if excess[e] == 0.0:
            continue
        found = carriers(e, starts, holders, total, parent, seen, path)
        share = 0.0
        for k in range(found):
            p = parent[path[k]]
            if p >= 0 and seen[p] == 0:
                share += cost[p]
                seen[p] = 1
        for k in range(found):
            p = parent[path[k]]
            if p >= 0:
                seen[p] = 0
        part = min(share / everything, 1.0)
        grown = 2.0 ** weights[e] * (1.0 - part) + part
        score = np.log(grown) - weights[e] * excess[e] / worst
        if noise > 0.0:
            u = (np.float64(draw(state) >> S11) + 0.5) * 2.0**-53
            score += noise * np.log(-np.log(u))
        if score < least:
            best, least = e, score
    return best
