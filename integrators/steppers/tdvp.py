"""TDVP: the projector-splitting integrator on any tree, with one or two nodes at a time."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any, final

from contraction.errors import InputError
from contraction.linalg import qr
from contraction.truncation import Truncation
from integrators.field import AbstractField
from integrators.linear_field import LinearField
from integrators.local_problem import AbstractLocalSolver, LocalProblem
from integrators.local_solvers import solved
from integrators.steppers.base import AbstractStepper, Estimates, Statistics, Step, prepared
from integrators.steppers.tdvp_fields import FieldWork
from integrators.sweeping.centre import Centre
from integrators.sweeping.program import Program
from integrators.sweeping.saturation import saturated
from integrators.sweeping.splitting import split
from integrators.sweeping.states import carried
from integrators.sweeping.tour import Move, down_sweep, up_sweep
from integrators.tree_state import TreeState


@final
@dataclass(frozen=True, kw_only=True)
class TDVP(AbstractStepper):
    """Projector splitting: node by node along a tour of the tree, forwards and backwards in time.

    With one node at a time (`sites=1`) ranks stay as they are, and for Schroedinger's equation
    norm and energy are kept up to the local solver; fields may be nonlinear. With two
    (`sites=2`) bonds grow, and are cut where they are split: this is the method to start from
    product states, and for nearest-neighbour chains the most accurate one at long steps.

    Parameters
    ----------
    sites
        1 or 2.
    order
        1: one sweep from the leaves to the root. 2: half a step down and half a step up, which
        is symmetric in time.
    truncation
        For `sites=2`: `tol` is a relative Frobenius error per unit of time, shared evenly over
        the cuts of a step; `max_rank` caps every bond. The error that a step reports is that of
        its cuts: what two neighbouring nodes cannot represent is not in it.
    local, workers
        See `AbstractStepper`; a sweep is sequential, so `workers` changes nothing.

    Notes
    -----
    The tangent projector is a sum over nodes minus a sum over bonds (for two nodes: over bonds
    minus over nodes), and every summand is solved on its own. Lubich, Oseledets and
    Vandereycken, SIAM J. Numer. Anal. 53 (2015) 917 for tensor trains; Haegeman et al., PRB 94
    (2016) 165116 for two sites; Ceruti, Lubich and Walach, SIAM J. Numer. Anal. 59 (2021) 289
    and Bauernfeind and Aichhorn, SciPost Phys. 8 (2020) 024 for trees. Parts with negative time
    make it unsuited to strongly dissipative equations: use a BUG method there. Subtrees that
    span their whole space are skipped, which is exact.

    Examples
    --------
    >>> import numpy as np, tnet
    >>> from integrators.binding import bind
    >>> tree = tnet.tensor_train({"a": 2, "b": 2, "c": 2}, 2)
    >>> net = tnet.random_network(tree, rng=np.random.default_rng(0), dtype="complex128")
    >>> state = TreeState.from_network(net)
    >>> hamiltonian = tnet.operator(tree, [(1.0, {"a": "x", "c": "x"}), (0.5, {"b": "z"})])
    >>> driven = bind(-1j * hamiltonian, state.frame, state.cores[0])
    >>> after = TDVP(sites=1).step(driven, 0.0, 0.1, state).state
    >>> bool(abs(after.norm / state.norm - 1.0) < 1e-6)
    True
    """

    sites: int = 2
    order: int = 2
    truncation: Truncation = field(default_factory=lambda: Truncation(tol=1e-6))

    def __post_init__(self) -> None:
        if self.sites not in (1, 2) or self.order not in (1, 2):
            raise InputError(
                f"TDVP moves `sites` = 1 or 2 nodes at a time with `order` 1 or 2, got "
                f"{self.sites!r} and {self.order!r}."
            )

    def step(self, field: AbstractField, t: float, h: float, state: TreeState) -> Step:
        """Return the state at `t` + `h`; `h` may be negative.

        Raises
        ------
        InputError
            Two nodes at a time, and the field is not linear.
        NonFiniteError
            The norm of the state is no finite number.
        """
        return prepared(self._step, 1, field, t, h, state)

    def _step(self, field: AbstractField, t: float, h: float, state: TreeState) -> Step:
        frozen = field.at(t + h / 2)
        if self.sites == 1 and not isinstance(frozen, LinearField):
            return self._of_any_field(frozen, h, state)
        held = carried(frozen, state, "TDVP with two sites")
        centre = held.centre
        skipped = saturated(centre)
        cuts = max(len(centre.tree.pre_order) - 1 - len(skipped), 1) * self.order
        tol = min(self.truncation.tol * abs(h) / math.sqrt(cuts), 0.5)
        rule = replace(self.truncation, tol=tol)
        work = _Work(centre, held.field, self.local, rule)
        tree = centre.tree
        if len(skipped) == len(tree.pre_order) - 1:
            work.node(tree.root, "", h)
        elif self.sites == 1:
            self._single(work, h, skipped)
        else:
            self._pairs(work, h, skipped)
        return Step(
            held.state(),
            Estimates(error=math.sqrt(work.lost) * state.norm if self.sites == 2 else None),
            Statistics(work.solves, work.applications),
        )

    def _of_any_field(self, field: AbstractField, h: float, state: TreeState) -> Step:
        """Return the step of a field that is known by its environments alone."""
        work = FieldWork(field, state, self.local)
        skipped = [n for n, full in zip(state.frame.names, state.saturated, strict=True) if full]
        if len(skipped) == state.frame.count - 1:
            work.node(state.frame.root, "", h)
        else:
            self._single(work, h, skipped)
        return Step(work.state(), Estimates(), Statistics(work.solves, work.applications))

    def _single(self, work: _Work | FieldWork, h: float, skipped: Collection[str]) -> None:
        part = h / self.order
        first = True
        if self.order == 2:
            moves = down_sweep(work.tree, skipped)
            work.node(moves[0].source, moves[0].bond, part)
            for move in moves:
                work.carry(move, part if move.down else 0.0)
                if move.down and move is not moves[-1]:
                    work.node(move.target, move.bond, part)
        else:
            for move in _opening(work.tree, skipped):
                work.carry(move, 0.0)
        for move in up_sweep(work.tree, skipped):
            if not move.down:  # the last node of the way down has both its halves at once
                work.node(move.source, move.bond, h if first else part)
                first = False
            work.carry(move, 0.0 if move.down else part)
        work.node(work.tree.root, move.bond, part)

    def _pairs(self, work: _Work, h: float, skipped: Collection[str]) -> None:
        part = h / self.order
        ups = up_sweep(work.tree, skipped)
        if self.order == 2:
            moves = down_sweep(work.tree, skipped)
            for move in moves:
                if not move.down:
                    work.carry(move, 0.0)
                    continue
                if move is not moves[0]:
                    work.node(move.source, move.bond, -part)
                work.pair(move, h if move is moves[-1] else part)
        else:
            for move in _opening(work.tree, skipped):
                work.carry(move, 0.0)
            work.pair(ups[0], h)
            work.node(ups[0].target, ups[0].bond, -h if len(ups) > 1 else 0.0)
            ups = ups[1:]
        for k, move in enumerate(ups):
            if move.down or (k == 0 and self.order == 2):  # its pair was moved for both halves
                work.carry(move, 0.0)
            else:
                work.pair(move, part)
            if not move.down and k + 1 < len(ups):
                work.node(move.target, move.bond, -part)


def _opening(tree: Any, skipped: Collection[str]) -> tuple[Move, ...]:
    """Return the way from the root to the first leaf."""
    from integrators.sweeping.tour import euler_tour

    moves = []
    for move in euler_tour(tree, skipped):
        if not move.down:
            break
        moves.append(move)
    return tuple(moves)


class _Work:
    """One step in progress: the centre, the solver, and what was done so far."""

    def __init__(
        self,
        centre: Centre,
        field: LinearField,
        local: AbstractLocalSolver | None,
        truncation: Truncation,
    ) -> None:
        self.centre, self.tree = centre, centre.tree
        self._field, self._local = field, local
        self._truncation = truncation
        self.solves, self.applications, self.lost = 0, 0, 0.0

    def _solved(self, program: Program, start: Any, h: float) -> Any:
        def apply(z: Any) -> Any:
            found = program(z)[0]
            return z * 0.0 if found is None else found.reshape(z.shape)

        problem = LocalProblem(apply, self._field.factor, self._field.hermitian)
        end, used = solved(self._local, problem, start, h)
        self.solves, self.applications = self.solves + 1, self.applications + used
        return end

    def node(self, node: str, leg: str, h: float) -> None:
        """Move the array of the centre by `h`; `leg` is any of its bonds."""
        if h == 0.0:
            return
        program = self.centre.single(node, leg)
        if leg:
            self.centre.put(node, leg, self._solved(program, self.centre.matrix(node, leg), h))
        else:
            self.centre.arrays[node] = self._solved(program, self.centre.arrays[node], h)

    def carry(self, move: Move, h: float) -> None:
        """Move the centre over a bond, and the bond's matrix by -h."""
        centre, leg = self.centre, move.bond
        Q, R = qr(centre.matrix(move.source, leg))
        centre.put(move.source, leg, Q)
        centre.arrive(move.source, leg)
        if h:
            R = self._solved(centre.link(move.source, leg), R, -h)
        centre.put(move.target, leg, centre.matrix(move.target, leg) @ R.T)  # type: ignore[attr-defined]

    def pair(self, move: Move, h: float) -> None:
        """Move two nodes together by `h`, and the centre to the second."""
        centre, leg = self.centre, move.bond
        theta = centre.matrix(move.source, leg) @ centre.matrix(move.target, leg).T
        theta = self._solved(centre.pair(move.source, leg), theta, h)
        parts = split(theta, self._truncation, centre.sight.xp)
        self.lost += parts.discarded**2
        centre.put(move.source, leg, parts.basis)
        centre.put(move.target, leg, parts.rest.T)
        centre.arrive(move.source, leg)
