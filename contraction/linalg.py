"""Dense factorisations that are checked, reproducible and the same in every namespace.

All of them refuse NaN and infinity, fix their signs by a rule (so that equal input gives equal
output whatever the driver), and try other drivers before they give up.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from contraction.arrays import (
    Array,
    Namespace,
    device,
    dtype_name,
    eps,
    namespace,
    namespace_name,
    to,
    to_numpy,
)
from contraction.elementary import (
    adjoint,
    detached,
    exponent,
    failures_of_lapack,
    norm_beside,
    phases,
    probe,
    read_back,
    scaled_back,
    times_power,
)
from contraction.errors import ConvergenceError, DTypeError, InputError, ShapeError
from contraction.householder import q_and_r
from contraction.svd_drivers import goes_to_host
from contraction.svd_ladder import climb, pivot_phases

__all__ = [
    "adjoint",
    "eigh",
    "polar",
    "qr",
    "singular_values",
    "solve_psd",
    "svd",
]


def qr(x: Array) -> tuple[Array, Array]:
    """Return the reduced QR factorisation with a real, non-negative diagonal of R.

    Parameters
    ----------
    x
        Matrix (m, n), or a batch of them (..., m, n).

    Returns
    -------
    Q, R
        Q (..., m, k) with Q^H Q = 1 and R (..., k, n) upper triangular, k = min(m, n). For a
        matrix of full column rank the two are unique. Differentiable by torch.

    Raises
    ------
    ShapeError
        Fewer than two axes, or no entries.
    DTypeError
        Entries that are no float or complex numbers.
    NonFiniteError
        NaN or infinity in `x`.
    ConvergenceError
        The driver returned NaN twice.

    Notes
    -----
    2 m n^2 - 2 n^3 / 3 flops for the factorisation and as many for Q (m >= n, real), by
    Householder reflections; memory for one copy of `x`. Where the driver returns NaN, as that
    of PyTorch on the CPU does for some singular matrices of complex64, it is asked again with
    one rounding error in `x` (`contraction.householder`).

    Examples
    --------
    >>> Q, R = qr(np.array([[0.0, 1.0], [-2.0, 0.0]]))
    >>> np.diag(R).tolist(), np.allclose(Q @ R, [[0, 1], [-2, 0]])
    ([2.0, 1.0], True)
    """
    if len(x.shape) < 2:
        raise ShapeError(f"qr takes a matrix, got an array of shape {tuple(x.shape)}.")
    xp = namespace(x)
    shift = exponent(x, xp)
    y = x if shift == 0 else times_power(x, -shift)
    Q, R = q_and_r(y, xp)
    p: Any = phases(xp.linalg.diagonal(R), xp)
    R = R * xp.conj(p)[..., :, None]
    return Q * p[..., None, :], scaled_back(R, shift)


def identity_like(x: Array, xp: Namespace) -> Array:
    """Return the identity of the size, dtype and device of the square matrix `x`."""
    found: Array = xp.eye(x.shape[0], dtype=x.dtype, device=device(x))
    return found


def svd(x: Array) -> tuple[Array, Array, Array]:
    """Return the thin singular value decomposition x = U diag(s) Vh.

    The ladder of `contraction.svd_ladder`: the result is verified, and on failure other drivers
    are tried. Arguments, errors, sign rule and cost as for `contraction.svd_ladder.climb`.

    Returns
    -------
    U, s, Vh
        (m, k), (k,) real and descending, (k, n) with k = min(m, n).

    Examples
    --------
    >>> U, s, Vh = svd(np.array([[0.0, -2.0], [1.0, 0.0]]))
    >>> s.tolist(), np.allclose((U * s) @ Vh, [[0, -2], [1, 0]])
    ([2.0, 1.0], True)
    """
    found = climb(x)
    return found.U, found.s, found.Vh


def singular_values(x: Array) -> Array:
    """Return the singular values of a matrix, descending; cheaper than `svd`.

    Checked against the Frobenius norm; on disagreement or failure the ladder of `svd` decides.

    Raises
    ------
    ShapeError, DTypeError, NonFiniteError, ConvergenceError
        As `svd`.

    Examples
    --------
    >>> singular_values(np.diag([1.0, -3.0])).tolist()
    [3.0, 1.0]
    """
    if len(x.shape) != 2:
        raise ShapeError(f"singular values belong to a matrix, got shape {tuple(x.shape)}.")
    xp = namespace(x)
    if exponent(x, xp) == 0:
        try:
            s: Array = xp.linalg.svdvals(x)
        except failures_of_lapack():
            return climb(x).s
        found, size = read_back(x, norm_beside(s), norm_beside(x))
        if abs(found - size) <= 100.0 * eps(x) * math.sqrt(min(x.shape)) * size:
            return s
    return climb(x).s


def eigh(x: Array) -> tuple[Array, Array]:
    """Return eigenvalues (descending) and eigenvectors of a Hermitian matrix.

    Parameters
    ----------
    x
        Matrix (n, n), Hermitian up to rounding.

    Returns
    -------
    w, V
        x V = V diag(w), V unitary; signs of the columns by the rule of `svd`.

    Raises
    ------
    ShapeError
        `x` is not square, or has no entries.
    DTypeError
        Entries that are no float or complex numbers.
    NonFiniteError
        NaN or infinity in `x`.
    ConvergenceError
        Every driver failed.

    Notes
    -----
    About 9 n^3 flops. LAPACK's divide and conquer (syevd) first; then, on the host, the QR
    iteration (syev) of SciPy. A result is taken if one probe vector confirms it.

    Examples
    --------
    >>> w, V = eigh(np.diag([1.0, 3.0]))
    >>> w.tolist()
    [3.0, 1.0]
    """
    if len(x.shape) != 2 or x.shape[0] != x.shape[1]:
        raise ShapeError(f"eigh takes a square matrix, got shape {tuple(x.shape)}.")
    if goes_to_host(x):
        return _from_host(eigh(to_numpy(x)), x)
    xp = namespace(x)
    shift = exponent(x, xp)
    y = x if shift == 0 else times_power(x, -shift)
    reasons = []
    for driver in (_eigh_direct, _eigh_host):
        try:
            w, V = driver(y, xp)
        except failures_of_lapack() as error:
            reasons.append(f"{driver.__name__.strip('_')}: {error}")
            continue
        w, V = xp.flip(w, axis=0), xp.flip(V, axis=1)
        if _confirmed(y, w, V):
            return scaled_back(w, shift), V * xp.conj(pivot_phases(V, xp))
        reasons.append(f"{driver.__name__.strip('_')}: the probe vector was not reproduced")
    raise ConvergenceError(
        f"no eigenvalue driver converged on a {x.shape[0]} x {x.shape[0]} {dtype_name(x)} matrix "
        f"with finite entries ({'; '.join(reasons)}). Check that it is Hermitian, or try float64."
    )


def _eigh_direct(x: Array, xp: Namespace) -> tuple[Array, Array]:
    w, V = xp.linalg.eigh(x)
    return w, V


def _eigh_host(x: Array, xp: Namespace) -> tuple[Array, Array]:
    from scipy.linalg import eigh as scipy_eigh

    found = scipy_eigh(to_numpy(x), driver="ev", check_finite=False)
    return _from_host(found, x)


def _from_host(found: tuple[Any, Any], x: Array) -> tuple[Array, Array]:
    """Put host results into the namespace and onto the device of `x`."""
    w, V = found
    if namespace_name(x) == "numpy":
        return w, V
    where: dict[str, Any] = {"namespace": namespace_name(x), "device": device(x)}
    return to(w, **where), to(np.ascontiguousarray(V), **where)


def _confirmed(x: Array, w: Array, V: Array) -> bool:
    """Tell whether V diag(w) V^H maps a probe vector as x does."""
    x, w, V = (detached(y) for y in (x, w, V))
    xp = namespace(x)
    p = probe(int(x.shape[0]), namespace_name(x), device(x), dtype_name(x))
    y = adjoint(V, xp) @ p
    sizes = (norm_beside(x @ p - V @ (y * w)), norm_beside(y))
    off, size, first, last = read_back(w, *sizes, w[0], w[-1])
    unit = 100.0 * eps(x) * math.sqrt(x.shape[0])
    return off <= unit * max(abs(first), abs(last)) and abs(size - 1.0) <= unit


def polar(x: Array) -> tuple[Array, Array]:
    """Return the polar factors x = W H: W with orthonormal columns (or rows), H = (x^H x)^(1/2).

    Parameters
    ----------
    x
        Matrix (m, n). For m >= n, W is the isometry closest to `x` in every unitarily invariant
        norm (Fan and Hoffman, Proc. AMS 6 (1955) 111).

    Returns
    -------
    W, H
        (m, n) with W = U Vh, and (n, n) Hermitian positive semidefinite. One `svd`.

    Raises
    ------
    ShapeError, DTypeError, NonFiniteError, ConvergenceError
        As `svd`.

    Examples
    --------
    >>> W, H = polar(np.array([[0.0, -2.0], [3.0, 0.0]]))
    >>> np.diag(H).tolist()
    [3.0, 2.0]
    """
    U, s, Vh = svd(x)
    xp = namespace(x)
    right: Any = adjoint(Vh, xp)
    return U @ Vh, (right * s) @ Vh


def solve_psd(A: Array, B: Array, *, ridge: float = 0.0) -> Array:
    """Return X with A X = B for a Hermitian positive semidefinite A; least squares if singular.

    Parameters
    ----------
    A
        (n, n), Hermitian positive semidefinite up to rounding; one triangle is read.
    B
        (n, k) or (n,), of the same dtype.
    ridge
        `ridge` times the mean of A's diagonal is added to the diagonal (Tikhonov, scale free).

    Raises
    ------
    ShapeError
        Shapes do not fit, or have no entries.
    DTypeError
        `A` and `B` have different dtypes, or entries that are no float or complex numbers.
    NonFiniteError
        NaN or infinity in `A` or `B`.
    InputError
        A negative or non-finite ridge, or a solution beyond the range of the dtype.

    Notes
    -----
    Cholesky (n^3 / 3 flops and 2 n^2 k for the solves) while the pivots span less than
    1 / sqrt(n eps); else eigenvalues below n eps times the largest are dropped, which gives the
    solution of least norm.

    Examples
    --------
    >>> solve_psd(np.array([[4.0, 0.0], [0.0, 0.0]]), np.array([2.0, 0.0])).tolist()
    [0.5, 0.0]
    """
    square = len(A.shape) == 2 and A.shape[0] == A.shape[1]
    if not square or len(B.shape) not in (1, 2) or B.shape[0] != A.shape[0]:
        raise ShapeError(f"A X = B does not fit shapes {tuple(A.shape)} and {tuple(B.shape)}.")
    if dtype_name(A) != dtype_name(B):
        raise DTypeError(
            f"A X = B needs one dtype, got {dtype_name(A)} and {dtype_name(B)}; "
            "convert one of them first (contraction.arrays.to)."
        )
    if not (ridge >= 0.0 and math.isfinite(ridge)):
        raise InputError(f"`ridge` is a finite number >= 0, got {ridge!r}.")
    xp = namespace(A, B)
    shift, shift_right = exponent(A, xp), exponent(B, xp)
    if shift:
        A = times_power(A, -shift)
    if shift_right:
        B = times_power(B, -shift_right)
    if ridge:
        mean = float(xp.sum(xp.real(xp.linalg.diagonal(detached(A))))) / A.shape[0]
        A = A + ridge * mean * identity_like(A, xp)
    columns = B if len(B.shape) == 2 else B.reshape(-1, 1)
    X = _cholesky_solve(A, columns, xp)
    if X is None:
        X = _least_squares(A, columns, xp)
    X = scaled_back(X, shift_right - shift)
    return X if len(B.shape) == 2 else X.reshape(-1)


def _cholesky_solve(A: Array, B: Array, xp: Namespace) -> Array | None:
    """Return the solution by Cholesky, or None where A is numerically singular."""
    library = namespace_name(A)
    if library == "numpy":
        L, X, info = _posv(dtype_name(A))(A, B, lower=1)
        if info != 0 or not _well(np.diagonal(L).real, A):
            return None
        return np.asarray(X)
    if library == "torch":
        L, info = xp.linalg.cholesky_ex(A)
        pivots = xp.where(info == 0, xp.real(xp.linalg.diagonal(detached(L))), 0.0)
        if not _well(to_numpy(pivots), A):
            return None
        solved: Array = xp.cholesky_solve(B, L)
        return solved
    L = xp.linalg.cholesky(A)  # CuPy: NaN instead of an error
    if not _well(to_numpy(xp.real(xp.linalg.diagonal(L))), A):
        return None
    solved = xp.linalg.solve(adjoint(L, xp), xp.linalg.solve(L, B))
    return solved


@lru_cache(maxsize=4)
def _posv(kind: str) -> Any:
    from scipy.linalg.lapack import get_lapack_funcs

    (found,) = get_lapack_funcs(("posv",), dtype=np.dtype(kind))
    return found


def _well(pivots: Any, A: Array) -> bool:
    """Tell whether the Cholesky pivots say that A is safely positive definite."""
    low, high = float(pivots.min()), float(pivots.max())
    return low > 0.0 and low >= math.sqrt(A.shape[0] * eps(A)) * high


def _least_squares(A: Array, B: Array, xp: Namespace) -> Array:
    w, V = eigh(A)
    floor = A.shape[0] * eps(A) * max(float(w[0]), 0.0)
    keep = w > floor
    weights = xp.where(keep, 1.0 / xp.where(keep, w, xp.ones_like(w)), xp.zeros_like(w))
    X: Array = V @ ((adjoint(V, xp) @ B) * weights[:, None])
    return X
