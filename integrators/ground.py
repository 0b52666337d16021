"""ground_state: the lowest eigenstates of an operator on any tree, by variational sweeps."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import final

import numpy as np

from contraction.errors import InputError, StructureError
from contraction.truncation import Truncation, check_rank
from integrators.ground_start import finished, prepared
from integrators.ground_sweeps import Sweeper, Swept
from integrators.sweeping.centre import Centre
from integrators.sweeping.saturation import saturated
from tnet.network import Network
from tnet.operators.tree_operator import TreeOperator

MOST_STEPS = 32
FINEST = 1e-10  # residual below which no local problem is solved
IDLE = 1e-2  # gains below this part of what the cuts lose are not worth a sweep


class GroundOutcome(Enum):
    """How a search ended."""

    CONVERGED = "the energy of a sweep differed by less than the tolerance"
    SWEEPS = "all sweeps were done before that"


@final
@dataclass(frozen=True, kw_only=True)
class DMRG:
    """Variational sweeps over a tree (density matrix renormalisation group).

    Parameters
    ----------
    sites
        2: the two nodes of an edge at a time; ranks grow by themselves. 1: one node at a time,
        whose basis is first given new directions of what the operator makes of it, and cut back
        when the next node was optimised (as a basis-update and Galerkin step does). None (the
        default): 2 on paths, 1 where a node has three bonds or more, since two such nodes
        together are r^4 numbers.
    steps
        Lanczos vectors per local problem. They are doubled, up to 32, after every sweep that
        gained more than a quarter of what the one before gained at the same ranks.
    cutoff
        Relative Frobenius error allowed at every cut, beside `max_rank`.
    first_rank, growth
        No bond may exceed `first_rank`, or `growth` times the largest rank before the sweep,
        whichever is larger: the first sweeps are far from converged and should be cheap.
    share
        For `sites=1`: new directions per bond, as a share of the largest rank.
    seed
        Of the random sketch that finds them.

    Notes
    -----
    White, PRB 48 (1993) 10345; Schollwoeck, Ann. Phys. 326 (2011) 96 in the language of tensor
    trains. New directions: Hubig, McCulloch, Schollwoeck and Wolf, PRB 91 (2015) 155115, by a
    sketch of the operator's action on two nodes (Gleis, Li and von Delft, PRL 130 (2023) 246402)
    that never forms their product.
    """

    sites: int | None = None
    steps: int = 4
    cutoff: float = 1e-7
    first_rank: int = 8
    growth: float = 2.0
    share: float = 0.25
    seed: int = 0

    def __post_init__(self) -> None:
        if self.sites not in (None, 1, 2):
            raise InputError(
                f"DMRG optimises `sites` = 1 or 2 nodes at a time (or None), got {self.sites!r}."
            )
        check_rank(self.steps, "steps", least=2)
        check_rank(self.first_rank, "first_rank")
        if not 1.0 <= self.growth < math.inf or not 0.0 <= self.share < math.inf:
            raise InputError(
                f"`growth` is at least one and `share` not negative, got {self.growth!r} and "
                f"{self.share!r}."
            )


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Ground:
    """What `ground_state` found.

    Attributes
    ----------
    energy
        Expectation value of the operator in `state`: an upper bound of the lowest eigenvalue (in
        the space orthogonal to the states given).
    state
        Of norm one, centred.
    energies
        Energy after every sweep.
    discarded
        Largest relative Frobenius error of a cut in the last sweep.
    sweeps, applications
        Number of sweeps, and of products with effective operators.
    outcome
        Whether it converged.
    seconds
        Wall time.
    """

    operator: TreeOperator = field(repr=False)
    energy: float
    state: Network
    energies: tuple[float, ...]
    discarded: float
    sweeps: int
    applications: int
    outcome: GroundOutcome
    seconds: float

    @cached_property
    def variance(self) -> float:
        """<H^2> - <H>^2 of the state: computed when first asked for.

        Its root bounds the distance of `energy` to the nearest eigenvalue (Weinstein).
        """
        import tnet

        return float(tnet.variance(self.state, self.operator))


def ground_state(
    operator: TreeOperator,
    start: Network,
    *,
    stepper: DMRG | None = None,
    max_rank: int | None = 64,
    tol: float = 1e-9,
    sweeps: int = 30,
    orthogonal_to: Sequence[Network] = (),
) -> Ground:
    """Find the lowest eigenstate of a Hermitian operator.

    Parameters
    ----------
    operator
        A Hermitian `tnet.operator` on the graph of `start`.
    start
        A state on any tree, not zero: a product state near the ground state, or a random one. A
        start that is an eigenstate itself, or lies in a symmetry sector without the ground
        state, stays what it is. It becomes complex where the operator is; a real operator and a
        real start are real throughout.
    stepper
        `DMRG()` by default.
    max_rank
        Cap on every bond; None for none.
    tol
        Stop when the energy changed by less than tol * max(1, |energy|), or by less than a
        hundredth of what the cuts lose, in a sweep during which ranks were free to reach
        `max_rank`.
    sweeps
        Largest number of sweeps; one leads away from the root and back.
    orthogonal_to
        States on the same tree whose span is projected out of every local problem.

    Returns
    -------
    Ground
        With the state, its energy, the energies by sweep, and how the search ended.

    Raises
    ------
    InputError
        The operator is not Hermitian, the start is zero, or no sweep is allowed.
    StructureError
        Operator, start and known states are not on one tree.
    NonFiniteError
        The start or the operator holds NaN or infinity.

    Notes
    -----
    The centre walks an Euler tour from an end of a longest path, so that a chain is swept from
    end to end. Every move refreshes one environment. On a chain of rank r with modes of size d
    and w open channels per bond a two-site update costs some (2 + w / d) 2 d^3 r^3 flops per
    application and one eigendecomposition of a (d r)^2 Gram matrix. Deterministic.

    Examples
    --------
    >>> import tnet
    >>> tree = tnet.balanced_tree({f"s{i}": 2 for i in range(4)})
    >>> terms = [(0.25, {f"s{i}": p, f"s{i + 1}": p}) for i in range(3) for p in "xyz"]
    >>> neel = tnet.product_state(tree, {"s0": [1, 0], "s1": [0, 1], "s2": [1, 0], "s3": [0, 1]})
    >>> found = ground_state(tnet.operator(tree, terms), neel)
    >>> round(found.energy, 9), found.outcome.name
    (-1.616025404, 'CONVERGED')
    """
    stepper = DMRG() if stepper is None else stepper
    _check(operator, start, max_rank, tol, sweeps, orthogonal_to)
    began = time.monotonic()
    centre, known = prepared(operator, start, orthogonal_to, max_rank)
    sweeper = Sweeper(centre, known, stepper.steps)
    rng = np.random.default_rng(stepper.seed)
    energies: list[float] = []
    before: int | None = 0
    used, done = 0, Swept(0.0, 0)
    outcome = GroundOutcome.SWEEPS
    for _ in range(sweeps):
        cap = _cap(centre, stepper, max_rank)
        sweeper.tol = _local_tol(energies, tol)
        done = _sweep(sweeper, stepper, cap, rng)
        used += done.applications
        energies.append(sweeper.energy())
        if cap == before and _is_over(energies, sweeper.tol, done.discarded, tol):
            outcome = GroundOutcome.CONVERGED
            break
        if cap == before and _is_slow(energies):
            sweeper.steps = min(2 * sweeper.steps, MOST_STEPS)
        before = cap if cap is None or cap == max_rank or _widest(centre) < cap else 0
    return Ground(
        operator=operator,
        energy=energies[-1],
        state=finished(centre, start),
        energies=tuple(energies),
        discarded=done.discarded,
        sweeps=len(energies),
        applications=used,
        outcome=outcome,
        seconds=time.monotonic() - began,
    )


def _sweep(sweeper: Sweeper, stepper: DMRG, cap: int | None, rng: np.random.Generator) -> Swept:
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


def _ranks(centre: Centre) -> dict[str, int]:
    found = {}
    for node in centre.tree.pre_order[1:]:
        leg = centre.tree.bond[node]
        axis = centre.sight.axes[node].index(leg)
        found[leg] = int(centre.arrays[node].shape[axis])
    return found


def _widest(centre: Centre) -> int:
    return max(_ranks(centre).values(), default=1)


def _cap(centre: Centre, stepper: DMRG, max_rank: int | None) -> int | None:
    """Return the cap of this sweep; the last one that counts is `max_rank` itself."""
    free = max(stepper.first_rank, math.ceil(stepper.growth * _widest(centre)))
    return free if max_rank is None else min(free, max_rank)


def _is_over(energies: Sequence[float], local: float, discarded: float, tol: float) -> bool:
    """Tell whether the last sweep changed nothing, and solved its local problems well enough."""
    if len(energies) < 2 or local > 0.1 * math.sqrt(tol) + FINEST:
        return False
    allowed = max(tol, IDLE * discarded**2) * max(1.0, abs(energies[-1]))
    return abs(energies[-1] - energies[-2]) <= allowed


def _is_slow(energies: Sequence[float]) -> bool:
    """Tell whether the last sweep gained more than a quarter of what the one before gained."""
    if len(energies) < 3:
        return False
    return abs(energies[-1] - energies[-2]) > 0.25 * abs(energies[-2] - energies[-3])


def _local_tol(energies: Sequence[float], tol: float) -> float:
    """Residual at which a local problem is solved: its square is the error of the energy."""
    if len(energies) < 2:
        return 1e-4
    change = abs(energies[-1] - energies[-2])
    return min(1e-4, max(1e-2 * math.sqrt(max(change, tol)), FINEST))


def _check(
    operator: TreeOperator,
    start: Network,
    max_rank: int | None,
    tol: float,
    sweeps: int,
    others: Sequence[Network],
) -> None:
    if not operator.hermitian:
        raise InputError("the operator is not Hermitian, so it has no ground state.")
    if max_rank is not None:
        check_rank(max_rank, "max_rank")
    check_rank(sweeps, "sweeps")
    if not 0.0 <= tol < math.inf:
        raise InputError(f"`tol` is a finite number >= 0, got {tol!r}.")
    mine = start.structure
    for what, other in [
        ("operator", operator.structure),
        *(("known state", o.structure) for o in others),
    ]:
        same = set(other.legs) == set(mine.legs) and all(
            set(other.legs[node]) == set(mine.legs[node]) for node in mine.legs
        )
        if not same or any(other.size[m] != mine.size[m] for m in mine.modes):
            raise StructureError(
                f"the {what} and the start are not on the same tree: nodes "
                f"{list(other.node_names[:6])} and {list(mine.node_names[:6])}; build it on the "
                "structure of the start (tnet.operator(start.structure, terms))."
            )
