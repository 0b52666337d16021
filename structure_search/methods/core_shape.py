"""CoreShape: the Tucker core shape with the least error within a number of parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, final

import numpy as np

from contraction.arrays import Array, to_numpy
from contraction.truncation import check_rank
from structure_search.methods import hosvd
from structure_search.methods.base import AbstractMethod, Problem, Proposal, Proposals
from structure_search.methods.core_shape_choice import (
    Tried,
    finalists,
    relative_error,
    screened,
    select_shapes,
)
from structure_search.methods.packing import rank_caps
from structure_search.objectives import MaxParams
from tnet.certificate import Certificate, ErrorKind
from tnet.formats import tucker
from tnet.network import Network
from tnet.structure import Structure

SPARE = 4  # times as many vectors of each mode are kept as a shape can have, and as many more
LOOKED_AT = 256  # shapes, those with the least HOSVD errors
FINAL = 1e-6  # of the squared error: a sweep in the core that gains less than that is the last
ON_DATA, FINAL_ON_DATA = 8, 1e-5  # sweeps on data larger than the core, and where they end


@final
@dataclass(frozen=True, kw_only=True)
class CoreShape(AbstractMethod):
    """The best Tucker core shape with at most `max_params` parameters.

    One N-dimensional cumulative sum over the squared entries of the all-orthogonal core gives
    the truncated-HOSVD error of *every* shape at once. The core is then turned to the vectors
    that suit the best shape, as one sweep of orthogonal iteration finds them, and summed again:
    that shows what iteration gains on the shapes nearby. The shapes that may win are swept
    twice, and the best of these are refined, of which half are left behind at a time. Beyond
    2^26 shapes (then the data are large) the exact optimum of the additive surrogate is improved
    by exchanging ranks instead of the first sum.

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
        wide = _columns(sizes, caps)
        found = hosvd.orthogonal_core(problem.x, wide)
        corner = replace(found, core=found.core[tuple(slice(cap) for cap in caps)])
        shapes = select_shapes(corner, sizes, self.max_params, LOOKED_AT)
        near = screened(found, shapes)[: self.polish]
        entries = math.prod(sizes)
        every = all(n == min(i, entries // i) for n, i in zip(wide, sizes, strict=True))
        whole = None if every and entries <= hosvd.WORKED_ON else problem.x
        proposals = []
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


def _columns(sizes: Sequence[int], caps: Sequence[int]) -> list[int]:
    """Return how many vectors of each mode are kept: more than any shape can have.

    Iteration turns the factors within them. All of a small array's, where they cost no more.
    """
    entries = math.prod(sizes)
    wide = [min(size, SPARE * cap + SPARE) for size, cap in zip(sizes, caps, strict=True)]
    if entries > hosvd.WORKED_ON:
        return wide
    most = [min(size, entries // size) for size in sizes]  # of use
    return [m if hosvd.PART * n > m else n for n, m in zip(wide, most, strict=True)]


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
    error = relative_error(norm**2, found.norm)
    # the difference of two squares has a floor of sqrt(eps): below it only an estimate
    kind = ErrorKind.EXACT if error > 1e-6 else ErrorKind.ESTIMATE
    certificate = Certificate(error=error, kind=kind, methods={"core": f"hooi, {done} sweeps"})
    return Network(structure, arrays, center="core", certificate=certificate)
