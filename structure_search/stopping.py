"""How a search ends on Ctrl-C and SIGTERM."""

from __future__ import annotations

from collections.abc import Callable

from structure_search.results import Outcome
from tnet.interrupts import Interrupts


def interrupts(say: Callable[[str], None]) -> Interrupts[Outcome]:
    """Return what `search(stop=...)` asks, inside a `with` block that catches signals."""
    return Interrupts(
        say,
        interrupted=Outcome.INTERRUPTED,
        terminated=Outcome.TERMINATED,
        doing="what is being evaluated",
    )
