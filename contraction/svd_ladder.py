"""The singular value decomposition that does not give up: a ladder of drivers, each verified.

A rung is a driver with a name; `climb` takes the first one whose result passes. Before the first
rung the matrix is checked for NaN and infinity (numpy's driver may hang on one) and, if its
entries are very large or very small, scaled by a power of two, which is exact. After each rung
one probe vector x is pushed through both sides: || A x - U (s * (Vh x)) || must be rounding.
That costs O(m n), finds every NaN, and finds a driver that returned the wrong numbers.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from contraction.arrays import (
    DTYPES,
    Array,
    Namespace,
    device,
    dtype_name,
    eps,
    is_complex,
    namespace,
    namespace_name,
    require_finite,
    to,
    to_numpy,
)
from contraction.errors import (
    ConvergenceError,
    DTypeError,
    InputError,
    PrecisionWarning,
    ShapeError,
)

log = logging.getLogger(__name__)
Triple: TypeAlias = tuple[Array, Array, Array]
TIE = 1.0 - 1e-3  # entries this close to the largest count as equal to it


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One driver of the ladder.

    Attributes
    ----------
    name
        What the log calls it.
    run
        (matrix, namespace) -> U, s, Vh, thin, s descending; may raise, may return rubbish.
    reduced
        True if small singular values carry an absolute error of sqrt(eps) times the largest.
    """

    name: str
    run: Callable[[Array, Namespace], Triple]
    reduced: bool = False


@dataclass(frozen=True, kw_only=True)
class Climb:
    """A decomposition with the story of how it was found.

    Attributes
    ----------
    U, s, Vh
        Thin factors, s descending, signs fixed.
    rung
        Name of the driver that gave them.
    failures
        Driver -> why it was not taken, in the order of trying.
    reduced
        True if the driver has reduced accuracy.
    """

    U: Array
    s: Array
    Vh: Array
    rung: str
    failures: dict[str, str] = field(default_factory=dict)
    reduced: bool = False


# ---- the rungs ---------------------------------------------------------------------------


def direct(x: Array, xp: Namespace) -> Triple:
    """Return the SVD by the library's own driver (gesdd on the CPU, gesvdj by cuSOLVER)."""
    U, s, Vh = xp.linalg.svd(x, full_matrices=False)
    return U, s, Vh


def one_sided(x: Array, xp: Namespace) -> Triple:
    """Return the SVD by LAPACK's QR iteration (gesvd) on the host: slower, hardly ever fails."""
    from scipy.linalg import svd as scipy_svd

    found = scipy_svd(to_numpy(x), full_matrices=False, lapack_driver="gesvd", check_finite=False)
    return _beside(found, x)


def triangular_first(x: Array, xp: Namespace) -> Triple:
    """Return the SVD of the R factor, after a QR of the longer side."""
    if x.shape[0] < x.shape[1]:
        V, s, Uh = triangular_first(adjoint(x, xp), xp)
        return adjoint(Uh, xp), s, adjoint(V, xp)
    Q, R = xp.linalg.qr(x)
    U, s, Vh = xp.linalg.svd(R, full_matrices=False)
    return Q @ U, s, Vh


def gram(x: Array, xp: Namespace) -> Triple:
    """Return the SVD from the eigenvectors of the smaller Gram matrix; reduced accuracy.

    The second pass of QR makes U orthonormal whatever the conditioning; only singular values
    below sqrt(eps) times the largest are inaccurate.
    """
    if x.shape[0] < x.shape[1]:
        V, s, Uh = gram(adjoint(x, xp), xp)
        return adjoint(Uh, xp), s, adjoint(V, xp)
    _, V = xp.linalg.eigh(adjoint(x, xp) @ x)
    V = xp.flip(V, axis=1)
    U, R = xp.linalg.qr(x @ V)
    values = xp.linalg.diagonal(R)
    s = xp.abs(values)
    order = xp.flip(xp.argsort(s), axis=0)
    U = U * phases(values, xp)
    return U[:, order], s[order], adjoint(V[:, order], xp)


def on_host(x: Array, xp: Namespace) -> Triple:
    """Return the SVD by NumPy on a copy in host memory."""
    return _beside(np.linalg.svd(to_numpy(x), full_matrices=False), x)


def _beside(found: Sequence[Any], x: Array) -> Triple:
    """Put host results into the namespace and onto the device of `x`."""
    if namespace_name(x) == "numpy":
        U, s, Vh = found
        return U, s, Vh
    where: dict[str, Any] = {"namespace": namespace_name(x), "device": device(x)}
    U, s, Vh = (to(np.ascontiguousarray(y), **where) for y in found)
    return U, s, Vh


LADDER = (
    Rung(name="direct", run=direct),
    Rung(name="gesvd", run=one_sided),
    Rung(name="qr-first", run=triangular_first),
    Rung(name="host", run=on_host),
    Rung(name="gram", run=gram, reduced=True),
)


# ---- climbing ------------------------------------------------------------------------------


def climb(x: Array, *, ladder: Sequence[Rung] = LADDER) -> Climb:
    """Return the thin SVD of a matrix by the first rung of `ladder` that passes verification.

    Parameters
    ----------
    x
        Matrix (m, n), real or complex, any namespace.
    ladder
        Drivers in the order of trying.

    Raises
    ------
    ShapeError
        `x` is no matrix, or has no entries.
    DTypeError
        Entries that are no float or complex numbers.
    NonFiniteError
        NaN or infinity in `x`.
    ConvergenceError
        Every rung failed; the message says how each did.

    Notes
    -----
    Signs: in every column of U the first entry whose modulus is within 1e-3 of the largest is
    made real and positive. The rule does not flip between nearly equal entries under rounding,
    as a plain argmax does. Cost: O(m n min(m, n)) flops for the first rung; check, probe and
    signs together O(m n).

    Examples
    --------
    >>> climb(np.diag([1.0, -2.0])).rung
    'direct'
    """
    if len(x.shape) != 2:
        raise ShapeError(f"svd takes a matrix, got an array of shape {tuple(x.shape)}.")
    xp = namespace(x)
    shift = exponent(x, xp)
    y = x if shift == 0 else times_power(x, -shift)
    failures: dict[str, str] = {}
    for rung in ladder:
        try:
            U, s, Vh = rung.run(y, xp)
        except failures_of_lapack() as error:
            failures[rung.name] = f"{type(error).__name__}: {error}"
        else:
            wrong = inspect(y, U, s, Vh, xp, reduced=rung.reduced)
            if not wrong:
                break
            failures[rung.name] = wrong
        log.warning("SVD driver %s failed on shape %s: %s", rung.name, x.shape, failures[rung.name])
    else:
        story = "; ".join(f"{name}: {why}" for name, why in failures.items())
        raise ConvergenceError(
            f"no SVD driver converged on a {x.shape[0]} x {x.shape[1]} {dtype_name(x)} matrix "
            f"with finite entries ({story}). Scale or regularise the data, or try float64."
        )
    if rung.reduced:
        warnings.warn(
            "the SVD came from a Gram matrix after every other driver failed; singular values "
            "below sqrt(eps) times the largest are inaccurate.",
            PrecisionWarning,
            stacklevel=3,
        )
    U, Vh = fix_signs(U, Vh, xp)
    return Climb(
        U=U, s=scaled_back(s, shift), Vh=Vh, rung=rung.name, failures=failures, reduced=rung.reduced
    )


def inspect(x: Array, U: Array, s: Array, Vh: Array, xp: Namespace, *, reduced: bool) -> str:
    """Return what is wrong with a decomposition of `x`, or an empty text.

    One probe vector of unit norm; a residual above 100 eps sqrt(min(m, n)) s_1 (sqrt(eps) s_1
    for a rung of reduced accuracy) is wrong, and so are values that are negative or rise.
    """
    values: Any = detached(s)
    x, U, Vh = detached(x), detached(U), detached(Vh)
    p = probe(int(x.shape[1]), namespace_name(x), device(x), dtype_name(x))
    left = x @ p
    y = (Vh @ p) * values
    off = left - U @ y
    largest = float(values[0])
    unit = eps(x)
    allowed = 100.0 * unit * math.sqrt(s.shape[0]) * largest
    if reduced:
        allowed = math.sqrt(unit) * largest
    # "not <=" instead of ">": NaN must fail
    if not (residual := norm(off)) <= allowed:
        return f"probe residual {residual:.1e} where {allowed:.1e} is allowed"
    if not abs(norm(y) - norm(left)) <= allowed:
        return "the left vectors are not orthonormal"
    if not float(values[-1]) >= 0.0 or bool((values[1:] > values[:-1]).any()):
        return "the singular values are negative or not descending"
    return ""


@lru_cache(maxsize=512)
def probe(size: int, library: str, place: str, kind: str) -> Array:
    """Return a fixed vector of unit norm without structure: cosines of k^2 times the golden ratio.

    Deterministic, so that the same input always takes the same rung.
    """
    k = np.arange(1, size + 1, dtype=np.float64)
    wave = np.cos(k * k * (2.0 * math.pi * 0.6180339887498949) + 0.1)
    wave /= math.sqrt(float(wave @ wave))
    return to(wave, namespace=library, device=place, dtype=kind)


def norm(v: Array) -> float:
    """Return the Frobenius norm of `v` as a number; its squares must stay in range."""
    if namespace_name(v) == "numpy":
        flat: Any = v.reshape(-1)
        return math.sqrt(abs(np.vdot(flat, flat)))
    return float(namespace(v).linalg.vector_norm(detached(v)))


def detached(x: Array) -> Array:
    """Return `x` outside torch's tape; other arrays as they are."""
    found: Array = x.detach() if hasattr(x, "detach") else x
    return found


def adjoint(x: Array, xp: Namespace) -> Array:
    """Return the conjugate transpose of the last two axes; a view for real arrays."""
    swapped: Any = xp.matrix_transpose(x)
    turned: Array = xp.conj(swapped) if is_complex(x) else swapped
    return turned


def phases(values: Array, xp: Namespace) -> Array:
    """Return values / |values|, one where a value is zero, outside torch's tape."""
    values = detached(values)
    if is_complex(values):
        # lifted, because one over a subnormal number is infinite
        values = xp.where(xp.abs(values) < 2.0**-100, values * 2.0**100, values)
        size: Any = xp.abs(values)
        found: Array = xp.where(size > 0, values / xp.where(size > 0, size, 1.0), 1.0)
        return found
    found = xp.sign(xp.sign(values) + 0.5)  # as sign, but one at zero
    return found


def pivot_phases(U: Array, xp: Namespace) -> Array:
    """Return the phase of the sign-fixing entry of every column of U, shape (columns,)."""
    flat = detached(U)
    size: Any = xp.abs(flat)
    near: Any = size >= TIE * xp.max(size, axis=0)
    if namespace_name(U) == "numpy":
        return phases(flat[near.argmax(axis=0), np.arange(flat.shape[1])], xp)
    first = xp.argmax(xp.astype(near, xp.int8), axis=0)  # torch has no argmax of booleans
    return phases(xp.take_along_axis(flat, first[None, :], axis=0)[0], xp)


def fix_signs(U: Array, Vh: Array, xp: Namespace) -> tuple[Array, Array]:
    """Turn the columns of U and the rows of Vh together so that the rule of `climb` holds."""
    p: Any = pivot_phases(U, xp)
    return U * xp.conj(p), Vh * p[:, None]


def require_entries(x: Array) -> None:
    """Raise `ShapeError` if `x` is empty, `DTypeError` if it holds no floats."""
    if dtype_name(x) not in DTYPES:
        raise DTypeError(
            f"a matrix of {dtype_name(x)} cannot be factorised; expected one of "
            f"{', '.join(DTYPES)}. Convert it first (contraction.arrays.to)."
        )
    if 0 in x.shape:
        raise ShapeError(f"an array of shape {tuple(x.shape)} has no entries to factorise.")


def exponent(x: Array, xp: Namespace) -> int:
    """Return e such that x * 2^-e is of moderate size; zero where x already is.

    Every factorisation begins here, and what none of them can take is refused.

    Raises
    ------
    ShapeError, DTypeError
        As `require_entries`.
    NonFiniteError
        NaN or infinity in `x`.
    """
    require_entries(x)
    y: Any = detached(x)
    # parts, because the modulus of a complex entry can overflow where the parts do not
    largest = float(abs(y.real).max())
    if is_complex(x):
        imaginary = float(abs(y.imag).max())
        largest = imaginary if not imaginary <= largest else largest  # NaN must survive
    if not math.isfinite(largest):
        require_finite(y, what="the matrix to factorise")
    if largest == 0.0:
        return 0
    e = math.frexp(largest)[1]
    safe = 32 if dtype_name(x) in ("float32", "complex64") else 256
    return 0 if -safe <= e <= safe else e


def times_power(x: Array, e: int) -> Array:
    """Return x * 2^e in two exact steps, since 2^e alone may leave the range."""
    scaled: Any = x
    found: Array = scaled * 2.0 ** (e // 2) * 2.0 ** (e - e // 2)
    return found


def scaled_back(x: Array, shift: int) -> Array:
    """Return x * 2^shift, the last step of a factorisation of a scaled matrix.

    Raises
    ------
    InputError
        The largest entry would leave the range of the dtype.
    """
    if shift == 0:
        return x
    y: Any = detached(x)
    power = math.frexp(float(abs(y).max()))[1] + shift
    if power > int(np.finfo(dtype_name(x)).maxexp):
        raise InputError(
            f"the result of the factorisation is about 2^{power}, beyond the range of "
            f"{dtype_name(x)}; divide the data by a constant first."
        )
    return times_power(x, shift)


def failures_of_lapack() -> tuple[type[BaseException], ...]:
    """Return the exceptions by which drivers say that they did not converge.

    Torch raises `torch.linalg.LinAlgError`, a RuntimeError; CuPy NumPy's own; wrappers of LAPACK
    also ValueError.
    """
    return (np.linalg.LinAlgError, ValueError, ArithmeticError, RuntimeError)
