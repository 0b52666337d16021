"""Centre: a tree state in the midst of a sweep, with the environments its centre needs.

All environments point towards the centre. Moving it along one edge makes one of them anew and
uses up the opposite one: nothing is ever computed twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from contraction.arrays import Array
from integrators.sweeping.program import Program, Slot, slot_of
from integrators.sweeping.sides import Kind, Side
from integrators.sweeping.sight import Sight
from tnet._axes import contiguous
from tnet.trees import RootedTree


class Centre:
    """Arrays that are isometries towards one node, and what the operator does behind each leg.

    The arrays given are never written to; the object itself is the working memory of one sweep.

    Parameters
    ----------
    sight
        The operator on this graph.
    arrays
        Node -> array with axes in the order of `sight.axes`.
    tree
        The tree, rooted at the centre.
    """

    def __init__(self, sight: Sight, arrays: Mapping[str, Array], tree: RootedTree) -> None:
        self.sight, self.arrays, self.tree = sight, dict(arrays), tree
        self.at = tree.root
        self._behind: dict[tuple[str, str], Any] = {}
        self._wholes: dict[tuple[str, str], Any] = {}
        for node in tree.post_order[:-1]:
            self._look(node, tree.bond[node])

    # ---- environments --------------------------------------------------------------------

    def behind(self, node: str, leg: str) -> Any:
        """Return the matrices of everything from `node` on, seen from `leg`: (n, r, r)."""
        return self._behind[node, leg]

    def acted(self, node: str, leg: str) -> tuple[Any, list[Any]]:
        """Return the matrix (others, leg) of a node, and what each channel of `leg` makes of it.

        The channels are those of `sight.side(node, leg)`; None where one has no term.
        """
        xp, sight = self.sight.xp, self.sight
        side = sight.side(node, leg)
        x: Any = self.arrays[node]
        axis = sight.axes[node].index(leg)
        front = axis == 0 and len(side.legs) > 0
        if not front and axis != x.ndim - 1:
            x = xp.moveaxis(x, axis, -1)
        dims = tuple(int(n) for n in x.shape)
        slots = self._slots(node, leg, side, dims, 1 if front else 0)
        found = Program(side.branch, slots, len(side.channels), xp)(x)
        if front:
            r = dims[0]
            return x.reshape(r, -1).T, [None if y is None else y.reshape(r, -1).T for y in found]
        r = dims[-1]
        return x.reshape(-1, r), [None if y is None else y.reshape(-1, r) for y in found]

    def _look(self, node: str, leg: str) -> None:
        """Make the environment of an isometric node."""
        xp = self.sight.xp
        x, found = self.acted(node, leg)
        bra = _conj(x, xp).T
        rows = [xp.zeros_like(bra @ x) if y is None else bra @ y for y in found]
        self._behind[node, leg] = xp.stack(rows) if rows else x.reshape(-1)[:0].reshape(0, 1, 1)
        self._forget(self.sight.other(node, leg), leg)

    def narrow(self, node: str, leg: str, basis: Any) -> None:
        """Replace the bond's basis on the side of `node` by some orthonormal combinations of it.

        Parameters
        ----------
        basis
            (r, q) with orthonormal columns; the array of the other node is projected on them.
        """
        xp, other = self.sight.xp, self.sight.other(node, leg)
        bra = _conj(basis, xp)
        self.put(node, leg, self.matrix(node, leg) @ basis)
        self.put(other, leg, self.matrix(other, leg) @ bra)
        stack = self._behind[node, leg]
        if stack.shape[0]:
            self._behind[node, leg] = xp.matmul(xp.matmul(bra.T, stack), basis)
        self._forget(other, leg)

    def _forget(self, node: str, leg: str) -> None:
        """Drop what was merged with the environment that came into `node` through `leg`."""
        for other in self.sight.axes[node]:
            if other != leg:
                self._wholes.pop((node, other), None)

    def _elements(self, node: str, leg: str, side: Side, k: int) -> Any:
        seat = side.seats[k]
        if seat.kind is Kind.BOND:
            return self._behind[self.sight.other(node, seat.leg), seat.leg]
        if seat.kind is Kind.MODES:
            return side.modes[k]
        return self._whole(node, leg, side)

    def _whole(self, node: str, leg: str, side: Side) -> Any:
        """Return the environment behind a bond merged with the node's modes, by channel."""
        if side.whole is None:
            return None
        if (node, leg) not in self._wholes:
            self._wholes[node, leg] = self._merge(node, side)
        return self._wholes[node, leg]

    def _merge(self, node: str, side: Side) -> Any:
        xp, table = self.sight.xp, side.whole
        seat = side.seats[1]
        E = self._behind[self.sight.other(node, seat.leg), seat.leg]
        n, count, d, _ = table.shape
        r = self.arrays[node].shape[self.sight.axes[node].index(seat.leg)]
        flat = xp.permute_dims(table[:, : count - 1], (0, 2, 3, 1)).reshape(-1, count - 1)
        if count > 1:
            found = (flat @ E.reshape(count - 1, -1)).reshape(n, d, d, r, r)
        else:
            found = xp.zeros((n, d, d, r, r), dtype=table.dtype, device=table.device)
        every = xp.arange(r)
        found[:, :, :, every, every] += table[:, -1][:, :, :, None]
        order = (0, 3, 1, 4, 2) if seat.start == 0 else (0, 1, 3, 2, 4)
        return xp.permute_dims(found, order).reshape(n, d * r, d * r)

    def _slots(
        self, node: str, leg: str, side: Side, dims: tuple[int, ...], shift: int
    ) -> list[Slot]:
        return [
            slot_of(dims, seat.start + shift, seat.stop + shift, self._elements(node, leg, side, k))
            for k, seat in enumerate(side.seats)
        ]

    # ---- local problems ------------------------------------------------------------------

    def pair(self, node: str, leg: str) -> Program:
        """Return H_eff for the two nodes of a bond: others of `node`, then others of the next."""
        sight, other = self.sight, self.sight.other(node, leg)
        left, right = sight.side(node, leg), sight.side(other, leg)
        joint = sight.joint((node, leg, "pair"), left, right)
        dims = self._sizes(node, leg) + self._sizes(other, leg)
        slots = self._slots(node, leg, left, dims, 0)
        slots += self._slots(other, leg, right, dims, len(left.legs))
        if joint.gate is not None:
            slots.append(slot_of(dims, *joint.span, joint.gate))
        return Program(joint.branch, slots, 1, sight.xp)

    def single(self, node: str, leg: str) -> Program:
        """Return H_eff for one node, its axes as (others of `leg`, `leg`)."""
        sight = self.sight
        if not leg:
            side = sight.side(node, "")
            dims = tuple(int(n) for n in self.arrays[node].shape)
            return Program(side.branch, self._slots(node, leg, side, dims, 0), 1, sight.xp)
        other = sight.other(node, leg)
        left, right = sight.side(node, leg), sight.facing(other, leg)
        joint = sight.joint((node, leg, "single"), left, right)
        stack = self._behind[other, leg]
        axis = sight.axes[node].index(leg)
        dims = (*self._sizes(node, leg), int(self.arrays[node].shape[axis]))
        slots = self._slots(node, leg, left, dims, 0)
        slots.append(slot_of(dims, len(dims) - 1, len(dims), stack))
        return Program(joint.branch, slots, 1, sight.xp)

    def link(self, node: str, leg: str) -> Program:
        """Return H_eff for the matrix on a bond: (side of `node`, the other side)."""
        sight, other = self.sight, self.sight.other(node, leg)
        left, right = sight.facing(node, leg), sight.facing(other, leg)
        joint = sight.joint((node, leg, "link"), left, right)
        a, b = self._behind[node, leg], self._behind[other, leg]
        dims = (self._rank(node, leg), self._rank(other, leg))
        slots = [slot_of(dims, 0, 1, a), slot_of(dims, 1, 2, b)]
        return Program(joint.branch, slots, 1, sight.xp)

    def _rank(self, node: str, leg: str) -> int:
        return int(self.arrays[node].shape[self.sight.axes[node].index(leg)])

    def _sizes(self, node: str, leg: str) -> tuple[int, ...]:
        shape, axes = self.arrays[node].shape, self.sight.axes[node]
        return tuple(int(n) for n, x in zip(shape, axes, strict=True) if x != leg)

    # ---- matrices and moves --------------------------------------------------------------

    def matrix(self, node: str, leg: str) -> Any:
        """Return the array of a node as (others, leg)."""
        x: Any = self.arrays[node]
        axis = self.sight.axes[node].index(leg)
        if axis != x.ndim - 1:
            x = self.sight.xp.moveaxis(x, axis, -1)
        return x.reshape(-1, x.shape[-1])

    def put(self, node: str, leg: str, matrix: Any) -> None:
        """Set the array of a node from (others, leg)."""
        xp, axis = self.sight.xp, self.sight.axes[node].index(leg)
        shape = (*self._sizes(node, leg), int(matrix.shape[1]))
        if axis == len(shape) - 1:
            self.arrays[node] = matrix.reshape(shape)
        else:
            self.arrays[node] = contiguous(xp.moveaxis(matrix.reshape(shape), -1, axis))

    def arrive(self, source: str, leg: str) -> None:
        """Move the centre over `leg`, whose `source` was made an isometry."""
        self._look(source, leg)
        self.at = self.sight.other(source, leg)

    def size(self, node: str) -> int:
        """Return the number of entries of a node."""
        return math.prod(self.arrays[node].shape)


def _conj(x: Any, xp: Any) -> Any:
    return xp.conj(x) if xp.isdtype(x.dtype, "complex floating") else x
