"""Batching: a plan for many values of some inputs at once."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from contraction.errors import InputError, MemoryBudgetError
from contraction.plans import Plan
from contraction.reuse.passes import wanted_leaves
from contraction.spec import Spec

GOOD = 1.1  # a new search must beat the old tree by this much


def batched(plan: Plan, leaves: Iterable[int], size: int) -> Plan:
    """Return the plan that does the work of `plan` for `size` values of some inputs at once.

    Each input among `leaves` gets a leading axis of `size`, and so does the result; what does
    not depend on these inputs is contracted once. The batch is an index like any other: it is
    planned, sliced and differentiated with the rest, and may be batched over again.

    Parameters
    ----------
    plan
        The plan for one value. Its objective and its limits stay.
    leaves
        Positions of the inputs that vary; at least one.
    size
        Number of values.

    Returns
    -------
    Plan
        On the same tree, unless a search for the batched work finds one estimated to be
        faster.

    Raises
    ------
    InputError
        No input, or a position that there is not.
    ShapeError
        A size that is not a whole number >= 0.
    MemoryBudgetError
        The plan has a memory limit, and no tree found keeps the batch within it.

    Examples
    --------
    >>> import numpy as np
    >>> from contraction import plan
    >>> one = plan("ab,bc->ac", [(2, 3), (3, 4)])
    >>> many = batched(one, [0], 5)
    >>> many.spec.shapes, many.spec.shape
    (((5, 2, 3), (3, 4)), (5, 2, 4))
    """
    from contraction.planner import plan as search

    spec = plan.spec
    varied = set(wanted_leaves(leaves, len(spec.inputs)))
    if not varied:
        raise InputError("`leaves` names no input; give the positions of those that vary.")
    label = _fresh(spec)
    inputs = [(label, *ls) if i in varied else ls for i, ls in enumerate(spec.inputs)]
    wide = Spec(inputs, (label, *spec.output), {**spec.sizes, label: size})
    try:
        same: Plan | None = search(
            wide,
            path=plan.pairs,
            slices=plan.slices,
            objective=plan.objective,
            memory=plan.memory,
        )
    except MemoryBudgetError:
        same = None
    other = search(wide, objective=plan.objective, memory=plan.memory)
    if same is None or other.seconds * GOOD < same.seconds:
        return other
    return same


def _fresh(spec: Spec) -> Hashable:
    """Return a label for the batch that the plan does not have yet."""
    label, number = "batch", 1
    while label in spec.sizes:
        number += 1
        label = f"batch {number}"
    return label
