"""What every factorisation begins and ends with: checks, exact scaling, norms, a probe vector.

Numbers that the host needs come from a device by one transfer (`read_back`): each one waits
until the device has done all that was asked of it.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from contraction.arrays import (
    DTYPES,
    Array,
    Namespace,
    dtype_name,
    is_complex,
    namespace,
    namespace_name,
    require_finite,
    to,
    to_numpy,
)
from contraction.errors import DTypeError, InputError, ShapeError


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
    return float(norm_beside(v))


def norm_beside(v: Array) -> Any:
    """Return the Frobenius norm of `v` as a number, or as an array () beside `v`."""
    if namespace_name(v) == "numpy":
        flat: Any = v.reshape(-1)
        return math.sqrt(abs(np.vdot(flat, flat)))
    return namespace(v).linalg.vector_norm(detached(v))


def read_back(like: Array, *values: Any) -> list[float]:
    """Return real numbers () and vectors beside `like` as one list on the host.

    One transfer, in the wider of the dtypes.

    Examples
    --------
    >>> read_back(np.ones(2), np.float64(3.0), np.array([1.0, 2.0]))
    [3.0, 1.0, 2.0]
    """
    if namespace_name(like) == "numpy":
        return [float(x) for value in values for x in np.atleast_1d(value)]
    xp = namespace(like)
    flat = xp.concat([detached(value).reshape(-1) for value in values])
    found: list[float] = to_numpy(flat).tolist()
    return found


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
    if is_complex(x):  # NaN survives both maxima
        largest = float(xp.maximum(abs(y.real).max(), abs(y.imag).max()))
    else:
        largest = float(abs(y).max())
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
