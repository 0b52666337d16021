"""Leading left singular vectors of an unfolding: which way to find them, and how sure we are.

The ways for N entries and rank r; n is the number of rows:

======================  ====================================  ================================
method                  flops                                 error of the discarded weight
======================  ====================================  ================================
GRAM + eigh             n N (A A^T is symmetric) + 9 n^3      sqrt(eps): about 1e-8 of the norm
GRAM_SINGLE             n N in single precision + 9 n^3       3e-4 of the norm
RANDOMIZED, q = 1       10 (r + 8) N                          as the inner factorisation
QR_SVD (blocked)        2 n N + 20 n^3                        eps
======================  ====================================  ================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from contraction.arrays import (
    Array,
    Namespace,
    dtype_name,
    eps,
    is_complex,
    namespace,
    on_gpu,
    require_finite,
    to_numpy,
)
from contraction.elementary import times_power
from contraction.errors import InputError, ShapeError
from contraction.gram import (
    as_matrix,
    cast,
    empty_basis,
    gram,
    gram_single,
    power,
    project,
    residual,
    sketch,
    squared_norm,
    triangle,
    wide,
)
from contraction.leading import leading_eigenpairs
from contraction.linalg import adjoint, qr, svd
from contraction.truncation import Truncation

GRAM_TOL = 1e-6  # share of the norm below which a Gram matrix (double precision) loses the cut
OVERSAMPLING = 8
SAFE_SQUARES = (1e-250, 1e250)  # outside, squared norms under- or overflow: scale first
SAFE_SINGLE_SQUARES = (1e-30, 1e30)
SINGLE_FLOOR = 1e-7  # of the squared norm: what products in single precision may misjudge
NOISE = 8.0  # a tail below NOISE * eps * norm is rounding, never signal
LEAST_SKETCHED = 1024  # side from which a sketch is cheaper than a Gram matrix,
LEAST_SKETCHED_GPU = 4096  # which takes few, large products
UNASKED = 8  # share of the size to try for where no rank is given
DOUBLE = float(np.finfo(np.float64).eps)
Values: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]


class Method(Enum):
    """A way to factorise; `AUTO` chooses by tolerance, shape and dtype.

    `GRAM_SINGLE` finds the basis from products in single precision, twice as fast as `GRAM`; it
    suits errors above 3e-3, and its discarded weight is an estimate until it is measured.
    """

    AUTO = "auto"
    SVD = "svd"
    QR_SVD = "qr+svd"
    GRAM = "gram"
    GRAM_SINGLE = "gram (single)"
    RANDOMIZED = "randomized"


@dataclass(frozen=True, kw_only=True, eq=False)
class Unfolding:
    """An unfolding that can be read again and again, in parts.

    Attributes
    ----------
    read
        Returns the parts anew: arrays (before, rows, after), together all columns.
    rows, columns
        Shape of the unfolding.
    like
        An array of the namespace, device and dtype of the parts.
    whole
        The one part, if there is one and it is in memory.
    """

    read: Callable[[], Iterable[Array]]
    rows: int
    columns: int
    like: Array
    whole: Array | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Basis:
    """Leading left singular vectors of an unfolding.

    Attributes
    ----------
    U
        (n, r) with orthonormal columns, in the dtype of the data.
    norm
        Frobenius norm of the unfolding.
    discarded
        Frobenius norm of what lies outside the basis.
    floor
        Uncertainty: the true discarded weight is at most sqrt(discarded^2 + floor^2).
    method
        How it was found.
    """

    U: Array
    norm: float
    discarded: float
    floor: float
    method: Method


def left_basis(
    x: Array | Unfolding,
    truncation: Truncation,
    *,
    allowed: float | None = None,
    norm: float | None = None,
    method: Method = Method.AUTO,
    rng: np.random.Generator | None = None,
) -> Basis:
    """Return the leading left singular vectors of an unfolding, without copying it.

    `Method.AUTO` takes the Gram matrix where a tolerance of at least 1e-6 leaves room for its
    rounding, or where a rank is given and the eigenvalues show afterwards that the cut lies
    above it; the blocked QR factorisation otherwise.

    Parameters
    ----------
    x
        Array (before, n, after), whose unfolding has the middle axis as rows; or an `Unfolding`
        that is read in parts.
    truncation
        Tolerance relative to the norm of `x`, and caps on the rank.
    allowed
        Absolute Frobenius error allowed; replaces the tolerance of `truncation`.
    norm
        Frobenius norm of `x`, if known.
    method
        See `Method`.
    rng
        Needed by `Method.RANDOMIZED`; allows `AUTO` to choose it, which it does for a capped
        rank on a side of 1024 or more.

    Returns
    -------
    Basis
        U U^H x is the best approximation of its rank (RANDOMIZED: nearly the best). Sums run in
        double precision; U has the dtype of the data.

    Raises
    ------
    ShapeError
        `x` has not three axes.
    NonFiniteError
        NaN or infinity in `x`.
    InputError
        A randomised method without `rng`.

    Notes
    -----
    Cost: see the table of the module. Memory: n^2 entries beside the data (for GRAM, the
    smaller side of the unfolding squared). Randomised range finder with one step of subspace
    iteration: Halko, Martinsson, Tropp, SIAM Review 53 (2011) 217, algorithm 4.4. Data whose
    squares over- or underflow are rescaled by a power of two.

    Examples
    --------
    >>> x = np.multiply.outer(np.ones(2), np.multiply.outer(np.arange(3.0), np.ones(4)))
    >>> basis = left_basis(x, Truncation(tol=1e-3))
    >>> basis.U.shape, basis.method.value, bool(basis.discarded < 1e-6 * basis.norm)
    ((3, 1), 'gram', True)
    """
    if not isinstance(x, Unfolding):
        x = unfolding(x)
    chosen = method if method is not Method.AUTO else _choose(x, truncation, allowed, norm, rng)
    found: Basis | None = None
    if chosen is Method.RANDOMIZED:
        if rng is None:
            raise InputError("Method.RANDOMIZED draws random numbers; pass rng=.")
        found = _by_sketch(x, allowed, truncation, rng)
    elif chosen in (Method.GRAM, Method.GRAM_SINGLE):
        found = _by_gram(x, allowed, truncation, chosen, trusting=chosen is method)
    return _by_svd(x, allowed, truncation, chosen) if found is None else found


def unfolding(x: Array) -> Unfolding:
    """Return an array (before, n, after) as an unfolding in one part."""
    if len(x.shape) != 3:
        raise ShapeError(f"an unfolding is a view (before, n, after), got {tuple(x.shape)}.")
    before, n, after = (int(size) for size in x.shape)
    return Unfolding(read=lambda: (x,), rows=n, columns=before * after, like=x, whole=x)


def goal(truncation: Truncation, allowed: float | None, norm: float, floor: float) -> float:
    """Return the absolute error to aim at, so that rounding cannot push it over the limit."""
    limit = truncation.tol * norm if allowed is None else allowed
    if limit <= floor:
        return floor
    return limit * math.sqrt(1.0 - (floor / limit) ** 2)


def size_of(values: Values) -> float:
    """Return the 2-norm of descending values, safe against overflow of the squares."""
    top = float(values[0]) if len(values) else 0.0
    return top * math.sqrt(float(np.sum((values / top) ** 2))) if top > 0.0 else 0.0


def _choose(
    x: Unfolding,
    truncation: Truncation,
    allowed: float | None,
    norm: float | None,
    rng: np.random.Generator | None,
) -> Method:
    small, cap = min(x.rows, x.columns), truncation.max_rank
    least = LEAST_SKETCHED_GPU if on_gpu(x.like) else LEAST_SKETCHED
    if rng is not None and cap is not None and small >= least and 8 * (cap + 8) <= small:
        return Method.RANDOMIZED
    share = truncation.tol if allowed is None else (allowed / norm if norm else 0.0)
    return Method.GRAM if cap is not None or share >= GRAM_TOL else Method.QR_SVD


def _by_svd(x: Unfolding, allowed: float | None, truncation: Truncation, method: Method) -> Basis:
    """Singular values without squaring: of the triangle, or (SVD) of an unfolding in memory."""
    if method is Method.SVD and x.whole is not None:
        xp = namespace(x.whole)
        U, s, _ = svd(wide(as_matrix(x.whole)))
    else:
        method, R = Method.QR_SVD, triangle(x.read())
        xp = namespace(R)
        if not bool(xp.all(xp.isfinite(R))):
            _require_finite(x)
        _, s, Vh = svd(R)
        U = adjoint(Vh, xp)
    kind, values = dtype_name(x.like), np.asarray(to_numpy(s), dtype=np.float64)
    size = size_of(values)
    rank = truncation.rank(
        values.tolist(), allowed=goal(truncation, allowed, size, NOISE * eps(kind) * size)
    )
    return Basis(
        U=cast(U[:, :rank], kind),
        norm=size,
        discarded=size_of(values[rank:]),
        floor=NOISE * DOUBLE * size,
        method=method,
    )


def _by_gram(
    x: Unfolding, allowed: float | None, truncation: Truncation, method: Method, *, trusting: bool
) -> Basis | None:
    """Gram matrix of the shorter side; None if its rounding hides the cut (unless `trusting`)."""
    xp = namespace(x.like)
    single = method is Method.GRAM_SINGLE
    M = as_matrix(x.whole) if x.whole is not None and x.columns < x.rows else None
    parts = x.read() if M is None else [M.reshape(*M.shape, 1)]
    G, square = gram_single(parts) if single else (gram(parts), None)
    total = float(xp.sum(xp.real(xp.linalg.diagonal(G))))
    safe = SAFE_SINGLE_SQUARES if single else SAFE_SQUARES
    if not safe[0] < total < safe[1]:
        solve = partial(_by_gram, truncation=truncation, method=method, trusting=trusting)
        return _rescaled(x, allowed, solve)
    size, n = math.sqrt(total if square is None else square), int(G.shape[0])
    unit = SINGLE_FLOOR if single else 4.0 * DOUBLE * math.sqrt(n)
    floor = math.sqrt(unit) * size
    limit = truncation.tol * size if allowed is None else allowed
    within = goal(truncation, allowed, size, floor)

    def choose(squares: Values, trace: float) -> int | None:
        known = squares
        if len(squares) < n:  # all others together
            known = np.append(squares, max(trace - float(squares.sum()), 0.0))
        rank = truncation.rank(np.sqrt(known).tolist(), allowed=within)
        return rank if rank <= len(squares) else None

    guess = truncation.max_rank or n // UNASKED
    found = leading_eigenpairs(G, choose, guess=guess, trace=total)
    V, rank = found.vectors, len(found.values)
    lost = GRAM_TOL**2 * float(found.values[0])
    clear = (float(found.values[-1]) if rank == n else found.left) >= lost
    if not (trusting or clear or limit >= GRAM_TOL * size):
        return None
    U = V if M is None else qr(_wide_product(M, V, xp))[0]
    return Basis(
        U=cast(U, dtype_name(x.like)),
        norm=size,
        discarded=math.sqrt(found.left),
        floor=NOISE * DOUBLE * size if rank == n else floor,  # nothing was cut
        method=method,
    )


def _wide_product(M: Array, V: Array, xp: Namespace) -> Array:
    """Return M conj(V): eigenvectors of the transposed Gram matrix are conjugates."""
    flipped: Any = xp.conj(V) if is_complex(V) else V
    product: Array = xp.astype(M, V.dtype, copy=False) @ flipped
    return product


def _by_sketch(
    x: Unfolding, allowed: float | None, truncation: Truncation, rng: np.random.Generator
) -> Basis | None:
    """Randomised range finder, widened until the tolerance holds; None if it saves nothing."""
    total = squared_norm(x.read())
    if not SAFE_SQUARES[0] < total < SAFE_SQUARES[1]:
        return _rescaled(x, allowed, partial(_by_sketch, truncation=truncation, rng=rng))
    size, cap = math.sqrt(total), truncation.max_rank
    limit = truncation.tol * size if allowed is None else allowed
    width = (cap if cap is not None else 24) + OVERSAMPLING
    while width < min(x.rows, x.columns):
        Q = qr(sketch(x.read(), width, rng))[0]
        Q = qr(power(x.read(), Q))[0]
        missed = max(total - squared_norm(_projected(x, Q).read()), 0.0)
        if missed < GRAM_TOL**2 * total:
            missed = residual(x.read(), Q)  # the difference above is all rounding
        if cap is not None or math.sqrt(missed) <= limit / 2.0:
            rest = math.sqrt(max(limit * limit - missed, 0.0))
            inner = left_basis(_projected(x, Q), truncation, allowed=rest, norm=size)
            discarded = math.hypot(math.sqrt(missed), inner.discarded)
            return Basis(
                U=Q @ inner.U,
                norm=size,
                discarded=discarded,
                floor=math.hypot(inner.floor, NOISE * eps(x.like) * size),
                method=Method.RANDOMIZED,
            )
        width *= 2
    return None


def _projected(x: Unfolding, Q: Array) -> Unfolding:
    return Unfolding(
        read=lambda: (project(Q, part) for part in x.read()),
        rows=int(Q.shape[1]),
        columns=x.columns,
        like=x.like,
    )


def _rescaled(
    x: Unfolding,
    allowed: float | None,
    solve: Callable[[Unfolding, float | None], Basis | None],
) -> Basis | None:
    """Solve for data whose squares leave the range of the floats; refuses NaN and infinity."""
    _require_finite(x)
    top = 0.0
    for part in x.read():
        top = max(top, float(namespace(part).max(namespace(part).abs(part))))
    if top == 0.0:
        basis = empty_basis(x.rows, x.like)
        return Basis(U=basis, norm=0.0, discarded=0.0, floor=0.0, method=Method.GRAM)
    shift = math.frexp(top)[1]
    near = replace(
        x,
        read=lambda: (times_power(part, -shift) for part in x.read()),
        whole=None if x.whole is None else times_power(x.whole, -shift),
    )
    found = solve(near, None if allowed is None else math.ldexp(allowed, -shift))
    if found is None:
        return None
    norm, discarded, floor = (
        math.ldexp(value, shift) for value in (found.norm, found.discarded, found.floor)
    )
    return replace(found, norm=norm, discarded=discarded, floor=floor)


def _require_finite(x: Unfolding) -> None:
    for part in x.read():
        require_finite(part, what="the unfolding (before, n, after)")
