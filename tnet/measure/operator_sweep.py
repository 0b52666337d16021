"""Expectation values of sparse tree operators: one sweep from the leaves to the root.

In a state whose nodes are isometric towards the root, what a channel of the operator is below a
bond is one matrix (bra, ket); an identity stays the identity and is never formed. The entries of
a core are taken by which of their legs are no identities. The weights are summed into the
matrices of the leg with the most channels, so that a node costs a few products with its array,
however many terms run through it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from contraction import arrays as arrays_
from tnet._axes import all_but_axis, apply_matrix
from tnet.measure.canonical import Centred, conjugate
from tnet.operators.local_matrices import Matrix, is_sparse
from tnet.operators.tree_operator import SparseCore

Ints = np.ndarray[Any, np.dtype[np.int64]]
IDENTITY, NOTHING = -1, -2


class Channels(NamedTuple):
    """The channels of one leg.

    Attributes
    ----------
    place
        Channel -> its row of `matrices`; `IDENTITY`, or `NOTHING` where no entry makes it.
    matrices
        (rows, n, n) beside the state, or a tuple of scipy.sparse matrices.
    """

    place: Ints
    matrices: Any


def sweep(
    state: Centred, cores: Mapping[str, SparseCore], locals_: Mapping[str, Sequence[Matrix | None]]
) -> dict[str, Channels]:
    """Return node -> the channels of the bond above it; at the root one channel, the value.

    Parameters
    ----------
    state
        Its legs are in the order of the columns of `cores`; complex if anything else is.
    cores
        Node -> entries, as in `TreeOperator`.
    locals_
        Mode -> its matrices; None for the identity.

    Notes
    -----
    About 4 n r^3 flops per channel and node of a tensor train, half of it for channels that only
    pass on; no Python loop over terms.
    """
    tree, structure = state.tree, state.net.structure
    found: dict[str, Channels] = {}
    for node in tree.post_order:
        legs = structure.legs[node]
        below = {tree.bond[child]: found[child] for child in tree.children[node]}
        above = legs.index(tree.bond[node]) if node != tree.root else -1
        entries = cores[node]
        slots: list[Channels] = []
        for k, leg in enumerate(legs):
            if k == above:
                continue
            used = entries.channels[:, k]
            slots.append(below[leg] if leg in below else _local(locals_[leg], used, state))
        found[node] = _node(state, node, entries, slots, above)
    return found


def _local(matrices: Sequence[Matrix | None], used: Ints, state: Centred) -> Channels:
    """Place the local matrices of one mode that some entry uses beside the state."""
    place = np.full(len(matrices), IDENTITY, dtype=np.int64)
    held = [k for k in np.unique(used).tolist() if matrices[k] is not None]
    place[held] = np.arange(len(held))
    given: list[Any] = [matrices[k] for k in held]
    if any(map(is_sparse, given)):
        return Channels(place, tuple(given))
    if not given:
        return Channels(place, ())
    return Channels(place, _placed(np.stack(given), state))


def _placed(x: Any, state: Centred) -> Any:
    net = state.net
    return arrays_.to(x, namespace=net.namespace, device=net.device, dtype=net.dtype)


def _node(
    state: Centred, node: str, entries: SparseCore, slots: list[Channels], above: int
) -> Channels:
    """Put one node on top of what is below it."""
    axes = [k for k in range(entries.channels.shape[1]) if k != above]
    codes = (
        np.stack(
            [slot.place[entries.channels[:, k]] for slot, k in zip(slots, axes, strict=True)]
            or [np.zeros(len(entries.weights), np.int64)],
            axis=1,
        )
        if axes
        else np.zeros((len(entries.weights), 0), np.int64)
    )
    alive = (codes != NOTHING).all(axis=1) & (entries.weights != 0)
    codes, weights = codes[alive], entries.weights[alive]
    out = entries.channels[alive, above] if above >= 0 else np.zeros(len(weights), np.int64)
    total = int(entries.channels[:, above].max(initial=-1)) + 1 if above >= 0 else 1
    place = np.full(total, NOTHING, dtype=np.int64)
    if above >= 0:
        plain = (codes == IDENTITY).all(axis=1) & (weights == 1)
        alone = np.bincount(out, minlength=total) == 1
        same = out[plain & alone[out]]
        place[same] = IDENTITY
        keep = place[out] != IDENTITY
        codes, weights, out = codes[keep], weights[keep], out[keep]
    made = np.unique(out)
    place[made] = np.arange(len(made))
    work = _Work(state, node, above, axes, slots, len(made))
    work.add(codes, weights, place[out])
    return Channels(place, work.finished())


class _Work:
    """Sums over the entries of one node."""

    def __init__(
        self,
        state: Centred,
        node: str,
        above: int,
        axes: list[int],
        slots: list[Channels],
        made: int,
    ) -> None:
        self.state, self.xp = state, state.xp
        self.core: Any = state.net[node]
        self.bra: Any = conjugate(self.core, state.xp)
        self.above, self.axes, self.slots, self.made = above, axes, slots, made
        self.kets: dict[int, Any] = {}  # output -> array of the node's shape
        self.sums: Any = None  # (outputs, bra, ket): what is summed already

    def add(self, codes: Ints, weights: Any, out: Ints) -> None:
        """Add all entries, those with the same legs that are no identities at once."""
        active = codes >= 0
        kinds = active @ (1 << np.arange(codes.shape[1]))
        for kind in np.unique(kinds).tolist():
            rows = kinds == kind
            legs = [k for k in range(codes.shape[1]) if kind >> k & 1]
            if not legs:
                self._constants(weights[rows], out[rows])
                continue
            distinct = [len(np.unique(codes[rows, k])) for k in legs]
            last = max(range(len(legs)), key=lambda k: (not self._sparse(legs[k]), distinct[k]))
            legs.append(legs.pop(last))
            self._products(legs, codes[rows][:, legs], weights[rows], out[rows])

    def finished(self) -> Any:
        """Return (outputs, bra, ket)."""
        for output, ket in self.kets.items():
            self._sum(np.array([output]), self._gram(ket)[None])
        if self.sums is None:
            size = self.core.shape[self.above] if self.above >= 0 else 1
            return self._zeros((self.made, size, size))
        return self.sums

    def _sparse(self, leg: int) -> bool:
        return isinstance(self.slots[leg].matrices, tuple)

    def _zeros(self, shape: tuple[int, ...]) -> Any:
        return self.xp.zeros(shape, dtype=self.core.dtype, device=self.core.device)

    def _gram(self, ket: Any) -> Any:
        if self.above < 0:
            return (self.bra.reshape(1, -1) @ ket.reshape(-1, 1)).reshape(1, 1)
        return all_but_axis(self.bra, ket, self.above, self.xp)

    def _sum(self, outputs: Ints, matrices: Any) -> None:
        """Add matrices to distinct outputs."""
        if self.sums is None:
            self.sums = self._zeros((self.made, *matrices.shape[1:]))
        self.sums[self.xp.asarray(outputs, device=self.core.device)] += matrices

    def _constants(self, weights: Any, out: Ints) -> None:
        """Add multiples of the identity."""
        outputs, which = np.unique(out, return_inverse=True)
        total = np.zeros(len(outputs), dtype=weights.dtype)
        np.add.at(total, which, weights)
        size = self.core.shape[self.above] if self.above >= 0 else 1
        eye = self.xp.eye(size, dtype=self.core.dtype, device=self.core.device)
        self._sum(outputs, _placed(total, self.state)[:, None, None] * eye)

    def _products(self, legs: list[int], codes: Ints, weights: Any, out: Ints) -> None:
        """Add entries that are no identities on `legs`; the last leg takes the weights."""
        prefixes, which = np.unique(codes[:, :-1], axis=0, return_inverse=True)
        which = which.reshape(-1)
        partial: list[Any] = [self.core]
        before: tuple[int, ...] = ()
        for number, prefix in enumerate(map(tuple, prefixes.tolist())):
            common = next(
                (k for k, (a, b) in enumerate(zip(prefix, before, strict=False)) if a != b),
                min(len(prefix), len(before)),
            )
            del partial[common + 1 :]
            for leg, code in zip(legs[common:-1], prefix[common:], strict=True):
                partial.append(self._apply(partial[-1], leg, code))
            before = prefix
            rows = which == number
            outputs, q = np.unique(out[rows], return_inverse=True)
            columns, c = np.unique(codes[rows, -1], return_inverse=True)
            table = np.zeros((len(outputs), len(columns)), dtype=weights.dtype)
            np.add.at(table, (q, c), weights[rows])
            self._last(partial[-1], legs[-1], outputs, columns, table, alone=len(legs) == 1)

    def _apply(self, x: Any, leg: int, code: int) -> Any:
        matrix = self.slots[leg].matrices[code]
        if is_sparse(matrix):
            matrix = matrix.tocsr()
            moved = arrays_.to_numpy(self.xp.moveaxis(x, self.axes[leg], 0))
            done = (matrix @ moved.reshape(moved.shape[0], -1)).reshape(moved.shape)
            return self.xp.moveaxis(_placed(done, self.state), 0, self.axes[leg])
        return apply_matrix(x, matrix, self.axes[leg], self.xp)

    def _last(
        self, x: Any, leg: int, outputs: Ints, columns: Ints, table: Any, *, alone: bool
    ) -> None:
        """Apply the matrices of the last leg to `x`, weighted by `table` (outputs, columns)."""
        if alone and len(columns) <= len(outputs):  # weights after the products
            each = [self._gram(self._apply(x, leg, code)) for code in columns.tolist()]
            stack = self.xp.stack(each)
            mixed = _placed(table, self.state) @ stack.reshape(len(each), -1)
            self._sum(outputs, mixed.reshape(len(outputs), *stack.shape[1:]))
            return
        if self._sparse(leg):
            done = [self._apply(x, leg, code) for code in columns.tolist()]
            for row, output in zip(table, outputs.tolist(), strict=True):
                for weight, ket in zip(row.tolist(), done, strict=True):
                    if weight:
                        self._ket(output, weight * ket)
            return
        chosen = self.slots[leg].matrices[self.xp.asarray(columns, device=self.core.device)]
        size = chosen.shape[1]
        mixed = _placed(table, self.state) @ chosen.reshape(len(columns), -1)
        for matrix, output in zip(mixed.reshape(-1, size, size), outputs.tolist(), strict=True):
            self._ket(output, apply_matrix(x, matrix, self.axes[leg], self.xp))

    def _ket(self, output: int, ket: Any) -> None:
        held = self.kets.get(output)
        self.kets[output] = ket if held is None else held + ket
