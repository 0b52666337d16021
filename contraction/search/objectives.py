"""Objectives: what the search for a contraction tree makes small."""

from __future__ import annotations

import enum

from contraction.errors import PlanError


class Objective(enum.Enum):
    """What the planner makes small. Ties go to the smaller estimated time.

    TIME is the estimated time of the lowered program, FLOPS the number of floating-point
    operations, SIZE the most entries alive at once, WRITE the entries written, COMBO the
    multiply-adds plus 64 for each entry written.
    """

    TIME = "time"
    FLOPS = "flops"
    SIZE = "size"
    WRITE = "write"
    COMBO = "combo"


def read_objective(objective: Objective | str) -> Objective:
    """Return the objective of this exact value.

    Raises
    ------
    PlanError
        There is none of that name.

    Examples
    --------
    >>> read_objective("flops")
    <Objective.FLOPS: 'flops'>
    """
    try:
        return Objective(objective)
    except ValueError as error:
        names = ", ".join(o.value for o in Objective)
        raise PlanError(f"`objective` is one of {names}; got {objective!r}.") from error
