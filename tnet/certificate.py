"""Certificate: how far a network may be from the tensor it was made from, and how we know."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from contraction.error_kinds import ErrorKind as ErrorKind
from contraction.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """The error of an approximation, relative to the Frobenius norm of what was approximated.

    Attributes
    ----------
    error
        The figure to quote.
    kind
        Whether `error` is exact, a bound or an estimate.
    bound
        A guaranteed upper bound on the true error (infinite if none is known). For orthogonal
        truncations on a tree it is sqrt(sum over bonds of the squared discarded weight).
    discarded
        Bond -> relative error made at that bond alone.
    methods
        Bond -> the factorisation used there.
    allowed
        The tolerance that truncations have used up so far, or None if none had one. A later
        truncation counts its own tolerance from there.

    Examples
    --------
    >>> Certificate(error=0.1, kind=ErrorKind.EXACT, bound=0.12).error
    0.1
    """

    error: float
    kind: ErrorKind
    bound: float = math.inf
    discarded: Mapping[str, float] = field(default_factory=dict)
    methods: Mapping[str, str] = field(default_factory=dict)
    allowed: float | None = None

    def __post_init__(self) -> None:
        if not self.error >= 0.0 or not self.bound >= 0.0:
            raise InputError(f"an error is never negative, got {self.error} (bound {self.bound}).")
