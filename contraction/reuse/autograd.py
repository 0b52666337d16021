"""Autograd: a plan as one node of PyTorch's graph, differentiable any number of times."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from contraction.arrays import Array
from contraction.execute import memory_orders, prepare
from contraction.plans import Plan
from contraction.reuse.passes import (
    Route,
    both_passes,
    bound_messages,
    climb,
    conjugated,
    descend,
    route_of,
)
from contraction.reuse.slicing import sliced_passes


def differentiable_run(plan: Plan, arrays: Sequence[Any]) -> Array:
    """Return what `Plan.run` returns, as a single node of PyTorch's graph.

    The node keeps the values that the way down needs and nothing else, frees each once it has
    been used, and makes only the derivatives asked for. Under ``create_graph`` the way up and
    down is recorded step by step, so that second and higher derivatives are exact too.

    Raises
    ------
    MemoryBudgetError
        Value and derivatives together need more than the plan's `memory`.
    """
    values = list(arrays)
    prepare(values, plan.spec)  # conversions between dtypes are recorded by PyTorch
    made: Array = _function().apply(plan, *values)
    return made


@lru_cache(maxsize=1)
def _function() -> Any:
    import torch

    class Contraction(torch.autograd.Function):  # type: ignore[misc]
        """Forwards up the tree, backwards down the tree."""

        @staticmethod
        def forward(ctx: Any, plan: Plan, *given: Any) -> Any:
            leaves = tuple(i for i, asked in enumerate(ctx.needs_input_grad[1:]) if asked)
            ctx.plan, ctx.leaves = plan, leaves
            ctx.save_for_backward(*given)
            if plan.slices:
                ctx.table = None
                return plan.run(given)
            ctx.route = route = _route(plan, leaves, values := list(given))
            table = climb(route, values)
            root = route.bound.messages.root
            result = route.bound.result(table[root])
            if root >= len(given):
                table[root] = None
            ctx.table = table
            return result.clone() if root < len(given) else result

        @staticmethod
        def backward(ctx: Any, cotangent: Any) -> tuple[Any, ...]:
            plan, leaves, given = ctx.plan, ctx.leaves, ctx.saved_tensors
            weights = conjugated(cotangent)
            table, ctx.table = ctx.table, None  # a second call climbs again
            if plan.slices:
                entries = _entries(plan, given)
                found = sliced_passes(plan, given, weights, leaves, entries, valued=False)[1]
            else:
                route = ctx.route
                if table is None or torch.is_grad_enabled():
                    memory_orders(values := list(given), "torch")  # copies what has gaps
                    found = both_passes(route, values, weights, valued=False)[1]
                else:
                    found = descend(route, table, weights)
            if cotangent.is_complex():
                found = {i: conjugated(x) for i, x in found.items()}
            return (None, *map(found.get, range(len(given))))

    return Contraction


def _route(plan: Plan, leaves: tuple[int, ...], values: list[Any]) -> Route:
    """Return the steps up and down; values with gaps in memory are replaced."""
    layouts = memory_orders(values, "torch")
    bound = bound_messages(plan.spec.canonical, plan.pairs, "torch", layouts, leaves, True)
    return route_of(bound, True, _entries(plan, values))


def _entries(plan: Plan, values: Sequence[Any]) -> int | None:
    return None if plan.memory is None else plan.memory // int(values[0].element_size())
