"""Frames, states, fields and cuts: the layer that every stepper stands on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tnet
from contraction.errors import DTypeError, StructureError
from contraction.truncation import Truncation
from hand_operators import hand_operator, random_state, random_terms, sum_of
from integrators.binding import bind
from integrators.cutting import cut
from integrators.environments import Above, descend, root_above, upward
from integrators.frame import centre, frame_of
from integrators.tree_state import TreeState
from strategies import trees

T3NS = tnet.Structure(
    {
        "a": ("p", "a-b", "q"),
        "b": ("a-b", "b-c", "r", "b-d"),
        "c": ("s", "b-c"),
        "d": ("b-d", "t", "u", "d-e"),
        "e": ("d-e", "v"),
    },
    {"p": 2, "q": 3, "r": 2, "s": 2, "t": 2, "u": 2, "v": 3}
    | {"a-b": 3, "b-c": 2, "b-d": 4, "d-e": 2},
)
CHAIN = tnet.tensor_train({f"s{i}": 2 for i in range(5)}, 3)
TREES = {
    "binary": tnet.balanced_tree({f"s{i}": 2 for i in range(5)}, 2),
    "chain": CHAIN,
    "star": tnet.tucker({f"s{i}": 3 for i in range(3)}, 2),
    "t3ns": T3NS,
    "one node": tnet.Structure({"a": ("x", "y")}, {"x": 2, "y": 3}),
}


@given(trees())
@settings(max_examples=30)
def test_frames_number_every_tree_in_pre_order(tree: Any) -> None:
    frame = frame_of(tree)
    assert sorted(frame.names) == sorted(tree.node_names)
    for node in range(1, frame.count):
        parent = frame.parent[node]
        assert parent < node < frame.end[node] <= frame.end[parent]
        assert frame.slots[parent][frame.place[node]].child == node
        assert tree.legs[frame.names[node]][frame.axis[node]] == frame.bond[node]


def test_chains_are_rooted_in_the_middle_and_deep_trees_are_no_problem() -> None:
    assert centre(tnet.tensor_train((2,) * 4)) == "g1"
    long = frame_of(tnet.tensor_train((2,) * 20_000))
    assert long.count == 20_000
    assert long.root == "g9999"


@given(trees(), st.integers(0, 10))
@settings(max_examples=30, deadline=None)
def test_states_are_isometric_and_go_back(tree: Any, pick: int) -> None:
    net = tnet.random_network(tree, rng=np.random.default_rng(pick), dtype="complex128")
    state = TreeState.from_network(net, frame_of(tree, tree.node_names[pick % len(tree.nodes)]))
    for core in state.cores[1:]:
        rows = core.reshape(core.shape[0], -1)
        assert np.allclose(rows @ rows.conj().T, np.eye(len(rows)), atol=1e-12)
    back = state.to_network()
    assert np.allclose(back.to_dense(), net.to_dense())
    assert back.ranks == state.ranks
    assert np.isclose(state.norm, np.linalg.norm(net.to_dense()))


def test_saturated_subtrees_are_found() -> None:
    tree = tnet.balanced_tree(
        {f"s{i}": 2 for i in range(4)},
        {"t0-t1": 3, "t0-t2": 3} | dict.fromkeys(("t1-u0", "t1-u1", "t2-u2", "t2-u3"), 2),
    )
    state = random_state(tree)
    found = dict(zip(state.frame.names, state.saturated, strict=True))
    assert found == {"t0": False, "t1": False, "t2": False} | dict.fromkeys(
        ("u0", "u1", "u2", "u3"), True
    )
    one = random_state(tnet.tensor_train((2, 2, 2), 2), root="g0")
    assert one.saturated == (False, False, True)


@pytest.mark.parametrize("name", TREES)
def test_local_equations_are_the_projected_ones(name: str) -> None:
    """H_eff of every node is the dense operator between the dense bases around it."""
    tree = TREES[name]
    rng = np.random.default_rng(1)
    hand = hand_operator(tree, random_terms(tree, rng))
    matrix = sum_of(tree, hand.cores, hand.locals)
    state = random_state(tree)
    field = bind(-1j * hand, state.frame, state.cores[0])
    assert (field.factor, field.hermitian) == (-1j, True)
    below = upward(field, state)
    seen = {0: root_above(field, state)}
    for node in range(1, state.frame.count):
        parent = state.frame.parent[node]
        seen[node], _ = descend(field, state, parent, seen[parent], below, state.frame.place[node])
    for node, above in seen.items():
        embed = embedding(field, state, seen, node)
        dense = embed @ above.weighted.reshape(-1)
        assert np.allclose(dense, state.to_network().to_dense().reshape(-1))
        assert np.allclose(embed.conj().T @ embed, np.eye(embed.shape[1]), atol=1e-11)
        z = rng.normal(size=above.weighted.shape) + 1j * rng.normal(size=above.weighted.shape)
        problem = field.local(node, above.environment, below)
        want = embed.conj().T @ (matrix @ (embed @ z.reshape(-1)))
        assert np.allclose(problem.apply(z).reshape(-1), want)


def embedding(field: Any, state: TreeState, seen: dict[int, Above], node: int) -> Any:
    """The columns V x U x ... x U that a weighted core stands on, by putting unit cores in."""
    from integrators.environments import part

    columns = []
    size = int(np.prod(seen[node].weighted.shape))
    for unit in np.eye(size).reshape(size, *seen[node].weighted.shape):
        core, at = unit.astype(complex), node
        cores = {node: core}
        while at:
            parent, slot = state.frame.parent[at], state.frame.place[at]
            rest = part(seen[parent].weighted, slot).rest
            # the parent's core with the axis of the slot now counting the basis above
            cores[parent] = np.moveaxis(rest, -1, slot + 1)
            at = parent
        found = TreeState(state.frame, tuple(cores.get(k, c) for k, c in enumerate(state.cores)))
        columns.append(found.to_network().to_dense().reshape(-1))
    return np.array(columns).T


@pytest.mark.parametrize("name", TREES)
def test_cutting_is_quasi_optimal_and_says_its_error(name: str) -> None:
    state = random_state(TREES[name])
    dense = state.to_network().to_dense()
    nothing = cut(state, Truncation())
    assert nothing.error < 1e-12
    assert np.allclose(nothing.state.to_network().to_dense(), dense)
    done = cut(state, Truncation(max_rank=2))
    found = done.state.to_network().to_dense()
    assert all(r <= 2 for r in done.state.ranks.values())
    real = np.linalg.norm(found - dense) / np.linalg.norm(dense)
    assert real <= 1.5 * done.error + 1e-12
    for core in done.state.cores[1:]:
        rows = core.reshape(core.shape[0], -1)
        assert np.allclose(rows @ rows.conj().T, np.eye(len(rows)), atol=1e-12)


def test_a_complex_generator_needs_a_complex_state() -> None:
    tree = TREES["binary"]
    hand = hand_operator(tree, [(1.0, {"s0": "x"})])
    state = random_state(tree)
    with pytest.raises(DTypeError, match="to\\(dtype"):
        bind(-1j * hand, state.frame, state.cores[0].real)
    with pytest.raises(StructureError, match="same tree"):
        bind(hand, frame_of(CHAIN), state.cores[0])
