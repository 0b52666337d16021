"""Schedulers: who does the tasks of a job. The result is bitwise the same whoever does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, final

from contraction.blas_threads import threads_for
from contraction.errors import InputError
from contraction.workers.kits import Bench, Kit, Mail


class Assignment(NamedTuple):
    """The work that a scheduler is given."""

    kit: Kit
    arrays: list[Any]
    bench: Bench  # built of the two
    mail: Callable[[Path], Mail]  # of results between processes, given a folder for them
    lasting: bool = False  # whether the mail keeps what is written


class Crew(NamedTuple):
    """Workers that are ready."""

    workers: int  # calls of `run` that may be under way at once; 0: in the caller's own thread
    run: Callable[[Any], Any]
    keeps: bool = False  # whether `run` has written the result to the folder of parts itself
    abort: Callable[[], None] = lambda: None  # makes the calls under way fail


class Scheduler(ABC):
    """Something that does tasks."""

    @abstractmethod
    def staff(self, work: Assignment) -> AbstractContextManager[Crew]:
        """Have workers ready for this work while the block runs."""


@final
@dataclass(frozen=True, kw_only=True)
class Serial(Scheduler):
    """One task after the other, in this process.

    Parameters
    ----------
    blas_threads
        How many threads a product may use; None leaves it as it is. With one, as the other
        schedulers have, the result is bitwise the same as theirs.

    Examples
    --------
    >>> Serial()
    Serial(blas_threads=1)
    """

    blas_threads: int | None = 1

    def __post_init__(self) -> None:
        if self.blas_threads is not None:
            check_workers(self.blas_threads, name="blas_threads")

    @contextmanager
    def staff(self, work: Assignment) -> Iterator[Crew]:
        """Have the caller's own thread do the work."""
        yield Crew(0, work.bench.run)


@final
@dataclass(frozen=True, kw_only=True)
class Threads(Scheduler):
    """Threads of this process, each with one BLAS thread. Every one needs memory for a task.

    Parameters
    ----------
    workers
        How many.

    Examples
    --------
    >>> Threads(workers=2).workers
    2
    """

    workers: int

    def __post_init__(self) -> None:
        check_workers(self.workers)

    @contextmanager
    def staff(self, work: Assignment) -> Iterator[Crew]:
        """Have threads do the work."""
        bench = work.bench
        yield Crew(min(self.workers, bench.most), bench.run, abort=bench.halt)


def check_workers(workers: int, *, name: str = "workers") -> None:
    """Raise `InputError` unless `workers` is a whole number >= 1."""
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise InputError(f"`{name}` is a whole number >= 1, got {workers!r}.")


def blas_limit(scheduler: Scheduler) -> AbstractContextManager[Any]:
    """Limit the BLAS threads of this process to what a scheduler has for each worker."""
    count = scheduler.blas_threads if isinstance(scheduler, Serial) else 1
    if count is None:
        return nullcontext()
    if count == 1:
        return threads_for(0.0)
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[Any] = threadpool_limits(limits=count, user_api="blas")
    return limits
