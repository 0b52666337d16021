"""What a plan does, step by step: shapes, kernels, arithmetic, traffic, time and memory."""

from __future__ import annotations

import math
import sys
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from contraction import arrays as arrays_
from contraction.arrays import Array
from contraction.cost import CostModel, model_for
from contraction.errors import DTypeError
from contraction.loop_program import LoopPart, LoopProgram, Take
from contraction.loops import repeats
from contraction.memory import sizes_alive
from contraction.program import Layouts, Step, View
from contraction.staging import stage
from contraction.step_times import measure, walk

if TYPE_CHECKING:
    from contraction.plans import Plan

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class ExplainedStep:
    """One step of a plan. Times, flops and bytes are those of one execution.

    Attributes
    ----------
    index
        Place in the order of execution.
    left, right, made
        Numbers of the values: inputs first, then the results of the pairs.
    equation
        What the step computes, in the labels of the plan.
    shapes
        Of the left value, the right value and the result.
    lowering
        The kernel, and what is done to its operands first: `copy` permutes in memory, `view`
        does not.
    flops
        Floating-point operations on real arrays: two for each multiply-add.
    bytes_moved
        Bytes that the kernel and the copies before it read and write.
    predicted, measured
        Seconds by the cost model, and by the clock where the plan was run.
    live_bytes
        Bytes allocated while the step runs, the caller's inputs apart.
    roofline
        The least time that arithmetic and memory traffic allow, as a share of the measured
        time, or of the predicted one where nothing was measured.
    runs
        How often the step is executed: once for every turn of the loops it depends on.
    """

    index: int
    left: int
    right: int
    made: int
    equation: str
    shapes: tuple[Shape, Shape, Shape]
    lowering: str
    flops: int
    bytes_moved: int
    predicted: float
    measured: float | None
    live_bytes: int
    roofline: float
    runs: int

    @property
    def seconds(self) -> float:
        """The measured seconds of one execution, or the predicted ones."""
        return self.predicted if self.measured is None else self.measured

    @property
    def total_seconds(self) -> float:
        """Seconds of all executions."""
        return _times(self.runs, self.seconds)


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """All steps of a plan and their totals; made by `explain`.

    `str` gives a table, `to_dict` plain data for JSON.

    Attributes
    ----------
    input_labels, output
        The labels of the inputs, as text, and of the result.
    steps
        In the order of execution.
    slices, num_slices
        The sliced labels with their sizes, the outermost loop first, and how many slices.
    flops, predicted, peak_bytes
        Of a whole run: operations, seconds by the cost model, bytes allocated at once.
    measured
        Seconds of a whole run: the measured times of the steps, each as often as it is done.
    objective, library, dtype
        What the plan makes small, and the arrays it is explained for.
    """

    input_labels: tuple[tuple[str, ...], ...]
    output: tuple[str, ...]
    steps: tuple[ExplainedStep, ...]
    slices: tuple[tuple[str, int], ...]
    num_slices: int
    flops: int
    peak_bytes: int
    predicted: float
    measured: float | None
    objective: str
    library: str
    dtype: str

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data for JSON, with numbers that any reader can hold.

        What is beyond the range of a double (of a plan that nobody can run) is None; the power
        of ten of the operations, `log10_flops`, is there for every plan.
        """
        found = {field.name: _plain(getattr(self, field.name)) for field in fields(self)}
        return {**found, "log10_flops": math.log10(self.flops) if self.flops else None}

    def __str__(self) -> str:
        from contraction.step_table import explanation_table

        return explanation_table(self)


def explain(
    plan: Plan,
    arrays: Sequence[Array] | None = None,
    *,
    library: str | None = None,
    dtype: str | None = None,
) -> Explanation:
    """Return what every step of a plan does and costs.

    Parameters
    ----------
    plan
        The plan.
    arrays
        To measure the steps on: one for each input. Of a sliced plan the first slice is run.
    library, dtype
        "numpy", "torch" or "cupy", and the dtype, that the plan is to be explained for; those
        of `arrays` where these are given.

    Raises
    ------
    ShapeError, BackendError, DTypeError
        `arrays` do not fit the plan.
    MemoryBudgetError
        Measuring would allocate more than the plan allows.

    Notes
    -----
    Without arrays nothing is allocated. With them every step runs four times.

    Examples
    --------
    >>> from contraction import plan
    >>> found = explain(plan("ab,bc,cd->ad", [(2, 30), (30, 40), (40, 5)]))
    >>> [(step.left, step.right, step.lowering, step.flops) for step in found.steps]
    [(0, 1, 'matmul', 4800), (3, 2, 'matmul', 800)]
    """
    name, kind, layouts = library or "numpy", dtype or "float64", None
    values = None if arrays is None else list(arrays)
    if values is not None:
        sliced = {i for i, x in enumerate(plan.spec.inputs) if not set(plan.slices).isdisjoint(x)}
        values, name, layouts = stage(values, plan.spec, sliced)
        kind = arrays_.dtype_name(values[0])
    program = plan.compiled.loops(name, layouts) if plan.slices else _whole(plan, name, layouts)
    model, itemsize = model_for(name, dtype=kind), itemsize_of(kind)
    times = None if values is None else measure(plan, program, values, name)
    steps = tuple(_steps(plan, program, model, itemsize, name, times))
    names = {label: str(label) for label in plan.spec.sizes}
    by_number = list(names.values())
    loops = zip(program.loops, program.loop_sizes, strict=True)
    return Explanation(
        input_labels=tuple(tuple(names[x] for x in labels) for labels in plan.spec.inputs),
        output=tuple(names[x] for x in plan.spec.output),
        steps=steps,
        slices=tuple((by_number[label], size) for label, size in loops),
        num_slices=program.num_slices,
        flops=program.flops,
        peak_bytes=program.peak_size * itemsize if arrays is None else plan.peak_bytes(arrays),
        predicted=program.seconds,
        measured=None if times is None else sum(step.total_seconds for step in steps),
        objective=plan.objective.value,
        library=name,
        dtype=kind,
    )


def _whole(plan: Plan, name: str, layouts: Layouts | None) -> LoopProgram:
    """Return the program that a plan without slices runs, tuned kernels included, as one part."""
    program = plan.compiled.program_for(name, layouts)
    takes = tuple(Take(i, False, (), False, 0) for i in range(len(plan.spec.inputs)))
    last, size = 2 * len(takes) - 2, math.prod(program.shape)
    part = LoopPart(last, 0, takes, program, size, program.peak_size)
    return LoopProgram(
        parts=(part,),
        loops=(),
        loop_sizes=(),
        placed=(None,) * len(program.shape),
        shape=program.shape,
        piece=program.shape,
        flops=program.flops,
        write_size=program.write_size,
        peak_size=program.peak_size,
        seconds=program.seconds,
    )


def _steps(
    plan: Plan,
    program: LoopProgram,
    model: CostModel,
    itemsize: int,
    name: str,
    times: dict[int, float] | None,
) -> Iterator[ExplainedStep]:
    names, sizes = list(plan.spec.sizes), list(plan.spec.sizes.values())
    runs = repeats(program.loop_sizes)
    legs = _legs(plan, program)
    live = _live(program, name)
    for index, (part, step, left, right, made) in enumerate(walk(plan, program)):
        held = [legs[v] for v in (left, right, made)]
        shapes = tuple(tuple(sizes[x] for x in labels) for labels in held)
        entries = sum(math.prod(shape) for shape in shapes) + 2 * step.copies
        measured = None if times is None else times[made]
        ideal = max(_times(step.flops, model.gemm), _times(entries, model.copy_entry)) / 2
        seconds = step.seconds if measured is None else measured
        yield ExplainedStep(
            index=index,
            left=left,
            right=right,
            made=made,
            equation="{},{}->{}".format(*(word([names[x] for x in labels]) for labels in held)),
            shapes=(shapes[0], shapes[1], shapes[2]),
            lowering=lowering_words(step),
            flops=step.flops,
            bytes_moved=entries * itemsize,
            predicted=step.seconds,
            measured=measured,
            live_bytes=live[index] * itemsize,
            roofline=min(1.0, ideal / seconds) if 0.0 < seconds < math.inf else 1.0,
            runs=runs[part.depth],
        )


def _times(count: int, rate: float) -> float:
    """Return count * rate, infinity where that is beyond a double."""
    try:
        return count * rate
    except OverflowError:
        return math.inf


def _plain(value: Any) -> Any:
    if isinstance(value, ExplainedStep):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, (int, float)) and not abs(value) <= sys.float_info.max:
        return None
    return value


def _legs(plan: Plan, program: LoopProgram) -> list[tuple[int, ...]]:
    """Return the labels of every value in one slice."""
    from contraction.loops import sliced_canonical
    from contraction.tree import build_tree

    inner = sliced_canonical(plan.spec.canonical, program.loops)
    legs = list(build_tree(inner, plan.pairs).legs)
    wide = [tuple(dict.fromkeys(labels)) for labels in inner.inputs]
    return [*wide, *legs[len(wide) :]]


def _live(program: LoopProgram, name: str) -> list[int]:
    """Return the entries allocated while each step runs, the caller's inputs apart."""
    live: list[int] = []
    result = math.prod(program.shape) if program.loops else 0
    result *= 2 if program.overlapping and len(program.chunks) > 1 else 1  # of a chunk, of all
    kept = 0
    for part in program.parts:
        own, owned = part.program, [take.size for take in part.takes]
        held = kept + (result if part.depth else 0)
        live += [held + n for n in sizes_alive(own.loads, own.steps, owned, library=name)[1:]]
        kept += part.size
    return live


def lowering_words(step: Step) -> str:
    """Return what a step does, in words.

    Examples
    --------
    >>> from contraction import plan
    >>> lowering_words(plan("ab,bc->ac", [(20, 30), (30, 40)]).program.steps[0])
    'matmul'
    """
    words = [("fused " if step.subscripts else "") + step.kernel.value]
    for side, view in (("left", step.view_left), ("right", step.view_right)):
        if view.copied or (view.axes is not None and view.last is not None):
            words.append(f"copy {side}")
        elif _turned(view):
            words.append(f"view {side}")
    if step.deferred:
        words.append("in blocks with the next step")
    if step.blocks is not None:
        words.append(f"in {-(-step.blocks.length // step.blocks.width)} blocks")
    return ", ".join(words)


def _turned(view: View) -> bool:
    return view.axes is not None or view.swapped


def word(labels: Sequence[Hashable]) -> str:
    """Return labels as one word, in brackets where one of them is longer than a letter.

    Examples
    --------
    >>> word(["a", "b"]), word(["left", "b"])
    ('ab', '(left b)')
    """
    texts = [printable(str(label)) for label in labels]
    return "".join(texts) if all(len(text) == 1 for text in texts) else f"({' '.join(texts)})"


def printable(text: str) -> str:
    r"""Return a name with control characters and the like written as escapes.

    Examples
    --------
    >>> printable("b\n"), printable("é")
    ('b\\n', 'é')
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def itemsize_of(dtype: str) -> int:
    """Return the bytes of an entry.

    Raises
    ------
    DTypeError
        `dtype` is none.
    """
    try:
        return int(np.dtype(dtype).itemsize)
    except TypeError as error:
        raise DTypeError(f"`dtype` is the name of a dtype, got {dtype!r}.") from error
