"""Moving the centre leaves the tensor and makes every other node an isometry, on any tree."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tnet
from contraction.arrays import to_numpy
from contraction.errors import GaugeError, InputError, NonFiniteError, StructureError
from strategies import networks, trees

TOL = {"float32": 2e-5, "float64": 1e-12, "complex128": 1e-12}


def dense(net):
    return to_numpy(net.to_dense())


def isometry_defect(net, center):
    """Largest deviation from U^H U = 1 towards `center`, over all nodes but the centre."""
    tree = tnet.rooted(net.structure, center)
    worst = 0.0
    for node in tree.pre_order[1:]:
        x = np.moveaxis(to_numpy(net[node]), tree.axis(node), -1)
        x = x.reshape(-1, x.shape[-1]).astype(np.complex128)
        worst = max(worst, float(np.abs(x.conj().T @ x - np.eye(x.shape[1])).max()))
    return worst


@given(networks(trees()), st.data())
def test_moving_the_centre_keeps_the_tensor(net, data):
    center = data.draw(st.sampled_from(net.structure.node_names))
    moved = tnet.orthogonalize(net, center)
    x, tol = dense(net), TOL[net.dtype]
    scale = max(np.abs(x).max(), np.linalg.norm(x), 1e-30)
    assert moved.center == center
    assert (moved.dtype, moved.namespace) == (net.dtype, net.namespace)
    assert np.abs(dense(moved) - x).max() <= tol * scale
    assert isometry_defect(moved, center) <= tol
    assert abs(np.linalg.norm(to_numpy(moved[center])) - np.linalg.norm(x)) <= tol * scale
    assert all(moved.ranks[b] <= net.ranks[b] for b in net.structure.bonds)


@given(networks(trees()), st.data())
def test_a_known_centre_moves_along_the_way_only(net, data):
    names = st.sampled_from(net.structure.node_names)
    old, new = data.draw(names), data.draw(names)
    first = tnet.orthogonalize(net, old)
    second = tnet.move_center(first, new)
    way = set(tnet.rooted(net.structure, new).path(old, new))
    for node in net.structure.node_names:
        if node not in way:
            assert second[node] is first[node]
    assert isometry_defect(second, new) <= TOL[net.dtype]
    x = dense(net)
    assert np.abs(dense(second) - x).max() <= TOL[net.dtype] * max(np.linalg.norm(x), 1e-30)


def test_the_default_centre_is_the_present_one_or_the_first_node():
    net = tnet.random_network(tnet.tucker((3, 4, 5), 2), rng=np.random.default_rng(0))
    assert tnet.orthogonalize(net).center == "core"
    moved = tnet.orthogonalize(net, "u1")
    assert tnet.orthogonalize(moved) is moved


def test_long_products_stay_in_range():
    # the norms of the nodes multiply to 1e-400 and back to 1e0 at the end
    net = tnet.random_network(tnet.tensor_train((2,) * 12, 3), rng=np.random.default_rng(1))
    arrays = {n: x * (1e-40 if k < 10 else 1e200) for k, (n, x) in enumerate(net.arrays.items())}
    for center in ("g0", "g6", "g11"):
        moved = tnet.orthogonalize(tnet.Network(net.structure, arrays), center)
        assert isometry_defect(moved, center) < 1e-12
        size = np.linalg.norm(moved[center])
        assert size == pytest.approx(np.linalg.norm(dense(net)), rel=1e-10)


@pytest.mark.parametrize("factor", [1e200, 1e-200])
def test_a_norm_out_of_range_is_refused(factor):
    net = tnet.random_network(tnet.tensor_train((2,) * 4, 3), rng=np.random.default_rng(1))
    arrays = {node: x * factor for node, x in net.arrays.items()}
    with pytest.raises(InputError, match="beyond the range"):
        tnet.orthogonalize(tnet.Network(net.structure, arrays), "g2")


def test_clear_errors():
    ring = tnet.random_network(tnet.tensor_ring((2, 3, 4), 2), rng=np.random.default_rng(0))
    with pytest.raises(StructureError, match="cycle"):
        tnet.orthogonalize(ring)
    net = tnet.random_network(tnet.tucker((3, 4, 5), 2), rng=np.random.default_rng(0))
    with pytest.raises(StructureError, match="no node 'z'"):
        tnet.orthogonalize(net, "z")
    with pytest.raises(GaugeError, match="not known"):
        tnet.move_center(net, "u0")
    broken = net.replace({"u1": np.full((2, 4), np.nan)})
    with pytest.raises(NonFiniteError):
        tnet.orthogonalize(broken)


@pytest.mark.parametrize("torch_dtype", ["float64", "complex128"])
def test_gradients_flow_through_the_gauge(torch_dtype):
    torch = pytest.importorskip("torch")
    net = tnet.random_network(
        tnet.tensor_train((3, 3, 3), 2), rng=np.random.default_rng(0), dtype=torch_dtype
    ).to(namespace="torch")
    leaves = {node: x.clone().requires_grad_() for node, x in net.arrays.items()}
    moved = tnet.orthogonalize(tnet.Network(net.structure, leaves), "g2")
    size = (moved["g2"].abs() ** 2).sum()  # the squared norm of the tensor
    size.backward()
    direct = {node: x.clone().requires_grad_() for node, x in net.arrays.items()}
    (torch.einsum("ar,rbs,sc->abc", *direct.values()).abs() ** 2).sum().backward()
    for node in leaves:
        assert torch.allclose(leaves[node].grad, direct[node].grad, atol=1e-10)
