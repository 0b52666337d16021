"""Balanced starts: the map and its inverse, and data that defeat sweeps on their own."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tnet
from contraction.arrays import eps, to, to_numpy
from planted import triangle
from strategies import DTYPES, NAMESPACES, graphs, seeds
from tnet import ALS, FirstStart, Target, fit
from tnet.als import balance, dense
from tnet.als.balance import POWERS, balanced_data
from tnet.als.dense import dense_problem
from tnet.als.race import UNKNOWN, Run, advance

FAMILIES = {
    "train": tnet.tensor_train((7,) * 5, [2, 3, 6, 5]),
    "ring": tnet.tensor_ring((7,) * 5, [2, 3, 4, 5, 5]),
    "triangle": triangle(),
    "tucker": tnet.tucker((7,) * 5, [2, 3, 4, 3, 2]),
    "small ring": tnet.tensor_ring((3,) * 6, [4, 3, 2, 3, 2, 2]),
}


def rng(seed=0):
    return np.random.default_rng(seed)


def collinear(structure, seed=0, noise=0.0):
    """A network of cores uniform in [0, 1], of norm one, and noise."""
    r = rng(seed)
    arrays = {n: r.random(structure.node_shape(n)) for n in structure.node_names}
    x = np.asarray(tnet.contract(tnet.Network(structure, arrays)))
    x /= np.linalg.norm(x)
    error = r.standard_normal(x.shape)
    return x + noise * error / np.linalg.norm(error)


@pytest.mark.parametrize("first", FirstStart)
@pytest.mark.parametrize("name", FAMILIES)
def test_collinear_networks_are_recovered(name, first):
    structure = FAMILIES[name]
    options = ALS(tol=1e-4, polish=0, first=first)
    found = [
        fit(collinear(structure, seed), structure, rng=rng(100 + seed), options=options)
        for seed in range(3)
    ]
    assert all(f.error <= 1e-4 for f in found)
    assert sum(f.sweeps for f in found) <= 3 * 80


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.0, 1e-3])
@pytest.mark.parametrize("name", FAMILIES)
def test_nineteen_in_twenty_collinear_networks_are_recovered(name, noise):
    structure = FAMILIES[name]
    tol = max(1e-4, 1.01 * noise)
    options = ALS(tol=tol, polish=0, first=FirstStart.RANDOM)
    errors = [
        fit(
            collinear(structure, seed, noise), structure, rng=rng(100 + seed), options=options
        ).error
        for seed in range(20)
    ]
    assert sum(error <= tol for error in errors) >= 19


def test_without_balance_the_same_starts_fail():
    structure = FAMILIES["ring"]
    x = collinear(structure)
    problem = dense_problem(Target(x), structure)
    options = ALS(tol=1e-4)
    plain = advance(problem, Run(problem.random(rng(1)), UNKNOWN), options, sweeps=200, least=0.0)
    assert plain.best.error > 1e-3
    found = fit(x, structure, rng=rng(1), options=ALS(tol=1e-4, first=FirstStart.RANDOM))
    assert found.error <= 1e-4
    assert found.sweeps < 100


@given(graphs(max_nodes=5), st.sampled_from(DTYPES), st.sampled_from(NAMESPACES), seeds)
def test_a_network_of_balanced_data_is_carried_back_exactly(structure, dtype, library, seed):
    net = tnet.random_network(structure, rng=rng(seed), dtype=dtype)
    x = to_numpy(tnet.contract(net))
    target = Target(to(x, dtype=dtype, namespace=library))
    if target.norm == 0.0:
        return
    problem = dense_problem(target, structure)
    balanced = balanced_data(target.x, 0.15)
    assert float(np.linalg.norm(to_numpy(balanced.x))) == pytest.approx(1.0, rel=1e-3)
    cores = problem.random(rng(seed))
    back = balanced.restored(problem.program.layout, cores)
    ours = to_numpy(tnet.contract(tnet.Network(structure, problem.arrays(back))))
    there = to_numpy(tnet.contract(tnet.Network(structure, problem.arrays(cores))))
    for axis, matrix in enumerate(balanced.back):  # oracle: mode products of the dense tensor
        if matrix is not None:
            there = np.moveaxis(np.tensordot(to_numpy(matrix), there, (1, axis)), 0, axis)
    there = there * balanced.norm
    size = max(float(np.linalg.norm(there)), 1e-30)
    assert np.linalg.norm(ours - there) <= 1e3 * eps(dtype) * size


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.sampled_from(DTYPES), seeds)
def test_balanced_data_are_undone(shape, dtype, seed):
    x = to(rng(seed).standard_normal(tuple(shape)), dtype=dtype)
    for power in POWERS:
        balanced = balanced_data(x, power)
        back = balanced.x * balanced.norm
        for axis, matrix in enumerate(balanced.back):
            back = back if matrix is None else balance.multiplied(back, matrix, axis)
        np.testing.assert_allclose(back, x, atol=100 * eps(dtype) * float(np.abs(x).max()))


def test_balanced_modes_are_flatter():
    x = collinear(FAMILIES["train"])[:, :, :3, :2, :2]
    y = np.asarray(balanced_data(x, 0.15).x)
    for axis in range(x.ndim):
        before, after = (
            np.linalg.svd(np.moveaxis(z, axis, 0).reshape(z.shape[axis], -1), compute_uv=False)
            for z in (x, y)
        )
        assert after[1] / after[0] > 2.0 * before[1] / before[0]


def test_wide_modes_and_large_data_stay_as_they_are(monkeypatch):
    monkeypatch.setattr(balance, "WIDEST", 4)
    x = rng().standard_normal((3, 5, 4))
    assert [matrix is None for matrix in balanced_data(x, 0.1).back] == [False, True, False]
    monkeypatch.setattr(dense, "ENTRIES", 10)
    assert Target(x).balanced_bytes == 0
    structure = tnet.tensor_ring((3, 5, 4), 2)
    options = ALS(restarts=2, probe=4, polish=0, stall=0.0, first=FirstStart.RANDOM)
    found = fit(x, structure, rng=rng(1), options=options)
    assert found.sweeps == 8


def test_the_copies_count_in_the_memory():
    from contraction.errors import MemoryBudgetError

    x = rng().standard_normal((10,) * 5)
    structure = tnet.tensor_ring(x.shape, 2)
    target = Target(x)
    assert target.balanced_bytes == 2 * len(POWERS) * x.nbytes
    with pytest.raises(MemoryBudgetError):
        fit(x, structure, rng=rng(), options=ALS(memory=target.balanced_bytes))
    start = tnet.random_network(structure, rng=rng())
    options = ALS(memory=4_800_000, probe=1, polish=0)
    assert math.isfinite(fit(x, structure, start=start, rng=rng(), options=options).error)


def test_starts_on_balanced_data_follow_the_seed():
    structure = FAMILIES["triangle"]
    x = collinear(structure, 1)
    options = ALS(tol=1e-4, first=FirstStart.RANDOM)
    a, b = (fit(x, structure, rng=rng(5), options=options) for _ in range(2))
    assert a.trace == b.trace
    assert all(np.array_equal(a.network[n], b.network[n]) for n in structure.node_names)
