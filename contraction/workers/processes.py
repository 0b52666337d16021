"""Processes: workers of this machine that may die without harm.

Every worker is a pool of one process of its own, so that the death of one neither disturbs the
others nor leaves any doubt about which task it was at. Arrays go to the workers, and results
come back, by files that are mapped into memory: through a pipe, a worker that dies in the midst
of a message would leave its reader waiting.
"""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Lock
from typing import Any, final

from contraction.errors import BackendError, InputError, WorkerError
from contraction.workers.remote import Order, begin, do_task, receive
from contraction.workers.schedulers import Assignment, Crew, Scheduler, check_workers
from contraction.workers.stored import describe, write_arrays, write_plainly

ONE_THREAD = {
    f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB_MAXIMUM")
}


@final
@dataclass(frozen=True, kw_only=True)
class Processes(Scheduler):
    """Processes of this machine, each with one BLAS thread. Every one needs memory for a task.

    A process that dies (killed, out of memory) is replaced and its task done again; nothing
    else is lost.

    Parameters
    ----------
    workers
        How many.
    attempts
        How often a task may take its process with it before the run is given up.
    scratch
        A folder for temporary files, which hold the inputs and the results not yet added up; by
        default the system's.

    Examples
    --------
    >>> Processes(workers=2).attempts
    3
    """

    workers: int
    attempts: int = 3
    scratch: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        check_workers(self.workers)
        check_workers(self.attempts, name="attempts")
        if self.scratch is not None and not Path(self.scratch).is_dir():
            raise InputError(f"the scratch folder {str(self.scratch)!r} does not exist.")

    @contextmanager
    def staff(self, work: Assignment) -> Iterator[Crew]:
        """Have processes do the work; they start with their first task."""
        check_host_arrays(work.arrays)
        with tempfile.TemporaryDirectory(
            prefix="tnet-", dir=self.scratch, ignore_cleanup_errors=True
        ) as name:
            scratch = Path(name)
            order = Order(
                name=uuid.uuid4().hex,
                kit=work.kit,
                path=scratch / "arrays.bin",
                table=describe(work.arrays),
                mail=work.mail(scratch),
            )
            write_plainly(order.path, lambda stream: write_arrays(stream, work.arrays))
            seats = Seats(order, min(self.workers, work.bench.most), self.attempts)
            try:
                yield Crew(seats.count, seats.run, work.lasting, seats.close)
            finally:
                seats.close()


def check_host_arrays(arrays: list[Any]) -> None:
    """Raise `BackendError` unless all arrays are NumPy's."""
    import numpy as np

    for x in arrays:
        if not isinstance(x, np.ndarray):
            raise BackendError(
                "other processes are given NumPy arrays only, got one of "
                f"{type(x).__module__.partition('.')[0]}; convert with contraction.arrays.to, or "
                "use Serial or Threads without a folder."
            )


@final
class Seats:
    """Places for workers; one who dies is replaced."""

    def __init__(self, order: Order, count: int, attempts: int) -> None:
        self.count = count
        self._order, self._attempts = order, attempts
        self._free: SimpleQueue[Seat] = SimpleQueue()
        self._closed = Event()
        self._seats = [Seat(self._closed, order) for _ in range(count)]
        for seat in self._seats:
            self._free.put(seat)

    def run(self, task: Any) -> Any:
        """Have a free worker do a task, and return its result.

        Raises
        ------
        WorkerError
            The task ended its process time and again.
        """
        mail = self._order.mail
        packed = mail.pack(task)
        seat = self._free.get()
        try:
            for _ in range(self._attempts):
                if seat.call(packed):
                    break
            else:
                raise WorkerError(
                    f"task {task} ended its worker process {self._attempts} times; a process "
                    "that dies by itself has most often run out of memory: plan with a smaller "
                    "`memory`, or use fewer workers."
                )
        finally:
            self._free.put(seat)
        result = mail.collect(packed)
        if result is None:
            raise WorkerError(
                f"the result of task {task} is damaged; look whether the disk is full."
            )
        return result

    def close(self) -> None:
        """End all workers at once, and have their calls fail."""
        self._closed.set()
        for seat in self._seats:
            seat.close()


@final
class Seat:
    """One worker process at a time."""

    def __init__(self, closed: Event, order: Order) -> None:
        self._closed, self._order, self._lock, self._pool = closed, order, Lock(), None

    def call(self, task: Any) -> bool:
        """Have the worker do a task; False if it died over it."""
        from loky.process_executor import BrokenProcessPool

        try:
            pool, new = self._hired()
            if new:
                pool.submit(receive, self._order).result()
            pool.submit(do_task, self._order.repeated, task).result()
            return True
        except BrokenProcessPool:
            with self._lock:
                self._pool = None
            if self._closed.is_set():
                raise
            return False

    def close(self) -> None:
        """End the process."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True, kill_workers=True)

    def _hired(self) -> tuple[Any, bool]:
        """Return the process, and whether it is a new one."""
        from loky.process_executor import ProcessPoolExecutor

        with self._lock:
            if self._closed.is_set():
                raise WorkerError("the workers were sent home.")
            new = self._pool is None
            if new:
                about = (os.getpid(), self._order.path.parent)
                self._pool = ProcessPoolExecutor(
                    1, initializer=begin, initargs=about, env=ONE_THREAD
                )
            return self._pool, new
