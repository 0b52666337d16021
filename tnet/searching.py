"""A search for a plan with its progress on the console, and what the plan is in a line."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from contraction.errors import MemoryBudgetError
from tnet.console import Console, format_bytes, format_seconds

if TYPE_CHECKING:
    from contraction import Plan, Spec

PARTS = 100  # of the progress bar


def searched_plan(
    spec: Spec, console: Console, *, memory: int | str | None = None, **options: Any
) -> Plan:
    """Return `contraction.plan` of a spec, showing how far the search is.

    Raises
    ------
    MemoryBudgetError
        Nothing fits `memory`; the message repeats it as it was written.
    """
    import contraction

    if memory is not None:
        options["memory"] = memory
    with console.progress(PARTS, "search, %") as bar:

        def progress(share: float, best: float) -> None:
            bar.update(min(PARTS, int(PARTS * share)), f"best 10^{best * math.log10(2):.2f}")

        try:
            return contraction.plan(spec, progress=progress, **options)
        except MemoryBudgetError as error:
            if not isinstance(memory, str):
                raise
            raise MemoryBudgetError(f"{error} (--memory {memory})") from error


def flops_in_words(flops: int) -> str:
    """Return a number of operations for people.

    Examples
    --------
    >>> flops_in_words(0), flops_in_words(10**500)
    ('no flops', '10^500.00 flops')
    """
    return f"10^{math.log10(flops):.2f} flops" if flops else "no flops"


def plan_line(plan: Plan, peak_bytes: int) -> str:
    """Return a plan in one line.

    Examples
    --------
    >>> from contraction import plan
    >>> plan_line(plan("ab,bc->ac", [(20, 30), (30, 40)]), 6400).partition(", about")[0]
    'plan: 1 step, 10^4.68 flops, 6.2 KiB beside the inputs'
    """
    count = len(plan.pairs)
    sliced = f" in {plan.num_slices:,} slices" if plan.slices else ""
    return (
        f"plan: {count} step{'' if count == 1 else 's'}{sliced}, {flops_in_words(plan.flops)}, "
        f"{format_bytes(peak_bytes)} beside the inputs, about {format_seconds(plan.seconds)} "
        "on one core"
    )
