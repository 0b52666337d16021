"""One step with its truncation, repeated in larger bases where the ranks were too small."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from contraction.errors import ConvergenceError, InputError, NonFiniteError
from contraction.truncation import Truncation, check_rank
from integrators.cutting import cut
from integrators.flow import Counts
from integrators.opening import LEAST_SHARE, keeps_ranks, opened
from integrators.steppers.base import AbstractStepper, Statistics, Step
from integrators.tree_state import TreeState

if TYPE_CHECKING:
    from integrators.field import AbstractField

LARGEST_TOL = 0.5  # of one step, however long


class Scaling(Enum):
    """What the tolerance of the truncation is meant for."""

    PER_TIME = "per_time"  # a unit of time: a step of length h is cut with tol * h
    PER_STEP = "per_step"  # every step, however short: the error grows with their number


@dataclass(frozen=True, kw_only=True)
class RankRejection:
    """Repeat a step in the augmented bases where too much of the field leaves them.

    Before the truncation, the stepper's estimate of what its bases miss of the field (the
    largest over all nodes) is held against `factor` times the tolerance of the truncation.
    If it is larger, or if the truncation keeps every new direction of some bond below
    `max_rank`, the step is done again from the old state written in the augmented bases, with
    the same length (Ceruti, Kusch, Lubich, BIT Numer. Math. 64, 30, 2024, section 3.3;
    arXiv:2412.00858). After `tries` repetitions, or where a bond has reached `max_rank`, the
    step is halved where that changes the verdict (a tolerance per step), and otherwise accepted
    and counted as rank limited.

    Parameters
    ----------
    factor
        The constant c of the criterion.
    tries
        Repetitions in larger bases for one step.
    halvings
        Halvings of one step.
    on_saturation
        Whether keeping every new direction counts as too small.

    Examples
    --------
    >>> RankRejection(tries=2).factor
    10.0
    """

    factor: float = 10.0
    tries: int = 3
    halvings: int = 2
    on_saturation: bool = True

    def __post_init__(self) -> None:
        if not (isinstance(self.factor, (int, float)) and 0.0 < self.factor < math.inf):
            raise InputError(f"`factor` is a positive number, got {self.factor!r}.")
        check_rank(self.tries, "tries")
        check_rank(self.halvings, "halvings", least=0)


class Trial(NamedTuple):
    """A step after its truncation.

    Attributes
    ----------
    state
        The truncated state; None where numbers were not finite.
    truncation
        Relative error of the truncation.
    inside
        Relative error that the stepper says it has made by itself, as by its own truncations.
    limited
        Whether the ranks were too small to the end.
    halve
        Whether a step of half the length might fare better.
    counts
        Repetitions.
    statistics
        What the stepper counted.
    order
        Order of the stepper.
    """

    state: TreeState | None
    truncation: float = 0.0
    inside: float = 0.0
    limited: bool = False
    halve: bool = False
    counts: Counts = Counts()
    statistics: Statistics = Statistics()
    order: int = 1

    def after(self, first: Trial) -> Trial:
        """Return the trial of both halves of a step; `first` came before."""
        return self._replace(
            truncation=self.truncation + first.truncation,
            inside=self.inside + first.inside,
            limited=self.limited or first.limited,
            halve=self.halve or first.halve,
        ).counted(first)

    def counted(self, other: Trial) -> Trial:
        """Return the trial with what `other` cost as well."""
        return self._replace(
            counts=self.counts.plus(other.counts), statistics=self.statistics.plus(other.statistics)
        )


def scaled(truncation: Truncation, h: float, scaling: Scaling) -> Truncation:
    """Return the truncation of one step of length `h`.

    Examples
    --------
    >>> scaled(Truncation(tol=1e-4), 0.5, Scaling.PER_TIME).tol
    5e-05
    """
    if scaling is Scaling.PER_STEP:
        return truncation
    return replace(truncation, tol=min(truncation.tol * h, LARGEST_TOL))


class Setting(NamedTuple):
    """What every step of an evolution has in common.

    Attributes
    ----------
    field
        The bound field.
    scaling
        What the tolerance of the truncation is meant for.
    rejection
        When a step is repeated in larger bases; None never.
    keep
        Called with the state before and after a truncation; returns the state to go on with.
    opening
        Directions that every bond is widened by before a step (`integrators.opening.opened`).
    """

    field: AbstractField
    scaling: Scaling
    rejection: RankRejection | None
    keep: Callable[[TreeState, TreeState], TreeState]
    opening: int = 0


def try_step(
    setting: Setting, stepper: AbstractStepper, t: float, h: float, state: TreeState
) -> Trial:
    """Do one step of length `h`, truncate it, and repeat it while its bases are too small."""
    truncation = scaled(stepper.truncation, h, setting.scaling)
    if setting.scaling is Scaling.PER_STEP:  # steppers take their tolerance per unit of time
        own = replace(truncation, tol=min(truncation.tol / h, LARGEST_TOL))
        stepper = replace(stepper, truncation=own)
    tally = Trial(None, order=int(getattr(stepper, "order", 1)))
    rule, start = setting.rejection, _opened(setting, stepper, t + h / 2, state)
    for left in range(rule.tries if rule else 0, -1, -1):
        done = _finite_step(stepper, setting.field, t, h, start)
        if done is None:
            return tally
        tally = tally._replace(statistics=tally.statistics.plus(done.statistics))
        more = left > 0 and done.widened is not None and _has_room(start, truncation)
        short = rule is not None and _misses(rule, done, h, truncation)
        if not (short and more):
            low, lost = _truncated(done.state, truncation, stepper.workers)
            if low is None:
                return tally
            if rule is not None and rule.on_saturation:
                short = short or _keeps_all(start, done.state, low)
            if not (short and more):
                halve = short and setting.scaling is Scaling.PER_STEP
                return tally._replace(
                    state=setting.keep(done.state, low),
                    truncation=lost,
                    inside=(done.estimates.error or 0.0) / (done.state.norm or 1.0),
                    limited=short,
                    halve=halve,
                )
        start = done.widened or start
        tally = tally.counted(Trial(None, counts=Counts(augmented=1)))
    raise AssertionError("the last try returns.")


def _opened(setting: Setting, stepper: AbstractStepper, t: float, state: TreeState) -> TreeState:
    """Return the state with directions that the step would not find; as it is where ranks stay."""
    if not setting.opening or keeps_ranks(stepper):
        return state
    least = LEAST_SHARE * stepper.truncation.tol
    field = setting.field.at(t)
    return opened(state, field, setting.opening, least=least, workers=stepper.workers)


def _misses(rule: RankRejection, done: Step, h: float, truncation: Truncation) -> bool:
    """Tell whether the bases miss more of the field than the rule allows."""
    missing = done.estimates.corner
    return missing is not None and h * missing > rule.factor * truncation.tol * done.state.norm


def _has_room(start: TreeState, truncation: Truncation) -> bool:
    most = truncation.max_rank
    return most is None or max(start.ranks.values(), default=1) < most


def _keeps_all(start: TreeState, augmented: TreeState, low: TreeState) -> bool:
    """Tell whether some bond was doubled and lost nothing in the truncation."""
    full = augmented.saturated
    for node in range(1, start.frame.count):
        before, between = start.cores[node].shape[0], augmented.cores[node].shape[0]
        if between >= 2 * before and not full[node] and low.cores[node].shape[0] >= between:
            return True
    return False


def _finite_step(
    stepper: AbstractStepper, field: AbstractField, t: float, h: float, state: TreeState
) -> Step | None:
    """Return the step, or None where numbers were not finite."""
    try:
        done = stepper.step(field, t, h, state)
    except (NonFiniteError, ConvergenceError, OverflowError):
        return None  # the caller tries again with a shorter step, or says what happened
    return done if math.isfinite(done.state.norm) else None


def _truncated(
    state: TreeState, truncation: Truncation, workers: int
) -> tuple[TreeState | None, float]:
    """Return the truncated state and the relative error of the truncation."""
    try:
        done = cut(state, truncation, workers=workers)
    except (NonFiniteError, ConvergenceError):
        return None, 0.0
    return (done.state, done.error) if math.isfinite(done.state.norm) else (None, 0.0)
