"""Error kinds: what a figure of an error is worth."""

from __future__ import annotations

from enum import Enum


class ErrorKind(Enum):
    """What an error figure is."""

    EXACT = "exact"  # measured, up to the rounding of the arithmetic
    BOUND = "bound"  # never less than the true error
    ESTIMATE = "estimate"  # from samples or a shortcut with a known floor
