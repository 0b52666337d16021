"""FixedBUG: the basis-update and Galerkin integrator that keeps all ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from contraction.arrays import Array, namespace
from contraction.linalg import qr
from integrators.environments import upward
from integrators.field import AbstractField
from integrators.local_solvers import solved
from integrators.steppers.base import AbstractStepper, Statistics, Step, prepared
from integrators.steppers.branches import Branch, Snapshot, down, gathered, snapshot
from integrators.tree_state import TreeState
from tnet._axes import apply_matrix, contiguous


@final
@dataclass(frozen=True, kw_only=True)
class FixedBUG(AbstractStepper):
    """Fixed-rank BUG ("unconventional") integrator: bases first, leaves up, then the core.

    Every basis is replaced by what it becomes; the state before the step is projected on the new
    bases before the core moves. Ranks stay, no step goes backward in time, small singular values
    do no harm. Order one. Norm and energy are not kept.

    Notes
    -----
    Ceruti and Lubich, BIT 62 (2022) 23, for matrices and Tucker tensors; Ceruti, Lubich and Walach,
    SIAM J. Numer. Anal. 59 (2021) 289, for the recursion on trees. A node of bonds c, r, r costs
    8 c r^2 (terms) r flops per application (complex), a fourth of `AugmentedBUG`. The truncation
    is a driver's matter, as for every stepper: nothing grows here.

    Examples
    --------
    >>> import numpy as np, tnet
    >>> from integrators.binding import bind
    >>> from integrators.tree_state import TreeState
    >>> tree = tnet.balanced_tree({"a": 3, "b": 3}, 2)
    >>> net = tnet.random_network(tree, rng=np.random.default_rng(0), dtype="complex128")
    >>> state = TreeState.from_network(net)
    >>> hamiltonian = tnet.operator(tree, [(1.0, {"a": "sx", "b": "sx"}), (0.5, {"a": "sz"})])
    >>> field = bind(-1j * hamiltonian, state.frame, state.cores[0])
    >>> FixedBUG().step(field, 0.0, 0.1, state).state.ranks == state.ranks
    True
    """

    def step(self, field: AbstractField, t: float, h: float, state: TreeState) -> Step:
        """Return the state at `t` + `h`, of the same ranks."""
        return prepared(self._step, self.workers, field, t, h, state)

    def _step(self, field: AbstractField, t: float, h: float, state: TreeState) -> Step:
        frozen = field.at(t + h / 2)
        shot = snapshot(frozen, state, upward(frozen, state, self.workers))
        done = gathered(shot, lambda child: self._branch(shot, h, child), self.workers)
        problem = frozen.local(0, shot.root.environment, done.below)
        start = _projected(state, 0, state.cores[0], done.coupling)
        end, used = solved(self.local, problem, start, h)
        return Step(
            state.moved({**done.cores, 0: end}),
            statistics=done.statistics.plus(Statistics(1, used)),
        )

    def _branch(self, shot: Snapshot, h: float, child: int) -> Branch:
        """Move everything below one child of the root, from the leaves up."""
        state = shot.state
        descent = down(shot, child)
        overlaps: dict[int, Array] = {}  # node -> (new basis, old basis)
        done = Branch({}, list(shot.below), Statistics(), overlaps, None)
        for node in reversed(descent.active):
            seen = descent.above[node]
            problem = shot.field.local(node, seen.environment, done.below)
            start = _projected(state, node, seen.weighted, overlaps)
            end, used = solved(self.local, problem, start, h)
            done = done._replace(statistics=done.statistics.plus(Statistics(1, used)))
            new = done.cores[node] = _basis(end)
            old = _projected(state, node, state.cores[node], overlaps)
            overlaps[node] = _overlap(new, old)
            done.below[node] = shot.field.up(node, new, done.below)
        return done


def _overlap(new: Any, old: Any) -> Array:
    """Return (rows of `new`, rows of `old`): the old basis in the new one."""
    xp = namespace(old)
    found: Array = xp.conj(new.reshape(new.shape[0], -1)) @ old.reshape(old.shape[0], -1).T
    return found


def _projected(state: TreeState, node: int, core: Array, overlaps: dict[int, Array]) -> Array:
    """Return a core with its moved children in their new bases."""
    xp = namespace(core)
    found = core
    for k, slot in enumerate(state.frame.slots[node]):
        if slot.child in overlaps:
            found = apply_matrix(found, overlaps[slot.child], k + 1, xp)
    return contiguous(found)


def _basis(end: Array) -> Array:
    """Return an orthonormal basis of the rows of a moved core, as a core."""
    rows: Any = end.reshape(end.shape[0], -1)
    Q, _ = qr(rows.T)
    return contiguous(Q.T.reshape((Q.shape[1], *end.shape[1:])))  # type: ignore[attr-defined]
