"""ground_tree: the ground state of a sum of terms together with a tree that suits it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, final

from contraction.errors import InputError
from contraction.truncation import Truncation, check_rank
from integrators.ground import DMRG, Ground, ground_state
from tnet.network import Network
from tnet.operators.entry import Compiler, operator
from tnet.reconnecting import reconnect


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class GroundTree:
    """What `ground_tree` found.

    Attributes
    ----------
    ground
        The lowest state found on a tree of its own: `ground.state.structure`.
    energies
        After the sweeps of every round.
    exchanges
        Exchanges of branches after every round.
    settled
        Whether the last reconnection found nothing to exchange.
    """

    ground: Ground
    energies: tuple[float, ...]
    exchanges: tuple[int, ...]
    settled: bool


def ground_tree(
    terms: Iterable[Any],
    start: Network,
    *,
    stepper: DMRG | None = None,
    max_rank: int = 16,
    cutoff: float = 1e-4,
    tol: float = 1e-9,
    sweeps: int = 2,
    rounds: int = 30,
    method: Compiler = Compiler.EXACT,
) -> GroundTree:
    """Search a tree for the ground state: sweeps for the energy and reconnections, in turns.

    Every round lowers the energy by a few sweeps, and then exchanges branches of the tree until
    no bond can carry less entanglement (`tnet.reconnect`). When nothing is exchanged any more
    the energy is converged, and the tree asked once more.

    Parameters
    ----------
    terms
        As for `tnet.operator`.
    start
        A state on any tree with the modes that the terms name. Where the tree may be wrong it
        should be a random one with ranks above one (`tnet.random_network`): from a product
        state sweeps see few couplings but those between neighbours. A tree from the couplings
        (`tnet.tree_from_affinity` of `tnet.coupling_strengths`) needs fewer rounds, often none.
    stepper
        `DMRG()` by default.
    max_rank
        Cap on every bond. Double it, starting from the state found, for better energies.
    cutoff
        Relative error of one reconnection, as far as the cap allows.
    tol
        Of the converged energies, as in `ground_state`.
    sweeps
        Sweeps of every round.
    rounds
        Largest number of rounds; the last one is converged in any case.
    method
        How the operator is compiled on every new tree.

    Returns
    -------
    GroundTree
        With the lowest of the converged states.

    Raises
    ------
    InputError
        No rounds, and what `ground_state` and `tnet.operator` refuse.

    Notes
    -----
    Hikihara, Ueda, Okunishi, Harada and Nishino, Phys. Rev. Research 5, 013031 (2023),
    reconnect within every two-site update; here whole trees are swept in between, so that the
    operator is compiled once a round. A descent: the tree is a local optimum.

    Examples
    --------
    >>> import numpy as np
    >>> import tnet
    >>> near = [("a", "c"), ("c", "b"), ("b", "d")]
    >>> terms = [(0.25, {i: p, j: p}) for i, j in near for p in "xyz"]
    >>> chain = tnet.tensor_train(dict.fromkeys("abcd", 2), 2)
    >>> found = ground_tree(terms, tnet.random_network(chain, rng=np.random.default_rng(0)))
    >>> round(found.ground.energy, 9), found.settled
    (-1.616025404, True)
    """
    check_rank(max_rank, "max_rank")
    check_rank(sweeps, "sweeps")
    if rounds < 1:
        raise InputError(f"`rounds` is 1 or more, got {rounds}.")
    stepper = DMRG() if stepper is None else stepper
    held = tuple(terms)
    rule = Truncation(tol=cutoff, max_rank=max_rank)

    def lowered(state: Network, count: int) -> Ground:
        made = operator(state.structure, held, method=method)
        return ground_state(made, state, stepper=stepper, max_rank=max_rank, tol=tol, sweeps=count)

    state, best = start, None
    energies: list[float] = []
    exchanges: list[int] = []
    converged = False
    for number in range(rounds):
        converged = converged or number == rounds - 1
        ground = lowered(state, 30 if converged else sweeps)
        if converged and (best is None or ground.energy < best.energy):
            best = ground
        found = reconnect(ground.state, truncation=rule)
        changed = sum(found.exchanges)
        energies.append(ground.energy)
        exchanges.append(changed)
        if converged and not changed:
            break
        converged = not changed
        state = found.network
    assert best is not None
    return GroundTree(
        ground=best,
        energies=tuple(energies),
        exchanges=tuple(exchanges),
        settled=not exchanges[-1],
    )
