"""Derivation: how the derivatives of a contraction are made within a budget, sliced if need be."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

from contraction.program import Layouts
from contraction.reuse.nesting import Nest, Way, nest_of
from contraction.reuse.passes import Route, both_passes, bound_messages, fits, route_of
from contraction.reuse.retention import Budget, RefusedError
from contraction.reuse.slicing import sliced_passes
from contraction.spec import Canonical
from contraction.staging import needed
from contraction.tree import Pairs, build_tree

Derivation: TypeAlias = Route | Nest
MOST_WORK = 64  # times the multiply-adds without slices, beyond which no label is sliced
CALL = 4096  # multiply-adds that take about as long as the call of a step
MOST_TRIES = 16
MANY = 40  # inputs above which only this many sets are worked out:
FEW_TRIES = 2  # sets of slices that are worked out


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


@lru_cache(maxsize=128)
def derivation_of(question: Question, budget: Budget | None) -> tuple[Derivation, bool]:
    """Return the steps that answer a question, and whether they need a cotangent; remembered.

    Where freeing values and making them again is not enough for the budget, labels are sliced.

    Raises
    ------
    MemoryBudgetError
        Nothing that was tried stays within the budget.
    """
    if budget is None:
        return _one(question, None)
    least: list[int] = []
    for slices in _slices(question, budget):
        try:
            return _one(question._replace(slices=slices), budget)
        except RefusedError as refused:
            least.append(refused.least)
    raise budget.refusal(min(least))


def budget_of(limit: int, arrays: Sequence[Any], cotangent: Any) -> Budget:
    """Return a limit in bytes as one in entries, less the copies that are made of what is given."""
    wanted = needed(arrays if cotangent is None else [*arrays, cotangent])
    copies = sum(wanted.owned[: len(arrays)])
    if cotangent is not None:
        copied = wanted.layouts is not None and wanted.layouts[-1] is not None
        copies += max(wanted.owned[-1], copied * math.prod(cotangent.shape))
    return Budget(limit // wanted.itemsize, copies, wanted.itemsize)


def derive(
    derivation: Derivation,
    values: Sequence[Any],
    cotangent: Any,
    leaves: Sequence[int],
    *,
    valued: bool,
) -> tuple[Any, dict[int, Any]]:
    """Return the value (None unless `valued`) and the derivatives."""
    if isinstance(derivation, Nest):
        return sliced_passes(derivation, values, cotangent, leaves, valued=valued)
    return both_passes(derivation, values, cotangent, valued=valued)


def _one(question: Question, budget: Budget | None) -> tuple[Derivation, bool]:
    asked, layouts, weighted = question, question.layouts, question.weighted
    if asked.slices:
        weighted = weighted or budget is not None
        way = Way(
            asked.canonical, asked.pairs, asked.slices, asked.name, layouts, asked.leaves,
            weighted, asked.valued,
        )  # fmt: skip
        return nest_of(way, budget), weighted
    tree = asked.canonical, asked.pairs, asked.name, layouts, asked.leaves
    bound = bound_messages(*tree, weighted)
    if not weighted and not fits(bound, asked.valued, budget):
        weighted, bound = True, bound_messages(*tree, True)
    return route_of(bound, asked.valued, budget), weighted


def _slices(question: Question, budget: Budget) -> Iterator[tuple[int, ...]]:
    """Return the slices asked for, and then more and more, always of the largest step.

    Of its labels each time the one that costs least is taken. Sets of slices that cannot fit
    are passed over, but for the last.
    """
    canonical, chosen = question.canonical, list(question.slices)
    tree = build_tree(canonical, question.pairs)
    steps = [
        (
            (*p.batch, *p.summed, *p.left_only, *p.right_only),
            (p.left, p.right, len(tree.leaves) + k),
        )
        for k, p in enumerate(tree.pairs)
    ]
    yield tuple(chosen)
    work = _work(steps, chosen, tree.sizes)
    tries, passed = 1, False
    most_tries = MOST_TRIES if len(steps) < MANY else FEW_TRIES
    while tries < most_tries:
        sizes = [1 if x in chosen else n for x, n in enumerate(tree.sizes)]

        def needs(values: Sequence[int], sizes: Sequence[int] = sizes) -> int:
            return sum(math.prod(sizes[x] for x in tree.legs[v]) for v in values)

        largest = max(range(len(steps)), key=lambda k: needs(steps[k][1]), default=-1)
        free = [x for x in steps[largest][0] if sizes[x] > 1] if largest >= 0 else []
        costs = {x: _work(steps, [*chosen, x], tree.sizes) for x in sorted(free)}
        if not costs or min(costs.values()) > MOST_WORK * max(work, 1):
            break
        chosen.append(min(costs, key=lambda x: (costs[x], x)))
        sizes = [1 if x in chosen else n for x, n in enumerate(tree.sizes)]
        most = max(needs(values, sizes) for _, values in steps)
        passed = most > budget.size
        if not passed:
            tries += 1
            yield tuple(chosen)
    if passed:
        yield tuple(chosen)


def _work(
    steps: Sequence[tuple[Sequence[int], Sequence[int]]],
    slices: Sequence[int],
    sizes: Sequence[int],
) -> int:
    """Return the multiply-adds of all slices when none shares any, with the cost of calls."""
    gone, total = set(slices), 0
    turns = math.prod(sizes[x] for x in gone)
    for labels, _ in steps:
        once = math.prod(sizes[x] for x in labels if x not in gone)
        total += (once + CALL) * turns
    return total
