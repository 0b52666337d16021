"""What a reused structure gives on new data, beside a fresh fixed format."""

from __future__ import annotations

import argparse
import math
from typing import TYPE_CHECKING, Any

from structure_search.reporting.screen import times
from tnet.console import Console

if TYPE_CHECKING:
    from structure_search.results import Result


def show_reuse(
    result: Result, x: Any, args: argparse.Namespace, console: Console
) -> list[dict[str, Any]]:
    """Write how the reused structure does beside a fresh tensor train; return the rows."""
    import numpy as np

    from structure_search.methods.reuse import AS_IT_WAS, NEW_RANKS
    from structure_search.reporting.fixed_formats import fixed_formats

    rows: list[dict[str, Any]] = [
        {"name": e.label, "num_params": e.num_params, "error": e.error}
        for e in result.trace
        if e.label in (AS_IT_WAS, NEW_RANKS) and math.isfinite(e.error)
    ]
    level = args.tol or min((row["error"] for row in rows), default=0.0)
    if bool(np.all(np.isfinite(x))) and level > 0.0:
        fresh = next(fixed_formats(x, level, rng=np.random.default_rng(args.seed)))
        rows.append(
            {
                "name": f"fresh {fresh.name} within {level:.3g}",
                "num_params": fresh.num_params,
                "error": fresh.error,
            }
        )
    best = result.best
    rows.append({"name": "best found", "num_params": best.num_params, "error": best.error})
    console.out()
    console.table(
        [f"reused from {args.reuse}", "parameters", "smaller", "error"],
        [
            (
                row["name"],
                f"{row['num_params']:,}",
                times(best.dense_size / int(row["num_params"])),
                f"{row['error']:.4g}",
            )
            for row in rows
        ],
    )
    return rows
