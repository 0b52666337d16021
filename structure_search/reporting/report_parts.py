"""Sections of a report beside the figures: goal and method, completion, counts, contraction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from structure_search.journal import RunRecord
from structure_search.reporting import page
from structure_search.reporting.contraction_cost import ContractionCost, cost_rows
from structure_search.reporting.figures import Figure
from structure_search.reporting.residuals import read_residuals
from structure_search.results import Source

KINDS = {  # error_of -> in words
    "all": "relative error over all entries",
    "observed": "relative error over the observed entries, which were fitted",
    "held_out": "relative error over held-out entries, which were not fitted",
    "loss": "value of the loss",
}
GOALS = {  # objective -> its formula; the fields are those of the objective
    "RelativeError": "the fewest parameters with ‖X - T‖ ≤ {tol:g} ‖X‖",
    "MaxParams": "the least ‖X - T‖ / ‖X‖ with at most {params:,} parameters",
    "MaxBytes": "the least ‖X - T‖ / ‖X‖ with parameters of at most {nbytes:,} bytes ({dtype})",
    "MaxFlops": "the least ‖X - T‖ / ‖X‖ with at most {flops:,} operations to form the tensor",
    "WeightedError": "the least parameters / entries + {weight:g} ‖X - T‖² / ‖X‖²",
}


def task_of(run: RunRecord) -> Mapping[str, Any]:
    """Return what run.json says of the task; empty in runs of before there were tasks."""
    found = (run.config.get("input") or {}).get("task")
    return found if isinstance(found, Mapping) else {}


def error_words(run: RunRecord) -> str:
    """Return what the errors of a run are taken over."""
    return KINDS.get(str(task_of(run).get("error_of", "all")).lower(), KINDS["all"])


def goal_text(run: RunRecord) -> str:
    """Return the objective of a run as a formula in words."""
    goal = dict(run.settings.get("objective") or {})
    form = GOALS.get(str(goal.get("name")))
    try:
        return form.format(**goal) if form else json.dumps(goal)
    except (KeyError, ValueError):
        return json.dumps(goal)


def search_section(run: RunRecord) -> str:
    """Return goal, method with its options, limits and workers, as HTML."""
    method = run.config.get("method") or {}
    settings = run.settings
    rows = [("goal", goal_text(run)), ("error", error_words(run))]
    rows.append(("method", str(method.get("name", "?"))))
    for name, value in (method.get("options") or {}).items():
        if value is not None:
            rows.append((f"… {name}", plain(value)))
    for name, what in (
        ("max_evaluations", "most evaluations"),
        ("max_seconds", "most seconds"),
        ("patience", "evaluations without gain"),
        ("workers", "workers"),
    ):
        if settings.get(name) is not None:
            rows.append((what, plain(settings[name])))
    if run.config.get("start"):
        rows.append(("start", "a structure that was given"))
    sessions = sum(event["kind"] == "session" for event in run.events)
    rows.append(("sessions", f"{sessions}"))
    table = page.table(("what", "value"), rows)
    return page.section("Goal and method", f"<div class=facts>{table}</div>")


def completion_section(run: RunRecord) -> str:
    """Return how many entries were fitted and held out, as HTML; empty if all are known."""
    task = task_of(run)
    if task.get("name") != "completion":
        return ""
    entries = 1
    for size in run.shape:
        entries *= size
    fitted, tested = int(task.get("fitted") or 0), int(task.get("tested") or 0)
    rows = [
        ("entries", f"{entries:,}"),
        ("observed", f"{fitted + tested:,} ({_percent(fitted + tested, entries)})"),
        ("fitted", f"{fitted:,} ({_percent(fitted, entries)})"),
        ("held out", f"{tested:,} ({_percent(tested, entries)})" if tested else "none"),
        ("the error of this page", error_words(run)),
    ]
    note = (
        ""
        if tested
        else "<p>The error over fitted entries says little about the missing ones: a larger "
        "network always fits them better. Hold some out (<code>--held-out 0.1</code>).</p>"
    )
    return page.section("Completion", page.table(("what", "number"), rows) + note)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / max(1, whole):.3g} %"


def counts(run: RunRecord) -> dict[str, int]:
    """Return how many evaluations there were of each source, and the sweeps of all."""
    found = {source.value: 0 for source in Source}
    for e in run.evaluations:
        found[e.source.value] += 1
    ended = [event.get("counts") or {} for event in run.events if event["kind"] == "end"]
    return {
        "requested": len(run.evaluations),
        **found,
        "passed_over": max((int(c.get("passed_over") or 0) for c in ended), default=0),
        "sweeps": sum(e.sweeps for e in run.evaluations),
    }


def evaluator_section(run: RunRecord) -> str:
    """Return how many evaluations there were of each kind, as HTML."""
    found = counts(run)
    names = {
        "requested": "structures asked for",
        "fit": "fitted",
        "exact": "factorised directly",
        "cache": "known already",
        "inherited": "answered by a smaller network within them",
        "bound": "ruled out by a bound, not fitted",
        "failed": "failed",
        "passed_over": "ruled out by a bound before they were asked for",
        "sweeps": "sweeps of all fits",
    }
    rows = [(text, f"{found[key]:,}") for key, text in names.items()]
    asked = max(1, found["requested"])
    share = (found["fit"] + found["exact"]) / asked
    spent = sum(e.seconds for e in run.evaluations)
    rows.append(("fits of what was asked for", f"{100 * share:.0f} %"))
    rows.append(("seconds of an evaluation, mean", f"{spent / asked:.3g}"))
    return page.section("Evaluations", page.table(("what", "number"), rows))


def contraction_section(
    run: RunRecord, cost: ContractionCost | None, figures: Sequence[Figure], best_index: int
) -> str:
    """Return what forming the full tensor costs, as HTML; empty where nothing is known."""
    if cost is None:
        return ""
    known = read_residuals(run.folder)
    observed = known.peak if known is not None and known.index == best_index else None
    table = page.table(("what", "number"), cost_rows(cost, observed))
    drawn = page.figure_block(figures) if figures else ""
    return page.section("Contraction to the full tensor", drawn + table)


def environment_section(run: RunRecord) -> str:
    """Return run.json as a table of HTML."""
    rows = []
    for key, value in run.config.items():
        if isinstance(value, Mapping):
            rows += [(f"{key}.{name}", plain(item)) for name, item in value.items()]
        elif value is not None:
            rows.append((key, plain(value)))
    table = page.table(("what", "value"), rows)
    return page.section("Environment", f"<div class=facts>{table}</div>")


def plain(value: Any) -> str:
    """Return a value of JSON for people.

    Examples
    --------
    >>> plain("text"), plain([1, 2])
    ('text', '[1, 2]')
    """
    if isinstance(value, str):
        return value
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 300 else f"{text[:300]}…"
