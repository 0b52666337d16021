"""The table of an explained plan, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    total = sum(step.total_seconds for step in steps) or 1.0
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
        rest = sum(s.total_seconds for s in steps) - sum(s.total_seconds for s in shown)
        lines.append(f"... and {len(steps) - len(shown)} steps with {rest / total:.1%} of the time")
    return "\n".join(lines)


def _row(step: ExplainedStep, total: float) -> tuple[str, ...]:
    a, b, c = ("x".join(map(str, shape)) or "scalar" for shape in step.shapes)
    return (
        str(step.index),
        _cut(step.equation),
        _cut(f"{a} , {b} -> {c}"),
        step.lowering,
        f"{step.runs:,}",
        f"{step.flops:.3g}" if step.flops >= 1_000_000 else f"{step.flops:,}",
        f"{step.bytes_moved / 1e6:.3g}",
        seconds(step.predicted),
        "" if step.measured is None else seconds(step.measured),
        f"{step.live_bytes / 1e6:.3g}",
        f"{step.roofline:.0%}",
        f"{step.total_seconds / total:.1%}",
    )


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
