"""The page of a comparison of methods: table, fronts, best so far, evaluations to a target."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from contraction import atomic
from structure_search.journal import RunRecord
from structure_search.reporting import page
from structure_search.reporting.charts import Axis, Mark, Scale, Series, chart, escape
from structure_search.reporting.figures import Figure, figure_of
from structure_search.reporting.method_runs import RunJob
from structure_search.reporting.method_table import (
    MethodRow,
    SeedRow,
    by_method,
    evaluations_to,
    target_of,
)
from structure_search.results import pareto_front
from tnet.console import format_seconds

COLORS = 10
LETTER = 6.7  # pixels of one in a legend
DOTS = 400  # of one method in the front


def comparison_document(
    source: str,
    goal: str,
    rows: Sequence[SeedRow],
    ranked: Sequence[MethodRow],
    verdict: Sequence[str],
    failed: Sequence[tuple[str, int, str]],
) -> dict[str, Any]:
    """Return the numbers of a comparison as plain data."""
    target = target_of(rows)
    return {
        "data": source,
        "goal": goal,
        "methods": [dataclasses.asdict(row) for row in ranked],
        "verdict": list(verdict),
        "target": target,
        "runs": [
            {
                **dataclasses.asdict(row),
                "to_target": None if target is None else evaluations_to(row, target),
            }
            for row in rows
        ],
        "failed": [dict(zip(("method", "seed", "reason"), f, strict=True)) for f in failed],
    }


def write_comparison(
    root: Path,
    document: Mapping[str, Any],
    rows: Sequence[SeedRow],
    ranked: Sequence[MethodRow],
    runs: Sequence[tuple[RunJob, RunRecord]],
) -> Path:
    """Write report.html and figures/*.svg of a comparison, and return the path of the page."""
    figures = [
        f for f in (front(rows, ranked, runs), progress(rows, ranked), reached(rows, ranked)) if f
    ]
    store = root / "figures"
    store.mkdir(exist_ok=True)
    for figure in figures:
        atomic.write_text(store / f"{figure.name}.svg", figure.file)
    path = root / "report.html"
    atomic.write_text(path, comparison_html(document, ranked, figures))
    return path


def comparison_html(
    document: Mapping[str, Any], ranked: Sequence[MethodRow], figures: Sequence[Figure]
) -> str:
    """Return the page as text."""
    told = "".join(f"<p>{escape(line)}.</p>" for line in document["verdict"])
    by_name = {figure.name: figure for figure in figures}
    sections = [
        page.section("Methods, the best first", _table(ranked) + told + _how()),
        *(
            page.section(title, page.figure_block(shown))
            for title, names in (
                ("Error against parameters", ("front",)),
                ("Best so far", ("progress",)),
                ("Evaluations to the target", ("reached",)),
            )
            if (shown := [by_name[name] for name in names if name in by_name])
        ),
        page.section("Runs", _runs(document)),
    ]
    if document["failed"]:
        cells = [(f["method"], str(f["seed"]), f["reason"]) for f in document["failed"]]
        sections.append(page.section("Failed", page.table(("method", "seed", "why"), cells)))
    methods, runs = len(ranked), len(document["runs"])
    subtitle = f"{document['goal']}; {methods} methods, {runs} runs"
    return page.page(f"methods on {document['data']}", subtitle, sections, document)


def _how() -> str:
    return (
        "<p>Figures are medians over the seeds, with the least and the greatest. "
        "<b>Better</b> is the share of pairs, one run of this method and one of another, in which "
        "this one is better; equal ones count half. p-values are of a permutation test, not "
        "corrected for the number of methods.</p>"
    )


def _table(ranked: Sequence[MethodRow]) -> str:
    # within a tolerance or a budget the value stands in another column already
    told = ("num_params", "error")
    extra = not any(all(r.spreads["value"] == r.spreads[name] for r in ranked) for name in told)
    head = ["method", "better", "goal met", "parameters", "error", "compression"]
    head += ["value"] * extra + ["asked", "fits", "wall", "processor"]
    rows = []
    for row in ranked:
        s = row.spreads
        rows.append(
            (
                row.method,
                f"{100 * row.better:.0f} %",
                f"{row.met}/{row.seeds}",
                s["num_params"].text("d"),
                s["error"].text(".3g"),
                s["compression"].text(",.1f"),
                *([s["value"].text(".5g")] if extra else []),
                s["requested"].text("d"),
                s["fitted"].text("d"),
                format_seconds(s["seconds"].median),
                format_seconds(s["cpu"].median) if "cpu" in s else page.NONE,
            )
        )
    broken = [tuple(cell.replace(" [", "\n[") for cell in row) for row in rows]
    return page.table(head, broken, marked=ranked[0].method if ranked else "")


def _runs(document: Mapping[str, Any]) -> str:
    head = ("method", "seed", "parameters", "error", "asked", "fits", "to the target", "ended")
    rows = [
        (
            r["method"],
            str(r["seed"]),
            f"{r['num_params']:,}",
            f"{r['error']:.4g}",
            f"{r['requested']:,}",
            f"{r['fitted']:,}",
            page.NONE if r["to_target"] is None else f"{r['to_target']:,}",
            r["outcome"],
        )
        for r in document["runs"]
    ]
    return page.table(head, rows)


def front(
    rows: Sequence[SeedRow],
    ranked: Sequence[MethodRow],
    runs: Sequence[tuple[RunJob, RunRecord]],
) -> Figure | None:
    """Draw the front of each method over all its seeds, and the best network of each seed."""
    series = []
    for k, row in enumerate(ranked):
        tried = [e for job, run in runs if job.name == row.method for e in run.evaluations]
        points = [(c.num_params, c.error) for c in pareto_front(tried) if c.error > 0.0][:DOTS]
        series.append(Series(name=row.method, points=points, color=k % COLORS, mark=Mark.STEPS))
        ends = [r for r in rows if r.method == row.method and r.error > 0.0]
        series.append(
            Series(
                name="",
                points=[(r.num_params, r.error) for r in ends],
                color=k % COLORS,
                mark=Mark.DIAMONDS,
                titles=[
                    f"{r.method}, seed {r.seed}: {r.num_params:,} parameters, error {r.error:.4g}"
                    for r in ends
                ],
            )
        )
    if not any(s.points for s in series):
        return None
    drawn = chart(
        series,
        Axis(label="parameters", scale=Scale.LOG),
        Axis(label="error", scale=Scale.LOG),
        label="error against parameters by method",
        width=wide(ranked),
        height=440.0,
    )
    caption = (
        "The line of a method joins those of its networks, over all seeds, that no other of its "
        "own beats in both; a diamond is the best network of one seed."
    )
    return figure_of("front", "Error against parameters", caption, drawn)


def progress(rows: Sequence[SeedRow], ranked: Sequence[MethodRow]) -> Figure | None:
    """Draw the median over seeds of the best value so far, by evaluations."""
    groups, series = by_method(rows), []
    for k, row in enumerate(ranked):
        mine = groups[row.method]
        counts = sorted({count for r in mine for count, _ in r.steps})
        points: list[tuple[float, float]] = []
        for count in counts:
            value = statistics.median(best_after(r, count) for r in mine)
            if math.isfinite(value) and (not points or value < points[-1][1]):
                points.append((float(count), value))
        series.append(Series(name=row.method, points=points, color=k % COLORS, mark=Mark.STEPS))
    if not any(s.points for s in series):
        return None
    drawn = chart(
        series,
        Axis(label="evaluations", scale=Scale.LOG, whole=True),
        Axis(label="what the goal makes small", scale=Scale.LOG),
        label="median of the best so far by evaluations",
        width=wide(ranked),
    )
    caption = (
        "Median over the seeds of the best so far; a line begins where half of the seeds meet "
        "the goal's condition."
    )
    return figure_of("progress", "Best so far", caption, drawn)


def wide(ranked: Sequence[MethodRow]) -> float:
    """Return a width with room for the names of all methods in one line."""
    return max(900.0, 90.0 + sum(36.0 + LETTER * len(row.method) for row in ranked))


def best_after(row: SeedRow, count: int) -> float:
    """Return the best value of a run after so many evaluations; infinite before the first."""
    return min((value for done, value in row.steps if done <= count), default=math.inf)


def reached(rows: Sequence[SeedRow], ranked: Sequence[MethodRow]) -> Figure | None:
    """Draw the share of the seeds that have come within 5 % of the best value, by evaluations."""
    target = target_of(rows)
    if target is None:
        return None
    groups, series = by_method(rows), []
    for k, row in enumerate(ranked):
        mine = groups[row.method]
        counts = sorted(c for r in mine if (c := evaluations_to(r, target)) is not None)
        points = [(float(count), (i + 1) / len(mine)) for i, count in enumerate(counts)]
        points = [(x, 0.0) for x, _ in points[:1]] + points  # a step up from nothing
        series.append(Series(name=row.method, points=points, color=k % COLORS, mark=Mark.STEPS))
    drawn = chart(
        series,
        Axis(label="evaluations", scale=Scale.LOG, whole=True),
        Axis(label="share of the seeds", low=0.0, high=1.0),
        label="share of the seeds that reached the target by evaluations",
        width=wide(ranked),
    )
    caption = (
        f"Share of the seeds that have a value of {target:.5g} or less, which is within 5 % of "
        "the best found by any method here. A method without a line never had it."
    )
    return figure_of("reached", "Evaluations to the target", caption, drawn)
