"""The leading eigenpairs of a positive semidefinite matrix, and no more work than they need."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from contraction.arrays import (
    Array,
    Namespace,
    device,
    dtype_name,
    eps,
    namespace,
    namespace_name,
    require_finite,
    to,
    to_numpy,
)
from contraction.elementary import failures_of_lapack
from contraction.linalg import adjoint, eigh
from contraction.svd_drivers import goes_to_host

GUARD = 8  # vectors iterated beside the wanted ones
WORTH = 64  # below this size all eigenpairs cost no more than some
ROUNDS = 4
SETTLED = 1e-6  # share of the weight left out by which the choice may miss the optimum
ROUNDING = 16.0  # times eps times the trace: weight that is no more than rounding
Values: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Choose: TypeAlias = Callable[[Values, float], int | None]


class Solver(Enum):
    """How eigenpairs were found."""

    SUBSPACE = "subspace iteration"
    PARTIAL = "partial eigensolver"
    COMPLETE = "eigensolver"


@dataclass(frozen=True, kw_only=True, eq=False)
class Leading:
    """Leading eigenpairs of a positive semidefinite matrix.

    Attributes
    ----------
    values
        (r,) descending, none below zero, on the host.
    vectors
        (n, r) with orthonormal columns, beside the matrix.
    left
        The weight left out: the trace without the sum of `values`, for these `vectors` exact up
        to rounding.
    solver
        How they were found.
    """

    values: Values
    vectors: Array
    left: float
    solver: Solver


def leading_eigenpairs(
    H: Array, choose: Choose, *, guess: int, trace: float | None = None
) -> Leading:
    """Return as many leading eigenpairs of a positive semidefinite matrix as `choose` asks for.

    Block subspace iteration from a fixed start without structure, with a Rayleigh-Ritz step each
    round. Where that is slow, a partial eigensolver on the host; where `guess` was too small, or
    is not small beside the size of `H`, all eigenpairs by `eigh`.

    Parameters
    ----------
    H
        Hermitian positive semidefinite (n, n).
    choose
        (leading values, descending; trace of H) -> how many of them are enough, or None if not
        even all of them are.
    guess
        How many will probably be enough.
    trace
        The trace of H, if it is known.

    Returns
    -------
    Leading
        The weight left out exceeds the smallest possible for so many vectors by at most about
        one part in 10^6, or by rounding. All n pairs if `choose` wants more than there are.

    Raises
    ------
    ShapeError, NonFiniteError, ConvergenceError
        As `contraction.eigh`.

    Notes
    -----
    With b = guess + 8: a product 2 n^2 b, a QR 4 n b^2 and an eigenproblem 9 b^3 for each round,
    and two products more for the first, against 9 n^3. Halko, Martinsson and Tropp, SIAM
    Review 53 (2011) 217, algorithm 4.4, with a stopping rule by the residuals of the Ritz pairs
    (Parlett, The Symmetric Eigenvalue Problem, section 11.7: error <= residual^2 / gap).

    Examples
    --------
    >>> found = leading_eigenpairs(np.diag([1.0, 4.0]), lambda w, t: 1, guess=1)
    >>> found.values.tolist(), abs(found.vectors[:, 0]).tolist(), found.left
    ([4.0], [0.0, 1.0], 1.0)
    """
    xp = namespace(H)
    n = int(H.shape[0])
    block = guess + GUARD
    if n >= WORTH and 2 * block <= n:
        if trace is None:
            trace = float(xp.sum(xp.real(xp.linalg.diagonal(H))))
        found, enough = _iterated(H, choose, block, trace, xp)
        if found is None and enough and device(H) == "cpu":
            found = _partial(H, choose, block, trace)
        if found is not None:
            return found
    w, V = eigh(H)
    values = _on_host(w)
    rank = choose(values, float(values.sum()))
    rank = n if rank is None else rank
    left = float(values[rank:].sum())
    return Leading(values=values[:rank], vectors=V[:, :rank], left=left, solver=Solver.COMPLETE)


def _iterated(
    H: Array, choose: Choose, block: int, trace: float, xp: Namespace
) -> tuple[Leading | None, bool]:
    """Iterate a subspace of `block` dimensions; also say whether so many are enough."""
    start: Any = _start(int(H.shape[0]), block, namespace_name(H), device(H), dtype_name(H))
    if not 0.0 < trace < math.inf:
        return None, True
    with np.errstate(all="ignore"), suppress(*failures_of_lapack()):  # the judge is `_settled`
        Z: Any = H @ (H @ (start / trace))  # without the trace, squares could leave the range
        for _ in range(ROUNDS):
            Q = xp.linalg.qr(Z)[0]
            Z = H @ Q
            w, W, values = _ritz(adjoint(Q, xp) @ Z, xp)
            rank = choose(values, trace)
            if rank is None or rank > block - GUARD // 2:
                return None, False
            V: Any = Q @ W[:, :rank]
            off: Any = Z @ W[:, :rank] - V * w[:rank]
            left = max(trace - float(values[:rank].sum()), 0.0)
            if _settled(off, values, left, trace, xp):
                solver = Solver.SUBSPACE
                return Leading(values=values[:rank], vectors=V, left=left, solver=solver), True
    return None, True


def _ritz(small: Any, xp: Namespace) -> tuple[Any, Any, Values]:
    """Return eigenvalues, descending, eigenvectors, and the eigenvalues on the host."""
    if goes_to_host(small):
        w, W = (np.flip(x, axis=-1) for x in np.linalg.eigh(to_numpy(small)))
        where: dict[str, Any] = {"namespace": namespace_name(small), "device": device(small)}
        return to(w, **where), to(np.ascontiguousarray(W), **where), _on_host(w)
    w, W = xp.linalg.eigh(small)
    w, W = xp.flip(w, axis=0), xp.flip(W, axis=1)
    return w, W, _on_host(w)


def _settled(off: Any, values: Values, left: float, trace: float, xp: Namespace) -> bool:
    """Tell whether exact eigenvectors could not leave out noticeably less.

    What they would capture beyond the Ritz vectors is at most the sum of residual^2 / gap, where
    what lies outside the subspace is no larger than its last Ritz value; and at most `left`.
    """
    noise = ROUNDING * eps(off) * trace
    squares = _on_host(xp.sum(xp.real(off * xp.conj(off)), axis=0))
    gaps = np.maximum(values[: len(squares)] - values[-1], noise)
    missed = min(float(np.sum(squares / gaps)), left)
    return missed <= max(SETTLED * left, noise)  # False for NaN


def _partial(H: Array, choose: Choose, count: int, trace: float) -> Leading | None:
    """Return eigenpairs by LAPACK's MRRR on the host, or None if they are wrong or too few."""
    from scipy.linalg import eigh as some_eigh

    G = to_numpy(H)
    require_finite(G, what="the Gram matrix")  # LAPACK promises nothing about NaN
    n = len(G)
    try:
        w, V = some_eigh(G, subset_by_index=[n - count, n - 1], check_finite=False)
    except failures_of_lapack():
        return None
    w, V = w[::-1], V[:, ::-1]
    rank = choose(_on_host(w), trace)
    if rank is None:
        return None
    w, V = w[:rank], V[:, :rank]
    unit = 100.0 * eps(H) * float(np.sqrt(n * rank))
    off = np.linalg.norm(G @ V - V * w)
    slant = np.linalg.norm(V.conj().T @ V - np.eye(rank))
    if not (off <= unit * float(w[0]) and slant <= unit):
        return None
    values = _on_host(w)
    vectors = to(np.ascontiguousarray(V), namespace=namespace_name(H), device=device(H))
    left = max(trace - float(values.sum()), 0.0)
    return Leading(values=values, vectors=vectors, left=left, solver=Solver.PARTIAL)


def _on_host(w: Any) -> Values:
    """Return eigenvalues in double precision, clipped at zero."""
    return np.maximum(np.asarray(to_numpy(w), dtype=np.float64), 0.0)


@lru_cache(maxsize=16)
def _start(rows: int, columns: int, library: str, place: str, kind: str) -> Array:
    """Return a fixed matrix without structure: cosines of k^2 times the golden ratio."""
    k = np.arange(1.0, rows * columns + 1.0)
    wave = np.cos((k * k * 0.6180339887498949 % 1.0) * (2.0 * np.pi) + 0.1)
    return to(wave.reshape(rows, columns), namespace=library, device=place, dtype=kind)
