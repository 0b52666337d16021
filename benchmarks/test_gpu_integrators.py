"""BUG steppers on a GPU beside two cores of the CPU: one step at rank 128 with 32 spins.

Needs a CUDA device; skipped without, and written without one at hand
(`pytest benchmarks/test_gpu_integrators.py --benchmark-only -s -o addopts=`).
Wall seconds, in turns, after a warm-up; the CPU has two threads of our own with one of BLAS each.
"""

from __future__ import annotations

import importlib
import time
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import tnet
from contraction.arrays import gpu_available, to_numpy
from contraction.truncation import Truncation
from integrators import AugmentedBUG, ParallelBUG, ParallelBUG2
from integrators.binding import bind
from integrators.cutting import cut
from integrators.models import ising
from integrators.tree_state import TreeState

pytestmark = pytest.mark.gpu
GOAL = 5.0


@pytest.fixture(params=["cupy", "torch"])
def library(request: Any) -> str:
    if not gpu_available(request.param):
        pytest.skip(f"{request.param} sees no GPU")
    name: str = request.param
    return name


def case(d: int, rank: int, library: str) -> tuple[Any, TreeState]:
    model = ising(d)
    tree = tnet.balanced_tree(model.sites, rank)
    net = tnet.random_network(tree, rng=np.random.default_rng(0), dtype="complex128")
    device = None if library == "numpy" else "cuda:0"
    start = TreeState.from_network(net)
    start = start.with_cores({0: start.cores[0] / start.norm})
    state = TreeState.from_network(start.to_network().to(namespace=library, device=device))
    return bind(-1j * tnet.operator(tree, model), state.frame, state.cores[0]), state


def wall(stepper: Any, made: tuple[Any, TreeState], rank: int) -> tuple[float, TreeState]:
    """Seconds of a step and its cut; reading the norm waits until the device is done."""
    wait(made[1])
    began = time.perf_counter()
    after = stepper.step(made[0], 0.0, 0.02, made[1]).state
    found = cut(after, Truncation(max_rank=rank), workers=stepper.workers).state
    wait(found)
    return time.perf_counter() - began, found


def wait(state: TreeState) -> None:
    kind = type(state.cores[0]).__module__.partition(".")[0]
    if kind == "torch":
        importlib.import_module("torch").cuda.synchronize()
    elif kind == "cupy":
        importlib.import_module("cupy").cuda.get_current_stream().synchronize()


@pytest.mark.parametrize(("d", "rank"), [(32, 64), (32, 128)])
def test_a_device_beside_two_cores(benchmark: Any, library: str, d: int, rank: int) -> None:
    there, here = case(d, rank, library), case(d, rank, "numpy")
    options: Any = {"truncation": Truncation()}
    wall(ParallelBUG(**options), there, rank)
    turns = 3 if rank == 64 else 1

    def work() -> list[tuple[tuple[float, TreeState], tuple[float, TreeState]]]:
        return [
            (
                wall(ParallelBUG(**options), there, rank),
                wall(ParallelBUG(workers=2, **options), here, rank),
            )
            for _ in range(turns)
        ]

    with threadpool_limits(1):
        found = benchmark.pedantic(work, rounds=1)
    device, host = (min(t for t, _ in column) for column in zip(*found, strict=True))
    spectra = [
        np.linalg.svd(to_numpy(x.cores[0]).reshape(rank, rank), compute_uv=False)
        for _, x in found[0]
    ]
    benchmark.extra_info.update(device=device, two_cores=host, ratio=host / device, goal=GOAL)
    print(
        f"\n{library}, d = {d}, rank {rank}: device {device:.3f} s, two cores {host:.3f} s a step, "
        f"ratio {host / device:.1f} (goal {GOAL} at rank 128)"
    )
    assert np.allclose(*spectra, atol=1e-6)


@pytest.mark.parametrize("method", [AugmentedBUG, ParallelBUG2])
def test_other_steppers_on_the_device(benchmark: Any, library: str, method: Any) -> None:
    made = case(32, 64, library)
    stepper = method(truncation=Truncation())
    wall(stepper, made, 64)
    seconds = benchmark.pedantic(lambda: wall(stepper, made, 64)[0], rounds=1)
    benchmark.extra_info.update(seconds=seconds)
    print(f"\n{library}, {method.__name__}, d = 32, rank 64: {seconds:.3f} s a step")
