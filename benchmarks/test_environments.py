"""Derivatives and sweeps beside opt_einsum, PyTorch and loops by hand: same data, one thread."""

import math

import numpy as np
import opt_einsum
import pytest
from threadpoolctl import threadpool_limits

from contraction import Evaluation, Spec, batched, environments, plan, value_and_gradients
from contraction.reuse.passes import bound_messages, route_of
from timing import in_turns

N, R, D = 20, 32, 4


def norm_network() -> Spec:
    """The norm of a tensor train: its sites twice."""
    inputs = [[f"{k}{i}", f"s{i}", f"{k}{i + 1}"] for k in "ab" for i in range(N)]
    ends = {f"{k}{i}" for k in "ab" for i in (0, N)}
    inputs = [[x for x in labels if x not in ends] for labels in inputs]
    return Spec(inputs, [], {x: D if x[0] == "s" else R for labels in inputs for x in labels})


def sites(rng) -> list[np.ndarray]:
    shapes = [(D, R), *[(R, D, R)] * (N - 2), (R, D)]
    return [rng.standard_normal(s) / math.sqrt(math.prod(s[:-1])) for s in shapes]


def by_hand(xs: list[np.ndarray]) -> list[np.ndarray]:
    """Left and right blocks, then each site between its blocks: the sweep as one writes it."""
    wide = [xs[0][None], *xs[1:-1], xs[-1][:, :, None]]
    left = [np.ones((1, 1))]
    for x in wide[:-1]:
        t = (left[-1].T @ x.reshape(len(x), -1)).reshape(-1, x.shape[2])
        left.append((x.reshape(-1, x.shape[2]).T @ t).T)
    right, found = np.ones((1, 1)), []
    for i in reversed(range(len(wide))):
        x = wide[i]
        t = (x.reshape(-1, x.shape[2]) @ right.T).reshape(len(x), -1)
        found.append((left[i] @ t).reshape(xs[i].shape))
        right = x.reshape(len(x), -1) @ t.T
    return found[::-1]


def zipper(torch, ys, zs):
    """The same contraction by PyTorch's own operations, two products a site."""
    block = ys[0].T @ zs[0]
    for y, z in zip(ys[1:-1], zs[1:-1], strict=True):
        t = block.T @ y.reshape(R, -1)
        block = t.reshape(-1, R).T @ z.reshape(-1, R)
    return ((block.T @ ys[-1]) * zs[-1]).sum()


def test_all_sites_of_a_norm_network(benchmark) -> None:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    spec, xs = norm_network(), sites(np.random.default_rng(0))
    p = plan(spec)
    names = {x: opt_einsum.get_symbol(i) for i, x in enumerate(spec.sizes)}
    words = ["".join(names[x] for x in labels) for labels in spec.inputs]
    equations = [",".join(words[:i] + words[i + 1 :]) + "->" + words[i] for i in range(N)]
    tensors = [torch.from_numpy(x) for x in xs]

    def opt_einsum_shared():
        with opt_einsum.shared_intermediates():
            both = xs + xs
            return [opt_einsum.contract(equations[i], *both[:i], *both[i + 1 :]) for i in range(N)]

    def torch_autograd():
        ys = [x.clone().requires_grad_() for x in tensors]
        return torch.autograd.grad(zipper(torch, ys, tensors), ys)

    def torch_through_ours():
        ys = [x.clone().requires_grad_() for x in tensors]
        return torch.autograd.grad(p.run(ys + tensors), ys)

    calls = {
        "ours": lambda: environments(p, xs + xs, leaves=range(N)),
        "by hand": lambda: by_hand(xs),
        "torch autograd": torch_autograd,
        "torch through our node": torch_through_ours,
        "opt_einsum shared": opt_einsum_shared,
    }
    with threadpool_limits(1):
        want = calls["by hand"]()
        for call in calls.values():
            for made, same in zip(call(), want, strict=True):
                close = 1e-8 * np.abs(same).max()
                np.testing.assert_allclose(np.asarray(made), same, rtol=1e-8, atol=close)
        times = in_turns(calls, 15)
        benchmark.pedantic(calls["ours"], rounds=5)
    ratios = {f"{name} / ours": round(t / times["ours"], 2) for name, t in times.items()}
    benchmark.extra_info |= ratios | {"ours ms": round(1e3 * times["ours"], 3)}
    assert ratios["opt_einsum shared / ours"] > 5.0  # loose: a busy machine must not fail it
    assert ratios["torch autograd / ours"] > 0.5


@pytest.mark.parametrize("seed", range(4))
def test_a_random_network_of_30(benchmark, seed: int) -> None:
    rng = np.random.default_rng(seed)
    inputs: list[list[int]] = [[] for _ in range(30)]
    for label in range(45):
        for i in rng.choice(30, 2, replace=False):
            inputs[i].append(label)
    spec = Spec(inputs, [], {x: int(rng.integers(2, 6)) for x in range(45)})
    xs = [rng.standard_normal(shape) for shape in spec.shapes]
    p = plan(spec)
    bound = bound_messages(spec.canonical, p.pairs, "numpy", None, tuple(range(30)), False)
    with threadpool_limits(1):
        calls = {"run": lambda: p.run(xs), "all": lambda: value_and_gradients(p, xs)}
        times = in_turns(calls, 9)
        benchmark.pedantic(calls["all"], rounds=3)
    flops = route_of(bound, True, None).schedule.flops / p.flops
    benchmark.extra_info |= {
        "flops / one run": round(flops, 3),
        "time / one run": round(times["all"] / times["run"], 2),
        "run ms": round(1e3 * times["run"], 3),
    }
    assert flops <= 3.0


def test_a_sweep_that_changes_every_site(benchmark) -> None:
    """Each site in turn, there and back, is replaced by its normalised environment."""
    spec, xs = norm_network(), sites(np.random.default_rng(1))
    p = plan(spec)
    turns = [*range(N), *reversed(range(N))]

    def ours():
        now = Evaluation.start(p, xs + xs)
        for i in turns:
            made = now.environment(i)
            made = made / np.linalg.norm(made)
            now = now.replace({i: made, N + i: made})
        return now.arrays[:N]

    def hand():
        wide = [xs[0][None], *xs[1:-1], xs[-1][:, :, None]]
        blocks = {(N, -1): np.ones((1, 1)), (-1, 1): np.ones((1, 1))}
        for i in reversed(range(N)):
            blocks[i, -1] = _rightwards(wide[i], blocks[i + 1, -1])
        for k, i in enumerate(turns):
            x = wide[i]
            t = (x.reshape(-1, x.shape[2]) @ blocks[i + 1, -1].T).reshape(len(x), -1)
            made = (blocks[i - 1, 1] @ t).reshape(x.shape)
            wide[i] = x = made / np.linalg.norm(made)
            if k < N:
                t = (blocks[i - 1, 1].T @ x.reshape(len(x), -1)).reshape(-1, x.shape[2])
                blocks[i, 1] = (x.reshape(-1, x.shape[2]).T @ t).T
            else:
                blocks[i, -1] = _rightwards(x, blocks[i + 1, -1])
        return [x.reshape(y.shape) for x, y in zip(wide, xs, strict=True)]

    def afresh():
        held = list(xs)
        for i in turns:
            (made,) = environments(p, held + held, leaves=[i])
            held[i] = made / np.linalg.norm(made)
        return held

    calls = {"ours": ours, "by hand": hand, "environments afresh": afresh}
    with threadpool_limits(1):
        want = hand()
        for call in calls.values():
            for made, same in zip(call(), want, strict=True):
                np.testing.assert_allclose(made, same, rtol=1e-6, atol=1e-8)
        times = in_turns(calls, 9)
        benchmark.pedantic(ours, rounds=3)
    ratios = {f"{name} / ours": round(t / times["ours"], 2) for name, t in times.items()}
    benchmark.extra_info |= ratios | {"ours ms": round(1e3 * times["ours"], 3)}
    assert ratios["environments afresh / ours"] > 1.5


def _rightwards(x, block):
    t = (x.reshape(-1, x.shape[2]) @ block.T).reshape(len(x), -1)
    return x.reshape(len(x), -1) @ t.T


@pytest.mark.parametrize("case", ["norm", "lattice"])
def test_our_node_beside_torchs_tape(benchmark, case: str) -> None:
    """The same plan and kernels, recorded step by step or as one node."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    spec = norm_network() if case == "norm" else lattice(5, 6)
    rng = np.random.default_rng(0)
    xs = [torch.from_numpy(rng.standard_normal(s)).requires_grad_() for s in spec.shapes]
    p = plan(spec)
    runner = p.compiled.runner("torch", None)[0]

    def tape():
        return torch.autograd.grad(runner(list(xs)), xs)

    def node():
        return torch.autograd.grad(p.run(xs), xs)

    with threadpool_limits(1):
        for made, want in zip(node(), tape(), strict=True):
            close = 1e-10 * float(want.abs().max())
            torch.testing.assert_close(made, want, rtol=1e-8, atol=close)
        times = in_turns({"ours": node, "tape": tape}, 15)
        benchmark.pedantic(node, rounds=3)
    kept = {name: _peak_bytes(torch, call) for name, call in (("node", node), ("tape", tape))}
    benchmark.extra_info |= {
        "tape / ours": round(times["tape"] / times["ours"], 2),
        "peak bytes, tape / ours": round(kept["tape"] / kept["node"], 2),
        "ours ms": round(1e3 * times["ours"], 3),
    }


def lattice(rows: int, columns: int, size: int = 4) -> Spec:
    inputs: dict[tuple[int, int], list] = {(i, j): [] for i in range(rows) for j in range(columns)}
    for i, j in inputs:
        for other in ((i + 1, j), (i, j + 1)):
            if other in inputs:
                inputs[i, j].append(((i, j), other))
                inputs[other].append(((i, j), other))
    return Spec(inputs.values(), [], {x: size for held in inputs.values() for x in held})


def _peak_bytes(torch, call) -> int:
    """Most bytes that PyTorch's allocator had out at once, from its profiler's records."""
    with torch.profiler.profile(profile_memory=True) as recorded:
        call()
    alive = most = 0
    for event in recorded.profiler.kineto_results.events():
        if event.name() == "[memory]":
            alive += event.nbytes()
            most = max(most, alive)
    return most


def test_a_batch_beside_a_loop(benchmark) -> None:
    spec = norm_network()
    xs = sites(np.random.default_rng(2))
    many = 16
    p = plan(spec)
    q = batched(p, [3], many)
    stack = np.random.default_rng(3).standard_normal((many, *spec.shapes[3]))
    both = xs + xs
    wide = [*both[:3], stack, *both[4:]]
    calls = {
        "ours": lambda: q.run(wide),
        "loop": lambda: [p.run([*both[:3], x, *both[4:]]) for x in stack],
    }
    with threadpool_limits(1):
        np.testing.assert_allclose(calls["ours"](), np.array(calls["loop"]()), rtol=1e-8)
        times = in_turns(calls, 9)
        benchmark.pedantic(calls["ours"], rounds=3)
    benchmark.extra_info |= {"loop / ours": round(times["loop"] / times["ours"], 2)}
    assert times["loop"] > 2 * times["ours"]
