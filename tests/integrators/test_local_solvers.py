"""Local solvers against the exponential of the whole matrix, and their orders."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import scipy.linalg as sl
from hypothesis import given, settings
from hypothesis import strategies as st

from contraction.errors import ConvergenceError, InputError, NonFiniteError
from integrators.local_problem import LocalProblem
from integrators.local_solvers import (
    AdaptiveRungeKutta,
    DenseExponential,
    ImplicitMidpoint,
    Lanczos,
    RungeKutta4,
    default_solver,
)


def problem_of(matrix: Any, factor: complex, hermitian: bool) -> LocalProblem:
    def apply(z: Any) -> Any:
        return (matrix @ z.reshape(-1)).reshape(z.shape)

    return LocalProblem(apply, factor, hermitian)


def hermitian_matrix(n: int, seed: int, size: float = 1.0) -> Any:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, n)) + 1j * rng.normal(size=(n, n))
    x = x + x.conj().T
    return size * x / np.linalg.norm(x, 2)


def start_of(n: int, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(2, n // 2)) + 1j * rng.normal(size=(2, n // 2))) / math.sqrt(n)


@given(st.integers(1, 20), st.integers(0, 99), st.sampled_from([0.01, 1.0, 30.0]))
@settings(max_examples=40, deadline=None)
def test_krylov_is_the_exponential(half: int, seed: int, size: float) -> None:
    n = 2 * half
    matrix, z = hermitian_matrix(n, seed, size), start_of(n, seed)
    for factor, hermitian, A in (
        (-1j, True, matrix),
        (-1j, False, matrix),
        (1.0, False, np.tril(matrix)),
    ):
        kept = z.copy()
        found = Lanczos(tol=1e-11).solve(problem_of(A, factor, hermitian), z, 0.3)
        want = sl.expm(0.3 * factor * A) @ z.reshape(-1)
        size_ = max(np.linalg.norm(want), 1.0)
        assert np.linalg.norm(found.core.reshape(-1) - want) < 1e-8 * size_
        assert np.array_equal(z, kept)


def test_krylov_halves_steps_that_need_too_large_a_space() -> None:
    matrix, z = hermitian_matrix(80, 0, 200.0), start_of(80, 0)
    found = Lanczos(tol=1e-9, max_size=12).solve(problem_of(matrix, -1j, True), z, 1.0)
    want = sl.expm(-1j * matrix) @ z.reshape(-1)
    assert np.linalg.norm(found.core.reshape(-1) - want) < 1e-5
    assert found.applications > 100


def test_every_space_is_used_as_far_as_it_reaches() -> None:
    """A long step: as many applications as its length asks for, none thrown away."""
    z = start_of(80, 0)
    for hermitian, size in ((True, 200.0), (False, 200.0)):
        matrix = hermitian_matrix(80, 0, size)
        found = Lanczos(tol=1e-9).solve(problem_of(matrix, -1j, hermitian), z, 1.0)
        want = sl.expm(-1j * matrix) @ z.reshape(-1)
        assert np.linalg.norm(found.core.reshape(-1) - want) < 1e-7
        assert found.applications < 4 * size
    decay = problem_of(hermitian_matrix(80, 1, 300.0) - 300.0 * np.eye(80), 1.0, False)
    want = sl.expm(hermitian_matrix(80, 1, 300.0) - 300.0 * np.eye(80)) @ z.reshape(-1)
    found = Lanczos(tol=1e-8).solve(decay, z, 1.0)
    assert np.linalg.norm(found.core.reshape(-1) - want) < 1e-8


def test_a_known_first_application_is_not_made_again() -> None:
    calls = 0
    matrix = hermitian_matrix(8, 3)

    def apply(z: Any) -> Any:
        nonlocal calls
        calls += 1
        return (matrix @ z.reshape(-1)).reshape(z.shape)

    z = start_of(8, 3)
    for solver in (Lanczos(), RungeKutta4(substeps=3), AdaptiveRungeKutta()):
        for hermitian in (True, False):
            problem = LocalProblem(apply, -1j, hermitian)
            calls = 0
            want = solver.solve(problem, z, 0.5)
            before, calls = calls, 0
            known = (matrix @ z.reshape(-1)).reshape(z.shape)
            found = solver.solve(problem._replace(known=known), z, 0.5)
            assert np.allclose(found.core, want.core, atol=1e-14)
            assert calls == before - 1
            assert np.array_equal(known, (matrix @ z.reshape(-1)).reshape(z.shape))


def test_no_step_and_no_field_change_nothing() -> None:
    z = start_of(100, 0)
    problem = problem_of(hermitian_matrix(100, 0), -1j, True)
    assert np.array_equal(Lanczos().solve(problem, z, 0.0).core, z)
    for hermitian in (True, False):
        still = problem_of(np.zeros((100, 100)), -1j, hermitian)
        found = Lanczos().solve(still, z, 0.3)
        assert np.allclose(found.core, z)
        assert found.applications == 1


def test_a_device_is_read_once_per_application() -> None:
    torch = pytest.importorskip("torch")
    from host_reads import ExplicitReads

    matrix = torch.asarray(hermitian_matrix(40, 0))
    z = torch.asarray(start_of(40, 0))

    def apply(x: Any) -> Any:
        return (matrix @ x.reshape(-1)).reshape(x.shape)

    for hermitian in (True, False):
        with ExplicitReads() as reads:
            found = Lanczos(tol=1e-9).solve(LocalProblem(apply, -1j, hermitian), z, 1.0)
        assert found.applications >= 8
        assert len(reads.found) <= found.applications + 2, reads.found


def test_krylov_stops_in_invariant_spaces_and_at_zero() -> None:
    problem = problem_of(np.diag([1.0, 2.0, 3.0, 4.0]), -1j, True)
    z = np.array([[1.0, 0.0], [0.0, 1.0]], complex)
    found = Lanczos(tol=1e-14).solve(problem, z, 5.0)
    assert found.applications == 2
    assert np.allclose(np.diag(found.core), np.exp([-5j, -20j]))
    nothing = Lanczos().solve(problem, np.zeros((2, 2), complex), 1.0)
    assert not nothing.core.any()


def test_the_default_depends_on_linearity() -> None:
    assert default_solver(LocalProblem(lambda z: z)) == Lanczos()
    assert default_solver(LocalProblem(lambda z: z, linear=False)) == AdaptiveRungeKutta()
    for solver in (Lanczos(), ImplicitMidpoint()):
        with pytest.raises(InputError, match="linear"):
            solver.solve(LocalProblem(lambda z: z, linear=False), np.ones(2), 1.0)


def test_runge_kutta_has_order_four_and_implicit_midpoint_two() -> None:
    matrix, z = hermitian_matrix(8, 1), start_of(8, 1)
    problem = problem_of(matrix, -1j, True)
    want = sl.expm(-2j * matrix) @ z.reshape(-1)
    for make, order in (
        (lambda n: RungeKutta4(substeps=n), 4),
        (lambda n: ImplicitMidpoint(substeps=n), 2),
    ):
        errors = [
            np.linalg.norm(make(n).solve(problem, z, 2.0).core.reshape(-1) - want)
            for n in (4, 8, 16)
        ]
        assert all(abs(math.log2(a / b) - order) < 0.3 for a, b in itertools.pairwise(errors))


def test_adaptive_runge_kutta_keeps_its_tolerance() -> None:
    problem = LocalProblem(lambda z: z * z, linear=False)
    z = AdaptiveRungeKutta(rtol=1e-9).solve(problem, np.array([0.5, -1.0]), 1.5).core
    assert np.allclose(z, [2.0, -0.4], rtol=1e-7)
    with pytest.raises(ConvergenceError, match="substeps"):
        AdaptiveRungeKutta(max_substeps=50).solve(problem, np.array([1.0]), 2.0)


def test_implicit_midpoint_is_stable_where_explicit_methods_are_not() -> None:
    laplace = np.diag([-2.0] * 40) + np.diag([1.0] * 39, 1) + np.diag([1.0] * 39, -1)
    problem = problem_of(1e5 * laplace, 1.0, False)
    z = np.random.default_rng(0).normal(size=(2, 20))
    end = ImplicitMidpoint(substeps=20).solve(problem, z, 0.01).core
    assert np.linalg.norm(end) <= np.linalg.norm(z) * (1 + 1e-8)


def test_dense_exponential_agrees_and_hands_large_cores_on() -> None:
    matrix, z = np.tril(hermitian_matrix(12, 2)), start_of(12, 2)
    problem = problem_of(matrix, 0.7, False)
    want = sl.expm(0.7 * matrix) @ z.reshape(-1)
    for solver in (DenseExponential(), DenseExponential(max_size=4)):
        assert np.allclose(solver.solve(problem, z, 1.0).core.reshape(-1), want, atol=1e-9)


def test_what_is_not_finite_is_said_at_once() -> None:
    for hermitian in (True, False):
        problem = problem_of(np.full((4, 4), np.nan), -1j, hermitian)
        with pytest.raises(NonFiniteError, match="operator"):
            Lanczos().solve(problem, np.ones((2, 2), complex), 1.0)
