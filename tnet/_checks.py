"""Checks of arguments that several modules share."""

from __future__ import annotations

from typing import Any

from contraction.errors import StructureError

LONGEST_NAME = 256


def is_whole(value: Any) -> bool:
    """Tell whether `value` is a whole number, of whatever type of number but not a boolean."""
    try:
        return not isinstance(value, bool) and int(value) == value
    except (TypeError, ValueError, OverflowError):
        return False


def check_name(name: Any, kind: str) -> None:
    """Raise `StructureError` unless `name` is a printable text of 1 to 256 characters."""
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
        shown = repr(name)[:60]
        raise StructureError(
            f"a {kind} is named by a printable text of 1 to {LONGEST_NAME} characters, got {shown}."
        )
