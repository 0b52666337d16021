"""Structure search: planted networks, core shapes, and what the run folder costs.

pytest benchmarks/test_search.py --benchmark-only -o addopts="--import-mode=importlib"
"""

import itertools
import os
import shutil
import statistics
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import tnet
from structure_search import CoreShape, Greedy, RelativeError, SVDinsTN, WeightedError, search
from structure_search.methods import core_shape, core_shape_choice, hosvd, packing
from structure_search.results import as_candidate

SEEDS = range(10)
FAMILIES = {  # bonds of five nodes of size seven, the true parameter count, the share wanted
    "ring": ({"01": 2, "12": 3, "23": 4, "34": 5, "04": 5}, 511),
    "train": ({"01": 2, "12": 3, "23": 6, "34": 5}, 427),
    "triangle": ({"01": 5, "12": 2, "23": 5, "14": 2, "24": 2}, 378),
    "tucker": ({"h0": 2, "h1": 3, "h2": 4, "h3": 3, "h4": 2}, 242),
}


@pytest.fixture(autouse=True)
def one_thread():
    with threadpool_limits(1):
        yield


def planted(bonds: dict[str, int], seed: int) -> np.ndarray:
    nodes = {k: [f"x{k}"] for k in sorted({c for ends in bonds for c in ends} - {"h"})}
    if any("h" in ends for ends in bonds):
        nodes["h"] = []
    for node in nodes:
        nodes[node] += [f"b{ends}" for ends in bonds if node in ends]
    modes = [f"x{k}" for k in "01234"]
    sizes = dict.fromkeys(modes, 7) | {f"b{ends}": rank for ends, rank in bonds.items()}
    s = tnet.Structure(nodes, sizes, modes)
    rng = np.random.default_rng(seed)
    x = np.asarray(
        tnet.contract(
            tnet.Network(s, {n: rng.standard_normal(s.node_shape(n)) for n in s.node_names})
        )
    )
    return x / np.linalg.norm(x)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("inner", [True, False], ids=["inner-nodes", "modes-only"])
def test_greedy_on_planted_networks(benchmark, family: str, inner: bool) -> None:
    bonds, truth = FAMILIES[family]
    goal = RelativeError(tol=1e-4)

    def one(seed: int):
        x = planted(bonds, seed)
        begun = time.process_time()
        method = Greedy(inner_nodes=inner)
        found = search(x, method=method, objective=goal, rng=np.random.default_rng(seed))
        return found, time.process_time() - begun

    one(0)
    runs = benchmark.pedantic(lambda: [one(seed) for seed in SEEDS], rounds=1, iterations=1)
    params = [found.best.num_params for found, _ in runs]
    seconds = [spent for _, spent in runs]
    small = sum(p <= truth for p in params)
    benchmark.extra_info.update(
        true_params=truth,
        params=params,
        not_above_truth=small,
        worst_error=max(found.best.error for found, _ in runs),
        cpu_seconds_median=statistics.median(seconds),
        cpu_seconds_max=max(seconds),
        requested_median=statistics.median(found.counts.requested for found, _ in runs),
    )
    print(
        f"\n{family} inner={inner}: {small}/10 <= {truth}, P {params}, "
        f"CPU median {statistics.median(seconds):.2f} max {max(seconds):.2f} s"
    )
    assert all(found.best.error <= 1e-4 for found, _ in runs)
    if inner or family != "tucker":
        assert small >= 5
    assert statistics.median(seconds) <= 3.0


@pytest.mark.parametrize("family", FAMILIES)
def test_sparse_diagonals_on_planted_networks(benchmark, family: str) -> None:
    """Not as small as greedy growth: no node without a mode, and ranks vanish for good."""
    bonds, truth = FAMILIES[family]
    goal = RelativeError(tol=1e-4)
    method = SVDinsTN(max_rank=6 if family == "train" else 5)

    def one(seed: int):
        x = planted(bonds, seed)
        begun = time.process_time()
        found = search(x, method=method, objective=goal, rng=np.random.default_rng(seed))
        return found, time.process_time() - begun

    runs = benchmark.pedantic(lambda: [one(seed) for seed in range(5)], rounds=1, iterations=1)
    params = [found.best.num_params for found, _ in runs]
    seconds = statistics.median(spent for _, spent in runs)
    benchmark.extra_info.update(true_params=truth, params=params, cpu_seconds_median=seconds)
    print(f"\n{family}: P {params}, true {truth}, CPU median {seconds:.2f} s")
    assert all(found.best.error <= 1e-4 for found, _ in runs)


REFERENCE = os.environ.get("TNET_REFERENCE_DATA", "")


@pytest.mark.skipif(not REFERENCE, reason="TNET_REFERENCE_DATA does not name a folder")
@pytest.mark.parametrize(("image", "value"), [("Image_A", 0.257), ("Image_B", 0.2246)])
def test_greedy_on_reference_images(benchmark, image: str, value: float) -> None:
    """Parameters / entries + 5 * squared error, all edges, ranks up to 4."""
    x = np.asarray(np.load(f"{REFERENCE}/{image}.npz")["goal"], dtype=float)
    goal = WeightedError(weight=5.0)
    method = Greedy(max_rank=4, look_ahead=3, trial_sweeps=2, sweeps=4, inner_nodes=False)
    begun = time.process_time()
    found = benchmark.pedantic(
        lambda: search(
            x,
            method=method,
            objective=goal,
            rng=np.random.default_rng(0),
            max_evaluations=160,
        ),
        rounds=1,
    )
    spent = time.process_time() - begun
    reached = next(
        (e for e in found.trace if goal.order(as_candidate(e))[0] < value), found.trace[-1]
    )
    best = goal.order(found.best)[0]
    benchmark.extra_info.update(
        objective=best,
        params=found.best.num_params,
        squared_error=found.best.error**2,
        cpu_seconds=spent,
        seconds_to_value=reached.elapsed,
        fits_to_value=reached.index + 1,
    )
    print(
        f"\n{image}: {best:.4f} with {found.best.num_params} parameters, squared error "
        f"{found.best.error**2:.4f}, {spent:.1f} s of CPU, {found.counts.fitted} fits; below "
        f"{value} after {reached.elapsed:.1f} s and {reached.index + 1} evaluations"
    )
    assert best < value


@pytest.mark.parametrize(("budget", "squared"), [(1000, 1361e-6), (2000, 1125e-6), (5000, 960e-6)])
def test_core_shapes_of_kinetic(benchmark, budget: int, squared: float) -> None:
    from tensorly.datasets import load_kinetic

    x = np.asarray(load_kinetic().tensor)
    found = hosvd.orthogonal_core(x, packing.rank_caps(x.shape, budget))

    def program() -> float:
        begun = time.perf_counter()
        packing.integer_program(found.kept, x.shape, budget)
        return time.perf_counter() - begun

    def ours() -> float:
        begun = time.perf_counter()
        core_shape.select_shapes(found, x.shape, budget, 8)
        return time.perf_counter() - begun

    def enumeration() -> float:
        begun = time.perf_counter()
        packing.best_packing(found.kept, x.shape, budget)
        return time.perf_counter() - begun

    times = [(ours(), enumeration(), program()) for _ in range(5)]
    mine, packed, published = (statistics.median(column) for column in zip(*times, strict=True))
    best = benchmark(search, x, method=CoreShape(max_params=budget), rng=np.random.default_rng(0))
    surrogate = packing.best_packing(found.kept, x.shape, budget)
    whole = tnet.tucker(x.shape, surrogate)
    tried = core_shape_choice.screened(found, [(surrogate, 1.0)])[0]
    network = core_shape._refine(found, x, whole, tried, 100)
    benchmark.extra_info.update(
        squared_error=best.best.error**2,
        params=best.best.num_params,
        surrogate_squared_error=network.error**2,
        select_seconds=mine,
        enumerate_seconds=packed,
        published_program_seconds=published,
        speed_up_over_program=published / packed,
    )
    print(
        f"\nB={budget}: squared error {best.best.error**2:.6f} (surrogate optimum "
        f"{network.error**2:.6f}); select {mine:.4f} s, packing {packed * 1e3:.2f} ms, "
        f"published program {published:.3f} s"
    )
    assert best.best.error**2 <= squared
    assert mine <= 0.3


def test_random_packings_against_the_published_program(benchmark) -> None:
    """The program's guesses cost it a little; the enumeration is exact and far quicker."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(10):
        sizes = tuple(int(n) for n in rng.integers(8, 40, 4))
        spectra = [np.sort(rng.exponential(size=n) ** 3)[::-1] for n in sizes]
        kept = [np.cumsum(s / s.sum()) for s in spectra]
        budget = int(rng.integers(2, 6)) * sum(sizes)
        begun = time.perf_counter()
        mine = packing.best_packing(kept, sizes, budget)
        middle = time.perf_counter()
        theirs = packing.integer_program(kept, sizes, budget)
        spent = time.perf_counter() - middle
        value = [sum(k[r - 1] for k, r in zip(kept, s, strict=True)) for s in (mine, theirs)]
        rows.append((spent / (middle - begun), value[1] / value[0]))
    benchmark(packing.best_packing, kept, sizes, budget)
    ratio = statistics.median(r for r, _ in rows)
    worst = min(v for _, v in rows)
    benchmark.extra_info.update(speed_up=ratio, program_value_share=worst)
    print(f"\npacking: {ratio:.0f} times faster, program reaches {worst:.4f} of the optimum")
    assert worst <= 1.0 + 1e-12
    assert ratio >= 10


@pytest.mark.parametrize("tol", [0.1, 0.05, 0.03])
def test_greedy_against_fixed_formats_on_kinetic(benchmark, tol: float) -> None:
    from tensorly.datasets import load_kinetic

    x = np.asarray(load_kinetic().tensor)
    goal = RelativeError(tol=tol)
    found = benchmark.pedantic(
        lambda: search(x, method=Greedy(), objective=goal, rng=np.random.default_rng(0)),
        rounds=1,
    )
    fixed = {
        name: tnet.decompose(x, form, tol=tol).num_params
        for name, form in (
            ("train", tnet.tensor_train),
            ("tucker", tnet.tucker),
            ("tree", tnet.balanced_tree),
        )
    }
    benchmark.extra_info.update(params=found.best.num_params, error=found.best.error, **fixed)
    print(f"\nkinetic {tol}: greedy {found.best.num_params}, {fixed}, {found.seconds:.1f} s")
    assert found.best.num_params <= min(fixed.values())


def test_the_run_folder_is_cheap(benchmark, tmp_path) -> None:
    x = planted(FAMILIES["ring"][0], 0)
    goal = RelativeError(tol=1e-4)

    def one(folder) -> float:
        begun = time.perf_counter()
        search(x, method=Greedy(), objective=goal, rng=np.random.default_rng(0), run=folder)
        return time.perf_counter() - begun

    counter = itertools.count()
    one(None)
    pairs = [(one(None), one(tmp_path / f"r{next(counter)}")) for _ in range(7)]
    without, with_folder = (min(column) for column in zip(*pairs, strict=True))
    benchmark.pedantic(lambda: one(tmp_path / f"r{next(counter)}"), rounds=3)
    shutil.rmtree(tmp_path)
    benchmark.extra_info.update(without=without, with_folder=with_folder)
    print(f"\nrun folder: {without:.3f} s without, {with_folder:.3f} s with")
    assert with_folder <= 2.0 * without + 0.3
