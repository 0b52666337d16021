"""One process per run folder: an operating-system lock, and a note of who holds it.

The lock itself is the kernel's (through filelock), so it falls when its process dies, however
it dies; the note beside it only says whom to blame. Nothing can be left behind that blocks a
run for ever.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from contraction.errors import RunLockedError

LOCK, OWNER = "lock", "lock.owner"


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a run folder.

    Raises
    ------
    RunLockedError
        A living process holds it.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise RunLockedError(
            f"another process works in {str(folder)!r}{_who(folder)}; wait for it, or name another "
            "folder."
        ) from None
    try:
        # a plain write: the note may be torn by a crash, and nothing depends on it
        (folder / OWNER).write_text(
            json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}),
            encoding="utf-8",
        )
        yield
    finally:
        with suppress(OSError):
            (folder / OWNER).unlink()
        lock.release()


def _who(folder: Path) -> str:
    try:
        owner = json.loads((folder / OWNER).read_text(encoding="utf-8"))
        return f" (process {owner['pid']} on {owner['host']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
