"""AugmentedBUG and ParallelBUG: order, exactness, conservation, and what goes wrong easily."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.linalg as sl
import scipy.sparse as sp

import tnet
from contraction.errors import NonFiniteError
from contraction.truncation import Truncation
from hand_operators import hand_operator, sum_of
from integrators import (
    AugmentedBUG,
    Coupling,
    Driven,
    Lanczos,
    ParallelBUG,
)
from integrators.binding import bind, dtype_for
from integrators.cutting import cut
from integrators.nonlinear import Nonlinear
from integrators.seeding import seeded
from integrators.steppers.base import AbstractStepper
from integrators.tree_state import TreeState
from references import ising_quench, quench

FINE = Lanczos(tol=1e-11)
STEPPERS = {
    "augmented": AugmentedBUG(local=FINE),
    "parallel K": ParallelBUG(local=FINE),
    "parallel field": ParallelBUG(local=FINE, coupling=Coupling.FIELD),
}


def ising_terms(d: int) -> list[Any]:
    pairs = [(-1.0, {f"s{i}": "x", f"s{i + 1}": "x"}) for i in range(d - 1)]
    return pairs + [(-1.0, {f"s{i}": "z"}) for i in range(d)]


def spins(d: int) -> dict[str, int]:
    return {f"s{i}": 2 for i in range(d)}


T3NS = tnet.Structure(
    {
        "a": ("s0", "a-b", "s1"),
        "b": ("a-b", "b-c", "s2", "b-d"),
        "c": ("s3", "b-c"),
        "d": ("b-d", "s4", "s5"),
    },
    spins(6) | dict.fromkeys(("a-b", "b-c", "b-d"), 1),
)
SHAPES = {
    "binary": tnet.balanced_tree(spins(6)),
    "chain": tnet.tensor_train(spins(6)),
    "star": tnet.tucker(spins(6)),
    "t3ns": T3NS,
}


def up_state(tree: Any, like: Callable[[Any], Any] = lambda x: x) -> TreeState:
    arrays = {}
    for node, _ in tree.nodes:
        x = np.zeros(tree.node_shape(node), complex)
        x.flat[0] = 1.0
        arrays[node] = like(x)
    return TreeState.from_network(tnet.Network(tree, arrays))


def run(
    stepper: AbstractStepper,
    field: Any,
    state: TreeState,
    t1: float,
    steps: int,
    truncation: Truncation,
    t0: float = 0.0,
) -> TreeState:
    h = (t1 - t0) / steps
    scaled = dataclasses.replace(truncation, tol=truncation.tol * h)
    stepper = dataclasses.replace(stepper, truncation=truncation)
    for k in range(steps):
        state = cut(stepper.step(field, t0 + k * h, h, state).state, scaled).state
    return state


def dense(state: TreeState) -> Any:
    return np.asarray(state.to_network().to_dense()).reshape(-1)


def slopes(errors: list[float]) -> list[float]:
    return [math.log2(a / b) for a, b in itertools.pairwise(errors)]


# -- against exact solutions ---------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", STEPPERS)
def test_full_ranks_follow_the_exact_solution_through_saturation(name: str, shape: str) -> None:
    """From a product state every bond grows to its full rank; nothing is lost on the way."""
    tree = SHAPES[shape]
    op = tnet.operator(tree, ising_terms(6))
    hand = hand_operator(tree, ising_terms(6))
    matrix = sum_of(tree, hand.cores, hand.locals)
    start = up_state(tree)
    field = bind(-1j * op, start.frame, start.cores[0])
    state = seeded(start, field, 8)
    assert np.allclose(dense(state), dense(start))
    exact = quench(matrix, dense(start), [0.0, 0.6])[-1]
    open_before = state.saturated.count(False)
    errors = []
    for steps in (12, 24):
        end = run(STEPPERS[name], field, state, 0.6, steps, Truncation(tol=1e-10))
        errors.append(np.linalg.norm(dense(end) - exact))
    assert end.saturated.count(False) < open_before or open_before == 1
    assert errors[1] < {"augmented": 2e-3, "parallel K": 2e-2, "parallel field": 1e-1}[name]
    assert errors[1] < 0.6 * errors[0] or errors[1] < 1e-9


def test_magnetisation_follows_free_fermions_to_the_stated_accuracy() -> None:
    tree = tnet.balanced_tree(spins(16))
    start = up_state(tree)
    field = bind(-1j * tnet.operator(tree, ising_terms(16)), start.frame, start.cores[0])
    state = seeded(start, field, 16, rounds=1)
    for stepper, bound in ((AugmentedBUG(), 1e-4), (ParallelBUG(), 2e-3)):
        end = run(stepper, field, state, 0.5, 10, Truncation(tol=1e-6, max_rank=16))
        mean = np.mean(ising_quench(16, [0.5]))
        found = mean_of("z", end)
        assert abs(found - mean) < bound
    assert abs(end.norm - 1.0) < 1e-2  # drifts, by O(h) over a run


def mean_of(name: str, state: TreeState) -> float:
    tree = state.frame.structure
    terms = [(1.0 / len(tree.modes), {m: name}) for m in tree.modes]
    psi = dense(state)
    rho = psi.reshape([tree.size[m] for m in tree.modes])
    found = 0.0
    for c, factors in terms:
        axis = tree.modes.index(next(iter(factors)))
        z = np.array([1.0, -1.0]).reshape([-1 if k == axis else 1 for k in range(rho.ndim)])
        found += c * np.vdot(rho, z * rho).real
    return found / np.vdot(psi, psi).real


def rotated(n: int) -> tuple[Any, Any, Any]:
    """Ceruti and Lubich's matrix: e^(t W1) e^t D e^(t W2) with singular values 2^-j e^t."""
    rng = np.random.default_rng(0)
    W1, W2 = (x - x.T for x in rng.normal(size=(2, n, n)))
    W1, W2 = W1 / np.linalg.norm(W1), W2 / np.linalg.norm(W2)
    D = np.diag(2.0 ** -np.arange(1.0, n + 1))
    return W1, W2, D


def matrix_problem(n: int, rank: int) -> tuple[Any, TreeState, Any]:
    W1, W2, D = rotated(n)
    tree = tnet.Structure({"u": ("a", "r"), "v": ("r", "b")}, {"a": n, "b": n, "r": rank})
    op = tnet.operator(tree, [(1.0, {"a": W1 + np.eye(n)}), (1.0, {"b": W2.T})])
    U = np.eye(n)[:, :rank]
    net = tnet.Network(tree, {"u": U * np.diag(D)[:rank], "v": U.T.copy()})
    state = TreeState.from_network(net)
    exact = sl.expm(W1) @ D @ sl.expm(W2) * math.e
    return bind(op, state.frame, state.cores[0]), state, exact


@pytest.mark.parametrize("rank", [8, 16])
def test_rotating_matrix_has_the_known_orders(rank: int) -> None:
    field, state, exact = matrix_problem(60, rank)
    best = np.linalg.norm(np.linalg.svd(exact)[1][rank:])
    truncation = Truncation(max_rank=rank)
    errors: dict[str, list[float]] = {}
    for name, stepper in STEPPERS.items():
        ends = [run(stepper, field, state, 1.0, n, truncation) for n in (4, 8, 16)]
        errors[name] = [float(np.linalg.norm(dense(x) - exact.reshape(-1))) for x in ends]
    assert errors["augmented"][-1] < 2.0 * best
    for name in ("parallel K", "parallel field"):
        away = [e for e in errors[name] if e > 3.0 * best]
        assert not away[1:] or slopes(away)[0] > 0.7, errors
    assert errors["parallel K"][0] < errors["parallel field"][0]


def test_rotating_tucker_tensor() -> None:
    n, rank = 20, 4
    rng = np.random.default_rng(1)
    W = [x - x.T for x in rng.normal(size=(3, n, n))]
    W = [x / np.linalg.norm(x) for x in W]
    tree = tnet.tucker({"x": n, "y": n, "z": n}, rank)
    op = tnet.operator(tree, [(1.0, {m: w + np.eye(n) / 3}) for m, w in zip("xyz", W, strict=True)])
    core = np.zeros((rank,) * 3)
    core[range(rank), range(rank), range(rank)] = 4.0 ** -np.arange(rank)
    eye = np.eye(n)[:, :rank].T.copy()
    net = tnet.Network(tree, {"core": core, "u0": eye, "u1": eye, "u2": eye})
    state = TreeState.from_network(net)
    field = bind(op, state.frame, state.cores[0])
    rotations = [sl.expm(w) for w in W]
    exact = math.e * np.einsum("abc,ia,jb,kc->ijk", core, *(r[:, :rank] for r in rotations))
    errors = {}
    for name, stepper in STEPPERS.items():
        ends = [run(stepper, field, state, 1.0, k, Truncation(max_rank=rank)) for k in (4, 8, 16)]
        errors[name] = [float(np.linalg.norm(dense(x) - exact.reshape(-1))) for x in ends]
    assert errors["augmented"][-1] < 1e-3
    assert all(s > 0.8 for s in slopes(errors["parallel K"]))
    assert all(s > 0.7 for s in slopes(errors["parallel field"]))


# -- conservation --------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_augmented_keeps_norm_and_energy(shape: str) -> None:
    tree = SHAPES[shape]
    op = tnet.operator(tree, ising_terms(6))
    start = up_state(tree)
    field = bind(-1j * op, start.frame, start.cores[0])
    state = seeded(start, field, 4)
    hand = hand_operator(tree, ising_terms(6))
    matrix = sum_of(tree, hand.cores, hand.locals)
    for _ in range(4):
        after = STEPPERS["augmented"].step(field, 0.0, 0.1, state).state
        psi, phi = dense(state), dense(after)
        assert abs(after.norm - state.norm) < 1e-12
        assert abs(np.vdot(phi, matrix @ phi) - np.vdot(psi, matrix @ psi)) < 1e-10
        state = cut(after, Truncation(max_rank=4)).state


def test_energy_falls_along_the_gradient() -> None:
    """Imaginary time: real arithmetic, and every augmented step lowers the energy."""
    tree = SHAPES["binary"]
    op = tnet.operator(tree, ising_terms(6))
    net = tnet.random_network(
        tree.resized(dict.fromkeys(tree.bonds, 2)), rng=np.random.default_rng(0)
    )
    state = TreeState.from_network(net)
    field = bind(-1.0 * op, state.frame, state.cores[0])
    hand = hand_operator(tree, ising_terms(6))
    matrix = sum_of(tree, hand.cores, hand.locals)
    energies = []
    for _ in range(12):
        state = cut(AugmentedBUG().step(field, 0.0, 0.1, state).state, Truncation(max_rank=4)).state
        psi = dense(state)
        assert psi.dtype == np.float64
        energies.append((psi @ (matrix @ psi)).real / (psi @ psi))
    assert all(b < a + 1e-6 for a, b in itertools.pairwise(energies))


# -- what goes wrong easily ----------------------------------------------------------------


def moving(tree: Any, rank: int = 2) -> tuple[Any, TreeState]:
    resized = tree.resized(dict.fromkeys(tree.bonds, rank))
    net = tnet.random_network(resized, rng=np.random.default_rng(3), dtype="complex128")
    state = TreeState.from_network(net)
    return bind(-1j * tnet.operator(tree, ising_terms(6)), state.frame, state.cores[0]), state


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", STEPPERS)
def test_old_bases_come_first_bit_by_bit(name: str, shape: str) -> None:
    field, state = moving(SHAPES[shape])
    done = STEPPERS[name].step(field, 0.0, 0.1, state)
    for node in range(1, state.frame.count):
        old, new = state.cores[node], done.state.cores[node]
        block = tuple(slice(0, n) for n in old.shape)
        assert np.array_equal(new[block], old)
        rest = new[: old.shape[0]].copy()
        rest[block] = 0.0
        assert not rest.any()
        rows = new.reshape(new.shape[0], -1)
        assert np.allclose(rows @ rows.conj().T, np.eye(len(rows)), atol=1e-12)
    assert done.widened is not None
    assert np.allclose(dense(done.widened), dense(state), atol=1e-13)


@pytest.mark.parametrize("name", ["parallel K", "parallel field"])
def test_blocks_with_two_new_slots_are_zero(name: str) -> None:
    field, state = moving(SHAPES["binary"])
    done = STEPPERS[name].step(field, 0.0, 0.1, state).state
    root, old = done.cores[0], state.cores[0].shape
    assert not root[:, old[1] :, old[2] :].any()
    assert root[:, old[1] :, : old[2]].any()


@pytest.mark.parametrize("name", STEPPERS)
def test_amplitude_and_phase_enter_once(name: str) -> None:
    field, state = moving(SHAPES["t3ns"])
    number = 3.0 * np.exp(0.7j)
    scaled = state.with_cores({0: state.cores[0] * number})
    one = dense(STEPPERS[name].step(field, 0.0, 0.1, state).state)
    other = dense(STEPPERS[name].step(field, 0.0, 0.1, scaled).state)
    assert np.allclose(other, number * one, atol=1e-9)


@pytest.mark.parametrize("name", STEPPERS)
def test_zero_padded_products_move(name: str) -> None:
    """Bases padded with arbitrary directions and a root that does not use them."""
    tree = SHAPES["binary"].resized(dict.fromkeys(SHAPES["binary"].bonds, 2))
    arrays = {}
    for node, _ in tree.nodes:
        x = np.zeros(tree.node_shape(node), complex)
        x.flat[0] = 1.0
        arrays[node] = x
    state = TreeState.from_network(tnet.Network(tree, arrays))
    field = bind(-1j * tnet.operator(tree, ising_terms(6)), state.frame, state.cores[0])
    end = run(STEPPERS[name], field, state, 0.2, 10, Truncation(tol=1e-8))
    hand = hand_operator(tree, ising_terms(6))
    exact = quench(sum_of(tree, hand.cores, hand.locals), dense(state), [0.0, 0.2])[-1]
    assert np.isfinite(end.norm)
    assert np.linalg.norm(dense(end) - exact) < 0.1


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", STEPPERS)
def test_threads_change_no_bit(name: str, shape: str) -> None:
    field, state = moving(SHAPES[shape], 3)
    one = STEPPERS[name].step(field, 0.0, 0.1, state).state
    two = dataclasses.replace(STEPPERS[name], workers=3).step(field, 0.0, 0.1, state).state
    assert all(np.array_equal(a, b) for a, b in zip(one.cores, two.cores, strict=True))
    cuts = [cut(one, Truncation(max_rank=3), workers=w).state for w in (1, 2)]
    assert all(np.array_equal(a, b) for a, b in zip(cuts[0].cores, cuts[1].cores, strict=True))


def test_corner_measures_what_is_left_out() -> None:
    field, state = moving(SHAPES["binary"])
    done = ParallelBUG(local=FINE, measure_corner=True).step(field, 0.0, 1e-3, state)
    assert done.estimates.corner is not None
    assert 0.0 < done.estimates.corner < 20.0
    # a sum of single-site terms leaves nothing out
    alone = tnet.operator(state.frame.structure, [(1.0, {f"s{i}": "x"}) for i in range(6)])
    quiet = bind(-1j * alone, state.frame, state.cores[0])
    done = ParallelBUG(local=FINE, measure_corner=True).step(quiet, 0.0, 1e-3, state)
    assert done.estimates.corner is not None
    assert done.estimates.corner < 1e-9


@pytest.mark.parametrize("name", STEPPERS)
def test_other_libraries_agree(name: str) -> None:
    torch = pytest.importorskip("torch")
    field, state = moving(SHAPES["t3ns"])
    net = state.to_network().to(namespace="torch")
    other = TreeState.from_network(net, state.frame)
    op = -1j * tnet.operator(state.frame.structure, ising_terms(6))
    there = bind(op, state.frame, other.cores[0])
    found = cut(STEPPERS[name].step(there, 0.0, 0.1, other).state, Truncation(max_rank=3)).state
    want = cut(STEPPERS[name].step(field, 0.0, 0.1, state).state, Truncation(max_rank=3)).state
    assert isinstance(found.cores[0], torch.Tensor)
    assert np.allclose(dense(found), dense(want), atol=1e-9)


def test_sparse_local_matrices_stay_sparse() -> None:
    n = 300
    laplace = sp.diags([1.0, -2.0, 1.0], [-1, 0, 1], shape=(n, n), format="csr")
    tree = tnet.Structure({"u": ("x", "r"), "v": ("r", "y")}, {"x": n, "y": 4, "r": 2})
    op = tnet.operator(tree, [(1.0, {"x": laplace}), (0.3, {"x": laplace, "y": "sx"})])
    state = TreeState.from_network(tnet.random_network(tree, rng=np.random.default_rng(0)))
    field = bind(op, state.frame, state.cores[0])
    held = [m for row in field.cores.matrices for slot in row for m in slot]
    assert any(sp.issparse(m) for m in held)
    after = AugmentedBUG(local=FINE).step(field, 0.0, 0.05, state).state
    X = state.to_network().to_dense()
    s = 1.5
    m = np.arange(s, -s - 1, -1)
    up = np.diag(np.sqrt(s * (s + 1) - m[1:] * (m[1:] + 1)), 1)
    w, V = np.linalg.eigh((up + up.T) / 2)
    Y = X @ V
    exact = (
        np.stack(
            [sp.linalg.expm_multiply(0.05 * (1 + 0.3 * w[k]) * laplace, Y[:, k]) for k in range(4)],
            1,
        )
        @ V.T
    )
    assert np.linalg.norm(after.to_network().to_dense() - exact) < 1e-4 * np.linalg.norm(exact)


# -- other fields --------------------------------------------------------------------------


def test_coefficients_of_time_are_taken_in_the_middle() -> None:
    tree = SHAPES["t3ns"].resized(dict.fromkeys(SHAPES["t3ns"].bonds, 8))
    still = tnet.operator(tree, ising_terms(6)[:5])
    moved = tnet.operator(tree, ising_terms(6)[5:])
    net = tnet.random_network(tree, rng=np.random.default_rng(0), dtype="complex128")
    state = TreeState.from_network(net)
    state = state.with_cores({0: state.cores[0] / state.norm})
    driven = Driven([(1.0, -1j * still), (lambda t: math.cos(3 * t), -1j * moved)])
    assert dtype_for(driven, "float64") == "complex128"
    field = bind(driven, state.frame, state.cores[0])
    assert field.at(0.3).hermitian
    hands = [hand_operator(tree, terms) for terms in (ising_terms(6)[:5], ising_terms(6)[5:])]
    A, B = (sum_of(tree, x.cores, x.locals) for x in hands)
    psi, steps = dense(state), 8
    h = 1.0 / steps
    for k in range(steps):
        middle = A + math.cos(3 * (k + 0.5) * h) * B
        psi = sp.linalg.expm_multiply(-1j * h * middle, psi)
    end = run(STEPPERS["augmented"], field, state, 1.0, steps, Truncation(tol=1e-12))
    assert np.linalg.norm(dense(end) - psi) < 1e-7


@pytest.mark.parametrize("shape", SHAPES)
def test_a_function_of_networks_moves_as_the_operator_it_is(shape: str) -> None:
    field, state = moving(SHAPES[shape])
    op = (-1j * tnet.operator(state.frame.structure, ising_terms(6))).to_network()
    bound = bind(Nonlinear(lambda t, y: tnet.apply(op, y)), state.frame, state.cores[0])
    for stepper in (AugmentedBUG(), ParallelBUG()):
        want = stepper.step(field, 0.0, 0.02, state).state
        found = stepper.step(bound, 0.0, 0.02, state).state
        assert np.allclose(dense(found), dense(want), atol=1e-7)


def test_steps_that_leave_the_floats_are_refused() -> None:
    field, state = moving(SHAPES["binary"])
    wild = state.with_cores({0: state.cores[0] * np.inf})
    with np.errstate(invalid="ignore"), pytest.raises(NonFiniteError):
        AugmentedBUG().step(field, 0.0, 0.1, wild)
    with np.errstate(invalid="ignore"), pytest.raises(NonFiniteError, match="norm"):
        cut(wild, Truncation(max_rank=2))


def test_a_bond_that_has_just_become_saturated_is_still_cut_by_the_tolerance() -> None:
    """Rank 25 of 40 doubles past the full 40: what is small there goes again, once settled not."""
    n, rank = 40, 25
    W1, W2, D = rotated(n)
    tree = tnet.Structure({"u": ("a", "r"), "v": ("r", "b")}, {"a": n, "b": n, "r": rank})
    op = tnet.operator(tree, [(1.0, {"a": W1}), (1.0, {"b": W2.T})])
    U = np.eye(n)[:, :rank]
    net = tnet.Network(tree, {"u": U * np.diag(D)[:rank], "v": U.T.copy()})
    state = TreeState.from_network(net)
    field = bind(op, state.frame, state.cores[0])
    after = AugmentedBUG(truncation=Truncation(tol=0.0), local=FINE).step(field, 0.0, 0.1, state)
    assert after.state.ranks["r"] == n
    assert cut(after.state, Truncation(tol=1e-6)).state.ranks["r"] < rank
    full = TreeState.from_network(
        tnet.random_network(tree.resized({"r": n}), rng=np.random.default_rng(0))
    )
    still = AugmentedBUG(local=FINE).step(field, 0.0, 0.1, full).state
    assert still.settled == {1}
    assert cut(still, Truncation(tol=0.5)).state.ranks["r"] == n
    assert cut(still, Truncation(max_rank=7)).state.ranks["r"] == 7
