"""The commands of a structure search: `tnet search`, `tnet resume` and `tnet compare`."""

from __future__ import annotations

from typing import Any

from structure_search.commands import compare, resume, search


def register(subparsers: Any) -> None:
    """Add the commands."""
    for command in (search, resume, compare):
        command.register(subparsers)
