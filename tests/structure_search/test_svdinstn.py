"""SVDinsTN: the objective falls, small problems are solved exactly, planted networks are found."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tnet
from contraction.errors import InputError, NonFiniteError
from strategies import seeds
from structure_search import RelativeError, SVDinsTN, WeightedError, search
from structure_search.methods.diagonal_factors import (
    Factors,
    Weights,
    dropped,
    pairs,
    random_factors,
    sparse_solution,
    sweep,
)

shapes = st.lists(st.integers(1, 4), min_size=2, max_size=4).map(tuple)


def random_case(shape, seed, *, is_complex: bool = False) -> tuple[np.ndarray, Factors]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape)
    if is_complex:
        x = x + 1j * rng.standard_normal(shape)
    ranks = {p: int(rng.integers(1, 4)) for p in itertools.combinations(range(len(shape)), 2)}
    factors = random_factors(x, ranks, rng)
    some = {p: rng.uniform(0.5, 2.0, r) for p, r in ranks.items()}
    return x / np.linalg.norm(x), Factors(cores=factors.cores, diagonals=some)


def dense(factors: Factors) -> np.ndarray:
    """The definition, by one einsum."""
    count = len(factors.cores)
    letter = {p: chr(ord("A") + k) for k, p in enumerate(factors.diagonals)}
    own = [chr(ord("a") + k) for k in range(count)]
    cores = [own[k] + "".join(letter[p] for p in pairs(k, count)) for k in range(count)]
    equation = ",".join([*cores, *(letter[p] for p in factors.diagonals)]) + "->" + "".join(own)
    return np.einsum(equation, *factors.cores, *factors.diagonals.values())


def objective(x: np.ndarray, factors: Factors, weights: Weights) -> float:
    squares, absolutes = factors.penalties
    missed = np.linalg.norm(x - dense(factors)) ** 2
    return 0.5 * missed + 0.5 * weights.ridge * squares + weights.sparsity * absolutes


@given(shapes, seeds, st.booleans())
def test_the_network_is_the_definition(shape, seed, is_complex) -> None:
    _, factors = random_case(shape, seed, is_complex=is_complex)
    modes = [f"m{k}" for k in range(len(shape))]
    found = np.asarray(tnet.contract(factors.network(modes), modes))
    np.testing.assert_allclose(found, dense(factors), atol=1e-10 * (1 + np.abs(found).max()))


@given(shapes, seeds, st.booleans())
def test_a_sweep_never_raises_the_objective(shape, seed, is_complex) -> None:
    x, factors = random_case(shape, seed, is_complex=is_complex)
    weights = Weights(sparsity=1e-2, ridge=1e-3, proximal=1e-3)
    before = objective(x, factors, weights)
    for _ in range(3):
        factors = sweep(x, factors, weights)
        after = objective(x, factors, weights)
        assert after <= before * (1 + 1e-9) + 1e-12
        before = after


@given(st.integers(1, 5), seeds)
def test_the_small_problem_is_solved(count, seed) -> None:
    """The conditions of optimality hold to the accuracy of the splitting."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((count + 3, count))
    Q, b = A.T @ A, A.T @ rng.standard_normal(count + 3)
    weights = Weights(sparsity=0.3, ridge=0.0, proximal=0.1)
    old = rng.standard_normal(count)

    def value(s: np.ndarray) -> float:
        quadratic = 0.5 * s @ Q @ s - b @ s + 0.05 * (s - old) @ (s - old)
        return float(quadratic + 0.3 * np.abs(s).sum())

    found = sparse_solution(Q, b, old, weights)
    exact = np.zeros(count)
    for _ in range(3000):  # coordinate descent
        for k in range(count):
            rest = b[k] + 0.1 * old[k] - Q[k] @ exact + Q[k, k] * exact[k]
            exact[k] = np.sign(rest) * max(abs(rest) - 0.3, 0.0) / (Q[k, k] + 0.1)
    scale = abs(value(exact)) + abs(value(old)) + 1.0
    assert value(exact) - 1e-9 * scale <= value(found) <= value(exact) + 1e-2 * scale
    assert value(found) <= value(old) + 1e-12 * scale


def test_what_vanished_is_taken_out_and_the_tensor_stays() -> None:
    _, factors = random_case((3, 3, 3), 0)
    some = {p: np.ones(3) for p in factors.diagonals}
    cores = tuple(np.random.default_rng(1).standard_normal((3, 3, 3)) for _ in range(3))
    some[0, 1] = np.array([1.0, 0.0, 2.0])
    some[1, 2] = np.zeros(3)
    factors = Factors(cores=cores, diagonals=some)
    smaller = dropped(factors)
    assert smaller.ranks == {(0, 1): 2, (0, 2): 3, (1, 2): 1}
    np.testing.assert_allclose(dense(smaller), dense(factors), atol=1e-12)


def test_the_path_leads_to_ever_smaller_structures() -> None:
    truth = tnet.tensor_train((5, 5, 5, 5), (2, 3, 2))
    x = np.asarray(tnet.contract(tnet.random_network(truth, rng=np.random.default_rng(0))))
    method = SVDinsTN(max_rank=3, sparsity=(1e-3, 0.3), path_sweeps=10)
    found = search(x, method=method, objective=WeightedError(), rng=np.random.default_rng(0))
    sizes = [e.num_params for e in found.trace]  # the smallest first
    assert len(sizes) >= 3
    assert sizes == sorted(sizes)
    larger = [e.structure.ranks for e in found.trace]
    for small, large in itertools.pairwise(larger):
        assert all(rank <= large.get(bond, 1) for bond, rank in small.items() if rank > 1)


@pytest.mark.parametrize(
    "bonds", [{"01": 3, "12": 2, "23": 3}, {"01": 2, "12": 2, "02": 2, "23": 3}]
)
@pytest.mark.parametrize("seed", range(3))
def test_small_planted_networks_are_found(bonds, seed) -> None:
    nodes = {k: [f"x{k}", *(f"b{e}" for e in bonds if k in e)] for k in "0123"}
    sizes = dict.fromkeys([f"x{k}" for k in "0123"], 5) | {f"b{e}": r for e, r in bonds.items()}
    truth = tnet.Structure(nodes, sizes, [f"x{k}" for k in "0123"])
    x = np.asarray(tnet.contract(tnet.random_network(truth, rng=np.random.default_rng(seed))))
    found = search(
        x,
        method=SVDinsTN(max_rank=4),
        objective=RelativeError(tol=1e-4),
        rng=np.random.default_rng(seed),
    )
    assert found.best.error <= 1e-4
    assert found.best.num_params <= 2 * truth.num_params
    assert math.isclose(
        found.best.error, float(tnet.relative_error(found.network, x)), abs_tol=1e-7
    )


def test_what_it_cannot_do_is_said() -> None:
    goal, rng = RelativeError(tol=0.1), np.random.default_rng(0)
    with pytest.raises(InputError, match="max_rank=2"):
        search(np.ones((2,) * 12), method=SVDinsTN(), objective=goal, rng=rng)
    x = np.ones((3, 3))
    x[0, 0] = np.nan
    with pytest.raises(NonFiniteError):
        search(x, method=SVDinsTN(), objective=goal, rng=rng)
    with pytest.raises(InputError, match="start"):
        search(
            np.ones((3, 3)),
            method=SVDinsTN(),
            objective=goal,
            rng=rng,
            start=tnet.tensor_train((3, 3), 1),
        )
    for bad in ({"sparsity": (0.1, 0.01)}, {"ridge": 0.0}, {"proximal": -1.0}):
        with pytest.raises(InputError):
            SVDinsTN(**bad)
