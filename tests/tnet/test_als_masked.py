"""Fits to some entries of a tensor: oracles, monotony, masks, the ridge, real data."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tnet
from contraction.arrays import to, to_numpy
from contraction.errors import DTypeError, InputError, NonFiniteError, ShapeError
from strategies import NAMESPACES, graphs, seeds
from tnet import ALS, Entries, Structure, fit
from tnet.als import grid_program, masked, rows
from tnet.als.dense import dense_problem
from tnet.als.entry_program import compile_entry_program
from tnet.als.masked import balanced_slices, keys_of, masked_problem, node_key, predict


def rng(seed=0):
    return np.random.default_rng(seed)


def planted(structure, seed=0, dtype="float64"):
    x = tnet.contract(tnet.random_network(structure, rng=rng(seed), dtype=dtype))
    return x / np.linalg.norm(x)


def some_entries(shape, count, seed=0, dtype="float64", library="numpy"):
    """Random indices, repeats allowed, with Gaussian values."""
    r = rng(seed)
    indices = np.stack([r.integers(0, n, count) for n in shape], axis=1)
    values = r.standard_normal(count).astype(dtype)
    if dtype.startswith("complex"):
        values = values + 1j * r.standard_normal(count)
    return Entries(indices, to(values, namespace=library), shape)


DTYPES = ["float64", "complex128"]
kinds = st.tuples(st.sampled_from(DTYPES), st.sampled_from(NAMESPACES))


@given(graphs(max_nodes=5), st.integers(1, 60), seeds)
def test_predictions_are_entries_of_the_contraction(structure, count, seed):
    entries = some_entries(structure.shape, count, seed)
    problem = masked_problem(entries, structure, 0.1)
    net = tnet.random_network(structure, rng=rng(seed))
    dense = to_numpy(tnet.contract(net))
    found = predict(problem.program, problem.keys, count, problem.cores(net))
    np.testing.assert_allclose(found, dense[tuple(entries.indices.T)], atol=1e-11)


@settings(max_examples=30)
@given(graphs(max_nodes=5), st.integers(1, 80), kinds, seeds, st.sampled_from([0.0, 1e-3, 1.0]))
def test_the_objective_never_rises(structure, count, kind, seed, ridge):
    entries = some_entries(structure.shape, count, seed, *kind)
    problem = masked_problem(entries, structure, ridge)
    cores = problem.random(rng(seed + 1))
    before = problem.progress(cores, problem.measure(cores)).objective
    for _ in range(4):
        cores, progress = problem.sweep(cores)
        after = problem.progress(cores, problem.measure(cores)).objective
        assert after == pytest.approx(progress.objective, abs=1e-5)
        assert after <= before * (1 + 1e-9) + 1e-8
        before = after


@given(graphs(max_nodes=4), st.integers(2, 60), kinds, seeds)
def test_a_sweep_solves_the_last_node_exactly(structure, count, kind, seed):
    """Oracle: dense regularised least squares over the entries, all other nodes fixed."""
    ridge = 0.5
    entries = some_entries(structure.shape, count, seed, *kind)
    problem = masked_problem(entries, structure, ridge)
    layout = problem.program.layout
    last = layout.names[problem.program.visits[-1].node]
    slices = masked.balanced_slices
    try:
        masked.balanced_slices = lambda program, cores: list(cores)
        cores, _ = problem.sweep(problem.random(rng(seed + 1)))
    finally:
        masked.balanced_slices = slices
    arrays = {n: to_numpy(a) for n, a in problem.arrays(cores).items()}
    size = math.prod(structure.node_shape(last))
    columns = []
    for k in range(size):
        unit = np.zeros(size, dtype=arrays[last].dtype)
        unit[k] = 1.0
        net = tnet.Network(structure, {**arrays, last: unit.reshape(structure.node_shape(last))})
        columns.append(np.asarray(tnet.contract(net))[tuple(entries.indices.T)])
    design = np.concatenate([np.stack(columns, axis=1), math.sqrt(ridge) * np.eye(size)])
    values = np.concatenate([to_numpy(problem.values), np.zeros(size)])
    best = np.linalg.lstsq(design, values, rcond=None)[0]
    np.testing.assert_allclose(arrays[last].ravel(), best, atol=1e-8)


def on_the_grid(entries, structure, ridge):
    """The problem with all nodes that have neighbours solved over the whole grid."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grid_program, "DEAR", 0.0)
        patch.setattr(grid_program, "GAIN", 0.0)
        patch.setattr(grid_program, "SPARSE", math.inf)
        patch.setattr(masked, "compile_entry_program", compile_entry_program.__wrapped__)
        return masked_problem(entries, structure, ridge)


@given(graphs(max_nodes=5), st.integers(1, 60), kinds, seeds, st.sampled_from([0.0, 0.5]))
def test_over_the_grid_is_the_same_as_row_by_row(structure, count, kind, seed, ridge):
    entries = some_entries(structure.shape, count, seed, *kind)
    by_rows = masked_problem(entries, structure, ridge)
    grid = on_the_grid(entries, structure, ridge)
    if len(structure.nodes) > 1:
        assert all(visit.grid is not None for visit in grid.program.visits)
        assert by_rows.grid is None
    cores = by_rows.random(rng(seed + 1))
    (a, before), (b, after) = by_rows.sweep(cores), grid.sweep(cores)
    assert after.error == pytest.approx(before.error, abs=1e-4)
    if ridge:  # else the minimum need not be unique
        for x, y in zip(by_rows.arrays(a).values(), grid.arrays(b).values(), strict=True):
            np.testing.assert_allclose(to_numpy(y), to_numpy(x), atol=1e-6)


def test_grid_and_rows_may_be_mixed():
    """A large core over the grid, its factors row by row: environments only for these."""
    structure = tnet.tucker((9, 8, 7), (6, 6, 6))
    x = rng().standard_normal(structure.shape)
    x[rng(1).random(x.shape) < 0.2] = np.nan
    entries = tnet.als.entries.observed(x)
    program = masked_problem(entries, structure, 0.5).program
    ways = {program.layout.names[v.node]: v.grid is not None for v in program.visits if v.node >= 0}
    assert ways == {"core": True, "u0": False, "u1": False, "u2": False}
    mixed, grid = masked_problem(entries, structure, 0.5), on_the_grid(entries, structure, 0.5)
    cores = mixed.random(rng(2))
    names = [program.layout.names.index(n) for n in grid.program.layout.names]
    (_, a), (_, b) = mixed.sweep(cores), grid.sweep([cores[k] for k in names])
    assert a.error == pytest.approx(b.error, rel=1e-9)


@given(graphs(max_nodes=5), seeds)
def test_balancing_keeps_the_tensor_and_lowers_the_penalty(structure, seed):
    problem = masked_problem(some_entries(structure.shape, 5, seed), structure, 0.1)
    before = problem.random(rng(seed))
    before[0] = before[0] * 100.0
    after = balanced_slices(problem.program, before)
    x, y = (tnet.contract(tnet.Network(structure, problem.arrays(c))) for c in (before, after))
    np.testing.assert_allclose(to_numpy(y), to_numpy(x), atol=1e-9 * max(1.0, np.abs(x).max()))
    assert sum(np.sum(c**2) for c in after) <= sum(np.sum(c**2) for c in before) * (1 + 1e-12)


@given(graphs(max_nodes=5), seeds)
def test_all_entries_observed_is_the_dense_problem(structure, seed):
    x = rng(seed).standard_normal(structure.shape)
    entries = tnet.als.entries.observed(x, always=True)
    dense = dense_problem(tnet.Target(x), structure)
    sparse = masked_problem(entries, structure, 0.0)
    net = tnet.random_network(structure, rng=rng(seed + 1))
    scaled = net * (1.0 / sparse.scale)
    a, b = dense.measure(dense.cores(net)), sparse.measure(sparse.cores(scaled))
    assert b == pytest.approx(a, rel=1e-9)


@pytest.mark.parametrize("mask", [None, "all"])
def test_a_mask_without_gaps_changes_nothing(mask):
    structure = tnet.tensor_ring((4, 5, 6), 2)
    x = rng().standard_normal((4, 5, 6))
    options = ALS(restarts=2, polish=5)
    plain = fit(x, structure, rng=rng(1), options=options)
    whole = np.ones(x.shape, bool) if mask else None
    assert fit(x, structure, mask=whole, rng=rng(1), options=options).trace == plain.trace
    # the same minimum from the entry solver, with hardly any ridge
    structure = tnet.tensor_train((4, 5, 6), 2)
    sparse = fit(x, structure, rng=rng(1), options=ALS(ridge=1e-12))
    full = fit(x, structure, rng=rng(1), options=ALS())
    assert sparse.error == pytest.approx(full.error, rel=1e-3)


def test_nan_mask_and_entries_are_the_same():
    structure = tnet.tensor_train((5, 6, 7), 2)
    x = planted(structure)
    known = rng(1).random(x.shape) < 0.6
    holes = np.where(known, x, np.nan)
    where = np.argwhere(known)
    options = ALS(restarts=1, probe=10, polish=0, ridge=0.01)
    a = fit(holes, structure, rng=rng(2), options=options)
    b = fit(np.where(known, x, 1e9), structure, mask=known, rng=rng(2), options=options)
    c = fit(Entries(where, x[known], x.shape), structure, rng=rng(2), options=options)
    d = fit(np.where(known, x, np.inf), structure, mask=known, rng=rng(2), options=options)
    assert a.trace == b.trace == c.trace == d.trace
    assert a.network.certificate.kind is tnet.ErrorKind.ESTIMATE


@pytest.mark.parametrize("dtype", [*DTYPES, "float32"])
@pytest.mark.parametrize(
    "structure",
    [
        tnet.tensor_train((8, 9, 10), 2),
        tnet.tensor_ring((8, 9, 10), 2),
        tnet.cp((8, 9, 10), 3),
        tnet.tucker((8, 9, 10), 2),
        Structure({"a": ("p", "x1", "x0"), "b": ("x2", "p")}, {"x0": 5, "x1": 4, "x2": 9, "p": 2}),
    ],
)
def test_planted_networks_are_completed(structure, dtype):
    x = planted(structure, dtype=dtype)
    known = rng(1).random(x.shape) < 0.5
    options = ALS(tol=1e-5, restarts=3)
    found = fit(np.where(known, x, np.nan), structure, rng=rng(2), options=options)
    assert found.ridge == 0.0 or dtype == "float32"
    assert found.network.dtype == dtype
    missed = np.linalg.norm((x - tnet.contract(found.network))[~known])
    assert missed <= 1e-3 * np.linalg.norm(x[~known])


@pytest.mark.skipif(len(NAMESPACES) == 1, reason="needs torch")
def test_torch_follows_numpy():
    structure = tnet.tensor_ring((5, 6, 7), 2)
    entries = some_entries(structure.shape, 90)
    there = Entries(entries.indices, to(entries.values, namespace="torch"), entries.shape)
    options = ALS(restarts=1, probe=10, polish=0, ridge=0.1)
    a, b = (fit(e, structure, rng=rng(1), options=options) for e in (entries, there))
    assert b.network.namespace == "torch"
    assert b.trace == pytest.approx(a.trace, rel=1e-9)


def test_small_chunks_give_the_same(monkeypatch):
    structure = tnet.tucker((5, 6, 7), 2)
    entries = some_entries(structure.shape, 150)
    options = ALS(restarts=1, probe=6, polish=0, ridge=0.1)
    whole = fit(entries, structure, rng=rng(1), options=options)
    monkeypatch.setattr(masked, "CHUNK", 64)
    parts = fit(entries, structure, rng=rng(1), options=options)
    assert parts.trace == pytest.approx(whole.trace, rel=1e-10)


def test_a_start_is_never_made_worse():
    structure = tnet.tensor_ring((5, 6, 7), 2)
    x = planted(structure)
    known = rng(1).random(x.shape) < 0.4
    x[~known] = np.nan
    options = ALS(ridge=1e-9, restarts=1)
    first = fit(x, structure, rng=rng(2), options=options)
    again = fit(x, first.network, rng=rng(3), options=options)
    assert again.error <= first.error * (1 + 1e-6)
    wider = fit(x, tnet.tensor_ring((5, 6, 7), 3), start=first.network, rng=rng(3), options=options)
    assert wider.error <= first.error * (1 + 1e-6)


@given(st.integers(1, 9), st.integers(1, 200), seeds)
def test_rows_hold_every_entry_once(count, entries, seed):
    key = rng(seed).integers(0, count, entries)
    plan = rows.row_plan(key, count, np.zeros(1))
    valid = np.ones(plan.entries.shape, bool) if plan.valid is None else plan.valid > 0
    assert sorted(plan.entries[valid]) == list(range(entries))
    assert np.array_equal(
        key[plan.entries[valid]], np.broadcast_to(plan.row_of_block[:, None], valid.shape)[valid]
    )
    portions = [b for _, blocks in plan.portions(3, 5, 40) for b in blocks]
    seen = [k for b in portions for k in range(b.start, b.stop)]
    assert seen == list(range(len(plan.row_of_block)))


def test_singular_rows_fall_back_to_eigenvalues():
    G = np.zeros((2, 3, 3))
    G[0] = np.diag([1.0, 1.0, 0.0])
    rhs = np.array([[1.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
    found = rows.solve_rows(G, rhs, np.zeros((2, 3)), 0.0, 0.0)
    np.testing.assert_allclose(found, rhs, atol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_large_systems_are_solved_one_by_one(dtype):
    r = rng()
    n = rows.LARGE
    phi = r.standard_normal((3, 2 * n, n)).astype(dtype)
    if dtype.startswith("complex"):
        phi = phi + 1j * r.standard_normal(phi.shape)
    G, rhs = np.swapaxes(phi, 1, 2) @ phi.conj(), phi[:, 0, :].conj()
    found = rows.solve_rows(G, rhs, np.zeros((3, n), dtype), 0.5, 1e-12)
    wanted = np.linalg.solve(G.conj() + 0.5 * np.eye(n), rhs[:, :, None])[:, :, 0]
    np.testing.assert_allclose(found, wanted, atol=1e-9)
    G[1] = 0.0  # not definite without a ridge: the others are still solved
    found = rows.solve_rows(G, rhs * [[1.0], [0.0], [1.0]], np.zeros((3, n), dtype), 0.0, 0.0)
    np.testing.assert_allclose(found[1], 0.0, atol=1e-12)
    residual = (G[2].conj() @ found[2]) - rhs[2]
    assert np.linalg.norm(residual) <= 1e-8 * np.linalg.norm(rhs[2])


class TestHeldOut:
    def test_held_out_entries_never_enter_the_fit(self):
        structure = tnet.tensor_train((5, 6, 7), 2)
        x = planted(structure)
        aside = rng(1).random(x.shape) < 0.2
        options = ALS(restarts=1, probe=5, polish=0)
        a = fit(x, structure, held_out=aside, rng=rng(2), options=options)
        y = np.where(aside, 7.0, x)
        b = fit(y, structure, held_out=aside, rng=rng(2), options=options)
        assert (a.trace, a.ridge) == (b.trace, b.ridge)
        assert a.held_out_error < b.held_out_error
        dense = to_numpy(tnet.contract(a.network))
        missed = np.linalg.norm((x - dense)[aside]) / np.linalg.norm(x[aside])
        assert a.held_out_error == pytest.approx(missed, rel=1e-9)

    def test_mask_and_held_out_together(self):
        structure = tnet.tensor_train((5, 6), 2)
        x = planted(structure)
        known, aside = rng(1).random(x.shape) < 0.8, rng(2).random(x.shape) < 0.2
        y = np.where(known, x, np.nan)
        options = ALS(restarts=1, probe=5, polish=0, ridge=0.1)
        a = fit(y, structure, held_out=aside, rng=rng(2), options=options)
        b = fit(x, structure, mask=known, held_out=aside, rng=rng(2), options=options)
        assert dataclasses.replace(a, seconds=0.0, network=b.network) == dataclasses.replace(
            b, seconds=0.0
        )

    def test_entries_hold_out_entries(self):
        entries = some_entries((5, 6, 7), 200)
        first, last = entries.take(range(150)), entries.take(range(150, 200))
        options = ALS(restarts=1, ridge=0.1)
        structure = tnet.cp((5, 6, 7), 2)
        found = fit(first, structure, held_out=last, rng=rng(), options=options)
        values = to_numpy(tnet.contract(found.network))[tuple(last.indices.T)]
        assert found.held_out_error == pytest.approx(
            np.linalg.norm(last.values - values) / last.norm, rel=1e-9
        )

    def test_without_any_there_is_no_error(self):
        structure = tnet.tensor_train((5, 6), 2)
        assert fit(planted(structure), structure, rng=rng()).held_out_error is None


def interleukin():
    """The IL-2 responses with a fifth of the observed entries marked as held out."""
    datasets = pytest.importorskip("tensorly.datasets")
    x = np.asarray(datasets.load_IL2data().tensor)
    seen = np.flatnonzero(~np.isnan(x))
    order = rng(0).permutation(seen)
    aside = np.zeros(x.size, bool)
    aside[order[: len(seen) // 5]] = True
    return x, aside.reshape(x.shape)


@pytest.mark.parametrize(
    ("make", "rank", "most"),
    [(tnet.tensor_train, (4, 6, 4), 0.20), (tnet.cp, 12, 0.157), (tnet.cp, 6, 0.22)],
)
def test_held_out_error_on_measured_data(make, rank, most):
    x, aside = interleukin()
    found = fit(x, make(x.shape, rank), held_out=aside, rng=rng(1))
    assert found.held_out_error <= most
    assert found.error < found.held_out_error


@pytest.mark.parametrize("ridge", [0.0, 0.1])
@pytest.mark.parametrize("ranks", [(3, 3, 3, 3), (4, 4, 6, 4)])
def test_masked_tucker_does_not_diverge(ranks, ridge):
    x, aside = interleukin()
    options = ALS(ridge=ridge, restarts=1, probe=15, polish=0)
    found = fit(x, tnet.tucker(x.shape, ranks), held_out=aside, rng=rng(1), options=options)
    if ridge == 0.0:
        assert all(b <= a * (1 + 1e-6) for a, b in itertools.pairwise(found.trace))
    assert found.held_out_error <= 0.35


class TestErrors:
    def test_mask_shape(self):
        with pytest.raises(ShapeError, match=r"\(3, 2\)"):
            fit(np.ones((2, 3)), tnet.cp((2, 3), 1), mask=np.ones((3, 2), bool), rng=rng())

    def test_mask_dtype(self):
        with pytest.raises(DTypeError, match="bool"):
            fit(np.ones((2, 3)), tnet.cp((2, 3), 1), mask=np.ones((2, 3)), rng=rng())

    @pytest.mark.parametrize("way", ["nan", "mask"])
    def test_nothing_observed(self, way):
        x = np.full((2, 3), np.nan if way == "nan" else 1.0)
        mask = None if way == "nan" else np.zeros((2, 3), bool)
        with pytest.raises(InputError, match="no observed entry"):
            fit(x, tnet.tensor_train((2, 3), 1), mask=mask, rng=rng())

    def test_infinite_where_observed(self):
        x = np.ones((2, 3))
        x[0, 0], x[1, 2] = np.nan, np.inf
        with pytest.raises(NonFiniteError):
            fit(x, tnet.tensor_train((2, 3), 1), rng=rng())

    def test_entries(self):
        good = np.zeros((3, 2), int)
        with pytest.raises(ShapeError, match=r"\(entries, 2\)"):
            Entries(good, np.ones(4), (2, 3))
        with pytest.raises(ShapeError, match="outside"):
            Entries(good + 2, np.ones(3), (2, 3))
        with pytest.raises(DTypeError):
            Entries(good + 0.5, np.ones(3), (2, 3))
        with pytest.raises(InputError):
            Entries(good[:0], np.ones(0), (2, 3))
        with pytest.raises(NonFiniteError):
            Entries(good, np.array([1.0, np.nan, 2.0]), (2, 3))

    def test_entries_take_no_mask(self):
        entries = some_entries((2, 3), 4)
        with pytest.raises(InputError):
            fit(entries, tnet.tensor_train((2, 3), 1), mask=np.ones((2, 3), bool), rng=rng())
        with pytest.raises(InputError):
            fit(np.ones((2, 3)), tnet.tensor_train((2, 3), 1), held_out=entries, rng=rng())
        other = some_entries((2, 4), 4)
        with pytest.raises(ShapeError):
            fit(entries, tnet.tensor_train((2, 3), 1), held_out=other, rng=rng())

    def test_entries_of_another_shape(self):
        with pytest.raises(ShapeError, match="x0=2, x1=3"):
            fit(some_entries((3, 3), 4), tnet.tensor_train((2, 3), 1), rng=rng())


def test_zero_entries_give_a_zero_network():
    x = np.zeros((3, 4))
    x[0, 0] = np.nan
    found = fit(x, tnet.tensor_train((3, 4), 2), rng=rng())
    assert found.error == 0.0
    assert not np.any(to_numpy(tnet.contract(found.network)))


def test_a_key_merges_modes_in_node_order():
    structure = Structure({"a": ("x1", "x0")}, {"x0": 3, "x1": 4}, ("x0", "x1"))
    entries = Entries(np.array([[2, 1], [0, 3]]), np.ones(2), (3, 4))
    assert node_key(("x1", "x0"), structure, entries).tolist() == [5, 9]
    problem = masked_problem(entries, structure, 0.1)
    assert keys_of(problem.program, entries, entries.values)


def test_few_entries_take_the_fallback_ridge():
    found = fit(some_entries((3, 4), 8), tnet.tensor_train((3, 4), 1), rng=rng())
    assert found.ridge == 0.1
