"""Environments: the derivatives of a contraction by its inputs, all in one pass up and one down."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from contraction import arrays as arrays_
from contraction.arrays import Array
from contraction.cost import MODELS
from contraction.errors import BackendError, InputError, MemoryBudgetError, ShapeError
from contraction.execute import is_plain, memory_orders, prepare
from contraction.planner import Plan
from contraction.program import Layouts
from contraction.reuse.binding import Bound
from contraction.reuse.messages import build_messages
from contraction.reuse.retention import within_memory
from contraction.reuse.schedules import Schedule, full_schedule
from contraction.reuse.slicing import Sliced, sliced
from contraction.spec import Canonical, Spec
from contraction.tree import Pairs
from contraction.units import parse_bytes


def environments(
    plan: Plan,
    arrays: Sequence[Array],
    *,
    cotangent: Array | None = None,
    leaves: Iterable[int] | None = None,
    memory: int | str | None = None,
) -> list[Array]:
    """Return the derivatives of a contraction by its inputs.

    The environment of an input is what the contraction is multiplied by there: the network
    with that input taken out. All of them take one pass up and one pass down the plan's tree
    (reverse accumulation, Linnainmaa, BIT 16, 146 (1976)).

    Parameters
    ----------
    plan
        The plan of the contraction.
    arrays
        One array for each input.
    cotangent
        Weights of the entries of the result, of the result's shape; not needed for a scalar.
        What is differentiated is the sum of the entries times their weights.
    leaves
        The inputs wanted, by position; all by default.
    memory
        Bytes that the whole run may allocate, environments included: a number, or text such as
        "2GiB". Values are then freed and made again as far as that is needed, as few
        multiply-adds as possible. By default the limit of the plan, if it has one.

    Returns
    -------
    list[Array]
        For each input wanted an array of its shape, in the common dtype. For complex arrays it
        is the plain derivative, nothing is conjugated. An input given twice has two
        environments; its gradient is their sum.

    Raises
    ------
    InputError
        A missing cotangent, or an input that there is not.
    ShapeError, BackendError, DTypeError
        As for `Plan.run`.
    MemoryBudgetError
        `memory` is too little however much is made again; nothing was allocated.

    Notes
    -----
    Cost: at most three times the multiply-adds of one contraction, unless `memory` is short.
    A subset of the inputs costs only the steps between them and the root and what these need.

    Examples
    --------
    >>> p = contraction.plan("ab,bc,ca->", [(2, 3), (3, 4), (4, 2)])
    >>> x, y, z = np.ones((2, 3)), np.ones((3, 4)), np.ones((4, 2))
    >>> [e.shape for e in environments(p, [x, y, z])]
    [(2, 3), (3, 4), (4, 2)]
    >>> environments(p, [x, y, z], leaves=[1])[0][0]
    array([2., 2., 2., 2.])
    """
    job = _Job(plan, arrays, cotangent, leaves, memory, valued=False)
    return job.run()[1]


def value_and_gradients(
    plan: Plan,
    arrays: Sequence[Array],
    cotangent: Array | None = None,
    *,
    leaves: Iterable[int] | None = None,
    memory: int | str | None = None,
) -> tuple[Array, list[Array]]:
    """Return the result of a contraction and its gradients by the inputs.

    As `environments`, with two differences: the value comes along, and for complex arrays the
    gradients are those of a vector-Jacobian product as PyTorch defines it, the conjugated
    derivative times the cotangent (the direction of steepest ascent of the real part).

    Examples
    --------
    >>> p = contraction.plan("a,a->", [(2,), (2,)])
    >>> value, (dx, dy) = value_and_gradients(p, [np.array([1.0, 2.0]), np.array([3.0, 4.0])])
    >>> float(value), dx, dy
    (11.0, array([3., 4.]), array([1., 2.]))
    """
    if cotangent is not None:
        cotangent = conjugated(arrays_.as_array(cotangent, what="the cotangent"))
    value, found = _Job(plan, arrays, cotangent, leaves, memory, valued=True).run()
    return value, [conjugated(x) for x in found]


def conjugated(x: Any) -> Any:
    """Return the complex conjugate, real arrays as they are."""
    if not arrays_.is_complex(x):
        return x
    made = x.conj()
    return made.resolve_conj() if arrays_.namespace_name(x) == "torch" else made


@lru_cache(maxsize=128)
def bound_messages(
    canonical: Canonical,
    pairs: Pairs,
    name: str,
    layouts: Layouts | None,
    leaves: tuple[int, ...] | None,
    weighted: bool,
) -> Bound:
    """Return the bound messages of a tree; remembered."""
    made = build_messages(canonical, pairs, MODELS[name], layouts, leaves, weighted=weighted)
    return Bound(made, name)


@lru_cache(maxsize=128)
def _schedule(bound: Bound, valued: bool, limit: int | None) -> Schedule:
    messages = bound.messages
    results = {messages.derivatives[i] for i in messages.finishes}
    if valued:
        results.add(messages.root)
    schedule = full_schedule(messages, results)
    if limit is not None and schedule.peak_size > limit:
        schedule = within_memory(messages, results, limit)
    return schedule


class _Job:
    """One call: checked arrays, the steps, and their schedule."""

    def __init__(
        self,
        plan: Plan,
        arrays: Sequence[Array],
        cotangent: Any,
        leaves: Iterable[int] | None,
        memory: int | str | None,
        *,
        valued: bool,
    ) -> None:
        spec = plan.spec
        self.leaves = wanted_leaves(leaves, len(spec.inputs))
        self.values, self.cotangent, name, layouts = checked(spec, arrays, cotangent)
        self.valued, weighted = valued, self.cotangent is not None
        self.parts: Sliced = sliced(plan)
        if self.parts.labels:
            layouts = None
        every = tuple(sorted(set(self.leaves)))
        self.bound = bound_messages(
            self.parts.canonical, plan.pairs, name, layouts, every, weighted
        )
        limit = plan.memory if memory is None else parse_bytes(memory)
        itemsize = int(self.values[0].dtype.itemsize)
        entries = None if limit is None else limit // itemsize
        self.schedule = _schedule(self.bound, valued, entries)

    def run(self) -> tuple[Any, list[Any]]:
        """Return the value (None unless asked for) and the derivatives."""
        if not self.parts.labels:
            value, found = run_schedule(
                self.bound, self.schedule, self.values, self.cotangent, valued=self.valued
            )
        else:
            value, found = self.parts.summed(
                lambda values, cotangent: run_schedule(
                    self.bound, self.schedule, values, cotangent, valued=self.valued
                ),
                self.values,
                self.cotangent,
                sorted(set(self.leaves)),
            )
        return value, [found[i] for i in self.leaves]


def run_schedule(
    bound: Bound, schedule: Schedule, arrays: list[Any], cotangent: Any, *, valued: bool
) -> tuple[Any, dict[int, Any]]:
    """Make all values of a schedule; return the result (if `valued`) and the derivatives."""
    messages, kernels = bound.messages, bound.kernels
    first = messages.inputs + 1
    values = bound.prepared(arrays, cotangent)
    values += [None] * len(kernels)
    for target, freed in zip(schedule.made, schedule.freed, strict=True):
        kernel, i, j = kernels[target - first]
        values[target] = kernel(values[i], values[j])
        for v in freed:
            values[v] = None
    found = {}
    for leaf in messages.finishes:
        found[leaf] = bound.environment(leaf, values[messages.derivatives[leaf]])
    return (bound.result(values[messages.root]) if valued else None), found


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
    spec: Spec, arrays: Sequence[Array], cotangent: Any
) -> tuple[list[Any], Any, str, Layouts | None]:
    """Return arrays and cotangent of one library and dtype, its name, and the memory orders."""
    values, name = list(arrays), "numpy"
    plain = is_plain(values, spec.shape_list)
    if not plain:
        name = prepare(values, spec)
    if cotangent is None:
        if spec.output:
            raise InputError(
                f"the result has axes {list(spec.output)}; give a `cotangent` of shape "
                f"{spec.shape}, the weight of each of its entries."
            )
        if len(values) == 1:
            cotangent = arrays_.namespace(values[0]).ones((), dtype=values[0].dtype)
    if cotangent is not None:
        cotangent = arrays_.as_array(cotangent, what="the cotangent")
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
    return values, cotangent, name, None if plain else memory_orders(values, name)
