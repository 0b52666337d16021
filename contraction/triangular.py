"""Triangular factors R with R^H R = x^H x: by QR without Q, or faster by Cholesky of the Gram."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from contraction.arrays import Array, dtype_name, eps, namespace
from contraction.elementary import (
    exponent,
    failures_of_lapack,
    require_entries,
    scaled_back,
    times_power,
)
from contraction.errors import ShapeError
from contraction.householder import r_alone
from contraction.linalg import adjoint, eigh, identity_like

LIFT = 4.0  # what is added to the diagonal of a singular Gram matrix, in eps times its trace


def r_factor(x: Array) -> Array:
    """Return R with R^H R = x^H x by a QR factorisation that never forms Q.

    Parameters
    ----------
    x
        Matrix (m, n).

    Returns
    -------
    Array
        (k, n), k = min(m, n), upper triangular; its signs are not fixed.

    Raises
    ------
    ShapeError, DTypeError, NonFiniteError, ConvergenceError
        As `qr`.

    Notes
    -----
    2 m n^2 - 2 n^3 / 3 flops (m >= n): half of `qr`. Small singular values keep their absolute
    accuracy eps ||x||, which those of a Gram matrix do not.

    Examples
    --------
    >>> R = r_factor(np.array([[3.0], [4.0]]))
    >>> abs(R).tolist()
    [[5.0]]
    """
    if len(x.shape) != 2:
        raise ShapeError(f"r_factor takes a matrix, got shape {tuple(x.shape)}.")
    xp = namespace(x)
    shift = exponent(x, xp)
    y = x if shift == 0 else times_power(x, -shift)
    return scaled_back(r_alone(y, xp), shift)


def gram_factor(x: Array) -> Array:
    """Return R with R^H R = x^H x up to rounding of the Gram matrix, by Cholesky.

    Parameters
    ----------
    x
        Matrix (m, n).

    Returns
    -------
    Array
        (n, n). Where the Gram matrix is singular to rounding, 4 eps times its trace is added to
        the diagonal; if even that is not enough, R is a square root from the eigenvectors.

    Raises
    ------
    ShapeError, DTypeError, NonFiniteError
        As `qr`.

    Notes
    -----
    m n^2 flops for the Gram matrix (NumPy uses its symmetry) and n^3 / 3 for Cholesky: a few
    times faster than `r_factor`. Singular values below sqrt(eps) ||x|| are lost.

    Examples
    --------
    >>> R = gram_factor(np.array([[3.0], [4.0]]))
    >>> R.tolist()
    [[5.0]]
    """
    if len(x.shape) != 2:
        raise ShapeError(f"gram_factor takes a matrix, got shape {tuple(x.shape)}.")
    require_entries(x)
    xp = namespace(x)
    with np.errstate(over="ignore", invalid="ignore"):
        G: Any = adjoint(x, xp) @ x
        trace = float(xp.sum(xp.real(xp.linalg.diagonal(G))))
    if not smallest_trace(dtype_name(x)) <= trace < math.inf:  # NaN comes here too
        shift = exponent(x, xp)
        if shift:
            return scaled_back(gram_factor(times_power(x, -shift)), shift)
    if trace == 0.0:
        zero: Array = xp.zeros_like(G)
        return zero
    for lift in (0.0, LIFT * eps(x)):
        try:
            L = xp.linalg.cholesky(G + lift * trace * identity_like(G, xp) if lift else G)
        except failures_of_lapack():
            continue
        if math.isfinite(float(xp.real(L[-1, -1]))):  # CuPy says NaN instead of raising
            return adjoint(L, xp)
    w, V = eigh(G)
    root = xp.sqrt(xp.clip(w, 0.0, None))
    found: Array = root[:, None] * adjoint(V, xp)
    return found


@lru_cache(maxsize=4)
def smallest_trace(kind: str) -> float:
    """Return the trace of a Gram matrix below which its squares lose digits to underflow."""
    limits = np.finfo(np.dtype(kind))
    return float(limits.tiny) / float(limits.eps) ** 2
