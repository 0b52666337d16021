"""Every BUG stepper where it hurts: odd trees, dtypes, libraries, sizes of numbers, generators."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import scipy.linalg as sl

import tnet
from contraction.arrays import eps, gpu_available
from contraction.errors import DTypeError, InputError, NonFiniteError
from contraction.truncation import Truncation
from integrators import (
    AugmentedBUG,
    Coupling,
    Driven,
    FixedBUG,
    Growth,
    Lanczos,
    MidpointBUG,
    Nonlinear,
    ParallelBUG,
    ParallelBUG2,
    Together,
    evolve,
    models,
)
from integrators.binding import bind
from integrators.control import order_of
from integrators.cutting import cut
from integrators.steppers.base import AbstractStepper
from integrators.tree_state import TreeState
from references import dense_sum

FINE: Mapping[str, Any] = {"local": Lanczos(tol=1e-12), "truncation": Truncation()}
STEPPERS: dict[str, AbstractStepper] = {
    "augmented": AugmentedBUG(**FINE),
    "parallel": ParallelBUG(**FINE),
    "parallel field": ParallelBUG(coupling=Coupling.FIELD, **FINE),
    "parallel corner": ParallelBUG(measure_corner=True, **FINE),
    "second": ParallelBUG2(**FINE),
    "second 4r": ParallelBUG2(growth=Growth.FOUR, **FINE),
    "midpoint": MidpointBUG(**FINE),
    "midpoint 4r": MidpointBUG(growth=Growth.FOUR, **FINE),
    "fixed": FixedBUG(**FINE),
}
H = 1e-3
# error of one step from a random state as a share of the way it goes: the parallel method with
# K coupling leaves out its corner, the fixed one all that is outside its new bases
SHARES = {"parallel": 0.8, "parallel corner": 0.8, "parallel field": 0.02, "fixed": 0.8}
MAIN = [name for name in STEPPERS if not name.endswith(("corner", "4r"))]


def tree_of(nodes: dict[str, tuple[str, ...]], **sizes: int) -> Any:
    legs = dict.fromkeys((leg for held in nodes.values() for leg in held), 2)
    return tnet.Structure(nodes, legs | sizes)


TREES = {
    "one node": tree_of({"a": ("x", "y")}, y=3),
    "one mode of size one": tree_of({"a": ("x",)}, x=1),
    "two nodes": tree_of({"a": ("x", "r"), "b": ("r", "y")}, x=3, y=4),
    "five children": tree_of(
        {"c": ("b0", "b1", "z", "b2", "b3", "b4")} | {f"l{i}": (f"b{i}", f"x{i}") for i in range(5)}
    ),
    "deep": tree_of(
        {"c": ("b0", "b1", "b2"), "d": ("b0", "b3", "b4", "b5", "b6")}
        | {f"l{i}": (f"b{i}", f"x{i}", f"y{i}") for i in range(1, 7)},
        **{f"y{i}": 1 for i in range(1, 7)},
    ),
    "modes inside": tree_of(
        {"a": ("p", "ab"), "b": ("ab", "q", "bc"), "c": ("bc", "r", "s", "cd"), "d": ("cd",)},
        q=3,
        bc=3,
        cd=1,
    ),
    "ranks too large": tree_of({"a": ("x", "r"), "b": ("r", "y")}, y=3, r=7),
    "ranks one": tree_of({"a": ("x", "r"), "b": ("r", "y", "q"), "c": ("q", "z")}, x=1, r=1, q=1),
}
SMALL = ("two nodes", "modes inside")
PLACES = [
    pytest.param("numpy", None, id="numpy"),
    pytest.param("torch", None, id="torch"),
    pytest.param("torch", "cuda:0", id="torch-cuda", marks=pytest.mark.gpu),
    pytest.param("cupy", "cuda:0", id="cupy", marks=pytest.mark.gpu),
]


def terms_of(tree: Any, seed: int = 5, *, real: bool = False, hermitian: bool = True) -> list[Any]:
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(4):
        factors = {}
        for mode in rng.permutation(tree.modes)[:2]:
            n = tree.size[str(mode)]
            x = rng.normal(size=(n, n)) + 1j * rng.normal(size=(n, n))
            x = x.real if real else x
            x = (x + x.conj().T) / 2 if hermitian else x
            x.setflags(write=False)
            factors[str(mode)] = x
        found.append((1.0, factors))
    return found


@lru_cache(maxsize=64)
def problem_of(shape: str, real: bool) -> tuple[Any, Any]:
    """A generator on a tree of `TREES` and its dense matrix."""
    tree = TREES[shape]
    terms, factor = terms_of(tree, real=real), -1.0 if real else -1j
    return factor * tnet.operator(tree, terms), factor * matrix_of(tree, terms)


def matrix_of(tree: Any, terms: Any) -> Any:
    return dense_sum({m: tree.size[m] for m in tree.modes}, terms).toarray()


def state_of(tree: Any, dtype: str = "complex128", norm: float = 1.0, **place: Any) -> TreeState:
    """A random state whose memory is read-only where the library knows that."""
    net = tnet.random_network(tree, rng=np.random.default_rng(0), dtype=dtype).to(**place)
    state = TreeState.from_network(net)
    state = state.with_cores({0: state.cores[0] * (1.0 / state.norm)})
    state = state.with_cores({0: state.cores[0] * norm})
    for core in state.cores:
        if isinstance(core, np.ndarray):
            core.setflags(write=False)
    return state


def dense(state: TreeState) -> Any:
    return np.asarray(state.to_network().to(namespace="numpy").to_dense()).reshape(-1)


def stepped(
    stepper: AbstractStepper, generator: Any, state: TreeState, h: float = H, t: float = 0.0
) -> TreeState:
    done = stepper.step(bind(generator, state.frame, state.cores[0]), t, h, state)
    end = cut(done.state, Truncation()).state
    assert type(end.cores[0]) is type(state.cores[0])
    assert end.cores[0].dtype == state.cores[0].dtype
    if done.widened is not None:
        size = state.norm or 1.0
        assert np.allclose(dense(done.widened) / size, dense(state) / size, atol=1e-5)
    return end


def assert_follows(
    name: str,
    generator: Any,
    matrix: Any,
    state: TreeState,
    h: float = H,
    t: float = 0.0,
    stepper: AbstractStepper | None = None,
) -> None:
    """One step is exp(h * matrix), to the error that the method may make."""
    end = stepped(stepper or STEPPERS[name], generator, state, h, t)
    before = dense(state)
    size = np.abs(before).max()
    want = sl.expm(h * matrix) @ (before / size)
    way = np.linalg.norm(want - before / size)
    error = np.linalg.norm(dense(end) / size - want)
    assert error < SHARES.get(name, 2e-3) * way + 20 * eps(state.cores[0]) * np.linalg.norm(want)


# -- trees, dtypes, libraries, sizes ---------------------------------------------------------


@pytest.mark.parametrize("h", [H, -H], ids=["forward", "backward"])
@pytest.mark.parametrize("shape", TREES)
@pytest.mark.parametrize("name", STEPPERS)
def test_any_tree(name: str, shape: str, h: float) -> None:
    assert_follows(name, *problem_of(shape, False), state_of(TREES[shape]), h)


@pytest.mark.parametrize(("library", "device"), PLACES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("name", MAIN)
def test_any_dtype_in_any_library(name: str, dtype: str, library: str, device: str | None) -> None:
    if library == "torch":
        pytest.importorskip("torch")
    if device is not None and not gpu_available(library):
        pytest.skip(f"{library} sees no GPU")
    real = dtype.startswith("float")
    for shape in SMALL:
        tree = TREES[shape]
        terms = terms_of(tree, real=real)
        factor = -1.0 if real else -1j
        state = state_of(tree, dtype, namespace=library, device=device)
        assert_follows(
            name, factor * tnet.operator(tree, terms), factor * matrix_of(tree, terms), state
        )


@pytest.mark.parametrize(
    ("dtype", "norm"),
    [
        ("complex128", 1e200),
        ("complex128", 1e-200),
        ("float64", 1e200),
        ("complex64", 1e30),
        ("complex64", 1e-30),
        ("float32", 1e-30),
    ],
)
@pytest.mark.parametrize("name", MAIN)
def test_any_norm(name: str, dtype: str, norm: float) -> None:
    """Norms whose squares leave the range of the floats."""
    state = state_of(TREES["modes inside"], dtype, norm)
    assert state.norm == pytest.approx(norm, rel=1e-5)
    assert_follows(name, *problem_of("modes inside", dtype.startswith("float")), state)
    capped = cut(state, Truncation(max_rank=1))
    assert 0.0 < capped.error < 1.0
    assert capped.state.norm == pytest.approx(norm * math.sqrt(1 - capped.error**2), rel=0.2)


def test_the_corner_grows_with_the_norm() -> None:
    generator, _ = problem_of("modes inside", False)
    corners = []
    for norm in (1.0, 1e200):
        state = state_of(TREES["modes inside"], norm=norm)
        field = bind(generator, state.frame, state.cores[0])
        corners.append(STEPPERS["parallel corner"].step(field, 0.0, H, state).estimates.corner)
    assert corners[1] == pytest.approx(1e200 * corners[0], rel=1e-9)


@pytest.mark.parametrize("name", STEPPERS)
def test_nothing_stays_nothing(name: str) -> None:
    for shape in ("one node", "five children"):
        state = state_of(TREES[shape], norm=0.0)
        end = stepped(STEPPERS[name], problem_of(shape, False)[0], state)
        assert not dense(end).any()
        assert end.norm == 0.0


@pytest.mark.parametrize("name", STEPPERS)
def test_states_that_need_less_than_their_ranks(name: str) -> None:
    """Cores with zero singular values: no inverse of them is ever taken."""
    tree = TREES["deep"]
    net = tnet.random_network(tree, rng=np.random.default_rng(2), dtype="complex128")
    arrays = {n: np.array(x) for n, x in net.arrays.items()}
    arrays["d"][1:] = 0.0
    arrays["l1"][:, 1:] = 0.0
    state = TreeState.from_network(tnet.Network(tree, arrays))
    assert_follows(name, *problem_of("deep", False), state)


@pytest.mark.parametrize("name", STEPPERS)
def test_threads_change_no_bit_of_a_step_or_a_cut(name: str) -> None:
    state = state_of(TREES["deep"])
    generator, _ = problem_of("deep", False)
    ends: list[list[Any]] = []
    for workers in (1, 2):
        field = bind(generator, state.frame, state.cores[0])
        stepper = dataclasses.replace(STEPPERS[name], workers=workers)
        after = stepper.step(field, 0.0, 0.1, state).state
        ends.append(
            [*after.cores, *cut(after, Truncation(max_rank=2), workers=workers).state.cores]
        )
    assert all(np.array_equal(a, b) for a, b in zip(*ends, strict=True))


# -- generators ------------------------------------------------------------------------------


def shifted(mode: str, n: int) -> list[Any]:
    """A real skew-symmetric matrix on one mode."""
    up = np.eye(n, k=1)
    return [(1.0, {mode: up - up.T})]


@lru_cache(maxsize=8)
def generators_of(shape: str) -> list[tuple[Any, Any, bool]]:
    """Generators at time 0.2 + H / 2, their matrices, and whether the state is real."""
    tree = TREES[shape]
    made = terms_of(tree, real=True)
    H0, H1 = (tnet.operator(tree, terms) for terms in (terms_of(tree), made))
    A, B = (matrix_of(tree, terms) for terms in (terms_of(tree), made))
    odd = terms_of(tree, hermitian=False)
    turn = shifted(tree.modes[0], tree.size[tree.modes[0]])
    one = matrix_of(tree, [(1.0, {})])
    c = math.cos(0.2 + H / 2)
    uneven = Driven([(1, -1j * H0), (lambda t: (0.3 - 1j) * math.cos(t), H1)])
    return [
        (0.0 * H0, 0 * A, False),
        (-1j * tnet.operator(tree, [(2.0, {})]), -2j * one, False),
        (-1.0 * tnet.operator(tree, [(2.0, {})]), -2.0 * one, True),
        (-1.0 * H1, -B, False),
        (tnet.operator(tree, odd), matrix_of(tree, odd), False),
        (tnet.operator(tree, turn), matrix_of(tree, turn), True),
        ((-1j * H0).to_network(), -1j * A, False),
        (Driven([(-1j, H0), (lambda t: -1j * math.cos(t), H1)]), -1j * (A + c * B), False),
        (uneven, -1j * A + (0.3 - 1j) * c * B, False),
        (Driven([(0.0, H0), (lambda t: 0.0, H1)]), 0 * A, False),
    ]


@pytest.mark.parametrize("shape", ["one node", *SMALL])
@pytest.mark.parametrize("name", STEPPERS)
def test_any_generator(name: str, shape: str) -> None:
    for generator, matrix, real in generators_of(shape):
        state = state_of(TREES[shape], "float64" if real else "complex128")
        assert_follows(name, generator, matrix, state, t=0.2)


@pytest.mark.parametrize("name", STEPPERS)
def test_functions_of_networks_and_sums_with_operators(name: str) -> None:
    tree = TREES["two nodes"]
    one, other = terms_of(tree), terms_of(tree, 6)
    network = (-1j * tnet.operator(tree, other)).to_network()
    function = Nonlinear(lambda t, y: tnet.apply(network, y))
    both = Together([-1j * tnet.operator(tree, one), function])
    stepper = dataclasses.replace(STEPPERS[name], local=None)
    A, B = matrix_of(tree, one), matrix_of(tree, other)
    assert_follows(name, function, -1j * B, state_of(tree), stepper=stepper)
    assert_follows(name, both, -1j * (A + B), state_of(tree), stepper=stepper)


def test_imaginary_coefficients_keep_the_recursion_of_three_terms() -> None:
    tree = TREES["two nodes"]
    H0, H1 = (tnet.operator(tree, terms_of(tree, seed)) for seed in (5, 6))
    state = state_of(tree)
    field: Any = bind(Driven([(-1j, H0), (lambda t: -2j * t, H1)]), state.frame, state.cores[0])
    frozen = field.at(0.5)
    assert (frozen.factor, frozen.hermitian) == (-1j, True)
    assert not field.at(0.5j).hermitian or field.at(0.5j).factor == 1.0


@pytest.mark.parametrize("method", [AugmentedBUG, MidpointBUG, ParallelBUG2])
def test_freezing_coefficients_in_the_middle_is_of_second_order(
    method: Callable[..., AbstractStepper],
) -> None:
    """Full ranks, so that only the freezing errs."""
    tree = tnet.balanced_tree(dict.fromkeys("abcd", 2), 4)
    terms, others = (
        [(1.0, {m: "z"}) for m in "abcd"],
        [(1.0, {"a": "x", "c": "x"}), (1.0, {"b": "x"})],
    )
    still, moved = (tnet.operator(tree, t) for t in (terms, others))
    A, B = (matrix_of(tree, t) for t in (terms, others))
    state = state_of(tree)
    driven = Driven([(-1j, still), (lambda t: -1j * math.cos(3 * t), moved)])
    want, fine = dense(state), 400
    for k in range(fine):
        want = sl.expm(-1j / fine * (A + math.cos(3 * (k + 0.5) / fine) * B)) @ want
    errors = []
    for steps in (4, 8, 16):
        end = state
        field = bind(driven, state.frame, state.cores[0])
        for k in range(steps):
            after = method(**FINE).step(field, k / steps, 1 / steps, end).state
            end = cut(after, Truncation()).state
        errors.append(float(np.linalg.norm(dense(end) - want)))
    assert all(abs(math.log2(a / b) - 2.0) < 0.3 for a, b in itertools.pairwise(errors)), errors


# -- what is refused, and what drivers are told ------------------------------------------------


def test_what_does_not_fit_is_said_before_any_work() -> None:
    tree = TREES["two nodes"]
    state = state_of(tree, "float64")
    op = tnet.operator(tree, terms_of(tree, real=True))
    field = bind(Driven([(lambda t: 1j, op)]), state.frame, state.cores[0])
    other = state_of(TREES["modes inside"], "float64")
    broken = state.with_cores({0: state.cores[0] * np.nan})
    for name in STEPPERS:
        with pytest.raises(DTypeError, match="complex128"):
            STEPPERS[name].step(field, 0.0, H, state)
        with pytest.raises(InputError, match="another frame"):
            STEPPERS[name].step(field, 0.0, H, other)
        with pytest.raises(NonFiniteError, match="norm"):
            STEPPERS[name].step(field, 0.0, H, broken)


def test_step_control_knows_the_orders() -> None:
    found = {name: order_of(stepper) for name, stepper in STEPPERS.items()}
    second = {name for name in STEPPERS if name.startswith(("second", "midpoint"))}
    assert found == {name: 2 if name in second else 1 for name in STEPPERS}


def test_a_quench_reads_as_in_the_manual() -> None:
    tree = tnet.balanced_tree({f"s{i}": 2 for i in range(8)}, rank=1)
    hamiltonian = tnet.operator(tree, models.ising(8, coupling=1.0, field=0.5))
    state = tnet.product_state(tree, {f"s{i}": [1, 0] for i in range(8)})
    flow = evolve(
        -1j * hamiltonian, state, t0=0.0, t1=0.2, dt=0.01,
        stepper=ParallelBUG(
            truncation=tnet.Truncation(tol=1e-6, max_rank=64), local=Lanczos(tol=1e-10), workers=2
        ),
        measure={"mz": tnet.local_average("z"), "entropy": tnet.entanglement("t0-t1")},
        every=10,
    )  # fmt: skip
    assert flow.times == pytest.approx([0.0, 0.1, 0.2])
    assert flow.values["mz"][0] == pytest.approx(1.0)
    assert flow.values["mz"][-1] < 0.9
    assert flow.values["entropy"][-1] > 0.0
