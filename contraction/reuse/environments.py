"""Environments: the derivatives of a contraction by its inputs, all in one pass up and one down."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from contraction import arrays as arrays_
from contraction.arrays import Array
from contraction.plans import Plan
from contraction.reuse.derivation import budget_of, derivation_of, derive
from contraction.reuse.nesting import Question
from contraction.reuse.passes import checked, conjugated, one, wanted_leaves
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
        multiply-adds as possible, and if that is not enough labels are sliced. By default the
        limit of the plan, if it has one.

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
        `memory` is too little whatever is made again or sliced; nothing was allocated. The
        message tells the smallest amount found that would do.

    Notes
    -----
    Cost: at most three times the multiply-adds of one contraction, unless `memory` is short.
    A subset of the inputs costs only the steps between them and the root and what these need.
    In a plan with slices what is the same for several slices is done once, upwards and
    downwards, unless `memory` has no room for it.

    Examples
    --------
    >>> import numpy as np
    >>> from contraction import plan
    >>> p = plan("ab,bc,ca->", [(2, 3), (3, 4), (4, 2)])
    >>> x, y, z = np.ones((2, 3)), np.ones((3, 4)), np.ones((4, 2))
    >>> [e.shape for e in environments(p, [x, y, z])]
    [(2, 3), (3, 4), (4, 2)]
    >>> environments(p, [x, y, z], leaves=[1])[0][0]
    array([2., 2., 2., 2.])
    """
    _, found, wanted = _derived(plan, arrays, cotangent, leaves, memory, valued=False)
    return [found[i] for i in wanted]


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
    >>> import numpy as np
    >>> from contraction import plan
    >>> p = plan("a,a->", [(2,), (2,)])
    >>> value, (dx, dy) = value_and_gradients(p, [np.array([1.0, 2.0]), np.array([3.0, 4.0])])
    >>> float(value), dx, dy
    (11.0, array([3., 4.]), array([1., 2.]))
    """
    if cotangent is not None:
        cotangent = conjugated(arrays_.as_array(cotangent, what="the cotangent"))
    value, found, wanted = _derived(plan, arrays, cotangent, leaves, memory, valued=True)
    for i in found:
        found[i] = conjugated(found[i], owned=True)
    return value, [found[i] for i in wanted]


def _derived(
    plan: Plan,
    arrays: Sequence[Array],
    cotangent: Any,
    leaves: Iterable[int] | None,
    memory: int | str | None,
    *,
    valued: bool,
) -> tuple[Any, dict[int, Any], list[int]]:
    """Return the value (None unless `valued`), the derivatives, and the `leaves` by position."""
    wanted = wanted_leaves(leaves, len(plan.spec.inputs))
    limit = plan.memory if memory is None else parse_bytes(memory)
    budget = None if limit is None else budget_of(limit, arrays, cotangent)
    values, cotangent, name, layouts = checked(plan.spec, arrays, cotangent)
    every = tuple(sorted(set(wanted)))
    question = Question(
        plan.spec.canonical, plan.pairs, plan.compiled.slices, name, layouts, every,
        cotangent is not None, valued,
    )  # fmt: skip
    derivation, weighted = derivation_of(question, budget)
    if weighted and cotangent is None:
        cotangent = one(values[0])
    return *derive(derivation, values, cotangent, every, valued=valued), wanted
