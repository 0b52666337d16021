"""The figures of a run: network, front, trace, spectra, where the error sits. No data needed.

Everything is drawn from the run folder alone. Long runs are thinned: all bests are kept, and of
the other evaluations an even selection, so that a page stays small.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from structure_search.journal import RunRecord
from structure_search.objectives import objective_from_dict
from structure_search.reporting.charts import Axis, Chart, Guide, Mark, Scale, Series, bars, chart
from structure_search.reporting.residuals import read_residuals
from structure_search.results import Evaluation, Source, as_candidate
from tnet.drawing import draw_svg
from tnet.structure import Structure

MOST_POINTS = 2000
MOST_SPECTRA = 12
MOST_MODES = 6  # each has its own colour


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A picture with its heading: `svg` goes into a page, `file` is a file of its own."""

    name: str
    title: str
    caption: str
    svg: str
    file: str


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best network of a run, as far as pictures need it."""

    structure: Structure
    num_params: int
    error: float
    index: int  # of the evaluation


def best_of(run: RunRecord) -> Best | None:
    """Return the best evaluation of a run by its objective; None before the first."""
    tried = [e for e in run.evaluations if math.isfinite(e.error)]
    if not tried:
        return None
    goal = objective_from_dict(run.settings["objective"])
    best = min(tried, key=lambda e: (goal.order(as_candidate(e)), e.index))
    return Best(
        structure=best.structure, num_params=best.num_params, error=best.error, index=best.index
    )


def thinned(run: RunRecord, most: int = MOST_POINTS) -> list[Evaluation]:
    """Return at most about `most` evaluations: every running best, and others evenly."""
    every = max(1, -(-len(run.evaluations) // most))
    bests = {e.index for e in running_best(run)}
    return [e for k, e in enumerate(run.evaluations) if k % every == 0 or e.index in bests]


def running_best(run: RunRecord) -> list[Evaluation]:
    """Return the evaluations that were the best so far when they were made."""
    goal = objective_from_dict(run.settings["objective"])
    found: list[Evaluation] = []
    for e in run.evaluations:
        if not math.isfinite(e.error):
            continue
        order = goal.order(as_candidate(e))
        if not found or order < goal.order(as_candidate(found[-1])):
            found.append(e)
    return found


def figures_of(run: RunRecord) -> list[Figure]:
    """Return the figures of a run that have something to show, in the order of the report."""
    made = [network_figure(run), front_figure(run), *trace_figures(run)]
    made += [*spectrum_figures(run), *error_figures(run), slice_figure(run)]
    return [figure for figure in made if figure is not None]


def network_figure(run: RunRecord) -> Figure | None:
    """Draw the best network, coloured by the spectra of its bonds if they are known."""
    best = best_of(run)
    if best is None:
        return None
    known = run.spectra.get("bonds") or {}
    spectra = {bond: known[bond] for bond in best.structure.ranks if bond in known}
    drawn = draw_svg(best.structure, spectra=spectra or None)
    colors = ", its colour with the entropy of its singular values" if spectra else ""
    return Figure(
        name="network",
        title="The best network",
        caption="The width of a bond grows with log₂ of its rank"
        f"{colors}; the area of a node with its parameters. Point at anything for its numbers.",
        svg=drawn.replace(' xmlns="http://www.w3.org/2000/svg"', "", 1),
        file=drawn,
    )


def figure_of(name: str, title: str, caption: str, made: Chart) -> Figure:
    """Return a chart as a figure."""
    return Figure(name=name, title=title, caption=caption, svg=made.svg(), file=made.standalone())


def _title(e: Evaluation) -> str:
    label = f" ({e.label})" if e.label else ""
    return f"#{e.index}{label}: {e.num_params:,} parameters, error {e.error:.4g}"


def front_figure(run: RunRecord) -> Figure | None:
    """Draw error against parameters: every evaluation, the front, and the fixed formats."""
    tried = [e for e in thinned(run) if math.isfinite(e.error) and e.error > 0.0]
    if not tried:
        return None
    front = [(c["num_params"], c["error"]) for c in run.pareto] or _front(tried)
    best = best_of(run)
    assert best is not None
    series = [
        Series(
            name="evaluations",
            points=[(e.num_params, e.error) for e in tried],
            color=5,
            titles=[_title(e) for e in tried],
        ),
        Series(name="front", points=front, color=0, mark=Mark.STEPS),
        _fixed_series(run),
        Series(
            name="best",
            points=[(best.num_params, best.error)],
            color=4,
            mark=Mark.RINGS,
            titles=[f"best: {best.num_params:,} parameters, error {best.error:.4g}"],
        ),
    ]
    made = chart(
        series,
        Axis(label="parameters", scale=Scale.LOG),
        Axis(label="relative error", scale=Scale.LOG),
        label="relative error against parameters",
        guides=_goal_guides(run),
        width=900.0,
        height=440.0,
    )
    return figure_of(
        "front",
        "Error against parameters",
        "Each dot is one evaluation; lower left is better. The line joins those that no other "
        "beats in both.",
        made,
    )


def _fixed_series(run: RunRecord) -> Series:
    fixed = [b for b in run.baselines if b.get("error")]
    return Series(
        name="fixed formats",
        points=[(b["num_params"], b["error"]) for b in fixed],
        color=1,
        mark=Mark.DIAMONDS,
        labels=[fixed_name(b) for b in fixed],
        titles=[
            f"{fixed_name(b)}: {b['num_params']:,} parameters, error {b['error']:.4g}"
            for b in fixed
        ],
    )


def fixed_name(row: Mapping[str, Any]) -> str:
    """Return the name of a fixed format, and that it misses the error if it does.

    Examples
    --------
    >>> fixed_name({"name": "CP", "met": False})
    'CP (misses)'
    """
    reached = row.get("met", True) or "beside" in row  # beside a completion sizes are equal
    return str(row["name"]) if reached else f"{row['name']} (misses)"


def _front(tried: Sequence[Evaluation]) -> list[tuple[float, float]]:
    front: list[tuple[float, float]] = []
    for e in sorted(tried, key=lambda e: (e.num_params, e.error)):
        if not front or e.error < front[-1][1]:
            front.append((e.num_params, e.error))
    return front


def _goal_guides(run: RunRecord) -> list[Guide]:
    goal = run.settings["objective"]
    if goal.get("tol"):
        return [Guide(value=float(goal["tol"]), label=f"allowed error {goal['tol']:g}")]
    if goal.get("params"):
        text = f"allowed parameters {goal['params']:,}"
        return [Guide(value=float(goal["params"]), label=text, upright=True)]
    return []


def trace_figures(run: RunRecord) -> list[Figure]:
    """Draw errors over evaluations and over time, and the size of the best so far."""
    tried = thinned(run)
    if not any(math.isfinite(e.error) for e in tried):
        return []
    bests = running_best(run)
    guides = [g for g in _goal_guides(run) if not g.upright]
    error = Axis(label="relative error", scale=Scale.LOG)
    made = []
    for name, label, place in (
        ("trace", "evaluation", lambda e: float(e.index + 1)),
        ("trace-time", "seconds", lambda e: float(e.elapsed)),
    ):
        drawn = chart(
            _trace_series(tried, bests, place),
            Axis(label=label, low=0.0, whole=label == "evaluation"),
            error,
            label=f"relative error by {label}",
            guides=guides,
        )
        caption = "All evaluations and the best so far; failures are crosses at the top."
        made.append(figure_of(name, f"Error by {label}", caption, drawn))
    sizes = [(float(e.index + 1), float(e.num_params)) for e in bests]
    drawn = chart(
        [
            Series(
                name="best so far",
                points=sizes,
                color=0,
                mark=Mark.STEPS,
            ),
            Series(name="", points=sizes, color=0, titles=[_title(e) for e in bests]),
        ],
        Axis(label="evaluation", low=0.0, high=1.02 * len(run.evaluations) + 1, whole=True),
        Axis(label="parameters", scale=Scale.LOG),
        label="parameters of the best network by evaluation",
    )
    caption = (
        "Until a network is within the allowed error, the best is the one that comes nearest, "
        "whatever its size; from then on the smallest within it."
        if run.settings["objective"].get("tol")
        else "The size of the best network so far."
    )
    made.append(figure_of("size", "Parameters of the best so far", caption, drawn))
    return made


def _trace_series(tried: Sequence[Evaluation], bests: Sequence[Evaluation], place: Any) -> Any:
    fine = [e for e in tried if math.isfinite(e.error) and e.error > 0.0]
    failed = [e for e in tried if e.source is Source.FAILED]
    top = max(e.error for e in fine) if fine else 1.0
    return [
        Series(
            name="evaluations",
            points=[(place(e), e.error) for e in fine],
            color=5,
            titles=[_title(e) for e in fine],
        ),
        Series(
            name="best so far",
            points=[(place(e), e.error) for e in bests],
            color=0,
            mark=Mark.STEPS,
        ),
        Series(
            name="failed",
            points=[(place(e), top) for e in failed],
            color=4,
            mark=Mark.CROSSES,
            titles=[f"#{e.index}: {e.failure}" for e in failed],
        ),
    ]


def spectrum_figures(run: RunRecord) -> list[Figure]:
    """Draw the singular values of the modes of the data, and of the bonds, with their cuts."""
    best = best_of(run)
    made = []
    cuts = mode_ranks(best.structure) if best is not None else {}
    for group, what, ranks in (
        ("modes", "mode", cuts),
        ("bonds", "bond", dict(best.structure.ranks) if best is not None else {}),
    ):
        known = run.spectra.get(group) or {}
        shown = [name for name in known if group == "modes" or name in ranks][:MOST_SPECTRA]
        series = []
        for k, name in enumerate(shown):
            top = max([abs(v) for v in known[name]] or [1.0]) or 1.0
            points = [(i + 1.0, v / top) for i, v in enumerate(known[name]) if v > 1e-9 * top]
            cut = ranks.get(name)
            series.append(Series(name=_short(name), points=points, color=k % 6, mark=Mark.LINE))
            if cut is not None and 0 < cut <= len(points):
                title = f"{what} {name}: cut after {cut} of {len(known[name])} values"
                end = Series(
                    name="", points=[points[cut - 1]], color=k % 6, titles=[title],
                    mark=Mark.DIAMONDS,
                )  # fmt: skip
                series.append(end)
        if not series:
            continue
        drawn = chart(
            series,
            Axis(label="number", scale=Scale.LOG),
            Axis(label="singular value / largest", scale=Scale.LOG),
            label=f"singular values by {what}",
        )
        source = "of the data, unfolded along each mode" if group == "modes" else "on each bond"
        caption = f"Singular values {source}; a diamond marks the last one that is kept."
        made.append(figure_of(f"spectra-{group}", f"Spectra by {what}", caption, drawn))
    return made


def _short(name: str) -> str:
    return name if len(name) <= 14 else f"{name[:6]}…{name[-6:]}"


def mode_ranks(structure: Structure) -> dict[str, int]:
    """Return mode -> the most values its unfolding keeps: the bonds of its node together.

    Examples
    --------
    >>> import tnet
    >>> mode_ranks(tnet.tensor_train((4, 5, 6), (2, 3)))
    {'x0': 2, 'x1': 5, 'x2': 3}
    """
    found = {}
    for mode in structure.modes:
        legs = structure.legs[structure.holders[mode][0]]
        others = math.prod(structure.size[leg] for leg in legs if leg != mode)
        found[mode] = min(structure.size[mode], others)
    return found


def slice_figure(run: RunRecord) -> Figure | None:
    """Draw the error of every slice along each mode, if the folder says it of the best network."""
    best, known = best_of(run), read_residuals(run.folder)
    if best is None or known is None or known.index != best.index:
        return None
    series = []
    for k, (mode, errors) in enumerate(list(known.slices.items())[:MOST_MODES]):
        points = [((i + 0.5) / len(errors), e) for i, e in enumerate(errors)]
        titles = [f"{mode} {i}: {e:.4g}" for i, e in enumerate(errors)]
        series.append(Series(name=_short(mode), points=points, color=k, mark=Mark.LINE))
        series.append(Series(name="", points=points, color=k, titles=titles))
    drawn = chart(
        series,
        Axis(label="position along the mode, from first to last", low=0.0, high=1.0),
        Axis(label="relative error of the slice", low=0.0),
        label="relative error along each mode",
        guides=[Guide(value=best.error, label=f"whole {best.error:.3g}")],
    )
    caption = "The error of each slice; the mean of the squares along a mode is that of the whole."
    if len(known.slices) > MOST_MODES:
        caption += f" Shown are the first {MOST_MODES} of {len(known.slices)} modes."
    return figure_of("slice-error", "Error along each mode", caption, drawn)


def error_figures(run: RunRecord) -> list[Figure]:
    """Draw how much error the rank of each mode alone forces, from the spectra of the data."""
    best = best_of(run)
    known = run.spectra.get("modes") or {}
    if best is None or not known:
        return []
    rows = []
    for mode, cut in mode_ranks(best.structure).items():
        if mode not in known:
            continue
        squares = [v * v for v in known[mode]]
        total = math.fsum(squares) or 1.0
        share = math.sqrt(max(0.0, math.fsum(squares[cut:])) / total)
        kept = f"{min(cut, len(squares))} of {len(squares)} values kept"
        rows.append((mode, share, f"{mode}: error {share:.4g}, {kept}"))
    if not any(share > 0.0 for _, share, _ in rows):
        return []
    drawn = bars(
        rows, Axis(label="relative error", low=0.0), label="error forced by each mode", width=560.0
    )
    caption = (
        "The error that the rank of each mode alone makes unavoidable (a lower bound), "
        f"beside {best.error:.4g} of the whole network."
    )
    return [figure_of("mode-error", "Where the error comes from", caption, drawn)]
