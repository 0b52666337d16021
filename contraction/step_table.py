"""The table of an explained plan, as text."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from contraction.report import amount

if TYPE_CHECKING:
    from contraction.explanation import ExplainedStep, Explanation

ROWS = 60
LONGEST = 44  # letters of an equation
HEADINGS = (
    "step", "computes", "shapes", "lowering", "runs", "flops", "MB moved", "predicted",
    "measured", "live MB", "roofline", "share",
)  # fmt: skip
WORDS = 4  # the first columns are text


def explanation_table(explanation: Explanation) -> str:
    """Return one line a step; of a long plan the steps that take longest, in their order."""
    steps = explanation.steps
    total = sum(step.total_seconds for step in steps)
    shown = sorted(sorted(steps, key=lambda s: -s.total_seconds)[:ROWS], key=lambda s: s.index)
    rows = [HEADINGS, *(_row(step, total) for step in shown)]
    columns = [c for c, name in enumerate(HEADINGS) if name != "measured" or explanation.measured]
    if explanation.num_slices == 1:
        columns.remove(HEADINGS.index("runs"))
    widths = {c: max(len(row[c]) for row in rows) for c in columns}
    lines = [
        "  ".join(
            row[c].ljust(widths[c]) if c < WORDS else row[c].rjust(widths[c]) for c in columns
        ).rstrip()
        for row in rows
    ]
    if len(shown) < len(steps):
        there = {s.index for s in shown}
        rest = sum(s.total_seconds for s in steps if s.index not in there)
        lines.append(
            f"... and {len(steps) - len(shown)} steps with {share(rest, total):.1%} of the time"
        )
    return "\n".join(lines)


def _row(step: ExplainedStep, total: float) -> tuple[str, ...]:
    a, b, c = ("x".join(map(str, shape)) or "scalar" for shape in step.shapes)
    return (
        str(step.index),
        _cut(step.equation),
        _cut(f"{a} , {b} -> {c}"),
        step.lowering,
        amount(step.runs),
        f"{as_float(step.flops):.3g}" if step.flops >= 1_000_000 else f"{step.flops:,}",
        f"{as_float(step.bytes_moved) / 1e6:.3g}",
        seconds(step.predicted),
        "" if step.measured is None else seconds(step.measured),
        f"{as_float(step.live_bytes) / 1e6:.3g}",
        f"{step.roofline:.0%}",
        f"{share(step.total_seconds, total):.1%}",
    )


def share(part: float, total: float) -> float:
    """Return a part of a time as a fraction of the whole, which may be none or infinite.

    Examples
    --------
    >>> share(1.0, 4.0), share(0.0, 0.0), share(1.0, math.inf), share(math.inf, math.inf)
    (0.25, 0.0, 0.0, 1.0)
    """
    if total == math.inf:
        return 1.0 if part == math.inf else 0.0
    return part / total if total else 0.0


def as_float(number: int) -> float:
    """Return a count as a double, infinity where it is beyond its range.

    Examples
    --------
    >>> as_float(12), as_float(10**400)
    (12.0, inf)
    """
    try:
        return float(number)
    except OverflowError:
        return math.inf


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def seconds(value: float) -> str:
    """Return a time for people.

    Examples
    --------
    >>> seconds(1.5), seconds(2.5e-3), seconds(7e-6)
    ('1.5 s', '2.5 ms', '7 us')
    """
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"
