"""Schedules: in which order messages are made, when each is freed, and what is alive at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from contraction.reuse.messages import Messages


class Schedule(NamedTuple):
    """The values to make, in order, and after each the values that nothing needs any more."""

    made: tuple[int, ...]
    turn: int  # the way down begins with this one
    freed: tuple[tuple[int, ...], ...]
    peak_size: int  # most entries allocated at once, results included
    flops: int


def full_schedule(messages: Messages, results: Collection[int]) -> Schedule:
    """Return the schedule that makes every value once and keeps what it needs again."""
    needed = _needed(messages, results)
    up = [v for v in range(messages.inputs + 1, 2 * messages.inputs) if v in needed]
    return timed(messages, [*up, *downward(messages, needed)], results)


def schedule_keeping(
    messages: Messages, results: Collection[int], kept: Collection[int]
) -> Schedule:
    """Return the schedule that frees what is not in `kept` after its use going up.

    Where the way down needs such a value it is made again, with all values under it that are
    not there any more; these then stay until the way down has used them.
    """
    needed = _needed(messages, results)
    up = [v for v in range(messages.inputs + 1, 2 * messages.inputs) if v in needed]
    made, there = list(up), set(kept)
    for value in downward(messages, needed):
        made += _again(messages, messages.steps[value - messages.inputs - 1].right, there)
        made.append(value)
    return timed(messages, made, results)


def _again(messages: Messages, value: int, there: set[int]) -> list[int]:
    """Return what must be made for `value` to be there, operands first; and note it as there."""
    first = messages.inputs + 1
    missing, stack = [], [value]
    while stack:
        v = stack.pop()
        if first <= v < 2 * messages.inputs and v not in there:
            there.add(v)
            missing.append(v)
            stack += messages.pairs[v - first]
    return sorted(missing)  # operands have lower numbers


def downward(messages: Messages, needed: Collection[int]) -> list[int]:
    """Return the needed downward messages, each branch finished before the next."""
    first = messages.inputs + 1
    order = []
    stack = [messages.root]
    while stack:
        value = stack.pop()
        if value < first:
            continue
        below = [c for c in messages.pairs[value - first] if c in messages.derivatives]
        made = [messages.derivatives[c] for c in below]
        order += [d for d in made if d >= 2 * messages.inputs and d in needed]
        stack += below
    return order


def _needed(messages: Messages, results: Iterable[int]) -> set[int]:
    first = messages.inputs + 1
    needed: set[int] = set()
    stack = list(results)
    while stack:
        value = stack.pop()
        if value not in needed:
            needed.add(value)
            if value >= first:
                step = messages.steps[value - first]
                stack += (step.left, step.right)
    return needed


def timed(messages: Messages, made: Sequence[int], results: Iterable[int]) -> Schedule:
    """Return the schedule of `made`, with each value freed after its last use."""
    first = messages.inputs + 1
    live, freed = set(results), []
    for value in reversed(made):
        live.discard(value)
        step = messages.steps[value - first]
        operands = {step.left, step.right}
        freed.append(tuple(sorted(v for v in operands - live if v != messages.inputs)))
        live |= operands
    freed.reverse()
    sizes = messages.sizes
    alive = peak = sum(sizes[: first - 1])  # copies of inputs
    turn = next((k for k, v in enumerate(made) if v >= 2 * messages.inputs), len(made))
    flops = 0
    for k, (value, dropped) in enumerate(zip(made, freed, strict=True)):
        if k and value < 2 * messages.inputs and value <= made[k - 1]:
            turn = min(turn, k)  # an upward value made again
        step = messages.steps[value - first]
        peak = max(peak, alive + step.copies + step.size)
        alive += step.size - sum(sizes[v] for v in dropped)
        flops += step.flops
    for finish in messages.finishes.values():
        peak = max(peak, alive + finish.size)
        alive += finish.size
    return Schedule(tuple(made), turn, tuple(freed), peak, flops)
