"""Figures of a run: observables, light cones, ranks over time, drifts, energies of sweeps."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from contraction.errors import DeviceError
from integrators.simulation.records import Record
from integrators.simulation.screen import error_name, is_search
from integrators.simulation.tables import nearest
from tnet.failures import UsageError

SIZE, DOTS = (6.4, 4.2), 150  # inches; points an inch
FLOOR = 1e-16  # of logarithmic axes
MOST_LINES = 12  # of one plot; more are drawn as a map
MOST_NAMES, WIDE = 24, 60  # ticks of an axis; letters side by side
SUFFIXES = (".png", ".svg", ".pdf")


def draw_figures(
    record: Record, folder: str | Path, *, suffix: str = ".png", only: Sequence[str] = ()
) -> list[Path]:
    """Write the figures of a run into a folder, and return their files.

    Parameters
    ----------
    record
        From `read_run`.
    folder
        Made if it is not there.
    suffix
        ".png", ".svg" or ".pdf".
    only
        Names of the figures to draw: "observables", "ranks", "drift", "energy", or those of
        measures that have a value per site (their light cone); all by default.

    Raises
    ------
    UsageError
        A figure that this run does not have, or another suffix.
    DeviceError
        matplotlib is not installed.
    """
    if suffix not in SUFFIXES:
        raise UsageError(f"figures end in {', '.join(SUFFIXES)}, got {suffix!r}.")
    drawers = figures_of(record)
    for name in only:
        if name not in drawers:
            raise UsageError(f"this run has no figure {name!r}.", hint=nearest(name, drawers))
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DeviceError(
            "figures need matplotlib, which is missing; `pip install 'tnet[plots]'` brings it."
        ) from error
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    made = []
    for name in only or drawers:
        figure = Figure(figsize=SIZE, layout="constrained")
        FigureCanvasAgg(figure)
        drawers[name](figure)
        made.append(place / f"{_file_name(name)}{suffix}")
        figure.savefig(made[-1], dpi=DOTS)
    return made


def figures_of(record: Record) -> dict[str, Callable[[Any], None]]:
    """Return name -> what draws the figure, for all that a run has."""
    values = {name: np.real(v) for name, v in record.values.items()}
    numbers = {name: v for name, v in values.items() if v.ndim == 1}
    found: dict[str, Callable[[Any], None]] = {}
    if numbers:
        found["observables"] = partial(_lines, record=record, numbers=numbers)
    for name, series in values.items():
        draw = _last_profile if is_search(record) else _cone
        if series.ndim == 2:
            found[name] = partial(draw, record=record, values=series, name=name)
        if series.ndim == 3:
            found[name] = partial(_matrix, record=record, values=series, name=name)
    if record.rows and record.rows[0].ranks:
        found["ranks"] = partial(_ranks, record=record)
    if record.rows and record.rows[0].energy is not None and record.kind != "quench":
        found["energy"] = partial(_energies, record=record)
    if record.kind == "quench":
        found["drift"] = partial(_drift, record=record)
    return found


def _axis(figure: Any, record: Record, label: str, title: str = "") -> Any:
    axis = figure.add_subplot()
    axis.set_xlabel(_clock(record))
    axis.set_ylabel(label)
    _title(axis, record, title)
    return axis


def _title(axis: Any, record: Record, what: str) -> None:
    parts = [part for part in (str(record.document.get("title", "")), what) if part]
    axis.set_title(_label(": ".join(parts)), fontsize="medium")


def _clock(record: Record) -> str:
    """Return what the rows go by, with its unit."""
    if is_search(record):
        return "sweep"
    name = "time" if record.kind == "quench" else "imaginary time"
    return f"{name} (1 / unit of energy)"


def _lines(figure: Any, record: Record, numbers: dict[str, Any]) -> None:
    axis = _axis(figure, record, "expectation value")
    for name, series in numbers.items():
        axis.plot(record.times, series, label=_label(name))
    axis.legend()


def _places(record: Record, name: str, count: int) -> tuple[str, list[str]]:
    """Return what lies across the map of a measure: sites or bonds, and their names in order."""
    table = record.document.get("measure", {}).get(name, {})
    structure = record.moment.state.frame.structure
    bonds = table.get("kind") == "bond_entropies"
    known = structure.bonds if bonds else [m for m in structure.modes if not m.endswith("'")]
    names = table.get("bonds" if bonds else "sites", list(known))
    return ("bond" if bonds else "site"), names if len(names) == count else [""] * count


def _meaning(record: Record, name: str) -> str:
    """Return the label of the values of a measure."""
    table = record.document.get("measure", {}).get(name, {})
    if table.get("kind") in ("bond_entropies", "entropy"):
        return "entanglement entropy (nats)"
    operator = table.get("operator")
    return f"<{operator}>" if isinstance(operator, str) else name


def _cone(figure: Any, record: Record, values: Any, name: str) -> None:
    """Draw a value per site or bond and time: a light cone."""
    across, names = _places(record, name, values.shape[1])
    _map(figure, record, values, (across, names), (name, _meaning(record, name)))


def _map(
    figure: Any, record: Record, values: Any, across: tuple[str, list[str]], told: tuple[str, str]
) -> None:
    """Draw places across and time upwards; `told` are the title and the label of the colours."""
    axis = figure.add_subplot()
    places = np.arange(values.shape[1] + 1) - 0.5
    drawn = axis.pcolormesh(places, _edges(record.times), values, **_colours(values))
    _ticks(axis.xaxis, *across)
    axis.set_ylabel(_clock(record))
    _title(axis, record, told[0])
    figure.colorbar(drawn, ax=axis, label=_label(told[1]))


def _colours(values: Any) -> dict[str, Any]:
    """Return the colours of a map: white is zero where values have both signs."""
    if values.size and np.nanmin(values) < 0.0 < np.nanmax(values):
        most = float(np.nanmax(np.abs(values)))
        return {"cmap": "RdBu_r", "vmin": -most, "vmax": most}
    return {"cmap": "viridis"}


def _ticks(axis: Any, label: str, names: Sequence[str]) -> None:
    """Name places on an axis: all of them if they are few, else some."""
    every = max(1, -(-len(names) // MOST_NAMES))
    shown = range(0, len(names), every)
    axis.set_ticks(list(shown), [_label(names[k]) or str(k) for k in shown], fontsize="small")
    axis.set_label_text(label)
    if sum(len(names[k]) for k in shown) > WIDE and axis.axis_name == "x":
        axis.set_tick_params(labelrotation=90)


def _edges(times: Any) -> Any:
    """Return the edges of cells around increasing times."""
    if len(times) < 2:
        return np.asarray([times[0] - 0.5, times[0] + 0.5])
    middle = (times[1:] + times[:-1]) / 2
    first, last = times[0] - (times[1] - times[0]) / 2, times[-1] + (times[-1] - times[-2]) / 2
    return np.concatenate([[first], middle, [last]])


def _last_profile(figure: Any, record: Record, values: Any, name: str) -> None:
    """Draw a value per site or bond of the last state."""
    across, names = _places(record, name, values.shape[1])
    axis = figure.add_subplot()
    axis.plot(values[-1], "o-", markersize=4)
    _ticks(axis.xaxis, across, names)
    axis.set_ylabel(_label(_meaning(record, name)))
    _title(axis, record, f"{name} after {record.times[-1]:g} sweeps")


def _matrix(figure: Any, record: Record, values: Any, name: str) -> None:
    """Draw a value per two sites of the last state."""
    last = values[-1]
    names = _places(record, name, len(last))[1]
    axis = figure.add_subplot()
    drawn = axis.imshow(last, origin="lower", **_colours(last))
    _ticks(axis.xaxis, "site", names)
    _ticks(axis.yaxis, "site", names)
    _title(axis, record, f"{name} at {_clock(record).split(' (')[0]} {record.times[-1]:g}")
    table = record.document.get("measure", {}).get(name, {})
    pair = [str(table.get(key, "")) for key in ("left", "right")]
    figure.colorbar(drawn, ax=axis, label=_label("<{}_i {}_j>".format(*pair)))


def _ranks(figure: Any, record: Record) -> None:
    bonds = list(record.moment.state.frame.structure.bonds)
    values = np.asarray([[row.ranks[bond] for bond in bonds] for row in record.rows])
    if len(bonds) > MOST_LINES:
        _map(figure, record, values, ("bond", bonds), ("ranks", "rank"))
        return
    axis = _axis(figure, record, "rank", "ranks")
    for k, bond in enumerate(bonds):
        axis.plot(record.times, values[:, k], label=_label(bond), drawstyle="steps-pre")
    axis.set_ylim(bottom=0)
    axis.legend(ncols=2, fontsize="small", title="bond", title_fontsize="small")


def _drift(figure: Any, record: Record) -> None:
    axis = _axis(figure, record, "change since the start", "drifts")
    norms = np.asarray([row.norm for row in record.rows])
    if len(norms):
        changed = np.abs(norms / (norms[0] or 1.0) - 1.0)
        axis.semilogy(record.times, np.maximum(changed, FLOOR), label="norm, relative")
    energies = [row.energy for row in record.rows]
    if energies and energies[0] is not None:
        changed = np.abs(np.asarray(energies, dtype=float) - energies[0])
        axis.semilogy(record.times, np.maximum(changed, FLOOR), label="energy, absolute")
    errors = np.asarray([row.error for row in record.rows])
    if len(errors) and errors.max() > 0.0:
        label = "error, estimated" if error_name(record) == "error" else "cut off, relative"
        axis.semilogy(record.times, np.maximum(errors, FLOOR), "--", label=label)
    axis.set_ylim(bottom=FLOOR)
    axis.legend()


def _energies(figure: Any, record: Record) -> None:
    """Draw the energy, and what each sweep has gained."""
    above, below = figure.subplots(2, 1, sharex=True) if is_search(record) else (None, None)
    above = figure.add_subplot() if above is None else above
    energies = np.asarray([row.energy for row in record.rows], dtype=float)
    above.plot(record.times, energies, "o-" if is_search(record) else "-", markersize=4)
    above.set_ylabel("energy")
    _title(above, record, "energy")
    if below is not None:
        gains = np.maximum(np.abs(np.diff(energies)), FLOOR)
        below.semilogy(record.times[1:], gains, "o-", markersize=4)
        below.set_ylabel("change since the row before")
        below.xaxis.get_major_locator().set_params(integer=True)
    (above if below is None else below).set_xlabel(_clock(record))


def _label(name: str) -> str:
    """Return a text that matplotlib takes as it is: no mathematics, no hidden label."""
    return str(name).replace("$", r"\$").lstrip("_") or str(name)


def _file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:64] or "figure"
