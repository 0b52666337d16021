"""Slices: a plan run slice by slice, in chunks that any number of workers may share out.

What is the same for all slices is contracted once, when a job is made. The slices are cut into
chunks in one fixed way; each chunk is summed in the order of its slices and the chunks in their
own order, so that the result is bitwise the same whoever runs which chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, final

from contraction import arrays as arrays_
from contraction.arrays import Array
from contraction.errors import InputError, WorkerError
from contraction.execute import Library, Runner, bind
from contraction.loop_program import LoopProgram, Take
from contraction.loops import sliced_canonical as sliced_canonical

if TYPE_CHECKING:
    from contraction.plans import Plan

Values: TypeAlias = dict[int, Any]
Fetch: TypeAlias = Callable[[Any, Sequence[int]], Any]


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
        self._program, self._name, self._like = program, name, _without_entries(like)
        self._halted = False
        self.count, self.chunks = program.num_slices, program.chunks
        library = Library(name)
        bound = runners or [bind(part.program, name) for part in program.parts]
        every = [
            _Part(part.value, part.depth, runner, [_fetch(take, library) for take in part.takes])
            for part, runner in zip(program.parts, bound, strict=True)
        ]
        for part in every:
            if not part.depth and part.value not in kept:
                kept[part.value] = part.made(inputs, kept, ())
        depth = len(program.loops)
        # what is made again when the loop k is the outermost that moves
        self._again = [[p for p in every if p.depth > k] for k in range(max(depth, 1))]
        takes = [take for part in program.parts if part.depth for take in part.takes]
        self._inputs = {take.value: inputs[take.value] for take in takes if not take.made}
        self._kept = kept
        self._place = _place_of(program.placed)

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
        if not self._again[0] and start < stop:
            whole: Array = self._kept[self._program.parts[-1].value]
            return whole
        made: Array = self._zeros()
        self._add(start, stop, made)
        return made

    def halt(self) -> None:
        """Have the calls of `run` under way, in whatever thread, raise before their next slice."""
        self._halted = True

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
        device = self._like.device
        return xp.zeros(self._program.shape, dtype=self._like.dtype, device=device)

    def _add(self, start: int, stop: int, made: Any) -> None:
        sizes, piece = self._program.loop_sizes, self._program.piece
        turn = [0] * len(sizes)
        rest = start
        for k in range(len(sizes) - 1, -1, -1):
            rest, turn[k] = divmod(rest, max(sizes[k], 1))
        changed, kept, inputs = 0, dict(self._kept), self._inputs
        root, again, place = self._program.parts[-1].value, self._again, self._place
        for _ in range(start, stop):
            if self._halted:
                raise WorkerError("the run was given up.")
            for part in again[changed]:
                kept[part.value] = None  # freed before the first of them is made again
            for part in again[changed]:
                kept[part.value] = part.made(inputs, kept, turn)
            there = made[place(turn)]
            there += kept[root].reshape(piece)
            changed = _advance(turn, sizes)


class _Part(NamedTuple):
    """A part bound to a library."""

    value: int
    depth: int
    runner: Runner
    fetches: list[tuple[int, Fetch | None]]  # which value, and its slice; None: a part's result

    def made(self, inputs: Values, kept: Values, turn: Sequence[int]) -> Any:
        """Return the value of this part at one turn of the loops."""
        return self.runner(
            [
                kept[value] if fetch is None else fetch(inputs[value], turn)
                for value, fetch in self.fetches
            ]
        )


def _fetch(take: Take, library: Library) -> tuple[int, Fetch | None]:
    """Return which value a part takes, and the function that slices it."""
    if take.made:
        return take.value, None
    if not any(loop is not None for loop in take.fixed):
        return take.value, _whole
    place, contiguous = _place_of(take.fixed), library.contiguous
    if take.copied:
        return take.value, lambda x, turn: contiguous(x[place(turn)])
    return take.value, lambda x, turn: x[place(turn)]


def _whole(x: Any, turn: Sequence[int]) -> Any:
    return x


def _place_of(axes: Sequence[int | None]) -> Callable[[Sequence[int]], tuple[Any, ...]]:
    """Return the function from the turns of all loops to the index of a slice.

    `axes` gives the loop that fixes each axis, None for an axis that is whole.
    """
    whole: list[Any] = [slice(None)] * len(axes) + [...]
    fixed = [(axis, loop) for axis, loop in enumerate(axes) if loop is not None]
    if len(fixed) == 1:  # the most frequent case
        ((axis, loop),) = fixed
        before = tuple(whole[:axis])
        return lambda turn: (*before, turn[loop], ...)

    def place(turn: Sequence[int]) -> tuple[Any, ...]:
        index = whole.copy()  # of its own: there may be several threads
        for axis, loop in fixed:
            index[axis] = turn[loop]
        return tuple(index)

    return place


def _without_entries(like: Array) -> Any:
    """Return an empty array of a library, dtype and device, which keeps no memory alive."""
    xp = arrays_.namespace(like)
    if arrays_.namespace_name(like) == "numpy":
        return xp.empty((0,), dtype=like.dtype)
    return xp.empty((0,), dtype=like.dtype, device=like.device)  # type: ignore[attr-defined]


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


def _advance(place: list[int], sizes: Sequence[int]) -> int:
    """Step to the next slice in place; return the outermost loop that moved."""
    for k in range(len(sizes) - 1, -1, -1):
        place[k] += 1
        if place[k] < sizes[k]:
            return k
        place[k] = 0
    return 0
