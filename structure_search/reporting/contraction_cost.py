"""What it costs to contract the best network of a run: operations and memory, step by step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import contraction
from contraction.errors import TnetError
from contraction.explanation import Explanation, itemsize_of
from structure_search.journal import RunRecord
from structure_search.reporting.charts import Axis, Mark, Scale, Series, chart
from structure_search.reporting.figures import Best, Figure, figure_of
from tnet.console import format_bytes

MOST_NODES = 256  # beyond, a plan takes longer than a page should
DTYPES = ("float32", "float64", "complex64", "complex128")


@dataclass(frozen=True, kw_only=True)
class ContractionCost:
    """The plan for the full tensor of a network.

    Attributes
    ----------
    explanation
        Its steps.
    input_bytes, output_bytes
        Of the arrays of the network, and of the full tensor.
    """

    explanation: Explanation
    input_bytes: int
    output_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """Return the figures that do not depend on the machine."""
        made = self.explanation
        return {
            "flops": made.flops,
            "peak_bytes": made.peak_bytes,
            "input_bytes": self.input_bytes,
            "output_bytes": self.output_bytes,
            "steps": [
                {"equation": s.equation, "flops": s.flops, "live_bytes": s.live_bytes}
                for s in made.steps
            ],
        }


def contraction_cost(run: RunRecord, best: Best | None) -> ContractionCost | None:
    """Return what it takes to form the full tensor of the best network; None if it is too large.

    Nothing is contracted.
    """
    if best is None or not 1 < len(best.structure.nodes) <= MOST_NODES:
        return None
    dtype = str((run.config.get("input") or {}).get("dtype", "float64"))
    dtype = dtype if dtype in DTYPES else "float64"
    try:
        plan = contraction.plan(best.structure.spec(), objective="flops")
        made = contraction.explain(plan, dtype=dtype)
    except TnetError:
        return None
    size = itemsize_of(dtype)
    return ContractionCost(
        explanation=made,
        input_bytes=size * best.num_params,
        output_bytes=size * math.prod(best.structure.shape),
    )


def cost_figures(cost: ContractionCost | None) -> list[Figure]:
    """Draw operations and memory over the steps."""
    if cost is None or not cost.explanation.steps:
        return []
    steps = cost.explanation.steps
    told = [f"step {s.index + 1}: {s.equation}" for s in steps]
    made = []
    for name, title, values, unit, caption in (
        (
            "contraction-flops",
            "Operations by step",
            [float(s.flops * s.runs) for s in steps],
            "operations",
            "Floating-point operations of each pairwise contraction, in the order of the plan.",
        ),
        (
            "contraction-memory",
            "Memory by step",
            [float(s.live_bytes) for s in steps],
            "bytes",
            "Bytes allocated while a step runs, the arrays of the network apart.",
        ),
    ):
        points = [(k + 1.0, value) for k, value in enumerate(values)]
        titles = [f"{text}: {value:,.0f} {unit}" for text, value in zip(told, values, strict=True)]
        drawn = chart(
            [
                Series(name=unit, points=points, color=0, mark=Mark.LINE),
                Series(name="", points=points, color=0, titles=titles),
            ],
            Axis(label="step", low=0.5, high=len(steps) + 0.5),
            Axis(label=unit, scale=Scale.LOG),
            label=f"{title.lower()} of the contraction",
        )
        made.append(figure_of(name, title, caption, drawn))
    return made


def cost_rows(cost: ContractionCost, observed: int | None) -> list[tuple[str, str]]:
    """Return the totals as (what, value).

    `observed` is the memory that a contraction was seen to take, if one was done.
    """
    made = cost.explanation
    rows = [
        ("arrays of the network", format_bytes(cost.input_bytes)),
        ("full tensor", format_bytes(cost.output_bytes)),
        ("operations to form it", f"{made.flops:,}"),
        ("most memory beside the network, predicted", format_bytes(made.peak_bytes)),
    ]
    if observed is not None:
        rows.append(("most memory beside the network, observed", format_bytes(observed)))
    return rows
