"""Expectation values, variances and correlations on random trees equal the dense ones."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tnet
from contraction.arrays import eps, to_numpy
from contraction.errors import DTypeError, InputError, StructureError
from strategies import NAMESPACES, networks, seeds, trees

SMALL = trees(max_nodes=6, max_size=3, max_rank=3)


def dense(net):
    x = to_numpy(tnet.contract(net)).astype(np.complex128).reshape(-1)
    return x / np.linalg.norm(x)


def dense_term(structure, coefficient, factors):
    found = np.array([[coefficient]])
    for mode in structure.modes:
        n = structure.size[mode]
        found = np.kron(found, factors.get(mode, np.eye(n)))
    return found


def random_terms(structure, rng, complex_, count=6):
    terms = []
    for _ in range(count):
        sites = rng.permutation(structure.modes)[: rng.integers(0, 4)]
        factors = {}
        for mode in sites.tolist():
            n = structure.size[mode]
            x = rng.standard_normal((n, n))
            factors[mode] = x + 1j * rng.standard_normal((n, n)) if complex_ else x
        terms.append((float(rng.standard_normal()), factors))
    return terms


@settings(max_examples=40)
@given(networks(SMALL), seeds, st.booleans())
def test_expectation_and_variance(net, seed, complex_):
    rng = np.random.default_rng(seed)
    terms = random_terms(net.structure, rng, complex_)
    op = tnet.operator(net.structure, terms)
    matrix = sum(dense_term(net.structure, *term) for term in terms)
    psi = dense(net)
    mean = np.vdot(psi, matrix @ psi)
    size = max(np.linalg.norm(matrix, 2), 1.0)
    tol = 1e3 * eps(net.dtype) * size
    assert abs(tnet.expectation(2.5 * net, op) - mean) < tol
    assert abs(tnet.expectation(net, terms) - mean) < tol
    assert abs(tnet.expectation(net, op.to_network().to(namespace=net.namespace)) - mean) < tol
    spread = np.linalg.norm(matrix @ psi - mean * psi) ** 2
    assert abs(tnet.variance(2.5 * net, op) - spread) < tol * size


def dense_correlations(net, left, right):
    psi = dense(net)
    modes = net.structure.modes
    found = np.zeros((len(modes), len(modes)), dtype=np.complex128)
    for i, a in enumerate(modes):
        for j, b in enumerate(modes):
            both = dense_term(net.structure, 1.0, {a: left[a]})
            found[i, j] = np.vdot(psi, both @ (dense_term(net.structure, 1.0, {b: right[b]}) @ psi))
    return found


@given(networks(SMALL), seeds, st.sampled_from(["any", "same", "adjoint"]), st.booleans())
def test_correlations(net, seed, kind, complex_):
    rng = np.random.default_rng(seed)

    def draw():
        found = {}
        for m in net.structure.modes:
            n = net.structure.size[m]
            x = rng.standard_normal((n, n))
            found[m] = x + 1j * rng.standard_normal((n, n)) if complex_ else x
        return found

    left = draw()
    right = {"any": draw(), "same": left, "adjoint": {m: x.conj().T for m, x in left.items()}}[kind]
    found = tnet.correlation_matrix(1.5 * net, left, right)
    expected = dense_correlations(net, left, right)
    np.testing.assert_allclose(found, expected, atol=1e4 * eps(net.dtype))
    some = list(net.structure.modes[::-2])
    places = [net.structure.modes.index(m) for m in some]
    part = tnet.correlation_matrix(net, left, right, some)
    np.testing.assert_allclose(part, expected[np.ix_(places, places)], atol=1e4 * eps(net.dtype))


def test_correlations_in_chunks_and_by_name(monkeypatch):
    from tnet.measure import correlations

    rng = np.random.default_rng(0)
    net = tnet.random_network(tnet.tensor_train((2,) * 30, 4), rng=rng, dtype="complex128")
    whole = tnet.correlation_matrix(net, "x", "y")
    assert whole.dtype == np.complex128
    assert tnet.correlation_matrix(net, "y", "y").dtype == np.float64
    monkeypatch.setattr(correlations, "CHUNK_ENTRIES", 70)
    np.testing.assert_allclose(tnet.correlation_matrix(net, "x", "y"), whole, atol=1e-12)
    for i, j in ((0, 29), (17, 3), (9, 9)):
        factors = {f"x{i}": "x", f"x{j}": "y"} if i != j else {f"x{i}": ("x", "y")}
        assert whole[i, j] == pytest.approx(tnet.expectation(net, (1.0, factors)), abs=1e-12)
    with pytest.raises(InputError, match="Jordan-Wigner"):
        tnet.correlation_matrix(net, "cdag", "c")


def test_large_sparse_modes():
    """Modes of 300 states with sparse operators beside small ones, on one node and on several."""
    from scipy import sparse

    tree = tnet.Structure(
        {"a": ("p", "r"), "b": ("r", "q", "s"), "c": ("s", "w")},
        {"p": 300, "q": 2, "w": 280, "r": 3, "s": 4},
    )
    ops = {
        m: sparse.random(n, n, 0.02, random_state=1, format="csr")
        for m, n in (("p", 300), ("w", 280))
    }
    for namespace in NAMESPACES:
        net = tnet.random_network(tree, rng=np.random.default_rng(0)).to(namespace=namespace)
        psi = to_numpy(tnet.contract(net))
        psi = psi / np.linalg.norm(psi)
        both = np.einsum(
            "pqw,ps,sqv,wv->", psi, ops["p"].toarray(), psi, ops["w"].toarray(), optimize=True
        )
        found = tnet.correlation_matrix(net, ops, ops)
        assert found[0, 1] == pytest.approx(both)
        op = tnet.operator(tree, [(2.0, {"p": ops["p"], "w": ops["w"]}), (0.5, {"q": "z"})])
        z = np.einsum("pqw,q,pqw->", psi, [1.0, -1.0], psi)
        assert tnet.expectation(net, op) == pytest.approx(2.0 * both + 0.5 * z)
        assert tnet.variance(net, (1.0, {"q": "z"})) == pytest.approx(1 - z**2)


def heisenberg(count):
    bonds = [(f"x{k}", f"x{k + 1}") for k in range(count - 1)]
    return [(1.0, {a: op, b: op}) for a, b in bonds for op in ("sx", "sy", "sz")]


def test_variance_of_an_eigenstate_does_not_cancel():
    """Neel-like singlets: an exact eigenstate of a dimer chain of 200 sites with energy -75."""
    chain = tnet.tensor_train((2,) * 200, [2 if k % 2 == 0 else 1 for k in range(199)])
    singlet = np.array([[0.0, 1.0], [-1.0, 0.0]])
    arrays = {}
    for k, node in enumerate(chain.node_names):
        x = singlet if k % 2 == 0 else np.eye(2)
        arrays[node] = x.reshape(chain.node_shape(node))
    state = tnet.Network(chain, arrays)
    terms = [t for k, t in enumerate(heisenberg(200)) if (k // 3) % 2 == 0]
    op = tnet.operator(chain, terms)
    assert tnet.expectation(state, op) == pytest.approx(-75.0, abs=1e-11)
    assert tnet.variance(state, op) < 1e-13  # <H^2> - <H>^2 would leave about 1e-12
    assert tnet.variance(state, op + 1e6 * tnet.operator(chain, [(1.0, {})])) < 1e-13


def test_operator_networks_of_other_graphs():
    rng = np.random.default_rng(0)
    net = tnet.random_network(tnet.tensor_train((2, 3, 2), 2), rng=rng)
    small = tnet.Network(
        tnet.Structure({"g1": ("x1'", "x1")}, {"x1'": 3, "x1": 3}),
        {"g1": rng.standard_normal((3, 3))},
    )
    matrix = dense_term(net.structure, 1.0, {"x1": small["g1"]})
    psi = dense(net)
    mean = np.vdot(psi, matrix @ psi).real
    assert tnet.expectation(net, small) == pytest.approx(mean)
    assert tnet.variance(net, small) == pytest.approx(
        np.linalg.norm(matrix @ psi - mean * psi) ** 2
    )


def test_what_is_no_operator():
    net = tnet.random_network(tnet.tensor_train((2, 2), 2), rng=np.random.default_rng(0))
    with pytest.raises(DTypeError, match="local_values"):
        tnet.expectation(net, "z")
    other = tnet.operator(tnet.balanced_tree((2, 2)), [(1.0, {"x0": "z"})])
    with pytest.raises(StructureError, match="different graphs"):
        tnet.expectation(net, other)
    ring = tnet.random_network(tnet.tensor_ring((2, 2, 2), 2), rng=np.random.default_rng(0))
    with pytest.raises(StructureError, match="tree"):
        tnet.expectation(ring, [(1.0, {"x0": "z"})])
    assert tnet.expectation(net, [(0.0, {"x0": "z"})]) == 0.0
    assert tnet.expectation(net, [(3.0, {})]) == pytest.approx(3.0)


@settings(max_examples=30)
@given(networks(SMALL))
def test_measures_by_name(net):
    modes = net.structure.modes
    profile = tnet.local_profile("n")(net)
    assert tnet.local_average("n", list(modes))(net) == pytest.approx(profile.mean())
    np.testing.assert_allclose(
        tnet.correlations("n", "n")(net), tnet.correlation_matrix(net, "n", "n")
    )
    np.testing.assert_allclose(
        tnet.entanglement_profile()(net), list(tnet.bond_entropies(net).values())
    )
    assert tnet.entanglement([modes[0]])(net) == pytest.approx(tnet.entropy(net, modes[0]))
    terms = [(1.0, {mode: "n"}) for mode in modes]
    assert tnet.energy(terms)(net) == pytest.approx(profile.sum(), abs=1e-3)
    n = np.diag(tnet.correlation_matrix(net, "n", "n")).sum()
    assert tnet.energy_variance(terms)(net) <= len(modes) * n + 1e-3
    assert math.isfinite(n)
    assert tnet.local_profile("n", ["x0"]) == tnet.local_profile("n", ("x0",))
