"""One of two BLAS thread pools held to one thread while work alternates between them.

The wheels of NumPy and of SciPy each bring an OpenBLAS with threads of its own, which go on
spinning for some milliseconds after a call. Code that multiplies by NumPy and factorises by
SciPy in turn then has each pool waiting for cores that the other one burns: on two cores, sweeps
of 1 to 40 ms were measured to take 5 to 100 times as long. The matrices factorised are small, so
nothing is lost by giving SciPy's pool one thread.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import PurePath
from threading import Lock
from typing import Any, final


@contextmanager
def scipy_on_one_thread() -> Iterator[None]:
    """Hold the BLAS of SciPy to one thread, where it is not NumPy's own; a decorator as well.

    Nothing happens where both share one BLAS, or SciPy is not loaded. May be nested, and entered
    by several threads at once: the last to leave restores what was found.

    Notes
    -----
    About 10 microseconds, and some milliseconds the first time.

    Examples
    --------
    >>> with scipy_on_one_thread():
    ...     pass
    """
    pool = _pool() if "scipy.linalg" in sys.modules else None
    if pool is None:
        yield
        return
    pool.enter()
    try:
        yield
    finally:
        pool.leave()


@final
class Pool:
    """Libraries whose threads are limited while someone is inside."""

    def __init__(self, libraries: Sequence[Any]) -> None:
        self._libraries = tuple(libraries)
        self._before: list[int] = []
        self._lock, self._inside = Lock(), 0

    def enter(self) -> None:
        """Limit the libraries, unless they are already."""
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._before = [library.num_threads for library in self._libraries]
                for library in self._libraries:
                    library.set_num_threads(1)

    def leave(self) -> None:
        """Restore the libraries, if nobody else is inside."""
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                for library, count in zip(self._libraries, self._before, strict=True):
                    library.set_num_threads(count)


@lru_cache(maxsize=1)
def _pool() -> Pool | None:
    from threadpoolctl import ThreadpoolController

    found = ThreadpoolController().lib_controllers
    blas = [library for library in found if library.user_api == "blas"]
    scipys = [x for x in blas if belongs_to_scipy(x.filepath)]
    return Pool(scipys) if 0 < len(scipys) < len(blas) else None


def belongs_to_scipy(path: str) -> bool:
    """Tell whether a library came with SciPy: by its folder, for both call theirs scipy_openblas.

    Examples
    --------
    >>> belongs_to_scipy("/x/scipy.libs/libscipy_openblas.so")
    True
    >>> belongs_to_scipy("/x/numpy.libs/libscipy_openblas64_.so")
    False
    """
    return not {"scipy.libs", "scipy"}.isdisjoint(PurePath(path).parts[:-1])
