"""QR by the driver of the library, asked a second time where it returns NaN.

Of a matrix with equal columns each step of Householder's method leaves eps times what was there
before, until the numbers are subnormal. Some drivers then divide by zero (seen in that of
PyTorch on the CPU, for complex64). A rounding error added to the matrix keeps the remainders at
that size, and costs no accuracy that the method promises.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from contraction import torch_lapack
from contraction.arrays import Array, Namespace, device, dtype_name, eps, namespace_name
from contraction.elementary import detached, probe
from contraction.errors import ConvergenceError

Factors: TypeAlias = tuple[Array, ...]


def q_and_r(x: Array, xp: Namespace) -> tuple[Array, Array]:
    """Return the reduced factors of a finite matrix, or of a batch, as the driver signs them.

    Raises
    ------
    ConvergenceError
        The driver returned NaN twice.
    """
    if torch_lapack.lends_qr(x):
        found = torch_lapack.qr(x)
        if _are_whole(found, xp):
            return found
    Q, R = _whole(x, xp, lambda y: tuple(xp.linalg.qr(y)))
    return Q, R


def r_alone(x: Array, xp: Namespace) -> Array:
    """Return R without forming Q, where the library can; errors as for `q_and_r`."""
    library = namespace_name(x)
    if torch_lapack.lends_qr(x):
        borrowed = torch_lapack.triangle(x)
        if _are_whole((borrowed,), xp):
            return borrowed

    def driver(y: Any) -> Factors:
        if library == "torch":
            return (xp.linalg.qr(y, mode="r")[1],)
        # the wrapper of CuPy takes for granted that there are two results
        plain = np if library == "numpy" else importlib.import_module(library)
        return (plain.linalg.qr(y, mode="r"),)

    (R,) = _whole(x, xp, driver)
    return R


def _whole(x: Array, xp: Namespace, driver: Callable[[Array], Factors]) -> Factors:
    found = driver(x)
    if not _are_whole(found, xp):
        found = driver(roughened(x, xp))
        if not _are_whole(found, xp):
            raise ConvergenceError(
                f"the QR driver of {namespace_name(x)} returns NaN on a {dtype_name(x)} array of "
                f"shape {tuple(x.shape)} with finite entries; try double precision."
            )
    return found


def _are_whole(factors: Factors, xp: Namespace) -> bool:
    sums = [xp.sum(detached(y)) for y in factors]
    return math.isfinite(abs(complex(sum(sums[1:], start=sums[0]))))


def roughened(x: Array, xp: Namespace) -> Array:
    """Return `x` with errors of about 2 eps max|x| in the entries of each matrix, always the same.

    Examples
    --------
    >>> import array_api_compat.numpy as xp
    >>> bool(0 < abs(roughened(np.ones((4, 3)), xp) - 1).max() < 1e-15)
    True
    """
    shape = tuple(x.shape[-2:])
    where = namespace_name(x), device(x), dtype_name(x)
    waves: Any = probe.__wrapped__(math.prod(shape), *where).reshape(shape)
    size: Any = xp.max(xp.abs(detached(x)), axis=(-2, -1), keepdims=True)
    found: Array = x + waves * (2.0 * math.sqrt(math.prod(shape)) * eps(x) * size)
    return found
