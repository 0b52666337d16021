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
from integrators.simulation.tables import nearest
from tnet.failures import UsageError

SIZE, DOTS = (6.4, 4.2), 150  # inches; points an inch
FLOOR = 1e-17  # of logarithmic axes
MOST_LINES = 12  # of one plot; more are drawn as a map
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
    search = record.kind == "ground_state"
    values = {name: np.real(v) for name, v in record.values.items()}
    numbers = {name: v for name, v in values.items() if v.ndim == 1}
    found: dict[str, Callable[[Any], None]] = {}
    if numbers:
        found["observables"] = partial(_lines, record=record, numbers=numbers)
    for name, profile in values.items():
        if profile.ndim == 2:
            found[name] = partial(_map, record=record, values=profile, name=name, across="place")
    if record.rows and record.rows[0].ranks:
        found["ranks"] = partial(_ranks, record=record)
    if search:
        found["energy"] = partial(_energies, record=record)
    else:
        found["drift"] = partial(_drift, record=record)
    return found


def _axis(figure: Any, record: Record, label: str) -> Any:
    axis = figure.add_subplot()
    axis.set_xlabel("sweep" if record.kind == "ground_state" else "time")
    axis.set_ylabel(label)
    axis.set_title(str(record.document.get("title", "")), fontsize="medium")
    return axis


def _lines(figure: Any, record: Record, numbers: dict[str, Any]) -> None:
    axis = _axis(figure, record, "value")
    for name, series in numbers.items():
        axis.plot(record.times, series, label=_label(name))
    axis.legend()


def _map(figure: Any, record: Record, values: Any, name: str, across: str) -> None:
    """Draw a value per place and time as a map: places across, time upwards."""
    axis = figure.add_subplot()
    edges = _edges(record.times)
    places = np.arange(values.shape[1] + 1) - 0.5
    drawn = axis.pcolormesh(places, edges, values, cmap="viridis")
    axis.set_xlabel(across)
    axis.set_ylabel("sweep" if record.kind == "ground_state" else "time")
    axis.set_title(_label(name), fontsize="medium")
    figure.colorbar(drawn, ax=axis)


def _edges(times: Any) -> Any:
    """Return the edges of cells around increasing times."""
    if len(times) < 2:
        return np.asarray([times[0] - 0.5, times[0] + 0.5])
    middle = (times[1:] + times[:-1]) / 2
    first, last = times[0] - (times[1] - times[0]) / 2, times[-1] + (times[-1] - times[-2]) / 2
    return np.concatenate([[first], middle, [last]])


def _ranks(figure: Any, record: Record) -> None:
    bonds = list(record.rows[0].ranks)
    values = np.asarray([[row.ranks[bond] for bond in bonds] for row in record.rows])
    if len(bonds) > MOST_LINES:
        _map(figure, record, values, "rank of each bond", "bond")
        return
    axis = _axis(figure, record, "rank")
    for k, bond in enumerate(bonds):
        axis.plot(record.times, values[:, k], label=_label(bond), drawstyle="steps-pre")
    axis.legend(ncols=2, fontsize="small")


def _drift(figure: Any, record: Record) -> None:
    axis = _axis(figure, record, "change since the start")
    norms = np.asarray([row.norm for row in record.rows])
    if len(norms):
        changed = np.abs(norms / (norms[0] or 1.0) - 1.0)
        axis.semilogy(record.times, np.maximum(changed, FLOOR), label="norm (relative)")
    energies = [row.energy for row in record.rows]
    if energies and energies[0] is not None:
        changed = np.abs(np.asarray(energies, dtype=float) - energies[0])
        axis.semilogy(record.times, np.maximum(changed, FLOOR), label="energy")
    errors = np.asarray([row.error for row in record.rows])
    if len(errors) and errors.max() > 0.0:
        axis.semilogy(record.times, np.maximum(errors, FLOOR), "--", label="error estimate")
    axis.legend()


def _energies(figure: Any, record: Record) -> None:
    axis = _axis(figure, record, "energy above the lowest found")
    energies = np.asarray([row.energy for row in record.rows], dtype=float)
    if len(energies):
        axis.semilogy(record.times, np.maximum(energies - energies.min(), FLOOR), "o-")


def _label(name: str) -> str:
    """Return a text that matplotlib takes as it is: no mathematics, no hidden label."""
    return name.replace("$", r"\$").lstrip("_") or name


def _file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:64] or "figure"
