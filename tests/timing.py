"""Timing calls beside each other, for the benchmarks."""

import statistics
import time


def in_turns(calls, rounds):
    """Median process time of each call, all called in turns after one call to warm up."""
    spent = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.process_time()
            call()
            spent[name].append(time.process_time() - start)
    return {name: statistics.median(times) for name, times in spent.items()}
