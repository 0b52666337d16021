"""CutRank: planted networks, noise, collinear cores, rings, inner nodes and many modes.

pytest benchmarks/test_cut_rank.py -s --benchmark-only -o addopts="--import-mode=importlib"
"""

import os
import statistics
import time
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import tnet
from structure_search import CutRank, RelativeError, cut_rank_start, search
from structure_search.bounds import CutSpectra

SEEDS = range(20)
FAMILIES = {  # bonds of five nodes of size seven (h: a node without a mode), true parameters
    "ring": ({"01": 2, "12": 3, "23": 4, "34": 5, "04": 5}, 511),
    "train": ({"01": 2, "12": 3, "23": 6, "34": 5}, 427),
    "triangle": ({"01": 5, "12": 2, "23": 5, "14": 2, "24": 2}, 378),
    "tucker": ({"h0": 2, "h1": 3, "h2": 4, "h3": 3, "h4": 2}, 242),
}
INNER = {  # trees and loops with nodes that have no mode: bonds, mode size
    "two-hubs": ({"h0": 2, "h1": 3, "hg": 3, "2g": 2, "3g": 3, "4g": 2}, 6),
    "four-hubs": (
        {"0a": 2, "1a": 3, "ar": 3, "2b": 2, "3b": 3, "br": 2, "4c": 3, "5c": 2, "cr": 4},
        4,
    ),
    "three-hubs": (
        {"0a": 2, "1a": 3, "2a": 3, "2b": 4, "3b": 3, "4b": 2, "5b": 2},
        4,
    ),
    "loop-and-hub": ({"0h": 2, "1h": 3, "2h": 2, "23": 2, "34": 3, "24": 2}, 6),
}
MANY = {
    "ring-10": tnet.tensor_ring((3,) * 10, (2, 3) * 5),
    "ring-10-of-4": tnet.tensor_ring((4,) * 10, (2, 3) * 5),
    "ring-12": tnet.tensor_ring((2,) * 12, 2),
    "train-10": tnet.tensor_train((2,) * 10, (2, 3, 3, 2, 4, 2, 3, 3, 2)),
    "tree-12": tnet.balanced_tree((3,) * 12, 2),
}


@pytest.fixture(autouse=True)
def one_thread():
    with threadpool_limits(1):
        yield


def structure(bonds: dict[str, int], size: int) -> tnet.Structure:
    names = sorted({c for ends in bonds for c in ends})
    nodes = {c: ([f"x{c}"] if c.isdigit() else []) + [e for e in bonds if c in e] for c in names}
    modes = [f"x{c}" for c in names if c.isdigit()]
    return tnet.Structure(nodes, {**dict.fromkeys(modes, size), **bonds}, modes)


def planted(s: tnet.Structure, seed: int, *, noise: float = 0.0, uniform: bool = False):
    rng = np.random.default_rng(seed)
    draw = rng.random if uniform else rng.standard_normal
    net = tnet.Network(s, {n: draw(s.node_shape(n)) for n in s.node_names})
    x = np.asarray(tnet.contract(net, s.modes))
    x = x / np.linalg.norm(x)
    more = rng.standard_normal(x.shape)
    return x + noise * more / np.linalg.norm(more)


def timed(x: np.ndarray, tol: float, seed: int):
    begun = time.process_time()
    goal = RelativeError(tol=tol)
    found = search(x, method=CutRank(), objective=goal, rng=np.random.default_rng(seed))
    return found, time.process_time() - begun


def reached(found, most: int, tol: float) -> int:
    """Return after how many evaluations a network of at most `most` parameters was there."""
    good = (k for k, e in enumerate(found.trace, 1) if e.num_params <= most and e.error <= tol)
    return next(good, len(found.trace) + 1)


def told(benchmark, name: str, runs, truth: list[int], tol: float) -> list[bool]:
    params = [found.best.num_params if found.best.error <= tol else None for found, _ in runs]
    seconds = [spent for _, spent in runs]
    fits = [found.counts.fitted for found, _ in runs]
    exact = [p == t for p, t in zip(params, truth, strict=True)]
    first = [reached(found, most, tol) for (found, _), most in zip(runs, truth, strict=True)]
    benchmark.extra_info.update(
        params=params,
        exact=sum(exact),
        cpu_seconds_median=statistics.median(seconds),
        cpu_seconds_max=max(seconds),
        fits_median=statistics.median(fits),
        fits_max=max(fits),
        fits_until_reached=first,
    )
    print(
        f"\n{name}: {sum(exact)}/{len(runs)} exact, others "
        f"{[p for p, e in zip(params, exact, strict=True) if not e]}, CPU median "
        f"{statistics.median(seconds):.3f} max {max(seconds):.3f} s, fits {min(fits)}-{max(fits)}, "
        f"reached by fit {max(first)} at the latest"
    )
    return exact


@pytest.mark.parametrize("noise", [0.0, 1e-3, 1e-2])
@pytest.mark.parametrize("family", FAMILIES)
def test_families(benchmark, family: str, noise: float) -> None:
    bonds, truth = FAMILIES[family]
    tol = max(1e-4, noise)
    data = [planted(structure(bonds, 7), seed, noise=noise) for seed in SEEDS]
    timed(data[0], tol, 0)
    runs = benchmark.pedantic(
        lambda: [timed(x, tol, seed) for seed, x in zip(SEEDS, data, strict=True)], rounds=1
    )
    exact = told(benchmark, f"{family} noise {noise}", runs, [truth] * len(runs), tol)
    assert sum(exact) >= (0.85 if noise > 5e-3 else 0.95) * len(runs)
    assert statistics.median(spent for _, spent in runs) <= 1.0


@pytest.mark.parametrize("family", FAMILIES)
def test_collinear_cores(benchmark, family: str) -> None:
    bonds, truth = FAMILIES[family]
    s = structure(bonds, 7)
    data = [planted(s, seed, uniform=True) for seed in range(5)]
    modes = dict.fromkeys(s.modes, 7)
    starts = [cut_rank_start(CutSpectra(x, s.modes, 1.0), modes, 1e-6) for x in data]
    runs = benchmark.pedantic(lambda: [timed(x, 1e-6, 0) for x in data], rounds=1)
    told(benchmark, f"{family} collinear", runs, [truth] * len(runs), 1e-6)
    assert [start.num_params for start in starts] == [truth] * len(runs)


@pytest.mark.parametrize("order", [4, 6, 8])
def test_rings(benchmark, order: int) -> None:
    data, truth = [], []
    for seed in range(7):
        rng = np.random.default_rng(100 * order + seed)
        s = tnet.tensor_ring((3,) * order, tuple(int(r) for r in rng.integers(1, 5, order)))
        if s.num_params >= 3**order:
            continue  # more numbers than the data have: nothing to be found
        data.append(np.ascontiguousarray(planted(s, seed).transpose(rng.permutation(order))))
        truth.append(s.num_params)
    cases = [(x, seed) for x in data for seed in range(3)]
    truth = [most for most in truth for _ in range(3)]
    timed(data[0], 1e-4, 0)
    runs = benchmark.pedantic(lambda: [timed(x, 1e-4, seed) for x, seed in cases], rounds=1)
    told(benchmark, f"rings of order {order}", runs, truth, 1e-4)
    for (found, _), most in zip(runs, truth, strict=True):
        assert found.best.num_params <= most
        assert found.best.error <= 1e-4
        assert reached(found, most, 1e-4) <= 3
    assert statistics.median(spent for _, spent in runs) <= 1.5


def test_the_published_ring(benchmark) -> None:
    folder = os.environ.get("TNET_REFERENCE_DATA")
    if not folder:
        pytest.skip("TNET_REFERENCE_DATA names no folder")
    x = np.load(Path(folder) / "tr_order6.npz")["goal"]
    runs = benchmark.pedantic(lambda: [timed(x, 1e-4, seed) for seed in range(10)], rounds=1)
    assert all(told(benchmark, "order-6 ring", runs, [126] * len(runs), 1e-4))
    assert all(found.counts.fitted <= 3 and spent <= 1.5 for found, spent in runs)


@pytest.mark.parametrize("noise", [0.0, 1e-3])
@pytest.mark.parametrize("case", INNER)
def test_inner_nodes(benchmark, case: str, noise: float) -> None:
    s = structure(*INNER[case])
    tol = max(1e-4, noise)
    data = [planted(s, seed, noise=noise) for seed in range(5)]
    runs = benchmark.pedantic(lambda: [timed(x, tol, 0) for x in data], rounds=1)
    told(benchmark, f"{case} noise {noise}", runs, [s.num_params] * len(runs), tol)
    assert all(found.best.num_params <= s.num_params for found, _ in runs)


@pytest.mark.parametrize("case", MANY)
def test_many_modes(benchmark, case: str) -> None:
    s = MANY[case]
    order = np.random.default_rng(0).permutation(len(s.modes))
    data = [np.ascontiguousarray(planted(s, seed).transpose(order)) for seed in range(3)]
    runs = benchmark.pedantic(lambda: [timed(x, 1e-4, 0) for x in data], rounds=1)
    told(benchmark, case, runs, [s.num_params] * len(runs), 1e-4)
    assert all(found.best.num_params <= s.num_params for found, _ in runs)
