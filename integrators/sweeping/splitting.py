"""Splitting the matrix of a bond: an orthonormal basis of one side, and what remains."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from contraction.arrays import eps, to_numpy
from contraction.linalg import adjoint, eigh, qr, svd
from contraction.truncation import Truncation


class Split(NamedTuple):
    """theta = basis @ rest up to what was discarded.

    Attributes
    ----------
    basis
        (a, r) with orthonormal columns.
    rest
        (r, b).
    discarded
        Relative Frobenius error.
    """

    basis: Any
    rest: Any
    discarded: float


def split(theta: Any, truncation: Truncation, xp: Any) -> Split:
    """Return the best basis of the columns of a matrix under a truncation rule.

    Parameters
    ----------
    theta
        (a, b).
    truncation
        Its `tol` is the relative Frobenius error allowed for this matrix.

    Notes
    -----
    Eigenvectors of the Gram matrix of the shorter side while `tol` is well above the square root
    of the machine precision, else a singular value decomposition. One product with theta gives
    `rest`, so that it is exact whatever the accuracy of the basis.
    """
    a, b = theta.shape
    fine = 0.0 < truncation.tol < 4.0 * eps(theta) ** 0.5
    if fine:
        U, s, _ = svd(theta)
        squares = np.asarray(to_numpy(s), dtype=np.float64) ** 2
    elif a <= b:
        w, U = eigh(theta @ adjoint(theta, xp))
        squares = np.maximum(np.asarray(to_numpy(w), dtype=np.float64), 0.0)
    else:
        w, V = eigh(adjoint(theta, xp) @ theta)
        squares = np.maximum(np.asarray(to_numpy(w), dtype=np.float64), 0.0)
    rank = truncation.rank(np.sqrt(squares))  # type: ignore[arg-type]
    total = float(squares.sum())
    lost = float(squares[rank:].sum()) / total if total else 0.0
    if not fine and a > b:
        basis = qr(theta @ V[:, :rank])[0]
    else:
        basis = U[:, :rank]
    return Split(basis, adjoint(basis, xp) @ theta, lost**0.5)
