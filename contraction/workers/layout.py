"""Laying out a plan as tasks: chunks of its slices, or branches of its tree.

Apart from `jobs`, which worker processes import: they need no planner.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from contraction.arrays import Array
from contraction.compilation import check_memory
from contraction.plans import Plan
from contraction.program import Program
from contraction.slices import slice_job
from contraction.staging import stage
from contraction.workers.cutting import Cut, cut_program
from contraction.workers.jobs import Blueprint, Branches, Slices


def lay_out(plan: Plan, arrays: Sequence[Array]) -> tuple[Blueprint, list[Any]]:
    """Return a plan as a blueprint, and the arrays that the blueprint is to be built with.

    A plan with slices becomes chunks of slices; what they share is computed here, once. Any
    other becomes branches of its tree.

    Raises
    ------
    ShapeError, BackendError, DTypeError, MemoryBudgetError
        As `Plan.run`.
    """
    if plan.slices:
        program, inputs, kept, library, like = slice_job(plan, arrays).__reduce__()[1]
        blueprint = Slices(
            program=program,
            inputs=tuple(inputs),
            kept=tuple(kept),
            library=library,
            like=like.reshape(-1)[:0],
        )
        return blueprint, [*inputs.values(), *kept.values()]
    if plan.memory is not None:
        check_memory(plan.peak_bytes(arrays), plan.memory, plan.peak_size)
    values, library, layouts = stage(arrays, plan.spec)
    program = plan.compiled.program_for(library, layouts)
    return Branches(cut=_cut(program, values, plan.memory), library=library), values


def _cut(program: Program, values: Sequence[Array], memory: int | None) -> Cut:
    """Cut a program, unless the results of the pieces would not fit beside one another."""
    cut = cut_program(program, len(values))
    if memory is not None and cut.pieces:
        sizes = sum(piece.program.shape[0] for piece in cut.pieces)
        peak = max(piece.program.peak_size for piece in (*cut.pieces, cut.rest))
        if (sizes + peak) * int(values[0].dtype.itemsize) > memory:
            whole = cut.rest._replace(inputs=tuple(range(len(values))), program=program)
            return Cut((), whole)
    return cut
