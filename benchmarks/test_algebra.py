"""Inner products, sums and entries of networks beside hand-written loops and the peers.

All run in one process, on the same data, with one BLAS thread, in turns; `extra_info` holds the
ratio of the median times (other / ours), so more than one means we are faster.
"""

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import tnet
from timing import in_turns

pytestmark = pytest.mark.filterwarnings("ignore")  # the peers warn when they are imported


def compare(benchmark, calls, rounds=9):
    with threadpool_limits(1):
        benchmark.pedantic(calls["tnet"], rounds=rounds, warmup_rounds=1)
        seconds = in_turns(calls, rounds)
    ratios = {name: s / seconds["tnet"] for name, s in seconds.items() if name != "tnet"}
    benchmark.extra_info.update({f"{name} / tnet": round(r, 2) for name, r in ratios.items()})
    benchmark.extra_info["seconds"] = {name: round(s, 6) for name, s in seconds.items()}
    return ratios


def trains(count, rank, size, nets=2):
    rng = np.random.default_rng(0)
    structure = tnet.tensor_train((size,) * count, rank)
    return [tnet.random_network(structure, rng=rng) for _ in range(nets)]


def cores(net):
    """The arrays as (left, mode, right), as the peers want them."""
    held = list(net.arrays.values())
    return [held[0][None], *held[1:-1], held[-1][..., None]]


def two_products_per_site(left, right):
    """The least a tensor train needs: one environment, two matrix products for each site."""
    environment = np.ones((1, 1))
    for a, b in zip(left, right, strict=True):
        before, n, after = b.shape
        half = (environment @ b.reshape(before, n * after)).reshape(a.shape[0] * n, after)
        environment = a.reshape(a.shape[0] * n, -1).T @ half
    return environment[0, 0]


@pytest.mark.parametrize(("count", "rank", "size"), [(50, 8, 4), (50, 64, 4), (50, 256, 2)])
def test_inner(benchmark, count, rank, size):
    a, b = trains(count, rank, size)
    left, right = cores(a), cores(b)
    calls = {
        "tnet": lambda: tnet.inner(a, b),
        "by hand": lambda: two_products_per_site(left, right),
        **peers_inner(a, b),
    }
    values = [float(call()) for call in calls.values()]
    np.testing.assert_allclose(values, values[0], rtol=1e-9)
    ratios = compare(benchmark, calls)
    benchmark.extra_info["flops"] = 4 * size * rank**3 * count
    assert ratios["by hand"] > (0.5 if rank >= 64 else 0.1)  # the target is 1 / 1.2 from rank 64


def peers_inner(a, b):
    import quimb.tensor as qtn
    import tntorch
    import torch
    import torchtt

    torch.set_num_threads(1)
    left, right = cores(a), cores(b)
    mps = [
        qtn.MatrixProductState([x.squeeze() for x in held], shape="lpr") for held in (left, right)
    ]
    lists = [[torch.from_numpy(np.ascontiguousarray(x)) for x in held] for held in (left, right)]
    theirs = [tntorch.Tensor(held) for held in lists]
    ttts = [torchtt.TT(held) for held in lists]
    return {
        "quimb": lambda: mps[0].H @ mps[1],
        "tntorch": lambda: tntorch.dot(*theirs),
        "torchTT": lambda: torchtt.dot(*ttts),
    }


@pytest.mark.parametrize("length", [2_500, 5_000, 10_000, 20_000])
def test_norm_is_linear_in_the_nodes(benchmark, length):
    net = trains(length, 8, 2, nets=1)[0]
    with threadpool_limits(1):
        benchmark.pedantic(tnet.log_norm, (net,), rounds=5, warmup_rounds=1)
    per_node = benchmark.stats.stats.median / length
    benchmark.extra_info["microseconds per node"] = round(1e6 * per_node, 2)
    assert per_node < 2e-4


@pytest.mark.parametrize("rank", [8, 64])
def test_evaluate(benchmark, rank):
    """10,000 entries of a train of 20 modes of size 4."""
    import tntorch
    import torch

    torch.set_num_threads(1)
    net = trains(20, rank, 4, nets=1)[0]
    rows = np.random.default_rng(1).integers(0, 4, (10_000, 20))
    held = cores(net)
    theirs = tntorch.Tensor([torch.from_numpy(np.ascontiguousarray(x)) for x in held])
    index = [torch.from_numpy(column) for column in rows.T.copy()]

    def gathered():
        row = held[0][0, rows[:, 0]]
        for k in range(1, len(held)):
            row = np.einsum("mi,imj->mj", row, held[k][:, rows[:, k]], optimize=False)
        return row[:, 0]

    calls = {
        "tnet": lambda: tnet.evaluate(net, rows),
        "tntorch": lambda: theirs[tuple(index)].numpy(),
        "gather + einsum": gathered,
    }
    values = [np.asarray(call()).reshape(-1) for call in calls.values()]
    for value in values[1:]:
        np.testing.assert_allclose(value, values[0], rtol=1e-8, atol=1e-10 * np.abs(value).max())
    ratios = compare(benchmark, calls, rounds=3)
    assert ratios["gather + einsum"] > 1.0


def test_add_and_apply(benchmark):
    """A rank-5 operator on a rank-32 state of 40 sites, and its sum with the state."""
    import torch
    import torchtt

    torch.set_num_threads(1)
    state = trains(40, 32, 2, nets=1)[0]
    op = tnet.random_network(
        tnet.operator_structure(state.structure, 5), rng=np.random.default_rng(1)
    )
    held = list(op.arrays.values())
    shaped = [held[0][None], *held[1:-1], held[-1][..., None]]
    matrix = torchtt.TT([torch.from_numpy(np.ascontiguousarray(x)) for x in shaped])
    vector = torchtt.TT([torch.from_numpy(np.ascontiguousarray(x)) for x in cores(state)])
    calls = {
        "tnet": lambda: tnet.add(tnet.apply(op, state), state),
        "torchTT": lambda: (matrix @ vector) + vector,
    }
    assert max(calls["tnet"]().ranks.values()) == max(calls["torchTT"]().R)
    compare(benchmark, calls)


def test_save_and_load(benchmark, tmp_path):
    """A network of 100 MB, hashed, written, synced and verified; numpy.savez beside it."""
    net = trains(50, 256, 4, nets=1)[0]
    path = tmp_path / "a.tnet"

    def saved():
        tnet.save(path, net)
        return tnet.load(path)

    def savez():
        np.savez(tmp_path / "a.npz", **net.arrays)
        with np.load(tmp_path / "a.npz") as found:
            return dict(found)

    compare(benchmark, {"tnet": saved, "numpy.savez": savez}, rounds=3)
    benchmark.extra_info["bytes"] = path.stat().st_size
