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
    peak_up: int  # the same, on the way up only
    peak_down: int
    waiting: int  # entries alive between the ways
    result: int  # entries of the value of the root, if it is a result


def full_schedule(messages: Messages, results: Collection[int]) -> Schedule:
    """Return the schedule that makes every value once and keeps what it needs again."""
    needed = needed_values(messages, results)
    up = [v for v in range(messages.inputs + 1, 2 * messages.inputs) if v in needed]
    return timed(messages, up, downward(messages, needed), results)


def schedule_keeping(
    messages: Messages, results: Collection[int], kept: Collection[int]
) -> Schedule:
    """Return the schedule that frees what is not in `kept` after its use going up.

    Results, and values that only the way down uses, are kept in any case (`always_kept`).
    Where the way down needs a value that is gone it is made again, with all values under it
    that are gone too; these then stay until the way down has used them.
    """
    needed = needed_values(messages, results)
    every = range(messages.inputs + 1, 2 * messages.inputs)
    up = _made_for(messages, every, {v for v in every if v not in needed})
    down: list[int] = []
    there = {*kept, *always_kept(messages, results, needed)}
    for value in downward(messages, needed):
        step = messages.steps[value - messages.inputs - 1]
        down += [*_made_for(messages, (step.left, step.right), there), value]
    return timed(messages, up, down, results)


def _made_for(messages: Messages, values: Iterable[int], there: set[int]) -> list[int]:
    """Return what must be made for `values` to be there, operands first; and note it as there."""
    first = messages.inputs + 1
    made, stack = [], list(values)
    while stack:  # parents before operands, then reversed; of two the lower number is made first
        v = stack.pop()
        if first <= v < 2 * messages.inputs and v not in there:
            there.add(v)
            made.append(v)
            stack += sorted(messages.pairs[v - first])
    made.reverse()
    return made


def always_kept(messages: Messages, results: Iterable[int], needed: Collection[int]) -> set[int]:
    """Return the upward values that are results, or that no upward step uses."""
    first, end = messages.inputs + 1, 2 * messages.inputs
    kept = {v for v in results if first <= v < end}
    return kept | {v for v in needed if first <= v < end and messages.parents[v] not in needed}


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


def needed_values(messages: Messages, results: Iterable[int]) -> set[int]:
    """Return the values that must be made for `results`, with the inputs."""
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


def timed(
    messages: Messages, up: Sequence[int], down: Sequence[int], results: Collection[int]
) -> Schedule:
    """Return the schedule of `up` and then `down`, with each value freed after its last use."""
    made = [*up, *down]
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
    alive = peak = waiting = sum(sizes[: first - 1])  # copies of inputs
    flops = peak_up = 0
    for k, (value, dropped) in enumerate(zip(made, freed, strict=True)):
        if k == len(up):
            peak_up, peak, waiting = peak, alive, alive
        step = messages.steps[value - first]
        peak = max(peak, alive + messages.beside[value - first] + step.size)
        alive += step.size - sum(sizes[v] for v in dropped)
        flops += step.flops
    if not down:
        peak_up, peak, waiting = peak, alive, alive
    for finish in messages.finishes.values():
        peak = max(peak, alive + finish.size)
        alive += finish.size
    result = sizes[messages.root] if messages.root in results else 0
    return Schedule(
        tuple(made),
        len(up),
        tuple(freed),
        max(peak, peak_up),
        flops,
        peak_up,
        peak,
        waiting,
        result,
    )
