"""Memory: what a run allocates stays within its budget, and is known in advance."""

import dataclasses
import json
import math
import pickle
import random
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from unittest import mock

import numpy as np
import pytest

from contraction import Plan, Spec, blocks, einsum, plan
from contraction.errors import InputError, MemoryBudgetError, PlanError, ShapeError
from contraction.execute import Library
from contraction.memory import available_memory, free_memory, memory_limit
from contraction.slices import slice_job
from contraction.tree import build_tree, order_for_memory
from contraction.units import parse_share
from strategies import NAMESPACES
from traces import traced

# Bytes of Python's own objects in a run, which no budget counts: the views of a few steps, the
# lists of values, and for sliced runs a few closures for each input. Measured: 1 to 2 kB without
# slices, 4 to 9 kB with them, whatever the sizes.
OWN = 10_000
SEEN = 100_000  # bytes from which a prediction is held against what was measured
EXACT = np.lib.NumpyVersion(np.__version__) >= "2.3.0"  # older ones choose buffers otherwise


@cache
def network(seed: int) -> Spec:
    """A random network of small sizes whose intermediates take more than its inputs."""
    return _random_network(seed, range(3, 9), [2, 3, 4, 6, 8, 12], 3e4)


@cache
def wide_network(seed: int) -> Spec:
    """A random network of fewer inputs and larger sizes."""
    return _random_network(seed, range(2, 7), [2, 3, 5, 8, 16, 24, 48, 64, 100], 1.3e4)


def _random_network(seed: int, counts: range, lengths: list[int], least: float) -> Spec:
    rng = random.Random(seed)
    while True:
        count = rng.choice(counts)
        inputs: list[list[str]] = [[] for _ in range(count)]
        sizes = {}
        for k in range(rng.randint(count, 2 * count)):
            label = f"x{k}"
            sizes[label] = rng.choice(lengths)
            for holder in rng.sample(range(count), min(count, rng.choice([1, 2, 2, 2, 3]))):
                inputs[holder].append(label)
        for labels in inputs:
            rng.shuffle(labels)
        inputs = [labels for labels in inputs if labels]
        output = rng.sample(sorted(sizes), rng.randint(0, 3) if len(sizes) > 2 else 0)
        spec = Spec(inputs, output, sizes)
        if max(map(math.prod, [*spec.shapes, spec.shape])) > 500_000:
            continue
        rough = plan(spec, objective="flops")
        if rough.peak_size < least / 4 or rough.flops > 1e8:
            continue
        free = plan(spec)
        if least < free.peak_size < 1e6 and free.flops < 5e7:
            return spec


def arrays_of(spec: Spec, seed: int):
    """Arrays in C order, in another order, and with gaps; of one dtype or two."""
    rng = np.random.default_rng(seed)
    xs = []
    for shape in spec.shapes:
        x = rng.standard_normal(shape)
        kind = rng.integers(4) if seed % 2 else 0
        if kind == 1:
            x = np.copy(x.T).T
        elif kind == 2:
            x = np.repeat(x[..., None], 2, axis=-1)[..., 0]
        elif kind == 3 and seed % 4 == 1:
            x = x.astype(np.float32)
        xs.append(x)
    return xs


def check_peaks(specs) -> int:
    """Run plans under random budgets, check what they allocate, and count them."""
    measured = 0
    for seed, spec in specs:
        budget = int(8 * plan(spec).peak_size * random.Random(seed).uniform(0.15, 1.1))
        try:
            p = plan(spec, memory=budget)
        except MemoryBudgetError:
            continue  # as far as it knows nothing fits
        assert 8 * p.peak_size <= budget
        if p.num_slices > 1000:
            continue
        xs = arrays_of(spec, seed)
        predicted = p.peak_bytes(xs)
        if predicted > budget:  # arrays that must be copied first
            with pytest.raises(MemoryBudgetError):
                p.run(xs)
            continue
        peak = traced(lambda p=p, xs=xs: p.run(xs))[0]
        measured += 1
        assert peak <= budget + OWN, (seed, peak, budget)
        if EXACT:
            assert peak <= predicted + OWN, (seed, peak, predicted)
        if predicted > SEEN:
            assert 0.9 * predicted <= peak <= 1.1 * predicted, (seed, peak, predicted)
    return measured


def test_no_run_takes_more_than_its_budget() -> None:
    assert check_peaks((seed, wide_network(seed)) for seed in range(150)) >= 90
    assert check_peaks((seed, network(seed)) for seed in range(25)) >= 15


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
def test_no_run_of_a_thousand_takes_more_than_its_budget(block) -> None:
    assert check_peaks((s, wide_network(s)) for s in range(100 * block, 100 * block + 100)) >= 50
    assert check_peaks((s, network(s)) for s in range(60 * block, 60 * block + 60)) >= 40


@pytest.mark.parametrize("seed", range(12))
def test_sliced_results_are_right(seed) -> None:
    spec = network(seed)
    xs = arrays_of(spec, seed)
    free = plan(spec)
    want = free.run(xs)
    try:
        p = plan(spec, memory=int(8 * free.peak_size * 0.3))
    except MemoryBudgetError:
        return
    if p.num_slices > 300:
        return
    scale = np.abs(want).max()
    np.testing.assert_allclose(p.run(xs) if fits(p, xs) else want, want, atol=1e-10 * scale)


def fits(p: Plan, xs) -> bool:
    return p.memory is None or p.peak_bytes(xs) <= p.memory


def test_a_budget_is_met_by_slices() -> None:
    # a product of three: no tree avoids a large intermediate, unless it is made in blocks
    spec = Spec(["ab", "bc", "ca"], [], {"a": 300, "b": 300, "c": 300})
    free = plan(spec)
    assert free.peak_size >= 300 * 300
    assert plan(spec, memory=100_000).num_slices == 1
    with mock.patch.object(blocks, "SHORT", 1 << 60):
        p = plan(spec, memory=99_999)
        assert p.peak_size <= 99_999 // 8
    assert p.slices
    assert p.peak_size <= 100_000 // 8
    assert p.flops <= 1.01 * free.flops
    rng = np.random.default_rng(0)
    xs = [rng.standard_normal((300, 300)) for _ in range(3)]
    np.testing.assert_allclose(p.run(xs), np.trace(xs[0] @ xs[1] @ xs[2]), rtol=1e-9)
    assert traced(lambda: p.run(xs))[0] <= 100_000 + OWN
    text = str(p)
    assert f"{p.num_slices} slices over" in text
    assert f"{p.num_slices} slices" in repr(p)


def test_a_given_tree_is_sliced_to_fit() -> None:
    spec = Spec([(0, 1), (1, 2), (2, 3), (3, 0)], [], dict.fromkeys(range(4), 40))
    path = [(0, 1), (2, 3), (4, 5)]
    p = plan(spec, path=path, memory=8 * 500)
    assert p.pairs == tuple(path)
    assert p.slices
    assert p.peak_size <= 500


def test_the_least_that_would_do_is_told() -> None:
    with pytest.raises(MemoryBudgetError, match="its result alone takes 80,000 bytes"):
        plan("ab,bc->ac", [(100, 3), (3, 100)], memory=79_000)
    with pytest.raises(MemoryBudgetError, match="the least that was found to do is") as raised:
        plan("ab,bc->ac", [(100, 3), (3, 100)], memory=80_000, slices="b")
    least = int(str(raised.value).split(" to do is ")[1].split(" bytes")[0].replace(",", ""))
    assert plan("ab,bc->ac", [(100, 3), (3, 100)], memory=least, slices="b").memory == least


@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_copies_for_the_dtype_count(dtype) -> None:
    p = plan("ab,bc->ac", [(60, 50), (50, 70)], memory=8 * 60 * 70)
    xs = [np.ones((60, 50)), np.ones((50, 70))]
    assert p.peak_bytes(xs) == 8 * 60 * 70
    xs[1] = xs[1].astype(dtype)
    entries, itemsize = (3500, 8) if dtype == "float32" else (3000, 16)
    assert p.peak_bytes(xs) == itemsize * (60 * 70 + entries)
    with pytest.raises(MemoryBudgetError):
        p.run(xs)
    xs[1] = np.ones((50, 140))[:, ::2]
    assert p.peak_bytes(xs) == 8 * (60 * 70 + 3500)


def test_shares_of_the_free_memory() -> None:
    assert parse_share("80 %") == 0.8
    assert parse_share(1.0) == 1.0
    assert parse_share(1) is None
    for wrong in ("0%", "120%", "x%", "-3%"):
        with pytest.raises(InputError, match="share"):
            parse_share(wrong)
    limit = memory_limit("10%")
    assert 0 < limit <= 0.1 * 1.5 * available_memory()
    assert limit % 2**10 == 0
    p = plan("ab,bc->ac", [(3, 4), (4, 5)], memory=0.5)
    assert p.memory > 0
    np.testing.assert_allclose(
        einsum("ab,bc->ac", np.ones((3, 4)), np.ones((4, 5)), memory="50%"), np.full((3, 5), 4.0)
    )
    assert free_memory("torch", "cpu") > 0


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_einsum_keeps_to_its_budget(namespace) -> None:
    from contraction.arrays import to, to_numpy

    rng = np.random.default_rng(1)
    xs = [rng.standard_normal((200, 200)) for _ in range(3)]
    got = einsum("ab,bc,ca->", *[to(x, namespace=namespace) for x in xs], memory="100kB")
    np.testing.assert_allclose(to_numpy(got), np.trace(xs[0] @ xs[1] @ xs[2]), rtol=1e-9)


def test_keeping_values_gives_way_to_the_budget() -> None:
    # tv does not depend on the slice and is kept, unless it is in the way of qr
    sizes = {"s": 5, "p": 3} | dict.fromkeys("qrtuv", 40)
    spec = Spec(["sp", "pqr", "qrt", "tu", "uv", "sv"], [], sizes)
    path = [(0, 1), (6, 2), (3, 4), (7, 8), (9, 5)]
    kept = plan(spec, path=path, slices="s")
    assert 3200 <= kept.peak_size
    tight = plan(spec, path=path, slices="s", memory=8 * 2500)
    assert tight.slices == kept.slices
    assert tight.peak_size <= 2500
    assert tight.flops == kept.flops + 4 * 2 * 40**3
    xs = [np.random.default_rng(i).standard_normal(shape) for i, shape in enumerate(spec.shapes)]
    np.testing.assert_allclose(tight.run(xs), kept.run(xs), rtol=1e-9)


def nested(depth: int) -> list:
    data: list = []
    for _ in range(depth):
        data = [data]
    return data


def test_plans_of_strangers_are_checked() -> None:
    p = plan("ab,bc,ca->", [(30, 30)] * 3, memory="4kB", library="numpy", dtype="float32")
    data = json.loads(json.dumps(p.to_dict()))
    again = Plan.from_dict(data)
    assert (again.slices, again.pairs, again.memory) == (p.slices, p.pairs, p.memory)
    assert (again.flops, again.peak_size) == (p.flops, p.peak_size)
    damages = [
        {"version": 99},
        {"version": "1"},
        {"slices": ["zz"]},
        {"slices": 3},
        {"pairs": [[0, 1.5], [2, 3]]},
        {"pairs": [[True, 2], [0, 3]]},
        {"memory": "much"},
        {"library": 7},
        {"objective": ["time"]},
        {"output": "ab"},
        {"output": {}},
        {"output": ["a", "a"]},
        {"inputs": ["ab", "bc", "ca"]},
        {"inputs": [[["a"]], ["b"], ["c"]]},
        {"sizes": [["a", 30], ["b", 30], ["c", 1.5]]},
        {"sizes": [["a", 30], ["b", 30], ["c", 10**400, 1]]},
        {"sizes": {"a": 30, "b": 30, "c": 30}},
        {"pairs": [[0, 1]] * 10_000},
        {"pairs": [[0, 1], [0, 2]]},
        {"pairs": [[0, 1], [2, 9]]},
        {"slices": [float("nan")]},
        {"slices": nested(100_000)},
        {"version": nested(100_000)},
        {"library": nested(100_000)},
    ]
    for damage in damages:
        with pytest.raises((PlanError, ShapeError)):
            Plan.from_dict({**data, **damage})
    without = {k: v for k, v in data.items() if k not in ("version", "library", "device", "dtype")}
    assert Plan.from_dict({**without, "memory": None}).slices == p.slices


def test_no_more_is_sliced_than_must_be() -> None:
    p = plan("abc,bcd,dae->e", [(30,) * 3] * 3, memory="7kB")
    assert p.num_slices <= 900
    assert p.peak_size <= 875
    xs = [np.random.default_rng(i).standard_normal((30, 30, 30)) for i in range(3)]
    want = np.einsum("abc,bcd,dae->e", *xs, optimize=True)
    np.testing.assert_allclose(p.run(xs), want, atol=1e-9 * np.abs(want).max())
    assert plan("abc,bcd,dae->e", [(30,) * 3] * 3, memory="7kB", slices="b").slices != ()


def test_labels_asked_for_stay_sliced() -> None:
    p = plan("abc,bcd,dae->e", [(30,) * 3] * 3, memory="7kB", slices="bc")
    assert {"b", "c"} <= set(p.slices)


def test_the_order_of_steps_knows_what_they_need() -> None:
    # two branches with results of 4: the second needs 100 entries beside them, and goes first
    canonical = Spec(["ab", "bc", "cd", "da"], "", dict.fromkeys("abcd", 2)).canonical
    tree = build_tree(canonical, ((0, 1), (2, 3), (4, 5)))
    assert order_for_memory(tree) == ((0, 1), (2, 3), (4, 5))
    assert order_for_memory(tree, [0, 100, 0]) == ((2, 3), (0, 1), (4, 5))


def test_a_job_keeps_no_copied_input() -> None:
    # an input with gaps is copied, used once before the loops, and gone while they run
    p = plan("xab,bc,cd->ad", [(50, 4, 30), (30, 60), (60, 5)], slices="c")
    gapped = np.random.default_rng(0).standard_normal((50, 4, 30, 2))[..., 0]
    others = [np.ones((30, 60)), np.ones((60, 5))]
    job = slice_job(p, [gapped, *others])
    assert len(pickle.dumps(job)) < 8 * gapped.size / 2
    np.testing.assert_allclose(
        job.run(0, job.count), np.einsum("xab,bc,cd->ad", gapped, *others), rtol=1e-9, atol=1e-9
    )


def live_bytes(call, own) -> int:
    """The most bytes of tensors alive during a call, apart from those of the caller."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Live(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.now = self.peak = 0
            self.known = {x.untyped_storage()._cdata for x in own}

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            for x in tree_leaves(out):
                if not isinstance(x, torch.Tensor):
                    continue
                storage = x.untyped_storage()
                if storage._cdata not in self.known:
                    self.known.add(storage._cdata)
                    self.now += storage.nbytes()
                    self.peak = max(self.peak, self.now)
                    weakref.finalize(storage, self.freed, storage._cdata, storage.nbytes())
            return out

        def freed(self, key, size) -> None:
            self.now -= size
            self.known.discard(key)

    with Live() as live:
        result = call()
    del result
    return live.peak


@pytest.mark.skipif("torch" not in NAMESPACES, reason="no PyTorch")
def test_no_run_of_pytorch_takes_more_than_its_budget() -> None:
    import torch

    measured = close = large = 0
    for seed in range(40):
        spec = wide_network(seed)
        free = plan(spec, library="torch")
        budget = int(8 * free.peak_size * random.Random(seed).uniform(0.15, 1.1))
        try:
            p = plan(spec, memory=budget, library="torch")
        except MemoryBudgetError:
            continue
        xs = [torch.from_numpy(x) for x in arrays_of(spec, seed)]
        predicted = p.peak_bytes(xs)
        if p.num_slices > 100 or predicted > budget:
            continue
        peak = live_bytes(lambda p=p, xs=xs: p.run(xs), xs)
        measured += 1
        assert peak <= predicted <= budget, (seed, peak, predicted)
        large += predicted > SEEN
        close += predicted > SEEN and peak >= 0.9 * predicted
    assert measured >= 18
    assert close >= 0.9 * large > 0


def test_a_plan_shared_by_threads() -> None:
    rng = np.random.default_rng(0)
    spec = Spec(["abx", "bcx", "cda", "d"], "a", {"a": 20, "b": 21, "c": 22, "d": 23, "x": 24})
    sets = []
    for k in range(8):  # orders in memory, gaps and dtypes of their own
        xs = [rng.standard_normal(shape) for shape in spec.shapes]
        if k & 1:
            xs[0] = np.copy(xs[0].T).T
        if k & 2:
            xs[1] = np.repeat(xs[1][..., None], 2, axis=-1)[..., 0]
        if k & 4:
            xs[2] = xs[2].astype(np.float32)
        sets.append(xs)
    want = [np.einsum("abx,bcx,cda,d->a", *xs, optimize=True) for xs in sets]
    for slices in ((), ("c",), ("c", "a")):
        for _ in range(5):
            p = Plan.from_dict(plan(spec, slices=slices).to_dict())
            p = dataclasses.replace(p, compiled=pickle.loads(pickle.dumps(p.compiled)))
            with ThreadPoolExecutor(8) as pool:
                got = list(pool.map(p.run, sets))
            for x, y in zip(got, want, strict=True):
                np.testing.assert_allclose(x, y, atol=1e-9 * np.abs(y).max())


def test_blas_takes_every_matrix_as_it_lies(monkeypatch) -> None:
    # NumPy would copy any other into memory that no tracer sees
    bound, seen = Library.matmul, []

    def matmul(self, step):
        kernel = bound(self, step)

        def checked(x, y):
            for matrix in (x, y):
                seen.append(lies_for_blas(matrix))
            return kernel(x, y)

        return checked

    monkeypatch.setattr(Library, "matmul", matmul)
    for seed in range(40):
        spec = wide_network(seed)
        budget = int(8 * plan(spec).peak_size * random.Random(seed).uniform(0.15, 1.1))
        try:
            p = plan(spec, memory=budget)
            # bound anew: a plan that is remembered has its kernels already
            p = dataclasses.replace(p, compiled=pickle.loads(pickle.dumps(p.compiled)))
            if p.num_slices <= 100:
                p.run(arrays_of(spec, seed))
        except MemoryBudgetError:
            continue
    assert len(seen) > 500
    assert all(seen)


def lies_for_blas(x) -> bool:
    if x.ndim < 2 or 1 in x.shape[-2:]:
        return True
    (rows, columns), (down, along) = x.shape[-2:], x.strides[-2:]
    unit = x.itemsize
    return (along == unit and down >= columns * unit) or (down == unit and along >= rows * unit)
