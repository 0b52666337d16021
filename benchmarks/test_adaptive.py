"""The default method beside its parts and the published ones, at equal evaluations.

pytest benchmarks/test_adaptive.py --benchmark-only -o addopts="--import-mode=importlib" -s
"""

import math
import os
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import tnet
from structure_search import (
    Adaptive,
    CutRank,
    Greedy,
    RandomSearch,
    RelativeError,
    SVDinsTN,
    TnALE,
    TreeSearch,
    WeightedError,
    search,
)
from structure_search.results import as_candidate
from structure_search.space.templates import Template
from tests.planted import triangle

EVALUATIONS = int(os.environ.get("TNET_BENCH_EVALUATIONS", "200"))
SECONDS = float(os.environ.get("TNET_BENCH_SECONDS", "120"))
REFERENCE = os.environ.get("TNET_REFERENCE_DATA", "")
HAIR = 1.02
FAMILIES = {
    "ring": tnet.tensor_ring((7,) * 5, (2, 3, 4, 5, 5)),
    "train": tnet.tensor_train((7,) * 5, (2, 3, 6, 5)),
    "triangle": triangle(),
    "tucker": tnet.tucker((7,) * 5, (2, 3, 4, 3, 2)),
    "ring-4": tnet.tensor_ring((3,) * 4, (2, 3, 2, 3)),
    "ring-6": tnet.tensor_ring((3,) * 6, (4, 3, 2, 3, 2, 2)),
    "ring-8": tnet.tensor_ring((3,) * 8, (2, 3, 2, 4, 2, 3, 2, 2)),
}


@pytest.fixture(autouse=True)
def one_thread():
    with threadpool_limits(1):
        yield


def planted(structure: tnet.Structure, seed: int, *, collinear: bool = False) -> np.ndarray:
    rng = np.random.default_rng(seed)
    draw = rng.random if collinear else rng.standard_normal
    arrays = {node: draw(structure.node_shape(node)) for node in structure.node_names}
    x = np.asarray(tnet.contract(tnet.Network(structure, arrays)))
    return x / np.linalg.norm(x)


def picture(name: str) -> np.ndarray:
    data = pytest.importorskip("skimage.data")
    grey = getattr(data, name)().astype(np.float32) / 255.0
    return grey.reshape(256, 2, 256, 2).mean((1, 3)).reshape((4,) * 8, order="F")


def real(name: str) -> np.ndarray:
    if name == "lfw":
        return np.asarray(pytest.importorskip("skimage.data").lfw_subset())
    sets = pytest.importorskip("tensorly.datasets")
    load = sets.load_kinetic if name == "kinetic" else sets.load_covid19_serology
    return np.asarray(load().tensor)


def compare(benchmark, name, x, goal, methods) -> dict[str, float]:
    """Run every method on the same data, print a table, and return what each reached."""
    values, rows = {}, []

    def one(method):
        begun = time.process_time()
        found = search(
            x,
            method=method,
            objective=goal,
            max_evaluations=EVALUATIONS,
            max_seconds=SECONDS,
            rng=np.random.default_rng(0),
        )
        return found, time.process_time() - begun

    for label, method in methods.items():
        if label == "Adaptive":
            found, spent = benchmark.pedantic(one, args=(method,), rounds=1, iterations=1)
        else:
            found, spent = one(method)
        best = as_candidate(found.best)
        order = goal.order(best)
        values[label] = order[0] if isinstance(goal, WeightedError) else sized(order)
        rows.append(
            f"  {label:12s} {values[label]:12.5g} P {best.num_params:7d} "
            f"squared error {best.error**2:.3e} evaluations {len(found.trace):4d} "
            f"fits {found.counts.fitted:4d} CPU {spent:6.1f} s {found.outcome.name}"
        )
    print(f"\n{name}, {goal}\n" + "\n".join(rows))
    benchmark.extra_info.update({key: float(v) for key, v in values.items()})
    return values


def sized(order: tuple[float, ...]) -> float:
    """Return the size within the tolerance, infinity outside."""
    return order[1] if order[0] == 0.0 else math.inf


def assert_not_behind(values: dict[str, float]) -> None:
    assert values["Adaptive"] <= HAIR * min(values.values())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("collinear", [False, True], ids=["normal", "collinear"])
def test_planted(benchmark, family: str, collinear: bool) -> None:
    truth = FAMILIES[family]
    x = planted(truth, 0, collinear=collinear)
    methods = {
        "Adaptive": Adaptive(),
        "CutRank": CutRank(),
        "Greedy": Greedy(),
        "TreeSearch": TreeSearch(),
        "SVDinsTN": SVDinsTN(),
        "TnALE": TnALE(max_rank=7),
        "RandomSearch": RandomSearch(),
    }
    values = compare(benchmark, f"{family} {truth.num_params}", x, RelativeError(tol=1e-4), methods)
    assert_not_behind(values)
    assert values["Adaptive"] <= truth.num_params


@pytest.mark.parametrize(
    ("name", "tol"),
    [("kinetic", 0.05), ("kinetic", 0.03), ("covid", 0.2), ("lfw", 0.15), ("lfw", 0.2)],
)
def test_real(benchmark, name: str, tol: float) -> None:
    methods = {
        "Adaptive": Adaptive(),
        "CutRank": CutRank(),
        "Greedy": Greedy(),
        "TreeSearch": TreeSearch(),
    }
    assert_not_behind(compare(benchmark, name, real(name), RelativeError(tol=tol), methods))


PICTURE_METHODS = {
    "Adaptive": Adaptive(max_rank=4),
    "Greedy": Greedy(max_rank=4, look_ahead=3, trial_sweeps=2, sweeps=4, inner_nodes=False),
    "TnALE": TnALE(template=Template.FULL, max_rank=4),
    "RandomSearch": RandomSearch(template=Template.FULL, max_rank=4),
}


@pytest.mark.parametrize("name", ["camera", "moon", "brick", "gravel"])
def test_pictures(benchmark, name: str) -> None:
    """All edges, ranks up to 4, parameters / entries + 5 * squared error."""
    goal = WeightedError(weight=5.0)
    assert_not_behind(compare(benchmark, name, picture(name), goal, PICTURE_METHODS))


@pytest.mark.skipif(not REFERENCE, reason="TNET_REFERENCE_DATA does not name a folder")
@pytest.mark.parametrize(("name", "wanted"), [("Image_A", 0.257), ("Image_B", 0.2246)])
def test_reference_pictures(benchmark, name: str, wanted: float) -> None:
    x = np.asarray(np.load(f"{REFERENCE}/{name}.npz")["goal"], dtype=np.float32)
    goal = WeightedError(weight=5.0)
    values = compare(benchmark, name, x, goal, PICTURE_METHODS)
    assert_not_behind(values)
    assert values["Adaptive"] < wanted
