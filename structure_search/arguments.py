"""Checks of what callers give to `search`, before any work."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from contraction.arrays import Array, dtype_name, eps
from contraction.errors import DTypeError, InputError, ShapeError

ROUNDING = 10.0  # times the unit of rounding: what sums over all entries leave of an error


def check_kind(name: str, value: Any, kind: type, wanted: str) -> None:
    """Raise unless a value is of a class; `wanted` says what to give instead.

    Raises
    ------
    InputError
        It is not.

    Examples
    --------
    >>> check_kind("rng", np.random.default_rng(0), np.random.Generator, "a generator")
    """
    if not isinstance(value, kind):
        given = f"the class {value.__name__}" if isinstance(value, type) else repr(value)
        raise InputError(f"`{name}` is {wanted}, got {given[:200]}.")


def check_callable(name: str, value: Callable[..., Any] | None) -> None:
    """Raise unless a value is None or can be called.

    Raises
    ------
    InputError
        It cannot.
    """
    if value is not None and not callable(value):
        raise InputError(f"`{name}` is a function, got {value!r}.")


def check_number(name: str, value: Any, *, least: float = 0.0, above: bool = False) -> None:
    """Raise unless a value is None or a finite number, at least `least` (or above it).

    Raises
    ------
    InputError
        It is neither.
    """
    if value is None:
        return
    number = isinstance(value, (int, float, np.integer, np.floating))
    number = number and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < least or (above and value == least):
        range_ = f"above {least:g}" if above else f"of at least {least:g}"
        raise InputError(f"`{name}` is a finite number {range_}, got {value!r}.")


def checked_truths(name: str, value: Any, shape: tuple[int, ...]) -> Any:
    """Return an array of True and False of a shape; lists become arrays.

    Raises
    ------
    DTypeError
        It holds no truth values.
    ShapeError
        It has another shape.
    """
    if isinstance(value, (list, tuple)):
        value = np.asarray(value)
    if not hasattr(value, "dtype") or not hasattr(value, "shape"):
        raise DTypeError(f"`{name}` is an array of True and False of shape {shape}, got {value!r}.")
    if dtype_name(value) not in ("bool", "bool_"):
        raise DTypeError(f"`{name}` holds True and False, expected bool, got {value.dtype}.")
    if tuple(value.shape) != shape:
        raise ShapeError(f"`{name}` has shape {tuple(value.shape)}, the data have {shape}.")
    return value


def check_reachable(tol: float, like: Array, *, limited: bool) -> None:
    """Raise if a search for a relative error would never end: it is below the rounding of data.

    Raises
    ------
    InputError
        It is, and nothing else ends the search.

    Examples
    --------
    >>> check_reachable(1e-10, np.zeros(2), limited=False)
    >>> check_reachable(0.0, np.zeros(2), limited=True)
    """
    least = ROUNDING * eps(like)
    if tol < least and not limited:
        raise InputError(
            f"no network comes nearer to data of type {dtype_name(like)} than their rounding, "
            f"a relative error of about {least:.0e}; got the tolerance {tol:g}, which a search "
            "would never reach. Ask for more, or limit the evaluations or the time."
        )
