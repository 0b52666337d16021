"""Orders and limits of the steppers: matrices, Tucker tensors and trees, one code.

Examples after Ceruti and Lubich (BIT 62, 2022, 23) and Kusch (arXiv:2403.02834); transverse Ising
quenches. An order shows only above the model error of the capped ranks.
"""

import itertools
import math

import numpy as np
import pytest
import scipy.linalg

import references
import tnet
from contraction.truncation import Truncation
from integrators import (
    AugmentedBUG,
    FixedBUG,
    Growth,
    Lanczos,
    MidpointBUG,
    Nonlinear,
    ParallelBUG,
    ParallelBUG2,
    RungeKutta4,
)
from integrators.binding import bind, dtype_for
from integrators.cutting import cut
from integrators.models import heisenberg, ising, long_range_ising
from integrators.seeding import seeded
from integrators.tree_state import TreeState

ALL = [AugmentedBUG, FixedBUG, ParallelBUG, MidpointBUG, ParallelBUG2]
SECOND = [MidpointBUG, ParallelBUG2]


def run(stepper, generator, net, steps, *, end=1.0, tol=0.0, pad=0):
    """The state at `end`, truncated after every step to the stepper's cap and `tol * h`."""
    h = end / steps
    net = net.to(dtype=dtype_for(generator, net.dtype))
    state = TreeState.from_network(net)
    field = bind(generator, state.frame, state.cores[0])
    if pad:
        state = seeded(state, field, pad)
    rule = Truncation(tol=tol * h, max_rank=stepper.truncation.max_rank)
    for k in range(steps):
        state = cut(stepper.step(field, k * h, h, state).state, rule).state
    return state


def dense(state, modes):
    return np.asarray(tnet.contract(state.to_network(), list(modes)))


def slopes(errors):
    errors = np.asarray(errors)
    return np.log2(errors[:-1] / errors[1:])


def skew(rng, n):
    W = rng.normal(size=(n, n))
    W = W - W.T
    return W / np.linalg.norm(W)


# A(t) = exp(t W1) exp(t) D exp(t W2), D = diag(2^-j)

N = 100


@pytest.fixture(scope="module")
def rotating():
    rng = np.random.default_rng(0)
    W1, W2 = skew(rng, N), skew(rng, N)
    D = np.diag(2.0 ** -np.arange(1, N + 1))

    def solution(t):
        return scipy.linalg.expm(t * W1) @ (math.exp(t) * D) @ scipy.linalg.expm(t * W2)

    tree = tnet.balanced_tree({"a": N, "b": N})
    generator = tnet.operator(tree, [(1.0, {"a": W1}), (1.0, {}), (1.0, {"b": W2.T})])
    return W1, W2, solution, generator


def matrix_errors(rotating, method, rank, counts, **options):
    _, _, solution, generator = rotating
    net = tnet.decompose(solution(0.0), tnet.balanced_tree({"a": N, "b": N}, rank))
    rule = Truncation(tol=1e-12, max_rank=rank)
    stepper = method(truncation=rule, local=RungeKutta4(), **options)
    exact = solution(1.0)
    found = [dense(run(stepper, generator, net, n), "ab") for n in counts]
    return [float(np.linalg.norm(x - exact)) for x in found]


def test_matrix_orders(rotating):
    counts = (2, 4, 8, 16)
    best = float(np.linalg.norm(np.linalg.svd(rotating[2](1.0), compute_uv=False)[16:]))
    errors = {m: matrix_errors(rotating, m, 16, counts) for m in ALL}
    assert min(slopes(errors[FixedBUG])) >= 0.95
    assert np.mean(slopes(errors[ParallelBUG])) >= 0.8
    for method in (AugmentedBUG, *SECOND):
        assert errors[method][2] <= 2 * best  # the best error of this rank, with eight steps
        assert slopes(errors[method])[0] >= 1.8


def test_small_singular_values_do_no_harm(rotating):
    """Rank 32 takes in singular values of 1e-10; no error is larger than at rank 16."""
    for method in ALL:
        small, large = (matrix_errors(rotating, method, r, (2, 8)) for r in (16, 32))
        assert all(b <= 1.05 * a for a, b in zip(small, large, strict=True))
    four = matrix_errors(rotating, ParallelBUG2, 32, (4, 8), growth=Growth.FOUR)
    assert 1.8 <= slopes(four)[0] <= 4.5


def test_matrices_are_trees_of_two_leaves(rotating):
    """One step of the fixed method is the published one, written out with matrices."""
    W1, W2, solution, generator = rotating
    rank, h = 8, 0.25
    U, s, Vh = np.linalg.svd(solution(0.0))
    U, S, V = U[:, :rank], np.diag(s[:rank]), Vh[:rank].T

    def field(X):
        return W1 @ X + X + X @ W2

    def fourth(f, y):
        a = f(y)
        b = f(y + h / 2 * a)
        c = f(y + h / 2 * b)
        return y + h / 6 * (a + 2 * b + 2 * c + f(y + h * c))

    K = fourth(lambda K: field(K @ V.T) @ V, U @ S)
    L = fourth(lambda L: field(U @ L.T).T @ U, V @ S.T)
    U1, V1 = np.linalg.qr(K)[0], np.linalg.qr(L)[0]
    start = (U1.T @ U) @ S @ (V.T @ V1)
    S1 = fourth(lambda S: U1.T @ field(U1 @ S @ V1.T) @ V1, start)
    net = tnet.decompose(U @ S @ V.T, tnet.balanced_tree({"a": N, "b": N}, rank))
    stepper = FixedBUG(truncation=Truncation(max_rank=rank), local=RungeKutta4())
    state = TreeState.from_network(net)
    after = stepper.step(bind(generator, state.frame, state.cores[0]), 0.0, h, state).state
    np.testing.assert_allclose(dense(after, "ab"), U1 @ S1 @ V1.T, atol=1e-10)


# Tucker: d = 3, n = 30, superdiagonal core 4^-i, bases that rotate


def test_tucker_orders():
    rng = np.random.default_rng(0)
    n, terms, rank = 30, 12, 8
    bases = [np.linalg.qr(rng.normal(size=(n, terms)))[0] for _ in range(3)]
    turns = [skew(rng, n) for _ in range(3)]
    weights = 4.0 ** -np.arange(terms)

    def solution(t):
        moved = [scipy.linalg.expm(t * W) @ U for W, U in zip(turns, bases, strict=True)]
        return math.exp(t) * np.einsum("r,ar,br,cr->abc", weights, *moved)

    modes = dict.fromkeys("abc", n)
    tree = tnet.tucker(modes, rank)
    generator = tnet.operator(
        tree, [(1.0, {}), *((1.0, {m: W}) for m, W in zip(modes, turns, strict=True))]
    )
    net = tnet.decompose(solution(0.0), tree)
    exact = solution(1.0)
    rule = Truncation(tol=1e-12, max_rank=rank)
    errors = {
        m: [
            np.linalg.norm(
                dense(run(m(truncation=rule, local=RungeKutta4()), generator, net, k), modes)
                - exact
            )
            for k in (4, 8, 16, 32)
        ]
        for m in ALL
    }
    best = np.linalg.norm(np.asarray(tnet.contract(tnet.decompose(exact, tree))) - exact)
    assert min(slopes(errors[FixedBUG])) >= 0.85
    assert np.mean(slopes(errors[ParallelBUG])) >= 0.7
    for method in (AugmentedBUG, *SECOND):
        assert errors[method][1] <= 2 * best + 1e-9


def test_given_increments_are_exact():
    """Steps of a path of the tree's ranks, given as differences, are met to rounding."""
    rng = np.random.default_rng(1)
    tree = tnet.balanced_tree(dict.fromkeys("abcdef", 12), 3)
    points = [tnet.random_network(tree, rng=rng)]
    for _ in range(3):
        arrays = {node: x + 0.1 * rng.normal(size=x.shape) for node, x in points[-1].arrays.items()}
        points.append(tnet.Network(tree, arrays))
    for method in (FixedBUG, AugmentedBUG):
        stepper = method(truncation=Truncation(max_rank=3), local=RungeKutta4())
        state = TreeState.from_network(points[0])
        for before, after in itertools.pairwise(points):
            rate = after - before
            field = bind(Nonlinear(lambda t, y, r=rate: r), state.frame, state.cores[0])
            state = cut(stepper.step(field, 0.0, 1.0, state).state, Truncation(max_rank=3)).state
            assert tnet.relative_error(state.to_network(), after) < 1e-7


# Schroedinger on a grid: X' = i (D X + X D - V X V), kinetic energy and a coupled potential


def test_discrete_schroedinger():
    n, end = 100, 0.5
    D = (np.eye(n, k=1) + np.eye(n, k=-1) - 2 * np.eye(n)) / -2
    x = 2 * np.pi * np.arange(-n // 2, n // 2) / n
    V = np.diag(1 - np.cos(x))
    tree = tnet.balanced_tree({"a": n, "b": n}, 10)
    generator = -1j * tnet.operator(
        tree, [(1.0, {"a": D}), (1.0, {"b": D}), (1.0, {"a": V, "b": V})]
    )
    rng = np.random.default_rng(0)
    U, W = (np.linalg.qr(rng.normal(size=(n, 10)))[0] for _ in range(2))
    start = U @ np.diag(10.0 ** -np.arange(10)) @ W.T
    H = np.kron(D, np.eye(n)) + np.kron(np.eye(n), D) + np.kron(V, V)
    exact = references.quench(references.sp.csr_matrix(H), start.ravel(), [end])[0]
    net = tnet.decompose(start.astype(complex), tree)
    rule = Truncation(tol=1e-8, max_rank=24)
    norm = np.linalg.norm(start)
    for method in SECOND:
        stepper = method(truncation=rule, local=Lanczos(tol=1e-11))
        ends = [run(stepper, generator, net, k, end=end, tol=1e-8) for k in (5, 10)]
        errors = [np.linalg.norm(dense(s, "ab").ravel() - exact) for s in ends]
        assert min(slopes(errors)) >= 1.7, errors
    stepper = AugmentedBUG(truncation=rule, local=Lanczos(tol=1e-11))
    after = run(stepper, generator, net, 10, end=end, tol=1e-8)
    assert abs(after.norm - norm) < 1e-6


# Spins


def spin_errors(method, model, cap, counts, *, pad=4, tree=tnet.balanced_tree, **options):
    structure = tree(model.sites, 1)
    generator = -1j * tnet.operator(structure, model)
    start = np.zeros(tuple(model.sites.values()), complex)
    start[(0,) * len(model.sites)] = 1.0
    net = tnet.decompose(start, structure)
    matrix = references.dense_sum(model.sites, model)
    exact = references.quench(matrix, start.ravel(), [1.0])[0]
    rule = Truncation(tol=1e-6, max_rank=cap)
    stepper = method(truncation=rule, local=Lanczos(tol=1e-11), **options)
    ends = [run(stepper, generator, net, k, tol=1e-6, pad=pad) for k in counts]
    errors = [np.linalg.norm(dense(s, model.sites).ravel() - exact) for s in ends]
    return errors, ends


def test_second_order_on_a_tree_of_spins():
    """Cap 12 of 16: the model error is far below h^2."""
    errors, ends = spin_errors(ParallelBUG2, ising(8), 12, (10, 20, 40))
    assert all(1.8 <= s <= 3.2 for s in slopes(errors)), errors
    assert errors[-1] < 2e-4
    assert abs(ends[-1].norm - 1) < 1e-5


def test_augmented_keeps_norm_and_energy():
    errors, ends = spin_errors(AugmentedBUG, ising(8), 12, (10, 40))
    assert errors[0] < 3e-3
    assert errors[1] < 3e-4
    assert all(abs(s.norm - 1) < 1e-10 for s in ends)


def test_midpoint_keeps_the_norm():
    errors, ends = spin_errors(MidpointBUG, ising(8), 12, (10, 40))
    assert errors[0] < 3e-3
    assert errors[1] < 3e-4
    assert all(abs(s.norm - 1) < 1e-10 for s in ends)


@pytest.mark.parametrize("tree", [tnet.balanced_tree, tnet.tensor_train])
def test_parallel_is_first_order_above_the_model_error(tree):
    """Cap 5 of 8; the model error is 1.2e-3, the law shows above three times that."""
    errors, _ = spin_errors(ParallelBUG, ising(6), 5, (20, 40, 80), tree=tree)
    shown = [e for e in errors if e > 3.6e-3]
    assert len(shown) >= 2
    assert np.mean(slopes(shown)) >= 0.6 if tree is tnet.balanced_tree else shown[-1] < 8e-3


def test_long_range_second_order():
    errors, _ = spin_errors(ParallelBUG2, long_range_ising(8), 8, (10, 20))
    assert 2.0 <= slopes(errors)[0] <= 3.2
    assert errors[0] < 5e-3


def test_padding_decides_what_a_product_start_can_do():
    """Without padding a product start is a fixed point of the quench; with seeds it moves."""
    still, _ = spin_errors(ParallelBUG, ising(6), 8, (20,), pad=0)
    moved, _ = spin_errors(ParallelBUG, ising(6), 8, (20,), pad=4)
    assert still[0] > 0.5
    assert moved[0] < 1e-2


def test_tolerance_must_shrink_with_the_step():
    """A tolerance per step, not per time, makes the error grow as steps get shorter."""
    model = long_range_ising(6)
    structure = tnet.balanced_tree(model.sites, 1)
    generator = -1j * tnet.operator(structure, model)
    start = np.zeros((2,) * 6, complex)
    start[(0,) * 6] = 1.0
    net = tnet.decompose(start, structure)
    exact = references.quench(references.dense_sum(model.sites, model), start.ravel(), [1.0])[0]

    def error(steps, tol):
        stepper = AugmentedBUG(truncation=Truncation(tol=1e-4), local=Lanczos(tol=1e-11))
        end = run(stepper, generator, net, steps, tol=tol, pad=4)
        return np.linalg.norm(dense(end, model.sites).ravel() - exact)

    fixed = [error(n, 1e-4 * n) for n in (20, 160)]
    scaled = [error(n, 1e-4) for n in (20, 160)]
    assert fixed[1] > 3 * fixed[0]
    assert scaled[1] < 2 * scaled[0]
    assert scaled[1] < fixed[1] / 20


def test_imaginary_time_needs_no_backward_step():
    model = heisenberg(8)
    structure = tnet.balanced_tree(model.sites, 1)
    hamiltonian = tnet.operator(structure, model)
    start = np.zeros((2,) * 8)
    start[(0, 1) * 4] = 1.0
    state = TreeState.from_network(tnet.decompose(start, structure))
    field = bind(-1.0 * hamiltonian, state.frame, state.cores[0])
    state = seeded(state, field, 16)  # fewer leave out sectors of total spin
    stepper = AugmentedBUG(truncation=Truncation(tol=1e-8, max_rank=16))
    for k in range(120):
        state = cut(stepper.step(field, 0.1 * k, 0.1, state).state, stepper.truncation).state
        state = state.with_cores({0: state.cores[0] / state.norm})
    psi = dense(state, model.sites).ravel()
    energy = psi @ (references.dense_sum(model.sites, model) @ psi)
    assert energy == pytest.approx(references.heisenberg_energy(8), abs=1e-4)
