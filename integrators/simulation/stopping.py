"""How a simulation ends on Ctrl-C and SIGTERM."""

from __future__ import annotations

from collections.abc import Callable

from integrators.flow import Outcome
from tnet.interrupts import Interrupts


def interrupts(say: Callable[[str], None]) -> Interrupts[Outcome]:
    """Return what a run asks after every step, inside a `with` block that catches signals."""
    return Interrupts(
        say,
        interrupted=Outcome.INTERRUPTED,
        terminated=Outcome.TERMINATED,
        doing="this step",
    )
