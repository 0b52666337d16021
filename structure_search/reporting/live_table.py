"""The table that a search shows on a terminal while it works."""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, final

from tnet.console import format_bytes, format_seconds

if TYPE_CHECKING:
    from structure_search.results import Candidate, Evaluation

LAST = 5  # improvements shown
RECENT = 64  # evaluations that say how many there are in a second
PER_SECOND = 4.0  # times that the table is drawn again
LONGEST = 46  # characters of what the method is doing


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What ends a search: evaluations and seconds, where they are limited."""

    evaluations: int | None = None
    seconds: float | None = None


class Improvement(NamedTuple):
    """A network that was the best so far when it was found."""

    found_by: int  # the evaluation
    num_params: int
    error: float
    label: str


@final
class LiveState:
    """What is known of a running search; `seen` is told every new evaluation.

    Parameters
    ----------
    limits
        What ends the search.
    method
        Its name.
    clock
        Seconds, for the speed and the time left.

    Examples
    --------
    >>> LiveState(Limits(evaluations=10), "Greedy").facts()[0]
    ('evaluations', '0 of 10')
    """

    def __init__(
        self, limits: Limits, method: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits, self._method, self._clock = limits, method, clock
        self._begun = clock()
        self._done = self._first = self._new = self._failed = self._fitted = 0
        self._recent: deque[float] = deque([self._begun], maxlen=RECENT)
        self._best: Candidate | None = None
        self._label = ""
        self.improvements: deque[Improvement] = deque(maxlen=LAST)

    def seen(self, evaluation: Evaluation, best: Candidate) -> None:
        """Take one evaluation in, and the best candidate after it."""
        self._recent.append(self._clock())
        self._done, self._new = evaluation.index + 1, self._new + 1
        self._failed += bool(evaluation.failure)
        self._fitted += evaluation.source.value in ("fit", "exact")
        self._label = evaluation.label
        if self._best is None or best.index != self._best.index:
            told = Improvement(best.index, best.num_params, best.error, evaluation.label)
            self.improvements.append(told)
        self._best = best

    @property
    def rate(self) -> float:
        """Evaluations in a second, of late."""
        spent = self._clock() - self._recent[0]
        return (len(self._recent) - 1) / spent if spent > 0.0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Seconds until the first limit is met; None where there is none, or nothing is known."""
        found = []
        if self._limits.seconds is not None:
            found.append(max(0.0, self._limits.seconds - (self._clock() - self._begun)))
        if self._limits.evaluations is not None and self.rate > 0.0:
            found.append(max(0, self._limits.evaluations - self._done) / self.rate)
        return min(found, default=None)

    def facts(self) -> list[tuple[str, str]]:
        """Return what there is to say, as (name, text)."""
        total = self._limits.evaluations
        of = f" of {total:,}" if total is not None else ""
        rows = [("evaluations", f"{self._done:,}{of}")]
        if self._new:
            rows[0] = ("evaluations", f"{self._done:,}{of} ({self._fitted:,} fits)")
            rows.append(("speed", f"{self.rate:.3g} evaluations/s"))
        best = self._best
        if best is not None:
            rows.append(("best error", f"{best.error:.4g}"))
            rows.append(("parameters", f"{best.num_params:,} ({best.compression:,.1f}x smaller)"))
        doing = self._label if len(self._label) <= LONGEST else f"{self._label[: LONGEST - 1]}…"
        rows.append(("method", f"{self._method}: {doing}" if doing else self._method))
        rows.append(("failures", f"{self._failed:,}"))
        rows.append(("memory", format_bytes(resident_memory())))
        rows.append(("time", self._time()))
        return rows

    def _time(self) -> str:
        spent, left = self._clock() - self._begun, self.seconds_left
        text = format_seconds(math.floor(spent))
        return (
            text
            if left is None
            else f"{text}, at most about {format_seconds(math.ceil(left))} left"
        )


def resident_memory() -> int:
    """Return the bytes of memory that this process holds, or the most it has held.

    Examples
    --------
    >>> resident_memory() >= 0
    True
    """
    try:
        with open("/proc/self/statm", encoding="ascii") as stream:
            return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        pass
    try:
        import resource
    except ImportError:
        return 0
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * 1024


@final
class LiveTable:
    """A `LiveState` as something that rich draws, always as it is now."""

    def __init__(self, state: LiveState) -> None:
        self._state = state

    def __rich__(self) -> Any:
        from rich.box import SIMPLE_HEAD
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        facts = Table.grid(padding=(0, 2))
        for name, text in self._state.facts():
            facts.add_row(Text(name, style="dim"), Text(text, no_wrap=True, overflow="ellipsis"))
        if not self._state.improvements:
            return facts
        last = Table(box=SIMPLE_HEAD, pad_edge=False)
        for name in ("evaluation", "parameters", "error"):
            last.add_column(name, justify="right")
        last.add_column("last improvements", no_wrap=True, overflow="ellipsis")
        for found in reversed(self._state.improvements):
            numbers = (f"{found.found_by + 1:,}", f"{found.num_params:,}", f"{found.error:.4g}")
            last.add_row(*map(Text, numbers), Text(found.label))
        return Group(facts, last)
