"""Trees for ground states: found from chains in the wrong order, and from couplings."""

import numpy as np
import pytest

import tnet
from contraction.errors import InputError, RankError
from integrators import ground_state, ground_tree
from integrators.models import hierarchical

EXACT_4 = -6.120040  # 16 spins, ratio 1/2: the ordered chain at rank 32 agrees to all digits


def shuffled(model, seed):
    names = list(model.sites)
    rng = np.random.default_rng(seed)
    return {names[k]: model.sites[names[k]] for k in rng.permutation(len(names))}, rng


def blocks(structure, first):
    """The modes beyond every bond, seen from the mode `first`."""
    view = tnet.rooted(structure, structure.holders[first][0])
    return {frozenset(view.leaves_below[node]) for node in view.pre_order[1:]}


def test_exact_value():
    model = hierarchical(4)
    tree = tnet.tensor_train(model.sites, 2)
    start = tnet.random_network(tree, rng=np.random.default_rng(0))
    found = ground_state(tnet.operator(tree, model), start, max_rank=32)
    assert found.energy == pytest.approx(EXACT_4, abs=1e-6)


@pytest.mark.parametrize("seed", range(2))
def test_shuffled_chain_becomes_the_tree_of_the_couplings(seed):
    model = hierarchical(4)
    sites, rng = shuffled(model, seed)
    start = tnet.random_network(tnet.tensor_train(sites, 8), rng=rng)
    fixed = ground_state(tnet.operator(start.structure, model), start, max_rank=8)
    found = ground_tree(model, start, max_rank=8)
    assert found.settled
    assert found.ground.energy < EXACT_4 + 1e-4
    assert fixed.energy > found.ground.energy + 0.1
    chain = fixed.state
    wide = ground_state(
        tnet.operator(start.structure, model), chain, max_rank=10
    )  # more parameters than the tree has
    assert wide.state.num_params >= found.ground.state.num_params
    assert wide.energy > found.ground.energy + 0.05
    pairs = {frozenset((f"s{2 * k}", f"s{2 * k + 1}")) for k in range(1, 8)}
    assert pairs <= blocks(found.ground.state.structure, "s0")
    assert found.ground.state.structure.modes == tuple(sites)


def test_couplings_alone_give_the_perfect_tree():
    model = hierarchical(4)
    sites, _ = shuffled(model, 0)
    tree = tnet.tree_from_affinity(tnet.coupling_strengths(sites, model), sites)
    want = {p for p in blocks(tnet.balanced_tree(model.sites), "s0") if 1 < len(p) < 15}
    assert want <= blocks(tree, "s0")


def test_a_good_tree_stays():
    model = hierarchical(3)
    tree = tnet.balanced_tree(model.sites, 4)
    start = tnet.random_network(tree, rng=np.random.default_rng(1))
    found = ground_tree(model, start, max_rank=16)
    exact = ground_state(tnet.operator(tree, model), start, max_rank=16)
    assert found.ground.energy == pytest.approx(exact.energy, abs=1e-7)
    want = {p for p in blocks(tree, "s0") if len(p) in (2, 4)}
    assert want <= blocks(found.ground.state.structure, "s0")


def test_same_seed_same_result():
    model = hierarchical(3)
    sites, _ = shuffled(model, 4)
    start = tnet.random_network(tnet.tensor_train(sites, 4), rng=np.random.default_rng(2))
    a, b = (ground_tree(model, start, max_rank=4) for _ in range(2))
    assert a.energies == b.energies
    assert a.ground.state.structure == b.ground.state.structure


def test_the_last_round_is_converged():
    model = hierarchical(3)
    start = tnet.random_network(tnet.tensor_train(model.sites, 4), rng=np.random.default_rng(2))
    found = ground_tree(model, start, max_rank=4, rounds=1)
    assert len(found.energies) == 1
    assert found.ground.outcome.name == "CONVERGED"


def test_wrong_input():
    model = hierarchical(2)
    start = tnet.random_network(tnet.tensor_train(model.sites, 2), rng=np.random.default_rng(0))
    with pytest.raises(InputError, match="rounds"):
        ground_tree(model, start, rounds=0)
    with pytest.raises(RankError, match="max_rank"):
        ground_tree(model, start, max_rank=0)
    with pytest.raises(RankError, match="sweeps"):
        ground_tree(model, start, sweeps=0)


@pytest.mark.slow
def test_sixty_four_spins():
    """The perfect tree is found but for a few branches; the chain it came from is far above."""
    model = hierarchical(6)
    sites, rng = shuffled(model, 0)
    start = tnet.random_network(tnet.tensor_train(sites, 8), rng=rng)
    found = ground_tree(model, start, max_rank=8)
    fixed = ground_state(tnet.operator(start.structure, model), start, max_rank=9)
    assert found.ground.energy < -24.480
    assert fixed.state.num_params > found.ground.state.num_params
    assert fixed.energy > -20.0
