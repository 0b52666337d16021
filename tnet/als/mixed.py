"""Mixed precision: dear sweeps run in single precision, and double precision has the last word.

Where sweeps are dear almost all time goes into products of matrices and copies, and both take
half as long in single precision. The normal equations are formed and solved in double all the
same. The error that is reported is measured in double; a fit that gets so near to the data that
single precision would matter is finished in double.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from contraction.arrays import Array, dtype_name, namespace
from tnet.als.dense import DenseProblem, Target, dense_problem
from tnet.als.kernels import DOUBLE
from tnet.als.options import ALS, FitOutcome
from tnet.als.race import Progress, Race, Run, advance, race
from tnet.als.start import safe_norm

WIDE = 2e9  # flops of a sweep, 60 ms, from which it pays
NEAR = 1e-3  # relative error below which sweeps go on in double
SINGLE = {wide: narrow for narrow, wide in DOUBLE.items()}


def dense_race(
    problem: DenseProblem, starts: Sequence[Run], options: ALS, rng: np.random.Generator, most: int
) -> Race:
    """Run the race on a full tensor: in single precision first where sweeps are dear.

    No given start is ever exchanged for a worse network, measured in double.
    """
    kind = dtype_name(problem.like)
    norms = [_norms(run.cores) for run in starts]
    safe = all(0.0 < norm < math.inf for found in norms for norm in found)
    if problem.flops < WIDE or kind not in SINGLE or not safe:
        return race(problem, starts, options, rng, most)
    norm = math.sqrt(problem.squared_norm)
    coarse = _single(problem, norm)
    low = [
        Run(_lowered(run.cores, found, norm, SINGLE[kind]), run.best)
        for run, found in zip(starts, norms, strict=True)
    ]
    done = race(coarse, low, options, rng, most)
    cores = _raised(done.winner.cores, norm, kind)
    error = problem.measure(cores)
    winner = dataclasses.replace(done.winner, cores=cores, best=Progress(error, error))
    for run in starts:
        if run.best.error < winner.best.error:
            winner = dataclasses.replace(winner, cores=run.cores, best=run.best)
    missed = winner.outcome is FitOutcome.TARGET and winner.best.error > options.tol
    if not missed and not options.tol < winner.best.error < NEAR:
        return Race(winner, done.sweeps, done.restarts)
    before = len(winner.trace)
    winner = dataclasses.replace(winner, outcome=FitOutcome.SWEEP_LIMIT)
    winner = advance(
        problem,
        winner,
        options,
        sweeps=max(options.probe, options.polish),
        least=options.gain,
        momentum=1.0,
    )
    if winner.outcome is FitOutcome.STALLED:
        winner = dataclasses.replace(winner, outcome=FitOutcome.CONVERGED)
    return Race(winner, done.sweeps + len(winner.trace) - before, done.restarts)


def _single(problem: DenseProblem, norm: float) -> DenseProblem:
    """Return the problem in single precision, on data of norm one: any size of data is in range."""
    target = problem.target
    xp: Any = namespace(problem.like)
    narrow = getattr(xp, SINGLE[dtype_name(problem.like)])
    x: Any = target.x
    found = target.single
    if found is None:
        found = Target(xp.astype(x / (norm * target.scale), narrow))
        object.__setattr__(target, "single", found)
    return dense_problem(found, problem.structure)


def _norms(cores: Sequence[Any]) -> list[float]:
    return [safe_norm(core) for core in cores]


def _lowered(cores: Sequence[Any], norms: Sequence[float], norm: float, kind: str) -> list[Array]:
    """Return cores of equal norms in single precision, whose network is `norm` times smaller."""
    xp: Any = namespace(cores[0])
    mean = (sum(map(math.log, norms)) - math.log(norm)) / len(cores)
    scaled = [c / n * math.exp(mean) for c, n in zip(cores, norms, strict=True)]
    return [xp.astype(core, getattr(xp, kind)) for core in scaled]


def _raised(cores: Sequence[Any], norm: float, kind: str) -> list[Array]:
    xp: Any = namespace(cores[0])
    found = [xp.astype(core, getattr(xp, kind)) for core in cores]
    found[-1] = found[-1] * norm
    return found
