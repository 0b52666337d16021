"""Dear sweeps in single precision: what is promised in double still holds."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tnet
from contraction.arrays import dtype_name, to, to_numpy
from strategies import NAMESPACES, graphs, seeds
from tnet import ALS, FirstStart, FitOutcome, Target, fit
from tnet.als import mixed
from tnet.als.dense import dense_problem


def rng(seed=0):
    return np.random.default_rng(seed)


def distance(x, net):
    x = to_numpy(x)
    return float(np.linalg.norm(x - to_numpy(tnet.contract(net))) / np.linalg.norm(x))


@pytest.fixture
def every_sweep_is_dear(monkeypatch):
    monkeypatch.setattr(mixed, "WIDE", 0.0)


RING = tnet.tensor_ring((5,) * 5, [2, 3, 3, 2, 3])


@settings(max_examples=40)
@given(
    graphs(max_nodes=4),
    st.sampled_from(["float64", "complex128"]),
    st.sampled_from(NAMESPACES),
    seeds,
)
def test_never_worse_than_the_start_and_measured_in_double(structure, dtype, library, seed):
    x = to(rng(seed).standard_normal(structure.shape), dtype=dtype, namespace=library)
    start = tnet.random_network(structure, rng=rng(seed + 1), like=x)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mixed, "WIDE", 0.0)
        found = fit(x, start, rng=rng(), options=ALS(probe=3, polish=0))
        again = fit(x, found.network, rng=rng(), options=ALS(probe=2, polish=0))
    assert dtype_name(found.network[structure.node_names[0]]) == dtype
    assert found.error == pytest.approx(distance(x, found.network), rel=1e-9, abs=1e-12)
    assert found.error <= distance(x, start) * (1 + 1e-12)
    assert again.error <= found.error * (1 + 1e-12) + 1e-13


def test_exact_data_are_finished_in_double(every_sweep_is_dear):
    x = np.asarray(tnet.contract(tnet.random_network(RING, rng=rng(0))))
    found = fit(x, RING, rng=rng(1))
    assert found.error <= 1e-12
    assert found.outcome is FitOutcome.CONVERGED
    reached = fit(x, RING, rng=rng(1), options=ALS(tol=1e-8))
    assert reached.error <= 1e-8
    assert reached.outcome is FitOutcome.TARGET


@pytest.mark.parametrize("scale", [1e-300, 1e-150, 1e-30, 1e30, 1e150, 1e300])
def test_any_size_of_the_data(every_sweep_is_dear, scale):
    x = rng().standard_normal(RING.shape)
    options = ALS(probe=6, polish=0, restarts=2, stall=0.0)
    plain = fit(x, RING, rng=rng(1), options=options)
    scaled = fit(scale * x, RING, rng=rng(1), options=options)
    assert scaled.error == pytest.approx(plain.error, rel=1e-3)
    assert all(np.all(np.isfinite(to_numpy(scaled.network[n]))) for n in RING.node_names)


def test_nodes_of_any_size(every_sweep_is_dear):
    x = rng().standard_normal(RING.shape)
    start = tnet.random_network(RING, rng=rng(1))
    factors = dict(zip(RING.node_names, (1e80, 1e-120, 1e60, 1e-40, 1e20), strict=True))
    uneven = tnet.Network(RING, {n: start[n] * f for n, f in factors.items()})
    options = ALS(probe=4, polish=0, stall=0.0)
    plain, same = (fit(x, net, rng=rng(2), options=options).error for net in (start, uneven))
    assert same == pytest.approx(plain, rel=1e-5)


def test_a_start_that_is_zero_is_fitted_in_double(every_sweep_is_dear):
    x = rng().standard_normal(RING.shape)
    start = tnet.random_network(RING, rng=rng(1))
    zero = tnet.Network(RING, {**start.arrays, "g1": 0.0 * start["g1"]})
    assert fit(x, zero, rng=rng(), options=ALS(probe=2, polish=0)).error < 1.0


def test_sweeps_are_counted_in_both_precisions(every_sweep_is_dear, monkeypatch):
    x = np.asarray(tnet.contract(tnet.random_network(RING, rng=rng(0))))
    calls = []
    sweep = dense_problem(Target(x), RING).__class__.sweep
    monkeypatch.setattr(
        "tnet.als.dense.DenseProblem.sweep",
        lambda self, cores: calls.append(dtype_name(self.like)) or sweep(self, cores),
    )
    found = fit(x, RING, rng=rng(1), options=ALS(tol=1e-9))
    assert found.sweeps == len(calls)
    assert set(calls) == {"float32", "float64"}
    assert calls == sorted(calls)


def test_dear_sweeps_alone_take_single_precision(monkeypatch):
    x = rng().standard_normal(RING.shape)
    monkeypatch.setattr(mixed, "_single", None)
    fit(x, RING, rng=rng(), options=ALS(probe=2, restarts=1, polish=0))


def test_the_result_is_nearly_that_of_double(monkeypatch):
    x = rng().standard_normal(RING.shape)
    start = tnet.random_network(RING, rng=rng(1))
    options = ALS(probe=10, polish=0, stall=0.0)
    wide = fit(x, start, rng=rng(), options=options).error
    monkeypatch.setattr(mixed, "WIDE", 0.0)
    first, second = (fit(x, start, rng=rng(), options=options) for _ in range(2))
    assert first.error == pytest.approx(wide, rel=1e-4)
    assert first.error == second.error
    assert math.isfinite(fit(x, RING, rng=rng(), options=ALS(first=FirstStart.RANDOM)).error)
