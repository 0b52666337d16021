"""Processes: workers of this machine that may die without harm.

Every worker has a pipe of its own, so that its death is seen at once, also in the midst of a
message, neither disturbs the others nor leaves any doubt about which task it was at. Arrays go to
the workers by a file that is mapped into memory.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import Any, final

from contraction.errors import BackendError, InputError, WorkerError
from contraction.workers.remote import Order, Reply, serve
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
        self._mail, self._attempts = order.mail, attempts
        self._free: SimpleQueue[Seat] = SimpleQueue()
        self._seats = [Seat(order) for _ in range(count)]
        for seat in self._seats:
            self._free.put(seat)

    def run(self, task: Any) -> Any:
        """Have a free worker do a task, and return its result.

        Raises
        ------
        WorkerError
            The task ended its process time and again.
        """
        packed = self._mail.pack(task)
        seat = self._free.get()
        try:
            reply = None
            for _ in range(self._attempts):
                if (reply := seat.call(packed)) is not None:
                    break
        finally:
            self._free.put(seat)
        if reply is None:
            raise WorkerError(
                f"task {task} ended its worker process {self._attempts} times; a process "
                "that dies by itself has most often run out of memory: plan with a smaller "
                "`memory`, or use fewer workers."
            )
        if reply.error is not None:
            raise reply.error
        result = self._mail.collect(packed, reply.letter)
        if result is None:
            raise WorkerError(
                f"the result of task {task} is damaged; look whether the disk is full."
            )
        return result

    def close(self) -> None:
        """End all workers at once, and have their calls fail."""
        for seat in self._seats:
            seat.close()


@final
class Seat:
    """One worker process at a time, called by one thread at a time."""

    def __init__(self, order: Order) -> None:
        self._order, self._lock, self._closed = order, Lock(), False
        self._process: Any = None
        self._pipe: Any = None

    def call(self, task: Any) -> Reply | None:
        """Have the worker do a task; None if it died over it."""
        try:
            pipe = self._hired()
            pipe.send(task)
            reply: Reply = pipe.recv()
            return reply
        except (EOFError, OSError):  # the other end of the pipe is closed
            self._dismiss()
            return None

    def close(self) -> None:
        """End the process, also while it is called; it is not replaced."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                _end(self._process)

    def _hired(self) -> Any:
        """Return the pipe to a process, a new one if there is none."""
        from loky.backend import get_context
        from loky.backend.reduction import dumps

        with self._lock:
            if self._closed:
                raise WorkerError("the workers were sent home.")
            if self._process is not None:
                return self._pipe
            context = get_context("loky")
            self._pipe, other = context.Pipe()
            with other:  # which the worker alone shall hold, so that its end is seen
                args = (other, os.getpid(), self._order.path.parent)
                # as a daemon, for an interrupt may come before `close` has ended it
                worker = context.Process(target=serve, args=args, env=ONE_THREAD, daemon=True)
                worker.start()
            self._process = worker
        self._pipe.send_bytes(dumps(self._order))  # functions of the user's script, too
        return self._pipe

    def _dismiss(self) -> None:
        with self._lock:
            process, self._process = self._process, None
            if process is not None:
                _end(process)
                self._pipe.close()


def _end(process: Any) -> None:
    """End a process, also one that is stopped."""
    if process.is_alive():
        os.kill(process.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
    process.join()
