"""What people see of a run: live progress, and a summary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from integrators.flow import Row
from integrators.simulation.records import Record
from integrators.simulation.settings import DEFAULT_STEPPERS, TaskKind
from tnet.console import Console, Progress, format_seconds


class Shower:
    """Turns what a run reports after every step into progress.

    It counts the steps of this session, so that the time left is right after a resume as well.
    """

    def __init__(self, progress: Progress, end: float) -> None:
        self._progress, self._end = progress, end
        self._row: Row | None = None
        self._first: tuple[float, int] | None = None

    def __call__(self, record: Record, row: Row | None) -> None:
        """Show one step."""
        self._row = row or self._row
        moment = record.moment
        if self._first is None:
            self._first = (moment.time - moment.step, moment.counts.steps - (moment.step > 0.0))
        start, before = self._first
        done = moment.counts.steps - before
        share = (moment.time - start) / (self._end - start) if self._end > start else 1.0
        total = max(done, round(done / share)) if share > 0.0 else None
        self._progress.update(done, status_line(record, self._row, self._end), total=total)


def status_line(record: Record, row: Row | None, end: float | None = None) -> str:
    """Return one line about the last step: time, ranks, error, norm, energy."""
    moment, search = record.moment, is_search(record)
    of = "" if end is None else f" of {end:g}"
    parts = [f"{'sweep' if search else 't'} {moment.time:.4g}{of}"]
    parts.append(f"rank {max(moment.state.ranks.values(), default=1)}")
    if not search:
        parts.append(f"{error_name(record)} {moment.error:.1e}")
    if record.kind == "quench":
        parts.append(f"norm {moment.norm:.8g}")
    if row is not None and row.energy is not None:
        parts.append(f"energy {row.energy:.10g}")
    return "  ".join(parts)


def is_search(record: Record) -> bool:
    """Tell whether a run is a search by sweeps, not an evolution."""
    return record.kind == "ground_state"


def error_name(record: Record) -> str:
    """Return what the recorded error is: an estimate of all of it, or of what was cut off."""
    controlled = record.document.get("step", {}).get("control") == "pi"
    return "error" if controlled else "cut off"


def summary(record: Record, path: Any) -> dict[str, Any]:
    """Return what `--json` says of a run."""
    last = record.rows[-1] if record.rows else None
    return {
        "run": str(path),
        "title": record.document.get("title", ""),
        "kind": record.kind,
        "finished": record.finished,
        "failure": record.failure,
        "schema": record.schema,
        "time": record.moment.time,
        "rows": len(record.rows),
        "steps": record.moment.counts._asdict(),
        "max_rank": max(record.moment.state.ranks.values(), default=1),
        "error": record.moment.error,
        "truncation": record.moment.truncation,
        "norm": record.moment.norm,
        "energy": None if last is None else last.energy,
        "drift": {"norm": record.drift.norm, "energy": record.drift.energy},
        "log_partition": log_partition(record),
        "seconds": record.seconds[-1] if record.seconds else 0.0,
        "values": {} if last is None else dict(last.values),
        "changes": list(record.changes),
        "meta": dict(record.meta),
    }


def show_summary(record: Record, path: Any, console: Console) -> None:
    """Write the summary of a run as a table."""
    console.table(["what", "value"], [[*item] for item in told(record, path).items()])


def show_beside(runs: Sequence[tuple[Any, Record]], console: Console) -> None:
    """Write the summaries of several runs as columns of one table."""
    columns = [told(record, path) for path, record in runs]
    names = list(dict.fromkeys(name for column in columns for name in column))
    names.remove("run")
    rows = [[name, *(column.get(name, "") for column in columns)] for name in names]
    console.table(["what", *(Path(path).stem for path, _ in runs)], rows)


def told(record: Record, path: Any) -> dict[str, str]:
    """Return what people want to know of a run, in order."""
    said, document = summary(record, path), record.document
    found = {"run": str(path)}
    if said["title"]:
        found["title"] = said["title"]
    found["how it stands"] = _standing(record)
    default = DEFAULT_STEPPERS[TaskKind(record.kind)]
    stepper = document.get("stepper", {}).get("name", default)
    cut = document.get("truncation", {})
    found["stepper"] = ", ".join(
        [
            stepper,
            *(f"{k} {document['step'][k]:g}" for k in ("dt",) if k in document.get("step", {})),
        ]
        + [f"{k} {cut[k]:g}" for k in ("tol", "max_rank") if k in cut]
    )
    found["sweeps" if is_search(record) else "time"] = f"{said['time']:g}"
    if record.kind == "thermal":
        found["beta"] = f"{2 * said['time']:g}"
    counts = (f"{n} {name.replace('_', ' ')}" for name, n in said["steps"].items() if n)
    found["steps"] = ", ".join(counts) or "none"
    found["largest rank"] = str(said["max_rank"])
    found |= _energies(record, said)
    if not is_search(record):
        name = "error, estimated" if error_name(record) == "error" else "cut off in all"
        found[name] = f"{said['error']:.2e}"
    found |= {name: _short(value) for name, value in said["values"].items()}
    found["wall time"] = format_seconds(said["seconds"])
    for change in record.changes:
        found[f"changed at {change.get('at', 0):g}"] = f"{change['key']} = {change['value']}"
    return found


def _standing(record: Record) -> str:
    if record.failure:
        return f"ended with {record.failure}"
    if not record.finished:
        return "not finished"
    if is_search(record) and record.moment.counts.steps >= record.document["task"].get(
        "sweeps", 10
    ):
        return "finished: all sweeps done"
    return "finished: the energy stays" if is_search(record) else "finished"


def _energies(record: Record, said: dict[str, Any]) -> dict[str, str]:
    """Return energy, its last gain, drifts: what makes sense for the kind of run."""
    found = {}
    if said["energy"] is not None:
        found["energy"] = f"{said['energy']:.12g}"
        before = record.rows[-2].energy if len(record.rows) > 1 else None
        if is_search(record) and before is not None:
            found["last gain of energy"] = f"{before - said['energy']:.1e}"
    if record.kind == "quench":
        found["drift of the norm"] = f"{said['drift']['norm']:.2e}"
        if said["drift"]["energy"] is not None:
            found["drift of the energy"] = f"{said['drift']['energy']:.2e}"
    if record.kind == "thermal":
        found["ln Z"] = f"{said['log_partition']:.12g}"
    return found


def log_partition(record: Record) -> float | None:
    """Return ln Tr exp(-beta H) of a thermal run; None for others."""
    state, moment = record.moment.state, record.moment
    if record.kind != "thermal" or not state.norm:
        return None
    structure = state.frame.structure
    sites = sum(math.log(structure.size[mode]) for mode in structure.modes) / 2.0
    return sites + 2.0 * (math.log(state.norm) + moment.log_scale)


def _short(value: Any) -> str:
    size = getattr(value, "size", 1)
    if size != 1:
        shape = " x ".join(map(str, value.shape))
        return f"{shape} numbers"
    number = complex(value.item() if hasattr(value, "item") else value)
    if number.imag:
        return f"{number:.8g}"
    return f"{number.real:.10g}" if math.isfinite(number.real) else str(number.real)
