"""Flushing to the disk in groups: soon after something was written, whatever comes next."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock, Timer
from typing import final


@final
class LateFlush:
    """Calls `flush` some seconds after the first of several writes, in a thread of its own.

    Parameters
    ----------
    flush
        What is called, by one thread at a time.
    seconds
        How much later.

    Examples
    --------
    >>> late = LateFlush(lambda: None, seconds=1.0)
    >>> late.soon()
    >>> late.close()
    """

    def __init__(self, flush: Callable[[], None], *, seconds: float) -> None:
        self._flush, self._seconds = flush, seconds
        self._lock = Lock()
        self._timer: Timer | None = None
        self._error: OSError | None = None
        self._closed = False

    def soon(self) -> None:
        """Have what was written flushed in time.

        Raises
        ------
        OSError
            The flush before failed.
        """
        if self._error is not None:
            raise self._error
        if self._timer is None:
            self._timer = Timer(self._seconds, self._late)
            self._timer.daemon = True
            self._timer.start()

    def close(self) -> None:
        """Wait for a flush that is under way, and do no other."""
        if self._timer is not None:
            self._timer.cancel()
        with self._lock:
            self._closed = True

    def _late(self) -> None:
        self._timer = None  # what is written from here on is for the next
        with self._lock:
            if self._closed:
                return
            try:
                self._flush()
            except OSError as error:
                self._error = error
