"""excited_states: the lowest eigenstates one after the other, each orthogonal to those before."""

from __future__ import annotations

import math
from collections.abc import Sequence

from contraction.errors import InputError
from contraction.truncation import check_rank
from integrators.ground import Ground, ground_state
from integrators.ground_settings import DMRG
from tnet.network import Network
from tnet.operators.tree_operator import TreeOperator


def excited_states(
    operator: TreeOperator,
    start: Network | Sequence[Network],
    count: int,
    *,
    stepper: DMRG | None = None,
    max_rank: int | None = 64,
    tol: float = 1e-9,
    sweeps: int = 30,
) -> tuple[Ground, ...]:
    """Find the `count` lowest eigenstates of a Hermitian operator, lowest first.

    Parameters
    ----------
    operator, stepper, max_rank, tol, sweeps
        As for `ground_state`.
    start
        One start for all states, or one for each. It must reach all of the states: a product
        state in one symmetry sector finds those of that sector only, a random state those of
        all. On a tree of one or two nodes one start finds one state of a degenerate level only
        (so does every Krylov method); give as many different ones as states.
    count
        Number of states, at least one.

    Returns
    -------
    tuple of Ground
        Every state is orthogonal to those before it up to rounding, since they are projected
        out of every local problem; each energy is then an upper bound in that space. States
        that were not converged spoil those after them: look at `outcome` and `variance`.

    Raises
    ------
    InputError
        There are fewer states than `count`, or another number of starts.

    Examples
    --------
    >>> import numpy as np, tnet
    >>> tree = tnet.tensor_train({f"s{i}": 2 for i in range(4)}, 2)
    >>> terms = [(0.25, {f"s{i}": p, f"s{i + 1}": p}) for i in range(3) for p in "xyz"]
    >>> start = tnet.random_network(tree, rng=np.random.default_rng(0))
    >>> found = excited_states(tnet.operator(tree, terms), start, 2)
    >>> [round(f.energy, 6) for f in found]
    [-1.616025, -0.957107]
    """
    check_rank(count, "count")
    if (
        isinstance(operator, TreeOperator)
        and (states := math.prod(operator.structure.shape)) < count
    ):
        raise InputError(f"there are {states} states, and `count` is {count}.")
    starts = [start] * count if isinstance(start, Network) else list(start)
    if len(starts) != count:
        raise InputError(
            f"one start for all states or one for each, got {len(starts)} for {count}."
        )
    found: list[Ground] = []
    for one in starts:
        found.append(
            ground_state(
                operator,
                one,
                stepper=stepper,
                max_rank=max_rank,
                tol=tol,
                sweeps=sweeps,
                orthogonal_to=[before.state for before in found],
            )
        )
    return tuple(found)
