"""When a search ends although its method would go on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import TypeAlias, final

from contraction.errors import InputError
from contraction.truncation import check_rank
from structure_search.results import Outcome

Stop: TypeAlias = Callable[[], Outcome | None]


@final
@dataclass(frozen=True, kw_only=True)
class Limits:
    """What ends a search.

    Parameters
    ----------
    max_evaluations
        Most evaluations, over all sessions.
    max_seconds
        Most wall time of this session.
    patience
        The search has converged when so many evaluations in a row brought no gain.
    min_gain
        What counts as one: an improvement by more than this share, in the first figure of the
        objective's order that differs by as much.
    stop
        Asked before each evaluation; the search ends if it answers.
    """

    max_evaluations: int | None = None
    max_seconds: float | None = None
    patience: int | None = None
    min_gain: float = 1e-3
    stop: Stop | None = None

    @property
    def bounded(self) -> bool:
        """Whether there is anything that ends a search."""
        ends = (self.max_evaluations, self.max_seconds, self.patience, self.stop)
        return any(end is not None for end in ends)

    def __post_init__(self) -> None:
        for name in ("max_evaluations", "patience"):
            if (value := getattr(self, name)) is not None:
                check_rank(value, name)
        seconds, gain = self.max_seconds, self.min_gain
        if seconds is not None and not (isinstance(seconds, Real) and seconds > 0):
            raise InputError(f"`max_seconds` is a positive number, got {seconds!r}.")
        if not (isinstance(gain, Real) and 0.0 <= gain < 1.0):
            raise InputError(f"`min_gain` is a share, at least 0 and below 1; got {gain!r}.")


@final
class Clock:
    """Says whether the time is up or somebody wants the search to stop."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._begun: float | None = None

    def start(self) -> None:
        """Start, unless it runs already."""
        self._begun = time.monotonic() if self._begun is None else self._begun

    def outcome(self) -> Outcome | None:
        """Return why no other fit may be begun, or None."""
        stop, most = self._limits.stop, self._limits.max_seconds
        if stop is not None and (why := stop()) is not None:
            return why
        if self._begun is None:
            self.start()  # and something is done, however short the time
        elif most is not None and time.monotonic() - self._begun >= most:
            return Outcome.TIME
        return None


@final
class Gains:
    """Counts the evaluations since the last one that brought a gain.

    Examples
    --------
    >>> gains = Gains(min_gain=0.01)
    >>> for order in [(1.0, 0.5), (1.0, 0.499), (1.0, 0.49), (1.0, 0.6)]:
    ...     gains.add(order)
    >>> gains.since
    1
    """

    def __init__(self, *, min_gain: float) -> None:
        self.since = 0
        self._least = min_gain
        self._best: tuple[float, ...] | None = None

    def add(self, order: tuple[float, ...] | None) -> None:
        """Take the order of an evaluation; None where nothing was found."""
        if order is not None and self._gains(order):
            self._best, self.since = order, 0
        else:
            self.since += 1

    def _gains(self, order: tuple[float, ...]) -> bool:
        if self._best is None:
            return True
        for now, before in zip(order, self._best, strict=False):
            if now == before or abs(now - before) <= self._least * abs(before):
                continue
            return now < before
        return False
