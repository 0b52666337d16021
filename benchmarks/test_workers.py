"""Two processes beside one on a sliced contraction of more than twenty seconds.

Both have one BLAS thread for each process and do the same chunks, in turns, so the ratio of
their wall times is what the second process brings. It says nothing on a machine whose cores are
busy with something else: the share of its cores that the machine had to spare is written beside
it, and the bar is checked only where that was nearly all. TNET_WORKERS_SECONDS sets another
length than 24 seconds, roughly; TNET_WORKERS_ROUNDS another number of rounds than two.
"""

import os
import statistics
import time
from pathlib import Path

import numpy as np
import pytest

import contraction
from contraction import Processes, Serial, Spec, Threads, contract_with

SECONDS = float(os.environ.get("TNET_WORKERS_SECONDS", "24"))
ROUNDS = int(os.environ.get("TNET_WORKERS_ROUNDS", "2"))
SIZE, LOOP, RATE = 256, 8, 6e10  # flops a second of one core, about
BAR, IDLE = 1.7, 0.9


def sliced_chain():
    """Return a chain of matrices that depend in turn on four summed labels, and its arrays."""
    steps = SECONDS * RATE / (2 * SIZE**3 * LOOP**4)  # products that depend on all four
    count = 4 + max(1, round(steps))
    inputs = [(f"x{i}", "stuv"[i % 4], f"x{i + 1}") for i in range(count)]
    sizes = {f"x{i}": SIZE for i in range(count + 1)} | dict.fromkeys("stuv", LOOP)
    spec = Spec(inputs, ("x0", f"x{count}"), sizes)
    pairs = [(0, 1), *((count + i, i + 2) for i in range(count - 2))]
    plan = contraction.plan(spec, path=pairs, slices=tuple("stuv"))
    rng = np.random.default_rng(0)
    return plan, [rng.standard_normal(shape) / np.sqrt(SIZE) for shape in spec.shapes]


def machine_clock():
    """Return the seconds that all cores were busy, and that they have been there in all."""
    try:
        first = Path("/proc/stat").read_text().splitlines()[0].split()
    except OSError:
        return None
    ticks = [int(word) for word in first[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def own_clock():
    spent = os.times()
    return sum(spent[:4])


def timed(call):
    """Return the result, the wall time, and the share of the machine that others left to us."""
    machine, own, start = machine_clock(), own_clock(), time.perf_counter()
    result = call()
    seconds, mine, after = time.perf_counter() - start, own_clock() - own, machine_clock()
    if machine is None or after is None:
        return result, seconds, 1.0
    others = max(0.0, (after[0] - machine[0]) / os.sysconf("SC_CLK_TCK") - mine)
    return result, seconds, 1.0 - others / (seconds * (os.cpu_count() or 1))


def test_two_processes(benchmark) -> None:
    if (os.cpu_count() or 1) < 2:
        pytest.skip("one core")
    plan, arrays = sliced_chain()
    want, serial, _ = timed(lambda: contract_with(plan, arrays, scheduler=Serial()))
    times, cpu = {1: [], 2: []}, {1: [], 2: []}
    spare = []
    for _ in range(ROUNDS):
        for workers, found in times.items():
            before = own_clock()
            got, seconds, left = timed(
                lambda n=workers: contract_with(plan, arrays, scheduler=Processes(workers=n))
            )
            np.testing.assert_array_equal(got, want)
            found.append(seconds)
            cpu[workers].append(own_clock() - before)
            spare.append(left)
    ratio = statistics.median(times[1]) / statistics.median(times[2])
    assert (
        benchmark.pedantic(
            contract_with, (plan, arrays), {"scheduler": Processes(workers=2)}, rounds=1
        ).shape
        == want.shape
    )
    _, threads, _ = timed(lambda: contract_with(plan, arrays, scheduler=Threads(workers=2)))
    benchmark.extra_info.update(
        serial=round(serial, 2),
        one=[round(t, 2) for t in times[1]],
        two=[round(t, 2) for t in times[2]],
        two_threads=round(threads, 2),
        ratio=round(ratio, 3),
        cpu_seconds={n: round(min(found), 2) for n, found in cpu.items()},
        spare=round(min(spare), 3),
        flops=plan.flops,
        slices=plan.num_slices,
    )
    print(dict(benchmark.extra_info))
    if min(spare) > IDLE:
        assert ratio >= BAR
