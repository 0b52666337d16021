"""Ctrl-C and SIGTERM: the first finishes what is being done, the second stops now."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")


class Interrupts(Generic[T]):
    """Turns the first signal into an outcome that long work asks for between its parts.

    Parameters
    ----------
    say
        Called with a line for the user at the first signal.
    interrupted, terminated
        The outcomes for Ctrl-C and for SIGTERM.
    doing
        What is finished before the end, for that line.

    Examples
    --------
    >>> with Interrupts(print, interrupted=130, terminated=143, doing="this step") as stop:
    ...     stop() is None
    True
    """

    def __init__(
        self, say: Callable[[str], None], *, interrupted: T, terminated: T, doing: str
    ) -> None:
        self._say, self._doing = say, doing
        self._interrupted, self._terminated = interrupted, terminated
        self._before: dict[int, Any] = {}
        self.outcome: T | None = None

    def __call__(self) -> T | None:
        """Return how to end, or None to go on."""
        return self.outcome

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                self._before[number] = signal.signal(number, self._caught)
            except ValueError:  # not the main thread: its owner handles signals
                break
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _caught(self, number: int, _: FrameType | None) -> None:
        again = self.outcome is not None
        self.outcome = self._terminated if number == signal.SIGTERM else self._interrupted
        if again:
            raise KeyboardInterrupt
        self._say(f"stopping after {self._doing}; once more stops now")
