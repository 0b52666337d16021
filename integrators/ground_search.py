"""A search sweep by sweep: how wide, how exactly, and when it is over."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, final

import numpy as np

from contraction.arrays import eps
from contraction.truncation import Truncation
from integrators.ground_settings import DMRG
from integrators.ground_sweeps import Sweeper, Swept
from integrators.sweeping.centre import Centre
from integrators.sweeping.saturation import saturated
from tnet.network import Network

MOST_STEPS = 32
FINEST, COARSEST = 1e-10, 3e-5  # relative residuals to which local problems are solved
IDLE = 1e-2  # gains below this part of what the cuts lose are not worth a sweep


class Progress(NamedTuple):
    """What a search remembers from sweep to sweep beside its state; plain numbers, to be stored.

    Attributes
    ----------
    energies
        After every sweep.
    steps
        Lanczos vectors per local problem of the next sweep.
    cap
        Largest rank of the last sweep if ranks were free to grow under it, else 0.
    width
        Largest distance of two Ritz values of one local problem: the scale of energies.
    """

    energies: tuple[float, ...] = ()
    steps: int = 0
    cap: int = 0
    width: float = 0.0


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Sweep:
    """A search after one of its sweeps.

    Attributes
    ----------
    energy
        Expectation value in the state.
    discarded
        Largest relative Frobenius error of a cut in this sweep.
    applications
        Products with effective operators in this sweep.
    converged
        Whether the search is over.
    progress
        What to give to `sweeps_of` or `ground_state`, with the state, to go on from here.
    """

    energy: float
    discarded: float
    applications: int
    converged: bool
    progress: Progress
    arrays: Mapping[str, Any] = field(repr=False)
    finish: Callable[[Mapping[str, Any]], Network] = field(repr=False)

    @cached_property
    def state(self) -> Network:
        """The state after the sweep, of norm one: put together when first asked for."""
        return self.finish(self.arrays)


def search(
    sweeper: Sweeper,
    stepper: DMRG,
    max_rank: int | None,
    tol: float,
    progress: Progress,
    finish: Callable[[Mapping[str, Any]], Network],
) -> Iterator[Sweep]:
    """Sweep until the energy stays; the caller may stop at any time."""
    centre = sweeper.centre
    sweeper.steps = progress.steps or stepper.steps
    sweeper.width = progress.width
    energies, before, converged = list(progress.energies), progress.cap, False
    precision = eps(centre.sight.dtype)
    while not converged:
        cap = _cap(centre, stepper, max_rank)
        sweeper.tol = _local_tol(energies, tol, sweeper.width, precision)
        rng = np.random.default_rng([stepper.seed, len(energies)])
        done = _sweep(sweeper, stepper, cap, rng)
        energies.append(sweeper.energy())
        free = cap == before
        converged = free and _is_over(energies, sweeper, done.discarded, tol, precision)
        if free and _is_slow(energies):
            sweeper.steps = min(2 * sweeper.steps, MOST_STEPS)
        before = cap if cap == max_rank or widest(centre) < cap else 0
        yield Sweep(
            energy=energies[-1],
            discarded=done.discarded,
            applications=done.applications,
            converged=converged,
            progress=Progress(tuple(energies), sweeper.steps, before, sweeper.width),
            arrays=dict(centre.arrays),
            finish=finish,
        )


def _sweep(sweeper: Sweeper, stepper: DMRG, cap: int, rng: np.random.Generator) -> Swept:
    rule = Truncation(tol=stepper.cutoff, max_rank=cap)
    skipped = saturated(sweeper.centre)
    if len(skipped) == len(sweeper.centre.tree.pre_order) - 1:
        return sweeper.root()
    if (stepper.sites or _sites(sweeper.centre)) == 2:
        return sweeper.pairs(rule, skipped)
    return sweeper.singles(rule, stepper.share, rng, skipped)


def _sites(centre: Centre) -> int:
    """Return 2 for a path, else 1."""
    tree = centre.tree
    return 2 if all(len(tree.children[node]) < 2 for node in tree.pre_order) else 1


def widest(centre: Centre) -> int:
    """Return the largest rank."""
    found = [1]
    for node in centre.tree.pre_order[1:]:
        axis = centre.sight.axes[node].index(centre.tree.bond[node])
        found.append(int(centre.arrays[node].shape[axis]))
    return max(found)


def _cap(centre: Centre, stepper: DMRG, max_rank: int | None) -> int:
    """Return the cap of this sweep; the last one that counts is `max_rank` itself."""
    free = max(stepper.first_rank, math.ceil(stepper.growth * widest(centre)))
    return free if max_rank is None else min(free, max_rank)


def _is_over(
    energies: Sequence[float], sweeper: Sweeper, discarded: float, tol: float, precision: float
) -> bool:
    """Tell whether the last sweep changed nothing, and solved its local problems well enough."""
    if len(energies) < 2 or sweeper.tol > 0.1 * math.sqrt(tol) + FINEST + 10.0 * precision:
        return False
    allowed = max(tol, IDLE * discarded**2, 10.0 * precision)
    return abs(energies[-1] - energies[-2]) <= allowed * max(sweeper.width, abs(energies[-1]))


def _is_slow(energies: Sequence[float]) -> bool:
    """Tell whether the last sweep gained more than a quarter of what the one before gained."""
    if len(energies) < 3:
        return False
    return abs(energies[-1] - energies[-2]) > 0.25 * abs(energies[-2] - energies[-3])


def _local_tol(energies: Sequence[float], tol: float, width: float, precision: float) -> float:
    """Return the relative residual to which local problems are solved.

    Its square is the relative error of an energy.
    """
    if len(energies) < 2:
        return COARSEST
    if width == 0.0:  # every state met was an eigenstate
        return 0.0
    change = abs(energies[-1] - energies[-2]) / width
    finest = max(FINEST, 10.0 * precision)
    return min(COARSEST, max(5e-3 * math.sqrt(max(change, tol)), finest))
