"""Cutting a program into pieces: large branches of the tree that do not need one another.

A piece takes its steps from the program of the whole contraction as they are, kernels and views
included, so that pieces and rest together compute the very bits that the whole would. Where to
cut depends on the program alone, never on who will do the work.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from contraction.memory import peak_size
from contraction.program import Program, Step, View

WORKERS = 16  # that the cut could keep busy
LEAST = 1_000_000_000  # flops, about, of a piece that is worth being handed over
SHARE = 128  # a piece below this fraction of the whole is left to the rest
GAIN = 0.85  # of the time without a cut; more than that, and nothing is cut


class Piece(NamedTuple):
    """Some steps of a program, as a program of their own."""

    value: int  # of the whole program, made by the last step
    inputs: tuple[int, ...]  # values of the whole program that it starts from
    cost: int
    program: Program


class Cut(NamedTuple):
    """A program in pieces, the most costly first, and what is done with their results."""

    pieces: tuple[Piece, ...]
    rest: Piece  # of inputs and of results of pieces


def cost_of(step: Step) -> int:
    """Return about how many flops' worth of time a step takes; the same on every machine.

    An entry written, or copied on the way, counts as sixteen flops.
    """
    return step.flops + 16 * (step.size + step.copies)


def cut_program(program: Program, count: int) -> Cut:
    """Cut a program over `count` inputs where its branches can be done side by side.

    From the root downwards the most costly branch is opened, its last step going to the rest,
    as long as that shortens the time that `WORKERS` workers would need. A program that gains
    little is not cut: then there are no pieces, and the rest is all of it.

    Notes
    -----
    n log n steps for n steps of the program.
    """
    costs = [cost_of(step) for step in program.steps]
    below = [0] * count
    for cost, step in zip(costs, program.steps, strict=True):
        below.append(cost + below[step.left] + below[step.right])
    total, least = below[-1], max(LEAST, below[-1] // SHARE)
    roots = [v for v in _branches(program, count, costs, below) if below[v] >= least]
    roots.sort(key=lambda v: (-below[v], v))
    left = total - sum(below[v] for v in roots)
    largest = max((below[v] for v in roots), default=0)
    if left + max(largest, (total - left) // WORKERS) > GAIN * total:
        roots = []
    return split(program, count, roots)


def split(program: Program, count: int, roots: Sequence[int]) -> Cut:
    """Return a program over `count` inputs in pieces: what makes each of `roots`, and the rest.

    No root may lie below another.
    """
    owner = _owners(program, count, roots)
    steps: dict[int, list[int]] = {v: [] for v in (*roots, -1)}
    for k in range(len(program.steps)):
        steps[owner[count + k]].append(k)
    pieces = tuple(_piece(program, count, v, steps[v], ()) for v in roots)
    last = count + len(program.steps) - 1
    rest = _piece(program, count, last, steps[-1], roots)
    whole = rest.program._replace(final=program.final, shape=program.shape)
    return Cut(pieces, rest._replace(program=whole))


def _branches(program: Program, count: int, costs: list[int], below: list[int]) -> list[int]:
    """Return the values under which the tree is cut, by opening the most costly ones."""
    total = below[-1]
    heap = [(-total, len(below) - 1)]
    rest, best, opened = 0, total, [len(below) - 1]
    kept = 0  # how many of `opened` to open
    while heap and heap[0][1] >= count and rest < best:
        _, value = heapq.heappop(heap)
        step = program.steps[value - count]
        rest += costs[value - count]
        for child in (step.left, step.right):
            heapq.heappush(heap, (-below[child], child))
        time = rest + max(-heap[0][0], (total - rest) // WORKERS)
        if opened[-1] != value:
            opened.append(value)
        if time < best:
            best, kept = time, len(opened)
    open_ = set(opened[:kept])
    children = [
        child
        for value in open_
        for child in (program.steps[value - count].left, program.steps[value - count].right)
    ]
    return [
        child
        for child in children
        if child >= count and child not in open_ and not program.steps[child - count].deferred
    ]


def _owners(program: Program, count: int, roots: Iterable[int]) -> list[int]:
    """Return for each value the piece that makes it; -1 is the rest."""
    owner = [-1] * (count + len(program.steps))
    for root in roots:
        owner[root] = root
    for k in range(len(program.steps) - 1, -1, -1):
        step, mine = program.steps[k], owner[count + k]
        for child in (step.left, step.right):
            if owner[child] == -1:
                owner[child] = mine
    return owner


def _piece(
    program: Program,
    count: int,
    value: int,
    steps: list[int],
    results: Iterable[int],
) -> Piece:
    """Return the steps numbered `steps` as a program over inputs and `results`."""
    ready = set(results)
    used = [v for k in steps for v in (program.steps[k].left, program.steps[k].right)]
    inputs = tuple(v for v in used if v < count or v in ready) or (value,)
    name = {v: i for i, v in enumerate(inputs)}
    name |= {count + k: len(inputs) + i for i, k in enumerate(steps)}
    moved = tuple(
        program.steps[k]._replace(
            left=name[program.steps[k].left], right=name[program.steps[k].right]
        )
        for k in steps
    )
    loads = tuple(x._replace(value=name[x.value]) for x in program.loads if x.value in name)
    size = moved[-1].size if moved else 0
    made = program._replace(
        loads=loads,
        steps=moved,
        final=View(),
        shape=(size,),
        flops=sum(step.flops for step in moved),
        peak_size=peak_size(loads, moved),
        write_size=sum(step.size + step.copies for step in moved),
    )
    return Piece(value, inputs, sum(map(cost_of, moved)), made)
