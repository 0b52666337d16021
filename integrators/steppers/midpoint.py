"""MidpointBUG: second order from bases that hold the field at the middle of a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, final

from contraction.arrays import Array, namespace
from contraction.linalg import svd
from integrators.directions import padded
from integrators.environments import upward
from integrators.field import AbstractField
from integrators.local_problem import first_rate
from integrators.local_solvers import solved
from integrators.steppers.augmented import AugmentedBUG
from integrators.steppers.base import AbstractStepper, Statistics, Step, least_weight, prepared
from integrators.steppers.branches import (
    Branch,
    Snapshot,
    down,
    gathered,
    grown,
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
    Ceruti, Einkemmer, Kusch and Lubich, arXiv:2402.08607 ("A robust second-order low-rank BUG
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

    order: ClassVar[int] = 2

    growth: Growth = Growth.THREE

    def step(self, field: AbstractField, t: float, h: float, state: TreeState) -> Step:
        """Return the augmented state at `t` + `h`."""
        return prepared(self._step, self.workers, field, t, h, state)

    def _step(self, field: AbstractField, t: float, h: float, state: TreeState) -> Step:
        first = AugmentedBUG(truncation=self.truncation, local=self.local, workers=self.workers)
        half = first.step(field, t, h / 2, state)
        assert half.widened is not None
        frozen = field.at(t + h / 2)
        shot = snapshot(frozen, half.state, upward(frozen, half.state, self.workers))
        least = least_weight(self.truncation, 1.0, state)
        done = gathered(shot, lambda child: self._branch(shot, state, least, child), self.workers)
        start = padded(half.widened.cores[0], wider(half.state, done.cores, 0))
        problem = frozen.local(0, shot.root.environment, done.below)
        end, used = solved(self.local, problem, start, h)
        cores = {**dict(enumerate(half.state.cores)), **done.cores}
        return Step(
            state.moved({**cores, 0: end}),
            statistics=half.statistics.plus(done.statistics).plus(Statistics(1, used)),
            widened=state.moved({**cores, 0: start}),
        )

    def _branch(self, shot: Snapshot, old: TreeState, least: float, child: int) -> Branch:
        """Add the directions of the field in the middle, from the leaves up."""
        field, state = shot.field, shot.state
        descent = down(shot, child)
        done = Branch({}, list(shot.below), Statistics(0, len(descent.active)), {}, None)
        for node in reversed(descent.active):
            seen = descent.above[node]
            shape = wider(state, done.cores, node)
            weighted = padded(seen.weighted, (int(seen.weighted.shape[0]), *shape[1:]))
            rate = first_rate(field.local(node, seen.environment, done.below), weighted)
            if self.growth is Growth.THREE:
                rate = strongest_rows(rate, seen.weighted, int(old.cores[node].shape[0]))
            done.cores[node], _ = grown(state.cores[node], shape, rate, least)
            done.below[node] = field.up(node, done.cores[node], done.below)
        return done


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
