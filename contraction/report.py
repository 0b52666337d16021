"""The table of a plan, as text."""

from __future__ import annotations

from collections.abc import Hashable

from contraction.program import Program
from contraction.spec import Spec
from contraction.tree import Pairs, build_tree

ROWS = 40


def plan_table(spec: Spec, pairs: Pairs, program: Program, objective: str) -> str:
    """Return one line of totals and one line a step; the middle of a long plan is left out."""
    tree = build_tree(spec.canonical, pairs)
    names = list(spec.sizes)
    count = len(spec.inputs)
    head = (
        f"{count} inputs, {len(pairs)} steps, {program.flops:,} flops, "
        f"peak {program.peak_size:,} entries, {program.write_size:,} written "
        f"(planned for {objective})"
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
                f"{step.flops:,}",
                f"{step.size:,}",
                f"{step.copies:,}",
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
    return "\n".join([head, *lines])


def _word(labels: list[Hashable]) -> str:
    texts = [str(label) for label in labels]
    short = all(len(text) == 1 for text in texts)
    return "".join(texts) if short else "(" + " ".join(texts) + ")"
