"""TEBD: Trotter gates on pairs of modes of any tree, the cheap baseline for short ranges."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field, replace
from typing import Any, final

from contraction.arrays import Array, device, dtype_name, namespace, namespace_name, to
from contraction.errors import DTypeError, InputError
from contraction.linalg import qr
from contraction.truncation import Truncation
from integrators.field import AbstractField
from integrators.linear_field import LinearField
from integrators.steppers.base import AbstractStepper, Estimates, Statistics, Step, prepared
from integrators.steppers.tebd_gates import Gate, gates, substeps
from integrators.sweeping.splitting import split
from integrators.tree_state import TreeState
from tnet._axes import apply_matrix, contiguous


@final
@dataclass(frozen=True, kw_only=True)
class TEBD(AbstractStepper):
    """Products of exponentials of the one- and two-site terms of an operator.

    Every gate is applied along the path between its two modes and cut at once. Modes on
    neighbouring nodes cost one cut; on a balanced tree neighbours of a chain may be up to twice
    its depth apart. For terms of long range, or on more than two modes, use TDVP.

    Parameters
    ----------
    order
        1, 2 or 4.
    truncation
        `tol` is a relative Frobenius error per unit of time, shared evenly over the cuts of a
        step; `max_rank` caps every bond.
    local, workers
        Not used: gates are exact exponentials, and one follows the other.

    Notes
    -----
    Order 2 is the product of all gates for half a step and the same product backwards; order 4
    is Suzuki's combination of five such steps, for coefficients of time too. Errors h^order times
    nested commutators of the terms. Vidal, PRL 93 (2004) 040502; Suzuki, Phys. Lett. A 146
    (1990) 319.

    Examples
    --------
    >>> import numpy as np, tnet
    >>> from integrators.binding import bind
    >>> tree = tnet.tensor_train({"a": 2, "b": 2, "c": 2}, 2)
    >>> net = tnet.random_network(tree, rng=np.random.default_rng(0), dtype="complex128")
    >>> state = TreeState.from_network(net)
    >>> hamiltonian = tnet.operator(tree, [(1.0, {"a": "x", "b": "x"}), (0.5, {"c": "z"})])
    >>> driven = bind(-1j * hamiltonian, state.frame, state.cores[0])
    >>> after = TEBD(order=2).step(driven, 0.0, 0.1, state).state
    >>> bool(abs(after.norm / state.norm - 1.0) < 1e-6)
    True
    """

    order: int = 2
    truncation: Truncation = field(default_factory=lambda: Truncation(tol=1e-6))

    def __post_init__(self) -> None:
        if self.order not in (1, 2, 4):
            raise InputError(f"TEBD has `order` 1, 2 or 4, got {self.order!r}.")

    def step(self, field: AbstractField, t: float, h: float, state: TreeState) -> Step:
        """Return the state at `t` + `h`; `h` may be negative.

        Raises
        ------
        InputError
            The field is not linear, has terms on more than two modes, or too many terms.
        DTypeError
            The gates are complex and the state is real.
        NonFiniteError
            The norm of the state is no finite number.
        """
        return prepared(self._step, 1, field, t, h, state)

    def _rounds(self, field: AbstractField, t: float, h: float) -> list[tuple[Gate, ...]]:
        """Return products of gates; coefficients are taken at the middle of every part."""
        rounds: list[tuple[Gate, ...]] = []
        done = 0.0
        for part in substeps(self.order):
            frozen = field.at(t + (done + part / 2) * h)
            if not isinstance(frozen, LinearField):
                raise InputError(
                    f"TEBD needs an operator, got {type(frozen).__name__}; use AugmentedBUG."
                )
            if self.order == 1:
                rounds.append(gates(frozen, h))
            else:
                half = gates(frozen, part * h / 2)
                rounds += [half, half[::-1]]
            done += part
        return rounds

    def _step(self, field: AbstractField, t: float, h: float, state: TreeState) -> Step:
        rounds = self._rounds(field, t, h)
        work = _Work(state)
        cuts = sum(work.distance(gate) for gates_ in rounds for gate in gates_)
        tol = min(self.truncation.tol * abs(h) / math.sqrt(max(cuts, 1)), 0.5)
        rule = replace(self.truncation, tol=tol)
        for gates_ in rounds:
            for gate in gates_:
                work.apply(gate, rule)
        work.go(0)
        return Step(
            TreeState(state.frame, tuple(contiguous(core) for core in work.cores)),
            Estimates(error=math.sqrt(work.lost) * state.norm),
            Statistics(sum(map(len, rounds)), 0),
        )


class _Work:
    """A state whose centre walks over the tree; axis 0 of a core is the bond to its parent."""

    def __init__(self, state: TreeState) -> None:
        self.frame, self.cores = state.frame, list(state.cores)
        self.at, self.lost = 0, 0.0
        self._xp = namespace(state.cores[0])
        self._depth = [0] * self.frame.count
        for node in range(1, self.frame.count):
            self._depth[node] = self._depth[self.frame.parent[node]] + 1

    def distance(self, gate: Gate) -> int:
        """Return how many bonds a gate crosses."""
        return len(self._path(gate.places[0][0], gate.places[-1][0])) - 1

    def go(self, node: int) -> None:
        """Move the centre; nothing is cut."""
        way = self._path(self.at, node)
        for source, target in itertools.pairwise(way):
            self._carry(source, target, None)

    def apply(self, gate: Gate, rule: Truncation) -> None:
        """Apply a gate at the nearer end of its path, go to the other end, and cut on the way back.

        The bonds of the path grow by the number of products in the gate.
        """
        if len(gate.places) == 1:
            (node, slot), part = gate.places[0], gate.parts[0]
            self.cores[node] = self._on_mode(self.cores[node], slot, part[0])
            return
        (a, i), (b, j) = gate.places
        if a == b:
            x = self.cores[a]
            total: Any = None
            for left, right in gate.parts:
                y: Any = self._on_mode(self._on_mode(x, i, left), j, right)
                total = y if total is None else total + y
            self.cores[a] = total
            return
        if len(self._path(self.at, b)) < len(self._path(self.at, a)):
            a, i, b, j = b, j, a, i
            gate = gate._replace(parts=tuple((right, left) for left, right in gate.parts))
        self.go(a)
        way = self._path(a, b)
        count = len(gate.parts)
        self._widen_end(a, way[1], i, [part[0] for part in gate.parts])
        self._widen_end(b, way[-2], j, [part[1] for part in gate.parts])
        for before, node, after in zip(way, way[1:], way[2:], strict=False):
            self._widen_between(node, before, after, count)
        for source, target in itertools.pairwise(way):
            self._carry(source, target, None)
        for source, target in itertools.pairwise(way[::-1]):
            self._carry(source, target, rule)

    # ---- parts ------------------------------------------------------------------------------

    def _path(self, a: int, b: int) -> list[int]:
        up, down = [a], [b]
        while up[-1] != down[-1]:
            if self._depth[up[-1]] >= self._depth[down[-1]]:
                up.append(self.frame.parent[up[-1]])
            else:
                down.append(self.frame.parent[down[-1]])
        return up + down[-2::-1]

    def _axis(self, node: int, other: int) -> int:
        """Return the axis of `node` that points to its neighbour."""
        return 0 if self.frame.parent[node] == other else self.frame.place[other] + 1

    def _on_mode(self, x: Array, slot: int, matrix: Any) -> Array:
        return apply_matrix(x, self._beside(matrix, x), slot + 1, self._xp)

    def _beside(self, matrix: Any, like: Array) -> Array:
        kind = dtype_name(like)
        if not kind.startswith("complex"):
            if abs(matrix.imag).max() > 0.0:
                raise DTypeError(
                    f'the gates are complex and the state is {kind}; use state.to(dtype="complex'
                    '128").'
                )
            matrix = matrix.real
        return to(matrix, namespace=namespace_name(like), device=device(like), dtype=kind)

    def _widen_end(self, node: int, other: int, slot: int, matrices: list[Any]) -> None:
        """Let the bond to `other` carry which product of the gate acts on the mode."""
        axis, x = self._axis(node, other), self.cores[node]
        rows = [self._on_mode(x, slot, matrix) for matrix in matrices]
        self.cores[node] = self._xp.concat(rows, axis=axis)

    def _widen_between(self, node: int, before: int, after: int, count: int) -> None:
        """Let a node on the way hand the product on: a block diagonal of copies."""
        a, b = self._axis(node, before), self._axis(node, after)
        x: Any = self.cores[node]
        zero = self._xp.zeros_like(x)
        rows = [
            self._xp.concat([x if k == n else zero for n in range(count)], axis=b)
            for k in range(count)
        ]
        self.cores[node] = self._xp.concat(rows, axis=a)

    def _carry(self, source: int, target: int, rule: Truncation | None) -> None:
        """Move the centre over one bond, cutting it if there is a rule."""
        xp, axis = self._xp, self._axis(source, target)
        moved: Any = xp.moveaxis(self.cores[source], axis, -1)
        matrix = moved.reshape(-1, moved.shape[-1])
        if rule is None:
            Q, R = qr(matrix)
        else:
            parts = split(matrix, rule, xp)
            self.lost += parts.discarded**2
            Q, R = parts.basis, parts.rest
        whole: Any = Q.reshape((*moved.shape[:-1], int(Q.shape[1])))
        self.cores[source] = xp.moveaxis(whole, -1, axis)
        other = self._axis(target, source)
        self.cores[target] = apply_matrix(self.cores[target], R, other, xp)
        self.at = target
