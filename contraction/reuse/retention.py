"""Retention: what to keep and what to make again."""

from __future__ import annotations

from collections.abc import Collection

from contraction.errors import MemoryBudgetError
from contraction.reuse.messages import Messages
from contraction.reuse.schedules import Schedule


def within_memory(messages: Messages, results: Collection[int], limit: int) -> Schedule:
    """Return the schedule of least work within the limit."""
    raise MemoryBudgetError("too little")
