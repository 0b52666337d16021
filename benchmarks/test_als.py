"""Alternating least squares beside a plain sweep and beside TensorLy: same data, one thread.

CPU time of the process, so that a busy machine does not decide; ratios of medians of interleaved
runs go to `extra_info`, and are asserted at a fraction of what was measured.

Run with
    pytest benchmarks/test_als.py --benchmark-only -o addopts="--import-mode=importlib"
"""

import contextlib
import itertools
import math
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import tnet
from planted import triangle
from tnet import ALS, Target, fit
from tnet.als import grid_program, masked, mixed, race
from tnet.als.dense import dense_problem
from tnet.als.entries import observed
from tnet.als.entry_program import compile_entry_program
from tnet.als.masked import masked_problem

FAMILIES = {
    "ring 7^5": tnet.tensor_ring((7,) * 5, [2, 3, 4, 5, 5]),
    "train 7^5": tnet.tensor_train((7,) * 5, [2, 3, 6, 5]),
    "tucker 7^5": tnet.tucker((7,) * 5, [2, 3, 4, 3, 2]),
    "ring 4^8": tnet.tensor_ring((4,) * 8, 3),
    "ring 3^6": tnet.tensor_ring((3,) * 6, [4, 3, 2, 3, 2, 2]),
}


FAMILIES["triangle 7^5"] = triangle()


@pytest.fixture(autouse=True)
def _one_thread():
    with threadpool_limits(1):
        yield


def planted(structure, seed=0):
    x = tnet.contract(tnet.random_network(structure, rng=np.random.default_rng(seed)))
    return np.asarray(x) / np.linalg.norm(x)


def interleaved(*functions, rounds=15):
    """CPU seconds of each function: medians over rounds that take turns."""
    seconds = [[] for _ in functions]
    for _, (held, function) in itertools.product(
        range(rounds), zip(seconds, functions, strict=True)
    ):
        begun = time.process_time()
        function()
        held.append(time.process_time() - begun)
    return [float(np.median(held)) for held in seconds]


def plain_sweep(structure, x, arrays, paths):
    """One sweep of environment (numpy.einsum, best path, found once) and lstsq, node by node."""
    letters = {leg: chr(97 + k) for k, leg in enumerate(structure.size)}
    spell = {n: "".join(letters[x] for x in legs) for n, legs in structure.nodes}
    for node in structure.node_names:
        own = [leg for leg in structure.legs[node] if leg in structure.modes]
        inner = [leg for leg in structure.legs[node] if leg not in own]
        rest = [mode for mode in structure.modes if mode not in own]
        others = [n for n in structure.node_names if n != node]
        output = "".join(letters[leg] for leg in rest + inner)
        equation = ",".join(spell[n] for n in others) + "->" + output
        held = [arrays[n] for n in others]
        if node not in paths:
            paths[node] = np.einsum_path(equation, *held, optimize="optimal")[0]
        block = np.einsum(equation, *held, optimize=paths[node])
        rows = math.prod(structure.size[m] for m in rest)
        axes = [structure.modes.index(m) for m in rest + own]
        data = x.transpose(axes).reshape(rows, -1)
        W = np.linalg.lstsq(block.reshape(rows, -1), data, rcond=None)[0]
        W = W.reshape([structure.size[leg] for leg in inner + own])
        arrays[node] = W.transpose([(inner + own).index(leg) for leg in structure.legs[node]])


@pytest.mark.parametrize("family", FAMILIES)
def test_sweep(benchmark, family):
    structure = FAMILIES[family]
    x = np.random.default_rng(0).standard_normal(structure.shape)
    problem = dense_problem(Target(x), structure)
    cores = problem.random(np.random.default_rng(1))
    arrays = {n: np.asarray(a) for n, a in problem.arrays(cores).items()}
    paths = {}
    plain_sweep(structure, x, arrays, paths)
    ours, plain = interleaved(
        lambda: problem.sweep(cores), lambda: plain_sweep(structure, x, arrays, paths)
    )
    benchmark.extra_info["cpu_ms"] = 1e3 * ours
    benchmark.extra_info["plain_cpu_ms"] = 1e3 * plain
    benchmark.extra_info["ratio"] = plain / ours
    benchmark(problem.sweep, cores)
    assert plain / ours > 3


@pytest.mark.parametrize("first", tnet.FirstStart)
@pytest.mark.parametrize("family", FAMILIES)
def test_recovery(benchmark, family, first):
    structure = FAMILIES[family]
    options = ALS(tol=1e-4, polish=0, first=first)
    runs = []

    def run():
        seed = len(runs)
        x = planted(structure, seed)
        begun = time.process_time()
        found = fit(x, structure, rng=np.random.default_rng(1000 + seed), options=options)
        runs.append((found.error <= 1e-4, time.process_time() - begun, found.sweeps))

    benchmark.pedantic(run, rounds=50, iterations=1)
    done, seconds, sweeps = (np.asarray(column) for column in zip(*runs, strict=True))
    benchmark.extra_info["recovered"] = f"{done.sum()}/{len(done)}"
    benchmark.extra_info["mean_cpu_ms"] = 1e3 * float(seconds.mean())
    benchmark.extra_info["mean_sweeps"] = float(sweeps.mean())
    assert done.mean() >= 0.98


@pytest.mark.parametrize("noise", [0.0, 1e-3, 1e-2])
@pytest.mark.parametrize("family", FAMILIES)
def test_collinear(benchmark, family, noise):
    """Cores uniform in [0, 1]: one large term of rank one and little else."""
    structure = FAMILIES[family]
    tol = max(1e-4, 1.01 * noise)
    runs = []

    def run():
        seed = len(runs)
        r = np.random.default_rng(seed)
        arrays = {n: r.random(structure.node_shape(n)) for n in structure.node_names}
        x = np.asarray(tnet.contract(tnet.Network(structure, arrays)))
        error = r.standard_normal(x.shape)
        x = x / np.linalg.norm(x) + noise * error / np.linalg.norm(error)
        begun = time.process_time()
        options = ALS(tol=tol, polish=0)
        found = fit(x, structure, rng=np.random.default_rng(1000 + seed), options=options)
        runs.append((found.error <= tol, time.process_time() - begun, found.sweeps))

    benchmark.pedantic(run, rounds=20, iterations=1)
    done, seconds, sweeps = (np.asarray(column) for column in zip(*runs, strict=True))
    benchmark.extra_info["recovered"] = f"{done.sum()}/{len(done)}"
    benchmark.extra_info["mean_cpu_ms"] = 1e3 * float(seconds.mean())
    benchmark.extra_info["mean_sweeps"] = float(sweeps.mean())
    assert done.mean() >= (0.6 if noise == 1e-2 else 0.9)


def picture():
    """Return a grey picture of 256 x 256 as eight modes of four."""
    from skimage.data import camera

    x = camera().reshape(256, 2, 256, 2).mean(axis=(1, 3)).reshape((4,) * 8, order="F")
    return x / np.linalg.norm(x)


def joined_at_random(params, seed):
    """Return a graph of eight nodes whose bonds of rank two, then three, were drawn by chance."""
    pairs = list(itertools.combinations(range(8), 2))
    order = np.random.default_rng(seed).permutation(len(pairs))
    ranks = {}
    for rank, k in itertools.product((2, 3, 4), order):
        ranks[pairs[k]] = rank
        nodes = {f"v{i}": [f"x{i}"] for i in range(8)}
        sizes = {f"x{i}": 4 for i in range(8)}
        for (i, j), size in ranks.items():
            nodes[f"v{i}"].append(f"v{i}-v{j}")
            nodes[f"v{j}"].append(f"v{i}-v{j}")
            sizes[f"v{i}-v{j}"] = size
        structure = tnet.Structure(nodes, sizes, [f"x{i}" for i in range(8)])
        if structure.num_params >= params:
            return structure
    raise AssertionError("too many parameters asked for")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("params", [576, 1200, 1872, 2512])
def test_dense_graphs(benchmark, params, dtype):
    """A sweep over a picture beside the least squares it must at least form."""
    structure = joined_at_random(params, 0)
    x = picture().astype(dtype)
    begun = time.process_time()
    problem = dense_problem(Target(x), structure)
    benchmark.extra_info["compile_cpu_ms"] = 1e3 * (time.process_time() - begun)
    cores, _ = problem.sweep(problem.random(np.random.default_rng(0)))
    widths = [math.prod(structure.node_shape(n)) // 4 for n in structure.node_names]
    blocks = {w: np.ones((4**7, w), dtype) for w in set(widths)}

    def grams():
        for width in widths:
            blocks[width].T @ blocks[width]

    ours, least = interleaved(lambda: problem.sweep(cores), grams, rounds=5)
    benchmark.extra_info["params"] = structure.num_params
    benchmark.extra_info["cpu_ms"] = 1e3 * ours
    benchmark.extra_info["grams_cpu_ms"] = 1e3 * least
    benchmark.extra_info["planned_gflops"] = tnet.planned_flops(structure) / 1e9
    benchmark.pedantic(problem.sweep, (cores,), rounds=5)
    assert ours < 2.0


@pytest.mark.parametrize("params", [1872, 2512])
def test_mixed_precision(benchmark, monkeypatch, params):
    """Fifteen sweeps over a picture from one start: in mixed precision, and in double alone."""
    structure, target = joined_at_random(params, 0), Target(picture())
    start = tnet.random_network(structure, rng=np.random.default_rng(0))
    options = ALS(probe=15, polish=0, stall=0.0)
    errors = {}

    def run(name, wide):
        monkeypatch.setattr(mixed, "WIDE", wide)
        rng = np.random.default_rng(0)
        errors[name] = fit(target, structure, start=start, rng=rng, options=options).error

    ours, double = interleaved(lambda: run("mixed", 0.0), lambda: run("double", math.inf), rounds=3)
    benchmark.extra_info["cpu_s"] = {"mixed": ours, "double": double}
    benchmark.extra_info["errors"] = errors
    benchmark.pedantic(run, ("mixed", 0.0), rounds=1)
    assert errors["mixed"] <= (1.0 + 1e-4) * errors["double"]
    assert double / ours > 1.1


@pytest.mark.parametrize("params", [None, 1200, 1872])
def test_two_nodes(benchmark, params):
    """Five sweeps over two nodes beside five over all: a ring 4^8, and pictures."""
    structure = FAMILIES["ring 4^8"] if params is None else joined_at_random(params, 0)
    target = Target(planted(structure) if params is None else picture())
    start = tnet.random_network(structure, rng=np.random.default_rng(0))

    def run(nodes):
        options = ALS(nodes=nodes, probe=5, polish=0, stall=0.0)
        fit(target, structure, start=start, rng=np.random.default_rng(0), options=options)

    two = structure.node_names[:2]
    ours, whole = interleaved(lambda: run(two), lambda: run(None), rounds=5)
    benchmark.extra_info["cpu_ms"] = {"two nodes": 1e3 * ours, "all": 1e3 * whole}
    benchmark.extra_info["ratio"] = whole / ours
    benchmark.pedantic(run, (two,), rounds=3)
    assert whole / ours > 1.5


@pytest.mark.parametrize("family", FAMILIES)
def test_call(benchmark, family):
    """What a whole call costs beside its one sweep."""
    structure = FAMILIES[family]
    target = Target(planted(structure))
    options = ALS(probe=1, polish=0)
    start = tnet.random_network(structure, rng=np.random.default_rng(1))
    problem = dense_problem(target, structure)
    cores = problem.cores(start)

    def call():
        for _ in range(20):
            fit(target, structure, start=start, rng=np.random.default_rng(0), options=options)

    def sweep():
        for _ in range(20):
            problem.sweep(cores)

    whole, alone = interleaved(call, sweep)
    benchmark.extra_info["call_cpu_ms"] = 1e3 * whole / 20
    benchmark.extra_info["sweep_cpu_ms"] = 1e3 * alone / 20
    benchmark(call)
    assert (whole - alone) / 20 < 5e-3


def test_cp_beside_tensorly(benchmark):
    """CP of rank 10 of a noisy 60^3 tensor, equal numbers of sweeps."""
    import tensorly
    from tensorly.decomposition import parafac

    structure = tnet.cp((60, 60, 60), 10)
    x = planted(structure)
    x = x + 0.1 * np.random.default_rng(1).standard_normal(x.shape) / math.sqrt(x.size)
    options = ALS(restarts=1, probe=30, polish=0, stall=0.0)
    errors = {}

    def ours():
        errors["ours"] = fit(x, structure, rng=np.random.default_rng(2), options=options).error

    def theirs():
        found = parafac(x, 10, n_iter_max=30, init="random", tol=0, random_state=2)
        errors["tensorly"] = float(np.linalg.norm(x - tensorly.cp_to_tensor(found)))

    seconds = interleaved(ours, theirs, rounds=5)
    benchmark.extra_info["ratio"] = seconds[1] / seconds[0]
    benchmark.extra_info["errors"] = errors
    benchmark(ours)
    assert seconds[1] / seconds[0] > 0.8
    assert errors["ours"] <= 1.05 * errors["tensorly"] / np.linalg.norm(x)


def interleukin():
    """Return the IL-2 responses, and a fifth of the observed entries as the held-out mask."""
    from tensorly.datasets import load_IL2data

    x = np.asarray(load_IL2data().tensor)
    seen = np.flatnonzero(~np.isnan(x))
    order = np.random.default_rng(0).permutation(seen)
    aside = np.zeros(x.size, bool)
    aside[order[: len(seen) // 5]] = True
    return x, aside.reshape(x.shape)


def tensorly_held_out(name, rank, x, aside):
    import tensorly
    from tensorly.decomposition import parafac, tucker

    known = ~np.isnan(x) & ~aside
    filled = np.where(known, x, 0.0)
    if name == "cp":
        found = parafac(filled, rank, mask=known, n_iter_max=300, init="random", random_state=0)
        dense = tensorly.cp_to_tensor(found)
    else:
        found = tucker(filled, rank, mask=known, n_iter_max=300, init="random", random_state=0)
        dense = tensorly.tucker_to_tensor(found)
    return float(np.linalg.norm((x - dense)[aside]) / np.linalg.norm(x[aside]))


COMPLETED = [
    ("train", (3, 4, 3), 0.24),
    ("train", (4, 6, 4), 0.20),
    ("train", (8, 10, 8), 0.20),
    ("ring", 3, 0.20),
    ("cp", 4, 0.24),
    ("cp", 6, 0.22),
    ("cp", 8, 0.20),
    ("cp", 12, 0.157),
    ("cp", 16, 0.157),
    ("tucker", (3, 3, 3, 3), 0.24),
    ("tucker", (4, 4, 6, 4), 0.35),
    ("tucker", (6, 4, 6, 5), 0.35),
]
MAKE = {"train": tnet.tensor_train, "ring": tnet.tensor_ring, "cp": tnet.cp, "tucker": tnet.tucker}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "rank", "most"), COMPLETED)
def test_completion(benchmark, name, rank, most):
    x, aside = interleukin()
    structure = MAKE[name](x.shape, rank)
    found = []

    def run():
        rng = np.random.default_rng(len(found))
        found.append(fit(x, structure, held_out=aside, rng=rng))

    benchmark.pedantic(run, rounds=3, iterations=1)
    errors = [f.held_out_error for f in found]
    benchmark.extra_info["params"] = structure.num_params
    benchmark.extra_info["held_out_errors"] = errors
    benchmark.extra_info["ridges"] = [f.ridge for f in found]
    benchmark.extra_info["seconds"] = [f.seconds for f in found]
    if name in ("cp", "tucker"):
        begun = time.perf_counter()
        benchmark.extra_info["tensorly_held_out"] = tensorly_held_out(name, rank, x, aside)
        benchmark.extra_info["tensorly_seconds"] = time.perf_counter() - begun
    assert max(errors) <= most


@pytest.mark.parametrize("rank", [(4, 6, 4), (3, 3, 3, 3), (6, 4, 6, 5)])
def test_over_the_grid(benchmark, monkeypatch, rank):
    """Sweeps over few gaps: normal equations from the whole grid beside row by row."""
    x, aside = interleukin()
    entries = observed(x, ~aside)
    structure = (tnet.tensor_train if len(rank) == 3 else tnet.tucker)(x.shape, rank)
    grid = masked_problem(entries, structure, 0.1)
    monkeypatch.setattr(grid_program, "DEAR", math.inf)
    monkeypatch.setattr(masked, "compile_entry_program", compile_entry_program.__wrapped__)
    rows = masked_problem(entries, structure, 0.1)
    cores, others = (p.random(np.random.default_rng(1)) for p in (grid, rows))
    ours, plain = interleaved(lambda: grid.sweep(cores), lambda: rows.sweep(others), rounds=9)
    benchmark.extra_info["cpu_ms"] = 1e3 * ours
    benchmark.extra_info["by_rows_cpu_ms"] = 1e3 * plain
    benchmark.extra_info["ratio"] = plain / ours
    benchmark.pedantic(grid.sweep, (cores,), rounds=5)
    assert plain / ours > (4 if rank == (6, 4, 6, 5) else 1)


THREADED = {
    "ring 7^5": tnet.tensor_ring((7,) * 5, [2, 3, 4, 5, 5]),
    "ring 12^5": tnet.tensor_ring((12,) * 5, 5),
    "train 32^4": tnet.tensor_train((32,) * 4, 20),
    "cp 60^3": tnet.cp((60,) * 3, 10),
    "cp 128^3": tnet.cp((128,) * 3, 30),
}


@pytest.mark.parametrize("name", THREADED)
def test_threads(benchmark, monkeypatch, name):
    """Wall time on two threads: with the limits of a fit, and with both pools left as they are."""
    structure = THREADED[name]
    target = Target(np.random.default_rng(0).standard_normal(structure.shape))
    options = ALS(restarts=1, probe=10, polish=0, first=tnet.FirstStart.RANDOM, stall=0.0)

    def run():
        fit(target, structure, rng=np.random.default_rng(1), options=options)

    ways = {"limited": race.threads_for, "free": lambda flops: contextlib.nullcontext()}
    run()
    seconds = {way: [] for way in ways}
    with threadpool_limits(2):
        for _, (way, limit) in itertools.product(range(7), ways.items()):
            monkeypatch.setattr(race, "threads_for", limit)
            time.sleep(0.1)  # until the threads of the last run have stopped spinning
            begun = time.perf_counter()
            run()
            seconds[way].append(time.perf_counter() - begun)
        medians = {way: float(np.median(times)) for way, times in seconds.items()}
        benchmark.extra_info["ms"] = {way: 1e3 * s for way, s in medians.items()}
        benchmark.extra_info["ratio"] = medians["free"] / medians["limited"]
        monkeypatch.setattr(race, "threads_for", ways["limited"])
        benchmark.pedantic(run, rounds=3)
    assert medians["limited"] < 2.0 * medians["free"]
