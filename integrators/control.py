"""Step sizes: constant ones that hit every output time, and ones that follow an error estimate."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, final

from contraction.errors import InputError
from integrators.control_ranks import Trial
from integrators.tree_state import TreeState
from tnet.norms import distance

if TYPE_CHECKING:
    from integrators.steppers.base import AbstractStepper

LEAST_FACTOR, LARGEST_FACTOR = 0.2, 5.0  # between one step and the next
ABOVE_FLOOR = 1.25  # errors that the ranks set may grow so much from step to step
REGROWTH = 1.2  # of steps whose errors the ranks set
ROUNDING = 1e-9  # of a step: ends nearer than that to an output time are there

Try: TypeAlias = "Callable[[AbstractStepper, float, float, TreeState], Trial]"


class Clock(NamedTuple):
    """Where the steps stand in time; all that a controller remembers.

    Attributes
    ----------
    time
        The time reached.
    anchor
        Where equal steps began: the last output time, or the end of a step of another length.
    since
        Equal steps done since the anchor.
    proposal
        Length the controller would like for the next step.
    ratio
        Error of the last accepted step over what is allowed; 0 before the first.
    floor
        Such a ratio where it came from the ranks, so that shorter steps would not lower it; 0
        where it did not.
    fine
        Length of the parts in which one of the equal steps is done after it was halved; 0 where
        it is whole.
    """

    time: float
    anchor: float
    since: int
    proposal: float
    ratio: float = 0.0
    floor: float = 0.0
    fine: float = 0.0

    @property
    def allowed(self) -> float:
        """The ratio up to which a step is taken."""
        return max(1.0, ABOVE_FLOOR * self.floor)


class Attempt(NamedTuple):
    """What became of one step under a controller.

    Attributes
    ----------
    trial
        The state to go on with; its state is None where numbers were not finite.
    error
        Estimated error of the step, relative to the norm; 0 where there is no estimate.
    ratio
        The error over what is allowed; the step is taken if it is at most one.
    """

    trial: Trial
    error: float
    ratio: float


@dataclass(frozen=True, kw_only=True)
class AbstractController(ABC):
    """Decides how long steps are, and whether they are accepted."""

    @abstractmethod
    def length(self, clock: Clock, target: float) -> float:
        """Return the length of the next step, so that `target` is hit exactly in the end."""

    @abstractmethod
    def attempt(
        self, try_step: Try, stepper: AbstractStepper, t: float, h: float, state: TreeState
    ) -> Attempt:
        """Try a step of length `h` and estimate its error."""

    @abstractmethod
    def after(self, clock: Clock, h: float, attempt: Attempt, target: float) -> Clock:
        """Return the clock after an accepted step of length `h`."""

    @abstractmethod
    def shorter(self, clock: Clock, h: float, attempt: Attempt) -> float:
        """Return the length to try instead of `h` after a rejection."""


@final
@dataclass(frozen=True, kw_only=True)
class ConstantStep(AbstractController):
    """Equal steps between any two output times, of the given length or a little less.

    Between two output times a distance D apart there are ceil(D / dt) equal steps, so that the
    output times are hit exactly and the steps do not become tiny.

    Examples
    --------
    >>> clock = Clock(time=0.0, anchor=0.0, since=0, proposal=0.3)
    >>> ConstantStep().length(clock, 1.0)
    0.25
    """

    def length(self, clock: Clock, target: float) -> float:
        """Return the length of the equal steps from the anchor to the target, or of a part."""
        if clock.fine:
            rest = self._end(clock, target) - clock.time
            return rest / max(1, math.ceil(rest / clock.fine - ROUNDING))
        whole = target - clock.anchor
        return whole / self._count(clock, target)

    def attempt(
        self, try_step: Try, stepper: AbstractStepper, t: float, h: float, state: TreeState
    ) -> Attempt:
        """Try the step; there is no estimate, and it is taken if it is finite."""
        return Attempt(try_step(stepper, t, h, state), 0.0, 0.0)

    def after(self, clock: Clock, h: float, attempt: Attempt, target: float) -> Clock:
        """Return the next point of the grid, or the next part of a step that was halved."""
        end = self._end(clock, target)
        if end - (clock.time + h) > ROUNDING * h:
            return clock._replace(time=clock.time + h, fine=h)
        if end == target:
            return clock._replace(time=end, anchor=end, since=0, fine=0.0)
        return clock._replace(time=end, since=clock.since + 1, fine=0.0)

    def _count(self, clock: Clock, target: float) -> int:
        """Return the number of equal steps from the anchor to the target."""
        return max(1, math.ceil((target - clock.anchor) / clock.proposal - ROUNDING))

    def _end(self, clock: Clock, target: float) -> float:
        """Return the next point of the grid."""
        count = self._count(clock, target)
        if clock.since + 1 >= count:
            return target
        return clock.anchor + (clock.since + 1) * ((target - clock.anchor) / count)

    def shorter(self, clock: Clock, h: float, attempt: Attempt) -> float:
        """Return half the length."""
        return h / 2


@final
@dataclass(frozen=True, kw_only=True)
class PIStep(AbstractController):
    """Steps whose estimated error per unit of time stays under a tolerance.

    The estimate compares a step with two of half its length (or with a step of another
    stepper); the better of the two results is kept. The next length is

        h * min(5, max(0.2, safety * r^(-0.7 / k) * r_before^(0.4 / k))),

    r the estimate over what is allowed and k the order of the stepper plus one: many steppers
    behave better than their proven order, and a gain too high makes lengths oscillate
    (Gustafsson, ACM Trans. Math. Softw. 17, 533, 1991). Towards an output time the last step is
    shortened, or the last two are made equal where the last would be tiny; the length before is
    remembered.

    Where the error does not fall with the step, it comes from the ranks or from the truncation:
    the longest such step is taken and counted as rank limited, and steps after it are held
    against its error, so that they do not shrink for ever.

    Parameters
    ----------
    tol
        Allowed error per unit of time, relative to the norm (Frobenius).
    smallest, largest
        Bounds of the length; below `smallest` the evolution ends with an error. `smallest=0`
        stands for 1e-6 of the first step.
    safety
        Share of the length that the estimate would allow, in (0, 1).
    partner
        A stepper of higher order to compare with, on the same state; None compares with two
        half steps, which works with every stepper and costs three steps for one.

    Examples
    --------
    >>> PIStep(tol=1e-4).length(Clock(time=0.0, anchor=0.0, since=0, proposal=0.6), 1.0)
    0.5
    """

    tol: float = 1e-5
    smallest: float = 0.0
    largest: float = math.inf
    safety: float = 0.9
    partner: AbstractStepper | None = None

    def __post_init__(self) -> None:
        for name in ("tol", "smallest", "largest", "safety"):
            check_number(getattr(self, name), name)
        if not self.tol > 0.0:
            raise InputError(f"`tol` is an error per unit of time above 0, got {self.tol}.")
        if not 0.0 <= self.smallest <= self.largest or self.largest == 0.0:
            raise InputError(
                f"steps need 0 <= smallest <= largest, got {self.smallest} and {self.largest}."
            )
        if not 0.0 < self.safety < 1.0:
            raise InputError(f"`safety` lies between 0 and 1, got {self.safety}.")

    def length(self, clock: Clock, target: float) -> float:
        """Return the proposal, or what is left, or half of it if the rest would be small."""
        rest = target - clock.time
        h = min(clock.proposal, self.largest)
        if rest <= h * (1.0 + ROUNDING):
            return rest
        return rest / 2 if rest < 2 * h else h

    def attempt(
        self, try_step: Try, stepper: AbstractStepper, t: float, h: float, state: TreeState
    ) -> Attempt:
        """Try the step in two ways, and keep the better result."""
        rough = try_step(stepper, t, h, state)
        if rough.state is None:
            return Attempt(rough, 0.0, math.inf)
        if self.partner is not None:
            good, share = try_step(self.partner, t, h, state), 1.0
        else:
            half = try_step(stepper, t, h / 2, state)
            if half.state is None:
                return Attempt(half, 0.0, math.inf)
            good = try_step(stepper, t + h / 2, h / 2, half.state).after(half)
            share = 1.0 / (2.0 ** order_of(stepper) - 1.0)
        if good.state is None:
            return Attempt(good, 0.0, math.inf)
        size = max(good.state.norm, rough.state.norm)
        apart = distance(rough.state.to_network(), good.state.to_network())
        error = share * apart / size if size else 0.0
        return Attempt(good.counted(rough), error, error / (self.tol * h))

    def after(self, clock: Clock, h: float, attempt: Attempt, target: float) -> Clock:
        """Return the clock with the next proposal, which a shortened step only lowers."""
        time = target if target - (clock.time + h) <= ROUNDING * h else clock.time + h
        # a step shortened to hit an output time says little about the next
        shortened = h == self.length(clock, target) < clock.proposal * (1.0 - ROUNDING)
        if attempt.ratio > 1.0:  # taken although: the ranks set the error, not the length
            proposal = clock.proposal if shortened else min(REGROWTH * h, self.largest)
            return Clock(time, time, 0, proposal, 1.0, attempt.ratio)
        factor = self._factor(attempt.ratio, clock.ratio, attempt.trial.order)
        proposal = h * factor
        if shortened and factor >= 1.0:
            proposal = max(proposal, clock.proposal)
        ratio = max(attempt.ratio, 1e-4)
        return Clock(time, time, 0, min(proposal, self.largest), ratio)

    def shorter(self, clock: Clock, h: float, attempt: Attempt) -> float:
        """Return what the estimate allows, between a fifth and nine tenths of `h`."""
        if not math.isfinite(attempt.ratio):
            return h / 2
        allowed: float = self.safety * attempt.ratio ** (-1.0 / (attempt.trial.order + 1))
        return h * min(0.9, max(LEAST_FACTOR, allowed))

    def _factor(self, ratio: float, before: float, order: int) -> float:
        ratio = max(ratio, 1e-10)
        k = order + 1
        factor: float = self.safety * ratio ** (-0.7 / k)
        if before > 0.0:
            factor *= before ** (0.4 / k)
        return min(LARGEST_FACTOR, max(LEAST_FACTOR, factor))


def order_of(stepper: Any) -> int:
    """Return the order of a stepper; one where it does not say."""
    order = getattr(stepper, "order", 1)
    return int(getattr(order, "value", order))


def check_number(value: Any, name: str) -> None:
    """Raise `InputError` unless `value` is a number and not NaN."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or math.isnan(value):
        raise InputError(f"`{name}` must be a number, got {value!r}.")
