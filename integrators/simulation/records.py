"""What a run holds: the description, everything recorded, and the moment to go on from."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from contraction.errors import CheckpointError
from integrators.control import Clock
from integrators.flow import Counts, Drift, Row, Series, drift_of, stacked
from integrators.moments import Moment
from integrators.steppers.base import Statistics
from integrators.tree_state import TreeState

SCHEMA = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Record:
    """A run, as its file holds it.

    Attributes
    ----------
    document
        The description as it is followed now: the file's, and what was changed by `extend`.
    text
        The TOML text as it was first given.
    changes
        What was changed since, in order: {"key": ..., "value": ..., "time": ...}.
    meta
        Versions, machine, when it was begun.
    rows
        What was recorded. In a ground-state search `time` counts the sweeps.
    seconds
        Wall time of the run at each row, over all sessions.
    moment
        The last state with everything needed to go on.
    finished
        Whether it has reached its end.
    failure
        Why the last session ended with an error; "" if it did not.
    schema
        Version of the layout of the file it was read from.
    """

    document: Mapping[str, Any]
    text: str
    changes: Sequence[Mapping[str, Any]] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)
    rows: Sequence[Row] = ()
    seconds: Sequence[float] = ()
    moment: Moment
    finished: bool = False
    failure: str = ""
    schema: int = SCHEMA

    @property
    def times(self) -> Series:
        """The recorded times, shape (rows,)."""
        return np.asarray([row.time for row in self.rows], dtype=np.float64)

    @property
    def values(self) -> dict[str, Series]:
        """Measure -> its values, shape (rows, ...)."""
        return stacked(self.rows)

    @property
    def drift(self) -> Drift:
        """Largest drifts of norm and energy."""
        return drift_of([row.norm for row in self.rows], [row.energy for row in self.rows])

    @property
    def kind(self) -> str:
        """What is computed: quench or ground_state."""
        return str(self.document.get("task", {}).get("kind", "quench"))

    def changed(self, **fields: Any) -> Record:
        """Return the record with some fields exchanged."""
        return replace(self, **fields)


def describe_process() -> dict[str, Any]:
    """Return the versions and the machine that a run file names."""
    found = {"created": time.time(), "argv": sys.argv[:64], "machine": platform.machine()}
    found["python"] = platform.python_version()
    for name in ("tnet", "numpy", "scipy", "h5py"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "unknown"
    return found


def moment_to_plain(moment: Moment) -> dict[str, Any]:
    """Return everything of a moment but the arrays, for JSON."""
    frame = moment.state.frame
    return {
        "structure": frame.structure.resized(moment.state.ranks).to_dict(),
        "root": frame.root,
        "clock": moment.clock._asdict(),
        "counts": moment.counts._asdict(),
        "statistics": moment.statistics._asdict(),
        "error": moment.error,
        "truncation": moment.truncation,
        "log_scale": moment.log_scale,
        "step": moment.step,
    }


def moment_from_plain(data: Mapping[str, Any], state: TreeState) -> Moment:
    """Return the moment that `moment_to_plain` wrote, with its state.

    Fields that an older version did not write have their defaults.
    """
    try:
        clock = dict(data["clock"])
        return Moment(
            clock=Clock(**{key: clock[key] for key in Clock._fields if key in clock}),
            state=state,
            counts=Counts(**known(data.get("counts", {}), Counts._fields)),
            statistics=Statistics(**known(data.get("statistics", {}), Statistics._fields)),
            error=float(data.get("error", 0.0)),
            truncation=float(data.get("truncation", 0.0)),
            log_scale=float(data.get("log_scale", 0.0)),
            step=float(data.get("step", 0.0)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"the state of the run cannot be read: {error!r}.") from error


def known(data: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return the entries of `data` that have one of `names`."""
    return {key: data[key] for key in names if key in data}


def previous_of(path: Path) -> Path:
    """Return where the checkpoint before the last one is kept.

    Examples
    --------
    >>> previous_of(Path("runs/quench.h5")).name
    'quench.previous.h5'
    """
    return path.with_name(f"{path.stem}.previous{path.suffix}")
