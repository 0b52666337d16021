"""On a GPU: the share of the dense GEMM rate, the contractions beside einsum, Gram ST-HOSVD.

Needs a CUDA device (`pytest benchmarks/test_gpu.py --benchmark-only -o addopts= -s`); skipped
without, and written without one at hand. Times are device times between events, on one device,
after a warm-up, in turns.
"""

import importlib
import math
import statistics

import numpy as np
import pytest

import contraction
import tnet
from contraction import Truncation
from contraction.arrays import gpu_available, namespace_by_name, to

pytestmark = pytest.mark.gpu
N, R = 1024, 256  # eight times the sizes of the comparison on a CPU
ROWS = {
    "mttkrp-0": ("abc,br,cr->ar", [(N, N, N), (N, R), (N, R)]),
    "mttkrp-1": ("abc,ar,cr->br", [(N, N, N), (N, R), (N, R)]),
    "mttkrp-2": ("abc,ar,br->cr", [(N, N, N), (N, R), (N, R)]),
    "tucker-ttm": ("abc,ax,by,cz->xyz", [(N, N, N), (N, 128), (N, 128), (N, 128)]),
    "batch-matmul": ("zab,zbc->zac", [(512, N, N), (512, N, N)]),
    "multiply-reduce": ("abr,br->ar", [(N, N, R), (N, R)]),
    "ttm-0": ("abc,ad->dbc", [(N, N, N), (N, R)]),
    "ttm-1": ("abc,bd->adc", [(N, N, N), (N, R)]),
    "ttm-2": ("abc,cd->abd", [(N, N, N), (N, R)]),
    "two-sums": ("abcd,cdef->abef", [(128,) * 4, (128,) * 4]),
}


@pytest.fixture(params=["cupy", "torch"])
def library(request):
    if not gpu_available(request.param):
        pytest.skip(f"{request.param} sees no GPU")
    return request.param


def drawn(shapes, library):
    """Random arrays made on the device: the largest have several GiB."""
    if library == "torch":
        import torch

        generator = torch.Generator(device="cuda").manual_seed(0)
        return [
            torch.randn(s, generator=generator, device="cuda", dtype=torch.float64) for s in shapes
        ]
    cp = importlib.import_module("cupy")
    rng = cp.random.default_rng(0)
    return [rng.standard_normal(s, dtype="float64") for s in shapes]


def device_seconds(library, calls, rounds=7):
    """Return the median seconds of each call, run in turns, by events on the device."""
    if library == "torch":
        import torch

        event = lambda: torch.cuda.Event(enable_timing=True)  # noqa: E731
        wait, between = torch.cuda.synchronize, lambda a, b: a.elapsed_time(b)
    else:
        cp = importlib.import_module("cupy")
        event, wait = cp.cuda.Event, cp.cuda.Device().synchronize
        between = cp.cuda.get_elapsed_time
    times = {name: [] for name in calls}
    for call in calls.values():
        call()
    wait()
    for _ in range(rounds):
        for name, call in calls.items():
            start, stop = event(), event()
            start.record()
            call()
            stop.record()
            wait()
            times[name].append(between(start, stop) / 1e3)
    return {name: statistics.median(found) for name, found in times.items()}


def own_einsum(library):
    if library == "torch":
        import torch

        return torch.einsum
    return importlib.import_module("cupy").einsum


@pytest.mark.parametrize("row", ROWS)
def test_rows(benchmark, row, library) -> None:
    equation, shapes = ROWS[row]
    arrays = drawn(shapes, library)
    plan = contraction.plan(equation, shapes, library=library, device="cuda:0")
    other = own_einsum(library)
    calls = {"ours": lambda: plan.run(arrays), "einsum": lambda: other(equation, *arrays)}
    found = device_seconds(library, calls)
    benchmark.pedantic(calls["ours"], rounds=1)
    benchmark.extra_info.update(found, ratio=found["einsum"] / found["ours"])
    assert found["ours"] <= 1.1 * found["einsum"]


def test_share_of_the_gemm_rate(benchmark, library) -> None:
    """A contraction of 16 tensors whose work lies in a few large products."""
    size = 8192
    square = drawn([(size, size), (size, size)], library)
    equation, shapes = "abcd,cdef,efgh->abgh", [(96, 96, 96, 96)] * 3
    arrays = drawn(shapes, library)
    plan = contraction.plan(equation, shapes, library=library, device="cuda:0")
    calls = {"gemm": lambda: square[0] @ square[1], "ours": lambda: plan.run(arrays)}
    found = device_seconds(library, calls)
    benchmark.pedantic(calls["ours"], rounds=1)
    share = (plan.flops / found["ours"]) / (2 * size**3 / found["gemm"])
    benchmark.extra_info.update(found, share=share, flops=plan.flops)
    assert share >= 0.6


def test_gram_against_svd(benchmark, library) -> None:
    """Sequentially truncated higher-order SVD of a 512^3 tensor, rank 32 in every mode."""
    rng = np.random.default_rng(0)
    core = rng.standard_normal((32, 32, 32))
    sides = [np.linalg.qr(rng.standard_normal((512, 32)))[0] for _ in range(3)]
    where = None if library == "cupy" else "cuda:0"
    x = contraction.einsum("abc,xa,yb,zc->xyz", core, *sides)
    noise = np.random.default_rng(1).standard_normal(x.shape)
    x = x + 1e-2 * noise * np.linalg.norm(x) / math.sqrt(x.size)
    moved = to(x, namespace=library, device=where)
    xp = namespace_by_name(library)

    def by_svd():
        y = moved
        for mode in range(3):
            unfolded = xp.moveaxis(y, mode, 0).reshape(y.shape[mode], -1)
            u = xp.linalg.svd(unfolded, full_matrices=False)[0][:, :32]
            y = xp.moveaxis((u.T @ unfolded).reshape(32, *_others(y, mode)), 0, mode)
        return y

    calls = {
        "ours": lambda: tnet.decompose(moved, tnet.tucker, ranks=32),
        "svd": by_svd,
        "truncation": lambda: contraction.truncated_svd(
            moved.reshape(512, -1), Truncation(max_rank=32)
        ),
    }
    found = device_seconds(library, calls, rounds=3)
    benchmark.pedantic(calls["ours"], rounds=1)
    benchmark.extra_info.update(found, ratio=found["svd"] / found["ours"])
    assert found["svd"] >= 10 * found["ours"]


def _others(y, mode):
    return [n for axis, n in enumerate(y.shape) if axis != mode]
