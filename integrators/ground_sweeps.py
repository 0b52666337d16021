"""Variational sweeps: local eigenproblems at a centre that walks over the tree."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from contraction.arrays import random_normal, to_numpy
from contraction.elementary import norm as norm_of
from contraction.linalg import adjoint, eigh, qr
from contraction.truncation import Truncation
from integrators.sweeping.centre import Centre
from integrators.sweeping.lowest import lowest
from integrators.sweeping.overlaps import Overlaps
from integrators.sweeping.program import Program
from integrators.sweeping.splitting import split
from integrators.sweeping.tour import Move, euler_tour


class Swept(NamedTuple):
    """What one sweep did.

    Attributes
    ----------
    discarded
        Largest relative error of a truncation.
    applications
        Products with effective operators.
    """

    discarded: float
    applications: int


class Sweeper:
    """Sweeps over one state; the centre holds it.

    Parameters
    ----------
    centre
        At the root of its tree.
    others
        States that the result must be orthogonal to.
    steps
        Lanczos vectors per local problem.
    """

    def __init__(self, centre: Centre, others: Sequence[Overlaps], steps: int) -> None:
        self.centre, self.others, self.steps = centre, others, steps
        self.tol, self.width = 1e-12, 0.0  # of residuals, relative to the width of spectra
        self._worst, self._used = 0.0, 0

    def pairs(self, truncation: Truncation, skipped: Collection[str] = ()) -> Swept:
        """Optimise the two nodes of every edge together, away from the root and back."""
        centre, xp = self.centre, self.centre.sight.xp
        self._worst, self._used = 0.0, 0
        for move in euler_tour(centre.tree, skipped):
            node, leg = move.source, move.bond
            theta = centre.matrix(node, leg) @ centre.matrix(move.target, leg).T
            known = [o.pair(centre, node, leg) for o in self.others]
            parts = split(self._best(centre.pair(node, leg), theta, known), truncation, xp)
            self._worst = max(self._worst, parts.discarded)
            centre.put(node, leg, parts.basis)
            centre.put(move.target, leg, _unit(parts.rest).T)
            self._arrive(move)
        return Swept(self._worst, self._used)

    def singles(
        self,
        truncation: Truncation,
        share: float,
        rng: np.random.Generator,
        skipped: Collection[str] = (),
    ) -> Swept:
        """Optimise node by node; bases grow by what the operator makes of them.

        Parameters
        ----------
        truncation
            For every bond, after the node that was given new directions was optimised.
        share
            New directions per bond, as a share of the rank that it may have.
        rng
            For the sketch that finds them.
        """
        centre = self.centre
        self._worst, self._used = 0.0, 0
        moves = euler_tour(centre.tree, skipped)
        came: Move | None = None
        for k, move in enumerate(moves):
            node, leg = move.source, move.bond
            if move.first:
                self._single(node, leg)
                if came is not None:
                    self._narrow(came, truncation)
            grows = k + 1 < len(moves) and moves[k + 1].first and share > 0.0
            count = self._count(move, truncation, share) if grows else 0
            came = self._carry(move, count, rng)
        return Swept(self._worst, self._used)

    def root(self) -> Swept:
        """Optimise the root alone: a tree whose other nodes span all there is."""
        self._worst, self._used = 0.0, 0
        for _ in range(4):
            self._single(self.centre.tree.root, "")
        return Swept(self._worst, self._used)

    def energy(self) -> float:
        """Return the expectation value of the operator, with the centre at a node of norm one."""
        centre = self.centre
        legs = centre.sight.axes[centre.at]
        leg = next((x for x in legs if centre.sight.is_bond(x)), "")
        z = (centre.matrix(centre.at, leg) if leg else centre.arrays[centre.at]).reshape(-1)
        acted = centre.single(centre.at, leg)(z)[0]
        if acted is None:
            return 0.0
        return float(to_numpy(centre.sight.xp.vecdot(z, acted)).real) / norm_of(z) ** 2

    # ---- parts -----------------------------------------------------------------------------

    def _best(self, program: Program, start: Any, known: Sequence[Any]) -> Any:
        """Return the lowest Ritz vector, in the shape of `start`."""
        apply: Callable[[Any], Any] = lambda x: _whole(program(x)[0], x)  # noqa: E731
        x = start.reshape(-1)
        if known:
            apply, x = _projected(apply, x, known, self.centre.sight.xp)
        found = lowest(apply, x, steps=self.steps, tol=self.tol * self.width)
        self._used += found.applications
        self.width = max(self.width, found.width)
        return found.vector.reshape(start.shape)

    def _single(self, node: str, leg: str) -> None:
        centre = self.centre
        known = [o.single(centre, node, leg) for o in self.others]
        program = centre.single(node, leg)
        if leg:
            centre.put(node, leg, self._best(program, centre.matrix(node, leg), known))
        else:
            centre.arrays[node] = self._best(program, centre.arrays[node], known)

    def _arrive(self, move: Move) -> None:
        self.centre.arrive(move.source, move.bond)
        for other in self.others:
            other.arrive(self.centre, move.source, move.bond)

    def _count(self, move: Move, truncation: Truncation, share: float) -> int:
        """Return how many new directions a bond may try: no more than its sides have room for."""
        centre = self.centre
        a, r = centre.matrix(move.source, move.bond).shape
        b = centre.matrix(move.target, move.bond).shape[0]
        most = truncation.max_rank or max(2 * r, 8)
        return max(min(math.ceil(share * most), int(a - r), int(b - r)), 0)

    def _carry(self, move: Move, count: int, rng: np.random.Generator) -> Move | None:
        """Move the centre; return the move if the bond was given new directions."""
        centre, leg, xp = self.centre, move.bond, self.centre.sight.xp
        new = self._directions(move, count, rng) if count else None
        Q, R = qr(centre.matrix(move.source, leg))
        right = centre.matrix(move.target, leg) @ R.T  # type: ignore[attr-defined]
        if new is not None:
            new = _beyond(Q, new, xp)
            Q = xp.concat([Q, new], axis=1)
            zeros = xp.zeros_like(right[:, :1]) @ xp.zeros_like(new[:1, :])
            right = xp.concat([right, zeros], axis=1)
        centre.put(move.source, leg, Q)
        centre.put(move.target, leg, right)
        self._arrive(move)
        return move if new is not None else None

    def _directions(self, move: Move, count: int, rng: np.random.Generator) -> Any:
        """Return a sketch (a, count) of what the operator makes of the two nodes of a bond."""
        centre, leg = self.centre, move.bond
        sight = centre.sight
        _, left = centre.acted(move.source, leg)
        x, right = centre.acted(move.target, leg)
        sketch: Any = random_normal(rng, (x.shape[0], count), like=x)
        place = sight.place(move.target, leg)
        total: Any = None
        for channel, y in zip(sight.channels(move.source, leg), left, strict=True):
            z = x if place[channel] < 0 else right[place[channel]]
            if y is not None and z is not None:
                found = y @ (z.T @ sketch)
                total = found if total is None else total + found
        return total

    def _narrow(self, came: Move, truncation: Truncation) -> None:
        """Truncate the bond that the centre came over, now that its new directions are used."""
        centre, xp = self.centre, self.centre.sight.xp
        M = centre.matrix(came.target, came.bond)
        w, V = eigh(adjoint(M, xp) @ M)
        squares = np.maximum(np.asarray(to_numpy(w), dtype=np.float64), 0.0)
        rank = truncation.rank(np.sqrt(squares))  # type: ignore[arg-type]
        total = float(squares.sum())
        self._worst = max(self._worst, math.sqrt(float(squares[rank:].sum()) / total))
        centre.narrow(came.source, came.bond, xp.conj(V[:, :rank]))
        for other in self.others:
            other.narrow(came.source, came.bond, xp.conj(V[:, :rank]))


def _beyond(Q: Any, new: Any, xp: Any) -> Any:
    """Return orthonormal directions of `new` outside the columns of `Q`, twice made orthogonal."""
    for _ in range(2):
        new = new - Q @ (adjoint(Q, xp) @ new)
        new = qr(new)[0]
    return new


def _projected(apply: Any, start: Any, known: Sequence[Any], xp: Any) -> tuple[Any, Any]:
    """Restrict a local problem to the complement of some vectors."""
    basis = qr(xp.stack(list(known), axis=1))[0]
    bra = adjoint(basis, xp)

    def outside(x: Any) -> Any:
        return x - basis @ (bra @ x)

    x = outside(start)
    if norm_of(x) <= 1e-8 * norm_of(start):  # nothing is left of it: begin somewhere else
        x = outside(start + xp.flip(start, axis=0) + xp.ones_like(start))
    return (lambda y: outside(apply(outside(y)))), x


def _whole(found: Any, like: Any) -> Any:
    return like * 0.0 if found is None else found


def _unit(x: Any) -> Any:
    return x * (1.0 / norm_of(x))
