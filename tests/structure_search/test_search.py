"""search and resume: answers on tiny spaces, the trace, the cache, limits and inputs."""

import itertools
import math

import numpy as np
import pytest

import tnet
from contraction.errors import CheckpointError, InputError, NonFiniteError, ShapeError
from structure_search import (
    AbstractMethod,
    CoreShape,
    Greedy,
    MaxParams,
    Outcome,
    Proposal,
    RandomSearch,
    RelativeError,
    Source,
    read_run,
    resume,
    search,
)


def ring(seed: int = 0, size: int = 4, ranks=(2, 2, 2, 2)) -> np.ndarray:
    s = tnet.tensor_ring((size,) * len(ranks), ranks)
    x = np.asarray(tnet.contract(tnet.random_network(s, rng=np.random.default_rng(seed))))
    return x / np.linalg.norm(x)


class AllRanks(AbstractMethod):
    """Every rank vector up to `most` on one graph: the brute force."""

    def __init__(self, structure: tnet.Structure, most: int) -> None:
        self.structure, self.most = structure, most

    def default_objective(self) -> None:
        return None

    def propose(self, problem):
        bonds = list(self.structure.ranks)
        for ranks in itertools.product(range(1, self.most + 1), repeat=len(bonds)):
            s = self.structure.resized(dict(zip(bonds, ranks, strict=True)))
            yield [Proposal(structure=s, restarts=6, label="all")]


def test_greedy_is_as_good_as_brute_force_on_a_tiny_space() -> None:
    truth = tnet.Structure(
        {"a": ("x0", "p", "q"), "b": ("x1", "p"), "c": ("x2", "q")},
        {"x0": 4, "x1": 4, "x2": 4, "p": 2, "q": 3},
        ("x0", "x1", "x2"),
    )
    x = tnet.contract(tnet.random_network(truth, rng=np.random.default_rng(3)))
    goal = RelativeError(tol=1e-6)
    triangle = tnet.fully_connected((4, 4, 4), 1)
    rng = np.random.default_rng(0)
    every = search(x, method=AllRanks(triangle, 3), objective=goal, rng=rng)
    assert every.counts.requested == 27
    assert every.best.num_params <= truth.num_params
    found = search(x, method=Greedy(), objective=goal, rng=np.random.default_rng(0))
    assert found.outcome is Outcome.REACHED
    assert found.best.num_params <= every.best.num_params
    assert tnet.relative_error(found.network, x) <= 1e-6


def test_brute_force_settles_equal_structures_by_the_cache() -> None:
    x = ring()
    triangle = tnet.tensor_ring((4, 4, 16), 1)
    found = search(
        x.reshape(4, 4, 16),
        method=AllRanks(triangle, 5),
        objective=MaxParams(params=10_000),
        rng=np.random.default_rng(0),
    )
    keys = {e.key for e in found.trace}
    fits = [e for e in found.trace if e.source in (Source.FIT, Source.EXACT)]
    assert found.counts.requested == 125 == len(found.trace)
    assert len(fits) == found.counts.fitted == len(keys) < 125
    assert found.counts.cached == 125 - len(keys)


def test_the_result_is_what_it_says() -> None:
    x = ring(1)
    goal = RelativeError(tol=1e-3)
    found = search(x, method=Greedy(), objective=goal, rng=np.random.default_rng(0))
    assert found.reached
    assert found.network.structure == found.best.structure
    assert found.network.num_params == found.best.num_params == found.best.structure.num_params
    assert found.network.error == pytest.approx(found.best.error, rel=1e-6, abs=1e-12)
    assert tnet.relative_error(found.network, x) <= 1e-3
    assert [e.index for e in found.trace] == list(range(len(found.trace)))
    met = [e for e in found.trace if e.error <= 1e-3]
    assert found.best.num_params == min(e.num_params for e in met)
    for a, b in itertools.pairwise(found.pareto):
        assert a.num_params < b.num_params
        assert a.error > b.error
    assert found.best.compression == x.size / found.best.num_params


def test_equal_generators_give_equal_searches() -> None:
    x = ring(2)
    goal = RelativeError(tol=1e-2)
    one, two = (
        search(x, method=Greedy(), objective=goal, rng=np.random.default_rng(5)) for _ in "ab"
    )
    assert [(e.request, e.error) for e in one.trace] == [(e.request, e.error) for e in two.trace]


def test_the_layout_in_memory_makes_no_difference() -> None:
    x = ring(2)
    goal = RelativeError(tol=1e-2)
    turned = np.ascontiguousarray(x.transpose(2, 0, 3, 1)).transpose(1, 3, 0, 2)
    assert turned.strides != x.strides
    traces = [
        search(y, method=Greedy(), objective=goal, rng=np.random.default_rng(5)).trace
        for y in (x, turned, np.asfortranarray(x))
    ]
    for trace in traces[1:]:
        assert [(e.request, e.error) for e in trace] == [(e.request, e.error) for e in traces[0]]


def test_limits_end_the_search() -> None:
    x = ring(3)
    goal = RelativeError(tol=1e-8)
    rng = np.random.default_rng(0)
    few = search(x, method=Greedy(), objective=goal, rng=rng, max_evaluations=3)
    assert (few.outcome, len(few.trace)) == (Outcome.BUDGET, 3)
    with pytest.raises(InputError, match="before any structure"):
        search(x, method=Greedy(), objective=goal, rng=rng, max_seconds=1e-9)
    asked = iter([None, None, Outcome.INTERRUPTED])
    stopped = search(x, method=Greedy(), objective=goal, rng=rng, stop=lambda: next(asked))
    assert (stopped.outcome, len(stopped.trace)) == (Outcome.INTERRUPTED, 2)


def test_max_params_is_kept() -> None:
    x = np.random.default_rng(0).standard_normal((4, 4, 4, 4))
    found = search(x, method=Greedy(), objective=MaxParams(params=90), rng=np.random.default_rng(0))
    assert found.best.num_params <= 90
    assert found.best.error < 1.0
    assert all(e.num_params <= 90 for e in found.trace)


@pytest.mark.parametrize("namespace", ["numpy", "torch"])
@pytest.mark.parametrize("dtype", ["float64", "complex128", "float32"])
def test_every_namespace_and_dtype(namespace: str, dtype: str) -> None:
    if namespace == "torch":
        pytest.importorskip("torch")
    s = tnet.tensor_train((4, 4, 4), 2)
    net = tnet.random_network(s, rng=np.random.default_rng(0), dtype=dtype)
    x = tnet.contract(net.to(namespace=namespace))
    goal = RelativeError(tol=1e-3)
    found = search(x, method=Greedy(), objective=goal, rng=np.random.default_rng(0))
    assert found.best.num_params <= s.num_params
    assert (found.network.namespace, found.network.dtype) == (namespace, dtype)
    assert tnet.relative_error(found.network, x) <= 1.1e-3


@pytest.mark.parametrize(
    "x", [np.zeros((3, 3, 3)), np.ones((3, 4)), np.ones((5,)), np.ones((1, 1, 4))]
)
def test_trivial_data(x: np.ndarray) -> None:
    goal = RelativeError(tol=1e-6)
    found = search(x, method=Greedy(), objective=goal, rng=np.random.default_rng(0))
    assert found.best.num_params == sum(x.shape)
    assert found.best.error <= 1e-12
    assert np.allclose(tnet.contract(found.network), x)


def test_bad_inputs_are_refused_before_any_work(tmp_path) -> None:
    x, rng = ring(), np.random.default_rng(0)
    goal = RelativeError(tol=0.1)
    with pytest.raises(InputError, match="objective"):
        search(x, method=Greedy(), rng=rng)
    bad = x.copy()
    bad[0, 0, 0, 0] = np.inf
    with pytest.raises(NonFiniteError):
        search(bad, method=Greedy(), objective=goal, rng=rng)
    with pytest.raises(ShapeError):
        search(np.zeros((4, 0)), method=Greedy(), objective=goal, rng=rng)
    with pytest.raises(InputError, match="max_evaluations"):
        search(x, method=Greedy(), objective=goal, rng=rng, max_evaluations=0)
    with pytest.raises(InputError, match="max_seconds"):
        search(x, method=Greedy(), objective=goal, rng=rng, max_seconds=math.nan)
    start = tnet.tensor_train((4, 4, 5, 4), 1)
    with pytest.raises(ShapeError, match="start"):
        search(x, method=Greedy(), objective=goal, rng=rng, start=start)
    with pytest.raises(ShapeError, match="modes"):
        search(x, method=Greedy(), objective=goal, rng=rng, modes=["a", "a", "b", "c"])
    with pytest.raises(InputError, match="at least"):
        search(x, method=CoreShape(max_params=3), rng=rng)
    (tmp_path / "other.txt").write_text("mine")
    with pytest.raises(InputError, match="not an empty folder"):
        search(x, method=Greedy(), objective=goal, rng=rng, run=tmp_path)
    with pytest.raises(CheckpointError, match="no run folder"):
        resume(tmp_path, x)


def test_a_failing_fit_is_recorded_and_the_search_goes_on(tmp_path) -> None:
    class Shaky(AbstractMethod):
        def default_objective(self) -> MaxParams:
            return MaxParams(params=1000)

        def propose(self, problem):
            s = tnet.tensor_train(dict(problem.modes), 1)

            def fails():
                raise InputError("no luck")

            yield [Proposal(structure=s, solve=fails, label="shaky")]
            yield [Proposal(structure=s.resized({"g0-g1": 2}), label="sound")]

    found = search(ring(), method=Shaky(), rng=np.random.default_rng(0))
    assert [e.source for e in found.trace] == [Source.FAILED, Source.EXACT] or [
        e.source for e in found.trace
    ] == [Source.FAILED, Source.FIT]
    assert "no luck" in found.trace[0].failure
    assert found.counts.failed == 1


def test_names_of_modes_and_a_start(tmp_path) -> None:
    x = ring()
    start = tnet.tensor_ring({"up": 4, "down": 4, "left": 4, "right": 4}, 1)
    found = search(
        x,
        method=Greedy(),
        objective=RelativeError(tol=1e-3),
        start=start,
        rng=np.random.default_rng(0),
        run=tmp_path / "run",
    )
    assert found.best.structure.modes == ("up", "down", "left", "right")
    assert list(read_run(tmp_path / "run").config["input"]["modes"]) == list(start.modes)


def test_random_search_keeps_a_graph_and_a_budget() -> None:
    x = ring()
    start = tnet.tensor_train((4, 4, 4, 4), 1)
    found = search(
        x,
        method=RandomSearch(samples=12, max_rank=3),
        objective=MaxParams(params=40),
        start=start,
        rng=np.random.default_rng(0),
    )
    assert len(found.trace) == 12
    assert all(e.num_params <= 40 for e in found.trace)
    assert found.counts.requested == found.counts.fitted + found.counts.cached
