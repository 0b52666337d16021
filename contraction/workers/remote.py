"""What runs in a worker process: builds the bench once, and does the tasks that it is told.

This module and that of the kit are all that a worker imports of ours, with NumPy: it starts
quickly.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from contraction.blas_threads import threads_for
from contraction.errors import WorkerError
from contraction.workers.kits import Bench, Kit, Mail
from contraction.workers.stored import Stored, read_arrays

SECONDS_BETWEEN_LOOKS = 0.3


class Order(NamedTuple):
    """Work for processes of one machine: the arrays lie in a file."""

    kit: Kit
    path: Path
    table: tuple[Stored, ...]
    mail: Mail


class Reply(NamedTuple):
    """What became of a task: what its mail sends back, or what was raised."""

    letter: Any
    error: Exception | None = None


def serve(pipe: Any, parent: int, scratch: Path) -> None:
    """Take an order and then its tasks from a pipe, and reply to each; runs in the worker."""
    begin(parent, scratch)
    try:
        order: Order = pipe.recv()
        build = cache(lambda: order.kit.build(read_arrays(order.path, order.table)))
        with threads_for(0.0):
            while True:
                _send(pipe, _reply(build, order.mail, pipe.recv()))
    except (EOFError, OSError):
        _leave(scratch)  # the parent has gone


def _reply(build: Callable[[], Bench], mail: Mail, task: Any) -> Reply:
    try:
        return Reply(mail.write(task, build().run(task)))
    except Exception as error:
        error.add_note(f"In a worker process:\n{traceback.format_exc()}")
        return Reply(None, error)


def _send(pipe: Any, reply: Reply) -> None:
    try:
        pipe.send(reply)
    except OSError:
        raise
    except Exception as error:  # it cannot be pickled
        lost = reply.error or error
        pipe.send(Reply(None, WorkerError(f"{type(lost).__name__} in a worker process: {lost}")))


def begin(parent: int, scratch: Path) -> None:
    """Set up a worker process: interrupts are its parent's business, whose end is its own.

    A parent that was killed could not remove its scratch folder; its workers do.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_watch, args=(parent, scratch), daemon=True).start()


def _watch(parent: int, scratch: Path) -> None:
    while os.getppid() == parent:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    _leave(scratch)


def _leave(scratch: Path) -> None:
    for _ in range(3):  # what other workers write in the meantime goes with the next
        shutil.rmtree(scratch, ignore_errors=True)
    os._exit(1)
