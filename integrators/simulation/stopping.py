"""Ctrl-C and SIGTERM: the first finishes the step and saves, the second stops now."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

from integrators.flow import Outcome


class Interrupts:
    """Turns the first signal into an outcome that a run asks for after every step.

    Parameters
    ----------
    say
        Called with a line for the user at the first signal.

    Examples
    --------
    >>> with Interrupts(say=lambda text: None) as stop:
    ...     stop() is None
    True
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._before: dict[int, Any] = {}
        self.outcome: Outcome | None = None

    def __call__(self) -> Outcome | None:
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
        terminated = number == signal.SIGTERM
        self.outcome = Outcome.TERMINATED if terminated else Outcome.INTERRUPTED
        if again:
            raise KeyboardInterrupt
        self._say("stopping after this step; once more stops now")
