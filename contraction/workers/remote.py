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
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, final

from contraction.blas_threads import threads_for
from contraction.errors import WorkerError
from contraction.workers.kits import Bench, Kit, Mail
from contraction.workers.stored import Stored, read_arrays

SECONDS_BETWEEN_LOOKS = 0.3


@final
@dataclass(frozen=True, kw_only=True)
class Order:
    """Work for processes of one machine: the arrays lie in a file."""

    name: str  # no two runs have the same
    kit: Kit | None = field(compare=False)  # None in the orders after the first
    path: Path = field(compare=False)
    table: tuple[Stored, ...] = field(compare=False)
    mail: Mail = field(compare=False)

    @property
    def repeated(self) -> Order:
        """The same order for a worker who has had it: short, whatever is to be done."""
        return replace(self, kit=None, table=())


def receive(order: Order) -> None:
    """Take an order; the tasks come with repeated ones."""
    with threads_for(0.0):
        _bench(order)


def do_task(order: Order, task: Any) -> None:
    """Do one task and post its result."""
    with threads_for(0.0):
        result: Any = _bench(order).run(task)
    order.mail.write(task, result)


@lru_cache(maxsize=1)
def _bench(order: Order) -> Bench:
    if order.kit is None:
        raise WorkerError("a worker was given a task before the order.")
    return order.kit.build(read_arrays(order.path, order.table))


def begin(parent: int, scratch: Path) -> None:
    """Set up a worker process: interrupts are its parent's business, whose end is its own.

    A parent that was killed could not remove its scratch folder; its workers do.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_watch, args=(parent, scratch), daemon=True).start()


def _watch(parent: int, scratch: Path) -> None:
    while os.getppid() == parent:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    for _ in range(3):  # what other workers write in the meantime goes with the next
        shutil.rmtree(scratch, ignore_errors=True)
    os._exit(1)
