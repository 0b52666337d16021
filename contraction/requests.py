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
from contraction.cost import model_for
from contraction.errors import MemoryBudgetError
from contraction.loops import sliced_canonical
from contraction.search.objectives import Objective
from contraction.search.portfolio import ALL_TREES, search_pairs
from contraction.spec import Canonical
from contraction.squeezing import squeezed
from contraction.tree import Pairs, build_tree, check_pairs, order_for_memory

Progress: TypeAlias = Callable[[float, float], None]
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
    peak = _peak(found)
    if peak <= limit:
        return found
    if request.path is not None:
        tree = build_tree(sliced_canonical(canonical, slices), pairs)
        pairs = order_for_memory(tree)
    model = model_for(request.library, device=request.device, dtype=request.dtype)
    slices, least = squeezed(canonical, pairs, slices, limit, model, library=request.library)
    if least > limit:
        _refuse(request, least, "the least that was found to do is")
    return _lowered(request, pairs, slices)


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
            device=f"{request.library} {request.device}",
            seed=request.seed,
        )
        known = plan_store.load(key, inner, seconds=request.seconds)
        if known is not None:
            return known.pairs, (*request.slices, *known.slices)
    start = time.perf_counter()
    found = search_pairs(
        inner,
        request.objective,
        model_for(request.library, device=request.device, dtype=request.dtype),
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


def _peak(found: Compiled) -> int:
    return found.counts.peak_size


def _refuse(request: Request, entries: int, what: str) -> None:
    needed = entries * request.itemsize
    raise MemoryBudgetError(
        f"the contraction would allocate more than the {request.limit:,} bytes that `memory` "
        f"allows: {what} {needed:,} bytes ({entries:,} entries); nothing was allocated. Allow "
        "more, keep fewer labels in the output, or use a smaller dtype."
    )
