"""How far the bases of second-order methods grow."""

from __future__ import annotations

from enum import Enum


class Growth(Enum):
    """How many directions a second-order method looks along."""

    THREE = "3r"  # those of the r strongest rows only
    FOUR = "4r"  # those of all augmented rows
