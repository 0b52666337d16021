"""Requests: what a plan is asked to be, as the key under which it is remembered."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias

from contraction import plan_store
from contraction.compilation import Compiled
from contraction.cost import CostModel
from contraction.errors import MemoryBudgetError
from contraction.loops import sliced_canonical
from contraction.memory import workspace
from contraction.search.objectives import Objective
from contraction.search.portfolio import ALL_TREES, search_pairs
from contraction.spec import Canonical
from contraction.squeezing import Task, squeezed, thinned
from contraction.tree import Pairs, build_tree, check_pairs, order_for_memory

Progress: TypeAlias = Callable[[float, float], None]
LARGE = 1000  # labels times steps above which slices that were searched for are left as they are
MANY = 2000  # inputs above which only a few plans are remembered, for they are large


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to plan and how; equal requests get the same plan.

    Parameters
    ----------
    canonical, objective
        What to contract, and what to make small.
    path, slices
        The tree and labels to slice, where they are given.
    limit, itemsize
        Bytes that a run may allocate, None for any number; bytes of an entry.
    seconds, seed
        Of the search.
    library, device, dtype
        Where the plan will run.
    model
        The rates there; a machine that was measured meanwhile gets plans of its own.
    progress
        Told how the search goes on.
    """

    canonical: Canonical
    objective: Objective
    path: Pairs | None
    slices: tuple[int, ...]
    limit: int | None
    itemsize: int
    seconds: float | None
    seed: int
    library: str
    device: str
    dtype: str
    model: CostModel
    progress: Progress | None = field(default=None, compare=False)

    @property
    def max_size(self) -> float:
        """Entries that may be alive at once."""
        return math.inf if self.limit is None else self.limit // self.itemsize


def compiled_for(request: Request) -> Compiled:
    """Return the plan of a request, remembered or worked out.

    Raises
    ------
    PlanError
        The path is no tree over the inputs.
    MemoryBudgetError
        Nothing was found that fits the memory.
    """
    find = _compiled if len(request.canonical.inputs) <= MANY else _compiled_many
    return find(request)


@lru_cache(maxsize=512)
def _compiled(request: Request) -> Compiled:
    canonical, limit = request.canonical, request.max_size
    shape = math.prod(canonical.sizes[x] for x in canonical.output)
    if shape > limit and len(canonical.inputs) > 1:
        _refuse(request, shape, "its result alone takes")
    if request.path is None:
        pairs, slices = _searched(request)
    else:
        check_pairs(request.path, len(canonical.inputs))
        pairs, slices = request.path, request.slices
    found = _lowered(request, pairs, slices)
    if request.limit is None:  # lowered when it is first asked for its costs, or run
        return found
    if found.counts.peak_size > limit:
        found = _ordered(request, found)
    fits = found.counts.peak_size <= limit
    if fits and (set(slices) <= set(request.slices) or len(slices) * len(pairs) > LARGE):
        return found
    task = Task(canonical, found.pairs, limit, request.model, request.library)
    if fits:
        fewer = thinned(task, slices, request.slices)
        return found if len(fewer) == len(slices) else _lowered(request, found.pairs, fewer)
    slices, least = squeezed(task, slices, request.slices)
    if least > limit:
        _refuse(request, least, "the least that was found to do is")
    return _lowered(request, found.pairs, slices)


_compiled_many = lru_cache(maxsize=4)(_compiled.__wrapped__)


def _searched(request: Request) -> tuple[Pairs, tuple[int, ...]]:
    """Return a tree and labels to slice, from the search or from the disk."""
    inner = sliced_canonical(request.canonical, request.slices)
    key, small = "", len(inner.inputs) <= 2 * ALL_TREES
    if not small:
        key = plan_store.plan_key(
            inner,
            request.objective,
            max_size=request.max_size,
            dtype=request.dtype,
            device=f"{request.library} {request.device} {request.model}",
            seed=request.seed,
        )
        known = plan_store.load(key, inner, seconds=request.seconds)
        if known is not None:
            return known.pairs, (*request.slices, *known.slices)
    start = time.perf_counter()
    found = search_pairs(
        inner,
        request.objective,
        request.model,
        seconds=request.seconds,
        max_size=request.max_size,
        seed=request.seed,
        progress=request.progress,
    )
    if not small:
        took = time.perf_counter() - start
        plan_store.store(key, found, seconds=took if request.seconds is None else request.seconds)
    return found.pairs, (*request.slices, *found.slices)


def _lowered(request: Request, pairs: Pairs, slices: tuple[int, ...]) -> Compiled:
    return Compiled(
        request.canonical,
        pairs,
        slices,
        library=request.library,
        device=request.device,
        dtype=request.dtype,
        max_size=request.max_size,
    )


def _ordered(request: Request, found: Compiled) -> Compiled:
    """Return a plan with its steps in the order of least memory, all that they need counted."""
    tree = build_tree(sliced_canonical(request.canonical, found.slices), found.pairs)
    orders = {order_for_memory(tree)}
    orders.add(order_for_memory(tree, workspace(found.program.steps, request.library)))
    others = [_lowered(request, pairs, found.slices) for pairs in orders - {found.pairs}]
    return min([found, *others], key=lambda one: one.counts.peak_size)


def _refuse(request: Request, entries: int, what: str) -> None:
    needed = entries * request.itemsize
    raise MemoryBudgetError(
        f"the contraction would allocate more than the {request.limit:,} bytes that `memory` "
        f"allows: {what} {needed:,} bytes ({entries:,} entries); nothing was allocated. Allow "
        "more, keep fewer labels in the output, or use a smaller dtype."
    )
