"""Very different scales, of nodes and of errors: the same ranks and the same promises."""

import itertools

import numpy as np
import pytest

import tnet
from tnet import Truncation
from tnet.gauge import balanced

STAR = tnet.Structure(
    {"core": ("r", "q"), "a": ("r", "x"), "b": ("q", "y")}, {"r": 6, "q": 6, "x": 8, "y": 8}
)


@pytest.mark.parametrize("first", ["core", "a", "b"])
@pytest.mark.parametrize("order", [("r", "q"), ("q", "r")])
def test_truncation_is_blind_to_the_scales_of_the_nodes(first, order):
    base = tnet.random_network(STAR, rng=np.random.default_rng(1))
    base = base.replace({"core": base["core"] / 2.0})  # off the powers of two
    turned = {"core": base["core"] if order == ("r", "q") else base["core"].T}
    names = [first, *(name for name in ("core", "a", "b") if name != first)]
    legs = {**dict(STAR.nodes), "core": order}
    structure = tnet.Structure([(n, legs[n]) for n in names], dict(STAR.sizes), STAR.modes)
    base = tnet.Network(structure, {**base.arrays, **turned})
    plain = tnet.truncate(base, Truncation(tol=0.3))
    assert max(plain.ranks.values()) < 6
    for powers in itertools.product((-236, 0, 236), repeat=3):
        scaled = {n: base[n] * 2.0**p for n, p in zip(names, powers, strict=True)}
        net = tnet.Network(structure, scaled)
        small = tnet.truncate(net, Truncation(tol=0.3))
        assert dict(small.ranks) == dict(plain.ranks)
        assert small.certificate.bound == pytest.approx(plain.certificate.bound, rel=1e-9)
        if abs(sum(powers)) < 700:  # else no float holds the norm
            assert tnet.relative_error(small, net) <= small.certificate.bound <= 0.3


def test_a_single_node_of_zeros_is_truncated_exactly():
    net = tnet.Network(tnet.Structure({"a": ("x",)}, {"x": 5}), {"a": np.zeros(5)})
    small = tnet.truncate(net, Truncation(tol=0.1))
    assert small.certificate.bound == small.error == 0.0
    assert not small.to_dense().any()


@pytest.mark.parametrize("factor", [1e-200, 1e200])
def test_budgets_are_shared_out_alike_at_every_scale(factor):
    net = tnet.random_network(tnet.tensor_train((6, 6, 6, 6), 6), rng=np.random.default_rng(1))
    plain = tnet.truncate(net, Truncation(max_params=100))
    small = tnet.truncate(net * factor, Truncation(max_params=100))
    assert dict(small.ranks) == dict(plain.ranks)
    assert small.error == pytest.approx(plain.error, rel=1e-12)


@pytest.mark.parametrize("seed", range(12))
def test_budgets_in_single_precision_keep_the_bound(seed):
    rng = np.random.default_rng(seed)
    vectors = np.exp(rng.standard_normal(6)), np.exp(rng.standard_normal(7)), np.ones(5)
    noise = 10.0 ** rng.uniform(-5, -3)
    x = np.einsum("i,j,k", *vectors) + noise * rng.standard_normal((6, 7, 5))
    x = x.astype(np.float32)
    full = tnet.decompose(x, tnet.tensor_train)
    small = tnet.decompose(x, tnet.tensor_train, max_params=full.num_params - 12)
    wide = small.to(dtype="float64").to_dense()
    error = np.linalg.norm(wide - x) / np.linalg.norm(x.astype(np.float64))
    assert error <= small.certificate.bound <= 1.2 * error + 2e-5
    if small.certificate.kind is tnet.ErrorKind.EXACT:
        assert small.error == pytest.approx(error, rel=1e-2)


@pytest.mark.parametrize("dtype", ["float32", "complex64", "float64"])
def test_zero_on_a_graph_that_is_no_tree(dtype):
    ring = tnet.random_network(
        tnet.tensor_ring((2, 2, 2, 2), 2), rng=np.random.default_rng(0), dtype=dtype
    )
    zero = ring.replace({"g1": ring["g1"] * 0})
    assert tnet.norm(zero) == abs(tnet.inner(ring, zero)) == tnet.distance(zero, zero) == 0.0
    assert tnet.distance(ring, zero) == pytest.approx(tnet.norm(ring), rel=1e-5)
    # no array is zero, but the two tensors live on different entries
    cut = [np.array([1.0, 0.0], dtype), np.array([0.0, 1.0], dtype)]
    one, other = (ring.replace({"g1": ring["g1"] * k[:, None]}) for k in cut)
    assert abs(tnet.inner(one, other)) == 0.0


def extended(net):
    """The full tensor of a path, in extended precision."""
    dense, *others = (net[node].astype(np.longdouble) for node in net.structure.node_names)
    for x in others:
        dense = np.tensordot(dense, x, axes=(-1, 0))
    return dense


@pytest.mark.parametrize("part", [1e-4, 1e-7, 1e-10])
def test_parts_that_cancel_are_in_the_bound(part):
    # no gauge brings back the digits that the difference of two nearly equal tensors has lost
    rng = np.random.default_rng(0)
    large = tnet.random_network(tnet.tensor_train((8, 8, 8, 8), 6), rng=rng)
    small = tnet.random_network(tnet.tensor_train((8, 8, 8, 8), 2), rng=rng)
    net = tnet.subtract(tnet.orthogonalize(tnet.add(large, small * part), "g2"), large)
    want = extended(net)
    for truncation in (Truncation(tol=1e-3), Truncation(max_rank=2), Truncation(max_rank=1)):
        cut = tnet.truncate(net, truncation)
        lost = want - extended(cut)
        error = float(np.sqrt((lost**2).sum() / (want**2).sum()))
        assert error <= cut.certificate.bound <= 1.01 * error + 5e-14 / part
        if truncation.tol:
            assert max(cut.ranks.values()) == 2


@pytest.mark.parametrize("dtype", ["float32", "complex128"])
def test_balancing_moves_powers_of_two_only(dtype):
    net = tnet.random_network(tnet.tucker((3, 4, 5), 3), rng=np.random.default_rng(0), dtype=dtype)
    shift = (2.0 ** np.array([-50, 0, 60])).astype(dtype)
    zero = np.array([1, 0, 1], dtype)
    bad = net.replace({"u0": net["u0"] * shift[:, None], "u1": net["u1"] * zero[:, None]})
    bad = bad.replace({"core": bad["core"] / shift[:, None, None]})
    even = balanced(bad, tnet.rooted(net.structure))
    assert np.array_equal(even.to_dense(), bad.to_dense())
    for node, bond in tnet.rooted(net.structure).bond.items():
        sides = [(node, 0), ("core", net.structure.legs["core"].index(bond))]
        tops = [np.abs(np.moveaxis(even[n], k, 0)).reshape(3, -1).max(axis=1) for n, k in sides]
        ratios = tops[0][tops[0] > 0] / tops[1][tops[0] > 0]
        assert ratios.max() < 16 * ratios.min()  # a common factor is no matter
