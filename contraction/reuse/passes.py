"""Passes: the way up and the way down a tree, on checked arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from contraction import arrays as arrays_
from contraction.arrays import Array
from contraction.cost import MODELS
from contraction.errors import BackendError, InputError, ShapeError
from contraction.execute import Library, is_plain, memory_orders, prepare
from contraction.program import Layouts
from contraction.reuse.binding import Binary, Bound
from contraction.reuse.messages import build_messages
from contraction.reuse.retention import Budget, within_memory
from contraction.reuse.schedules import Schedule, full_schedule
from contraction.spec import Canonical, Spec
from contraction.tree import Pairs

Instruction: TypeAlias = tuple[int, Binary, int, int, tuple[int, ...]]  # to, of these; then free


@lru_cache(maxsize=128)
def bound_messages(
    canonical: Canonical,
    pairs: Pairs,
    name: str,
    layouts: Layouts | None,
    leaves: tuple[int, ...] | None,
    weighted: bool,
    owned: tuple[int, ...] = (),
) -> Bound:
    """Return the bound messages of a tree, as `build_messages` makes them; remembered.

    `owned` are, for each input, the entries that are freed with it.
    """
    made = build_messages(
        canonical, pairs, MODELS[name], layouts, leaves, weighted=weighted, library=name
    )
    if any(owned):
        own = tuple(known or entries for known, entries in zip(made.sizes, owned, strict=False))
        made = made._replace(sizes=own + made.sizes[len(own) :])
    return Bound(made, name)


class Route(NamedTuple):
    """The steps of a run up and down a tree, ready to be done."""

    bound: Bound
    schedule: Schedule
    up: tuple[Instruction, ...]
    down: tuple[Instruction, ...]

    @property
    def peak_size(self) -> int:
        """The most entries alive in a run, the derivatives included."""
        return self.schedule.peak_size


@lru_cache(maxsize=128)
def route_of(bound: Bound, valued: bool, budget: Budget | None) -> Route:
    """Return the steps for all derivatives, and for the value if `valued`; remembered.

    Everything is kept where the budget allows it.

    Raises
    ------
    MemoryBudgetError
        No order found stays within the budget.
    """
    schedule = _keeping_all(bound, valued)
    if not fits(bound, valued, budget):
        assert budget is not None
        schedule = within_memory(bound.messages, _results(bound, valued), budget)
    first, kernels = bound.messages.inputs + 1, bound.kernels
    steps = [
        (target, *kernels[target - first], freed)
        for target, freed in zip(schedule.made, schedule.freed, strict=True)
    ]
    return Route(bound, schedule, tuple(steps[: schedule.turn]), tuple(steps[schedule.turn :]))


def fits(bound: Bound, valued: bool, budget: Budget | None) -> bool:
    """Tell whether everything can be kept within a budget."""
    if budget is None:
        return True
    return _keeping_all(bound, valued).peak_size + budget.beside <= budget.size


@lru_cache(maxsize=128)
def _keeping_all(bound: Bound, valued: bool) -> Schedule:
    return full_schedule(bound.messages, _results(bound, valued))


def _results(bound: Bound, valued: bool) -> frozenset[int]:
    messages = bound.messages
    found = {messages.derivatives[i] for i in messages.finishes}
    return frozenset(found | {messages.root} if valued else found)


def climb(route: Route, arrays: Sequence[Any]) -> list[Any]:
    """Return the table of values after the way up, kept ones and results only."""
    values = route.bound.prepared(arrays)
    rise(route, values)
    return values


def rise(route: Route, values: list[Any]) -> None:
    """Make the values of the way up in the table of prepared inputs."""
    _make(route.up, values)


def descend(route: Route, values: list[Any], cotangent: Any) -> dict[int, Any]:
    """Return the derivatives; the table of values is emptied on the way."""
    bound, messages = route.bound, route.bound.messages
    values[messages.inputs] = bound.weights(cotangent)
    _make(route.down, values)
    derivatives = messages.derivatives
    return {leaf: bound.environment(leaf, values[derivatives[leaf]]) for leaf in messages.finishes}


def _make(steps: tuple[Instruction, ...], values: list[Any]) -> None:
    for target, kernel, i, j, freed in steps:
        values[target] = kernel(values[i], values[j])
        for v in freed:
            values[v] = None


def both_passes(
    route: Route, arrays: Sequence[Any], cotangent: Any, *, valued: bool
) -> tuple[Any, dict[int, Any]]:
    """Return the result of the contraction (None unless `valued`) and the derivatives."""
    values = climb(route, arrays)
    bound = route.bound
    value = bound.result(values[bound.messages.root]) if valued else None
    return value, descend(route, values, cotangent)


def wanted_leaves(leaves: Iterable[int] | None, count: int) -> list[int]:
    """Return the positions of the inputs asked for.

    Raises
    ------
    InputError
        One of them is no position.
    """
    if leaves is None:
        return list(range(count))
    wanted = list(leaves)
    for i in wanted:
        if isinstance(i, bool) or not isinstance(i, (int, np.integer)) or not 0 <= i < count:
            raise InputError(f"`leaves` are positions of inputs, 0..{count - 1}; got {i!r}.")
    return [int(i) for i in wanted]


def checked(
    spec: Spec, arrays: Sequence[Array], cotangent: Any, *, needed: bool = True
) -> tuple[list[Any], Any, str, Layouts | None]:
    """Return arrays and cotangent of one library and dtype, its name, and the memory orders.

    Raises
    ------
    InputError
        No cotangent, though the result has axes and it is `needed`.
    ShapeError, BackendError, DTypeError
        As for `Plan.run`.
    """
    values, name = list(arrays), "numpy"
    plain = is_plain(values, spec.shape_list)
    if not plain:
        name = prepare(values, spec)
    if cotangent is not None:
        values, cotangent = _weighted(spec, values, cotangent, name)
    elif spec.output and needed:
        raise InputError(
            f"the result has axes {list(spec.output)}; give a `cotangent` of shape {spec.shape}, "
            "the weight of each of its entries."
        )
    elif len(values) == 1 and not spec.output:
        cotangent = one(values[0])
    return values, cotangent, name, None if plain else memory_orders(values, name)


def one(like: Any) -> Any:
    """Return the number one as an array beside `like`."""
    xp: Any = arrays_.namespace(like)
    return xp.ones((), dtype=like.dtype, device=like.device)


def _weighted(spec: Spec, values: list[Any], given: Any, name: str) -> tuple[list[Any], Any]:
    cotangent: Any = arrays_.as_array(given, what="the cotangent")
    if tuple(cotangent.shape) != spec.shape:
        raise ShapeError(
            f"the cotangent has the shape of the result, {spec.shape}; "
            f"got {tuple(cotangent.shape)}."
        )
    if arrays_.namespace_name(cotangent) != name:
        raise BackendError(
            f"the cotangent belongs to {arrays_.namespace_name(cotangent)}, the arrays to "
            f"{name}; move it first (contraction.arrays.to)."
        )
    kinds = {arrays_.dtype_name(x) for x in (values[0], cotangent)}
    if len(kinds) > 1:
        common = str(np.result_type(*kinds))
        values = [arrays_.to(x, dtype=common) for x in values]
        cotangent = arrays_.to(cotangent, dtype=common)
    return values, Library(name).contiguous(cotangent)


def conjugated(x: Any, *, owned: bool = False) -> Any:
    """Return the complex conjugate, real arrays as they are; of NumPy in place if `owned`."""
    if not arrays_.is_complex(x):
        return x
    if owned and isinstance(x, np.ndarray):
        return np.conjugate(x, out=x)
    made = x.conj()
    return made.resolve_conj() if arrays_.namespace_name(x) == "torch" else made
