"""What runs in a worker process: builds the job once, and does the tasks that it is told.

This module is all that a worker imports of ours, with NumPy: it starts quickly.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, final

from contraction.blas_threads import threads_for
from contraction.workers.jobs import Blueprint, Job
from contraction.workers.parts import Parts
from contraction.workers.stored import Stored, read_arrays

SECONDS_BETWEEN_LOOKS = 0.3


@final
@dataclass(frozen=True, kw_only=True)
class Order:
    """A job for worker processes of one machine: the arrays lie in a file."""

    name: str  # no two runs have the same
    blueprint: Blueprint = field(compare=False)
    path: Path = field(compare=False)
    table: tuple[Stored, ...] = field(compare=False)
    parts: Parts = field(compare=False)


def do_task(order: Order, task: int) -> None:
    """Do one task and write its result to the folder of parts."""
    with threads_for(0.0):
        result: Any = _job(order).run(task)
    order.parts.write(task, result)


@lru_cache(maxsize=1)
def _job(order: Order) -> Job:
    return order.blueprint.build(read_arrays(order.path, order.table))


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
