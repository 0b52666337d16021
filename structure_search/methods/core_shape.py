"""CoreShape: the Tucker core shape with the least error within a number of parameters."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, final

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

GRID = 2**26  # entries of the largest core whose cumulative sum is formed


@final
@dataclass(frozen=True, kw_only=True)
class CoreShape(AbstractMethod):
    """The best Tucker core shape with at most `max_params` parameters.

    One N-dimensional cumulative sum over the squared entries of the all-orthogonal core gives
    the truncated-HOSVD error of *every* shape at once; the best few are refined by orthogonal
    iteration inside that core. Beyond 2^26 shapes (then the data are large) the exact optimum
    of the additive surrogate is improved by exchanging ranks instead.

    Parameters
    ----------
    max_params
        Most parameters, prod r_n + sum I_n r_n.
    polish
        How many of the best shapes are refined.
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
        found = hosvd.orthogonal_core(problem.x, rank_caps(sizes, self.max_params))
        proposals = []
        for ranks, error in select_shapes(found, sizes, self.max_params, self.polish):
            structure = tucker(problem.modes, ranks)
            proposals.append(
                Proposal(
                    structure=structure,
                    solve=partial(_refine, found, structure, ranks, self.sweeps),
                    sweeps=self.sweeps,
                    label=f"core {'x'.join(map(str, ranks))}, HOSVD error {error:.3e}",
                )
            )
        for proposal in proposals:  # one by one: a budget may end the search in between
            yield [proposal]


def select_shapes(
    found: hosvd.OrthogonalCore, sizes: Sequence[int], budget: int, count: int
) -> list[tuple[tuple[int, ...], float]]:
    """Return the `count` best shapes within `budget` and their truncated-HOSVD errors.

    Exact over all shapes, by one cumulative sum, where the core has at most 2^26 entries.
    Cost: a few passes over the core.
    """
    if math.prod(found.core.shape) > GRID:
        return _exchanged(found, sizes, budget, count)
    energy = hosvd.captured(found.core)
    product: Any = np.ones((), np.int64)
    total: Any = np.zeros((), np.int64)
    for size, most in zip(sizes, found.core.shape, strict=True):
        ranks = np.arange(1, most + 1)
        product, total = product[..., None] * ranks, total[..., None] + size * ranks
    params = (product + total).ravel()
    feasible = np.flatnonzero(params <= budget)
    value = energy.ravel()[feasible]
    near = min(len(value), 16 * count)
    top = np.argpartition(value, len(value) - near)[-near:]
    # of shapes that keep equally much (up to rounding) the smaller one
    rounded = np.round(value[top] / found.norm**2, 13) if found.norm else value[top]
    top = feasible[top[np.lexsort((params[feasible[top]], -rounded))]][:count]
    places = np.unravel_index(top, energy.shape)
    shapes = [tuple(int(k) + 1 for k in place) for place in zip(*places, strict=True)]
    return [(s, _error(float(energy[tuple(r - 1 for r in s)]), found.norm)) for s in shapes]


def _error(kept: float, norm: float) -> float:
    return math.sqrt(max(norm**2 - kept, 0.0)) / norm if norm else 0.0


def _exchanged(
    found: hosvd.OrthogonalCore, sizes: Sequence[int], budget: int, count: int
) -> list[tuple[tuple[int, ...], float]]:
    """Improve the surrogate's optimum: raise, lower or exchange ranks while the error falls."""
    seen: dict[tuple[int, ...], float] = {}

    def error(shape: tuple[int, ...]) -> float:
        if shape not in seen:
            corner = found.core[tuple(slice(r) for r in shape)]
            kept = float(namespace(corner).linalg.vector_norm(corner)) ** 2
            seen[shape] = _error(kept, found.norm)
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
    found: hosvd.OrthogonalCore, structure: Structure, ranks: tuple[int, ...], sweeps: int
) -> Network:
    """Return the Tucker network of shape `ranks`, refined by orthogonal iteration."""
    core, inner, done = hosvd.orthogonal_iteration(found.core, ranks, sweeps=sweeps)
    arrays: dict[str, Array] = {"core": core}
    for n, (V, W) in enumerate(zip(found.factors, inner, strict=True)):
        factor: Any = V @ W
        arrays[f"u{n}"] = factor.T
    norm = float(np.linalg.norm(to_numpy(core)))
    error = _error(norm**2, found.norm)
    # the difference of two squares has a floor of sqrt(eps): below it only an estimate
    kind = ErrorKind.EXACT if error > 1e-6 else ErrorKind.ESTIMATE
    certificate = Certificate(error=error, kind=kind, methods={"core": f"hooi, {done} sweeps"})
    return Network(structure, arrays, center="core", certificate=certificate)
