"""Which core shapes to refine: errors of all of them from a table, then a race of a few.

The truncated HOSVD of a shape is a corner of one core, so a cumulative sum gives all errors. Its
vectors are not the best for a shape, and which shape is best changes with them: the core is
turned to the vectors that suit the best shape so far, and the sums are taken again. What shapes
near it would gain by sweeps of their own is mostly in the new table, so that few need them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from contraction.arrays import Array, namespace
from structure_search.methods import hosvd
from structure_search.methods.packing import best_packing, shape_params

GRID = 2**26  # entries of the largest core whose cumulative sum is formed
TURNS = 4  # of the core to the vectors of the best shape
FEWEST = 6  # shapes, the first ones, of whose errors sweeps may gain a fixed part at least:
PRIOR, PRIOR_OF_TINY = 0.04, 0.12  # the latter where a turned core is so small:
TINY = 2**10  # entries; there gains are large, and sweeps are cheap
REACH = 1.5  # times what sweeps have gained so far: what they may gain on the next shape
CLOSE = 1.006  # of the least error after two sweeps: no shape above it is refined
FIRST_SWEEPS, LAST_SWEEPS = 4, 16  # of a round of refinement, of which every one is twice as long
FEW_ROWS = 12  # beyond the ranks are worked on until two shapes are left
SETTLED = 1e-5  # of the squared error: a sweep that gains less than that ends a round
EQUAL = -1e-6  # shapes must come nearer to the best than that to stay in the race
Ranks: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
Shape: TypeAlias = tuple[int, ...]


class Tried(NamedTuple):
    """A shape after some sweeps, with the factors inside the core."""

    shape: Shape
    error: float
    factors: tuple[Array, ...]


def select_shapes(
    found: hosvd.OrthogonalCore,
    sizes: Sequence[int],
    budget: int,
    count: int,
    energy: hosvd.Float | None = None,
) -> list[tuple[Shape, float]]:
    """Return the `count` best shapes that cannot grow within `budget`, and their HOSVD errors.

    Exact over all shapes, by one cumulative sum, where the core has at most 2^26 entries.
    Cost: a pass over the core per mode; none where its cumulative sum, `energy`, is given.
    """
    if math.prod(found.core.shape) > GRID:
        return _exchanged(found, sizes, budget, count)
    energy = hosvd.captured(found.core) if energy is None else energy
    ranks = _largest_last(found.core.shape, sizes, budget)
    value = energy[tuple(ranks - 1)]
    params = ranks.prod(axis=0) + np.asarray(sizes) @ ranks
    top = np.arange(len(value))
    if len(value) > 16 * count:
        top = np.argpartition(value, len(value) - 16 * count)[-16 * count :]
    # of shapes that keep equally much (up to rounding) the smaller one
    rounded = np.round(value[top] / found.norm**2, 13) if found.norm else value[top]
    top = top[np.lexsort((params[top], -rounded))][:count]
    errors = [relative_error(float(value[k]), found.norm) for k in top.tolist()]
    return list(zip(map(tuple, ranks[:, top].T.tolist()), errors, strict=True))


def _largest_last(caps: Sequence[int], sizes: Sequence[int], budget: int) -> Ranks:
    """Return all useful shapes within the budget of which no rank can be raised, (order, shapes).

    All ranks but that of the mode with the largest cap are enumerated, and that is as large as
    the budget, the mode and the product of the others allow. A larger rank is of no use.
    """
    last = max(range(len(caps)), key=lambda n: caps[n])
    ranks = np.ones((len(caps), 1), dtype=np.int64)
    product, rest = np.ones(1, dtype=np.int64), np.array([budget - sum(sizes)])
    for n in (n for n in range(len(caps)) if n != last):
        count = np.arange(1, caps[n] + 1)
        more, left = np.outer(product, count), rest[:, None] - sizes[n] * (count - 1)
        fits = np.nonzero(more <= left)  # with ranks of one in the modes to come
        ranks, product, rest = ranks[:, fits[0]], more[fits], left[fits]
        ranks[n] = count[fits[1]]
    ranks[last] = np.minimum((rest + sizes[last]) // (product + sizes[last]), caps[last])
    ranks[last] = np.minimum(ranks[last], product)
    product = product * ranks[last]
    room = rest - sizes[last] * (ranks[last] - 1) - product
    kept = np.ones(ranks.shape[1], dtype=np.bool_)
    for n, size in enumerate(sizes):
        others = product // ranks[n]
        kept &= ranks[n] <= others
        kept &= (others + size > room) | (ranks[n] >= caps[n]) | (ranks[n] >= others)
    return ranks[:, kept]


class Turned(NamedTuple):
    """A corner of the core in other vectors, which are columns of `bases` inside the core."""

    core: Array
    bases: tuple[Array, ...]


def screened(found: hosvd.OrthogonalCore, shapes: Sequence[tuple[Shape, float]]) -> list[Tried]:
    """Return shapes after two sweeps of orthogonal iteration, best first, near ones only.

    The core is turned to the best shape, all errors are read again, and in their order shapes are
    swept, up to what sweeps have gained so far. Then the same from the best of these.
    """
    ranks = np.array([shape for shape, _ in shapes], dtype=np.int64).T
    rough = np.array([error for _, error in shapes])
    known: dict[Shape, Tried] = {}
    turned = leader = None
    best, gain = math.inf, 0.0
    for _ in range(TURNS):
        if known:
            best, shape = min((t.error, t.shape) for t in known.values())
        else:
            shape = shapes[int(np.argmin(rough))][0]
        if shape == leader:
            break
        leader, turned = shape, _turned(found, turned, shape)
        rough = np.minimum(rough, _errors(turned.core, ranks, found.norm))
        prior = PRIOR_OF_TINY if math.prod(turned.core.shape) <= TINY else PRIOR
        for k in np.argsort(rough, kind="stable").tolist():
            reach = max(REACH * gain, prior if len(known) < FEWEST else 0.0)
            if rough[k] * (1.0 - reach) > best:
                break
            shape = shapes[k][0]
            if shape in known or _least_error(found, shape) > best:
                continue
            tried = known[shape] = _tried(found, turned, shape)
            gain = max(gain, 1.0 - tried.error / rough[k] if rough[k] else 0.0)
            best = min(best, tried.error)
    order = sorted(known.values(), key=lambda t: (t.error, t.shape))
    return [tried for tried in order if tried.error <= CLOSE * order[0].error]


def _turned(found: hosvd.OrthogonalCore, last: Turned | None, shape: Shape) -> Turned:
    """Turn the core to a shape, from where it was turned last."""
    for factor in (3.0, 2.0, 1.5, 1.2):
        box = [max(math.ceil(factor * r), r + 3) for r in shape]
        box = [min(b, n) for b, n in zip(box, found.core.shape, strict=True)]
        if math.prod(box) <= hosvd.WORKED_ON:
            break
    if last is not None and all(b <= n for b, n in zip(box, last.core.shape, strict=True)):
        core, Q = hosvd.turned(last.core, shape)
        bases = tuple(V @ q for V, q in zip(last.bases, Q, strict=True))
        return Turned(core, bases)
    core, bases = hosvd.turned(found.core[tuple(slice(b) for b in box)], shape)
    return Turned(core, bases)


def _errors(core: Array, ranks: Ranks, norm: float) -> hosvd.Float:
    """Return the errors of shapes in the vectors of a core; infinity of those beyond it."""
    inside = (ranks <= np.array(core.shape)[:, None]).all(axis=0)
    kept = hosvd.captured(core)[tuple(ranks[:, inside] - 1)]
    errors: hosvd.Float = np.full(ranks.shape[1], math.inf)
    errors[inside] = np.sqrt(np.maximum(norm**2 - kept, 0.0)) / (norm or 1.0)
    return errors


def _tried(found: hosvd.OrthogonalCore, turned: Turned, shape: Shape) -> Tried:
    """Sweep a shape twice, in the vectors of the turned core if they are as many as it has."""
    inside = all(r <= n for r, n in zip(shape, turned.core.shape, strict=True))
    corner = (turned.core if inside else found.core)[tuple(slice(max(2 * r, r + 3)) for r in shape)]
    core, factors, _ = hosvd.orthogonal_iteration(corner, shape, sweeps=2, rtol=1e-4)
    if inside:
        pairs = zip(turned.bases, factors, strict=True)
        factors = tuple(V[:, : w.shape[0]] @ w for V, w in pairs)
    return Tried(shape, _lost(core, found.norm), factors)


def _lost(core: Array, norm: float) -> float:
    return relative_error(float(namespace(core).linalg.vector_norm(core)) ** 2, norm)


def finalists(found: hosvd.OrthogonalCore, near: Sequence[Tried]) -> list[Tried]:
    """Return the one or two best shapes: the others are left behind as sweeps tell them apart.

    A shape is out of the race where not even `REACH` times what its last sweeps gained would bring
    it to the best; of the others half stay.
    """
    left = list(near)
    parts = {t.shape: found.core[tuple(slice(3 * r + 3) for r in t.shape)] for t in near}
    sweeps = FIRST_SWEEPS
    while len(left) > 1 and sweeps <= LAST_SWEEPS:
        reach: dict[tuple[int, ...], float] = {}
        for k, tried in enumerate(left):
            core, factors, _ = hosvd.orthogonal_iteration(
                parts[tried.shape],
                tried.shape,
                sweeps=sweeps,
                start=tried.factors,
                rtol=SETTLED,
                spare=FEW_ROWS,
            )
            left[k] = Tried(tried.shape, _lost(core, found.norm), factors)
            reach[tried.shape] = REACH * max(tried.error - left[k].error, 0.0)
        left.sort(key=lambda t: (t.error, t.shape))
        near_best = left[0].error * (1.0 + EQUAL)
        left = [left[0]] + [t for t in left[1:] if t.error - reach[t.shape] < near_best]
        left = left[: max(2, len(near) // 2)]
        near, sweeps = left, 2 * sweeps
    return left[:2]


def _least_error(found: hosvd.OrthogonalCore, shape: Sequence[int]) -> float:
    """Return a lower bound on the error of every network of this shape: the worst unfolding's."""
    kept = min(float(k[r - 1]) for k, r in zip(found.kept, shape, strict=True))
    return math.sqrt(max(1.0 - kept, 0.0))


def relative_error(kept: float, norm: float) -> float:
    """Return the relative error of what keeps `kept` of the squared norm."""
    return math.sqrt(max(norm**2 - kept, 0.0)) / norm if norm else 0.0


def _exchanged(
    found: hosvd.OrthogonalCore, sizes: Sequence[int], budget: int, count: int
) -> list[tuple[Shape, float]]:
    """Improve the surrogate's optimum: raise, lower or exchange ranks while the error falls."""
    seen: dict[Shape, float] = {}

    def error(shape: tuple[int, ...]) -> float:
        if shape not in seen:
            seen[shape] = _lost(found.core[tuple(slice(r) for r in shape)], found.norm)
        return seen[shape]

    best = best_packing(found.kept, sizes, budget)
    while True:
        near = [tuple(r + d for r, d in zip(best, step, strict=True)) for step in _steps(len(best))]
        allowed = [
            s
            for s in near
            if all(1 <= r <= most for r, most in zip(s, found.core.shape, strict=True))
            and shape_params(s, sizes) <= budget
        ]
        better = min(allowed, key=error, default=best)
        if error(better) >= error(best):
            return sorted(seen.items(), key=lambda item: item[1])[:count]
        best = better


def _steps(order: int) -> list[tuple[int, ...]]:
    """Return moves of one or two ranks by up to two."""
    moves = []
    for n, m in itertools.combinations(range(order), 2):
        for a, b in itertools.product((-2, -1, 0, 1, 2), repeat=2):
            step = [0] * order
            step[n], step[m] = a, b
            moves.append(tuple(step))
    return list(dict.fromkeys(moves))
