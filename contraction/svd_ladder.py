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
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
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
    to_numpy,
)
from contraction.elementary import (
    adjoint,
    detached,
    exponent,
    failures_of_lapack,
    norm,
    norm_beside,
    phases,
    probe,
    read_back,
    require_entries,
    scaled_back,
    times_power,
)
from contraction.errors import ConvergenceError, PrecisionWarning, ShapeError
from contraction.svd_drivers import (
    LADDER,
    Rung,
    beside,
    direct,
    goes_to_host,
    gram,
    ladder_for,
    on_host,
    one_sided,
    triangular_first,
)

__all__ = [
    "LADDER",
    "Climb",
    "Rung",
    "adjoint",
    "climb",
    "detached",
    "direct",
    "exponent",
    "failures_of_lapack",
    "fix_signs",
    "gram",
    "inspect",
    "norm",
    "on_host",
    "one_sided",
    "phases",
    "pivot_phases",
    "probe",
    "require_entries",
    "scaled_back",
    "times_power",
    "triangular_first",
]
log = logging.getLogger(__name__)
TIE = 1.0 - 1e-3  # entries this close to the largest count as equal to it


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


def climb(x: Array, *, ladder: Sequence[Rung] | None = None) -> Climb:
    """Return the thin SVD of a matrix by the first rung of `ladder` that passes verification.

    Parameters
    ----------
    x
        Matrix (m, n), real or complex, any namespace.
    ladder
        Drivers in the order of trying; by default those of `ladder_for`.

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
    if ladder is None and goes_to_host(x):
        found = climb(to_numpy(x))
        U, s, Vh = beside((found.U, found.s, found.Vh), x)
        return replace(found, U=U, s=s, Vh=Vh)
    xp = namespace(x)
    shift = exponent(x, xp)
    y = x if shift == 0 else times_power(x, -shift)
    failures: dict[str, str] = {}
    for rung in ladder_for(y) if ladder is None else ladder:
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
    rises = xp.astype(xp.any(values[1:] > values[:-1]), values.dtype)
    sizes = (norm_beside(left - U @ y), norm_beside(y), norm_beside(left))
    residual, inner, outer, rises, largest, least = read_back(
        values, *sizes, rises, values[0], values[-1]
    )
    unit = eps(x)
    allowed = 100.0 * unit * math.sqrt(s.shape[0]) * largest
    if reduced:
        allowed = math.sqrt(unit) * largest
    # "not <=" instead of ">": NaN must fail
    if not residual <= allowed:
        return f"probe residual {residual:.1e} where {allowed:.1e} is allowed"
    if not abs(inner - outer) <= allowed:
        return "the left vectors are not orthonormal"
    if not (least >= 0.0 and rises == 0.0):
        return "the singular values are negative or not descending"
    return ""


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
