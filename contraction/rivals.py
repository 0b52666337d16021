"""Rivals: other trees and other ways of the costliest steps, the most promising first."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from contraction.cost import CostModel
from contraction.program import Program, compile_program, step_ways
from contraction.spec import Canonical
from contraction.tree import Pairs, build_tree, order_for_memory, reorder
from contraction.ways import Way

ALL_TREES = 5  # inputs up to which every tree is looked at
MORE_WORK = 4  # times the multiply-adds of the given tree that another may take
SHARE = 0.05  # of the estimated time that a step takes to be worth a look
STEPS = 4  # costliest steps whose ways are tried, and around which trees are regrouped


class Entrant(NamedTuple):
    """A tree with some of its ways fixed, and its program."""

    pairs: Pairs
    fixed: Mapping[int, Way]
    program: Program


class Rivals:
    """Makes the rivals of a plan.

    Parameters
    ----------
    canonical, model
        What is contracted, and the rates for the estimated times.
    max_size
        Entries that a run may have alive at once; no rival takes more.
    stop
        The `time.perf_counter` at which no further rivals are made.
    limit
        Entries above which the plan is compiled for little memory; see `compile_program`.
    """

    def __init__(
        self,
        canonical: Canonical,
        model: CostModel,
        max_size: float,
        stop: float,
        *,
        limit: float = math.inf,
    ) -> None:
        self.canonical, self.model, self.max_size, self.stop = canonical, model, max_size, stop
        self.limit = limit

    def entrant(self, pairs: Pairs, fixed: Mapping[int, Way]) -> Entrant:
        """Return a tree with its program."""
        program = compile_program(
            self.canonical, pairs, self.model, fixed=fixed, max_size=self.limit
        )
        return Entrant(pairs, fixed, program)

    def trees(self, first: Entrant, most: int) -> list[Entrant]:
        """Return the `most` trees of the least estimated time; not the given one."""
        seen, found = {_shape(first.pairs)}, []
        bound = MORE_WORK * max(first.program.flops, 1)
        for pairs in self._near(first):
            if _shape(pairs) in seen:
                continue
            seen.add(_shape(pairs))
            tree = build_tree(self.canonical, pairs)
            if 2 * sum(map(tree.step_size, tree.pairs)) > bound:
                continue
            rival = self.entrant(order_for_memory(tree), {})
            if rival.program.peak_size <= self.max_size:
                found.append(rival)
            if time.perf_counter() > self.stop:
                break
        return sorted(found, key=lambda rival: rival.program.seconds)[:most]

    def _near(self, first: Entrant) -> Iterator[Pairs]:
        count = len(first.pairs) + 1
        if count <= ALL_TREES:
            yield from all_trees(count)
            return
        for pairs in regrouped(first.pairs, costliest(first.program)):
            yield pairs
            yield from regrouped(pairs, range(len(pairs)) if count <= 12 else ())

    def ways(self, first: Entrant, step: int, most: int) -> list[Entrant]:
        """Return the tree with one step done in `most` other ways."""
        found: dict[tuple[object, ...], Entrant] = {_kernels(first.program): first}
        for way in step_ways(self.canonical, first.pairs, self.model, step):
            rival = self.entrant(first.pairs, {**first.fixed, step: way})
            if rival.program.peak_size <= self.max_size:
                found.setdefault(_kernels(rival.program), rival)
            if time.perf_counter() > self.stop:
                break
        rivals = sorted(list(found.values())[1:], key=lambda rival: rival.program.seconds)
        return rivals[:most]


def _kernels(program: Program) -> tuple[object, ...]:
    return (*(step._replace(seconds=0.0) for step in program.steps), program.final)


def costliest(program: Program) -> list[int]:
    """Return the few steps of the longest estimated times, the longest first."""
    seconds = [step.seconds for step in program.steps]
    order = sorted(range(len(seconds)), key=lambda k: -seconds[k])
    return [k for k in order[:STEPS] if seconds[k] >= SHARE * program.seconds]


def _shape(pairs: Pairs) -> frozenset[frozenset[int]]:
    """Return the sets of inputs under the values of a tree: equal iff the same tree."""
    below: list[frozenset[int]] = [frozenset((i,)) for i in range(len(pairs) + 1)]
    for i, j in pairs:
        below.append(below[i] | below[j])
    return frozenset(below)


def all_trees(count: int) -> Iterator[Pairs]:
    """Yield every tree over `count` inputs once: the product of 1, 3, 5, ... 2 count - 3.

    Examples
    --------
    >>> sorted(all_trees(3))
    [((0, 1), (2, 3)), ((0, 2), (1, 3)), ((1, 2), (0, 3))]
    """
    if count < 2:
        yield ()
        return
    for length in range(math.prod(range(1, 2 * count - 2, 2))):
        yield _numbered_tree(count, length)


def _numbered_tree(count: int, number: int) -> Pairs:
    """Return a tree made by hanging each input on one of the edges that are there before it."""
    children: dict[int, tuple[int, int]] = {}
    parent: dict[int, int] = {}
    root, names = 0, [0]
    for leaf in range(1, count):
        number, place = divmod(number, 2 * leaf - 1)
        at, joint = names[place], count + leaf - 1
        above = parent.get(at)
        children[joint] = (at, leaf)
        if above is None:
            root = joint
        else:
            x, y = children[above]
            children[above] = (joint, y) if x == at else (x, joint)
            parent[joint] = above
        parent[at] = parent[leaf] = joint
        names += [leaf, joint]
    order = [root]
    for value in order:  # grows while it is walked
        order += [child for child in children[value] if child >= count]
    order.reverse()
    name = {value: count + k for k, value in enumerate(order)}
    made = [tuple(sorted(name.get(v, v) for v in children[value])) for value in order]
    return tuple((i, j) for i, j in made)


def regrouped(pairs: Pairs, steps: Sequence[int]) -> Iterator[Pairs]:
    """Yield the trees with ((x, y), z) made (x, (y, z)) or (y, (x, z)) around some steps."""
    count = len(pairs) + 1
    wanted = set(steps)
    for top, (left, right) in enumerate(pairs):
        for inner, other in ((left, right), (right, left)):
            if inner < count or not wanted & {top, inner - count}:
                continue
            x, y = pairs[inner - count]
            for stays, goes in ((x, y), (y, x)):
                changed = list(pairs)
                changed[inner - count] = (goes, other)
                changed[top] = (stays, inner)
                yield reorder(changed, count)
