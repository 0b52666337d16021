"""Slices: a plan run slice by slice, in chunks that any number of workers may share out.

What is the same for all slices is contracted once, when a job is made. The slices are cut into
chunks in one fixed way; each chunk is summed in the order of its slices and the chunks in their
own order, so that the result is bitwise the same whoever runs which chunk.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, final

from contraction import arrays as arrays_
from contraction.arrays import Array
from contraction.errors import InputError
from contraction.execute import Library, Runner, bind
from contraction.loop_program import LoopPart, LoopProgram, Take
from contraction.loops import sliced_canonical as sliced_canonical

if TYPE_CHECKING:
    from contraction.plans import Plan

Values = dict[int, Any]


@final
class SliceJob:
    """A plan with its arrays, ready to run any range of its slices; made by `slice_job`.

    Calls of `run` are independent of one another and may come from several threads. A job can
    be pickled; the values that all slices share travel with it.

    Attributes
    ----------
    count
        The number of slices; one for a plan without slices.
    chunks
        Ranges of slices that cover all of them, at most 64, the same for every scheduler.

    Examples
    --------
    >>> import numpy as np
    >>> from contraction import plan
    >>> p = plan("ab,bc->ac", [(2, 3), (3, 2)], slices="b")
    >>> job = slice_job(p, [np.ones((2, 3)), np.ones((3, 2))])
    >>> parts = [job.run(start, stop) for start, stop in job.chunks]
    >>> job.count, job.combine(parts)[0, 0]
    (3, np.float64(3.0))
    """

    def __init__(
        self,
        program: LoopProgram,
        inputs: Values,
        kept: Values,
        name: str,
        like: Array,
        runners: Sequence[Runner] = (),
    ) -> None:
        self._program, self._name, self._like = program, name, like
        self.count, self.chunks = program.num_slices, program.chunks
        self._library = Library(name)
        bound = runners or [bind(part.program, name) for part in program.parts]
        every = list(zip(program.parts, bound, strict=True))
        for part, runner in every:
            if not part.depth and part.value not in kept:
                kept[part.value] = runner(self._gather(part, inputs, kept, ()))
        self._parts = [(part, runner) for part, runner in every if part.depth]
        takes = [take for part, _ in self._parts for take in part.takes]
        self._inputs = {take.value: inputs[take.value] for take in takes if not take.made}
        self._kept = kept

    def __reduce__(self) -> tuple[Any, ...]:
        return SliceJob, (self._program, self._inputs, self._kept, self._name, self._like)

    def run(self, start: int, stop: int) -> Array:
        """Return the sum of the slices `start` .. `stop` - 1, in the shape of the whole result.

        Raises
        ------
        InputError
            The range does not lie within `range(count)`.
        """
        if not 0 <= start <= stop <= self.count:
            raise InputError(
                f"this job has the slices 0..{self.count}; there is no range {start}..{stop}."
            )
        if not self._parts and start < stop:
            whole: Array = self._kept[self._program.parts[-1].value]
            return whole
        made: Array = self._zeros()
        self._add(start, stop, made)
        return made

    def combine(self, parts: Iterable[Array]) -> Array:
        """Return the whole result from those of the chunks, given in the order of `chunks`."""
        if len(self.chunks) == 1:
            (only,) = parts
            return only
        total: Array = self._zeros()
        for part in parts:
            total += part
            del part  # before the next is made
        return total

    def result(self) -> Array:
        """Return the whole result, chunk by chunk; what `Plan.run` gives."""
        if not self._program.overlapping or len(self.chunks) == 1:
            return self.run(0, self.count)  # every chunk has entries of the result to itself
        return self.combine(self.run(start, stop) for start, stop in self.chunks)

    def _zeros(self) -> Any:
        xp = arrays_.namespace(self._like)
        if self._name == "numpy":
            return xp.zeros(self._program.shape, dtype=self._like.dtype)
        device = self._like.device  # type: ignore[attr-defined]
        return xp.zeros(self._program.shape, dtype=self._like.dtype, device=device)

    def _add(self, start: int, stop: int, made: Any) -> None:
        sizes, placed = self._program.loop_sizes, self._program.placed
        place = [0] * len(sizes)
        rest = start
        for k in range(len(sizes) - 1, -1, -1):
            rest, place[k] = divmod(rest, max(sizes[k], 1))
        changed, kept = 0, dict(self._kept)
        root = self._program.parts[-1].value
        for _ in range(start, stop):
            again = [(part, runner) for part, runner in self._parts if part.depth > changed]
            for part, _runner in again:
                kept.pop(part.value, None)
            for part, runner in again:
                kept[part.value] = runner(self._gather(part, self._inputs, kept, place))
            made[(*_fixed(placed, place), ...)] += kept[root].reshape(self._program.piece)
            changed = _advance(place, sizes)

    def _gather(
        self, part: LoopPart, inputs: Values, kept: Values, place: Sequence[int]
    ) -> list[Any]:
        return [
            kept[take.value] if take.made else self._taken(take, inputs[take.value], place)
            for take in part.takes
        ]

    def _taken(self, take: Take, x: Any, place: Sequence[int]) -> Any:
        if not take.fixed:
            return x
        x = x[(*_fixed(take.fixed, place), ...)]
        return self._library.contiguous(x) if take.copied else x


def slice_job(plan: Plan, arrays: Sequence[Array]) -> SliceJob:
    """Return the job of running a plan slice by slice on `arrays`.

    The arrays are checked and what does not depend on the slice is contracted, once. A plan
    without slices is a job of one slice.

    Raises
    ------
    ShapeError, BackendError, DTypeError, MemoryBudgetError
        As `Plan.run`.
    """
    return plan.compiled.job(arrays, plan.spec, plan.memory)


def _fixed(axes: Sequence[int | None], place: Sequence[int]) -> list[Any]:
    return [slice(None) if loop is None else place[loop] for loop in axes]


def _advance(place: list[int], sizes: Sequence[int]) -> int:
    """Step to the next slice in place; return the outermost loop that moved."""
    for k in range(len(sizes) - 1, -1, -1):
        place[k] += 1
        if place[k] < sizes[k]:
            return k
        place[k] = 0
    return 0
