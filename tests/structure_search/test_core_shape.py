"""CoreShape against brute force, the published integer program and explicit factorisations."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tnet
from contraction.errors import InputError
from strategies import seeds
from structure_search import CoreShape, search
from structure_search.methods import core_shape_choice, hosvd, packing


def random_spectra(rng, sizes):
    spectra = [np.sort(rng.exponential(size=n) ** rng.uniform(0.5, 4))[::-1] for n in sizes]
    return [np.cumsum(s / s.sum()) for s in spectra]


def brute_force(kept, sizes, budget):
    best = -1.0
    for ranks in itertools.product(*(range(1, n + 1) for n in sizes)):
        if packing.shape_params(ranks, sizes) <= budget:
            best = max(best, sum(k[r - 1] for k, r in zip(kept, ranks, strict=True)))
    return best


def value(kept, shape) -> float:
    return sum(k[r - 1] for k, r in zip(kept, shape, strict=True))


@given(st.lists(st.integers(1, 7), min_size=1, max_size=4), seeds)
def test_the_packing_is_that_of_brute_force(sizes, seed) -> None:
    rng = np.random.default_rng(seed)
    kept = random_spectra(rng, sizes)
    least = 1 + sum(sizes)
    budget = int(rng.integers(least, least + 1 + int(np.prod(sizes)) + sum(n * n for n in sizes)))
    shape = packing.best_packing(kept, sizes, budget)
    assert packing.shape_params(shape, sizes) <= budget
    assert value(kept, shape) == pytest.approx(brute_force(kept, sizes, budget), rel=1e-12)


@settings(max_examples=12)
@given(st.lists(st.integers(2, 5), min_size=3, max_size=3), seeds)
def test_the_packing_is_that_of_the_integer_program(sizes, seed) -> None:
    rng = np.random.default_rng(seed)
    kept = random_spectra(rng, sizes)
    budget = int(rng.integers(1 + sum(sizes), 30 + sum(sizes)))
    exact = packing.integer_program(kept, sizes, budget, guesses=range(1, budget))
    mine = packing.best_packing(kept, sizes, budget)
    assert value(kept, mine) == pytest.approx(value(kept, exact), rel=1e-12)
    published = packing.integer_program(kept, sizes, budget)
    assert packing.shape_params(published, sizes) <= budget
    assert value(kept, published) <= value(kept, mine) * (1 + 1e-12)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), seeds)
def test_the_cumulative_sum_is_the_error_of_every_shape(sizes, seed) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(sizes)
    found = hosvd.orthogonal_core(x, sizes)
    energy = hosvd.captured(found.core)
    bases = [np.linalg.svd(np.moveaxis(x, n, 0).reshape(k, -1))[0] for n, k in enumerate(sizes)]
    for ranks in itertools.product(*({1, (k + 1) // 2, k} for k in sizes)):
        y = x
        for n, r in enumerate(ranks):
            U = bases[n][:, :r]
            y = np.moveaxis(np.tensordot(U @ U.T, y, axes=(1, n)), 0, n)
        exact = np.linalg.norm(x - y) ** 2
        mine = found.norm**2 - energy[tuple(r - 1 for r in ranks)]
        assert mine == pytest.approx(exact, abs=1e-10 * found.norm**2)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), seeds)
def test_a_turned_core_is_the_same_array_in_better_bases(sizes, seed) -> None:
    rng = np.random.default_rng(seed)
    core = hosvd.orthogonal_core(rng.standard_normal(sizes), sizes).core
    ranks = [int(rng.integers(1, n + 1)) for n in core.shape]
    turned, bases = hosvd.turned(core, ranks)
    back = turned
    for n, Q in enumerate(bases):
        np.testing.assert_allclose(Q.T @ Q, np.eye(core.shape[n]), atol=1e-12)
        back = np.moveaxis(np.tensordot(Q, back, axes=(1, n)), 0, n)
    np.testing.assert_allclose(back, core, atol=1e-12 * max(1.0, np.linalg.norm(core)))
    kept = [float(np.linalg.norm(x[tuple(slice(r) for r in ranks)])) for x in (core, turned)]
    assert kept[1] >= kept[0] * (1 - 1e-12)


@pytest.mark.parametrize("sizes", [(150, 9, 8), (6, 130, 20)])
def test_few_vectors_of_a_large_mode_do_no_harm(sizes) -> None:
    rng = np.random.default_rng(3)
    net = tnet.random_network(tnet.tucker(sizes, (2, 3, 3)), rng=rng)
    x = np.asarray(tnet.contract(net))
    x = x + 0.1 * np.linalg.norm(x) / np.sqrt(x.size) * rng.standard_normal(x.shape)
    budget = 18 + 2 * sizes[0] + 3 * (sizes[1] + sizes[2])
    found = search(x, method=CoreShape(max_params=budget), rng=rng)
    dense = np.asarray(found.network.to_dense())
    assert found.best.num_params <= budget
    assert found.best.error < 0.1
    assert np.linalg.norm(x - dense) / np.linalg.norm(x) == pytest.approx(found.best.error, 1e-8)


def test_what_a_corner_leaves_out_is_swept_on_the_data(monkeypatch) -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((50, 50, 4))
    whole = search(x, method=CoreShape(max_params=800), rng=rng).best
    monkeypatch.setattr(hosvd, "WORKED_ON", 300)
    parts = search(x, method=CoreShape(max_params=800), rng=rng).best
    assert parts.error <= whole.error * (1 + 3e-3)


def grows(ranks, sizes, budget) -> bool:
    """Whether a rank can be raised within the budget, the mode and what the others can use."""
    for n, size in enumerate(sizes):
        others = int(np.prod(ranks)) // ranks[n]
        more = (*ranks[:n], ranks[n] + 1, *ranks[n + 1 :])
        if ranks[n] < min(size, others) and packing.shape_params(more, sizes) <= budget:
            return True
    return False


@given(st.lists(st.integers(2, 5), min_size=2, max_size=4), seeds)
def test_the_shapes_are_the_best_of_all(sizes, seed) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(sizes)
    least = 1 + sum(sizes)
    budget = int(rng.integers(least, 3 * least))
    found = hosvd.orthogonal_core(x, packing.rank_caps(sizes, budget))
    shapes = core_shape_choice.select_shapes(found, sizes, budget, 4)
    full = hosvd.captured(hosvd.orthogonal_core(x, sizes).core)
    errors = sorted(
        (found.norm**2 - full[tuple(r - 1 for r in ranks)]) / found.norm**2
        for ranks in itertools.product(*(range(1, n + 1) for n in sizes))
        if packing.shape_params(ranks, sizes) <= budget
        and not grows(ranks, sizes, budget)
        and all(r * r <= np.prod(ranks) for r in ranks)  # above that a rank is of no use
    )
    assert len(shapes) == min(4, len(errors))
    for (ranks, error), exact in zip(shapes, errors[:4], strict=True):
        assert packing.shape_params(ranks, sizes) <= budget
        assert error**2 == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize("namespace", ["numpy", "torch"])
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_the_network_has_the_error_it_claims(namespace: str, dtype: str) -> None:
    if namespace == "torch":
        pytest.importorskip("torch")
    s = tnet.tucker((6, 7, 8), (3, 3, 3))
    net = tnet.random_network(s, rng=np.random.default_rng(0), dtype=dtype)
    noise = tnet.random_network(tnet.tensor_train((6, 7, 8), 6), rng=np.random.default_rng(1))
    x = np.asarray(tnet.contract(net)) + 0.05 * np.asarray(tnet.contract(noise))
    from contraction.arrays import to

    found = search(
        to(x, namespace=namespace), method=CoreShape(max_params=80), rng=np.random.default_rng(0)
    )
    dense = np.asarray(found.network.to(namespace="numpy").to_dense())
    assert found.best.num_params <= 80
    assert np.linalg.norm(x - dense) / np.linalg.norm(x) == pytest.approx(found.best.error, 1e-6)
    hosvd_errors = [float(e.label.split()[-1]) for e in found.trace]
    assert all(e.error <= h * 1.001 for e, h in zip(found.trace, hosvd_errors, strict=True))


def test_exchange_beyond_the_grid_comes_near_the_exact_choice(monkeypatch) -> None:
    rng = np.random.default_rng(0)
    decay = np.exp(-0.7 * sum(np.ogrid[tuple(slice(5) for _ in range(6))]))
    x = rng.standard_normal((5,) * 6) * decay
    found = hosvd.orthogonal_core(x, packing.rank_caps(x.shape, 200))
    (_, exact), *_ = core_shape_choice.select_shapes(found, x.shape, 200, 1)
    monkeypatch.setattr(core_shape_choice, "GRID", 10)
    (shape, near), *_ = core_shape_choice.select_shapes(found, x.shape, 200, 1)
    assert packing.shape_params(shape, x.shape) <= 200
    assert exact <= near <= 1.02 * exact


def test_kinetic_beats_the_published_objective() -> None:
    datasets = pytest.importorskip("tensorly.datasets")
    x = np.asarray(datasets.load_kinetic().tensor)
    for budget, most in ((1000, 0.001361), (2000, 0.001125), (5000, 0.000960)):
        found = search(x, method=CoreShape(max_params=budget), rng=np.random.default_rng(0))
        assert found.best.num_params <= budget
        assert found.best.error**2 <= most


def test_options_are_checked() -> None:
    with pytest.raises(InputError):
        CoreShape(max_params=0)
    with pytest.raises(InputError, match="at least 14"):
        packing.rank_caps((4, 4, 5), 13)
