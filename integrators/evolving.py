"""evolve: a state driven through time, with truncation, control, measures and drifts."""

from __future__ import annotations

import bisect
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from contraction.errors import InputError
from contraction.truncation import check_rank
from integrators import control_checks as checks
from integrators.control import AbstractController
from integrators.control_conserve import AbstractKeep
from integrators.control_ranks import RankRejection, Scaling
from integrators.flow import Flow, Outcome, Row, flow_of
from integrators.moments import OPENING, Measure, Moment, advance, begin, observe
from integrators.steppers.base import AbstractStepper
from tnet.network import Network


def evolve(
    generator: Any,
    state: Network,
    *,
    t0: float = 0.0,
    t1: float,
    dt: float,
    stepper: AbstractStepper | None = None,
    measure: Mapping[str, Measure] | None = None,
    every: int = 1,
    save_at: Sequence[float] | None = None,
    controller: AbstractController | None = None,
    scaling: Scaling = Scaling.PER_TIME,
    rejection: RankRejection | None = None,
    keep: Sequence[AbstractKeep] = (),
    energy: Any = None,
    opening: int = OPENING,
    callback: Callable[[Moment], Outcome | None] | None = None,
) -> Flow:
    """Evolve a state under dY/dt = F(t, Y) from `t0` to `t1`.

    Parameters
    ----------
    generator
        What drives: a `tnet.TreeOperator` A for F = A Y (``-1j * H`` for Schroedinger's
        equation, ``-H`` for imaginary time), an operator `Network`, `Driven`, or a field.
    state
        The state at `t0`: a network on a tree, in any gauge. It becomes complex where the
        generator is. A product state is padded with the directions the generator opens (the
        same state, in larger bases), since it might never move otherwise.
    t0, t1
        The times, in units of one over the generator's.
    dt
        Length of the steps under `ConstantStep`, of the first one under `PIStep`.
    stepper
        `AugmentedBUG()` by default. Its `truncation` is applied after every step.
    measure
        Name -> function of the state as a `Network` returning a number or an array.
    every
        Record after so many steps, and at `t0` and `t1`.
    save_at
        Record at these times instead, increasing and between `t0` and `t1`. They are hit
        exactly: by equal steps in between under `ConstantStep`, by a shortened step (or two
        equal ones) under `PIStep`.
    controller
        `ConstantStep()` by default, or `PIStep(tol=...)`.
    scaling
        Whether the tolerance of the truncation is meant per unit of time (default: a step of
        length h is cut with tol * h, so that the error of a run stays when h shrinks) or per
        step.
    rejection
        `RankRejection()` repeats steps whose bases were too small; by default none are.
    keep
        What truncations must not change: `KeepNorm()`, `KeepMoments(...)`.
    energy
        A Hermitian operator whose expectation value is recorded; by default H where the
        generator is -1j H or -H with Hermitian H.
    opening
        Before a step every bond is widened by so many directions that the operator leads to,
        where the stepper lets ranks grow. Without (0), steps never find those that a conserved
        quantity keeps apart: spins that exchange, particles that hop stand still at the edge of
        where they are, and no error tells. It costs a fifth of a step or so.
    callback
        Called with the `Moment` after every step; an `Outcome` it returns ends the evolution.

    Returns
    -------
    Flow
        The records, the last state and how it ended.

    Raises
    ------
    InputError, DTypeError, StructureError, ShapeError, NonFiniteError
        Bad arguments; found before any step.
    ConvergenceError
        Numbers were not finite even for tiny steps, or the tolerance of a `PIStep` cannot be
        reached.

    Notes
    -----
    Every approximation is in the records: ranks, relative truncation errors (Frobenius), the
    error estimate of the controller, norms and energies without renormalisation.

    Examples
    --------
    >>> import numpy as np, tnet
    >>> from integrators.models import ising
    >>> model = ising(4)
    >>> tree = tnet.balanced_tree(model.sites)
    >>> up = tnet.Network(tree, {n: np.eye(*tree.node_shape(n)[:2]).reshape(tree.node_shape(n))
    ...     if n[0] == "t" else np.array([[1.0, 0.0]]) for n in tree.node_names})
    >>> flow = evolve(-1j * tnet.operator(tree, model), up, t1=0.1, dt=0.05)
    >>> flow.times.tolist(), flow.outcome.name, flow.drift.norm < 1e-6
    ([0.0, 0.05, 0.1], 'FINISHED', True)
    """
    began = time.monotonic()
    checks.check_times(t0, t1, dt)
    check_rank(every, "every")
    if save_at is not None and every != 1:
        raise InputError("give `every` or `save_at`, not both.")
    times = checks.save_times(save_at, t0, t1)
    evolution, moment = begin(
        generator,
        state,
        t0=t0,
        dt=dt,
        stepper=stepper,
        measure=measure,
        controller=controller,
        scaling=scaling,
        rejection=rejection,
        keep=keep,
        energy=energy,
        opening=opening,
        callback=callback,
    )
    rows: list[Row] = []
    if times is None or times[0] == t0:
        rows.append(observe(evolution, moment))
    outcome = Outcome.FINISHED
    while moment.time < t1:
        target = next_target(moment.time, times, t1)
        moment = advance(evolution, moment, target)
        if is_saved(moment, times, t1, every):
            rows.append(observe(evolution, moment, rows))
        told = callback(moment) if callback is not None else None
        if told is not None and moment.time < t1:
            outcome = told
            break
    return flow_of(
        rows,
        moment.state.to_network(),
        outcome=outcome,
        counts=moment.counts,
        statistics=moment.statistics._asdict(),
        seconds=time.monotonic() - began,
    )


def next_target(now: float, times: Sequence[float] | None, t1: float) -> float:
    """Return the next time that must be hit exactly.

    Examples
    --------
    >>> next_target(0.5, [0.25, 0.75], 1.0), next_target(0.5, None, 1.0)
    (0.75, 1.0)
    """
    place = bisect.bisect_right(times or (), now)
    return times[place] if times and place < len(times) else t1


def is_saved(moment: Moment, times: Sequence[float] | None, t1: float, every: int) -> bool:
    """Tell whether a moment is one to record."""
    if times is not None:
        place = bisect.bisect_left(times, moment.time)
        return place < len(times) and times[place] == moment.time
    return moment.time >= t1 or moment.counts.steps % every == 0
