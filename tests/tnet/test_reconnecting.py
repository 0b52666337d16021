"""Reconnecting trees: the tensor stays, planted trees are found, errors are bounded."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tnet
from contraction.errors import InputError, StructureError
from strategies import networks, trees


def planted(rng, size=3, rank=2):
    """A tensor of eight modes whose best tree pairs modes that are far apart in order."""
    names = list("abcdefgh")
    order = [names[k] for k in rng.permutation(8)]
    pairs = [[order[k], order[k + 1]] for k in range(0, 8, 2)]
    truth = tnet.tree(
        [[pairs[0], pairs[1]], [pairs[2], pairs[3]]], dict.fromkeys(names, size), rank
    )
    net = tnet.random_network(truth, rng=rng)
    return truth, np.asarray(tnet.contract(net, names)), names


@given(networks(trees()), st.sampled_from(list(tnet.Criterion)))
def test_the_tensor_stays(net, criterion):
    found = tnet.reconnect(net, criterion=criterion, sweeps=3)
    modes = list(net.structure.modes)
    want, got = (np.asarray(tnet.contract(n, modes)) for n in (net, found.network))
    scale = max(np.linalg.norm(want), 1e-300)
    assert np.linalg.norm(want - got) / scale <= found.network.error + 1e-5
    assert found.network.structure.modes == net.structure.modes
    assert found.network.structure.is_tree


@pytest.mark.parametrize("seed", range(6))
def test_planted_trees_are_found_from_a_chain(seed):
    truth, x, names = planted(np.random.default_rng(seed))
    chain = tnet.decompose(x, tnet.tensor_train(dict.fromkeys(names, 3), 81), tol=1e-10)
    found = tnet.reconnect(chain, truncation=tnet.Truncation(tol=1e-8))
    back = np.asarray(tnet.contract(found.network, names))
    assert np.linalg.norm(back - x) <= 1e-8 * np.linalg.norm(x)
    assert max(found.network.ranks.values()) <= 4  # bonds of the truth, and sizes of modes
    assert found.network.num_params <= 1.5 * truth.num_params < chain.num_params / 2
    assert found.exchanges[-1] == 0


def test_error_stays_below_the_tolerance():
    rng = np.random.default_rng(1)
    net = tnet.random_network(tnet.balanced_tree((3,) * 8, 6), rng=rng)
    found = tnet.reconnect(net, truncation=tnet.Truncation(tol=0.2), sweeps=3).network
    x, y = (np.asarray(tnet.contract(n)) for n in (net, found))
    off = np.linalg.norm(x - y) / np.linalg.norm(x)
    assert off <= found.error + 1e-12 <= 0.2 + 1e-9


def test_caps_hold():
    net = tnet.random_network(tnet.tensor_train((2,) * 10, 8), rng=np.random.default_rng(2))
    found = tnet.reconnect(net, truncation=tnet.Truncation(max_rank=4), sweeps=2).network
    assert max(found.ranks.values()) <= 8  # bonds of nodes with one mode are not cut
    assert found.center is not None


def test_a_product_is_left_alone():
    net = tnet.random_network(tnet.balanced_tree((2,) * 8, 1), rng=np.random.default_rng(3))
    assert tnet.reconnect(net).exchanges == (0,)


def test_wrong_input():
    ring = tnet.random_network(tnet.tensor_ring((3, 3, 3), 2), rng=np.random.default_rng(0))
    with pytest.raises(StructureError):
        tnet.reconnect(ring)
    net = tnet.random_network(tnet.tucker((3, 3, 3), 2), rng=np.random.default_rng(0))
    with pytest.raises(InputError, match="sweeps"):
        tnet.reconnect(net, sweeps=0)
    with pytest.raises(InputError, match="max_params"):
        tnet.reconnect(net, truncation=tnet.Truncation(max_params=10))
