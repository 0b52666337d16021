"""Plan: a contraction worked out once, to be run on arrays any number of times."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contraction.arrays import Array
from contraction.compilation import Compiled as Compiled
from contraction.compilation import check_memory as check_memory
from contraction.plan_data import plan_from_dict, plan_to_dict
from contraction.program import Program
from contraction.report import amount, plan_table
from contraction.reuse.tracking import is_tracked
from contraction.search.objectives import Objective
from contraction.slices import slice_job
from contraction.spec import Labels, Spec
from contraction.tree import Pairs


@dataclass(frozen=True, eq=False, repr=False)
class Plan:
    """A contraction with its tree, its kernels and their counts; made by `plan`.

    Parameters
    ----------
    spec
        What is contracted.
    pairs
        The tree: the inputs are values 0 .. n-1, and the k-th pair makes value n+k.
    objective
        What the search made small.
    memory
        Bytes that a run may allocate; None for no limit.
    slices
        Labels that are fixed and looped over, the outermost first; what they leave is
        contracted for each of their combinations and summed, or put beside each other.
    compiled
        The steps; shared by all plans of the same work.

    Examples
    --------
    >>> import numpy as np
    >>> from contraction import plan
    >>> p = plan("ab,bc,cd->ad", [(2, 30), (30, 40), (40, 5)])
    >>> p.pairs, p.flops, p.slices
    (((0, 1), (2, 3)), 5600, ())
    >>> p.run([np.ones((2, 30)), np.ones((30, 40)), np.ones((40, 5))])[0, 0]
    np.float64(1200.0)
    """

    spec: Spec
    pairs: Pairs
    objective: Objective
    memory: int | None
    slices: Labels
    compiled: Compiled

    @property
    def program(self) -> Program:
        """The steps, as plain data; of one slice, if there are several."""
        return self.compiled.program

    @property
    def num_slices(self) -> int:
        """How many combinations the sliced labels have; one without slices."""
        return math.prod(self.spec.sizes[label] for label in self.slices)

    @property
    def flops(self) -> int:
        """Floating-point operations of one run on real arrays: two for each multiply-add.

        Every product of two values counts as a multiply-add. A complex multiply-add is four
        real ones: take four times as many. All slices count; what is the same for several of
        them is done, and counted, once.
        """
        return self.compiled.counts.flops

    @property
    def peak_size(self) -> int:
        """Most entries allocated at once: results and copies, without the caller's inputs."""
        return self.compiled.counts.peak_size

    @property
    def write_size(self) -> int:
        """Entries written in all: the result of every step and the copies that prepare it."""
        return self.compiled.counts.write_size

    @property
    def seconds(self) -> float:
        """Rough estimate of the time of one run on one core; it ranks plans, it is no clock."""
        return self.compiled.counts.seconds

    @property
    def measured(self) -> float | None:
        """Seconds of one run that `tune` measured; None for a plan that was not timed."""
        tuned = self.compiled.tuned
        return None if tuned is None else tuned.seconds

    def run(self, arrays: Sequence[Array]) -> Array:
        """Contract `arrays`, one for each input, and return the result.

        The result has the common dtype of the arrays (integers become float64) and shares no
        memory with them unless it merely views one; its axes may lie in any order in memory.
        Arrays that are transposed views are taken as they are.

        Raises
        ------
        ShapeError
            Another number of arrays, or other shapes, than the plan was made for.
        BackendError
            Arrays of several libraries or devices, or sparse tensors.
        DTypeError
            Entries that are no numbers.
        MemoryBudgetError
            The run would allocate more than `memory`; nothing was allocated.
        """
        if is_tracked(arrays):
            from contraction.reuse.autograd import differentiable_run

            return differentiable_run(self, arrays)
        if self.slices:
            return slice_job(self, arrays).result()
        result: Array = self.compiled.run(arrays, self.spec, self.memory)
        return result

    def peak_bytes(self, arrays: Sequence[Array]) -> int:
        """Return the bytes that a run on `arrays` allocates at its peak, beside the arrays.

        That is `peak_size` in their dtype, for their order in memory, with the copies of arrays
        that have another dtype than the result or gaps in memory.

        Examples
        --------
        >>> import numpy as np
        >>> from contraction import plan
        >>> plan("ab,bc->ac", [(2, 3), (3, 4)]).peak_bytes([np.ones((2, 3)), np.ones((3, 4))])
        64
        """
        return self.compiled.peak_bytes(arrays)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain data for JSON; labels must be text or numbers.

        Examples
        --------
        >>> from contraction import plan
        >>> p = plan("ab,bc->ac", [(2, 3), (3, 4)])
        >>> Plan.from_dict(p.to_dict()).pairs
        ((0, 1),)
        """
        return plan_to_dict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Plan:
        """Return the plan that `to_dict` wrote.

        The kernels are those that `tune` found, otherwise they are chosen anew.

        Raises
        ------
        PlanError, ShapeError, InputError
            An entry is missing, of the wrong kind, or of a wrong value.
        """
        return plan_from_dict(data)

    def __str__(self) -> str:
        return plan_table(self)

    def __repr__(self) -> str:
        flops, peak = (min(n, 1 << 1000) for n in (self.flops, self.peak_size))  # as floats
        sliced = f"{amount(self.num_slices)} slices, " if self.slices else ""
        return (
            f"Plan({len(self.spec.inputs)} inputs, {flops:.3g} flops, "
            f"peak {peak:.3g} entries, {sliced}by {self.objective.value})"
        )
