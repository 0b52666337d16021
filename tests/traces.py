"""Memory that a call takes, as tracemalloc sees it."""

import tracemalloc


def traced(call):
    """Return the most bytes that a call has allocated at once, and its result."""
    call()  # once before, for what is made only once
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        result = call()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return peak - before, result
