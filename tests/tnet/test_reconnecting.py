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


@given(
    networks(trees()), st.integers(1, 4), st.integers(1, 3), st.sampled_from(list(tnet.Criterion))
)
def test_caps_hold_and_errors_are_bounded(net, cap, sweeps, criterion):
    rule = tnet.Truncation(max_rank=cap)
    found = tnet.reconnect(net, truncation=rule, criterion=criterion, sweeps=sweeps).network
    modes = list(net.structure.modes)
    want, got = (np.asarray(tnet.contract(n, modes)) for n in (net, found))
    assert max(found.ranks.values(), default=1) <= cap
    scale = max(np.linalg.norm(want), 1e-300)
    assert np.linalg.norm(want - got) / scale <= found.error + 1e-5


def test_cuts_of_one_sweep_add_up_in_squares():
    net = tnet.random_network(tnet.balanced_tree((3,) * 8, 5), rng=np.random.default_rng(3))
    found = tnet.reconnect(net, truncation=tnet.Truncation(max_rank=2), sweeps=1)
    assert found.exchanges == (0,)
    x, y = (np.asarray(tnet.contract(n)) for n in (net, found.network))
    assert found.network.error == pytest.approx(np.linalg.norm(x - y) / np.linalg.norm(x), rel=1e-9)


def test_what_was_cut_before_counts():
    net = tnet.random_network(tnet.balanced_tree((3,) * 8, 5), rng=np.random.default_rng(5))
    cut = tnet.truncate(net, tnet.Truncation(tol=0.3))
    found = tnet.reconnect(cut, truncation=tnet.Truncation(max_rank=3)).network
    x, y = (np.asarray(tnet.contract(n)) for n in (net, found))
    off = np.linalg.norm(x - y) / np.linalg.norm(x)
    assert found.error > cut.error > 0
    assert off <= found.error
    assert off <= found.certificate.bound


@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_norms_whose_squares_leave_the_range(size):
    net = tnet.random_network(tnet.balanced_tree((3,) * 6, 4), rng=np.random.default_rng(6))
    far = net.replace({"t0": net["t0"] * size})
    rule = tnet.Truncation(tol=0.2)
    plain, scaled = (tnet.reconnect(n, truncation=rule).network for n in (net, far))
    assert scaled.error == pytest.approx(plain.error, rel=1e-6)
    x, y = (np.asarray(tnet.contract(n)) for n in (plain, scaled))
    np.testing.assert_allclose(y / size, x, atol=1e-10 * np.abs(x).max())


@pytest.mark.parametrize("criterion", list(tnet.Criterion))
def test_zeros(criterion):
    net = tnet.random_network(tnet.balanced_tree((3,) * 6, 4), rng=np.random.default_rng(7))
    zero = net.replace({node: 0.0 * x for node, x in net.arrays.items()})
    found = tnet.reconnect(zero, criterion=criterion).network
    assert set(found.ranks.values()) == {1}
    assert found.error == 0.0
    assert not np.asarray(tnet.contract(found)).any()


@pytest.mark.parametrize("kind", ["float32", "complex64", "complex128"])
def test_kinds(kind):
    structure = tnet.balanced_tree((3,) * 6, 4)
    net = tnet.random_network(structure, rng=np.random.default_rng(8), dtype=kind)
    found = tnet.reconnect(net, truncation=tnet.Truncation(tol=0.1)).network
    assert found.dtype == kind
    x, y = (np.asarray(tnet.contract(n)) for n in (net, found))
    assert np.linalg.norm(x - y) <= (found.error + 1e-6) * np.linalg.norm(x)


def test_torch():
    pytest.importorskip("torch")
    net = tnet.random_network(tnet.balanced_tree((3,) * 6, 4), rng=np.random.default_rng(9))
    rule = tnet.Truncation(tol=0.1)
    there = tnet.reconnect(net.to(namespace="torch"), truncation=rule).network
    here = tnet.reconnect(net, truncation=rule).network
    assert there.namespace == "torch"
    assert there.structure == here.structure
    assert there.error == pytest.approx(here.error, rel=1e-8)


def test_long_chains():
    """Linear work, no recursion, and a norm of e^600."""
    chain = tnet.tensor_train((2,) * 1800, 3)
    net = tnet.random_network(chain, rng=np.random.default_rng(10))
    found = tnet.reconnect(net, truncation=tnet.Truncation(max_rank=3), sweeps=1).network
    assert max(found.ranks.values()) <= 3
    assert 0 < found.error < 1.5


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
