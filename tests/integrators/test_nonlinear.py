"""Functions as generators: they agree with operators where both can be had."""

import numpy as np
import pytest

import tnet
from contraction.errors import InputError, StructureError
from integrators.binding import bind
from integrators.environments import Above, descend, root_above, upward
from integrators.local_problem import right_side
from integrators.nonlinear import Nonlinear, Together
from integrators.steppers.augmented import AugmentedBUG
from integrators.tree_state import TreeState

SIZES = {"a": 2, "b": 3, "c": 2, "d": 2, "e": 3}
TREES = [
    tnet.balanced_tree(SIZES, 2),
    tnet.tensor_train(SIZES, 2),
    tnet.tucker(SIZES, 2),
    tnet.tree([["a", ["b"]], "c", ["d", "e"]], SIZES, 2),
]
TERMS = [(0.7, {"a": "x", "c": "z"}), (-0.3, {"d": "x"}), (1.1, {"b": "sx", "e": "sz"})]


def around(field, state):
    """Every node with its weighted core and the field's two views of it."""
    below = upward(field, state)
    above: dict[int, Above] = {0: root_above(field, state)}
    for node in range(1, state.frame.count):
        parent = state.frame.parent[node]
        place = state.frame.place[node]
        above[node], _ = descend(field, state, parent, above[parent], below, place)
    return above, below


@pytest.mark.parametrize("tree", TREES, ids=str)
@pytest.mark.parametrize("kind", ["function", "sum"])
def test_linear_functions_are_operators(tree, kind):
    operator = tnet.operator(tree, TERMS)
    network = operator.to_network()
    half = 0.5 * operator
    function = Nonlinear(lambda t, y: tnet.apply(network, y))
    other = (
        function
        if kind == "function"
        else Together([half, Nonlinear(lambda t, y: 0.5 * tnet.apply(network, y))])
    )
    net = tnet.random_network(tree, rng=np.random.default_rng(0))
    state = TreeState.from_network(net)
    fields = [bind(g, state.frame, state.cores[0]) for g in (operator, other)]
    views = [around(field, state) for field in fields]
    for node in range(state.frame.count):
        found = []
        for field, (above, below) in zip(fields, views, strict=True):
            problem = field.local(node, above[node].environment, below)
            found.append(right_side(problem)(above[node].weighted))
        np.testing.assert_allclose(found[1], found[0], atol=1e-10)
        if node:
            matrix = np.random.default_rng(node).normal(size=(state.cores[node].shape[0],) * 2)
            matrix = matrix[: above[node].weighted.shape[0]]
            found = [
                right_side(field.bond(node, above[node].environment, below))(matrix)
                for field, (above, below) in zip(fields, views, strict=True)
            ]
            np.testing.assert_allclose(found[1], found[0], atol=1e-10)


def test_a_nonlinear_equation_of_every_entry():
    """dy/dt = y - y^2 entry by entry, from a start of rank two."""
    tree = tnet.balanced_tree({"a": 4, "b": 5}, 3)
    rng = np.random.default_rng(1)
    start = 0.5 + 0.1 * rng.random((4, 1)) @ rng.random((1, 5))
    net = tnet.decompose(start, tree)
    state = TreeState.from_network(net)
    field = bind(Nonlinear(lambda t, y: y - tnet.hadamard(y, y)), state.frame, state.cores[0])
    stepper = AugmentedBUG()
    for _ in range(20):
        state = stepper.step(field, 0.0, 0.05, state).state
    exact = 1.0 / (1.0 + (1.0 / start - 1.0) * np.exp(-1.0))
    assert np.abs(state.to_network().to_dense() - exact).max() < 1e-5


def test_time_reaches_the_function():
    tree = tnet.balanced_tree({"a": 2, "b": 2}, 1)
    net = tnet.decompose(np.array([[1.0, 0.0], [0.0, 0.0]]), tree)
    state = TreeState.from_network(net)
    field = bind(Nonlinear(lambda t, y: 2 * t * y), state.frame, state.cores[0])
    for k in range(10):
        state = AugmentedBUG().step(field, 0.1 * k, 0.1, state).state
    assert state.norm == pytest.approx(np.e, rel=1e-6)


def test_wrong_results_are_named():
    tree = TREES[0]
    net = tnet.random_network(tree, rng=np.random.default_rng(0))
    state = TreeState.from_network(net)
    like = state.cores[0]
    for function, error in (
        (lambda t, y: y.to_dense(), InputError),
        (lambda t, y: tnet.random_network(TREES[1], rng=np.random.default_rng(0)), StructureError),
    ):
        with pytest.raises(error, match="nonlinear"):
            AugmentedBUG().step(bind(Nonlinear(function), state.frame, like), 0.0, 0.1, state)
    with pytest.raises(InputError, match="at least one"):
        bind(Together([]), state.frame, like)
