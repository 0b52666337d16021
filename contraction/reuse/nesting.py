"""Nesting: the way up and down a sliced tree, every part done once for a turn of its own loops.

The tree is cut as `contraction.loops` cuts it. Going up, a part is made once for each turn of
the loops that the inputs below it depend on, and its values wait while the inner loops run.
Meanwhile the derivatives by its result add up, and when the inner loops are through the way down
the part is taken once, with their sum: the adjoint of a loop that does not depend on a value is
a sum (Griewank and Walther, Evaluating Derivatives, SIAM 2008, chapter 3).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import NamedTuple

from contraction.loops import Part, depths_of, loop_order, parts_of, sliced_canonical
from contraction.program import Layouts
from contraction.reuse.occupancy import Occupancy, is_copied, occupancy_of
from contraction.reuse.passes import Route, bound_messages, route_of
from contraction.reuse.retention import Budget, RefusedError
from contraction.spec import Canonical
from contraction.tree import Pairs, Tree, build_tree

Fixed = tuple[int | None, ...]  # for each axis the loop that fixes it; empty if none does


class Member(NamedTuple):
    """An input of a part: one of the whole tree, or the result of another part."""

    value: int
    given: bool
    fixed: Fixed
    copied: int  # entries of the copy that makes a slice contiguous
    size: int  # entries of the result of another part
    asked: bool  # whether an input below it is differentiated by


class Stage(NamedTuple):
    """One part of the tree with its steps up and down."""

    value: int
    depth: int
    members: tuple[Member, ...]
    route: Route
    asked: bool


class Nest(NamedTuple):
    """All parts, outer ones first, and what a run has alive at once."""

    stages: tuple[Stage, ...]
    loop_sizes: tuple[int, ...]
    placed: Fixed  # for each axis of the result
    piece: tuple[int, ...]  # the shape of the result of a slice
    taken: Occupancy

    @property
    def peak_size(self) -> int:
        """The most entries alive in a run, the derivatives included."""
        return self.taken.peak_size


class Question(NamedTuple):
    """What is to be derived."""

    canonical: Canonical
    pairs: Pairs
    slices: tuple[int, ...]
    name: str  # of the library
    layouts: Layouts | None
    leaves: tuple[int, ...]
    weighted: bool
    valued: bool


@lru_cache(maxsize=64)
def nest_of(question: Question, budget: Budget | None) -> Nest:
    """Return the parts of a sliced tree with their steps; remembered.

    Within a budget nothing is shared between slices where that takes too much memory, and in
    a slice values are made again as `within_memory` finds.

    Raises
    ------
    MemoryBudgetError
        The derivatives and one slice do not fit the budget.
    """
    sizes = question.canonical.sizes
    wide = [x for x in question.slices if sizes[x] != 1]
    loops = loop_order(question.canonical, question.pairs, wide)
    depths = depths_of(question.canonical, question.pairs, loops)
    made = _nest(question, loops, depths, None)
    if budget is None or made.peak_size <= budget.size - budget.beside:
        return made
    flat = [len(loops)] * len(depths)
    alone = _nest(question, loops, flat, None).taken
    least = alone.apart + budget.beside  # whatever is made again
    try:
        found = _nest(question, loops, flat, budget.besides(alone.beside))
        if least <= budget.size:
            return found
    except RefusedError as refused:
        least = max(least, refused.least)
    raise budget.refusal(min(least, made.peak_size + budget.beside))


def _nest(
    question: Question, loops: Sequence[int], depths: Sequence[int], budget: Budget | None
) -> Nest:
    canonical = question.canonical
    inner = sliced_canonical(canonical, loops)
    tree = build_tree(inner, question.pairs)
    asked = [False] * len(tree.legs)
    for i in question.leaves:
        asked[i] = True
    for k, pair in enumerate(tree.pairs):
        asked[len(tree.leaves) + k] = asked[pair.left] or asked[pair.right]
    parts = sorted(parts_of(tree, inner, depths), key=lambda part: (part.depth, part.value))
    stages: list[Stage] = []
    for part in parts:
        made = {stage.value for stage in stages}
        stages.append(_stage(question, loops, tree, inner, part, asked, made, budget))
    place = {label: k for k, label in enumerate(loops)}
    sizes = tuple(canonical.sizes[x] for x in loops)
    nest = Nest(
        tuple(stages),
        sizes,
        _fixed(canonical.output, place),
        tuple(canonical.sizes[x] for x in inner.output),
        Occupancy(0, 0, 0),
    )
    return nest._replace(taken=occupancy_of(question, nest))


def _fixed(labels: Sequence[int], place: dict[int, int]) -> Fixed:
    fixed = tuple(place.get(x) for x in labels)
    return fixed if any(k is not None for k in fixed) else ()


def _stage(
    question: Question,
    loops: Sequence[int],
    tree: Tree,
    inner: Canonical,
    part: Part,
    asked: Sequence[bool],
    made: Collection[int],
    budget: Budget | None,
) -> Stage:
    count, root = len(tree.leaves), part.value == len(tree.legs) - 1
    place = {label: k for k, label in enumerate(loops)}
    members, held = [], []
    for value in part.members:
        given = value < count and value not in made
        labels = inner.inputs[value] if given else tree.legs[value]
        size = math.prod(inner.sizes[x] for x in labels)
        fixed = _fixed(question.canonical.inputs[value], place) if given else ()
        copied = size if given and _is_copied(question, value, fixed) else 0
        members.append(Member(value, given, fixed, copied, 0 if given else size, asked[value]))
        held.append(labels)
    output = tree.legs[part.value]
    if root:  # labels of size one may have been dropped by other parts
        there = {x for labels in held for x in labels}
        output = tuple(x for x in inner.output if x in there)
    wanted = tuple(k for k, member in enumerate(members) if member.asked)
    weighted = question.weighted or not root
    bound = bound_messages(
        _numbered(held, output, inner.sizes), part.pairs, question.name, None, wanted, weighted,
        tuple(member.copied for member in members),
    )  # fmt: skip
    route = route_of(bound, question.valued or not root, budget)
    return Stage(part.value, part.depth, tuple(members), route, asked[part.value])


def _is_copied(question: Question, value: int, fixed: Fixed) -> bool:
    order = None if question.layouts is None else question.layouts[value]
    return is_copied(
        [question.canonical.sizes[x] for x in question.canonical.inputs[value]], order, fixed
    )


def _numbered(
    members: Sequence[tuple[int, ...]], output: tuple[int, ...], sizes: Sequence[int]
) -> Canonical:
    number: dict[int, int] = {}
    inputs = tuple(tuple(number.setdefault(x, len(number)) for x in labels) for labels in members)
    return Canonical(inputs, tuple(number[x] for x in output), tuple(sizes[x] for x in number))
