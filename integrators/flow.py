"""What an evolution leaves: times, measures, ranks, drifts, the last state, and counts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from tnet.network import Network

Series: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"


class Outcome(Enum):
    """How an evolution ended."""

    FINISHED = "the final time was reached"
    STOPPED = "stopped by the callback; the state is that of the last time"
    INTERRUPTED = "interrupted after a whole step; it can be gone on with"
    TERMINATED = "terminated after a whole step; it can be gone on with"


class Drift(NamedTuple):
    """How far quantities have moved that an exact evolution may keep.

    Attributes
    ----------
    norm
        Largest | ||Y(t)|| / ||Y(t0)|| - 1 | over the saved times.
    energy
        Largest |E(t) - E(t0)| over the saved times, in the units of the operator; None where no
        energy is defined.
    """

    norm: float
    energy: float | None


class Counts(NamedTuple):
    """What the steps of an evolution took.

    Attributes
    ----------
    steps
        Accepted steps.
    rejected
        Steps taken back because the error estimate was too large.
    augmented
        Steps repeated in larger bases (`RankRejection`).
    halved
        Steps repeated at half the length, because numbers were not finite or ranks too small.
    rank_limited
        Accepted steps whose error is set by `max_rank` or the tolerance of the truncation.
    """

    steps: int = 0
    rejected: int = 0
    augmented: int = 0
    halved: int = 0
    rank_limited: int = 0

    def plus(self, other: Counts) -> Counts:
        """Return the sum of both."""
        return Counts(*(a + b for a, b in zip(self, other, strict=True)))


@dataclass(frozen=True, kw_only=True)
class Row:
    """What is recorded at one saved time; the attributes are those of `Flow`, for one time."""

    time: float
    norm: float
    energy: float | None
    ranks: Mapping[str, int]
    values: Mapping[str, Any]
    error: float
    truncation: float
    step: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Flow:
    """An evolution.

    Attributes
    ----------
    times
        The saved times, shape (saves,).
    values
        Measure -> its values, shape (saves, ...).
    ranks
        One mapping bond -> rank per saved time.
    norms
        Frobenius norms, shape (saves,): those of the scheme itself, also where the state is
        renormalised.
    energies
        Energies, shape (saves,); None where none is defined.
    drift
        Largest drifts of norm and energy.
    errors
        Estimate of the relative error accumulated since the start, shape (saves,): what the
        truncations have cut off (a bound where the flow does not expand distances) and, under a
        controller with an error estimate, the errors of the steps. The error of the rank itself
        is not in it.
    truncations
        The part of `errors` that the truncations have made.
    steps
        Length of the step before each saved time, shape (saves,).
    state
        The state at the last time.
    outcome
        How it ended.
    counts
        Steps accepted, rejected, repeated.
    statistics
        What the stepper counted, summed over all steps.
    seconds
        Wall time.
    """

    times: Series
    values: Mapping[str, Series]
    ranks: Sequence[Mapping[str, int]]
    norms: Series
    energies: Series | None
    drift: Drift
    errors: Series
    truncations: Series
    steps: Series
    state: Network
    outcome: Outcome
    counts: Counts
    statistics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def max_ranks(self) -> Series:
        """Largest rank at each saved time, shape (saves,)."""
        return np.asarray([max(r.values(), default=1) for r in self.ranks], dtype=np.int64)

    def __repr__(self) -> str:
        energy = "" if self.drift.energy is None else f", energy {self.drift.energy:.2g}"
        last = f"t={self.times[-1]:g}, " if len(self.times) else ""
        return (
            f"Flow({last}{self.counts.steps} steps, {len(self.times)} saves, "
            f"ranks up to {int(self.max_ranks.max(initial=1))}, "
            f"drift norm {self.drift.norm:.2g}{energy}, {self.outcome.name})"
        )


def drift_of(norms: Sequence[float], energies: Sequence[float | None]) -> Drift:
    """Return the largest drifts against the first entries.

    Examples
    --------
    >>> drift_of([2.0, 2.0, 1.0], [1.0, 1.5, 1.25])
    Drift(norm=0.5, energy=0.5)
    """
    if not len(norms):
        return Drift(0.0, None)
    first = float(norms[0])
    scale = first if first > 0.0 else 1.0
    norm = max(abs(float(n) - first) / scale for n in norms)
    known = [float(e) for e in energies if e is not None]
    return Drift(norm, max(abs(e - known[0]) for e in known) if known else None)


def stacked(rows: Sequence[Row]) -> dict[str, Series]:
    """Return measure -> values over all rows, as arrays.

    Examples
    --------
    >>> row = Row(
    ...     time=0.0, norm=1.0, energy=None, ranks={}, values={"z": [1.0, 2.0]}, error=0.0,
    ...     truncation=0.0, step=0.0,
    ... )
    >>> stacked([row, row])["z"].shape
    (2, 2)
    """
    names = list(rows[0].values) if rows else []
    return {name: np.asarray([row.values[name] for row in rows]) for name in names}


def flow_of(
    rows: Sequence[Row],
    state: Network,
    *,
    outcome: Outcome,
    counts: Counts,
    statistics: Mapping[str, float],
    seconds: float,
) -> Flow:
    """Return the flow of recorded rows."""
    energies = [row.energy for row in rows]
    known = bool(rows) and all(e is not None and not math.isnan(e) for e in energies)
    return Flow(
        times=np.asarray([row.time for row in rows], dtype=np.float64),
        values=stacked(rows),
        ranks=tuple(row.ranks for row in rows),
        norms=np.asarray([row.norm for row in rows], dtype=np.float64),
        energies=np.asarray(energies, dtype=np.float64) if known else None,
        drift=drift_of([row.norm for row in rows], energies if known else []),
        errors=np.asarray([row.error for row in rows], dtype=np.float64),
        truncations=np.asarray([row.truncation for row in rows], dtype=np.float64),
        steps=np.asarray([row.step for row in rows], dtype=np.float64),
        state=state,
        outcome=outcome,
        counts=counts,
        statistics=dict(statistics),
        seconds=seconds,
    )
