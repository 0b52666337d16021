"""Results in the order of their tasks, whoever is done first, and few of them waiting."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


def in_order(
    call: Callable[[S], T],
    tasks: Iterable[S],
    workers: int,
    window: int,
    abort: Callable[[], None] = lambda: None,
) -> Generator[T, None, None]:
    """Yield `call(task)` for each task, in order.

    Parameters
    ----------
    call
        Called in `workers` threads; with no workers, here, one task after the other.
    tasks
        The arguments; each is asked for when there is room for it, in the caller's own thread.
    workers
        Number of threads.
    window
        How many calls may be under way, or done and not yet yielded.
    abort
        Called if the caller stops early or a call fails; must make the calls that are under way
        return or raise soon, for they are waited for.

    Examples
    --------
    >>> list(in_order(lambda x: x * x, range(4), workers=2, window=3))
    [0, 1, 4, 9]
    """
    if workers == 0:
        yield from map(call, tasks)
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="contraction")
    waiting: deque[Future[T]] = deque()
    done = False
    try:
        for task in tasks:
            if len(waiting) >= window:
                yield waiting.popleft().result()
            waiting.append(pool.submit(call, task))
        while waiting:
            yield waiting.popleft().result()
        done = True
    finally:
        if not done:
            abort()
        pool.shutdown(wait=True, cancel_futures=True)
