"""Norms whose squares may leave the range of the floats."""

from __future__ import annotations

import math
from typing import Any

from contraction.arrays import Array, dtype_name, namespace
from contraction.elementary import norm, times_power


def frobenius(x: Array) -> float:
    """Return the Frobenius norm of an array of any size of numbers.

    The plain sum of squares, and another one of scaled numbers where that leaves the range. NaN
    and infinity are returned as they are.

    Examples
    --------
    >>> import numpy as np
    >>> float(frobenius(np.array([3e-200, 4e-200])) / 1e-200)
    5.0
    """
    held: Any = x
    flat = held.reshape(-1)
    if flat.shape[0] == 0:
        return 0.0
    found = norm(flat)
    small, large = (1e-13, 1e18) if dtype_name(x) in ("float32", "complex64") else (1e-140, 1e150)
    if small < found < large:
        return found
    xp = namespace(x)
    largest = float(xp.max(xp.abs(flat)))
    if largest == 0.0 or not math.isfinite(largest):
        return largest
    e = math.frexp(largest)[1]
    return math.ldexp(norm(times_power(flat, -e)), e)


def exponent_of(size: float, like: Array) -> int:
    """Return e such that size * 2^-e is of moderate size; zero where it is already.

    Examples
    --------
    >>> import numpy as np
    >>> exponent_of(3.0, np.ones(1)), exponent_of(2.0**300, np.ones(1))
    (0, 301)
    """
    e = math.frexp(size)[1] if size and math.isfinite(size) else 0
    safe = 24 if dtype_name(like) in ("float32", "complex64") else 200
    return 0 if -safe <= e <= safe else e
