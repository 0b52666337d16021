"""Conserved quantities: spins that exchange and particles that hop reach where they should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.linalg import expm_multiply

import tnet
from contraction.truncation import Truncation
from integrators import TDVP, AugmentedBUG, FixedBUG, MidpointBUG, ParallelBUG, ParallelBUG2, evolve
from integrators.binding import bind
from integrators.field import AbstractField
from integrators.models import bose_hubbard, heisenberg
from integrators.opening import opened
from integrators.tree_state import TreeState
from references import dense_sum

COUNT = 8
NEEL = [k % 2 for k in range(COUNT)]
FLIP = [int(k == COUNT // 2) for k in range(COUNT)]
WALL = [int(k >= COUNT // 2) for k in range(COUNT)]
RULE = Truncation(tol=1e-6, max_rank=32)


def basis_state(tree, places) -> tnet.Network:
    return tnet.product_state(
        tree, {m: np.eye(tree.size[m])[p] for m, p in zip(tree.modes, places, strict=True)}
    )


def off(model, make, places, stepper, t1=1.0, **options) -> float:
    """Distance to the exact state."""
    tree = make(model.sites)
    start = basis_state(tree, places)
    H = dense_sum(model.sites, model).tocsc()
    exact = expm_multiply(-1j * t1 * H, np.asarray(tnet.contract(start), complex).reshape(-1))
    flow = evolve(
        -1j * tnet.operator(tree, model), start, t1=t1, dt=0.05, stepper=stepper, **options
    )
    return float(np.linalg.norm(np.asarray(tnet.contract(flow.state)).reshape(-1) - exact))


@pytest.mark.parametrize("make", [tnet.tensor_train, tnet.balanced_tree])
@pytest.mark.parametrize("places", [NEEL, FLIP, WALL], ids=["neel", "flip", "wall"])
@pytest.mark.parametrize(
    ("kind", "allowed"),
    [(AugmentedBUG, 2e-3), (ParallelBUG, 2e-2), (ParallelBUG2, 2e-3), (MidpointBUG, 2e-3),
     (TDVP, 2e-3)],
)  # fmt: skip
def test_spins_that_exchange_reach_where_they_should(make, places, kind, allowed) -> None:
    assert off(heisenberg(COUNT), make, places, kind(truncation=RULE)) < allowed


def test_without_opening_they_do_not() -> None:
    stuck = off(heisenberg(COUNT), tnet.balanced_tree, NEEL, ParallelBUG2(truncation=RULE),
                opening=0)  # fmt: skip
    assert stuck > 0.02


def test_bosons_hop_on() -> None:
    model = bose_hubbard(6, cutoff=2)
    assert off(model, tnet.balanced_tree, [1] * 6, AugmentedBUG(truncation=RULE), 0.5) < 2e-2


@given(seed=st.integers(0, 10**6), most=st.integers(1, 3))
def test_the_state_stays_and_bases_are_orthonormal(seed, most) -> None:
    rng = np.random.default_rng(seed)
    model = heisenberg(6)
    tree = tnet.balanced_tree(model.sites, 2)
    net = tnet.random_network(tree, rng=rng, dtype="complex128")
    state = TreeState.from_network(net)
    field = bind(-1j * tnet.operator(tree, model), state.frame, state.cores[0])
    wide = opened(state, field, most)
    assert np.allclose(wide.to_network().to_dense(), net.to_dense(), atol=1e-12)
    assert wide.norm == pytest.approx(state.norm)
    for node in range(1, state.frame.count):
        rows = wide.cores[node].reshape(wide.cores[node].shape[0], -1)
        assert np.allclose(rows @ rows.conj().T, np.eye(len(rows)), atol=1e-11)
        old = state.cores[node]
        block = wide.cores[node][tuple(slice(0, n) for n in old.shape)]
        assert np.array_equal(block, old)  # the old basis comes first, bit by bit
        assert len(rows) <= old.shape[0] + most
    threaded = opened(state, field, most, workers=2)
    for a, b in zip(wide.cores, threaded.cores, strict=True):
        assert np.array_equal(a, b)


def test_the_new_directions_are_what_the_operator_leads_to() -> None:
    """One exchange across one bond: below it the state has one spin more, or one less."""
    tree = tnet.tensor_train({"a": 2, "b": 2, "c": 2, "d": 2})
    net = basis_state(tree, [0, 0, 1, 1])
    state = TreeState.from_network(net)
    model = [(1.0, {"b": "+", "c": "-"}), (1.0, {"b": "-", "c": "+"})]
    field = bind(-1j * tnet.operator(tree, model), state.frame, np.zeros(1, complex))
    wide = opened(state, field, 2)
    assert wide.ranks["g0-g1"] == 1  # nothing crosses this bond
    assert wide.ranks["g1-g2"] == 2
    assert wide.ranks["g2-g3"] == 1


class Silent(AbstractField):
    up = down = local = bond = lambda *_: None


def test_methods_that_keep_ranks_and_fields_that_are_no_operators_stay_as_they_are() -> None:
    model = heisenberg(6)
    tree = tnet.balanced_tree(model.sites)
    stepper = FixedBUG(truncation=Truncation(tol=1e-9, max_rank=3))
    flow = evolve(
        -1j * tnet.operator(tree, model), basis_state(tree, NEEL[:6]), t1=0.1, dt=0.05,
        stepper=stepper,
    )  # fmt: skip
    assert max(flow.ranks[0].values()) == 3  # a product state is padded up to `max_rank`
    assert max(flow.ranks[-1].values()) <= 3
    state = TreeState.from_network(basis_state(tree, NEEL[:6]))
    assert opened(state, Silent(), 2) is state
