"""How many threads the BLAS of NumPy and of SciPy may use while work alternates between them.

The wheels of NumPy and of SciPy each bring an OpenBLAS with threads of its own, which go on
spinning for some milliseconds after a call. Code that multiplies by NumPy and factorises by
SciPy in turn then has each pool waiting for cores that the other one burns: on two cores, sweeps
of 1 to 40 ms were measured to take 5 to 100 times as long. The matrices factorised are small, so
nothing is lost by giving SciPy's pool one thread. Where the products are small as well, two
threads gain nothing on an idle machine and lose a factor 3 to 4 on a loaded one, where each
product waits for the thread that was put off; then NumPy's pool has one thread, too.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import PurePath
from threading import Lock
from typing import Any, final

SMALL = 2e8  # flops of one sweep: some 5 ms


def gram_flops(shape: Collection[int]) -> float:
    """Return the flops of the smallest Gram matrix of a tensor: the scale of one product.

    Examples
    --------
    >>> gram_flops((3, 4, 5))
    360.0
    """
    return 2.0 * min(shape) * math.prod(shape)


@contextmanager
def threads_for(flops: float) -> Iterator[None]:
    """Limit the BLAS threads for repeated work of so many `flops`, some of it by SciPy.

    The BLAS of SciPy, where it is not NumPy's own, gets one thread, and below `SMALL` flops that
    of NumPy as well. May be nested, and entered by several threads at once: the last to leave
    restores what was found.

    Notes
    -----
    About 10 microseconds, and some milliseconds the first time.

    Examples
    --------
    >>> with threads_for(1e6):
    ...     pass
    """
    pools = [pool for pool, mine in _pools("scipy.linalg" in sys.modules) if mine or flops < SMALL]
    for pool in pools:
        pool.enter()
    try:
        yield
    finally:
        for pool in pools:
            pool.leave()


@final
class Pool:
    """A library whose threads are limited to one while someone is inside."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._before = 1
        self._lock, self._inside = Lock(), 0

    def enter(self) -> None:
        """Limit the library, unless it is already."""
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._before = self._library.num_threads
                self._library.set_num_threads(1)

    def leave(self) -> None:
        """Restore the library, if nobody else is inside."""
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._library.set_num_threads(self._before)


@lru_cache(maxsize=2)
def _pools(scipy_is_loaded: bool) -> tuple[tuple[Pool, bool], ...]:
    """Return the pool of each BLAS, and whether it is SciPy's own; `scipy_is_loaded` is a key."""
    found = [x.filepath for x in _libraries() if x.user_api == "blas"]
    return tuple((_pool(path), belongs_to_scipy(path)) for path in found)


@lru_cache(maxsize=16)
def _pool(path: str) -> Pool:
    return Pool(next(x for x in _libraries() if x.filepath == path))


def _libraries() -> list[Any]:
    from threadpoolctl import ThreadpoolController

    found: list[Any] = ThreadpoolController().lib_controllers
    return found


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
