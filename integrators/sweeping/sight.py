"""Sights: what an operator on a tree looks like from one leg of one node.

Seen from a leg, the node with everything behind its other legs acts by one matrix per channel of
the leg. Which of these are exactly the identity is known without numbers; the others are sums of
products of the matrices behind the other legs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from contraction.arrays import Namespace, namespace_by_name, to
from integrators.sweeping.plans import Branch, Number, Term, plan_terms
from integrators.sweeping.sides import Factors, Joint, Kind, Seat, Side, Sums, join
from tnet.operators.local_matrices import is_sparse
from tnet.operators.tree_operator import TreeOperator
from tnet.structure import Structure
from tnet.trees import rooted

MERGED_MODES = 8  # a bond and modes of at most so many states together act by one matrix


class Sight:
    """An operator as seen from everywhere, with its small matrices beside the state's arrays.

    Parameters
    ----------
    operator
        The operator.
    axes
        Node -> its legs in the order of the axes of the state's arrays.
    library, device, dtype
        Of the state's arrays.
    """

    def __init__(
        self,
        operator: TreeOperator,
        axes: Mapping[str, tuple[str, ...]],
        library: str,
        device: str,
        dtype: str,
    ) -> None:
        self.operator, self.axes = operator, axes
        self.xp: Namespace = namespace_by_name(library)
        self._where = {"namespace": library, "device": device, "dtype": dtype}
        self.dtype = dtype
        structure = operator.structure
        self._holders = {leg: structure.holders[leg] for leg in structure.bonds}
        self._plain = {leg: _identity_flags(held) for leg, held in operator.locals.items()}
        self._channels = dict(operator.ranks)
        self._same = self._identities(structure)
        self._sides: dict[tuple[str, str], Side] = {}
        self._joints: dict[tuple[str, str, str], Joint] = {}

    def other(self, node: str, leg: str) -> str:
        """Return the node at the other end of a bond."""
        a, b = self._holders[leg]
        return b if a == node else a

    def is_bond(self, leg: str) -> bool:
        """Tell whether a leg is a bond."""
        return leg in self._holders

    def channels(self, node: str, leg: str) -> tuple[int, ...]:
        """Return the channels that are not the identity seen from `leg` towards `node`."""
        return tuple(np.flatnonzero(~self._same[node, leg]).tolist())

    def place(self, node: str, leg: str) -> list[int]:
        """Return channel -> place in the stack of the environment, -1 for the identity."""
        same = self._same[node, leg]
        found = np.where(same, -1, np.cumsum(~same) - 1)
        return [int(k) for k in found]

    # ---- identities ----------------------------------------------------------------------

    def _identities(self, structure: Structure) -> dict[tuple[str, str], Any]:
        tree = rooted(structure)
        found: dict[tuple[str, str], Any] = {}
        for node in tree.post_order[:-1]:
            found[node, tree.bond[node]] = self._same_from(node, tree.bond[node], found)
        for node in tree.pre_order:
            for child in tree.children[node]:
                leg = tree.bond[child]
                found[node, leg] = self._same_from(node, leg, found)
        return found

    def _same_from(self, node: str, leg: str, known: Mapping[tuple[str, str], Any]) -> Any:
        """Tell for each channel whether it is one entry of weight one with identities only."""
        core = self.operator.cores[node]
        legs = self.operator.structure.legs[node]
        column = legs.index(leg)
        held = np.asarray(core.weights) == 1.0
        for k, other in enumerate(legs):
            if other == leg:
                continue
            same = (
                known[self.other(node, other), other]
                if other in self._holders
                else self._plain[other]
            )
            held = held & same[core.channels[:, k]]
        count = self._channels[leg]
        entries = np.bincount(core.channels[:, column], minlength=count)
        good = np.bincount(core.channels[held, column], minlength=count)
        return (entries == 1) & (good == 1)

    # ---- sides ---------------------------------------------------------------------------

    def side(self, node: str, leg: str) -> Side:
        """Return the side of `node` without `leg` ("" for the whole node)."""
        key = (node, leg)
        if key not in self._sides:
            self._sides[key] = self._side(node, leg)
        return self._sides[key]

    def _side(self, node: str, leg: str) -> Side:
        legs = tuple(x for x in self.axes[node] if x != leg)
        rows = self._rows(node, leg, legs)
        bonds = [k for k, x in enumerate(legs) if x in self._holders]
        if self._merges(legs, bonds):
            made = self._merged(node, legs, bonds, rows)
        else:
            made = self._separate(legs, rows)
        seats, sums, modes, whole = made
        if leg:
            channels = self.channels(node, leg)
        else:
            channels = (0,)
        terms = [
            Term(k, weight, factors)
            for k, channel in enumerate(channels)
            for weight, factors in sums.get(channel, ())
        ]
        return Side(legs, seats, sums, channels, plan_terms(terms), modes, whole)

    def _rows(
        self, node: str, leg: str, legs: Sequence[str]
    ) -> dict[int, list[tuple[Number, tuple[int, ...]]]]:
        """Return channel -> entries (weight, place or -1 for the identity by leg of `legs`)."""
        core = self.operator.cores[node]
        order = self.operator.structure.legs[node]
        columns = []
        for x in legs:
            values = core.channels[:, order.index(x)]
            if x in self._holders:
                table = np.array(self.place(self.other(node, x), x))
            else:
                table = np.where(self._plain[x], -1, np.arange(len(self._plain[x])))
            columns.append(table[values])
        of = core.channels[:, order.index(leg)] if leg else np.zeros(len(core.weights), int)
        rows: dict[int, list[tuple[Number, tuple[int, ...]]]] = {}
        for e, channel in enumerate(of.tolist()):
            weight = core.weights[e].item()
            if weight:
                places = tuple(int(column[e]) for column in columns)
                rows.setdefault(channel, []).append((weight, places))
        return rows

    def _merges(self, legs: Sequence[str], bonds: Sequence[int]) -> bool:
        """Tell whether all legs act together: at most one bond, first or last, and few states."""
        if len(bonds) > 1 or len(bonds) == len(legs):
            return False
        modes = [x for k, x in enumerate(legs) if k not in bonds]
        held = [self.operator.locals[x] for x in modes]
        if any(is_sparse(matrix) for row in held for matrix in row):
            return False
        if math.prod(row[0].shape[0] for row in held) > (MERGED_MODES if bonds else 64):
            return len(legs) == 1
        return not bonds or bonds[0] in (0, len(legs) - 1)

    def _merged(
        self,
        node: str,
        legs: Sequence[str],
        bonds: Sequence[int],
        rows: Mapping[int, Sequence[tuple[Number, tuple[int, ...]]]],
    ) -> tuple[tuple[Seat, ...], Sums, dict[int, Any], Any]:
        at = bonds[0] if bonds else -1
        first = 1 if at == 0 else 0
        last = len(legs) - (1 if at > 0 else 0)
        seats = [Seat(Kind.MODES, first, last, "")]
        if bonds:
            seats += [Seat(Kind.BOND, at, at + 1, legs[at]), Seat(Kind.WHOLE, 0, len(legs), "")]
        numbers: dict[tuple[int, ...], int] = {}
        sums: dict[int, tuple[tuple[Number, Factors], ...]] = {}
        tables: list[list[tuple[Number, int, int]]] = []
        for channel, entries in rows.items():
            found: list[tuple[Number, int, int]] = []
            for weight, places in entries:
                mode = tuple(p for k, p in enumerate(places) if k != at)
                local = numbers.setdefault(mode, len(numbers)) if any(p >= 0 for p in mode) else -1
                found.append((weight, places[at] if bonds else -1, local))
            if any(k >= 0 and j >= 0 for _, k, j in found):
                sums[channel] = ((1.0, ((2, len(tables)),)),)
                tables.append(found)
            else:
                sums[channel] = tuple((w, self._pure(k, j)) for w, k, j in found)
        held = [self.operator.locals[x] for k, x in enumerate(legs) if k != at]
        products = self._products(held, list(numbers))
        whole = self._table(node, legs[at], tables, products) if tables else None
        return tuple(seats), sums, {0: self._here(products)}, whole

    @staticmethod
    def _pure(bond: int, mode: int) -> Factors:
        if mode >= 0:
            return ((0, mode),)
        return ((1, bond),) if bond >= 0 else ()

    def _products(
        self, held: Sequence[Sequence[Any]], wanted: Sequence[tuple[int, ...]]
    ) -> np.ndarray[Any, Any]:
        """Return the Kronecker products of local matrices, (n, d, d)."""
        size = math.prod(row[0].shape[0] for row in held)
        out = np.zeros((len(wanted), size, size), dtype=self.operator.dtype)
        for n, chosen in enumerate(wanted):
            product = np.ones((1, 1))
            for row, k in zip(held, chosen, strict=True):
                product = np.kron(product, row[k] if k >= 0 else np.eye(row[0].shape[0]))
            out[n] = product
        return out

    def _table(
        self,
        node: str,
        leg: str,
        tables: Sequence[Sequence[tuple[Number, int, int]]],
        local: np.ndarray[Any, Any],
    ) -> Any:
        behind = len(self.channels(self.other(node, leg), leg))
        d = local.shape[-1]
        out = np.zeros((len(tables), behind + 1, d, d), dtype=self.operator.dtype)
        for n, entries in enumerate(tables):
            for weight, bond, mode in entries:
                out[n, bond] += weight * (local[mode] if mode >= 0 else np.eye(d))
        return self._here(out)

    def _separate(
        self,
        legs: Sequence[str],
        rows: Mapping[int, Sequence[tuple[Number, tuple[int, ...]]]],
    ) -> tuple[tuple[Seat, ...], Sums, dict[int, Any], Any]:
        seats, modes = [], {}
        for k, leg in enumerate(legs):
            bond = leg in self._holders
            seats.append(Seat(Kind.BOND if bond else Kind.MODES, k, k + 1, leg if bond else ""))
            if not bond:
                modes[k] = self._stack(self.operator.locals[leg])
        sums = {
            channel: tuple(
                (weight, tuple((k, p) for k, p in enumerate(places) if p >= 0))
                for weight, places in entries
            )
            for channel, entries in rows.items()
        }
        return tuple(seats), sums, modes, None

    def _stack(self, held: Sequence[Any]) -> Any:
        if any(is_sparse(matrix) for matrix in held):
            from scipy import sparse

            return tuple(sparse.csr_array(matrix).astype(self.dtype) for matrix in held)
        return self._here(np.stack([np.asarray(matrix) for matrix in held]))

    def _here(self, x: np.ndarray[Any, Any]) -> Any:
        return to(x, **self._where)

    # ---- two sides -----------------------------------------------------------------------

    def facing(self, node: str, leg: str) -> Side:
        """Return everything behind `leg` towards `node` as a side of one slot."""
        key = (node, f"\n{leg}")
        if key not in self._sides:
            sums = {
                channel: ((1.0, ((0, place),) if place >= 0 else ()),)
                for channel, place in enumerate(self.place(node, leg))
            }
            seat = Seat(Kind.BOND, 0, 1, leg)
            self._sides[key] = Side((leg,), (seat,), sums, (), Branch((), (), ()), {}, None)
        return self._sides[key]

    def joint(self, key: tuple[str, str, str], left: Side, right: Side) -> Joint:
        """Return the plan for two sides that meet; `key` names the pair."""
        if key not in self._joints:
            self._joints[key] = join(left, right)
        return self._joints[key]


def _identity_flags(held: Sequence[Any]) -> Any:
    return np.array([_is_identity(matrix) for matrix in held])


def _is_identity(matrix: Any) -> bool:
    n = matrix.shape[0]
    if is_sparse(matrix):
        from scipy import sparse

        return bool(abs(matrix - sparse.identity(n)).max() == 0.0)
    return bool(np.array_equal(matrix, np.eye(n)))


@lru_cache(maxsize=16)
def sight_of(
    operator: TreeOperator,
    axes: tuple[tuple[str, tuple[str, ...]], ...],
    library: str,
    device: str,
    dtype: str,
) -> Sight:
    """Return the sight of an operator; cached by the identity of the operator."""
    return Sight(operator, dict(axes), library, device, dtype)
