"""decompose on trees: one algorithm, exact error, honest certificate, every awkward input."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tnet
from contraction.arrays import random_normal, to, to_numpy
from contraction.errors import (
    DTypeError,
    InputError,
    NonFiniteError,
    PrecisionWarning,
    RankError,
    ShapeError,
    StructureError,
)
from strategies import DTYPES, NAMESPACES, seeds, trees
from tnet import ErrorKind, Method


def dense(net):
    """The full tensor in double precision, by NumPy alone."""
    number = {leg: k for k, leg in enumerate(net.structure.size)}
    operands = []
    for node, legs in net.structure.nodes:
        operands += [to_numpy(net[node]).astype(np.complex128), [number[leg] for leg in legs]]
    return np.einsum(*operands, [number[m] for m in net.structure.modes], optimize=True)


def measured(net, x):
    x = to_numpy(x).astype(np.complex128)
    return np.linalg.norm(dense(net) - x) / np.linalg.norm(x)


def data(seed, shape, dtype="float64", namespace="numpy"):
    """Gaussian entries under a decaying profile, so that ranks depend on the tolerance."""
    rng = np.random.default_rng(seed)
    x = random_normal(rng, shape, dtype=dtype)
    for axis, size in enumerate(shape):
        profile = 0.3 ** np.arange(size).astype(dtype)
        x = x * profile.reshape([-1 if k == axis else 1 for k in range(len(shape))])
    return to(x, namespace=namespace)


FORMATS = [tnet.tucker, tnet.tensor_train, tnet.balanced_tree]


def unlimited(structure):
    return structure.resized(dict.fromkeys(structure.bonds, 10**6))


def check_tolerance(structure, seed, dtype, lib, tol):
    x = data(seed, structure.shape, dtype, lib)
    net = tnet.decompose(x, unlimited(structure), tol=tol)
    assert net.structure.modes == structure.modes
    assert net.structure.nodes == structure.nodes
    assert net.shape == tuple(x.shape)
    assert (net.namespace, net.dtype) == (lib, dtype)
    error, certificate = measured(net, x), net.certificate
    assert error <= tol
    assert error <= certificate.bound <= tol
    assert certificate.error <= certificate.bound
    if certificate.kind is ErrorKind.EXACT:
        assert abs(error - certificate.error) <= 1e-3 * error + 20 * np.finfo(dtype).eps
    check_gauge(net)


def check_gauge(net):
    """Every node but the centre is an isometry towards it."""
    tree = tnet.rooted(net.structure, net.center)
    for node, bond in tree.bond.items():
        axis = net.structure.legs[node].index(bond)
        U = np.moveaxis(to_numpy(net[node]), axis, -1).reshape(-1, net.ranks[bond])
        unit = 100 * np.finfo(U.dtype).eps
        np.testing.assert_allclose(U.conj().T @ U, np.eye(U.shape[1]), atol=unit)


anything = (
    trees(max_nodes=6),
    seeds,
    st.sampled_from(DTYPES),
    st.sampled_from(NAMESPACES),
    st.sampled_from([0.5, 0.1, 1e-2, 1e-3, 1e-4]),
)


@given(*anything)
def test_the_error_is_within_the_tolerance_and_the_certificate(structure, seed, dtype, lib, tol):
    check_tolerance(structure, seed, dtype, lib, tol)


@pytest.mark.slow
@settings(max_examples=500)
@given(*anything)
def test_the_error_is_within_the_tolerance_on_500_trees(structure, seed, dtype, lib, tol):
    check_tolerance(structure, seed, dtype, lib, tol)


@given(trees(max_nodes=6), seeds, st.sampled_from(NAMESPACES))
def test_a_tensor_that_is_a_network_is_found_exactly(structure, seed, lib):
    planted = tnet.random_network(structure, rng=np.random.default_rng(seed))
    x = to(np.ascontiguousarray(dense(planted).real), namespace=lib)
    for options in ({"tol": 1e-12}, {}):
        net = tnet.decompose(x, structure, **options)
        assert measured(net, x) <= min(1e-12, net.certificate.bound)
        assert net.certificate.bound <= 1e-12
        for bond, rank in net.ranks.items():
            assert rank <= structure.size[bond]


@given(trees(max_nodes=6), seeds, st.sampled_from(DTYPES), st.data())
def test_ranks_are_caps_and_the_error_is_near_the_best(structure, seed, dtype, draw):
    x = data(seed, structure.shape, dtype)
    net = tnet.decompose(x, structure)
    assert all(net.ranks[bond] <= structure.size[bond] for bond in structure.bonds)
    error = measured(net, x)
    assert error <= net.certificate.bound
    # quasi-optimality: the squares of the best cuts at each bond add up to a bound
    tree, wide = tnet.rooted(structure), to_numpy(x).astype(np.complex128)
    total, worst = 0.0, 0.0
    for node, bond in tree.bond.items():
        rows = [structure.modes.index(leg) for leg in tree.leaves_below[node]]
        columns = [k for k in range(wide.ndim) if k not in rows]
        height = int(np.prod([wide.shape[k] for k in rows]))
        M = wide.transpose(rows + columns).reshape(height, -1)
        s = np.linalg.svd(M, compute_uv=False)
        tail = np.sum(s[structure.size[bond] :] ** 2) / np.sum(s**2)
        total, worst = total + tail, max(worst, tail)
    rounding = 100 * np.finfo(dtype).eps
    assert np.sqrt(worst) - rounding <= error <= np.sqrt(total) * (1 + 1e-3) + rounding


@pytest.mark.parametrize("lib", NAMESPACES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("noise", [0.05, 1e-3, 1e-4])
def test_larger_tensors_take_the_fast_ways(form, dtype, lib, noise):
    rng = np.random.default_rng(0)
    x = dense(tnet.random_network(tnet.tucker((60, 50, 52), 4), rng=rng))
    x = (x if dtype.startswith("complex") else x.real).astype(dtype)
    e = random_normal(rng, x.shape, dtype=dtype)
    x = to(x + noise * np.linalg.norm(x) / np.linalg.norm(e) * e, namespace=lib)
    unit = 50 * np.finfo(dtype).eps
    nets = [tnet.decompose(x, form, ranks=4), tnet.decompose(x, form, tol=max(2.5 * noise, 1e-4))]
    exact = tnet.decompose(x, form, ranks=4, method=Method.QR_SVD)
    for net in nets:
        error = measured(net, x)
        assert error <= net.certificate.bound <= error * (1 + 1e-3) + unit
        check_gauge(net)
        assert "qr+svd" not in net.certificate.methods.values()
    assert set(nets[1].ranks.values()) <= {4, *range(4, 25)}
    assert measured(nets[0], x) <= measured(exact, x) * (1 + 1e-5) + unit
    assert measured(nets[1], x) <= max(2.5 * noise, 1e-4)


@pytest.mark.parametrize("lib", NAMESPACES)
@pytest.mark.parametrize("form", FORMATS)
def test_no_tolerance_is_left_unused(form, lib):
    """Equal shares alone keep ranks up to 20 here: noise hides in the mode that comes first."""
    rng = np.random.default_rng(0)
    x = dense(tnet.random_network(tnet.tucker((60, 50, 52), 4), rng=rng)).real
    e = rng.standard_normal(x.shape)
    x = to(x + 1e-2 * np.linalg.norm(x) / np.linalg.norm(e) * e, namespace=lib)
    net = tnet.decompose(x, form, tol=1.2e-2)
    assert set(net.ranks.values()) == {4}
    assert measured(net, x) <= net.certificate.bound <= 1.2e-2
    assert net.certificate.kind is ErrorKind.EXACT
    again = tnet.truncate(net, tnet.Truncation(tol=1.2e-2))
    assert dict(again.ranks) == dict(net.ranks)


@pytest.mark.parametrize("budget", [60, 200, 900, 10**6])
@pytest.mark.parametrize("form", FORMATS)
def test_a_parameter_budget_is_kept_and_spent_well(form, budget):
    x = data(0, (9, 10, 11, 8)) + 1e-3 * data(1, (9, 10, 11, 8))
    net = tnet.decompose(x, form, max_params=budget)
    error = measured(net, x)
    assert net.num_params <= budget
    assert error <= net.certificate.bound <= error * (1 + 1e-6) + 1e-13
    check_gauge(net)
    for rank in range(1, 6):  # no uniform rank within the budget does better
        plain = tnet.decompose(x, form, ranks=rank)
        if plain.num_params <= budget:
            assert error <= measured(plain, x) * 1.01 + 1e-13
    with pytest.raises(RankError, match="max_params"):
        tnet.decompose(x, form, max_params=20)


@given(trees(max_nodes=6), seeds, st.integers(1, 400))
def test_a_parameter_budget_on_any_tree(structure, seed, spare):
    least = structure.resized(dict.fromkeys(structure.bonds, 1)).num_params
    x = data(seed, structure.shape)
    net = tnet.decompose(x, unlimited(structure), max_params=least + spare)
    assert net.num_params <= least + spare
    assert measured(net, x) <= net.certificate.bound


@given(trees(max_nodes=5), seeds, st.data())
def test_memory_order_and_mode_order_do_not_matter(structure, seed, draw):
    x = data(seed, structure.shape)
    plain = tnet.decompose(x, unlimited(structure), tol=0.05)
    order = draw.draw(st.permutations(range(x.ndim)))
    for same in (
        np.asfortranarray(x),
        np.ascontiguousarray(x.transpose(order)).transpose(np.argsort(order)),
        x[tuple([slice(None, None, -1)] * x.ndim)].copy()[tuple([slice(None, None, -1)] * x.ndim)],
        np.repeat(x, 2, axis=0)[::2],
        x.astype(">f8"),
    ):
        before = same.copy()
        net = tnet.decompose(same, unlimited(structure), tol=0.05)
        assert np.array_equal(before, same)
        assert measured(net, x) <= 0.05
        assert abs(net.error - plain.error) <= 0.05
    turned = structure.permuted([structure.modes[k] for k in order])
    net = tnet.decompose(x.transpose(order), unlimited(turned), tol=0.05)
    assert measured(net, x.transpose(order)) <= 0.05


@given(trees(max_nodes=6), seeds, st.data())
def test_any_node_can_be_the_centre(structure, seed, draw):
    center = draw.draw(st.sampled_from(structure.node_names))
    x = data(seed, structure.shape)
    net = tnet.decompose(x, unlimited(structure), tol=0.01, center=center)
    assert net.center == center
    assert measured(net, x) <= net.certificate.bound <= 0.01
    check_gauge(net)


def test_results_are_reproducible_and_global_random_numbers_untouched():
    x = data(0, (30, 40, 30))
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = (
        tnet.decompose(x, tnet.tucker, ranks=3, method=method, rng=np.random.default_rng(0))
        for method in (Method.RANDOMIZED, Method.RANDOMIZED)
    )
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    for node in first.arrays:
        assert np.array_equal(first[node], second[node])
    assert measured(first, x) <= first.certificate.bound
    assert "randomized" in first.certificate.methods.values()


# ---- awkward input ---------------------------------------------------------------------


@pytest.mark.parametrize("lib", NAMESPACES)
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("options", [{"tol": 0.1}, {"tol": 1e-9}, {"ranks": 2}, {"max_params": 60}])
def test_what_is_not_finite_is_named_at_once(form, bad, options, lib):
    x = np.ones((3, 4, 5))
    x[1, 2, 3] = bad
    with pytest.raises(NonFiniteError, match=r"1 NaN or infinite entry.*\(1, 2, 3\).*tnet\.fit"):
        tnet.decompose(to(x, namespace=lib), form, **options)
    with pytest.raises(NonFiniteError, match="the first at index"):
        tnet.decompose(to(x[1, 2], namespace=lib), tnet.tensor_train)


@pytest.mark.parametrize("form", FORMATS)
def test_zero_constant_and_thin_tensors(form):
    zero = tnet.decompose(np.zeros((3, 4, 5)), form, tol=0.1)
    assert set(zero.ranks.values()) == {1}
    assert zero.certificate.bound == zero.error == 0.0
    assert not dense(zero).any()
    for x in (np.full((3, 4, 5), -7.0), np.multiply.outer(np.ones(3), np.ones((4, 1))), np.ones(1)):
        for options in ({}, {"tol": 1e-3}, {"ranks": 1}):
            net = tnet.decompose(x, form, **options)
            assert set(net.ranks.values()) <= {1}
            assert measured(net, x) <= min(1e-14, net.certificate.bound + 1e-30)
    x = data(0, (1, 4, 1, 5, 1))
    net = tnet.decompose(x, form, tol=1e-10)
    assert measured(net, x) <= net.certificate.bound <= 1e-10
    assert max(net.ranks.values()) == 4
    vector = tnet.decompose(np.arange(4.0), form)
    assert measured(vector, np.arange(4.0)) <= 1e-15
    with pytest.raises(ShapeError, match="scalar"):
        tnet.decompose(np.float64(3.0), form)
    with pytest.raises(ShapeError, match="x1"):
        tnet.decompose(np.ones((4, 0, 6)), form)


@pytest.mark.parametrize("scale", [1e200, 1e-200, 1e-310, 1e300])
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("options", [{"tol": 0.05}, {"tol": 1e-8}, {"ranks": 3}])
def test_the_scale_of_the_tensor_does_not_matter(form, scale, options):
    x = data(0, (4, 5, 6))
    plain, net = (tnet.decompose(y, form, **options) for y in (x, x * scale))
    assert dict(net.ranks) == dict(plain.ranks)
    assert np.isclose(net.error, plain.error, rtol=1e-3, atol=1e-13)
    assert np.isfinite(to_numpy(net[net.center])).all()


def test_kinds_of_numbers():
    grid = np.arange(60).reshape(3, 4, 5)
    for kind in ("int8", "uint8", "int64", "bool"):
        with pytest.warns(UserWarning, match="float64"):
            net = tnet.decompose(grid.astype(kind), tnet.tucker, tol=1e-9)
        assert net.dtype == "float64"
        assert measured(net, grid.astype(kind)) <= 1e-9
    half = tnet.decompose(grid.astype(np.float16), tnet.tucker, tol=1e-3)
    assert half.dtype == "float32"
    for bad in (grid.astype(object), grid.astype(str), grid.astype(np.longdouble)):
        with pytest.raises(DTypeError):
            tnet.decompose(bad, tnet.tucker, tol=1e-3)
    with pytest.raises(DTypeError, match="masked"):
        tnet.decompose(np.ma.masked_equal(grid * 1.0, 3.0), tnet.tucker, tol=1e-3)
    assert tnet.decompose((grid * 1.0).tolist(), tnet.tucker, tol=1e-3).shape == (3, 4, 5)
    frozen = grid * 1.0
    frozen.setflags(write=False)
    assert measured(tnet.decompose(frozen, tnet.tucker, tol=1e-3), frozen) <= 1e-3
    flat = np.broadcast_to(np.arange(5.0), (3, 4, 5))
    assert set(tnet.decompose(flat, tnet.tensor_train).ranks.values()) == {1}


@pytest.mark.parametrize("bad", [0, -1, 2.5, np.nan, "x", True, [2, "x"], {"g0-g1": 2, "z": 1}])
def test_ranks_are_whole_numbers(bad):
    with pytest.raises(RankError):
        tnet.decompose(np.ones((3, 4, 5)), tnet.tensor_train, ranks=bad)


def test_the_number_of_ranks_and_their_size():
    x = data(0, (3, 4, 5))
    with pytest.raises(RankError, match=r"needs 2 numbers.*got 3"):
        tnet.decompose(x, tnet.tensor_train, ranks=[2, 2, 2])
    with pytest.warns(UserWarning, match="g0-g1: 7 > 3") as caught:
        net = tnet.decompose(x, tnet.tensor_train, ranks=[7, 4])
    assert len(caught) == 1
    assert dict(net.ranks) == {"g0-g1": 3, "g1-g2": 4}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # one number is a cap; no bond has to reach it
        assert max(tnet.decompose(x, tnet.tensor_train, ranks=4).ranks.values()) == 4
        mixed = tnet.decompose(x, tnet.tensor_train, ranks=np.array([2, 3]))
        named = tnet.decompose(x, tnet.tensor_train, ranks={"g0-g1": 2, "g1-g2": 3})
    assert dict(mixed.ranks) == dict(named.ranks) == {"g0-g1": 2, "g1-g2": 3}
    with pytest.warns(UserWarning, match="exceed"):
        tnet.decompose(x, tnet.tucker, ranks=50)


@pytest.mark.parametrize("bad", [-0.1, 1.0, 1.5, np.nan, "1e-3", True])
def test_the_tolerance_is_a_relative_error(bad):
    with pytest.raises(InputError, match="tol"):
        tnet.decompose(np.ones((3, 4, 5)), tnet.tucker, tol=bad)


@pytest.mark.parametrize(("dtype", "tol"), [("float64", 1e-20), ("float32", 1e-7)])
def test_a_tolerance_below_the_arithmetic_is_said(dtype, tol):
    x = data(0, (4, 5, 6), dtype)
    with pytest.warns(PrecisionWarning, match="certificate"):
        net = tnet.decompose(x, tnet.tucker, tol=tol)
    assert measured(net, x) <= net.certificate.bound <= 100 * np.finfo(dtype).eps


def test_wrong_structures():
    x = data(0, (3, 4, 5))
    with pytest.raises(ShapeError, match=r"\(3, 4, 5\).*\(3, 4, 6\)"):
        tnet.decompose(x, tnet.tucker((3, 4, 6), 2))
    for bad in ("tucker", 3, lambda shape: shape):
        with pytest.raises(InputError, match="Structure"):
            tnet.decompose(x, bad)
    ring = tnet.tensor_ring((3, 4, 5), 2)
    with pytest.raises(InputError, match="tol"):
        tnet.decompose(x, ring, tol=0.1)
    with pytest.raises(InputError, match="rng"):
        tnet.decompose(x, ring)


def test_a_graph_that_is_no_tree_is_fitted():
    rng = np.random.default_rng(0)
    ring = tnet.tensor_ring((4, 5, 6), 2)
    x = dense(tnet.random_network(ring, rng=rng)).real
    net = tnet.decompose(x, tnet.tensor_ring, ranks=2, rng=rng)
    assert net.structure.same_graph(ring)
    assert measured(net, x) <= 0.2


def test_wide_and_deep_trees_need_no_recursion():
    nodes = {f"n{i}": [f"b{i}", f"b{i + 1}"] for i in range(3000)}
    nodes["n0"] = ["x0", "b1"]
    nodes["n2999"] = ["b2999", "x1"]
    sizes = dict.fromkeys((f"b{i}" for i in range(3001)), 3) | {"x0": 6, "x1": 7}
    chain = tnet.Structure(nodes, {k: v for k, v in sizes.items() if k not in ("b0", "b3000")})
    x = data(0, (6, 7))
    net = tnet.decompose(x, chain, tol=0.05)
    assert max(net.ranks.values()) <= 3
    s = np.linalg.svd(x, compute_uv=False)
    rank = next(iter(net.ranks.values()))
    assert np.isclose(net.error, np.linalg.norm(s[rank:]) / np.linalg.norm(s))


def test_a_node_with_too_many_legs_is_named():
    nodes = {"hub": [f"b{i}" for i in range(70)]} | {f"u{i}": [f"b{i}"] for i in range(70)}
    nodes["u0"].append("x0")
    nodes["u1"].append("x1")
    star = tnet.Structure(nodes, {f"b{i}": 1 for i in range(70)} | {"x0": 3, "x1": 4})
    with pytest.raises(StructureError, match="'hub' has 70 legs"):
        tnet.decompose(data(0, (3, 4)), star)


def test_the_method_is_reported():
    net = tnet.decompose(data(0, (4, 5, 6)), tnet.tucker, ranks=2, method=Method.QR_SVD)
    assert set(net.certificate.methods.values()) == {"qr+svd"}
