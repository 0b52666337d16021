"""Occupancy: what the way up and down a sliced tree has alive at once, step by step.

The run is followed without its arithmetic. A loop that moves on does the same however often it
does so, so that each is moved twice: the second time everything that waits or adds up is there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from contraction.buffers import Strides, dense_strides, given_loop
from contraction.reuse.messages import Finish

if TYPE_CHECKING:
    from contraction.reuse.nesting import Fixed, Nest, Question, Stage


class Occupancy(NamedTuple):
    """The most entries alive at once, those of the caller apart."""

    peak_size: int
    apart: int  # the same, but for the time when the steps of a part are done
    beside: int  # what derivatives, value and weights take while the innermost part is done


def occupancy_of(question: Question, nest: Nest) -> Occupancy:
    """Return what a run of a sliced tree takes, for what is asked of it."""
    return _Walk(question, nest).followed()


class _Walk:
    """A run of which only the amounts of memory are known."""

    def __init__(self, question: Question, nest: Nest) -> None:
        self._question, self._nest = question, nest
        self._numpy = question.name == "numpy"
        self._made: dict[int, int] = {}  # entries of the results of parts
        self._tables: dict[int, int] = {}  # of the values that wait for the way down
        self._sums: dict[int, int] = {}  # of the derivatives by results of parts
        self._turned: set[int] = set()  # those of them that do not lie in C order
        self._found: dict[int, int] = {}  # of the derivatives by inputs
        self._total = self._peak = self._apart = 0
        self._weights = _weights(question, nest)

    def followed(self) -> Occupancy:
        """Return what was found on the way through all loops."""
        loops = len(self._nest.loop_sizes)
        self._up(0)
        if math.prod(self._nest.loop_sizes):
            self._up(1)
            for moved in (*range(loops - 1, -1, -1), *range(loops - 1, -1, -1)):
                self._down(moved + 1)
                self._up(moved + 1)
            self._down(1)
        self._down(0)
        beside = sum(self._found.values()) + self._total + self._weights
        return Occupancy(max(self._peak, self._apart), self._apart, beside)

    def _alive(self) -> int:
        held = (self._made, self._tables, self._sums, self._found)
        return self._total + sum(sum(amounts.values()) for amounts in held)

    def _note(self, entries: int) -> None:
        self._apart = max(self._apart, entries)

    def _up(self, depth: int) -> None:
        for stage in self._nest.stages:
            if stage.depth < depth or (not depth and stage.depth):
                continue
            messages, schedule = stage.route.bound.messages, stage.route.schedule
            alive, result = self._alive(), schedule.result
            copied = sum(member.copied for member in stage.members)
            self._note(alive + copied + sum(load.size for load in messages.loads))
            self._peak = max(self._peak, alive + schedule.peak_up)
            waiting, shared = schedule.waiting, messages.root < messages.inputs
            if stage is not self._nest.stages[-1]:
                copy = result if messages.final.axes else 0  # to C order
                self._note(alive + waiting + copy)
                self._made[stage.value] = copy if shared and stage.asked else copy or result
            elif self._question.valued:
                self._add_value(alive + waiting, owned=not shared)
            if stage.asked:
                self._tables[stage.value] = waiting - (0 if shared else result)

    def _add_value(self, alive: int, *, owned: bool) -> None:
        nest, question = self._nest, self._question
        if not self._total:
            self._total = math.prod(question.canonical.sizes[x] for x in question.canonical.output)
            taken = owned and not nest.placed  # the first is what the others are added to
            alive += 0 if taken else self._total
        final = nest.stages[-1].route.bound.messages.final
        part = _turned(nest.piece, final.axes)
        target = [question.canonical.sizes[x] for x in question.canonical.output]
        self._note(alive + self._buffers(target, nest.placed, part))

    def _down(self, depth: int) -> None:
        last = self._nest.stages[-1]
        for stage in reversed(self._nest.stages):
            if stage.depth < depth or (not depth and stage.depth):
                continue
            schedule = stage.route.schedule
            waiting = self._tables.pop(stage.value, None)
            self._made.pop(stage.value, None)
            if waiting is None or (stage is not last and stage.value not in self._sums):
                continue
            messages = stage.route.bound.messages
            result = 0 if messages.root < messages.inputs else schedule.result
            weights = self._weights if stage is last else 0
            alive = self._alive()
            self._peak = max(self._peak, alive + weights + schedule.peak_down - result)
            if stage.value in self._turned:
                self._note(alive + waiting + self._sums[stage.value])  # to C order
            self._sums.pop(stage.value, None)
            self._add_derivatives(stage)

    def _add_derivatives(self, stage: Stage) -> None:
        messages = stage.route.bound.messages
        parts = {
            k: _entries(finish, messages.sizes[messages.derivatives[k]])
            for k, finish in messages.finishes.items()
        }
        for k, member in enumerate(stage.members):
            if not member.asked:
                continue
            sums = self._found if member.given else self._sums
            finish = messages.finishes[k]
            if member.value not in sums and not member.fixed:
                sums[member.value] = parts.pop(k)
                if not member.given and _strides(finish) != dense_strides(finish.shape):
                    self._turned.add(member.value)
                continue
            buffers = 0
            if member.fixed:
                labels = self._question.canonical.inputs[member.value]
                target = [self._question.canonical.sizes[x] for x in labels]
                sums[member.value] = math.prod(target)
                buffers = self._buffers(target, member.fixed, _strides(finish))
            self._note(self._alive() + sum(parts.values()) + buffers)
            del parts[k]
        self._note(self._alive())

    def _buffers(self, target: Sequence[int], fixed: Fixed, part: Strides) -> int:
        """Return the entries that NumPy buffers to add a part to its place in what is there."""
        if not self._numpy:
            return 0
        whole = dense_strides(target)
        free = [a for a in range(len(target)) if not fixed or fixed[a] is None]
        there = tuple(whole[a] for a in free)
        return given_loop([target[a] for a in free], [there, part, there]).buffers


def is_copied(shape: Sequence[int], order: Sequence[int] | None, fixed: Fixed) -> bool:
    """Tell whether a slice of a dense array must be copied to lie in C order.

    Parameters
    ----------
    shape, order
        Of the array; the permutation that brings it to C order, None if it is.
    fixed
        For each axis the loop that fixes it, None for one that is whole; empty if none does.
    """
    order = range(len(shape)) if order is None else order
    strides = [0] * len(shape)
    for axis, stride in zip(order, dense_strides([shape[a] for a in order]), strict=True):
        strides[axis] = stride
    free = [a for a in range(len(shape)) if not fixed or fixed[a] is None]
    return tuple(strides[a] for a in free) != dense_strides([shape[a] for a in free])


def _weights(question: Question, nest: Nest) -> int:
    """Return the entries of the copy of a slice of the cotangent."""
    sizes = [question.canonical.sizes[x] for x in question.canonical.output]
    if not question.weighted or not nest.placed or not is_copied(sizes, None, nest.placed):
        return 0
    return math.prod(nest.piece)


def _entries(finish: Finish, message: int) -> int:
    made = finish.copied or finish.spread is not None or finish.diagonal is not None
    return math.prod(finish.shape) if made else message


def _strides(finish: Finish) -> Strides:
    """Return the strides of a derivative as it is finished."""
    plain = finish.copied or finish.spread is not None or finish.diagonal is not None
    return _turned(finish.shape, None if plain else finish.axes)


def _turned(shape: Sequence[int], axes: Sequence[int] | None) -> Strides:
    """Return the strides of a view of a dense array with its axes permuted.

    `axes` may leave out axes of size one.
    """
    if axes is None:
        return dense_strides(shape)
    wide = [a for a, n in enumerate(shape) if n != 1]
    strides = [0] * len(shape)
    if len(wide) != len(axes):
        return dense_strides(shape)
    split = sorted(range(len(wide)), key=axes.__getitem__)
    for place, stride in zip(split, dense_strides([shape[wide[i]] for i in split]), strict=True):
        strides[wide[place]] = stride
    return tuple(strides)
