"""CoreShape: the Tucker core shape with the least error within a number of parameters."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, NamedTuple, TypeAlias, final

import numpy as np

from contraction.arrays import Array, namespace, to_numpy
from contraction.truncation import check_rank
from structure_search.methods import hosvd
from structure_search.methods.base import AbstractMethod, Problem, Proposal, Proposals
from structure_search.methods.packing import best_packing, rank_caps, shape_params
from structure_search.objectives import MaxParams
from tnet.certificate import Certificate, ErrorKind
from tnet.formats import tucker
from tnet.network import Network
from tnet.structure import Structure

SPARE = 4  # times as many vectors of each mode are kept as a shape can have, and as many more
GRID = 2**26  # entries of the largest core whose cumulative sum is formed
SCREENED = 48  # shapes that are tried by two sweeps of orthogonal iteration
FEWEST = 6  # of them, whatever their HOSVD errors
REACH = 1.5  # times what sweeps have gained so far: what they may gain on the next shape
CLOSE = 1.01  # of the least error after two sweeps: no shape above it is refined
FIRST_SWEEPS, LAST_SWEEPS = 4, 16  # of a round of refinement, of which every one is twice as long
FEW_ROWS = 12  # beyond the ranks are worked on until two shapes are left
SETTLED = 1e-5  # of the squared error: a sweep that gains less than that ends a round
FINAL = 1e-6  # the same, of the last refinement in the core
ON_DATA, FINAL_ON_DATA = 8, 1e-5  # sweeps on data larger than the core, and where they end
EQUAL = -1e-6  # shapes must come nearer to the best than that to stay in the race


Ranks: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]


class Tried(NamedTuple):
    """A shape after some sweeps, with the factors inside the core."""

    shape: tuple[int, ...]
    error: float
    factors: tuple[Array, ...]


@final
@dataclass(frozen=True, kw_only=True)
class CoreShape(AbstractMethod):
    """The best Tucker core shape with at most `max_params` parameters.

    One N-dimensional cumulative sum over the squared entries of the all-orthogonal core gives
    the truncated-HOSVD error of *every* shape at once. The best that cannot grow, and what
    exchanges of ranks make of them, are tried by two sweeps of orthogonal iteration inside that
    core, and the best of these are refined, of which half are left behind at a time. Beyond 2^26
    shapes (then the data are large) the exact optimum of the additive surrogate is improved by
    exchanging ranks instead.

    Parameters
    ----------
    max_params
        Most parameters, prod r_n + sum I_n r_n.
    polish
        How many of the best shapes are refined; the last two to the end.
    sweeps
        Most sweeps of orthogonal iteration for each.

    Examples
    --------
    >>> from structure_search import search
    >>> i, j, k = np.ogrid[1:9, 1:10, 1:11]
    >>> x = 1.0 / (i + j + k)
    >>> found = search(x, method=CoreShape(max_params=70), rng=np.random.default_rng(0))
    >>> found.best.num_params, found.best.error < 0.01
    (62, True)
    """

    needs_every_entry: ClassVar[bool] = True

    max_params: int
    polish: int = 8
    sweeps: int = 100

    def __post_init__(self) -> None:
        check_rank(self.max_params, "max_params")
        check_rank(self.polish, "polish")
        check_rank(self.sweeps, "sweeps", least=0)

    def default_objective(self) -> MaxParams:
        """Return the budget as an objective."""
        return MaxParams(params=self.max_params)

    def propose(self, problem: Problem) -> Proposals:
        """Yield the best shapes, best first."""
        sizes = tuple(problem.modes.values())
        caps = rank_caps(sizes, self.max_params)
        # more vectors than any shape can have: iteration turns the factors within them
        wide = [min(size, SPARE * cap + SPARE) for size, cap in zip(sizes, caps, strict=True)]
        if (entries := math.prod(sizes)) <= hosvd.WORKED_ON:
            wide = [min(size, entries // size) for size in sizes]  # all that its rank can use
        found = hosvd.orthogonal_core(problem.x, wide)
        corner = replace(found, core=found.core[tuple(slice(cap) for cap in caps)])
        proposals = []
        small = math.prod(corner.core.shape) <= GRID
        energy = hosvd.captured(corner.core) if small else None
        shapes = select_shapes(corner, sizes, self.max_params, SCREENED, energy)
        near = screened(found, sizes, self.max_params, shapes, energy)[: self.polish]
        whole = problem.x if entries > hosvd.WORKED_ON else None
        for tried in finalists(found, near):
            structure = tucker(problem.modes, tried.shape)
            ranks = "x".join(map(str, tried.shape))
            proposals.append(
                Proposal(
                    structure=structure,
                    solve=partial(_refine, found, whole, structure, tried, self.sweeps),
                    sweeps=self.sweeps,
                    label=f"core {ranks}, after a few sweeps {tried.error:.3e}",
                )
            )
        for proposal in proposals:  # one by one: a budget may end the search in between
            yield [proposal]


def select_shapes(
    found: hosvd.OrthogonalCore,
    sizes: Sequence[int],
    budget: int,
    count: int,
    energy: hosvd.Float | None = None,
) -> list[tuple[tuple[int, ...], float]]:
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
    return [
        (tuple(ranks[:, k].tolist()), _error(float(value[k]), found.norm)) for k in top.tolist()
    ]


def _largest_last(caps: Sequence[int], sizes: Sequence[int], budget: int) -> Ranks:
    """Return all useful shapes within the budget of which no rank can be raised, (order, shapes).

    All ranks but that of the mode with the largest cap are enumerated, and that is as large as
    the budget, the mode and the product of the others allow. A larger rank is of no use.
    """
    order, last = len(caps), max(range(len(caps)), key=lambda n: caps[n])
    others = [cap for n, cap in enumerate(caps) if n != last]
    grid = np.indices(others).reshape(order - 1, math.prod(others)) + 1
    weights = np.array([size for n, size in enumerate(sizes) if n != last], dtype=np.int64)
    product = grid.prod(axis=0)
    rank = np.minimum((budget - weights @ grid) // (product + sizes[last]), caps[last])
    ranks = np.insert(grid, last, np.minimum(rank, product), axis=0)[:, rank >= 1]
    product = ranks.prod(axis=0)
    room = budget - product - np.asarray(sizes) @ ranks
    kept = np.ones(ranks.shape[1], dtype=bool)
    for n, size in enumerate(sizes):
        others = product // ranks[n]
        kept &= ranks[n] <= others
        kept &= (others + size > room) | (ranks[n] >= caps[n]) | (ranks[n] >= others)
    return ranks[:, kept]


def screened(
    found: hosvd.OrthogonalCore,
    sizes: Sequence[int],
    budget: int,
    shapes: Sequence[tuple[tuple[int, ...], float]],
    energy: hosvd.Float | None = None,
) -> list[Tried]:
    """Return shapes after two sweeps of orthogonal iteration, best first, near ones only.

    The truncated HOSVD is not the best Tucker network of its shape, so the order changes. From
    the best shape on, exchanges of a rank or two are tried as well, as long as they help. Shapes
    whose HOSVD error is further above than sweeps have gained so far are passed over.
    """
    known: dict[tuple[int, ...], Tried] = {}
    gain, best = 0.0, math.inf
    near = list(shapes)
    while near:
        before = best
        for shape, rough in sorted(near, key=lambda pair: pair[1]):
            if shape in known:
                continue
            if len(known) >= FEWEST and rough * (1.0 - REACH * gain) > best:
                break
            if _least_error(found, shape) > best:
                continue
            corner = found.core[tuple(slice(max(2 * r, r + 3)) for r in shape)]
            core, factors, _ = hosvd.orthogonal_iteration(corner, shape, sweeps=2, rtol=1e-4)
            kept = float(namespace(core).linalg.vector_norm(core)) ** 2
            tried = known[shape] = Tried(shape, _error(kept, found.norm), factors)
            gain = max(gain, 1.0 - tried.error / rough if rough else 0.0)
            best = min(best, tried.error)
        if best >= before:
            break
        leader = min(known.values(), key=lambda t: (t.error, t.shape)).shape
        caps = rank_caps(sizes, budget)
        near = [
            (s, _corner_error(found, s, energy))
            for s in _around(leader, caps, sizes, budget)
            if s not in known
        ]
    order = sorted(known.values(), key=lambda t: (t.error, t.shape))
    return [tried for tried in order if tried.error <= CLOSE * order[0].error]


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
            kept = float(namespace(core).linalg.vector_norm(core)) ** 2
            left[k] = Tried(tried.shape, _error(kept, found.norm), factors)
            reach[tried.shape] = REACH * max(tried.error - left[k].error, 0.0)
        left.sort(key=lambda t: (t.error, t.shape))
        near_best = left[0].error * (1.0 + EQUAL)
        left = [left[0]] + [t for t in left[1:] if t.error - reach[t.shape] < near_best]
        left = left[: max(2, len(near) // 2)]
        near, sweeps = left, 2 * sweeps
    return left[:2]


def _corner_error(
    found: hosvd.OrthogonalCore, shape: tuple[int, ...], energy: hosvd.Float | None = None
) -> float:
    if energy is not None:
        return _error(float(energy[tuple(r - 1 for r in shape)]), found.norm)
    corner = found.core[tuple(slice(r) for r in shape)]
    return _error(float(namespace(corner).linalg.vector_norm(corner)) ** 2, found.norm)


def _around(
    shape: tuple[int, ...], caps: Sequence[int], sizes: Sequence[int], budget: int
) -> list[tuple[int, ...]]:
    """Return shapes with one rank lowered and another raised as far as the budget goes."""
    made = []
    for n, m in itertools.permutations(range(len(shape)), 2):
        for down in (0, 1, 2):
            ranks = list(shape)
            ranks[n] -= down
            if ranks[n] < 1:
                continue
            others = math.prod(ranks) // ranks[m]
            rest = (
                budget - sum(s * r for s, r in zip(sizes, ranks, strict=True)) + sizes[m] * ranks[m]
            )
            ranks[m] = min(caps[m], others, rest // (others + sizes[m]))
            if ranks[m] >= 1 and tuple(ranks) != shape:
                made.append(tuple(ranks))
    return list(dict.fromkeys(made))


def _least_error(found: hosvd.OrthogonalCore, shape: Sequence[int]) -> float:
    """Return a lower bound on the error of every network of this shape: the worst unfolding's."""
    kept = min(float(k[r - 1]) for k, r in zip(found.kept, shape, strict=True))
    return math.sqrt(max(1.0 - kept, 0.0))


def _error(kept: float, norm: float) -> float:
    return math.sqrt(max(norm**2 - kept, 0.0)) / norm if norm else 0.0


def _exchanged(
    found: hosvd.OrthogonalCore, sizes: Sequence[int], budget: int, count: int
) -> list[tuple[tuple[int, ...], float]]:
    """Improve the surrogate's optimum: raise, lower or exchange ranks while the error falls."""
    seen: dict[tuple[int, ...], float] = {}

    def error(shape: tuple[int, ...]) -> float:
        if shape not in seen:
            seen[shape] = _corner_error(found, shape)
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


def _refine(
    found: hosvd.OrthogonalCore,
    whole: Array | None,
    structure: Structure,
    tried: Tried,
    sweeps: int,
) -> Network:
    """Return the Tucker network of a shape, refined by orthogonal iteration.

    In the core, and where that is no rotation of all data on these themselves, `whole`.
    """
    core, inner, done = hosvd.orthogonal_iteration(
        found.core,
        tried.shape,
        sweeps=sweeps,
        start=tried.factors,
        rtol=FINAL,
        spare=max(found.core.shape),
    )
    bases: list[Any] = [V @ W for V, W in zip(found.factors, inner, strict=True)]
    if whole is None or hosvd.is_whole(found.core, whole, tried.shape):
        core, Q = hosvd.orthonormal(found.core, inner)
        factors: list[Any] = [V @ W for V, W in zip(found.factors, Q, strict=True)]
    else:
        core, more = hosvd.iterated(
            whole, bases, tried.shape, core, sweeps=min(sweeps, ON_DATA), rtol=FINAL_ON_DATA
        )
        done += more
        core, factors = hosvd.orthonormal(whole, bases)
    arrays: dict[str, Array] = {"core": core}
    arrays |= {f"u{n}": factor.T for n, factor in enumerate(factors)}
    norm = float(np.linalg.norm(to_numpy(core)))
    error = _error(norm**2, found.norm)
    # the difference of two squares has a floor of sqrt(eps): below it only an estimate
    kind = ErrorKind.EXACT if error > 1e-6 else ErrorKind.ESTIMATE
    certificate = Certificate(error=error, kind=kind, methods={"core": f"hooi, {done} sweeps"})
    return Network(structure, arrays, center="core", certificate=certificate)
