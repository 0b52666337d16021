"""Work on the branches of a tree by one thread or several, with the same result bit by bit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from contraction.blas_threads import threads_for
from integrators.tree_state import TreeState

T = TypeVar("T")
R = TypeVar("R")


def in_turn_or_threads(work: Callable[[T], R], tasks: Sequence[T], workers: int) -> list[R]:
    """Return `work` of every task, in order; with several threads if there are workers.

    Examples
    --------
    >>> in_turn_or_threads(lambda x: x * x, [1, 2, 3], 2)
    [1, 4, 9]
    """
    if workers <= 1 or len(tasks) <= 1:
        return [work(task) for task in tasks]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(workers, len(tasks))) as pool:
        return list(pool.map(work, tasks))


@contextmanager
def blas_for(state: TreeState, workers: int) -> Iterator[None]:
    """Leave BLAS the threads it can use beside `workers` of our own.

    One where there are workers or the products are small, else those it has.
    """
    largest = max(math.prod(core.shape) * max(core.shape) for core in state.cores)
    with threads_for(0.0 if workers > 1 else 8.0 * largest):
        yield
