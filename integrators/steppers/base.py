"""What every stepper is, and what a step returns."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from contraction.errors import InputError
from contraction.truncation import Truncation
from integrators.field import AbstractField
from integrators.local_solvers import AbstractLocalSolver
from integrators.norms import exponent_of
from integrators.threads import blas_for
from integrators.tree_state import TreeState, require_finite_norm


class Statistics(NamedTuple):
    """What a step did.

    Attributes
    ----------
    solves
        Cores that were moved.
    applications
        Applications of the field to cores.
    """

    solves: int = 0
    applications: int = 0

    def plus(self, other: Statistics) -> Statistics:
        """Return the sums."""
        return Statistics(self.solves + other.solves, self.applications + other.applications)


class Estimates(NamedTuple):
    """What a step says about itself; None where it did not look.

    Attributes
    ----------
    corner
        Norm of the part of the field that the step could not represent, per unit of time
        (eta of the parallel methods): h * corner is about the error of this step from too few
        directions. A driver repeats the step with more directions where that is too large.
    error
        Absolute Frobenius error of the step, where a method has an estimate.
    """

    corner: float | None = None
    error: float | None = None


class Step(NamedTuple):
    """A state one step later, before truncation.

    Attributes
    ----------
    state
        The augmented state: isometric, ranks up to a small multiple of the old ones. A driver
        lowers them with `integrators.cutting.cut(step.state, truncation)`.
    estimates
        What the step says about its error.
    statistics
        What it cost.
    widened
        The state before the step on the bases after it (nothing cut): where a driver repeats a
        step whose ranks were too small. None for methods that keep their ranks.
    """

    state: TreeState
    estimates: Estimates = Estimates()
    statistics: Statistics = Statistics()
    widened: TreeState | None = None


@dataclass(frozen=True, kw_only=True)
class AbstractStepper(ABC):
    """One step of time on a tree.

    A class that is of higher order than one says so by an attribute `order`, which step control
    reads.

    Parameters
    ----------
    truncation
        How ranks are lowered after a step. A driver takes `tol` per unit of time unless told
        otherwise (`Truncation(tol=tol * h, ...)` for a step h), since the error of a run is the
        sum over its steps.
    local
        Solver of the equations of single cores; by default `Lanczos()` for linear fields and
        `AdaptiveRungeKutta()` for others.
    workers
        Number of threads, one task per subtree of the root, each with one thread of BLAS. The
        result does not depend on it, bit by bit (where BLAS gives the same bits with one thread
        as with the several that a step of one worker leaves it).
    """

    truncation: Truncation = field(default_factory=lambda: Truncation(tol=1e-6))
    local: AbstractLocalSolver | None = None
    workers: int = 1

    @abstractmethod
    def step(self, field: AbstractField, t: float, h: float, state: TreeState) -> Step:
        """Return the state at `t` + `h` from the one at `t`, not yet truncated.

        Parameters
        ----------
        field
            What drives, from `integrators.binding.bind`, on the frame of `state`. Coefficients
            of time are taken at the middle of the step.
        t, h
            Start and length of the step.
        state
            The state at `t`; never written to.
        """


def least_weight(truncation: Truncation, h: float, state: TreeState) -> float:
    """Return the weight below which a new direction is not worth a place in a basis.

    A tenth of what the truncation of a step of length `h` would cut (`tol` is per unit of time):
    the direction would not survive it.
    """
    return 0.1 * truncation.tol * abs(h) * state.norm


def prepared(
    work: Callable[[AbstractField, float, float, TreeState], Step],
    workers: int,
    field: AbstractField,
    t: float,
    h: float,
    state: TreeState,
) -> Step:
    """Make a step with the BLAS threads it can use and with numbers whose squares are in range.

    A linear field makes a multiple of a state move as that multiple: states of very large or
    small norm are multiplied by a power of two for the time of the step, which changes no bit.

    Raises
    ------
    InputError
        The field is bound to another frame than the state's.
    NonFiniteError
        The norm of the state is no finite number.
    """
    if field.frame is not state.frame:
        raise InputError("the field is bound to another frame than that of the state.")
    require_finite_norm(state)
    e = exponent_of(state.norm, state.cores[0]) if field.homogeneous else 0
    with blas_for(state, workers):
        done = work(field, t, h, state.times_power(-e))
    if e == 0:
        return done
    estimates, widened = done.estimates, done.widened
    return done._replace(
        state=done.state.times_power(e),
        estimates=Estimates(*(None if x is None else math.ldexp(x, e) for x in estimates)),
        widened=None if widened is None else widened.times_power(e),
    )
