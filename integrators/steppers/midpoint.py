"""MidpointBUG: second order from bases that hold the field at the middle of a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from contraction.arrays import Array, namespace
from contraction.linalg import svd
from integrators.directions import padded
from integrators.environments import upward
from integrators.field import AbstractField
from integrators.local_solvers import solved
from integrators.steppers.augmented import AugmentedBUG
from integrators.steppers.base import AbstractStepper, Statistics, Step, least_weight
from integrators.steppers.branches import (
    Branch,
    Snapshot,
    down,
    grown,
    over_branches,
    snapshot,
    wider,
)
from integrators.steppers.growth import Growth
from integrators.tree_state import TreeState


@final
@dataclass(frozen=True, kw_only=True)
class MidpointBUG(AbstractStepper):
    """Midpoint BUG: half a step of `AugmentedBUG`, then one step of the root's core.

    The state in the middle gives the bases: those of the half step (which hold the old ones)
    with the directions of the field there. The root's core goes the whole step in them, from the
    old state, which they represent exactly: for Schroedinger's equation norm and energy are kept
    up to truncation and local tolerance. Order two; ranks grow up to threefold or fourfold.

    Parameters
    ----------
    growth
        `Growth.THREE` takes the directions of the strongest rows of each bond, as many as it had.

    Notes
    -----
    Ceruti, Einkemmer, Kusch and Lubich, BIT 64 (2024) 30 ("A robust second-order low-rank BUG
    integrator based on the midpoint rule"), for matrices; on a tree every basis is treated as a
    factor of the matrix of its bond.

    Examples
    --------
    >>> import numpy as np, tnet
    >>> from integrators.binding import bind
    >>> from integrators.tree_state import TreeState
    >>> tree = tnet.balanced_tree({"a": 4, "b": 4}, 1)
    >>> net = tnet.random_network(tree, rng=np.random.default_rng(0), dtype="complex128")
    >>> state = TreeState.from_network(net)
    >>> hamiltonian = tnet.operator(tree, [(1.0, {"a": "sx", "b": "sx"}), (0.5, {"a": "sz"})])
    >>> field = bind(-1j * hamiltonian, state.frame, state.cores[0])
    >>> after = MidpointBUG().step(field, 0.0, 0.1, state).state
    >>> bool(abs(after.norm - state.norm) < 1e-6 * state.norm)
    True
    """

    growth: Growth = Growth.THREE

    def step(self, field: AbstractField, t: float, h: float, state: TreeState) -> Step:
        """Return the augmented state at `t` + `h`."""
        first = AugmentedBUG(truncation=self.truncation, local=self.local, workers=self.workers)
        half = first.step(field, t, h / 2, state)
        assert half.widened is not None
        frozen = field.at(t + h / 2)
        shot = snapshot(frozen, half.state, upward(frozen, half.state))
        least = least_weight(self.truncation, 1.0, state)

        def work(child: int) -> Branch:
            return self._branch(shot, state, least, child)

        cores: dict[int, Array] = {}
        below, statistics = list(shot.below), half.statistics
        for branch in over_branches(shot, work, self.workers):
            cores.update(branch.cores)
            statistics = statistics.plus(branch.statistics)
            for node, environment in branch.below.items():
                below[node] = environment
        start = padded(half.widened.cores[0], wider(half.state, cores, 0))
        problem = frozen.local(0, shot.root.environment, below)
        end, used = solved(self.local, problem, start, h)
        return Step(
            half.state.with_cores({**cores, 0: end}),
            statistics=statistics.plus(Statistics(1, used)),
            widened=half.state.with_cores({**cores, 0: start}),
        )

    def _branch(self, shot: Snapshot, old: TreeState, least: float, child: int) -> Branch:
        """Add the directions of the field in the middle, from the leaves up."""
        field, state = shot.field, shot.state
        descent = down(shot, child)
        below = list(shot.below)
        cores: dict[int, Array] = {}
        statistics = Statistics()
        for node in reversed(descent.active):
            seen = descent.above[node]
            shape = wider(state, cores, node)
            weighted = padded(seen.weighted, (int(seen.weighted.shape[0]), *shape[1:]))
            moved = field.local(node, seen.environment, below).apply(weighted)
            statistics = statistics.plus(Statistics(0, 1))
            if self.growth is Growth.THREE:
                moved = strongest_rows(moved, seen.weighted, int(old.cores[node].shape[0]))
            cores[node], _ = grown(state.cores[node], shape, moved, least)
            below[node] = field.up(node, cores[node], below)
        return Branch(cores, {n: below[n] for n in descent.active}, statistics, {}, None)


def strongest_rows(moved: Array, weighted: Array, count: int) -> Array:
    """Return `moved` along the `count` strongest left singular vectors of `weighted`.

    Parameters
    ----------
    moved, weighted
        Cores with the same axis 0.
    count
        How many rows are kept.

    Examples
    --------
    >>> import numpy as np
    >>> strongest_rows(np.eye(2), np.diag([1.0, 3.0]), 1).round(12)
    array([[0., 1.]])
    """
    if moved.shape[0] <= count:
        return moved
    xp = namespace(moved)
    U, _, _ = svd(weighted.reshape(weighted.shape[0], -1))
    E: Any = xp.conj(U[:, :count]).T
    found: Array = (E @ moved.reshape(moved.shape[0], -1)).reshape((count, *moved.shape[1:]))
    return found
