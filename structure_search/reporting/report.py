"""The report of a run: one HTML page, complete in itself, made from the run folder alone.

The page loads nothing: its content security policy forbids every request. Names from the data
are escaped everywhere. The numbers behind it are in the page as JSON (`<script
type="application/json" id="data">`), so the page is data too. The same folder always gives the
same bytes.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from contraction import atomic
from structure_search.journal import RunRecord, read_run
from structure_search.reporting import page
from structure_search.reporting.charts import escape
from structure_search.reporting.contraction_cost import contraction_cost, cost_figures
from structure_search.reporting.figures import (
    Best,
    Figure,
    best_of,
    figures_of,
    fixed_name,
    thinned,
)
from structure_search.reporting.rank_map import rank_figure
from structure_search.reporting.report_parts import (
    completion_section,
    contraction_section,
    counts,
    environment_section,
    error_words,
    evaluator_section,
    goal_text,
    search_section,
    task_of,
)
from structure_search.reporting.residual_map import map_figures
from structure_search.reporting.screen import ENDED, resume_command
from tnet.text_drawing import draw_text

LAYOUT = (  # section title -> the figures in it, in order
    ("Network", ("network",)),
    ("Error against parameters", ("front",)),
    ("Search", ("trace", "trace-time", "size")),
    ("Ranks", ("ranks",)),
    ("Singular values", ("spectra-modes", "spectra-bonds")),
    (
        "Where the error sits",
        ("mode-error", "slice-error", "residual-1", "residual-2", "residual-3"),
    ),
)

COSTS = ("contraction-flops", "contraction-memory")


def write_report(folder: str | os.PathLike[str]) -> Path:
    """Write report.html and figures/*.svg into a run folder and return the path of the page.

    Both are written atomically, so a reader never sees half a page.

    Raises
    ------
    CheckpointError
        The folder is no run folder, or is damaged.
    OSError
        The folder cannot be written to.
    """
    run = read_run(folder)
    figures = all_figures(run)
    store = run.folder / "figures"
    store.mkdir(exist_ok=True)
    for figure in figures:
        atomic.write_text(store / f"{figure.name}.svg", figure.file)
    path = run.folder / "report.html"
    atomic.write_text(path, report_html(run, figures))
    return path


def all_figures(run: RunRecord) -> list[Figure]:
    """Return every figure of a run that has something to show."""
    ranks = rank_figure(run)
    costs = cost_figures(contraction_cost(run, best_of(run)))
    return [*figures_of(run), *map_figures(run), *([] if ranks is None else [ranks]), *costs]


def report_html(run: RunRecord, figures: Sequence[Figure] | None = None) -> str:
    """Return the page of a run as text; nothing is written."""
    figures = all_figures(run) if figures is None else figures
    best = best_of(run)
    source = str(_input(run).get("source") or _input(run).get("path") or "data")
    cost = contraction_cost(run, best)
    costs = [figure for figure in figures if figure.name in COSTS]
    parts = [
        _headline(run, best),
        *_sections(run, best, figures),
        contraction_section(run, cost, costs, -1 if best is None else best.index),
        completion_section(run),
        search_section(run),
        evaluator_section(run),
        environment_section(run),
    ]
    return page.page(source, _subtitle(run), parts, document(run))


def document(run: RunRecord) -> dict[str, Any]:
    """Return the numbers behind a report as plain data."""
    best = best_of(run)
    return {
        "schema_version": 1,
        "input": _input(run),
        "config": dict(run.config),
        "outcome": run.outcome.name if run.outcome else None,
        "elapsed": run.elapsed,
        "best": None
        if best is None
        else {
            "num_params": best.num_params,
            "error": best.error,
            "compression": _dense(best) / best.num_params,
            "structure": best.structure.to_dict(),
        },
        "metrics": dict(run.metrics),
        "counts": counts(run),
        "pareto": [dict(row) for row in run.pareto],
        "baselines": [dict(row) for row in run.baselines],
        "goal": goal_text(run),
        "error_of": error_words(run),
        "task": dict(task_of(run)),
        "contraction": None if (cost := contraction_cost(run, best)) is None else cost.to_dict(),
        "spectra": {group: dict(values) for group, values in run.spectra.items()},
        "evaluations": {
            "columns": ["index", "num_params", "error", "elapsed", "source", "label"],
            "total": len(run.evaluations),
            "rows": [
                [
                    e.index,
                    e.num_params,
                    e.error if math.isfinite(e.error) else None,
                    e.elapsed,
                    e.source.value,
                    e.label,
                ]
                for e in thinned(run)
            ],
        },
    }


def finite(value: float) -> float | None:
    """Return a number that JSON can hold: None for infinity."""
    return value if math.isfinite(value) else None


def _input(run: RunRecord) -> dict[str, Any]:
    return dict(run.config.get("input") or {})


def _dense(best: Best) -> int:
    return math.prod(best.structure.shape)


def _subtitle(run: RunRecord) -> str:
    about = _input(run)
    shape = f" {page.TIMES} ".join(str(n) for n in about.get("shape") or ())
    modes = ", ".join(str(m) for m in about.get("modes") or ())
    entries = math.prod(about.get("shape") or (1,))
    text = f"{shape} ({entries:,} entries, {about.get('dtype', '?')})"
    return f"{text}; modes {modes}" if modes else text


def _headline(run: RunRecord, best: Best | None) -> str:
    if best is None:
        return "<section><p>No network has been fitted yet.</p></section>"
    dense = _dense(best)
    ranks = ", ".join(str(r) for r in best.structure.ranks.values()) or "none"
    cards = [
        ("relative error", f"{best.error:.4g}", _error_note(run, best)),
        ("parameters", f"{best.num_params:,}", f"of {dense:,} entries"),
        ("compression", f"{dense / best.num_params:,.1f}{page.TIMES}", f"ranks {ranks}"),
        (
            "search",
            f"{run.elapsed:.1f} s",
            f"{len(run.evaluations):,} evaluations{_seed(run)}",
        ),
    ]
    advice = (
        f"<p>{run.outcome.name}: {escape(ENDED[run.outcome.name])}.</p>"
        if run.outcome
        else "<p>The search has not ended: it is running, or was stopped.</p>"
    )
    return (
        f'<section class="head">{page.cards(cards)}{advice}'
        f"<p>Go on with <code>{escape(resume_command(run.folder))}</code></p></section>"
    )


def _seed(run: RunRecord) -> str:
    entropy = run.config.get("entropy")
    return "" if entropy is None else f", seed {entropy}"


def _error_note(run: RunRecord, best: Best) -> str:
    """Say what kind of figure the error is: it is never left open."""
    kind = str(run.metrics.get("error_kind") or run.metrics.get("kind") or "measured")
    over = str(task_of(run).get("error_of", "all")).lower()
    kind += "" if over == "all" else f", {over.replace('_', '-')} entries"
    goal = run.settings["objective"].get("tol")
    allowed = f", {goal:g} allowed" if goal else ""
    return f"{kind}{allowed}"


def _sections(run: RunRecord, best: Best | None, figures: Sequence[Figure]) -> list[str]:
    by_name = {figure.name: figure for figure in figures}
    parts = []
    for title, names in LAYOUT:
        shown = [by_name[name] for name in names if name in by_name]
        if not shown:
            continue
        extra = ""
        if title == "Network" and best is not None:
            extra = f"<pre>{escape(draw_text(best.structure, max_lines=60))}</pre>"
        if title == "Error against parameters":
            extra = _comparison(run, best)
        parts.append(page.section(title, page.figure_block(shown) + extra))
    return parts


def _comparison(run: RunRecord, best: Best | None) -> str:
    if best is None or not run.baselines:
        return ""
    dense = _dense(best)
    rows: list[tuple[str, int, float | None, float | None]] = []
    rows += [("best found", best.num_params, best.error, run.elapsed)]
    rows += [(fixed_name(b), b["num_params"], b["error"], b.get("seconds")) for b in run.baselines]
    rows.sort(key=lambda row: row[1])
    head = ("format", "parameters", "compression", "error", "seconds")
    cells = [
        (
            str(name),
            f"{count:,}",
            f"{dense / count:,.1f}{page.TIMES}",
            page.NONE if error is None else f"{error:.4g}",
            page.NONE if seconds is None else f"{seconds:.2f}",
        )
        for name, count, error, seconds in rows
    ]
    return page.table(head, cells, marked="best found")
