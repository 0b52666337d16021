"""ground_state: the lowest eigenstates of an operator on any tree, by variational sweeps."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property, partial
from typing import final

from contraction.errors import InputError, StructureError
from contraction.truncation import check_rank
from integrators.ground_search import Progress, Sweep, search
from integrators.ground_settings import DMRG as DMRG
from integrators.ground_start import finished, prepared
from integrators.ground_sweeps import Sweeper
from tnet.network import Network
from tnet.operators.tree_operator import TreeOperator


class GroundOutcome(Enum):
    """How a search ended."""

    CONVERGED = "the energy of a sweep differed by less than the tolerance"
    SWEEPS = "all sweeps were done before that"
    STOPPED = "the callback ended it"


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
        Energy after every sweep, those before this call included (`progress`).
    discarded
        Largest relative Frobenius error of a cut in the last sweep.
    sweeps, applications
        Number of sweeps of this call, and of products with effective operators.
    outcome
        Whether it converged.
    seconds
        Wall time.
    progress
        With the state, all that is needed to go on.
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
    progress: Progress = field(repr=False, default=Progress())

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
    progress: Progress | None = None,
    callback: Callable[[Sweep], GroundOutcome | None] | None = None,
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
        Cap on every bond; None for none. A start of larger ranks is truncated first.
    tol
        Stop when the energy changed by less than `tol` times the larger of |energy| and the
        width of the spectra of local problems, or by less than a hundredth of what the cuts
        lose, in a sweep during which ranks were free to reach `max_rank`. Relative: an operator
        multiplied by a number is searched in the same way.
    sweeps
        Largest number of sweeps of this call; one leads away from the root and back.
    orthogonal_to
        States on the same tree whose span is projected out of every local problem.
    progress
        Of an earlier search whose last state is `start`: this one goes on from there.
    callback
        Called with a `Sweep` after every sweep (its `state` is put together only if asked for);
        a `GroundOutcome` it returns ends the search.

    Returns
    -------
    Ground
        With the state, its energy, the energies by sweep, and how the search ended.

    Raises
    ------
    InputError
        The operator is no `tnet.operator` or not Hermitian, or the start is zero.
    RankError
        `max_rank` or `sweeps` is no whole number above zero.
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
    began = time.monotonic()
    check_rank(sweeps, "sweeps")
    outcome, used, count = GroundOutcome.SWEEPS, 0, 0
    found = sweeps_of(
        operator,
        start,
        stepper=stepper,
        max_rank=max_rank,
        tol=tol,
        orthogonal_to=orthogonal_to,
        progress=progress,
    )
    for last in itertools.islice(found, sweeps):
        count, used = count + 1, used + last.applications
        asked = callback(last) if callback else None
        if last.converged or isinstance(asked, GroundOutcome):
            outcome = asked or GroundOutcome.CONVERGED
            break
    return Ground(
        operator=operator,
        energy=last.energy,
        state=last.state,
        energies=last.progress.energies,
        discarded=last.discarded,
        sweeps=count,
        applications=used,
        outcome=outcome,
        seconds=time.monotonic() - began,
        progress=last.progress,
    )


def sweeps_of(
    operator: TreeOperator,
    start: Network,
    *,
    stepper: DMRG | None = None,
    max_rank: int | None = 64,
    tol: float = 1e-9,
    orthogonal_to: Sequence[Network] = (),
    progress: Progress | None = None,
) -> Iterator[Sweep]:
    """Search as `ground_state` does, sweep by sweep, until it has converged.

    For those who keep their own records between sweeps: `Sweep.state` and `Sweep.progress` are
    all there is to remember. The next sweep is done when it is asked for.

    Parameters
    ----------
    operator, start, stepper, max_rank, tol, orthogonal_to, progress
        As for `ground_state`, which see for the errors raised, before any sweep.

    Returns
    -------
    iterator of Sweep
        Ends after the first one that `converged`.

    Examples
    --------
    >>> import tnet
    >>> tree = tnet.tensor_train({"a": 2, "b": 2, "c": 2})
    >>> h = tnet.operator(tree, [(1.0, {"a": "x", "b": "x"}), (0.5, {"b": "z", "c": "z"})])
    >>> start = tnet.product_state(tree, {m: [1.0, 0.4] for m in "abc"})
    >>> first = next(sweeps_of(h, start))
    >>> *_, last = sweeps_of(h, first.state, progress=first.progress)
    >>> round(last.energy, 9), len(last.progress.energies) > 2
    (-1.118033989, True)
    """
    stepper = DMRG() if stepper is None else stepper
    _check(operator, start, max_rank, tol, orthogonal_to)
    centre, known = prepared(operator, start, orthogonal_to, max_rank)
    finish = partial(finished, axes=centre.sight.axes, root=centre.tree.root, start=start)
    sweeper = Sweeper(centre, known, stepper.steps)
    return search(sweeper, stepper, max_rank, tol, progress or Progress(), finish)


def _check(
    operator: TreeOperator,
    start: Network,
    max_rank: int | None,
    tol: float,
    others: Sequence[Network],
) -> None:
    if not isinstance(operator, TreeOperator):
        raise InputError(
            f"the operator is a tnet.operator(tree, terms), got {type(operator).__name__}."
        )
    for net in (start, *others):
        if not isinstance(net, Network):
            raise InputError(f"states are networks on a tree, got {type(net).__name__}.")
    if not operator.hermitian:
        raise InputError("the operator is not Hermitian, so it has no ground state.")
    if max_rank is not None:
        check_rank(max_rank, "max_rank")
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
