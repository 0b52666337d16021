"""To TensorLy and quimb and back: the same tensor, the same graph."""

import numpy as np
import pytest
import tensorly as tl
from hypothesis import given
from hypothesis import strategies as st

import tnet
from contraction.arrays import to_numpy
from contraction.errors import InputError, StructureError
from strategies import NAMESPACES, graphs, networks, trees

qtn = pytest.importorskip("quimb.tensor")


def dense(net):
    return to_numpy(tnet.contract(net))


FORMATS = {
    "CPTensor": tnet.cp((3, 4, 5), 2),
    "TuckerTensor": tnet.tucker((3, 4, 5), (2, 3, 4)),
    "TTTensor": tnet.tensor_train((3, 4, 5), (2, 3)),
    "TRTensor": tnet.tensor_ring((3, 4, 5), (2, 3, 4)),
    "TTMatrix": tnet.tt_matrix((2, 3, 2), (3, 2, 4), (2, 3)),
}
TO_DENSE = {
    "CPTensor": tl.cp_to_tensor,
    "TuckerTensor": tl.tucker_to_tensor,
    "TTTensor": tl.tt_to_tensor,
    "TRTensor": tl.tr_to_tensor,
    "TTMatrix": tl.tt_matrix_to_tensor,
}


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("dtype", ["float64", "complex128", "float32"])
def test_tensorly_round_trip(kind, namespace, dtype):
    net = tnet.random_network(FORMATS[kind], rng=np.random.default_rng(0), dtype=dtype)
    net = net.to(namespace=namespace)
    obj = tnet.to_tensorly(net)
    assert type(obj).__name__ == kind
    assert tuple(obj.shape) == net.shape
    if namespace == "numpy":
        np.testing.assert_allclose(TO_DENSE[kind](obj), dense(net), atol=1e-5)
    back = tnet.from_tensorly(obj)
    assert back.structure == net.structure
    assert (back.namespace, back.dtype) == (namespace, dtype)
    for node in net.structure.node_names:
        np.testing.assert_array_equal(to_numpy(back[node]), to_numpy(net[node]))


@pytest.mark.parametrize("kind", FORMATS)
def test_the_graph_decides_not_the_names(kind):
    """Other names, node orders and axis orders, and for CP and Tucker any order of the modes."""
    rng = np.random.default_rng(0)
    for seed in range(5):
        plain = FORMATS[kind]
        shuffle = np.random.default_rng(seed)
        nodes = [(f"node {n}", shuffle.permutation(legs).tolist()) for n, legs in plain.nodes]
        order = plain.modes
        if kind in ("CPTensor", "TuckerTensor"):
            order = shuffle.permutation(order).tolist()
        nodes = [nodes[i] for i in shuffle.permutation(len(nodes))]
        net = tnet.random_network(tnet.Structure(nodes, plain.sizes, order), rng=rng)
        obj = tnet.to_tensorly(net)
        assert type(obj).__name__ == kind
        np.testing.assert_allclose(TO_DENSE[kind](obj), dense(net), atol=1e-12)
        np.testing.assert_allclose(dense(tnet.from_tensorly(obj)), dense(net), atol=1e-12)


@pytest.mark.parametrize(
    ("structure", "kind"),
    [
        (tnet.tensor_train((4,)), "TTTensor"),
        (tnet.tensor_train((4, 5), 2), "TTTensor"),
        (tnet.cp((4, 5), 2), "TTTensor"),
        (tnet.tucker((4, 5), 2), "TuckerTensor"),
        (tnet.tensor_ring((4, 5), (2, 3)), "TRTensor"),
        (tnet.tt_matrix((2,), (3,)), "TTMatrix"),
        (tnet.tt_matrix((2, 2), (3, 3), 2), "TTMatrix"),
    ],
)
def test_small_orders(structure, kind):
    net = tnet.random_network(structure, rng=np.random.default_rng(0))
    obj = tnet.to_tensorly(net)
    assert type(obj).__name__ == kind
    if kind != "TTMatrix" and len(net.shape) > 1:
        np.testing.assert_allclose(TO_DENSE[kind](obj), dense(net), atol=1e-12)
    np.testing.assert_allclose(dense(tnet.from_tensorly(obj)), dense(net), atol=1e-12)


def test_what_tensorly_cannot_hold():
    rng = np.random.default_rng(0)
    for structure in (
        tnet.balanced_tree((2, 2, 2, 2), 2),
        tnet.grid((2, 2, 2, 2, 2, 2), 2),
        tnet.tucker((4,), 2),
        tnet.Structure({"a": ("x",), "b": ("y",)}, {"x": 2, "y": 2}),
        tnet.Structure({"a": ("x", "y", "z")}, {"x": 2, "y": 2, "z": 2}),
    ):
        with pytest.raises(StructureError, match="no class"):
            tnet.to_tensorly(tnet.random_network(structure, rng=rng))
    turned = tnet.tensor_train((2, 3, 4), 2).permuted(("x1", "x0", "x2"))
    with pytest.raises(StructureError, match="permuted"):
        tnet.to_tensorly(tnet.random_network(turned, rng=rng))
    for wrong in ((np.ones(2), [np.ones((3, 2))]), np.ones(3), None):
        with pytest.raises(InputError, match="from_tensorly takes"):
            tnet.from_tensorly(wrong)


def test_tensorly_decompositions_come_over():
    x = np.random.default_rng(0).standard_normal((4, 5, 6))
    weighted = tl.cp_normalize(tl.decomposition.parafac(x, 3, n_iter_max=5, random_state=0))
    np.testing.assert_allclose(
        dense(tnet.from_tensorly(weighted)), tl.cp_to_tensor(weighted), atol=1e-12
    )
    for obj, full in (
        (tl.decomposition.tucker(x, (2, 3, 2)), tl.tucker_to_tensor),
        (tl.decomposition.tensor_train(x, (1, 3, 2, 1)), tl.tt_to_tensor),
        (tl.decomposition.tensor_ring(x, (2, 2, 3, 2)), tl.tr_to_tensor),
    ):
        np.testing.assert_allclose(dense(tnet.from_tensorly(obj)), full(obj), atol=1e-12)
    vector = tl.cp_tensor.CPTensor((np.array([2.0, 3.0]), [np.ones((4, 2))]))
    np.testing.assert_allclose(dense(tnet.from_tensorly(vector)), np.full(4, 5.0))


@given(networks(st.one_of(trees(), graphs())))
def test_quimb_round_trip(net):
    back = tnet.from_quimb(tnet.to_quimb(net), modes=net.structure.modes)
    assert back.structure == net.structure
    for node in net.structure.node_names:
        np.testing.assert_array_equal(to_numpy(back[node]), to_numpy(net[node]))


@given(networks(st.one_of(trees(), graphs()), namespaces=("numpy",), dtypes=("float64",)))
def test_quimb_sees_the_same_tensor(net):
    modes = net.structure.modes
    found = tnet.to_quimb(net).contract(output_inds=modes, optimize="greedy")
    data = found.transpose(*modes).data if modes else found
    np.testing.assert_allclose(data, dense(net), atol=1e-10 * max(1.0, np.abs(dense(net)).max()))


def quimb_networks():
    yield qtn.MPS_rand_state(5, 3, seed=0)
    yield qtn.MPS_rand_state(5, 3, cyclic=True, seed=0)
    yield qtn.MPO_rand(4, 3, seed=0)
    yield qtn.PEPS.rand(2, 3, 2, seed=0)
    yield qtn.TN_rand_reg(6, 3, 2, phys_dim=2, seed=0)
    yield qtn.HTN2D_classical_ising_partition_function(3, 3, beta=0.3)
    yield qtn.MPS_rand_state(3, 2, seed=0) & qtn.MPS_rand_state(3, 2, seed=1).reindex(
        {f"k{i}": f"q{i}" for i in range(3)}
    )
    yield qtn.Tensor(np.ones((2, 3)), inds=("a", "b"))
    yield qtn.Tensor(np.array(2.0))


@pytest.mark.parametrize("tn", list(quimb_networks()), ids=lambda tn: type(tn).__name__)
def test_networks_made_by_quimb(tn):
    net = tnet.from_quimb(tn)
    outer = tn.outer_inds() if isinstance(tn, qtn.TensorNetwork) else tn.inds
    assert net.structure.modes == tuple(outer)
    assert not any(leg.startswith("_") for leg in net.structure.size)
    if isinstance(tn, qtn.TensorNetwork):
        want = tn.contract(output_inds=outer, optimize="greedy")
        want = want.transpose(*outer).data if outer else want
    else:
        want = tn.data
    np.testing.assert_allclose(dense(net), want, atol=1e-10 * np.abs(want).max())


def test_names_from_quimb():
    mps = qtn.MPS_rand_state(3, 2, seed=0)
    net = tnet.from_quimb(mps, modes=("k2", "k0", "k1"))
    assert net.structure.node_names == ("I0", "I1", "I2")
    assert net.structure.bonds == ("I0-I1", "I1-I2")
    assert net.shape == (2, 2, 2)
    with pytest.raises(StructureError, match="modes"):
        tnet.from_quimb(mps, modes=("k0", "k1"))
    double = qtn.TensorNetwork(
        [
            qtn.Tensor(np.ones((2, 2)), inds=("_0123abAAAAA", "_0123abAAAAB"), tags=["both"]),
            qtn.Tensor(np.ones((2, 2)), inds=("_0123abAAAAA", "_0123abAAAAB"), tags=["both", "t0"]),
        ]
    )
    net = tnet.from_quimb(double)
    assert net.structure.node_names == ("t1", "t0")
    assert net.structure.bonds == ("t1-t0", "t1-t0-1")


def test_exponents_and_dtypes_from_quimb():
    tn = qtn.TensorNetwork(
        [
            qtn.Tensor(np.ones((2, 2), np.float32), inds=("a", "b")),
            qtn.Tensor(1j * np.ones(2), inds=("b",)),
        ]
    )
    tn.exponent = 2.0
    net = tnet.from_quimb(tn)
    assert net.dtype == "complex128"
    np.testing.assert_allclose(dense(net), [200j, 200j])
    for wrong in (None, np.ones(2), qtn.TensorNetwork([])):
        with pytest.raises(InputError, match="from_quimb takes"):
            tnet.from_quimb(wrong)
    with pytest.raises(StructureError, match="trace"):
        tnet.from_quimb(qtn.Tensor(np.ones((2, 2)), inds=("a", "a")))
