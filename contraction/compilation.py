"""Compiled: a tree and its sliced labels, lowered for each library and memory order it meets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from contraction.cost import CostModel, model_for
from contraction.errors import MemoryBudgetError
from contraction.execute import Runner, bind, is_plain
from contraction.loop_program import LoopProgram, fitting_loops, peak_of_loops
from contraction.loops import loop_order, sliced_canonical
from contraction.memory import peak_size
from contraction.program import Layouts, Program, compile_program, planned_program
from contraction.slices import SliceJob
from contraction.spec import Canonical, Spec
from contraction.staging import Needed, needed, stage
from contraction.tree import Pairs
from contraction.tuned import Tuned, fixed_ways


class Compiled:
    """A tree with its sliced labels, its program, and the runners made from it so far.

    Parameters
    ----------
    canonical, pairs, slices
        What to contract, the tree, and the labels that are looped over, in any order.
    library, device, dtype
        For which the counts of the plan hold.
    max_size
        Entries that may be alive at once. Values that could be kept for several slices are made
        again for each where keeping them would take more.
    tuned
        What timing found out about the tree, if it was timed.
    """

    def __init__(
        self,
        canonical: Canonical,
        pairs: Pairs,
        slices: Sequence[int] = (),
        *,
        library: str = "numpy",
        device: str = "cpu",
        dtype: str = "float64",
        max_size: float = math.inf,
        tuned: Tuned | None = None,
    ) -> None:
        self.canonical, self.pairs, self.tuned = canonical, pairs, tuned
        self.slices = loop_order(canonical, pairs, slices)
        self.library, self.device, self.dtype, self.max_size = library, device, dtype, max_size
        self._runners: dict[tuple[str, Layouts | None], tuple[Runner, Program]] = {}
        self._loops: dict[tuple[str, Layouts | None], LoopProgram] = {}
        self._part_runners: dict[tuple[str, Layouts | None], list[Runner]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        state = self.library, self.device, self.dtype, self.max_size, self.tuned
        return _compiled, (self.canonical, self.pairs, self.slices, *state)

    @cached_property
    def program(self) -> Program:
        """The steps of the whole tree, of one slice if there are several."""
        inner = sliced_canonical(self.canonical, self.slices)
        fixed = fixed_ways(self.tuned, self.library)
        model = self.model(self.library)
        if not fixed:
            return planned_program(inner, self.pairs, model, max_size=self.max_size)
        return compile_program(inner, self.pairs, model, fixed=fixed, max_size=self.max_size)

    def with_tuned(self, pairs: Pairs, tuned: Tuned) -> Compiled:
        """Return the same work along a tree that was timed."""
        return Compiled(
            self.canonical, pairs, self.slices, library=self.library, device=self.device,
            dtype=self.dtype, max_size=self.max_size, tuned=tuned,
        )  # fmt: skip

    @property
    def counts(self) -> Program | LoopProgram:
        """What knows the costs of a whole run, all slices included."""
        return self.loops() if self.slices else self._bound(self.library, None)[1]

    def model(self, name: str) -> CostModel:
        """Return the rates of a library, on the device that the plan is for if it has one."""
        where = self.device if name == self.library else "cuda" if name == "cupy" else "cpu"
        return model_for(name, device=where, dtype=self.dtype)

    def runner(self, name: str, layouts: Layouts | None) -> tuple[Runner, int]:
        """Return the program bound to a library for inputs in these orders, and its peak."""
        runner, program = self._bound(name, layouts)
        return runner, program.peak_size

    def program_for(self, name: str, layouts: Layouts | None) -> Program:
        """Return the steps that `runner` runs, of a plan without slices."""
        return self._bound(name, layouts)[1]

    def _bound(self, name: str, layouts: Layouts | None) -> tuple[Runner, Program]:
        found = self._runners.get((name, layouts))
        if found is None:
            program = self.program
            if layouts is not None or name != self.library:
                fixed = {} if layouts else fixed_ways(self.tuned, name)
                model = self.model(name)
                program = compile_program(
                    self.canonical, self.pairs, model, layouts, fixed, max_size=self.max_size
                )
            if name != "numpy":
                peak = peak_size(program.loads, program.steps, library=name)
                program = program._replace(peak_size=peak)
            found = self._runners[name, layouts] = bind(program, name), program
        return found

    def loops(self, name: str | None = None, layouts: Layouts | None = None) -> LoopProgram:
        """Return the parts of the sliced tree, lowered for a library and inputs in these orders."""
        name = name or self.library
        found = self._loops.get((name, layouts))
        if found is None:
            found = self._loops[name, layouts] = fitting_loops(
                self.canonical,
                self.pairs,
                self.slices,
                self.model(name),
                layouts,
                library=name,
                max_size=self.max_size,
            )
        return found

    def run(self, arrays: Sequence[Any], spec: Spec, memory: int | None) -> Any:
        """Return the result of a run without slices; `Plan.run` says more."""
        values = list(arrays)
        if is_plain(values, spec.shape_list):
            runner, program = self._bound("numpy", None)
            if memory is not None:
                itemsize = int(values[0].dtype.itemsize)
                check_memory(program.peak_size * itemsize, memory, program.peak_size)
            return runner(values)
        if memory is not None:
            self._check_staged(values, memory)
        values, name, layouts = stage(values, spec)
        return self._bound(name, layouts)[0](values)

    def job(self, arrays: Sequence[Any], spec: Spec, memory: int | None) -> SliceJob:
        """Return the job of a run slice by slice; `slice_job` says more."""
        if memory is not None:
            self._check_staged(arrays, memory)
        values, name, layouts = stage(arrays, spec, self._sliced_inputs())
        program = self.loops(name, layouts)
        runners = self._part_runners.get((name, layouts))
        if runners is None:
            runners = [bind(part.program, name) for part in program.parts]
            self._part_runners[name, layouts] = runners
        return SliceJob(program, dict(enumerate(values)), {}, name, values[0], runners)

    def peak_bytes(self, arrays: Sequence[Any]) -> int:
        """Return the bytes that a run on `arrays` allocates at its peak; `Plan` says more."""
        wanted = needed(arrays, self._sliced_inputs())
        return self._staged_peak(wanted) * wanted.itemsize

    def _sliced_inputs(self) -> tuple[int, ...]:
        gone = set(self.slices)
        inputs = self.canonical.inputs
        return tuple(i for i, labels in enumerate(inputs) if not gone.isdisjoint(labels))

    def _staged_peak(self, wanted: Needed) -> int:
        if self.slices:
            return peak_of_loops(self.loops(wanted.name, wanted.layouts), wanted.owned)
        program = self._bound(wanted.name, wanted.layouts)[1]
        return peak_size(program.loads, program.steps, wanted.owned, library=wanted.name)

    def _check_staged(self, arrays: Sequence[Any], memory: int) -> None:
        wanted = needed(arrays, self._sliced_inputs())
        peak = self._staged_peak(wanted)
        check_memory(peak * wanted.itemsize, memory, peak)


def _compiled(
    canonical: Canonical,
    pairs: Pairs,
    slices: Sequence[int],
    library: str,
    device: str,
    dtype: str,
    max_size: float,
    tuned: Tuned | None,
) -> Compiled:
    return Compiled(
        canonical, pairs, slices, library=library, device=device, dtype=dtype,
        max_size=max_size, tuned=tuned,
    )  # fmt: skip


def check_memory(needed: int, limit: int, entries: int) -> None:
    """Raise `MemoryBudgetError` if a run would allocate more than it may."""
    if needed > limit:
        raise MemoryBudgetError(
            f"the contraction would allocate {needed:,} bytes at once ({entries:,} entries), "
            f"but `memory` allows {limit:,}; nothing was allocated. Allow more, keep fewer "
            "labels in the output, or use a smaller dtype."
        )
