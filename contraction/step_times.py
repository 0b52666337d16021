"""How long each step of a plan takes: the steps of the first slice, timed one by one."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from contraction import arrays as arrays_
from contraction.arrays import Array
from contraction.execute import stages
from contraction.loop_program import LoopPart, LoopProgram
from contraction.program import Step
from contraction.spec import Spec

if TYPE_CHECKING:
    from contraction.plans import Plan

REPEATS = 3  # of a measurement, of which the quickest counts


class Walked(NamedTuple):
    """A step of a program, with the numbers that its values have in the whole plan."""

    part: LoopPart
    step: Step
    left: int
    right: int
    made: int


def walk(plan: Plan, program: LoopProgram) -> Iterator[Walked]:
    """Yield the steps of a plan in the order of execution."""
    count = len(plan.spec.inputs)
    made = {frozenset(pair): count + k for k, pair in enumerate(plan.pairs)}
    for part in program.parts:
        names = [take.value for take in part.takes]
        for step in part.program.steps:
            left, right = names[step.left], names[step.right]
            names.append(made[frozenset((left, right))])
            yield Walked(part, step, left, right, names[-1])


def measure(plan: Plan, program: LoopProgram, values: Sequence[Any], name: str) -> dict[int, float]:
    """Return the seconds of every step in the first slice, by the number of the value it makes.

    Parameters
    ----------
    plan, program
        The plan, and its program for arrays of this library in these memory orders.
    values
        The arrays, checked.
    name
        The library.

    Raises
    ------
    MemoryBudgetError
        The plan allows less memory than a run takes.
    """
    from contraction.plans import check_memory

    if plan.memory is not None:
        itemsize = int(values[0].dtype.itemsize)
        check_memory(program.peak_size * itemsize, plan.memory, program.peak_size)
    seconds: dict[int, float] = {}
    kept: dict[int, Any] = {}
    walked = walk(plan, program)
    for part in program.parts:
        members = [
            kept[take.value] if take.made else _first_slice(values[take.value], take.fixed)
            for take in part.takes
        ]
        loads, steps, finish = stages(part.program, name)
        for i, load in loads:
            members[i] = load(members[i])
        for k, (kernel, i, j) in enumerate(steps):
            a, b = members[i], members[j]
            best = math.inf
            for _ in range(REPEATS + 1):  # the first one warms up
                result, best = _timed(kernel, a, b, best, name)
            members.append(result)
            members[i] = members[j] = a = b = None
            found = next(walked)
            seconds[found.made] = best
            if found.step.blocks is not None:
                _share(seconds, found, part.program.steps[k - 1])
        kept[part.value] = members[-1] if finish is None else finish(members[-1])
    return seconds


def _share(seconds: dict[int, float], after: Walked, before: Step) -> None:
    """Share out the time of two fused steps, the first of which only waits, as estimated."""
    assert after.step.blocks is not None
    made = after.left if after.step.blocks.product_left else after.right
    both = seconds[made] + seconds[after.made]
    total = before.seconds + after.step.seconds
    share = before.seconds / total if total > 0.0 else 0.5
    seconds[made], seconds[after.made] = share * both, (1.0 - share) * both


def _timed(kernel: Any, a: Any, b: Any, best: float, name: str) -> tuple[Any, float]:
    _wait(name)
    start = time.perf_counter()
    result = kernel(a, b)
    _wait(name, result)
    return result, min(best, time.perf_counter() - start)


def _wait(name: str, x: Any = None) -> None:
    """Wait for the device to have done everything asked of it."""
    if name == "cupy":
        arrays_.namespace_by_name("cupy").cuda.Device().synchronize()
    elif name == "torch" and hasattr(x, "device") and x.device.type == "cuda":
        import torch

        torch.cuda.synchronize(x.device)


def _first_slice(x: Any, fixed: Sequence[int | None]) -> Any:
    return x if not fixed else x[(*(slice(None) if k is None else 0 for k in fixed), ...)]


def random_arrays(
    spec: Spec, rng: np.random.Generator, *, library: str = "numpy", dtype: str = "float64"
) -> list[Array]:
    """Return arrays with normally distributed entries, one for each input of `spec`."""
    made: list[Array] = []
    for shape in spec.shapes:
        x: Any = rng.standard_normal(shape)
        if dtype.startswith("complex"):
            x = x + 1j * rng.standard_normal(shape)
        made.append(arrays_.to(np.asarray(x, dtype=dtype), namespace=library))
    return made
