"""einsum: the plan of an equation, remembered, and run at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from contraction import arrays as arrays_
from contraction.arrays import Array
from contraction.expressions import Term, equation_spec, read_equation, read_interleaved
from contraction.memory import memory_limit
from contraction.planner import MANY, Plan, plan
from contraction.search.objectives import Objective, read_objective
from contraction.tree import Pairs, read_path

Equation: TypeAlias = str | tuple[tuple[Term, ...], Term | None]


def einsum(
    *operands: Any,
    objective: Objective | str = Objective.TIME,
    memory: int | float | str | None = None,
    optimize: bool | str | Sequence[Any] | None = None,
) -> Array:
    """Contract arrays by Einstein's summation convention; stands in for `numpy.einsum`.

    Parameters
    ----------
    operands
        An equation and arrays, `einsum("ab,bc->ac", x, y)`, or arrays each followed by its
        labels and at the end perhaps those of the result, `einsum(x, [0, 1], y, [1, 2])`. With
        or without "->", with "..." and its broadcasting. Labels may be held by any number of
        arrays; there may be more than 52 of them. Axes of size one are broadcast.
    objective, memory
        As for `plan`.
    optimize
        For callers of NumPy and opt_einsum. A path as theirs, `[(0, 1), (0, 1)]`, is followed;
        the name of a strategy, or a truth value, changes nothing: the tree is always searched
        for, by `objective`.

    Returns
    -------
    Array
        An array of the library of the operands, in their common dtype; integers become
        float64, with a warning. The result of a single operand may be a view of it.

    Raises
    ------
    PlanError
        A malformed equation, objective or path.
    ShapeError
        Shapes that do not fit the labels or one another.
    BackendError
        Arrays of several libraries or devices, or sparse tensors.
    DTypeError
        Entries that are no numbers.
    MemoryBudgetError
        More than `memory` would be needed; nothing was allocated.

    Notes
    -----
    There is no `out`, `dtype`, `order`, `casting` or `backend`, and giving one is a TypeError:
    the result is a new array, and library and dtype are those of the operands, so convert
    these first.

    Examples
    --------
    >>> x, y = np.arange(6.0).reshape(2, 3), np.ones((3, 2))
    >>> einsum("ab,bc->ac", x, y)
    array([[ 3.,  3.],
           [12., 12.]])
    >>> einsum(x, ["row", "column"], ["column"])
    array([3., 5., 7.])
    """
    if operands and isinstance(operands[0], str):
        equation: Equation = operands[0]
        values = list(operands[1:])
    else:
        values, terms, output = read_interleaved(operands)
        equation = (terms, output)
    shapes = []
    for i, x in enumerate(values):
        if not hasattr(x, "shape"):
            x = values[i] = arrays_.as_array(x, what=f"operand {i}")
        shapes.append(x.shape)
    dtype, name, where = "float64", "numpy", "cpu"
    if values and type(values[0]) is not np.ndarray:
        name, where = arrays_.namespace_name(values[0]), arrays_.device(values[0])
    if memory is not None:
        memory = memory_limit(memory, library=name, device=where)  # a share: now
        known = [arrays_.dtype_name(x) for x in values]
        dtype = str(np.result_type(*known)) if set(known) <= set(arrays_.DTYPES) else dtype
    path = None
    if not (optimize is None or isinstance(optimize, (bool, str))):
        path = read_path(optimize, len(values))
    wanted = objective if isinstance(objective, Objective) else read_objective(objective)
    find = _einsum_plan if len(values) <= MANY else _einsum_plan.__wrapped__
    made = find(equation, tuple(shapes), wanted, memory, (name, where, dtype), path)
    result: Array = made.run(values)
    return result


@lru_cache(maxsize=512)
def _einsum_plan(
    equation: Equation,
    shapes: tuple[tuple[int, ...], ...],
    objective: Objective,
    memory: int | None,
    place: tuple[str, str, str],
    path: Pairs | None,
) -> Plan:
    terms, output = read_equation(equation) if isinstance(equation, str) else equation
    spec = equation_spec(terms, output, tuple(map(tuple, shapes)))
    library, device, dtype = place
    return plan(
        spec, objective=objective, memory=memory, path=path,
        library=library, device=device, dtype=dtype,
    )  # fmt: skip
