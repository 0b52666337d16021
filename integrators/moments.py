"""An evolution between two steps: its moment, one step on, and what is recorded."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, TypeAlias

from contraction.arrays import namespace
from contraction.errors import ConvergenceError, InputError
from contraction.truncation import check_rank
from integrators import control_checks as checks
from integrators.binding import bind, dtype_for
from integrators.control import AbstractController, Attempt, Clock, ConstantStep
from integrators.control_conserve import AbstractKeep, KeepNorm
from integrators.control_ranks import RankRejection, Scaling, Setting, Trial, try_step
from integrators.environments import root_above, upward
from integrators.field import AbstractField
from integrators.flow import Counts, Outcome, Row
from integrators.frame import frame_of
from integrators.opening import keeps_ranks
from integrators.seeding import seeded
from integrators.steppers.augmented import AugmentedBUG
from integrators.steppers.base import AbstractStepper, Statistics
from integrators.tree_state import TreeState
from tnet.network import Network

Measure: TypeAlias = "Callable[[Network], Any]"
LEAST_SHARE = 1e-6  # of the first step: shorter ones end the evolution
OPENING = 2  # directions per bond and step that basis updates would not find
LARGEST_LOG = 700.0  # of a norm that is a float
SEEDED_RANK = 4  # of a product state, which may otherwise never move
NOT_FROM_H = 0.1  # errors above this are never blamed on ranks: the step is simply too long


@dataclass(frozen=True, kw_only=True)
class Moment:
    """An evolution between two steps: all that is needed to go on, bit by bit.

    Attributes
    ----------
    clock
        Time and step control.
    state
        The state, truncated.
    counts, statistics
        Since the start.
    error, truncation
        Accumulated since the start; see `Flow`.
    log_scale
        Logarithm of the factor that renormalisation has taken out.
    step
        Length of the last step.
    """

    clock: Clock
    state: TreeState
    counts: Counts = field(default_factory=Counts)
    statistics: Statistics = field(default_factory=Statistics)
    error: float = 0.0
    truncation: float = 0.0
    log_scale: float = 0.0
    step: float = 0.0

    @property
    def time(self) -> float:
        """The time reached."""
        return self.clock.time

    @property
    def norm(self) -> float:
        """Norm of the scheme itself, as if nothing had been renormalised; infinite above 1e308."""
        if not self.state.norm:
            return 0.0
        log = math.log(self.state.norm) + self.log_scale
        return self.state.norm * math.exp(self.log_scale) if log < LARGEST_LOG else math.inf


@dataclass(frozen=True, kw_only=True, eq=False)
class Evolution:
    """Everything about an evolution that does not change from step to step."""

    setting: Setting
    stepper: AbstractStepper
    controller: AbstractController
    measure: Mapping[str, Measure]
    energy: AbstractField | None
    dt: float
    norm: float | None  # kept; None where it is not

    @property
    def smallest(self) -> float:
        """Length below which there is no step."""
        return getattr(self.controller, "smallest", 0.0) or LEAST_SHARE * self.dt


def begin(
    generator: Any,
    state: Network,
    *,
    t0: float = 0.0,
    dt: float,
    stepper: AbstractStepper | None = None,
    measure: Mapping[str, Measure] | None = None,
    controller: AbstractController | None = None,
    scaling: Scaling = Scaling.PER_TIME,
    rejection: RankRejection | None = None,
    keep: Sequence[AbstractKeep] = (),
    energy: Any = None,
    opening: int = OPENING,
    callback: Callable[[Moment], Outcome | None] | None = None,
) -> tuple[Evolution, Moment]:
    """Check everything, bind the generator, and return the evolution and its first moment.

    With `advance` and `observe` this is `evolve` taken apart: for programs that keep the moment
    between steps. The parameters are those of `evolve`.
    """
    stepper, controller = stepper or AugmentedBUG(), controller or ConstantStep()
    checks.check_parts(stepper, controller, callback)
    if rejection is not None and hasattr(stepper, "measure_corner"):
        changes: dict[str, Any] = {"measure_corner": True}
        stepper = replace(stepper, **changes)
    checks.check_measures(measure or {})
    check_rank(opening, "opening", least=0)
    checks.check_state(state)
    if not isinstance(scaling, Scaling):
        raise InputError(f"`scaling` must be a Scaling, got {scaling!r}.")
    if rejection is not None and not isinstance(rejection, RankRejection):
        raise InputError(f"`rejection` must be RankRejection(...), got {rejection!r:.200}.")
    checks.check_keep(keep, AbstractKeep, state, dtype_for(generator, state.dtype)[0] == "c")
    frame = frame_of(state.structure)
    start = TreeState.from_network(state.to(dtype=dtype_for(generator, state.dtype)), frame)
    bound = bind(generator, frame, start.cores[0])
    if max(start.ranks.values(), default=SEEDED_RANK) == 1:
        most = stepper.truncation.max_rank or SEEDED_RANK
        start = seeded(start, bound, most if keeps_ranks(stepper) else min(SEEDED_RANK, most))
    norm = start.norm if any(isinstance(item, KeepNorm) for item in keep) else None
    if norm == 0.0:
        raise InputError("the state is zero; its norm cannot be kept.")

    def kept(before: TreeState, after: TreeState) -> TreeState:
        for item in keep:
            after = item.restored(before, after)
        return after

    evolution = Evolution(
        setting=Setting(bound, scaling, rejection, kept, opening),
        stepper=stepper,
        controller=controller,
        measure=dict(measure or {}),
        energy=None if energy is None else bind(energy, frame, start.cores[0]),
        dt=dt,
        norm=norm,
    )
    clock = Clock(time=float(t0), anchor=float(t0), since=0, proposal=float(dt))
    return evolution, Moment(clock=clock, state=start)


def advance(evolution: Evolution, moment: Moment, target: float) -> Moment:
    """Do one accepted step towards `target`, with whatever repetitions it takes.

    Raises
    ------
    ConvergenceError
        There is no acceptable step that is not tiny.
    """
    controller, clock = evolution.controller, moment.clock
    rule, spent = evolution.setting.rejection, Trial(None)
    halvings = rule.halvings if rule and not clock.fine else 0  # parts are not parted again
    tried: list[tuple[float, Attempt]] = []
    h = controller.length(clock, target)
    while True:
        attempt = controller.attempt(
            _trier(evolution), evolution.stepper, clock.time, h, moment.state
        )
        halve = attempt.trial.state is None or (attempt.trial.halve and halvings > 0)
        if attempt.ratio <= clock.allowed and not halve:
            break
        if halve:
            halvings, tried = halvings - 1, []
        else:
            tried.append((h, attempt))
            if _stagnate(tried):
                h, attempt = tried[-3]  # a shorter step would be no better
                break
        again = Counts(halved=1) if halve else Counts(rejected=1)
        spent = spent.counted(attempt.trial).counted(Trial(None, counts=again))
        h = h / 2 if halve else controller.shorter(clock, h, attempt)
        if h < evolution.smallest:
            raise ConvergenceError(_hopeless(clock.time, h, attempt))
    trial = attempt.trial
    assert trial.state is not None
    limited = trial.limited or attempt.ratio > 1.0
    counts = moment.counts.plus(trial.counts).plus(spent.counts)
    return _renormalised(
        evolution,
        replace(
            moment,
            clock=controller.after(clock, h, attempt, target),
            state=trial.state,
            counts=counts.plus(Counts(steps=1, rank_limited=int(limited))),
            statistics=moment.statistics.plus(trial.statistics).plus(spent.statistics),
            error=moment.error + attempt.error + trial.truncation + trial.inside,
            truncation=moment.truncation + trial.truncation,
            step=h,
        ),
    )


def _trier(evolution: Evolution) -> Callable[..., Trial]:
    def attempt(stepper: AbstractStepper, t: float, h: float, state: TreeState) -> Trial:
        return try_step(evolution.setting, stepper, t, h, state)

    return attempt


def _stagnate(tried: Sequence[tuple[float, Attempt]]) -> bool:
    """Tell whether shortening the step twice has not made the error fall as it should."""
    if len(tried) < 3:
        return False
    for (before, first), (after, second) in pairwise(tried[-3:]):
        expected = first.ratio * (after / before) ** (second.trial.order / 2)
        if first.error > NOT_FROM_H or second.ratio <= expected:
            return False
    return True


def _hopeless(t: float, h: float, attempt: Attempt) -> str:
    if attempt.trial.state is None:
        return (
            f"the step at t = {t:g} gives numbers that are not finite down to a length of {h:.2g}: "
            "the problem may blow up there, or the local solver may be unstable for it."
        )
    return (
        f"at t = {t:g} even a step of length {h:.2g} has an error of {attempt.error:.2g}, "
        f"{attempt.ratio:.2g} times what is allowed; raise `tol` of the controller, or the rank."
    )


def _renormalised(evolution: Evolution, moment: Moment) -> Moment:
    if evolution.norm is None or not moment.state.norm:
        return moment
    factor = evolution.norm / moment.state.norm
    core: Any = moment.state.cores[0]
    return replace(
        moment,
        state=moment.state.with_cores({0: core * factor}),
        log_scale=moment.log_scale - math.log(factor),
    )


def observe(evolution: Evolution, moment: Moment, rows: Sequence[Row] = ()) -> Row:
    """Return what is recorded of a moment; `rows` are those before."""
    net = moment.state.to_network()
    values = {}
    for name, function in evolution.measure.items():
        before = rows[-1].values[name] if rows else None
        values[name] = checks.checked_value(name, function(net), before)
    return Row(
        time=moment.time,
        norm=moment.norm,
        energy=_energy(evolution, moment),
        ranks=moment.state.ranks,
        values=values,
        error=moment.error,
        truncation=moment.truncation,
        step=moment.step,
    )


def _energy(evolution: Evolution, moment: Moment) -> float | None:
    """Return the energy <Y, H Y> / <Y, Y>; None where none is defined."""
    given, state = evolution.energy, moment.state
    frozen = (given or evolution.setting.field).at(moment.time)
    problem = frozen.local(0, root_above(frozen, state).environment, upward(frozen, state))
    if not problem.linear or not problem.hermitian or not state.norm:
        return None
    core: Any = state.cores[0] * (1.0 / state.norm)
    xp: Any = namespace(core)
    product = complex(xp.sum(xp.conj(core) * problem.apply(core)))
    # the generator is factor * H; a real one is -H, the generator of imaginary time
    sign = 1.0 if given is not None or complex(problem.factor).imag else -1.0
    return sign * product.real
