"""Measures of states on random trees equal those of the dense vector."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tnet
from contraction.arrays import eps, to_numpy
from contraction.errors import InputError, NonFiniteError, ShapeError, StructureError
from strategies import NAMESPACES, networks, seeds, trees

SMALL = trees(max_nodes=6, max_size=3, max_rank=3)


def dense(net):
    """The normalised state, one axis per mode."""
    x = to_numpy(tnet.contract(net)).astype(np.complex128)
    size = np.linalg.norm(x)
    return x / size if size else x


def dense_density(net, modes):
    axes = [net.structure.modes.index(mode) for mode in modes]
    x = np.moveaxis(dense(net), axes, range(len(axes)))
    matrix = x.reshape(math.prod(x.shape[: len(axes)]), -1)
    return matrix @ matrix.conj().T


def dense_entropy(net, modes, order=1.0):
    p = np.linalg.eigvalsh(dense_density(net, modes))
    p = p[p > 1e-14]
    if order == 1.0:
        return float(-np.sum(p * np.log(p)))
    return math.log(np.sum(p**order)) / (1 - order)


def random_matrix(rng, n, complex_=True, hermitian=False):
    x = rng.standard_normal((n, n)) + (1j * rng.standard_normal((n, n)) if complex_ else 0.0)
    return x + x.conj().T if hermitian else x


def tolerance(net):
    return 2e3 * eps(net.dtype)


@given(SMALL, seeds, st.sampled_from(NAMESPACES), st.booleans())
def test_product_states_are_outer_products(tree, seed, namespace, complex_):
    rng = np.random.default_rng(seed)
    vectors = {m: rng.standard_normal(tree.size[m]) for m in tree.modes}
    if complex_:
        vectors = {m: x + 1j * rng.standard_normal(len(x)) for m, x in vectors.items()}
    like = tnet.random_network(tree, rng=rng).to(namespace=namespace)[tree.node_names[0]]
    state = tnet.product_state(tree, vectors, like=like)
    assert (state.namespace, state.dtype) == (namespace, "complex128" if complex_ else "float64")
    assert set(state.ranks.values()) <= {1}
    assert state.center == tree.node_names[0]
    expected = np.ones(())
    for mode in tree.modes:
        expected = np.multiply.outer(expected, vectors[mode])
    np.testing.assert_allclose(to_numpy(tnet.contract(state)), expected, atol=1e-12)
    for node in tree.node_names[1:]:
        assert np.linalg.norm(to_numpy(state[node])) == pytest.approx(1.0)


def test_product_states_by_index_and_dtype():
    tree = tnet.balanced_tree({"a": 2, "b": 3, "c": 2}, 4)
    state = tnet.product_state(tree, {"a": 1, "b": 2, "c": [1, 0]}, dtype="complex64")
    assert state.dtype == "complex64"
    assert np.flatnonzero(to_numpy(tnet.contract(state))).tolist() == [1 * 6 + 2 * 2 + 0]
    long = tnet.tensor_train((2,) * 3000)
    with pytest.raises(InputError, match="normalise"):
        tnet.product_state(long, {key: [3.0, 1.0] for key in long.modes})
    assert tnet.norm(tnet.product_state(long, dict.fromkeys(long.modes, 1))) == 1.0


@pytest.mark.parametrize(
    ("vectors", "error"),
    [
        ({"x0": 0}, StructureError),
        ({"x0": 0, "x1": 0, "x9": 0}, StructureError),
        ({"x0": 0, "x1": 2}, InputError),
        ({"x0": 0, "x1": [1.0, 2.0, 3.0]}, ShapeError),
        ({"x0": 0, "x1": [0.0, 0.0]}, InputError),
        ({"x0": 0, "x1": [np.nan, 0.0]}, NonFiniteError),
    ],
)
def test_product_states_that_cannot_be(vectors, error):
    with pytest.raises(error):
        tnet.product_state(tnet.tensor_train((2, 2)), vectors)


@given(networks(SMALL), seeds, st.booleans())
def test_local_values(net, seed, moved):
    rng = np.random.default_rng(seed)
    net = tnet.orthogonalize(net) if moved else 3.0 * net
    for complex_, hermitian in itertools.product((False, True), repeat=2):
        ops = {
            m: random_matrix(rng, net.structure.size[m], complex_, hermitian)
            for m in net.structure.modes
        }
        values = tnet.local_values(net, ops)
        expected = [np.trace(ops[m] @ dense_density(net, [m])) for m in net.structure.modes]
        np.testing.assert_allclose(values, expected, atol=tolerance(net) * 10)
        real = not (complex_ or net.dtype.startswith("complex"))
        real |= all(np.array_equal(x, x.conj().T) for x in ops.values())
        assert values.dtype == (np.float64 if real else np.complex128)


def test_local_values_of_some_sites_and_sparse_operators():
    from scipy import sparse

    rng = np.random.default_rng(0)
    net = tnet.random_network(tnet.balanced_tree((3, 400, 2, 5), 3), rng=rng)
    op = sparse.random(400, 400, 0.01, random_state=1, format="csr")
    for namespace in NAMESPACES:
        there = net.to(namespace=namespace)
        (value,) = tnet.local_values(there, {"x1": op})
        assert value == pytest.approx(np.trace(op.toarray() @ dense_density(net, ["x1"])).real)
        two = tnet.local_values(there, {"x1": op, "x3": "n"}, ["x3", "x1"])
        assert two[1] == value
    with pytest.raises(StructureError, match="no mode"):
        tnet.local_values(net, "n", ["x9"])
    with pytest.raises(StructureError, match="no operator"):
        tnet.local_values(net, {"x1": op}, ["x0"])
    with pytest.raises(ShapeError):
        tnet.local_values(net, np.eye(2))


@given(networks(SMALL), st.data())
def test_reduced_densities(net, data):
    modes = data.draw(st.lists(st.sampled_from(net.structure.modes), min_size=1, unique=True))
    found = to_numpy(tnet.reduced_density(net, modes))
    np.testing.assert_allclose(found, dense_density(net, modes), atol=tolerance(net))


@given(networks(SMALL, dtypes=("float64", "complex128")), st.data())
def test_entropies_of_any_modes(net, data):
    modes = data.draw(st.lists(st.sampled_from(net.structure.modes), min_size=1, unique=True))
    order = data.draw(st.sampled_from([1.0, 2.0, 0.5]))
    expected = dense_entropy(net, modes, order)
    loose = 1e-6 if order < 1 else 1e-9  # the oracle squares the small values
    assert tnet.entropy(net, modes, order=order) == pytest.approx(expected, abs=loose)


@given(networks(SMALL, dtypes=("float64", "complex128")), st.data())
def test_entropies_of_bonds_and_mutual_information(net, data):
    entropies = tnet.bond_entropies(net)
    assert tuple(entropies) == net.structure.bonds
    for bond in net.structure.bonds:
        below = tnet.rooted(net.structure, net.structure.holders[bond][0])
        far = net.structure.holders[bond][1]
        modes = below.leaves_below[far]
        expected = dense_entropy(net, modes) if modes else 0.0
        assert entropies[bond] == pytest.approx(expected, abs=1e-9)
        assert tnet.entropy(net, bond) == pytest.approx(expected, abs=1e-9)
    if len(net.structure.modes) > 1:
        some = data.draw(st.permutations(net.structure.modes))
        cut = data.draw(st.integers(1, len(some) - 1))
        stop = data.draw(st.integers(cut + 1, len(some)))
        a, b = some[:cut], some[cut:stop]
        expected = dense_entropy(net, a) + dense_entropy(net, b) - dense_entropy(net, a + b)
        assert tnet.mutual_information(net, a, b) == pytest.approx(expected, abs=1e-9)


def test_entropies_of_many_modes_cost_only_their_borders():
    """Half of 400 modes in two blocks: 2^200 states on each side."""
    rng = np.random.default_rng(0)
    net = tnet.orthogonalize(tnet.random_network(tnet.tensor_train((2,) * 400, 3), rng=rng))
    modes = [f"x{k}" for k in (*range(20, 150), *range(300, 370))]
    others = [m for m in net.structure.modes if m not in modes]
    a, b = tnet.entropy(net, modes), tnet.entropy(net, others)
    assert a == pytest.approx(b, abs=1e-10)
    assert 0.0 < a <= 4 * math.log(3)


def test_what_entropies_refuse():
    net = tnet.random_network(tnet.tensor_train((2, 2), 2), rng=np.random.default_rng(0))
    with pytest.raises(InputError, match="order"):
        tnet.entropy(net, "x0", order=-1.0)
    with pytest.raises(StructureError, match="both sets"):
        tnet.mutual_information(net, ["x0"], ["x0", "x1"])
    with pytest.raises(StructureError, match="no mode"):
        tnet.entropy(net, "g5-g6")
    with pytest.raises(InputError, match="zero"):
        tnet.entropy(0.0 * net, "x0")
    flat = tnet.Network(tnet.tensor_train((2, 2), 2), {"g0": np.eye(2), "g1": np.eye(2)})
    for order in (0.0, 0.5, 1.0, 2.0, math.inf):
        assert tnet.entropy(flat, "g0-g1", order=order) == pytest.approx(math.log(2))


def test_scales_and_lengths():
    """Norms far out of range, and a chain far longer than any recursion."""
    rng = np.random.default_rng(0)
    net = tnet.random_network(tnet.tensor_train((2,) * 12, 3), rng=rng)
    values = tnet.local_values(net, "z")
    for factor in (1e-290, 1e290):
        scaled = tnet.Network(net.structure, {**net.arrays, "g5": net["g5"] * factor})
        np.testing.assert_allclose(tnet.local_values(scaled, "z"), values, atol=1e-12)
        assert tnet.entropy(scaled, "g3-g4") == pytest.approx(tnet.entropy(net, "g3-g4"))
    huge = tnet.random_network(tnet.tensor_train((2,) * 5000, 2), rng=rng)  # norm 2^2000 or so
    assert np.isfinite(tnet.local_values(huge, "z")).all()
    long = tnet.tensor_train((2,) * 5000)
    state = tnet.product_state(long, {key: [0.6, 0.8] for key in long.modes})
    np.testing.assert_allclose(tnet.local_values(state, "z"), 0.36 - 0.64, atol=1e-12)
    assert max(tnet.bond_entropies(state).values()) < 1e-10
