"""Jobs: a contraction of given arrays as tasks that do not need one another.

The tasks and the order in which their results are put together depend on the plan alone. Every
scheduler runs the same tasks on one BLAS thread each, so the result is bitwise the same.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, final

import numpy as np

from contraction.arrays import Array
from contraction.execute import bind
from contraction.loop_program import LoopProgram
from contraction.slices import SliceJob
from contraction.workers.cutting import Cut
from contraction.workers.kits import Bench, Kit

Box: TypeAlias = tuple[slice, ...]
ALL = slice(None)


class Job(Bench):
    """Tasks, numbered from zero, and what becomes of their results."""

    tasks: tuple[tuple[int, ...], ...]  # what each one does, in numbers
    ahead: int  # results for each worker that may wait to be put together

    @property
    def most(self) -> int:
        """The number of tasks."""
        return len(self.tasks)

    @abstractmethod
    def run(self, task: int) -> Array:
        """Do one task. May be called by several threads at once."""

    @abstractmethod
    def finish(self, results: Iterable[Array]) -> Array:
        """Return the whole result from those of the tasks, given in their order."""


class Blueprint(Kit):
    """A job without its arrays: plain data that travels to other processes."""

    @abstractmethod
    def build(self, arrays: Sequence[Any]) -> Job:
        """Return the job of these arrays."""

    @abstractmethod
    def for_library(self, library: str, move: Callable[[Any], Any]) -> Blueprint:
        """Return the same job for arrays of a library, where `move` brings arrays."""

    @abstractmethod
    def kernels(self) -> tuple[Any, ...]:
        """Return all that decides how the results are computed, as nested tuples."""

    def fingerprint(self) -> str:
        """Return a hash of the kernels: only where it is the same may results be mixed."""
        return hashlib.sha256(repr(_timeless(self.kernels())).encode()).hexdigest()


@final
@dataclass(frozen=True, kw_only=True)
class Slices(Blueprint):
    """The slices of a plan: a loop program, and which of its values the arrays are."""

    program: LoopProgram
    inputs: tuple[int, ...]
    kept: tuple[int, ...]
    library: str
    like: Any  # an empty array of the dtype and device

    def build(self, arrays: Sequence[Any]) -> Job:
        """Return the job of the inputs, and of the values that all slices share."""
        first = len(self.inputs)
        inputs = dict(zip(self.inputs, arrays[:first], strict=True))
        kept = dict(zip(self.kept, arrays[first:], strict=True))
        job = SliceJob(self.program, inputs, kept, self.library, self.like)
        return SlicesJob(job, boxes_of(self.program))

    def for_library(self, library: str, move: Callable[[Any], Any]) -> Blueprint:
        """Return the same slices for arrays of a library, where `move` brings arrays."""
        return replace(self, library=library, like=move(self.like))

    def kernels(self) -> tuple[Any, ...]:
        """Return the loop program."""
        return self.program, str(self.like.dtype)


@final
class SlicesJob(Job):
    """Chunks of slices, added up one after the other as they come."""

    def __init__(self, job: SliceJob, boxes: Sequence[Box]) -> None:
        self._job, self._boxes = job, boxes
        self.tasks, self.ahead = tuple(job.chunks), 3
        self._whole = all(side == ALL for box in boxes for side in box)

    def run(self, task: int) -> Array:
        """Return the sum of one chunk: the box of the result that its slices lie in."""
        made: Any = self._job.run(*self.tasks[task])
        if self._whole:
            whole: Array = made
            return whole
        box = made[self._boxes[task]]
        return np.array(box) if isinstance(box, np.ndarray) else box

    def halt(self) -> None:
        """Have the chunks under way end with their present slice."""
        self._job.halt()

    def finish(self, results: Iterable[Array]) -> Array:
        """Add up the chunks."""
        if self._whole:
            return self._job.combine(results)
        total: Any = self._job.combine(())  # zeros
        for box, result in zip(self._boxes, results, strict=True):
            total[box] += result
        made: Array = total
        return made


def boxes_of(program: LoopProgram) -> list[Box]:
    """Return for each chunk the box of the result that its slices lie in.

    The loops whose counters are equal at both ends of the chunk stand still; the next one runs
    over a range, and those inside it over all of theirs.
    """
    boxes = []
    for start, stop in program.chunks:
        ends = zip(_counters(start, program), _counters(stop - 1, program), strict=True)
        sides, still = [], True
        for first, last in ends:
            sides.append(slice(first, last + 1) if still else ALL)
            still = still and first == last
        boxes.append(tuple(ALL if k is None else sides[k] for k in program.placed))
    return boxes if len(boxes) > 1 else [tuple(ALL for _ in program.placed)]


def _counters(place: int, program: LoopProgram) -> list[int]:
    counters = []
    for size in reversed(program.loop_sizes):
        place, counter = divmod(place, max(size, 1))
        counters.append(counter)
    return counters[::-1]


@final
@dataclass(frozen=True, kw_only=True)
class Branches(Blueprint):
    """Branches of the tree of a plan without slices: its program in pieces."""

    cut: Cut
    library: str

    def build(self, arrays: Sequence[Any]) -> Job:
        """Return the job of these inputs."""
        return BranchesJob(self.cut, self.library, arrays)

    def for_library(self, library: str, move: Callable[[Any], Any]) -> Blueprint:
        """Return the same branches for arrays of a library."""
        return replace(self, library=library)

    def kernels(self) -> tuple[Any, ...]:
        """Return the pieces and the rest."""
        return self.cut


@final
class BranchesJob(Job):
    """Branches of the tree, and at the end what joins them.

    Where nothing was worth cutting off there is one task, the whole contraction.
    """

    def __init__(self, cut: Cut, library: str, arrays: Sequence[Any]) -> None:
        self._work = cut.pieces or (cut.rest,)
        self._rest = cut.rest if cut.pieces else None
        self._arrays, self._library = arrays, library
        self.tasks = tuple((piece.value,) for piece in self._work)
        self.ahead = len(self.tasks)  # all are needed at once

    def run(self, task: int) -> Array:
        """Return the value that one branch makes."""
        piece = self._work[task]
        result = bind(piece.program, self._library)([self._arrays[v] for v in piece.inputs])
        return np.asarray(result) if self._library == "numpy" else result

    def finish(self, results: Iterable[Array]) -> Array:
        """Join the branches."""
        if self._rest is None:
            (only,) = results
            return only
        made = {piece.value: x for piece, x in zip(self._work, results, strict=True)}
        values = [made.pop(v) if v in made else self._arrays[v] for v in self._rest.inputs]
        result: Array = bind(self._rest.program, self._library)(values)
        return result


def _timeless(data: Any) -> Any:
    """Return nested tuples without the estimates of time, which a calibration may change."""
    if not isinstance(data, tuple):
        return data
    names = getattr(data, "_fields", None) or ("",) * len(data)
    pairs = zip(names, data, strict=True)
    return tuple(_timeless(x) for name, x in pairs if name != "seconds")
