"""Slicing: the derivatives of a sum over slices, what is the same for several of them done once."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from contraction.arrays import namespace_by_name, namespace_name
from contraction.execute import Library
from contraction.reuse.nesting import Fixed, Nest, Stage
from contraction.reuse.passes import descend, rise

Turn = tuple[int, ...]  # where each loop stands


def sliced_passes(
    nest: Nest, values: Sequence[Any], cotangent: Any, leaves: Sequence[int], *, valued: bool
) -> tuple[Any, dict[int, Any]]:
    """Return the value (None unless `valued`) and the derivatives of all slices together.

    The derivative by an input goes to the slice of the input that it belongs to, and is added
    up over the sliced labels that the input does not have; the value likewise.
    """
    return _Run(nest, values, cotangent, valued).result(leaves)


class _Run:
    """A run through all slices."""

    def __init__(self, nest: Nest, values: Sequence[Any], cotangent: Any, valued: bool) -> None:
        self._nest, self._inputs, self._cotangent = nest, values, cotangent
        self._valued = valued
        self._name = nest.stages[-1].route.bound.name
        self._contiguous = Library(self._name).contiguous
        self._tables: dict[int, list[Any]] = {}  # of the parts that wait for the way down
        self._made: dict[int, Any] = {}  # their results
        self._sums: dict[int, Any] = {}  # of the derivatives by their results
        self._found: dict[int, Any] = {}  # derivatives by inputs
        self._total: Any = None

    def result(self, leaves: Sequence[int]) -> tuple[Any, dict[int, Any]]:
        """Return the value and the derivatives by `leaves`."""
        before: Turn | None = None
        self._up(0, ())
        for turn in itertools.product(*map(range, self._nest.loop_sizes)):
            moved = 0
            if before is not None:
                moved = next(
                    (k for k, (i, j) in enumerate(zip(turn, before, strict=True)) if i != j), 0
                )
                self._down(moved + 1, before)
            self._up(moved + 1, turn)
            before = turn
        if before is not None:
            self._down(1, before)
        self._down(0, ())
        found = {i: self._found.get(i) for i in leaves}
        for i, x in found.items():
            if x is None:
                found[i] = _zeros_beside(self._inputs[i], tuple(self._inputs[i].shape))
        if self._total is None and self._valued:
            self._total = _zeros_beside(self._inputs[0], self._shape())
        return self._total, found

    def _up(self, depth: int, turn: Turn) -> None:
        """Make the parts of a depth and all deeper ones."""
        for stage in self._nest.stages:
            if stage.depth >= depth and (depth or not stage.depth):
                self._stage_up(stage, turn)

    def _stage_up(self, stage: Stage, turn: Turn) -> None:
        bound = stage.route.bound
        # nothing but the table holds the slices, so that they are freed on the way
        table = bound.prepared(self._taken(stage, turn))
        rise(stage.route, table)
        root = bound.messages.root
        inner = root >= bound.messages.inputs
        if stage is not self._nest.stages[-1]:
            self._made[stage.value] = self._contiguous(bound.result(table[root]))
        elif self._valued:
            self._add_value(bound.result(table[root]), turn, owned=inner)
        if inner:
            table[root] = None
        if stage.asked:
            self._tables[stage.value] = table

    def _taken(self, stage: Stage, turn: Turn) -> list[Any]:
        return [
            self._piece(self._inputs[m.value], m.fixed, turn) if m.given else self._made[m.value]
            for m in stage.members
        ]

    def _down(self, depth: int, turn: Turn) -> None:
        """Take the parts of a depth and all deeper ones down; without depth those of depth 0."""
        for stage in reversed(self._nest.stages):
            if stage.depth < depth or (not depth and stage.depth):
                continue
            self._made.pop(stage.value, None)
            found = self._stage_down(stage, turn)
            for k, member in enumerate(stage.members if found else ()):
                if not member.asked:
                    continue
                if member.given:
                    sums, shape = self._found, self._inputs[member.value].shape
                else:
                    sums, shape = self._sums, ()
                i = member.value  # no name keeps a derivative longer than it is needed
                sums[i] = _added(sums.get(i), found.pop(k), member.fixed, turn, shape)

    def _stage_down(self, stage: Stage, turn: Turn) -> dict[int, Any]:
        """Return the derivatives by the members of a part; its table is gone then."""
        table = self._tables.pop(stage.value, None)
        weights = self._weights(stage, turn)
        if table is None or (weights is None and stage is not self._nest.stages[-1]):
            return {}
        return descend(stage.route, table, weights)

    def _add_value(self, made: Any, turn: Turn, *, owned: bool) -> None:
        nest = self._nest
        made = made.reshape(nest.piece)
        if not owned and self._total is None and not nest.placed:
            made = made.clone() if self._name == "torch" else made.copy()
        self._total = _added(self._total, made, nest.placed, turn, self._shape())

    def _shape(self) -> tuple[int, ...]:
        nest = self._nest
        sizes = iter(nest.piece)
        return tuple([next(sizes) if k is None else nest.loop_sizes[k] for k in nest.placed]) or (
            nest.piece
        )

    def _weights(self, stage: Stage, turn: Turn) -> Any:
        """Return the derivative by the result of a part."""
        last = self._nest.stages[-1]
        if stage is not last:
            made = self._sums.pop(stage.value, None)
            return None if made is None else self._contiguous(made)
        if self._cotangent is None:
            return None
        return self._piece(self._cotangent, self._nest.placed, turn)

    def _piece(self, x: Any, fixed: Fixed, turn: Turn) -> Any:
        return self._contiguous(x[_place(fixed, turn)] if fixed else x)


def _place(fixed: Fixed, turn: Turn) -> tuple[Any, ...]:
    # of a list, not of a generator: Python would keep thousands of tuples for later use
    return tuple([slice(None) if k is None else turn[k] for k in fixed])


def _added(old: Any, part: Any, fixed: Fixed, turn: Turn, shape: Sequence[int]) -> Any:
    """Return `old` (None at first) with `part` added in its place; both belong to us."""
    if not fixed:
        if old is None:
            return part
        old += part
        return old
    if old is None:
        old = _zeros_beside(part, tuple(shape))
    old[_place(fixed, turn)] += part
    return old


def _zeros_beside(part: Any, shape: tuple[int, ...]) -> Any:
    """Return zeros like `part`; in PyTorch batched as it is, should it be in a `vmap`."""
    if hasattr(part, "new_zeros"):
        return part.new_zeros(shape)
    xp: Any = namespace_by_name(namespace_name(part))
    return xp.zeros(shape, dtype=part.dtype, device=part.device)
