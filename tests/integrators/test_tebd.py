"""TEBD on chains, trees and stars: orders, exactness and refusals."""

import math

import numpy as np
import pytest

import references
import tnet
from contraction import Truncation
from contraction.errors import DTypeError, InputError
from integrators import TEBD, evolve, models
from integrators.binding import Driven, bind
from integrators.frame import frame_of
from integrators.tree_state import TreeState

SITES = {f"s{i}": 2 for i in range(6)}


def near():
    pairs = [(-1.0, {f"s{i}": "x", f"s{i + 1}": "x"}) for i in range(5)]
    return [*pairs, *((-0.7, {s: "z"}) for s in SITES), (0.25, {"s1": "y", "s2": "z"})]


def far():
    return [*near(), (0.4, {"s0": "y", "s4": "x"}), (0.3, {}), (0.2, {"s5": "x"})]


def start(tree, seed=0):
    net = tnet.random_network(tree, rng=np.random.default_rng(seed), dtype="complex128")
    return net * (1.0 / tnet.norm(net))


def run(stepper, net, generator, time, steps, root=None):
    state = TreeState.from_network(net, frame_of(net.structure, root))
    field = bind(generator, state.frame, state.cores[0])
    for k in range(steps):
        state = stepper.step(field, k * time / steps, time / steps, state).state
    return state


def vector(state):
    return state.to_network().to_dense().reshape(-1)


@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize(
    ("make", "root"),
    [(tnet.tensor_train, None), (tnet.tensor_train, "g0"), (tnet.balanced_tree, None)],
)
def test_the_order_shows_with_terms_of_any_distance(make, root, order):
    net = start(make(SITES, 2))
    generator = -1j * tnet.operator(net.structure, far())
    H = references.dense_sum(SITES, far())
    want = references.quench(H, net.to_dense().reshape(-1), [0.4])[0]
    stepper = TEBD(order=order, truncation=Truncation(tol=1e-13))
    errors = [
        np.linalg.norm(vector(run(stepper, net, generator, 0.4, n, root)) - want) for n in (3, 6)
    ]
    assert order - 0.3 < math.log2(errors[0] / errors[1]) < order + 0.3
    assert errors[1] < 8e-2


def test_modes_on_one_node_and_on_a_star():
    whole = tnet.Structure(
        {"a": ("s0", "s1", "r"), "b": ("r", "s2", "s3")},
        {**SITES, "r": 2},
        ("s0", "s1", "s2", "s3"),
    )
    sites = {f"s{i}": 2 for i in range(4)}
    terms = [(1.0, {"s0": "x", "s1": "y"}), (0.6, {"s1": "z", "s3": "x"}), (0.2, {"s2": "z"})]
    for tree in (whole, tnet.tucker(sites, 2)):
        net = start(tree)
        H = references.dense_sum(sites, terms)
        want = references.quench(H, net.to_dense().reshape(-1), [0.1])[0]
        stepper = TEBD(order=4, truncation=Truncation(tol=1e-13))
        state = run(stepper, net, -1j * tnet.operator(tree, terms), 0.1, 2)
        assert np.linalg.norm(vector(state) - want) < 1e-7


def test_a_quench_from_a_product_state_to_free_fermions():
    model = models.ising(16)
    tree = tnet.tensor_train(model.sites)
    up = tnet.product_state(tree, {s: [1.0, 0.0] for s in model.sites})
    stepper = TEBD(order=4, truncation=Truncation(tol=1e-6, max_rank=32))
    flow = evolve(-1j * tnet.operator(tree, model), up, t1=0.5, dt=0.1, stepper=stepper)
    exact = references.ising_quench(16, [0.5])[0]
    assert np.abs(np.real(tnet.local_values(flow.state, "z")) - exact).max() < 2e-5
    assert flow.drift.norm < 1e-6


def test_the_cap_holds_and_its_error_is_told():
    net = start(tnet.balanced_tree(SITES, 2))
    state = TreeState.from_network(net)
    field = bind(-1j * tnet.operator(net.structure, far()), state.frame, state.cores[0])
    step = TEBD(truncation=Truncation(max_rank=2)).step(field, 0.0, 0.3, state)
    assert max(step.state.ranks.values()) <= 2
    assert step.estimates.error > 1e-3


def test_imaginary_time_stays_real():
    net = tnet.random_network(tnet.tensor_train(SITES, 2), rng=np.random.default_rng(0))
    plain = [t for t in near() if "y" not in t[1].values()]
    state = run(TEBD(), net, -1.0 * tnet.operator(net.structure, plain), 4.0, 80)
    x = vector(state)
    H = references.dense_sum(SITES, plain)
    assert x.dtype == np.float64
    assert (x @ (H @ x)) / (x @ x) - references.lowest(H)[0] < 2e-2


def test_coefficients_of_time():
    net = start(tnet.tensor_train(SITES, 8))
    h = tnet.operator(net.structure, [(1.0, {"s2": "x"})])
    driven = Driven([(lambda t: math.cos(t), -1j * h)])
    state = run(TEBD(truncation=Truncation(tol=1e-13)), net, driven, 0.2, 1)
    H = references.dense_sum(SITES, [(math.cos(0.1), {"s2": "x"})])
    want = references.quench(H, net.to_dense().reshape(-1), [0.2])[0]
    assert np.linalg.norm(vector(state) - want) < 1e-12


def test_what_makes_no_sense_is_refused():
    with pytest.raises(InputError, match="order"):
        TEBD(order=3)
    net = start(tnet.tensor_train(SITES, 2))
    long = [(1.0, {"s0": "x", "s1": "x", "s2": "x"})]
    with pytest.raises(InputError, match="one or two modes"):
        run(TEBD(), net, -1j * tnet.operator(net.structure, long), 0.1, 1)
    real = tnet.random_network(net.structure, rng=np.random.default_rng(0))
    with pytest.raises(DTypeError, match="complex"):
        run(TEBD(), real, tnet.operator(net.structure, [(1.0, {"s0": "y"})]), 0.1, 1)


@pytest.mark.parametrize("order", [2, 4])
def test_coefficients_of_time_to_the_order_of_the_method(order):
    net = start(tnet.tensor_train({f"s{i}": 2 for i in range(4)}, 4))
    a = [(-1.0, {f"s{i}": "x", f"s{i + 1}": "x"}) for i in range(3)]
    b = [(1.0, {"s2": "x", "s3": "y"}), (0.6, {"s1": "z"})]
    driven = Driven(
        [
            (1.0, -1j * tnet.operator(net.structure, a)),
            (lambda t: math.cos(3.0 * t), -1j * tnet.operator(net.structure, b)),
        ]
    )
    stepper = TEBD(order=order, truncation=Truncation(tol=1e-14))
    x8, x16, x64 = (vector(run(stepper, net, driven, 0.8, n)) for n in (8, 16, 40))
    ratio = np.linalg.norm(x8 - x64) / np.linalg.norm(x16 - x64)
    assert order - 0.3 < math.log2(ratio) < order + 0.3


@pytest.mark.parametrize("power", [-200, 0, 200])
def test_there_and_back_at_any_norm(power):
    net = start(tnet.balanced_tree(SITES, 3))
    state = TreeState.from_network(net)
    first = state.with_cores({0: state.cores[0] * 10.0**power})
    field = bind(-1j * tnet.operator(net.structure, far()), state.frame, state.cores[0])
    stepper = TEBD(truncation=Truncation(tol=1e-14))
    there = stepper.step(field, 0.0, 0.1, first)
    back = stepper.step(field, 0.1, -0.1, there.state).state
    assert there.estimates.error <= 1e-14 * 10.0**power
    assert np.linalg.norm(vector(back) / 10.0**power - vector(state)) < 1e-11


def test_terms_on_single_modes_alone_are_exact_and_keep_ranks():
    net = start(tnet.balanced_tree(SITES, 2))
    fields = [(0.3 + 0.1 * k, {s: "x"}) for k, s in enumerate(SITES)]
    state = run(TEBD(), net, -1j * tnet.operator(net.structure, fields), 2.0, 1)
    H = references.dense_sum(SITES, fields)
    want = references.quench(H, net.to_dense().reshape(-1), [2.0])[0]
    assert np.linalg.norm(vector(state) - want) < 1e-12
    assert max(state.ranks.values()) == 2
