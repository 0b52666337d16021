"""Autograd: a plan as one node of PyTorch's graph, differentiable any number of times."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from contraction.arrays import Array
from contraction.compilation import Compiled
from contraction.execute import memory_orders, prepare
from contraction.plans import Plan
from contraction.reuse.derivation import Derivation, budget_of, derivation_of, derive
from contraction.reuse.nesting import Question
from contraction.reuse.passes import Route, climb, conjugated, descend
from contraction.reuse.tracking import is_transformed


def differentiable_run(plan: Plan, arrays: Sequence[Any]) -> Array:
    """Return what `Plan.run` returns, as a single node of PyTorch's graph.

    The node keeps the values that the way down needs and nothing else, frees each once it has
    been used, and makes only the derivatives asked for. Under ``create_graph`` the way up and
    down is recorded step by step, so that second and higher derivatives are exact too.

    Inside `torch.func` transforms (`vmap`, `grad`, `jacrev`, ...) and forward-mode derivatives
    the steps are PyTorch's own operations one by one, all slices at once.

    Raises
    ------
    MemoryBudgetError
        Value and derivatives together need more than the plan's `memory`.
    """
    values = list(arrays)
    if is_transformed():
        made: Array = _unsliced(plan.compiled).run(values, plan.spec, plan.memory)
        return made
    prepare(values, plan.spec)  # conversions between dtypes are recorded by PyTorch
    made = _function().apply(plan, *values)
    return made


@lru_cache(maxsize=32)
def _unsliced(compiled: Compiled) -> Compiled:
    """Return the same tree without slices, which are added up in place."""
    if not compiled.slices:
        return compiled
    return Compiled(
        compiled.canonical, compiled.pairs, (), library=compiled.library,
        device=compiled.device, dtype=compiled.dtype,
    )  # fmt: skip


@lru_cache(maxsize=1)
def _function() -> Any:
    import torch

    class Contraction(torch.autograd.Function):  # type: ignore[misc]
        """Forwards up the tree, backwards down the tree."""

        @staticmethod
        def forward(ctx: Any, plan: Plan, *given: Any) -> Any:
            leaves = tuple(i for i, asked in enumerate(ctx.needs_input_grad[1:]) if asked)
            values = list(given)
            ctx.leaves, ctx.derivation = leaves, _derivation(plan, leaves, values)
            ctx.save_for_backward(*given)
            ctx.table = None
            if not isinstance(route := ctx.derivation, Route):
                return plan.run(given)
            ctx.table = table = climb(route, values)
            root = route.bound.messages.root
            result = route.bound.result(table[root])
            if root < len(given):
                return result.clone()
            table[root] = None
            return result

        @staticmethod
        def backward(ctx: Any, cotangent: Any) -> tuple[Any, ...]:
            given, derivation = ctx.saved_tensors, ctx.derivation
            weights = conjugated(cotangent).contiguous()
            table, ctx.table = ctx.table, None  # a second call climbs again
            if table is None or torch.is_grad_enabled():
                memory_orders(values := list(given), "torch")  # copies what has gaps
                found = derive(derivation, values, weights, ctx.leaves, valued=False)[1]
            else:
                found = descend(derivation, table, weights)
            if cotangent.is_complex():
                found = {i: conjugated(x) for i, x in found.items()}
            return (None, *map(found.get, range(len(given))))

    return Contraction


def _derivation(plan: Plan, leaves: tuple[int, ...], values: list[Any]) -> Derivation:
    """Return the steps up and down; values with gaps in memory are replaced."""
    budget = None if plan.memory is None else budget_of(plan.memory, values, None)
    layouts = memory_orders(values, "torch")
    question = Question(
        plan.spec.canonical, plan.pairs, plan.compiled.slices, "torch", layouts, leaves, True, True
    )
    return derivation_of(question, budget)[0]
