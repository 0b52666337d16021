"""AugmentedBUG: the rank-adaptive basis-update and Galerkin integrator on any tree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, final

from contraction.arrays import Array
from integrators.directions import new_directions, padded, stacked
from integrators.environments import Above, descend, root_above, upward
from integrators.field import AbstractField, Environment
from integrators.local_solvers import solved
from integrators.steppers.base import (
    AbstractStepper,
    Statistics,
    Step,
    in_turn_or_threads,
)
from integrators.tree_state import TreeState


class Moved(NamedTuple):
    """The subtree below one child of the root after its part of a step."""

    cores: dict[int, Array]
    below: dict[int, Environment]
    statistics: Statistics


@final
@dataclass(frozen=True, kw_only=True)
class AugmentedBUG(AbstractStepper):
    """Rank-adaptive BUG: bases first, leaves up, then the core on old and new bases together.

    Every node solves its equation on the doubled bases of its children, so that the state before
    the step is represented exactly: for Schroedinger's equation norm and energy are kept up to
    the truncation and the tolerance of the local solver. Ranks may double in a step. Robust to
    small singular values; order one is proved, two is often seen.

    Notes
    -----
    Ceruti, Kusch and Lubich, BIT 62 (2022) 1149 for matrices; Ceruti, Lubich and Sulz, SIAM J.
    Numer. Anal. 61 (2023) 194 for trees. A node of bonds c, r, r costs some 8 * 4 c r^2 (terms)
    r flops per application (complex). Subtrees that span their whole space are not touched.

    Examples
    --------
    >>> import numpy as np, tnet
    >>> from contraction.truncation import Truncation
    >>> from integrators.binding import bind
    >>> from integrators.cutting import cut
    >>> from integrators.tree_state import TreeState
    >>> tree = tnet.balanced_tree({"a": 2, "b": 2}, 2)
    >>> net = tnet.random_network(tree, rng=np.random.default_rng(0), dtype="complex128")
    >>> state = TreeState.from_network(net)
    >>> hamiltonian = tnet.operator(tree, [(1.0, {"a": "x", "b": "x"}), (0.5, {"a": "z"})])
    >>> field = bind(-1j * hamiltonian, state.frame, state.cores[0])
    >>> after = AugmentedBUG().step(field, 0.0, 0.1, state).state
    >>> bool(abs(cut(after, Truncation(max_rank=2)).state.norm - state.norm) < 1e-6)
    True
    """

    def step(self, field: AbstractField, t: float, h: float, state: TreeState) -> Step:
        """Return the augmented state at `t` + `h`."""
        frozen = field.at(t + h / 2)
        below = upward(frozen, state)
        top = root_above(frozen, state)

        def work(child: int) -> Moved:
            return self._branch(frozen, h, state, top, below, child)

        branches = [n for n in state.frame.branches if not state.saturated[n]]
        done = in_turn_or_threads(work, branches, self.workers)
        cores: dict[int, Array] = {}
        statistics = Statistics()
        for moved in done:
            cores.update(moved.cores)
            statistics = statistics.plus(moved.statistics)
            for node, environment in moved.below.items():
                below[node] = environment
        start = padded(state.cores[0], self._shape(state, cores, 0))
        problem = frozen.local(0, top.environment, below)
        end, used = solved(self.local, problem, start, h)
        cores[0] = end
        return Step(state.with_cores(cores), statistics=statistics.plus(Statistics(1, used)))

    def _branch(
        self,
        field: AbstractField,
        h: float,
        state: TreeState,
        top: Above,
        old: list[Environment],
        child: int,
    ) -> Moved:
        """Move everything below one child of the root: down with amplitudes, up with bases."""
        frame = state.frame
        active = [n for n in frame.subtree(child) if not state.saturated[n]]
        above: dict[int, Above] = {0: top}
        for node in active:
            parent = frame.parent[node]
            above[node], _ = descend(field, state, parent, above[parent], old, frame.place[node])
        below = list(old)
        cores: dict[int, Array] = {}
        statistics = Statistics()
        for node in reversed(active):
            seen = above[node]
            shape = self._shape(state, cores, node)
            start = padded(seen.weighted, (int(seen.weighted.shape[0]), *shape[1:]))
            problem = field.local(node, seen.environment, below)
            end, used = solved(self.local, problem, start, h)
            statistics = statistics.plus(Statistics(1, used))
            basis = padded(state.cores[node], shape)
            rows = basis.reshape(basis.shape[0], -1)
            fresh = new_directions(rows, end.reshape(end.shape[0], -1))
            cores[node] = stacked(basis, fresh)
            below[node] = field.up(node, cores[node], below)
        return Moved(cores, {node: below[node] for node in active}, statistics)

    @staticmethod
    def _shape(state: TreeState, cores: dict[int, Array], node: int) -> tuple[int, ...]:
        """Return the shape of a node's old core on the bases its children have now."""
        shape = [int(n) for n in state.cores[node].shape]
        for k, slot in enumerate(state.frame.slots[node]):
            if slot.child in cores:
                shape[k + 1] = int(cores[slot.child].shape[0])
        return tuple(shape)
