"""The table of a plan, as text."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import TYPE_CHECKING

from contraction.loops import sliced_canonical
from contraction.tree import build_tree

if TYPE_CHECKING:
    from contraction.plans import Plan

ROWS = 40
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "days": 86400.0}
_UNITS["years"] = 365.25 * 86400.0


def plan_table(plan: Plan) -> str:
    """Return lines of totals and one line a step; the middle of a long plan is left out."""
    spec, pairs, program = plan.spec, plan.pairs, plan.program
    names = list(spec.sizes)
    count = len(spec.inputs)
    number = {name: i for i, name in enumerate(names)}
    inner = sliced_canonical(spec.canonical, [number[label] for label in plan.slices])
    tree = build_tree(inner, pairs)
    head = [
        f"{count} inputs, {len(pairs)} steps, {amount(plan.flops)} flops, "
        f"peak {amount(plan.peak_size)} entries, {amount(plan.write_size)} written, "
        f"about {duration(plan.seconds)} (planned for {plan.objective.value})"
    ]
    if plan.slices:
        head.append(
            f"{amount(plan.num_slices)} slices over {_word(list(plan.slices))}, "
            "the first outermost; the steps of one:"
        )
    rows = [("step", "values", "labels", "kernel", "flops", "entries", "copied")]
    for k, step in enumerate(program.steps):
        if len(pairs) > ROWS and ROWS // 2 <= k < len(pairs) - ROWS // 2:
            continue
        words = [
            _word([names[x] for x in tree.legs[v]]) for v in (step.left, step.right, count + k)
        ]
        rows.append(
            (
                str(k),
                f"{step.left} {step.right} -> {count + k}",
                f"{words[0]},{words[1]}->{words[2]}",
                step.kernel.value,
                amount(step.flops),
                amount(step.size),
                amount(step.copies),
            )
        )
    widths = [max(len(row[c]) for row in rows) for c in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.rjust(w) if c > 3 else cell.ljust(w)
            for c, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    if len(pairs) > ROWS:
        lines.insert(1 + ROWS // 2, f"... {len(pairs) - len(lines) + 1} steps ...")
    return "\n".join([*head, *lines])


def amount(number: int) -> str:
    """Return a whole number as text, a power of ten where it is beyond counting.

    Examples
    --------
    >>> amount(1234567), amount(2**1000)
    ('1,234,567', '10^301.0')
    """
    return f"{number:,}" if number < 10**15 else f"10^{math.log10(number):.1f}"


def duration(seconds: float) -> str:
    """Return a time as people say it.

    Examples
    --------
    >>> duration(2.5e-6), duration(0.25), duration(90.0), duration(1e20)
    ('2.5 us', '250 ms', '1.5 min', '3.2e+12 years')
    """
    unit, size = next(((u, n) for u, n in reversed(_UNITS.items()) if seconds >= n), ("us", 1e-6))
    number = seconds / size
    return f"{number:.{3 if 100 <= number < 1000 else 2}g} {unit}"


def _word(labels: list[Hashable]) -> str:
    texts = [str(label) for label in labels]
    short = all(len(text) == 1 for text in texts)
    return "".join(texts) if short else "(" + " ".join(texts) + ")"
