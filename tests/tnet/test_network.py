import numpy as np
import pytest
from hypothesis import given

import tnet
from contraction import arrays
from contraction.errors import BackendError, DTypeError, InputError, ShapeError, StructureError
from strategies import NAMESPACES, graphs, networks


def dense(net: tnet.Network) -> np.ndarray:
    """Return the full tensor by one einsum over all legs: the oracle."""
    number = {leg: i for i, leg in enumerate(net.structure.size)}
    operands = []
    for node, legs in net.structure.nodes:
        operands += [arrays.to_numpy(net[node]), [number[leg] for leg in legs]]
    return np.einsum(*operands, [number[m] for m in net.structure.modes], optimize="greedy")


@given(networks(graphs()))
def test_contract_equals_einsum(net):
    got = arrays.to_numpy(tnet.contract(net))
    scale = max(float(np.abs(dense(net)).max()), 1e-30)
    tolerance = 1e-4 if net.dtype == "float32" else 1e-11
    np.testing.assert_allclose(got, dense(net), atol=tolerance * scale)


@given(networks(graphs()))
def test_scaling_and_conjugation(net):
    x = dense(net)
    factor = 2j if net.dtype == "complex128" else -2.0
    tolerance = 1e-3 if net.dtype == "float32" else 1e-11
    np.testing.assert_allclose(dense(factor * net), factor * x, atol=tolerance)
    np.testing.assert_allclose(dense(-net), -x, atol=tolerance)
    np.testing.assert_allclose(dense(net.conj()), x.conj(), atol=tolerance)
    assert (1j * net).dtype.startswith("complex")


def test_replace_follows_new_sizes_and_shares_the_rest():
    net = tnet.random_network(tnet.tensor_train((4, 5, 6), 2), rng=np.random.default_rng(0))
    wider = net.replace({"g0": np.ones((4, 3)), "g1": np.ones((3, 5, 2))})
    assert wider.ranks["g0-g1"] == 3
    assert wider["g2"] is net["g2"]
    with pytest.raises(ShapeError):
        net.replace({"g0": np.ones((4, 3))})
    with pytest.raises(ShapeError, match="2 legs"):
        net.replace({"g0": np.ones(4)})
    with pytest.raises(StructureError, match="no node 'q'"):
        net.replace({"q": np.ones(4)})


def test_malformed_networks_are_refused():
    s = tnet.tensor_train((4, 5), 2)
    good = {"g0": np.ones((4, 2)), "g1": np.ones((2, 5))}
    with pytest.raises(StructureError, match=r"nodes without \['g1'\]"):
        tnet.Network(s, {"g0": good["g0"]})
    with pytest.raises(ShapeError, match=r"needs shape \(2, 5\), got \(5, 2\)"):
        tnet.Network(s, {**good, "g1": np.ones((5, 2))})
    with pytest.raises(BackendError, match="share namespace"):
        tnet.Network(s, {**good, "g1": np.ones((2, 5), np.float32)})
    with pytest.raises(DTypeError, match="int64"):
        tnet.Network(s, {k: v.astype(int) for k, v in good.items()})
    with pytest.raises(StructureError, match="not a node"):
        tnet.Network(s, good, "q")
    with pytest.raises(DTypeError, match="scaled by a number"):
        tnet.scale(tnet.Network(s, good), "2")
    for factor in (float("nan"), float("inf"), complex(0.0, float("nan"))):
        with pytest.raises(InputError, match="finite number"):
            tnet.scale(tnet.Network(s, good), factor)
    with pytest.raises(BackendError, match="list"):
        tnet.Network(s, {k: v.tolist() for k, v in good.items()})
    with pytest.raises(TypeError, match="unsupported operand"):
        tnet.Network(s, good) + 1
    with pytest.raises(TypeError, match="unsupported operand"):
        tnet.Network(s, good) - 1
    with pytest.raises(TypeError):
        tnet.Network(s, good).arrays["g0"] = 1  # read-only


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
def test_networks_move_between_namespaces(namespace, dtype):
    net = tnet.random_network(tnet.tucker((4, 5, 6), 2), rng=np.random.default_rng(0), dtype=dtype)
    there = net.to(namespace=namespace)
    assert (there.namespace, there.device, there.dtype) == (namespace, "cpu", dtype)
    back = there.to(namespace="numpy")
    for node in net.arrays:
        np.testing.assert_array_equal(back[node], net[node])
    if dtype.startswith("complex"):
        with pytest.raises(DTypeError, match="imaginary"):
            net.to(dtype="float64")


def test_partial_sums_over_modes():
    net = tnet.random_network(tnet.tensor_ring((4, 5, 6), 2), rng=np.random.default_rng(0))
    np.testing.assert_allclose(tnet.contract(net, ["x2", "x0"]), dense(net).sum(1).T)


def test_a_narrower_dtype_has_no_bound():
    x = np.random.default_rng(0).standard_normal((5, 5, 5))
    net = tnet.decompose(x, tnet.tensor_train, tol=1e-10)
    narrow = net.to(dtype="float32")
    assert narrow.certificate.kind is tnet.ErrorKind.ESTIMATE
    assert np.isinf(narrow.certificate.bound)
    assert tnet.relative_error(narrow, x) <= narrow.error < 1e-6
    assert narrow.to(dtype="float64").certificate == narrow.certificate
    assert net.to(dtype="complex128").certificate == net.certificate
