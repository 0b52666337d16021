"""The race: several cheap random starts, an early stall test, then a polish of the best."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from contraction.arrays import Array
from contraction.blas_threads import threads_for
from tnet.als.options import ALS, FitOutcome
from tnet.certificate import Certificate
from tnet.network import Network
from tnet.structure import Structure

HOPELESS = 20.0  # times the winning error
MOMENTUM = 1.0
BEHIND = 1.2  # times the best start's error


@dataclass(frozen=True)
class Progress:
    """Where a run stands: what it minimises (never rises), and the relative error."""

    objective: float
    error: float


class Problem(Protocol):
    """What is fitted: makes starts and improves cores by one sweep at a time."""

    @property
    def structure(self) -> Structure:
        """The structure that is fitted."""

    @property
    def like(self) -> Array:
        """An array of the namespace, device and dtype of the fit."""

    @property
    def scale(self) -> float:
        """What the data were divided by."""

    @property
    def flops(self) -> float:
        """About the floating-point operations of one sweep."""

    @property
    def floor(self) -> float:
        """Relative error below which the free estimate is rounding."""

    def cores(self, net: Network) -> list[Array]:
        """Return the cores of a network on the structure."""

    def arrays(self, cores: list[Array]) -> dict[str, Array]:
        """Return node arrays, for the scaled data."""

    def measure(self, cores: Sequence[Array]) -> float:
        """Return the relative error, entry by entry."""

    def progress(self, cores: Sequence[Array], error: float) -> Progress:
        """Return the objective of cores whose error is known."""

    def certificate(self, error: float) -> Certificate:
        """Return the certificate of a network with this error."""

    def random(self, rng: np.random.Generator) -> list[Array]:
        """Return random cores."""

    def start(self, rng: np.random.Generator, options: ALS, number: int, rival: float) -> Run:
        """Return the random start of this number; one that has stalled already is no use."""

    def sweep(self, cores: list[Array]) -> tuple[list[Array], Progress]:
        """Update every core once."""


@dataclass(frozen=True)
class Run:
    """One start: its best cores, and the progress of all its sweeps."""

    cores: list[Array]
    best: Progress
    trace: tuple[Progress, ...] = ()
    outcome: FitOutcome = FitOutcome.SWEEP_LIMIT
    before: int = 0  # sweeps on other data that led to the start


UNKNOWN = Progress(math.inf, math.inf)


@dataclass(frozen=True)
class Race:
    """The run that won, and what all starts together cost."""

    winner: Run
    sweeps: int
    restarts: int


def advance(
    problem: Problem,
    run: Run,
    options: ALS,
    *,
    sweeps: int,
    least: float,
    rival: float = math.inf,
    momentum: float = 0.0,
) -> Run:
    """Continue a run until it reaches the tolerance, stalls, loses the race or runs out.

    Cores are exchanged only for better ones: the objective of the result never exceeds the
    objective of the run given. With `momentum` a sweep starts from cores extrapolated by up to
    that factor of the last change; where that does not pay the sweep is taken back and the
    factor halved (Ang, Cohen, Hien and Gillis, Numer. Algorithms 2020, for CP).

    Meanwhile the BLAS of SciPy, and for small sweeps NumPy's as well, has one thread (see
    `contraction.blas_threads`).
    """
    with threads_for(problem.flops):
        return _advance(problem, run, options, sweeps, least, rival, momentum)


def _advance(
    problem: Problem,
    run: Run,
    options: ALS,
    sweeps: int,
    least: float,
    rival: float,
    momentum: float,
) -> Run:
    best, trace = run.best, list(run.trace)
    cores, current, previous = run.cores, run.cores, None
    begun, outcome, factor = len(trace), FitOutcome.SWEEP_LIMIT, momentum / 2.0
    for _ in range(sweeps):
        start = current if previous is None else _extrapolated(current, previous, factor)
        new, progress = problem.sweep(start)
        if progress.objective <= best.objective:
            previous = current if momentum and progress.error > problem.floor else None
            factor = min(1.1 * factor, momentum)
            cores, current, best = new, new, progress
        elif previous is not None:
            previous, factor, progress = None, factor / 2.0, best
        else:
            current = new
        trace.append(progress)
        if not math.isfinite(progress.objective):
            outcome = FitOutcome.STALLED
            break
        if best.error <= options.tol:
            outcome = FitOutcome.TARGET
            break
        if len(trace) - begun <= options.window:
            continue
        before = trace[-1 - options.window].objective
        if progress.objective >= (1.0 - least) * before:
            outcome = FitOutcome.STALLED
            break
        if _hopeless(best.error, rival, options.winning_error):
            outcome = FitOutcome.LOST_RACE
            break
    return Run(cores, best, tuple(trace), outcome, run.before)


def _extrapolated(current: list[Array], previous: list[Array], factor: float) -> list[Array]:
    return [a + factor * (a - b) for a, b in zip(current, previous, strict=True)]


def behind(error: float, rival: float) -> bool:
    """Tell whether a run that no longer gains is too far behind the best one."""
    return error > BEHIND * rival


def _hopeless(error: float, rival: float, winning: float | None) -> bool:
    return winning is not None and error > HOPELESS * winning and behind(error, rival)


def race(
    problem: Problem, starts: Sequence[Run], options: ALS, rng: np.random.Generator, most: int
) -> Race:
    """Run the given starts, then random ones up to `most` together, and polish the best.

    The next start is made only while the tolerance (or the rounding of the method) is not
    reached.
    """
    enough = max(options.tol, problem.floor / 100.0)
    best: Run | None = None
    sweeps = made = 0
    for k in range(most):
        rival = math.inf if best is None else best.best.error
        given = k < len(starts)
        run = starts[k] if given else problem.start(rng, options, k - len(starts), rival)
        if run.outcome is FitOutcome.SWEEP_LIMIT:
            run = advance(
                problem, run, options, sweeps=options.probe, least=options.stall, rival=rival
            )
        made += 1
        sweeps += len(run.trace) + run.before
        if best is None or run.best.objective < best.best.objective:
            best = run
        if best.best.error <= enough:
            break
    assert best is not None
    if options.winning_error is not None and best.best.error > HOPELESS * options.winning_error:
        lost = dataclasses.replace(best, outcome=FitOutcome.LOST_RACE)
        return Race(lost, sweeps, made)
    if options.polish and best.outcome in (FitOutcome.STALLED, FitOutcome.SWEEP_LIMIT):
        before = len(best.trace)
        best = advance(
            problem, best, options, sweeps=options.polish, least=options.gain, momentum=MOMENTUM
        )
        sweeps += len(best.trace) - before
        if best.outcome is FitOutcome.STALLED:
            best = dataclasses.replace(best, outcome=FitOutcome.CONVERGED)
    return Race(best, sweeps, made)
