"""The parts of one-site TDVP for any field, through the environments that every field has."""

from __future__ import annotations

from typing import Any

from contraction.arrays import namespace
from contraction.linalg import qr
from integrators.field import AbstractField
from integrators.local_problem import AbstractLocalSolver
from integrators.local_solvers import solved
from integrators.sweeping.tour import Move
from integrators.tree_state import TreeState
from tnet._axes import apply_matrix, contiguous
from tnet.trees import rooted


class FieldWork:
    """One step in progress: cores, the environments towards the centre, what was done so far.

    Parameters
    ----------
    field, state
        On one frame; the centre begins and ends at the root.
    local
        Solver, or None for the default one of the problem.
    """

    def __init__(
        self, field: AbstractField, state: TreeState, local: AbstractLocalSolver | None
    ) -> None:
        self._field, self._state, self._local = field, state, local
        self.tree = rooted(state.frame.structure, state.frame.root)
        self._cores: list[Any] = list(state.cores)
        self._below: list[Any] = [None] * state.frame.count
        self._above: list[Any] = [None] * state.frame.count
        self.solves, self.applications, self.lost = 0, 0, 0.0
        for node in state.frame.post_order:
            if node:
                self._below[node] = field.up(node, self._cores[node], self._below)
        self._above[0] = field.top()

    def state(self) -> TreeState:
        """Return what the cores hold."""
        return TreeState(self._state.frame, tuple(contiguous(core) for core in self._cores))

    def node(self, name: str, leg: str, h: float) -> None:
        """Move the core of the centre by `h`; `leg` is not used."""
        if h:
            node = self._state.frame.number[name]
            problem = self._field.local(node, self._above[node], self._below)
            self._cores[node] = self._solve(problem, self._cores[node], h)

    def carry(self, move: Move, h: float) -> None:
        """Move the centre over a bond, and the bond's matrix by -h."""
        frame = self._state.frame
        source, target = frame.number[move.source], frame.number[move.target]
        if move.down:
            self._down(source, target, h)
        else:
            self._up(source, target, h)

    def _solve(self, problem: Any, start: Any, h: float) -> Any:
        end, used = solved(self._local, problem, start, h)
        self.solves, self.applications = self.solves + 1, self.applications + used
        return end

    def _back(self, child: int, matrix: Any, h: float) -> Any:
        if not h:
            return matrix
        problem = self._field.bond(child, self._above[child], self._below)
        return self._solve(problem, matrix, -h)

    def _down(self, parent: int, child: int, h: float) -> None:
        slot = self._state.frame.place[child]
        xp = namespace(self._cores[parent])
        moved: Any = xp.moveaxis(self._cores[parent], slot + 1, -1)
        Q, R = qr(moved.reshape(-1, moved.shape[-1]))
        rest: Any = Q.reshape((*moved.shape[:-1], int(Q.shape[1])))
        self._cores[parent] = contiguous(xp.moveaxis(rest, -1, slot + 1))
        self._above[child] = self._field.down(parent, slot, rest, self._above[parent], self._below)
        S = self._back(child, R, h)
        self._cores[child] = apply_matrix(self._cores[child], S, 0, xp)

    def _up(self, child: int, parent: int, h: float) -> None:
        x: Any = self._cores[child]
        xp = namespace(x)
        Q, R = qr(x.reshape(x.shape[0], -1).T)
        U: Any = Q.T  # type: ignore[attr-defined]
        self._cores[child] = contiguous(U).reshape((int(U.shape[0]), *x.shape[1:]))
        self._below[child] = self._field.up(child, self._cores[child], self._below)
        S = self._back(child, R.T, h)  # type: ignore[attr-defined]
        slot = self._state.frame.place[child]
        self._cores[parent] = apply_matrix(self._cores[parent], S.T, slot + 1, xp)
