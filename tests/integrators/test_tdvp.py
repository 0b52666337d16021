"""TDVP on chains, binary trees and stars against dense exponentials."""

import math

import numpy as np
import pytest

import references
import tnet
from contraction import Truncation
from contraction.errors import InputError
from integrators import TDVP, Lanczos, Nonlinear, RungeKutta4, evolve
from integrators.binding import Driven, bind
from integrators.frame import frame_of
from integrators.tree_state import TreeState

SITES = {f"s{i}": 2 for i in range(6)}
LONG = (0.2, {"s1": "z", "s2": "x", "s5": "z"})
TREES = {
    "chain": (lambda r: tnet.tensor_train(SITES, r), None),
    "chain from its end": (lambda r: tnet.tensor_train(SITES, r), "g0"),
    "binary tree": (lambda r: tnet.balanced_tree(SITES, r), None),
    "binary tree from a leaf": (lambda r: tnet.balanced_tree(SITES, r), "u3"),
    "star": (lambda r: tnet.tucker(SITES, min(r, 2)), None),
}


def terms():
    pairs = [(-1.0, {f"s{i}": "x", f"s{i + 1}": "x"}) for i in range(5)]
    fields = [(-0.7, {f"s{i}": "z"}) for i in range(6)]
    return [
        *pairs,
        *fields,
        (0.3, {"s0": "x", "s4": "y"}),
        (0.2, {"s1": "z", "s2": "x", "s5": "z"}),
    ]


def start(tree, seed=0, cap=None):
    net = tnet.random_network(tree, rng=np.random.default_rng(seed), dtype="complex128")
    net = net if cap is None else tnet.truncate(net, Truncation(max_rank=cap))
    return net * (1.0 / tnet.norm(net))


def run(stepper, net, generator, time, steps, root):
    state = TreeState.from_network(net, frame_of(net.structure, root))
    field = bind(generator, state.frame, state.cores[0])
    for k in range(steps):
        state = stepper.step(field, k * time / steps, time / steps, state).state
    return state


def vector(state):
    return state.to_network().to_dense().reshape(-1)


@pytest.mark.parametrize("sites", [1, 2])
@pytest.mark.parametrize("kind", TREES)
def test_full_ranks_are_exact(kind, sites):
    make, root = TREES[kind]
    net = start(make(8))
    H = references.dense_sum(SITES, terms())
    stepper = TDVP(sites=sites, truncation=Truncation(tol=1e-13), local=Lanczos(tol=1e-13))
    state = run(stepper, net, -1j * tnet.operator(net.structure, terms()), 0.7, 1, root)
    want = references.quench(H, net.to_dense().reshape(-1), [0.7])[0]
    assert np.linalg.norm(vector(state) - want) < 1e-10


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("kind", ["chain", "binary tree"])
def test_one_site_keeps_norm_energy_and_ranks_and_has_its_order(kind, order):
    make, root = TREES[kind]
    net = start(make(3))
    H = references.dense_sum(SITES, terms())
    generator = -1j * tnet.operator(net.structure, terms())
    stepper = TDVP(sites=1, order=order, local=Lanczos(tol=1e-13))
    found = [vector(run(stepper, net, generator, 0.4, n, root)) for n in (4, 8, 40)]
    coarse, fine = (np.linalg.norm(x - found[2]) for x in found[:2])
    assert order - 0.35 < math.log2(coarse / fine) < order + 0.4
    x0, x1 = net.to_dense().reshape(-1), found[0]
    assert abs(np.linalg.norm(x1) - 1.0) < 1e-11
    assert abs(np.vdot(x1, H @ x1) - np.vdot(x0, H @ x0)) < 1e-10


def test_two_sites_grow_from_a_product_state_to_the_tolerance():
    tree = tnet.tensor_train(SITES)
    up = tnet.Network(
        tree, {n: np.array([1.0 + 0j, 0.0]).reshape(tree.node_shape(n)) for n in tree.node_names}
    )
    near = [t for t in terms() if set(t[1]) not in ({"s0", "s4"}, {"s1", "s2", "s5"})]
    H = references.dense_sum(SITES, near)  # what no pair of neighbours opens would stay closed
    generator = -1j * tnet.operator(tree, near)
    want = references.quench(H, up.to_dense().reshape(-1), [0.5])[0]
    errors = []
    for steps in (5, 10, 20):
        stepper = TDVP(truncation=Truncation(tol=1e-9), local=Lanczos(tol=1e-10))
        errors.append(np.linalg.norm(vector(run(stepper, up, generator, 0.5, steps, None)) - want))
    assert errors[2] < 2e-4
    assert errors[2] < errors[0] / 6.0


def test_the_cap_of_a_step_holds_and_its_error_is_told():
    net = start(tnet.balanced_tree(SITES, 3))
    generator = -1j * tnet.operator(net.structure, terms())
    state = TreeState.from_network(net)
    field = bind(generator, state.frame, state.cores[0])
    step = TDVP(truncation=Truncation(max_rank=3)).step(field, 0.0, 0.2, state)
    assert max(step.state.ranks.values()) <= 3
    assert step.estimates.error > 1e-3
    assert step.statistics.applications > step.statistics.solves > 0


def test_coefficients_of_time_are_taken_at_the_middle_of_a_step():
    net = start(tnet.tensor_train(SITES, 8))
    a = tnet.operator(net.structure, terms())
    b = tnet.operator(net.structure, [(1.0, {"s2": "x"}), (0.4, {"s3": "z", "s4": "z"})])
    driven = Driven([(1.0, -1j * a), (lambda t: math.cos(5.0 * t), -1j * b)])
    stepper = TDVP(local=Lanczos(tol=1e-13), truncation=Truncation(tol=1e-13))
    state = run(stepper, net, driven, 0.3, 3, None)
    x = net.to_dense().reshape(-1)
    A = references.dense_sum(SITES, terms())
    B = references.dense_sum(SITES, [(1.0, {"s2": "x"}), (0.4, {"s3": "z", "s4": "z"})])
    for k in range(3):
        x = references.quench(A + math.cos(5.0 * (k + 0.5) * 0.1) * B, x, [0.1])[0]
    assert np.linalg.norm(vector(state) - x) < 1e-10


def test_imaginary_time_lowers_the_energy_of_a_real_state():
    net = tnet.random_network(tnet.balanced_tree(SITES, 4), rng=np.random.default_rng(1))
    plain = [t for t in terms() if "y" not in t[1].values()]
    state = run(TDVP(sites=1), net, -1.0 * tnet.operator(net.structure, plain), 6.0, 60, None)
    x = vector(state)
    H = references.dense_sum(SITES, plain)
    energy = (x @ (H @ x)) / (x @ x)
    assert x.dtype == np.float64
    assert energy - references.lowest(H)[0] < 2e-2


def test_a_single_node_is_one_exponential():
    tree = tnet.Structure({"a": ("x", "y")}, {"x": 2, "y": 2})
    net = start(tree)
    h = [(1.0, {"x": "x", "y": "x"}), (0.3, {"x": "z"})]
    state = run(TDVP(local=Lanczos(tol=1e-13)), net, -1j * tnet.operator(tree, h), 0.8, 1, None)
    H = references.dense_sum({"x": 2, "y": 2}, h)
    want = references.quench(H, net.to_dense().reshape(-1), [0.8])[0]
    assert np.linalg.norm(vector(state) - want) < 1e-11


def test_what_makes_no_sense_is_refused():
    with pytest.raises(InputError, match="`sites`"):
        TDVP(sites=3)
    with pytest.raises(InputError, match="order"):
        TDVP(order=4)


def star():
    """A node with a mode in the middle of seven others."""
    nodes = {"c": ("s0", *(f"b{i}" for i in range(1, 8)))}
    nodes |= {f"l{i}": (f"b{i}", f"s{i}") for i in range(1, 8)}
    sizes = {**{f"s{i}": 2 for i in range(8)}, **{f"b{i}": 1 for i in range(1, 8)}}
    return tnet.Structure(nodes, sizes, tuple(f"s{i}" for i in range(8)))


@pytest.mark.parametrize("shape", ["chain", "star"])
def test_four_steps_from_alternating_spins(shape):
    """Published errors of two-site TDVP: 1.375e-5 on the chain and 3.999e-4 on the star."""
    sites = {f"s{i}": 2 for i in range(8)}
    tree = star() if shape == "star" else tnet.tensor_train(sites)
    edges = [(0, i) if shape == "star" else (i - 1, i) for i in range(1, 8)]
    coupled = [(1.0, {f"s{i}": p, f"s{j}": p}) for i, j in edges for p in "xyz"]
    alternating = {s: [1.0 - k % 2, float(k % 2)] for k, s in enumerate(sites)}
    net = tnet.product_state(tree, alternating)
    want = references.quench(
        references.dense_sum(sites, coupled), net.to_dense().reshape(-1), [0.08]
    )[0]
    stepper = TDVP(truncation=Truncation(tol=1e-4, max_rank=32), local=Lanczos(tol=1e-9))
    flow = evolve(-1j * tnet.operator(tree, coupled), net, t1=0.08, dt=0.02, stepper=stepper)
    error = np.linalg.norm(flow.state.to_dense().reshape(-1) - want)
    assert error < {"chain": 1.375e-5, "star": 1e-8}[shape]


@pytest.mark.parametrize(
    ("kind", "order"), [("chain", 2), ("chain from its end", 1), ("binary tree", 2)]
)
def test_one_site_takes_any_field(kind, order):
    make, root = TREES[kind]
    net = start(make(3))
    h = tnet.operator(net.structure, terms())
    dense = (-1j * h).to_network()
    stepper = TDVP(sites=1, order=order, local=RungeKutta4(substeps=4))
    steps = {
        name: vector(run(stepper, net, generator, 0.05, 1, root))
        for name, generator in (
            ("operator", -1j * h),
            ("function", Nonlinear(lambda t, y: tnet.apply(dense, y))),
        )
    }
    if kind != "binary tree":  # there one of the two steps over the root, which only passes on
        assert np.linalg.norm(steps["operator"] - steps["function"]) < 1e-8
    exact = references.quench(
        references.dense_sum(SITES, terms()), net.to_dense().reshape(-1), [0.05]
    )[0]
    near = [np.linalg.norm(x - exact) for x in steps.values()]
    assert near[1] < 2.0 * near[0] + 1e-3


def test_a_nonlinear_equation():
    tree = tnet.balanced_tree({"a": 3, "b": 4, "c": 3}, 3)
    rng = np.random.default_rng(0)
    net = tnet.add(
        *(
            tnet.product_state(tree, {m: low + 0.1 * rng.random(tree.size[m]) for m in "abc"})
            for low in (0.0, 0.2, 0.3)
        )
    )
    logistic = Nonlinear(lambda t, y: tnet.subtract(y, tnet.hadamard(y, y)))
    state = run(TDVP(sites=1), net, logistic, 0.2, 4, None)
    x = net.to_dense()
    exact = x * np.exp(0.2) / (1.0 + x * (np.exp(0.2) - 1.0))
    assert np.linalg.norm(state.to_network().to_dense() - exact) < 1e-3 * np.linalg.norm(exact)
    with pytest.raises(InputError, match="two sites"):
        run(TDVP(), net, logistic, 0.1, 1, None)


@pytest.mark.parametrize("sites", [1, 2])
def test_coefficients_of_time_to_second_order(sites):
    net = start(tnet.tensor_train({f"s{i}": 2 for i in range(4)}, 4))
    a = [(-1.0, {f"s{i}": "x", f"s{i + 1}": "x"}) for i in range(3)]
    b = [(1.0, {"s2": "x", "s3": "y"}), (0.6, {"s1": "z"})]
    driven = Driven(
        [
            (1.0, -1j * tnet.operator(net.structure, a)),
            (lambda t: math.cos(3.0 * t), -1j * tnet.operator(net.structure, b)),
        ]
    )
    stepper = TDVP(sites=sites, local=Lanczos(tol=1e-12), truncation=Truncation(tol=1e-13))
    x8, x16, x128 = (vector(run(stepper, net, driven, 0.8, n, None)) for n in (8, 16, 128))
    ratio = np.linalg.norm(x8 - x128) / np.linalg.norm(x16 - x128)
    assert 1.8 < math.log2(ratio) < 2.2


@pytest.mark.parametrize("kind", ["chain", "binary tree"])
@pytest.mark.parametrize("power", [-200, 0, 200])
def test_there_and_back_at_any_norm(kind, power):
    net = start(TREES[kind][0](3))
    generator = -1j * tnet.operator(net.structure, terms())
    state = TreeState.from_network(net)
    first = state.with_cores({0: state.cores[0] * 10.0**power})
    field = bind(generator, state.frame, state.cores[0])
    stepper = TDVP(sites=1, local=Lanczos(tol=1e-13))
    there = stepper.step(field, 0.0, 0.1, first).state
    back = stepper.step(field, 0.1, -0.1, there).state
    assert abs(there.norm / 10.0**power - 1.0) < 1e-12
    assert np.linalg.norm(vector(back) / 10.0**power - vector(state)) < 1e-10


@pytest.mark.parametrize("dtype", ["complex64", "float32"])
def test_single_precision_stays_so(dtype):
    net = start(tnet.balanced_tree(SITES, 8)).to(dtype="complex64")
    net = (
        net
        if dtype == "complex64"
        else tnet.random_network(net.structure, rng=np.random.default_rng(0), dtype=dtype)
    )
    near = [t for t in terms() if "y" not in t[1].values()]
    factor = -1j if dtype == "complex64" else -1.0
    h = tnet.operator(net.structure, near)
    state = run(TDVP(), net, factor * h, 0.3, 3, None)
    want = run(TDVP(), net.to(dtype="complex128"), factor * h, 0.3, 3, None)
    assert state.to_network().dtype == dtype
    assert np.linalg.norm(vector(state) - vector(want)) < 2e-5 * want.norm
