"""plan: how to contract, worked out once and remembered."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from functools import lru_cache

import numpy as np

from contraction.cost import CPU
from contraction.errors import DTypeError, PlanError
from contraction.expressions import equation_spec, read_equation
from contraction.loops import sliced_canonical
from contraction.paths import Objective, read_objective, search_pairs
from contraction.plans import Compiled, check_memory
from contraction.plans import Plan as Plan
from contraction.spec import Canonical, Spec
from contraction.tree import Pairs, check_pairs
from contraction.units import parse_bytes, parse_seconds


def plan(
    spec_or_equation: Spec | str,
    shapes: Sequence[Sequence[int]] | None = None,
    *,
    objective: Objective | str = Objective.TIME,
    memory: int | str | None = None,
    budget: float | str | None = None,
    path: Sequence[tuple[int, int]] | None = None,
    slices: Sequence[Hashable] = (),
    dtype: str = "float64",
) -> Plan:
    """Work out how to contract: the tree, the kernels, and what they cost.

    Plans are remembered by the canonical form of the contraction (labels by order of
    appearance, and sizes), so that asking again for the same work is cheap.

    Parameters
    ----------
    spec_or_equation
        A `Spec`, or an einsum equation, for which `shapes` is needed.
    shapes
        The shapes of the arrays; for a `Spec` they may be left out.
    objective
        What to make small: an `Objective` or its value ("time", "flops", "size", "write",
        "combo").
    memory
        Bytes that a run may allocate beside its inputs: a number, or text such as "2GiB".
        Inputs that must be copied first, for their dtype or for gaps in memory, come on top.
    budget
        Seconds for the search on networks too large for an exact one: a number, or text such
        as "10s". By default the search has a fixed length and is repeatable.
    path
        The tree, if it is known, as pairs of values (`Plan.pairs`): inputs are 0 .. n-1, the
        k-th pair makes value n+k.
    slices
        Labels to be fixed and looped over: the run contracts what is left for each of their
        combinations, one after the other, and takes less memory.
    dtype
        Of the arrays to come; it matters for `memory` only.

    Raises
    ------
    PlanError
        A malformed equation, objective or path.
    ShapeError
        Shapes that do not fit the labels or one another.
    DTypeError
        `dtype` is none.
    MemoryBudgetError
        The best plan found needs more than `memory`.

    Examples
    --------
    >>> p = plan("abc,br,cr->ar", [(8, 9, 10), (9, 4), (10, 4)])
    >>> p.flops, len(p.pairs), p.spec.shape
    (6336, 2, (8, 4))
    """
    spec = _read_spec(spec_or_equation, shapes)
    wanted = read_objective(objective)
    limit = None if memory is None else parse_bytes(memory)
    seconds = None if budget is None else parse_seconds(budget)
    try:
        itemsize = np.dtype(dtype).itemsize
    except TypeError as error:
        raise DTypeError(f"`dtype` is the name of a dtype, got {dtype!r}.") from error
    try:
        tree = None if path is None else tuple(tuple(map(int, pair)) for pair in path)
    except (TypeError, ValueError) as error:
        raise PlanError(f"`path` is a list of pairs of values, got {path!r}.") from error
    find = _search if len(spec.inputs) <= MANY else _search_many
    compiled = find(
        spec.canonical,
        wanted,
        None if limit is None else limit // itemsize,
        seconds,
        tree,
        _read_slices(slices, spec),
    )
    names = list(spec.sizes)
    labels = tuple(names[x] for x in compiled.slices)
    made = Plan(spec, compiled.pairs, wanted, limit, labels, compiled)
    if limit is not None:
        check_memory(made.peak_size * itemsize, limit, made.peak_size)
    return made


MANY = 2000  # inputs above which only a few plans are remembered, for they are large


@lru_cache(maxsize=512)
def _search(
    canonical: Canonical,
    objective: Objective,
    max_size: int | None,
    seconds: float | None,
    path: Pairs | None,
    slices: tuple[int, ...],
) -> Compiled:
    if path is None:
        path = search_pairs(
            sliced_canonical(canonical, slices),
            objective,
            CPU,
            seconds=seconds,
            max_size=math.inf if max_size is None else max_size,
        )
    else:
        check_pairs(path, len(canonical.inputs))
    return Compiled(canonical, path, slices)


_search_many = lru_cache(maxsize=4)(_search.__wrapped__)


def _read_slices(slices: Sequence[Hashable], spec: Spec) -> tuple[int, ...]:
    number = {label: i for i, label in enumerate(spec.sizes)} if slices else {}
    try:
        chosen = tuple(sorted({number[label] for label in slices}))
    except (KeyError, TypeError) as error:
        raise PlanError(
            f"`slices` is a list of labels of the inputs, such as {list(spec.sizes)[:3]}; "
            f"got {slices!r}."
        ) from error
    return chosen


def _read_spec(given: Spec | str, shapes: Sequence[Sequence[int]] | None) -> Spec:
    found = None if shapes is None else tuple(map(tuple, shapes))
    if isinstance(given, str):
        if found is None:
            raise PlanError(f"plan needs the shapes of the arrays of {given!r}.")
        return equation_spec(*read_equation(given), found)
    if not isinstance(given, Spec):
        raise PlanError(f"plan takes a Spec or an equation, got {type(given).__name__}.")
    if found is not None and found != given.shapes:
        return Spec.from_shapes(given.inputs, given.output, found)
    return given
