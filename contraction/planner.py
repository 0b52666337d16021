"""plan: how to contract, worked out once and remembered."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import lru_cache

import numpy as np

from contraction.arrays import NAMESPACES
from contraction.cost import model_for
from contraction.errors import BackendError, DTypeError, InputError, PlanError
from contraction.expressions import equation_spec, read_equation
from contraction.memory import memory_limit
from contraction.plans import Plan as Plan
from contraction.requests import MANY as MANY
from contraction.requests import Progress, Request, compiled_for
from contraction.search.objectives import Objective, read_objective
from contraction.spec import Spec
from contraction.units import parse_seconds


def plan(
    spec_or_equation: Spec | str,
    shapes: Sequence[Sequence[int]] | None = None,
    *,
    objective: Objective | str = Objective.TIME,
    memory: int | float | str | None = None,
    budget: float | str | None = None,
    path: Sequence[tuple[int, int]] | None = None,
    slices: Sequence[Hashable] = (),
    seed: int = 0,
    library: str = "numpy",
    device: str | None = None,
    dtype: str = "float64",
    progress: Progress | None = None,
) -> Plan:
    """Work out how to contract: the tree, the kernels, and what they cost.

    Plans are remembered by the canonical form of the contraction (labels by order of
    appearance, and sizes), so that asking again for the same work is cheap. Those whose search
    took long are kept on disk, too.

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
        Bytes that a run may allocate beside its inputs: a number, text such as "2GiB", or a
        share ("80%", or a float up to 1) of what `device` has free now. Everything counts:
        results, copies, buffers, and inputs that must be copied for their dtype or for gaps in
        memory. Where no tree fits, labels are sliced.
    budget
        Seconds for the search on networks too large for an exact one: a number, or text such
        as "10s". By default the search has a fixed length and is repeatable.
    path
        The tree, if it is known, as pairs of values (`Plan.pairs`): inputs are 0 .. n-1, the
        k-th pair makes value n+k.
    slices
        Labels to be fixed and looped over: the run contracts what is left for each of their
        combinations, one after the other, and takes less memory.
    seed
        Of the random choices of the search.
    library, device, dtype
        Of the arrays to come: "numpy", "torch" or "cupy"; "cpu" or "cuda:0", by default where
        the library computes if nothing is said; the name of a dtype. The estimated times and
        the bytes allowed are for these. The plan runs on any arrays.
    progress
        Called during the search with the share of `budget` that is over and log2 of the
        smallest cost so far: multiply-adds, and entries written weighted as `objective` does.

    Raises
    ------
    PlanError
        A malformed equation, objective, path or list of slices.
    ShapeError
        Shapes that do not fit the labels or one another.
    InputError
        A malformed `memory` or `budget`, or a negative seed.
    DTypeError, BackendError
        `dtype` or `library` is none.
    MemoryBudgetError
        Nothing that fits `memory` was found; the message says what the least is.

    Examples
    --------
    >>> p = plan("abc,br,cr->ar", [(8, 9, 10), (9, 4), (10, 4)], objective="flops")
    >>> p.flops, len(p.pairs), p.spec.shape
    (6336, 2, (8, 4))
    >>> plan("ab,bc->ac", [(50, 40), (40, 50)], slices="b").num_slices
    40
    """
    spec = _read_spec(spec_or_equation, shapes)
    if library not in NAMESPACES:
        raise BackendError(f"`library` is one of {', '.join(NAMESPACES)}; got {library!r}.")
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise InputError(f"`seed` is a whole number >= 0, got {seed!r}.")
    where = device or ("cuda:0" if library == "cupy" else "cpu")
    limit = None if memory is None else memory_limit(memory, library=library, device=where)
    request = Request(
        canonical=spec.canonical,
        objective=read_objective(objective),
        path=None if path is None else _read_path(path),
        slices=_read_slices(slices, spec) if slices else (),
        limit=limit,
        itemsize=_itemsize(dtype),
        seconds=None if budget is None else parse_seconds(budget),
        seed=int(seed),
        library=library,
        device=where,
        dtype=dtype,
        model=model_for(library, device=where, dtype=dtype),
        progress=progress,
    )
    compiled = compiled_for(request)
    labels: tuple[Hashable, ...] = ()
    if compiled.slices:
        names = list(spec.sizes)
        labels = tuple(names[x] for x in compiled.slices)
    return Plan(spec, compiled.pairs, request.objective, limit, labels, compiled)


@lru_cache(maxsize=32)
def _itemsize(dtype: str) -> int:
    try:
        kind = np.dtype(dtype)
    except TypeError as error:
        raise DTypeError(f"`dtype` is the name of a dtype, got {dtype!r}.") from error
    if kind.kind not in "biufc":
        raise DTypeError(f"`dtype` is one of numbers, got {dtype!r}.")
    return kind.itemsize


def _read_path(path: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    try:
        return tuple(tuple(map(int, pair)) for pair in path)  # type: ignore[misc]
    except (TypeError, ValueError) as error:
        raise PlanError(f"`path` is a list of pairs of values, got {path!r}.") from error


def _read_slices(slices: Sequence[Hashable], spec: Spec) -> tuple[int, ...]:
    number = {label: i for i, label in enumerate(spec.sizes)}
    try:
        return tuple(sorted({number[label] for label in slices}))
    except (KeyError, TypeError) as error:
        raise PlanError(
            f"`slices` is a list of labels of the inputs, such as {list(spec.sizes)[:3]}; "
            f"got {slices!r}."
        ) from error


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
