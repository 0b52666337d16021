"""Plan: a contraction worked out once, to be run on arrays any number of times."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from contraction.arrays import Array
from contraction.cost import CPU, MODELS
from contraction.errors import MemoryBudgetError, PlanError, TnetError
from contraction.execute import Runner, bind, is_plain, memory_orders, prepare
from contraction.loop_program import LoopProgram, compile_loops
from contraction.loops import loop_order, sliced_canonical
from contraction.paths import Objective
from contraction.program import Layouts, Program, compile_program
from contraction.report import plan_table
from contraction.reuse.tracking import is_tracked
from contraction.slices import SliceJob, slice_job
from contraction.spec import Canonical, Labels, Spec
from contraction.tree import Pairs


class Compiled:
    """A tree with its sliced labels, its program, and the runners made from it so far."""

    def __init__(self, canonical: Canonical, pairs: Pairs, slices: Sequence[int] = ()) -> None:
        self.canonical, self.pairs = canonical, pairs
        self.slices = loop_order(canonical, pairs, slices)
        self._runners: dict[tuple[str, Layouts | None], tuple[Runner, int]] = {}
        self._loops: dict[tuple[str, Layouts | None], LoopProgram] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return Compiled, (self.canonical, self.pairs, self.slices)  # bound programs do not travel

    @cached_property
    def program(self) -> Program:
        """The steps of the whole tree, of one slice if there are several."""
        return compile_program(sliced_canonical(self.canonical, self.slices), self.pairs, CPU)

    def runner(self, name: str, layouts: Layouts | None) -> tuple[Runner, int]:
        """Return the program bound to a library for inputs in these orders, and its peak."""
        found = self._runners.get((name, layouts))
        if found is None:
            program = self.program
            if layouts is not None or MODELS[name] is not CPU:
                program = compile_program(self.canonical, self.pairs, MODELS[name], layouts)
            found = self._runners[name, layouts] = bind(program, name), program.peak_size
        return found

    def loops(self, name: str = "numpy", layouts: Layouts | None = None) -> LoopProgram:
        """Return the parts of the sliced tree, lowered for a library and inputs in these orders."""
        found = self._loops.get((name, layouts))
        if found is None:
            found = compile_loops(self.canonical, self.pairs, self.slices, MODELS[name], layouts)
            self._loops[name, layouts] = found
        return found

    def job(self, values: list[Any], spec: Spec, memory: int | None) -> SliceJob:
        """Return the job of running slice by slice on `values`, which it may replace."""
        name, layouts = "numpy", None
        if not is_plain(values, spec.shape_list):
            name = prepare(values, spec)
            layouts = memory_orders(values, name)
        program = self.loops(name, layouts)
        if memory is not None:
            itemsize = int(values[0].dtype.itemsize)
            check_memory(program.peak_size * itemsize, memory, program.peak_size)
        return SliceJob(program, dict(enumerate(values)), {}, name, values[0])


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
        return self._counts.flops

    @property
    def peak_size(self) -> int:
        """Most entries allocated at once: results and copies, without the caller's inputs."""
        return self._counts.peak_size

    @property
    def write_size(self) -> int:
        """Entries written in all: the result of every step and the copies that prepare it."""
        return self._counts.write_size

    @property
    def seconds(self) -> float:
        """Rough estimate of the time of one run on one core; it ranks plans, it is no clock."""
        return self._counts.seconds

    @property
    def _counts(self) -> Program | LoopProgram:
        return self.compiled.loops() if self.slices else self.compiled.program

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
        values, layouts, name = list(arrays), None, "numpy"
        if not is_plain(values, self.spec.shape_list):
            name = prepare(values, self.spec)
            layouts = memory_orders(values, name)
        runner, peak_size = self.compiled.runner(name, layouts)
        if self.memory is not None:
            itemsize = int(values[0].dtype.itemsize)
            check_memory(peak_size * itemsize, self.memory, peak_size)
        result: Array = runner(values)
        return result

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain data for JSON; labels must be text or numbers.

        Examples
        --------
        >>> from contraction import plan
        >>> p = plan("ab,bc->ac", [(2, 3), (3, 4)])
        >>> Plan.from_dict(p.to_dict()).pairs
        ((0, 1),)
        """
        for label in self.spec.sizes:
            if not isinstance(label, (str, int)):
                raise PlanError(f"only text and whole-number labels can be written, got {label!r}.")
        return {
            "inputs": [list(labels) for labels in self.spec.inputs],
            "output": list(self.spec.output),
            "sizes": list(self.spec.sizes.items()),
            "pairs": [list(pair) for pair in self.pairs],
            "slices": list(self.slices),
            "objective": self.objective.value,
            "memory": self.memory,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Plan:
        """Return the plan that `to_dict` wrote; the kernels are chosen anew.

        Raises
        ------
        PlanError, ShapeError, InputError
            An entry is missing, of the wrong kind, or of a wrong value.
        """
        try:
            sizes = dict(data["sizes"])
            spec = Spec(data["inputs"], data["output"], sizes)
            pairs = [(int(i), int(j)) for i, j in data["pairs"]]
            slices = tuple(data.get("slices", ()))
            objective, memory = data["objective"], data["memory"]
        except TnetError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise PlanError(
                "a plan needs `inputs`, `output`, `sizes`, `pairs`, `objective` and `memory`; "
                f"reading failed at {error!r}."
            ) from error
        from contraction.planner import plan

        return plan(spec, path=pairs, slices=slices, objective=objective, memory=memory)

    def __str__(self) -> str:
        return plan_table(self.spec, self.pairs, self.program, self.objective.value)

    def __repr__(self) -> str:
        flops, peak = (min(n, 1 << 1000) for n in (self.flops, self.peak_size))  # as floats
        return (
            f"Plan({len(self.spec.inputs)} inputs, {flops:.3g} flops, "
            f"peak {peak:.3g} entries, by {self.objective.value})"
        )


def check_memory(needed: int, limit: int, entries: int) -> None:
    """Raise `MemoryBudgetError` if a run would allocate more than it may."""
    if needed > limit:
        raise MemoryBudgetError(
            f"the contraction would allocate {needed:,} bytes at once ({entries:,} entries), "
            f"but `memory` allows {limit:,}; nothing was allocated. Allow more, keep fewer "
            "labels in the output, or use a smaller dtype."
        )
