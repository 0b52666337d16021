"""decompose beside TensorLy: the same tensor, one BLAS thread, interleaved, equal error.

CPU time of the process, so that a busy machine does not decide; the ratio of the medians and
both errors go to `extra_info`. A ratio is asserted at a fraction of what was measured, so that
only a real regression fails.

Run with
    pytest benchmarks/test_decompose.py --benchmark-only -o addopts="--import-mode=importlib"
"""

import statistics
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import tnet
from tnet import Method


def planted(size, order, rank):
    """A Tucker tensor with random orthonormal factors and white noise of relative norm 1e-2."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rank,) * order)
    for axis in range(order):
        Q = np.linalg.qr(rng.standard_normal((size, rank)))[0]
        x = np.moveaxis(np.tensordot(Q, x, (1, axis)), 0, axis)
    noise = rng.standard_normal(x.shape)
    return np.ascontiguousarray(x) + 1e-2 * np.linalg.norm(x) / np.linalg.norm(noise) * noise


def tucker(x, ranks, **options):
    from tensorly import tucker_to_tensor
    from tensorly.decomposition import tucker as peer

    return lambda: peer(x, list(ranks), **options), tucker_to_tensor


def train(x, ranks):
    from tensorly import tt_to_tensor
    from tensorly.decomposition import tensor_train as peer

    return lambda: peer(x, [1, *ranks, 1]), tt_to_tensor


def cpu_seconds(run):
    start = time.process_time()
    result = run()
    return time.process_time() - start, result


def side_by_side(benchmark, x, ours, theirs, rounds):
    """Time both in turn; a few runs of ours to each of theirs, which take far longer."""
    run, to_dense = theirs
    mine, other = [], []
    with threadpool_limits(1):
        net = ours()
        for _ in range(rounds):
            seconds, peer = cpu_seconds(run)
            other.append(seconds)
            mine += [cpu_seconds(ours)[0] for _ in range(5)]
        benchmark.pedantic(ours, rounds=5, warmup_rounds=1)
    ratio = statistics.median(other) / statistics.median(mine)
    size = np.linalg.norm(x)
    errors = [np.linalg.norm(x - y) / size for y in (net.to_dense(), to_dense(peer))]
    benchmark.extra_info.update(
        ratio=round(ratio, 1),
        ratio_lowest=round(min(other) / max(mine), 1),
        ratio_highest=round(max(other) / min(mine), 1),
        ours_ms=round(1e3 * statistics.median(mine), 2),
        peer_ms=round(1e3 * statistics.median(other), 1),
        error=float(errors[0]),
        peer_error=float(errors[1]),
        num_params=net.num_params,
        methods=sorted(set(net.certificate.methods.values())),
    )
    assert abs(errors[0] - net.error) <= 1e-6 * errors[0]
    return ratio, errors


CASES = [
    pytest.param(128, 3, 16, "default", 80, 3, id="tucker-128^3-r16-default"),
    pytest.param(128, 3, 16, "randomized_svd", 20, 5, id="tucker-128^3-r16-randomised"),
    pytest.param(
        64, 4, 10, "default", 150, 1, id="tucker-64^4-r10-default", marks=pytest.mark.slow
    ),
    pytest.param(
        64, 4, 10, "randomized_svd", 40, 3, id="tucker-64^4-r10-randomised", marks=pytest.mark.slow
    ),
]


@pytest.mark.parametrize(("size", "order", "rank", "svd", "target", "rounds"), CASES)
def test_tucker(benchmark, size, order, rank, svd, target, rounds):
    x = planted(size, order, rank)
    options = {} if svd == "default" else {"svd": svd, "random_state": 0}
    ratio, errors = side_by_side(
        benchmark,
        x,
        lambda: tnet.decompose(x, tnet.tucker, ranks=rank),
        tucker(x, [rank] * order, **options),
        rounds,
    )
    benchmark.extra_info["target"] = target
    assert errors[0] <= errors[1] * (1 + 1e-3)
    assert ratio >= target / 2


@pytest.mark.parametrize(
    ("size", "order", "rank"),
    [(128, 3, 16), pytest.param(64, 4, 10, marks=pytest.mark.slow)],
)
def test_tensor_train(benchmark, size, order, rank):
    x = planted(size, order, rank)
    ratio, errors = side_by_side(
        benchmark,
        x,
        lambda: tnet.decompose(x, tnet.tensor_train, ranks=rank),
        train(x, [rank] * (order - 1)),
        3,
    )
    benchmark.extra_info["target"] = 30
    assert errors[0] <= errors[1] * (1 + 1e-3)
    assert ratio >= 15


def test_indian_pines(benchmark):
    from tensorly.datasets import load_indian_pines

    x = np.asarray(load_indian_pines().tensor, dtype=np.float64)
    ratio, errors = side_by_side(
        benchmark,
        x,
        lambda: tnet.decompose(x, tnet.tucker, ranks=(20, 20, 5)),
        tucker(x, (20, 20, 5)),
        2,
    )
    benchmark.extra_info["target"] = 10
    assert errors[0] <= 0.0588
    assert ratio >= 10


@pytest.mark.parametrize("method", [Method.GRAM, Method.QR_SVD, Method.SVD])
def test_methods(benchmark, method):
    """The same decomposition by each method: what single precision and Gram matrices buy."""
    x = planted(128, 3, 16)
    with threadpool_limits(1):
        net = benchmark.pedantic(
            tnet.decompose, (x, tnet.tucker), {"ranks": 16, "method": method}, rounds=3
        )
    benchmark.extra_info["error"] = net.error


@pytest.mark.parametrize("tol", [1e-1, 1e-2, 1e-4, 1e-8])
@pytest.mark.parametrize("form", [tnet.tucker, tnet.tensor_train, tnet.balanced_tree])
def test_tolerances(benchmark, form, tol):
    """By tolerance on a smooth function: time and size on one tree after another."""
    grid = np.meshgrid(*[np.linspace(0.0, 1.0, 40)] * 4, indexing="ij")
    x = 1.0 / np.sqrt(1.0 + sum(g**2 for g in grid))
    with threadpool_limits(1):
        net = benchmark.pedantic(tnet.decompose, (x, form), {"tol": tol}, rounds=3)
    error = np.linalg.norm(net.to_dense() - x) / np.linalg.norm(x)
    benchmark.extra_info.update(
        num_params=net.num_params, error=float(error), bound=net.certificate.bound
    )
    assert error <= tol


def test_slabs(benchmark, tmp_path):
    """A memory-mapped tensor four times the memory allowed, against the same in memory."""
    x = planted(64, 4, 10)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")

    def out_of_core():
        return tnet.decompose(mapped, tnet.tucker, ranks=10, memory=x.nbytes // 4)

    with threadpool_limits(1):
        net = benchmark.pedantic(out_of_core, rounds=3)
        seconds = statistics.median(cpu_seconds(out_of_core)[0] for _ in range(3))
        inside = statistics.median(
            cpu_seconds(lambda: tnet.decompose(x, tnet.tucker, ranks=10))[0] for _ in range(3)
        )
    benchmark.extra_info.update(times_in_memory=round(seconds / inside, 2), error=net.error)
    assert abs(net.error - tnet.decompose(x, tnet.tucker, ranks=10).error) <= 1e-9
