"""Slicing: the derivatives of a sum over slices, slice by slice."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

from contraction.arrays import namespace_by_name, namespace_name
from contraction.errors import MemoryBudgetError
from contraction.execute import Library
from contraction.plans import Plan
from contraction.reuse.passes import Route, both_passes, bound_messages, route_of
from contraction.spec import Labels

Fixed = Mapping[Hashable, int]


def sliced_passes(
    plan: Plan,
    values: Sequence[Any],
    cotangent: Any,
    leaves: tuple[int, ...],
    limit: int | None,
    *,
    valued: bool,
) -> tuple[Any, dict[int, Any]]:
    """Return the value (None unless `valued`) and the derivatives of all slices together.

    The derivative by an input goes to the slice of the input that it belongs to, and is added
    up over the sliced labels that the input does not have; the value likewise.

    Raises
    ------
    MemoryBudgetError
        The derivatives and one slice do not fit `limit`, in entries.
    """
    spec, name = plan.spec, namespace_name(values[0])
    route = _one_slice(plan, name, leaves, cotangent is not None, limit, valued=valued)
    xp: Any = namespace_by_name(name)
    like = {"dtype": values[0].dtype, "device": values[0].device}
    found = {i: xp.zeros(spec.shapes[i], **like) for i in leaves}
    total = xp.zeros(spec.shape, **like) if valued else None
    contiguous = Library(name).contiguous
    for fixed in _slices(plan):
        places = [_place(labels, fixed) for labels in spec.inputs]
        out = _place(spec.output, fixed)
        pieces = [contiguous(x[place]) for x, place in zip(values, places, strict=True)]
        part = None if cotangent is None else cotangent[out]
        value, parts = both_passes(route, pieces, part, valued=valued)
        for i in leaves:
            found[i][places[i]] += parts[i]
        if total is not None:
            total[out] += value
    return total, found


def _one_slice(
    plan: Plan,
    name: str,
    leaves: tuple[int, ...],
    weighted: bool,
    limit: int | None,
    *,
    valued: bool,
) -> Route:
    """Return the steps of a slice, in which the sliced labels have size one."""
    spec, gone = plan.spec, set(plan.slices)
    sizes = tuple(1 if label in gone else n for label, n in spec.sizes.items())
    canonical = spec.canonical._replace(sizes=sizes)
    if limit is not None:
        beside = math.prod(spec.shape) * valued
        beside += sum(math.prod(spec.shapes[i]) for i in leaves)
        beside += sum(math.prod(sizes[x] for x in labels) for labels in canonical.inputs)
        if beside > limit:
            raise MemoryBudgetError(
                f"the derivatives of the {len(leaves)} inputs and one slice of all inputs take "
                f"{beside:,} entries, but `memory` allows {limit:,}; nothing was allocated."
            )
        limit -= beside
    bound = bound_messages(canonical, plan.pairs, name, None, leaves, weighted)
    return route_of(bound, valued, limit)


def _slices(plan: Plan) -> Iterator[Fixed]:
    ranges = [range(plan.spec.sizes[label]) for label in plan.slices]
    for fixed in itertools.product(*ranges):
        yield dict(zip(plan.slices, fixed, strict=True))


def _place(labels: Labels, fixed: Fixed) -> tuple[slice, ...]:
    return tuple(slice(fixed[x], fixed[x] + 1) if x in fixed else slice(None) for x in labels)
