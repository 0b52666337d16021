"""Samples follow the exact distribution, on any tree, with any number of modes per node."""

import math

import numpy as np
import pytest
from hypothesis import given
from scipy import stats

import tnet
from contraction.arrays import eps, to_numpy
from contraction.errors import InputError, NonFiniteError
from strategies import NAMESPACES, networks, seeds, trees
from tnet.measure import sampling


def probabilities(net):
    p = np.abs(to_numpy(tnet.contract(net)).astype(np.complex128)) ** 2
    return p / p.sum()


def chi_square(net, drawn):
    """p-value of the draws against the exact distribution, rare states put together."""
    p = probabilities(net).reshape(-1)
    flat = np.ravel_multi_index(tuple(drawn.indices.T), net.shape)
    counts = np.bincount(flat, minlength=p.size).astype(float)
    expected = p * len(flat)
    rare = expected < 5
    if rare.any():
        counts = np.append(counts[~rare], counts[rare].sum())
        expected = np.append(expected[~rare], expected[rare].sum())
        counts, expected = counts[expected > 1e-9], expected[expected > 1e-9]
    if len(expected) < 2:
        return 1.0
    return float(stats.chisquare(counts, expected * counts.sum() / expected.sum()).pvalue)


FIXED = {
    "chain": tnet.tensor_train((2, 3, 2, 2, 3), 3),
    "binary": tnet.balanced_tree((2, 3, 2, 2, 2, 2), 3),
    "star": tnet.tucker((2, 3, 2, 3), 2),
    "inner modes": tnet.tree(
        ((("a", "b"), "c"), ("d", ("e",)), "f"), dict.fromkeys("abcdef", 2), 3
    ),
    "one node": tnet.Structure({"a": ("x", "y")}, {"x": 3, "y": 2}, ("y", "x")),
}


@pytest.mark.parametrize("kind", FIXED)
@pytest.mark.parametrize("namespace", NAMESPACES)
def test_chi_square(kind, namespace):
    rng = np.random.default_rng(7)
    net = tnet.random_network(FIXED[kind], rng=rng, dtype="complex128").to(namespace=namespace)
    drawn = tnet.sample(net, 20_000, np.random.default_rng(11))
    assert drawn.indices.shape == (20_000, len(net.shape))
    assert chi_square(net, drawn) > 1e-3
    worse = tnet.Samples(np.roll(drawn.indices, 1, axis=1) % np.array(net.shape), drawn[1])
    assert chi_square(net, worse) < 1e-6  # the test sees a wrong distribution


@given(networks(trees(max_nodes=7, max_size=3, max_rank=4)), seeds)
def test_log_probabilities_are_exact(net, seed):
    drawn = tnet.sample(net, 25, seed)
    p = probabilities(net)[tuple(drawn.indices.T)]
    np.testing.assert_allclose(
        np.exp(drawn.log_probabilities), p, rtol=0, atol=1e3 * eps(net.dtype)
    )
    assert (p > 0).all()


def test_same_seed_same_rows_whatever_the_chunks_and_the_library(monkeypatch):
    net = tnet.random_network(tnet.balanced_tree((2,) * 9, 4), rng=np.random.default_rng(0))
    first = tnet.sample(net, 300, 5)
    again = tnet.sample(net, 300, np.random.default_rng(5))
    np.testing.assert_array_equal(first.indices, again.indices)
    np.testing.assert_array_equal(first.log_probabilities, again.log_probabilities)
    for namespace in NAMESPACES:
        there = tnet.sample(net.to(namespace=namespace), 300, 5)
        np.testing.assert_array_equal(first.indices, there.indices)
    monkeypatch.setattr(sampling, "CHUNK_ENTRIES", 2000)
    parts = tnet.sample(net, 300, 5)
    np.testing.assert_array_equal(first.indices, parts.indices)
    np.testing.assert_allclose(first.log_probabilities, parts.log_probabilities, atol=1e-10)
    assert not np.array_equal(first.indices, tnet.sample(net, 300, 6).indices)


def test_strong_correlations_over_a_long_chain():
    """A cat state of 300 sites: all equal, each way with probability one half."""
    chain = tnet.tensor_train((2,) * 300, 2)
    arrays = {}
    for node, legs in chain.nodes:
        x = np.zeros(chain.node_shape(node))
        for k in range(2):
            x[(k,) * len(legs)] = 1.0
        arrays[node] = x
    drawn = tnet.sample(tnet.Network(chain, arrays), 400, 1)
    assert (drawn.indices == drawn.indices[:, :1]).all()
    assert 150 < drawn.indices[:, 0].sum() < 250
    np.testing.assert_allclose(drawn.log_probabilities, math.log(0.5), atol=1e-10)


def test_long_products_do_not_underflow():
    chain = tnet.tensor_train((4,) * 2000)
    state = tnet.product_state(chain, {key: [0.5, 0.5, 0.5, 0.5] for key in chain.modes})
    drawn = tnet.sample(state, 3, 0)
    np.testing.assert_allclose(drawn.log_probabilities, -2000 * math.log(4.0))


def test_what_sampling_refuses():
    net = tnet.random_network(tnet.tensor_train((2, 2), 2), rng=np.random.default_rng(0))
    assert tnet.sample(net, 0, 0).indices.shape == (0, 2)
    for count in (-1, 1.5, True):
        with pytest.raises(InputError, match="count"):
            tnet.sample(net, count, 0)
    with pytest.raises(InputError, match="zero"):
        tnet.sample(0.0 * net, 1, 0)
    broken = tnet.Network(net.structure, {**net.arrays, "g1": net["g1"] * np.nan}, "g0")
    with pytest.raises(NonFiniteError):
        tnet.sample(broken, 1, 0)
