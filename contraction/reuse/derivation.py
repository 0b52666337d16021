"""Derivation: how the derivatives of a contraction are made within a budget, sliced if need be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from contraction.reuse.cutting import cuts
from contraction.reuse.nesting import Nest, Question, nest_of
from contraction.reuse.passes import Route, both_passes, bound_messages, fits, route_of
from contraction.reuse.retention import Budget, RefusedError
from contraction.reuse.slicing import sliced_passes
from contraction.staging import needed

Derivation: TypeAlias = Route | Nest
MANY = 40  # inputs above which no smaller set of labels is looked for than the first that will do


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
    try:
        return _one(question, budget)
    except RefusedError as refused:
        least = refused.least
    return _sliced(question, budget, least)


def _sliced(question: Question, budget: Budget, least: int) -> tuple[Derivation, bool]:
    """Return the steps with as few labels more sliced as the budget asks for.

    The first set tried is the first that may fit; from there on each goes twice as far as the
    one before, and bisection then goes back. What a refusal tells is what one of some sets
    needs that are tried whatever the budget, so that it will do.
    """
    asked = question
    sets = cuts(asked.canonical, asked.pairs, asked.slices, asked.leaves)
    last, room = len(sets) - 1, budget.size - budget.beside
    if not last:
        raise budget.refusal(least)
    few = len(asked.canonical.inputs) > MANY
    place = next((k for k, cut in enumerate(sets) if k and cut.size <= room), last)
    low, jump, found = max(place - 1, 0), 1, None
    always = [last] if few else [last, 3 * last // 4, last // 2]
    while found is None:
        try:
            found = _one(asked._replace(slices=sets[place].labels), budget)
        except RefusedError as refused:
            if place in always:
                least = min(least, refused.least)
                always.remove(place)
            if place < last and last in always:
                low, place, jump = place, min(place + jump, last), 2 * jump
            elif always:
                place = always[0]
                low = place
            else:
                break
    if found is None:
        raise budget.refusal(least)
    while place - low > 1 and not few:
        middle = (low + place) // 2
        try:
            found, place = _one(asked._replace(slices=sets[middle].labels), budget), middle
        except RefusedError:
            low = middle
    return found


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
        return nest_of(asked._replace(weighted=weighted), budget), weighted
    tree = asked.canonical, asked.pairs, asked.name, layouts, asked.leaves
    bound = bound_messages(*tree, weighted)
    if not weighted and not fits(bound, asked.valued, budget):
        weighted, bound = True, bound_messages(*tree, True)
    return route_of(bound, asked.valued, budget), weighted
