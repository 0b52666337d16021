"""What people see of a run: live progress, and a summary."""

from __future__ import annotations

import math
from typing import Any

from integrators.flow import Row
from integrators.simulation.records import Record
from tnet.console import Console, Progress, format_seconds

PARTS = 1000  # of a quench, for the progress bar


class Shower:
    """Turns what a run reports after every step into progress."""

    def __init__(self, progress: Progress, record_end: float, start: float) -> None:
        self._progress, self._end, self._start = progress, record_end, start
        self._row: Row | None = None

    def __call__(self, record: Record, row: Row | None) -> None:
        """Show one step."""
        self._row = row or self._row
        moment = record.moment
        if record.kind == "ground_state":
            done, total = moment.counts.steps, round(self._end)
        else:
            share = (moment.time - self._start) / (self._end - self._start)
            done, total = min(PARTS, int(PARTS * share)), PARTS
        self._progress.update(done, status_line(record, self._row), total=total)


def status_line(record: Record, row: Row | None) -> str:
    """Return one line about the last step: time, ranks, error, norm, energy."""
    moment = record.moment
    name = "sweep" if record.kind == "ground_state" else "t"
    parts = [f"{name} {moment.time:.4g}", f"rank {max(moment.state.ranks.values(), default=1)}"]
    if record.kind != "ground_state":
        parts += [f"error {moment.error:.1e}", f"norm {moment.norm:.8g}"]
    if row is not None and row.energy is not None:
        parts.append(f"energy {row.energy:.10g}")
    return "  ".join(parts)


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
        "seconds": record.seconds[-1] if record.seconds else 0.0,
        "values": {} if last is None else dict(last.values),
        "changes": list(record.changes),
        "meta": dict(record.meta),
    }


def show_summary(record: Record, path: Any, console: Console) -> None:
    """Write the summary of a run as a table."""
    said = summary(record, path)
    ended = "finished" if record.finished else "not finished"
    if record.failure:
        ended = f"ended with {record.failure}"
    unit = "sweeps" if record.kind == "ground_state" else "time"
    rows = [["run", str(path)], ["how it stands", ended], [unit, f"{said['time']:g}"]]
    if said["title"]:
        rows.insert(1, ["title", said["title"]])
    counts = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in said["steps"].items() if n)
    rows += [["steps", counts or "none"], ["largest rank", str(said["max_rank"])]]
    if said["energy"] is not None:
        rows.append(["energy", f"{said['energy']:.12g}"])
    if record.kind != "ground_state":
        rows.append(["drift of the norm", f"{said['drift']['norm']:.2e}"])
        if said["drift"]["energy"] is not None:
            rows.append(["drift of the energy", f"{said['drift']['energy']:.2e}"])
        rows.append(["error, estimated", f"{said['error']:.2e}"])
        if said["steps"]["rank_limited"]:
            rows.append(["limited by the rank", f"{said['steps']['rank_limited']} steps"])
    for name, value in said["values"].items():
        rows.append([name, _short(value)])
    rows.append(["wall time", format_seconds(said["seconds"])])
    for change in record.changes:
        rows.append(["changed", f"{change['key']} = {change['value']}"])
    console.table(["what", "value"], rows)


def _short(value: Any) -> str:
    size = getattr(value, "size", 1)
    if size != 1:
        shape = " x ".join(map(str, value.shape))
        return f"{shape} numbers"
    number = complex(value.item() if hasattr(value, "item") else value)
    if number.imag:
        return f"{number:.8g}"
    return f"{number.real:.10g}" if math.isfinite(number.real) else str(number.real)
