"""Truncated factorisation of a matrix: chooses how, and says how and at what error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from contraction.arrays import Array, eps, namespace, on_gpu, to_numpy
from contraction.basis import NOISE, Basis, Method, Unfolding, goal, left_basis, size_of
from contraction.errors import ShapeError
from contraction.linalg import adjoint, qr, svd
from contraction.svd_drivers import goes_to_host
from contraction.truncation import Truncation

__all__ = ["Basis", "Factorization", "Method", "Unfolding", "left_basis", "truncated_svd"]
SMALL = 16  # below this side a plain SVD is faster than any detour


@dataclass(frozen=True, kw_only=True, eq=False)
class Factorization:
    """A truncated singular value decomposition U diag(s) Vh.

    Attributes
    ----------
    U, s, Vh
        (m, r), (r,) descending and real, (r, n).
    discarded
        Frobenius norm of what was cut off.
    floor
        Uncertainty: the true discarded weight is at most sqrt(discarded^2 + floor^2).
    method
        How it was found.
    """

    U: Array
    s: Array
    Vh: Array
    discarded: float
    floor: float
    method: Method


def truncated_svd(
    x: Array,
    truncation: Truncation,
    *,
    allowed: float | None = None,
    method: Method = Method.AUTO,
    rng: np.random.Generator | None = None,
) -> Factorization:
    """Return the truncated singular value decomposition of a matrix.

    Parameters
    ----------
    x
        Matrix (m, n), real or complex.
    truncation
        Tolerance relative to the norm of `x`, and caps on the rank.
    allowed
        Absolute Frobenius error allowed; replaces the tolerance of `truncation`.
    method
        See `Method`; `AUTO` chooses as `left_basis` does, and a plain SVD for small matrices.
    rng
        Needed by `Method.RANDOMIZED`; allows `AUTO` to choose it.

    Raises
    ------
    ShapeError
        `x` is no matrix.
    NonFiniteError, InputError
        As `left_basis`.

    Notes
    -----
    `left_basis` of the shorter side, then 4 max(m, n) r^2 flops for the other factor. U and Vh
    are orthonormal to rounding whatever the method.

    Examples
    --------
    >>> found = truncated_svd(np.diag([3.0, 2.0, 1e-9]), Truncation(tol=1e-3))
    >>> found.s.round(12).tolist(), found.Vh.shape
    ([3.0, 2.0], (2, 3))
    """
    if len(x.shape) != 2:
        raise ShapeError(f"truncated_svd takes a matrix, got shape {tuple(x.shape)}.")
    xp = namespace(x)
    m, n = (int(size) for size in x.shape)
    small = min(m, n) <= SMALL and (goes_to_host(x) or not on_gpu(x))
    if method is Method.SVD or (method is Method.AUTO and small):
        return _direct(x, truncation, allowed)
    A = x if m <= n else adjoint(x, xp)
    basis = left_basis(A.reshape(1, *A.shape), truncation, allowed=allowed, method=method, rng=rng)
    # QR + SVD of the small second factor: its rows are then orthonormal to rounding
    Q, R = qr(adjoint(adjoint(basis.U, xp) @ A, xp))
    W, s, Zh = svd(adjoint(R, xp))
    U: Any = basis.U @ W
    Vh: Any = Zh @ adjoint(Q, xp)
    left, right = (U, Vh) if m <= n else (adjoint(Vh, xp), adjoint(U, xp))
    return Factorization(
        U=left, s=s, Vh=right, discarded=basis.discarded, floor=basis.floor, method=basis.method
    )


def _direct(x: Array, truncation: Truncation, allowed: float | None) -> Factorization:
    U, s, Vh = svd(x)
    values = np.asarray(to_numpy(s), dtype=np.float64)
    norm = size_of(values)
    floor = NOISE * eps(x) * norm
    rank = truncation.rank(values.tolist(), allowed=goal(truncation, allowed, norm, floor))
    return Factorization(
        U=U[:, :rank],
        s=s[:rank],
        Vh=Vh[:rank],
        discarded=size_of(values[rank:]),
        floor=floor,
        method=Method.SVD,
    )
