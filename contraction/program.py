"""Program: a tree with its ways, written out as steps; plain data, no arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from contraction.blocks import Lowered, fuse
from contraction.cost import CostModel
from contraction.lowering import Order, Way, choose_ways, rival_ways
from contraction.memory import peak_size
from contraction.spec import Canonical
from contraction.steps import Shape as Shape
from contraction.steps import Step as Step
from contraction.steps import View as View
from contraction.steps import make_step as make_step
from contraction.steps import view_of as view_of
from contraction.tree import Pairs, Tree, build_tree

SMALL = 200  # steps of programs that are remembered for a while


class Load(NamedTuple):
    """What is done to an input before the first step: diagonals and sums over its own labels."""

    value: int
    layout: tuple[int, ...] | None  # permutation that makes the memory C-contiguous
    diagonals: tuple[tuple[int, int], ...]
    sums: tuple[int, ...]
    size: int  # entries of the result; zero if it is a view


class Program(NamedTuple):
    """All that a run needs, and the counts of what it does."""

    loads: tuple[Load, ...]
    steps: tuple[Step, ...]
    final: View
    shape: Shape
    seconds: float
    flops: int
    peak_size: int
    write_size: int


Layouts = tuple[tuple[int, ...] | None, ...]


def compile_program(
    canonical: Canonical,
    pairs: Sequence[tuple[int, int]],
    model: CostModel,
    layouts: Layouts | None = None,
    fixed: Mapping[int, Way] = MappingProxyType({}),
    *,
    max_size: float = math.inf,
) -> Program:
    """Return the program of a contraction along a tree.

    Parameters
    ----------
    canonical, pairs
        What to contract, and the tree.
    model
        Rates by which the lowering of each step is chosen.
    layouts
        For each input the permutation of its axes that makes its memory C-contiguous, or None
        where it is so already.
    fixed
        Step -> the way it is done, for the steps where the estimates do not decide.
    max_size
        Entries that should be alive at once at most: where there would be more, all steps are
        fused that can be, whatever time that takes.
    """
    tree = build_tree(canonical, pairs)
    loads, orders, shapes = make_loads(canonical, tree, layouts)
    width = 6 if len(pairs) <= 1000 else 2
    ways, every, each, seconds = choose_ways(tree, orders, model, width=width, fixed=fixed)
    steps = []
    for k, way in enumerate(ways):
        step, shape = make_step(tree, k, way, every, shapes)
        steps.append(step._replace(seconds=each[k]))
        shapes.append(shape)
    final = final_view(canonical, tree, every[-1], shapes[-1])
    plain = sum(step.seconds for step in steps)
    lowered = Lowered(tree, ways, every, shapes)
    fused = fuse(lowered, steps, model)
    if max_size < math.inf and peak_size(loads, fused) > max_size:
        fused = fuse(lowered, steps, model, short=True)
    steps, seconds = fused, seconds + (sum(step.seconds for step in fused) - plain)
    flops = sum(s.flops for s in steps)
    flops += sum(
        math.prod(canonical.sizes[x] for x in canonical.inputs[ld.value]) for ld in loads if ld.sums
    )
    shape = tuple(canonical.sizes[x] for x in canonical.output)
    written = sum(load.size for load in loads) + sum(s.copies + s.size for s in steps)
    peak = peak_size(loads, steps)
    return Program(loads, tuple(steps), final, shape, seconds, flops, peak, written)


def planned_program(
    canonical: Canonical, pairs: Pairs, model: CostModel, *, max_size: float = math.inf
) -> Program:
    """Return what `compile_program` does; a search and the plan made of it share the work."""
    find = _remembered if len(pairs) <= SMALL else _remembered.__wrapped__
    return find(canonical, pairs, model, max_size)


@lru_cache(maxsize=32)
def _remembered(canonical: Canonical, pairs: Pairs, model: CostModel, max_size: float) -> Program:
    return compile_program(canonical, pairs, model, max_size=max_size)


def step_ways(
    canonical: Canonical,
    pairs: Sequence[tuple[int, int]],
    model: CostModel,
    step: int,
) -> list[Way]:
    """Return the ways of doing one step, those of the shortest estimated time first."""
    tree = build_tree(canonical, pairs)
    return rival_ways(tree, make_loads(canonical, tree, None)[1], model, step)


def chosen_ways(
    canonical: Canonical,
    pairs: Sequence[tuple[int, int]],
    model: CostModel,
    fixed: Mapping[int, Way],
) -> list[Way]:
    """Return the way of every step, as `compile_program` chooses it."""
    tree = build_tree(canonical, pairs)
    width = 6 if len(pairs) <= 1000 else 2
    orders = make_loads(canonical, tree, None)[1]
    return choose_ways(tree, orders, model, width=width, fixed=fixed)[0]


def make_loads(
    canonical: Canonical, tree: Tree, layouts: Layouts | None
) -> tuple[tuple[Load, ...], list[Order], list[Shape]]:
    """Return what is done to the inputs first; the labels and the shape that each has then."""
    sizes, loads, orders, shapes = canonical.sizes, [], [], []
    for value, labels in enumerate(canonical.inputs):
        layout = layouts[value] if layouts is not None else None
        if layout is not None:
            labels = tuple(labels[axis] for axis in layout)
        held, diagonals = list(labels), []
        while len(set(held)) < len(held):
            j = next(j for j, x in enumerate(held) if x in held[:j])
            i = held.index(held[j])
            diagonals.append((i, j))
            held = [x for axis, x in enumerate(held) if axis not in (i, j)] + [held[j]]
        keep = set(tree.leaves[value])
        sums = tuple(a for a, x in enumerate(held) if sizes[x] != 1 and x not in keep)
        left = [x for a, x in enumerate(held) if a not in sums]
        orders.append(tuple(x for x in left if x in keep))
        shapes.append(tuple(sizes[x] for x in left))
        if layout is not None or diagonals or sums:
            size = tree.size(value) if diagonals or sums else 0
            loads.append(Load(value, layout, tuple(diagonals), sums, size))
    return tuple(loads), orders, shapes


def final_view(canonical: Canonical, tree: Tree, order: Order, shape: Shape) -> View:
    """Return the view of the root, which lies in `order` with a `shape`, that is the result."""
    target = tuple(canonical.sizes[x] for x in canonical.output)
    if order == tree.output:
        return View(first=None if shape == target else target)
    view = view_of(order, shape, [(x,) for x in tree.output], tree.sizes, copied=False)
    wide = tuple(tree.sizes[x] for x in tree.output)
    return view._replace(last=None if wide == target else target)
