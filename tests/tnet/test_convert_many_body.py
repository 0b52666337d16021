"""To the many-body states of TeNPy, PyTreeNet and quimb and back: the same vector, site by site."""

import importlib.util
import warnings

import numpy as np
import pytest
from hypothesis import given

import tnet
from contraction.arrays import to_numpy
from contraction.errors import InputError, StructureError
from strategies import NAMESPACES, networks, trees

needs_pytreenet = pytest.mark.skipif(
    importlib.util.find_spec("pytreenet") is None, reason="PyTreeNet is not installed"
)


def dense(net):
    return to_numpy(tnet.contract(net))


def chain(shape, rank, dtype="complex128", seed=0):
    rng = np.random.default_rng(seed)
    return tnet.random_network(tnet.tensor_train(shape, rank), rng=rng, dtype=dtype)


# ---- TeNPy ---------------------------------------------------------------------------------


@pytest.fixture
def tenpy():
    found = pytest.importorskip("tenpy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield found


def full(psi):
    """The vector of a TeNPy state, basis states as without charges."""
    theta = psi.get_theta(0, psi.L).to_ndarray()
    theta = theta.reshape([site.dim for site in psi.sites]) * psi.norm
    for axis, site in enumerate(psi.sites):
        theta = np.take(theta, np.argsort(site.perm), axis=axis)
    return theta


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize(
    ("shape", "rank"), [((2, 3, 2, 4), (2, 5, 3)), ((2, 2, 2), 1), ((2,) * 6, 4)]
)
def test_tenpy_round_trip(tenpy, shape, rank, dtype, namespace):
    net = 2.5 * chain(shape, rank, dtype).to(namespace=namespace)
    psi = tnet.to_tenpy(net)
    assert psi.L == len(shape)
    np.testing.assert_allclose(full(psi), dense(net), atol=1e-12)
    assert np.max(psi.norm_test()) < 1e-12
    back = tnet.from_tenpy(psi)
    assert back.structure.modes == tuple(f"s{k}" for k in range(len(shape)))
    np.testing.assert_allclose(dense(back), dense(net), atol=1e-12)


@pytest.mark.parametrize("conserve", ["Sz", "parity", None])
def test_tenpy_states_with_charges(tenpy, conserve):
    from tenpy.networks.mps import MPS
    from tenpy.networks.site import SpinHalfSite, SpinSite

    sites = [SpinHalfSite(conserve=conserve), SpinSite(S=1.0, conserve=conserve)] * 3
    up = ["up", 2, "down", 0, "up", 1]
    psi = MPS.from_product_state(sites, up, bc="finite", unit_cell_width=6)
    assert np.argwhere(abs(dense(tnet.from_tenpy(psi))) > 0.5).tolist() == [[0, 2, 1, 0, 0, 1]]
    for k in range(5):  # swaps that conserve and entangle
        psi.apply_local_op(k, _hop(psi, k), unitary=False)
    net = tnet.from_tenpy(psi)
    assert max(net.ranks.values()) > 1
    np.testing.assert_allclose(dense(net), full(psi), atol=1e-12)
    again = tnet.to_tenpy(net, sites)
    np.testing.assert_allclose(full(again), full(psi), atol=1e-12)
    plain = [SpinHalfSite(conserve=None), SpinSite(S=1.0, conserve=None)] * 3
    ops = {f"s{k}": site.get_op("Sz").to_ndarray() for k, site in enumerate(plain)}
    sz = tnet.local_values(net, ops)
    np.testing.assert_allclose(sz, psi.expectation_value("Sz"), atol=1e-12)


def _hop(psi, k):
    """1 + S+ S- + S- S+ on sites k and k + 1, which conserves the spin."""
    import tenpy.linalg.np_conserved as npc

    a, b = psi.sites[k], psi.sites[k + 1]
    terms = [("Sp", "Sm"), ("Sm", "Sp"), ("Id", "Id")]
    total = None
    for left, right in terms:
        one = npc.outer(
            a.get_op(left).replace_labels(["p", "p*"], ["p0", "p0*"]),
            b.get_op(right).replace_labels(["p", "p*"], ["p1", "p1*"]),
        )
        total = one if total is None else total + one
    return total


@pytest.mark.parametrize("form", ["A", "B", "C", "G", (0.5, 0.5)])
def test_every_canonical_form_of_tenpy(tenpy, form):
    net = chain((2,) * 5, 4)
    psi = tnet.to_tenpy(net)
    psi.convert_form(form)
    np.testing.assert_allclose(dense(tnet.from_tenpy(psi)), dense(net), atol=1e-9)


def test_tenpy_purifications(tenpy):
    from tenpy.networks.purification_mps import PurificationMPS
    from tenpy.networks.site import SpinHalfSite

    psi = PurificationMPS.from_infiniteT(
        [SpinHalfSite(conserve="Sz")] * 3, bc="finite", unit_cell_width=3
    )
    net = tnet.from_tenpy(psi)
    assert net.structure.modes == ("s0", "s1", "s2", "q0", "q1", "q2")
    np.testing.assert_allclose(
        to_numpy(tnet.reduced_density(net, ["s0", "s2"])), np.eye(4) / 4, atol=1e-12
    )
    assert tnet.mutual_information(net, "s1", "q1") == pytest.approx(2 * np.log(2))


def test_what_tenpy_cannot_hold(tenpy):
    rng = np.random.default_rng(0)
    with pytest.raises(StructureError, match="path"):
        tnet.to_tenpy(tnet.random_network(tnet.balanced_tree((2,) * 4, 2), rng=rng))
    net = chain((2, 2, 2), 2)
    turned = tnet.Network(net.structure.permuted(("x1", "x0", "x2")), net.arrays)
    with pytest.raises(StructureError, match="order"):
        tnet.to_tenpy(turned)
    against = tnet.Network(net.structure.permuted(("x2", "x1", "x0")), net.arrays)
    np.testing.assert_allclose(full(tnet.to_tenpy(against)), dense(against), atol=1e-12)
    with pytest.raises(InputError, match="zero"):
        tnet.to_tenpy(0.0 * net)
    with pytest.raises(InputError, match="from_tenpy takes"):
        tnet.from_tenpy(np.ones(3))


# ---- PyTreeNet -----------------------------------------------------------------------------


@needs_pytreenet
@given(networks(trees(max_nodes=6, max_size=3, max_rank=3), dtypes=("float64", "complex128")))
def test_pytreenet_round_trip(net):
    structure = net.structure
    state = tnet.to_pytreenet(net)
    assert set(state.nodes) == set(structure.node_names)
    held: dict[str, list[str]] = {}
    for name, legs in structure.nodes:
        if own := [leg for leg in legs if leg in structure.modes]:
            held[name] = own
    back = tnet.from_pytreenet(state, held)
    order = [back.structure.modes.index(mode) for mode in structure.modes]
    np.testing.assert_allclose(dense(back).transpose(order), dense(net), atol=1e-12)


@needs_pytreenet
@pytest.mark.parametrize("centred", [False, True])
def test_pytreenet_vectors_and_site_order(centred):
    net = tnet.random_network(
        tnet.balanced_tree((2, 3, 2, 4, 2), 3), rng=np.random.default_rng(0), dtype="complex128"
    )
    net = tnet.orthogonalize(net, "t1") if centred else net
    state = tnet.to_pytreenet(net)
    assert state.orthogonality_center_id == net.center
    whole, order = state.completely_contract_tree(to_copy=True)
    mode_of = {net.structure.holders[mode][0]: mode for mode in net.structure.modes}
    axes = [k for k, node in enumerate(order) if node in mode_of]
    kept = [mode_of[order[k]] for k in axes]
    whole = whole.reshape([n for k, n in enumerate(whole.shape) if k in axes])
    np.testing.assert_allclose(whole, to_numpy(tnet.contract(net, kept)), atol=1e-12)
    plain = tnet.from_pytreenet(state)
    assert set(plain.structure.modes) == {"u0", "u1", "u2", "u3", "u4"}
    np.testing.assert_allclose(
        to_numpy(tnet.contract(plain, [f"u{k}" for k in range(5)])), dense(net), atol=1e-12
    )
    z = state.single_site_operator_expectation_value("u0", np.diag([1.0, -1.0]))
    values = tnet.local_values(net, {"x0": "z"})
    assert values[0] == pytest.approx(z.real / state.scalar_product().real)


@needs_pytreenet
def test_what_pytreenet_cannot_say():
    state = tnet.to_pytreenet(chain((2, 2), 2))
    with pytest.raises(StructureError, match="open legs"):
        tnet.from_pytreenet(state, {"g0": "a"})
    with pytest.raises(InputError, match="from_pytreenet takes"):
        tnet.from_pytreenet(np.ones(3))


# ---- quimb ---------------------------------------------------------------------------------


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_quimb_chains_keep_their_class(namespace):
    qtn = pytest.importorskip("quimb.tensor")
    net = chain((2,) * 12, 3).to(namespace=namespace)
    mps = tnet.to_quimb(net)
    assert isinstance(mps, qtn.MatrixProductState)
    assert mps.site_inds == net.structure.modes
    assert tnet.from_quimb(mps).structure == net.structure
    if namespace == "numpy":
        vector = mps.to_dense().reshape(net.shape)
        np.testing.assert_allclose(vector, dense(net), atol=1e-12)
        mps.canonicalize_(3)
        np.testing.assert_allclose(mps.to_dense().reshape(net.shape), dense(net), atol=1e-12)
        np.testing.assert_allclose(dense(tnet.from_quimb(mps)), dense(net), atol=1e-12)


def test_quimb_chains_come_and_go():
    qtn = pytest.importorskip("quimb.tensor")
    mps = qtn.MPS_rand_state(12, 4, seed=0, dtype="complex128")
    net = tnet.from_quimb(mps)
    assert net.structure.modes == tuple(f"k{k}" for k in range(12))
    np.testing.assert_allclose(dense(net).reshape(-1, 1), mps.to_dense(), atol=1e-12)
    back = tnet.to_quimb(net)
    assert isinstance(back, qtn.MatrixProductState)
    assert abs(back.H @ mps) == pytest.approx(1.0)
    np.testing.assert_allclose(back.entropy(6), mps.entropy(6))
    np.testing.assert_allclose(
        tnet.entropy(net, [f"k{k}" for k in range(6)]) / np.log(2), mps.entropy(6)
    )


def test_quimb_trees():
    qtn = pytest.importorskip("quimb.tensor")
    net = tnet.random_network(tnet.balanced_tree((2,) * 11, 3), rng=np.random.default_rng(0))
    tree = tnet.to_quimb(net)
    assert not isinstance(tree, qtn.MatrixProductState)
    back = tnet.from_quimb(tree, net.structure.modes)
    assert back.structure.same_graph(net.structure)
    np.testing.assert_allclose(dense(back), dense(net), atol=1e-12)
    vector = tree.view_as(
        qtn.TensorNetworkGenVector, sites=range(11), site_ind_id="x{}", site_tag_id="u{}"
    )
    assert tnet.from_quimb(vector).structure.modes == net.structure.modes
