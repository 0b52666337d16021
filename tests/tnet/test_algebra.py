"""Sums, products, inner products and distances of networks against dense tensors."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tnet
from contraction.arrays import random_normal, to_numpy
from contraction.errors import (
    BackendError,
    NonFiniteError,
    PrecisionWarning,
    ShapeError,
    StructureError,
)
from strategies import DTYPES, NAMESPACES, graphs, networks, seeds, trees


def dense(net):
    return to_numpy(tnet.contract(net))


def close(a, b, dtype):
    """Compare relative to the larger of the two tensors."""
    a, b = np.asarray(a), np.asarray(b)
    scale = max(float(np.max(np.abs(b), initial=0.0)), 1e-30)
    np.testing.assert_allclose(a / scale, b / scale, rtol=0, atol=3e-4 if "32" in dtype else 1e-10)


@st.composite
def pairs(draw, structures=None, count=2):
    """Networks on one graph, with ranks of their own and shuffled node and axis orders."""
    first = draw(structures if structures is not None else st.one_of(trees(), graphs()))
    rng = np.random.default_rng(draw(seeds))
    namespace, dtype = draw(st.sampled_from(NAMESPACES)), draw(st.sampled_from(DTYPES))
    nets = []
    for k in range(count):
        ranks = {bond: draw(st.integers(1, 3)) for bond in first.ranks} if k else {}
        sized = first.resized(ranks)
        if k and draw(st.booleans()):
            nodes = [(name, rng.permutation(legs).tolist()) for name, legs in sized.nodes]
            order = [nodes[i] for i in rng.permutation(len(nodes))]
            sized = tnet.Structure(order, sized.sizes, rng.permutation(sized.modes).tolist())
        nets.append(tnet.random_network(sized, rng=rng, dtype=dtype).to(namespace=namespace))
    return nets


def in_order_of(net, like):
    """The dense tensor of `net`, its axes in the mode order of `like`."""
    return to_numpy(tnet.contract(net, like.structure.modes))


@given(pairs(count=3))
def test_add_and_subtract(nets):
    a, b, c = nets
    close(dense(tnet.add(a, b)), dense(a) + in_order_of(b, a), a.dtype)
    close(dense(tnet.subtract(a, b)), dense(a) - in_order_of(b, a), a.dtype)
    close(dense(a + b - c), dense(a) + in_order_of(b, a) - in_order_of(c, a), a.dtype)
    total = tnet.add(a, b, c)
    close(dense(total), dense(a) + in_order_of(b, a) + in_order_of(c, a), a.dtype)
    assert total.structure.same_graph(a.structure)
    for bond in a.ranks:
        assert total.ranks[bond] == a.ranks[bond] + b.ranks[bond] + c.ranks[bond]


@given(pairs())
def test_hadamard(nets):
    a, b = nets
    product = tnet.hadamard(a, b)
    close(dense(product), dense(a) * in_order_of(b, a), a.dtype)
    assert all(product.ranks[bond] == a.ranks[bond] * b.ranks[bond] for bond in a.ranks)


@given(pairs())
def test_inner_on_one_graph(nets):
    a, b = nets
    x, y = dense(a), in_order_of(b, a)
    scale = float(np.linalg.norm(x) * np.linalg.norm(y)) or 1.0
    found = tnet.inner(a, b)
    assert isinstance(found, complex if "complex" in a.dtype else float)
    assert abs(found - np.vdot(x, y)) < (1e-4 if "32" in a.dtype else 1e-12) * scale


@given(st.data())
def test_inner_of_two_graphs(data):
    a = data.draw(networks(st.one_of(trees(), graphs()), namespaces=("numpy",)))
    modes = a.structure.modes
    other = tnet.tensor_train({m: a.structure.size[m] for m in modes}, 2)
    b = tnet.random_network(other, rng=np.random.default_rng(0), dtype=a.dtype)
    x, y = dense(a), dense(b)
    scale = float(np.linalg.norm(x) * np.linalg.norm(y)) or 1.0
    assert abs(tnet.inner(a, b) - np.vdot(x, y)) < (1e-4 if "32" in a.dtype else 1e-12) * scale


@given(networks(st.one_of(trees(), graphs())))
def test_norm_and_log_norm(net):
    size = float(np.linalg.norm(dense(net).astype(complex)))
    tol = 1e-3 if "32" in net.dtype else 1e-9
    assert tnet.norm(net) == pytest.approx(size, rel=tol)
    assert tnet.log_norm(net) == pytest.approx(math.log(size), abs=tol)


def test_norm_reads_the_centre_alone():
    s = tnet.tensor_train((2, 2), 2)
    arrays = {"g0": np.full((2, 2), np.nan), "g1": np.full((2, 2), 2.0)}
    assert tnet.norm(tnet.Network(s, arrays, center="g1")) == 4.0
    assert tnet.log_norm(tnet.Network(s, arrays, center="g1")) == math.log(4.0)


@given(st.data())
def test_apply_compose_adjoint(data):
    state = data.draw(networks(st.one_of(trees(5, 3, 3), graphs(4, 2, 2))))
    rng = np.random.default_rng(data.draw(seeds))
    form = tnet.operator_structure(state.structure, data.draw(st.integers(1, 2)))
    a, b = (
        tnet.random_network(form, rng=rng, dtype=data.draw(st.sampled_from(DTYPES))).to(
            namespace=state.namespace
        )
        for _ in range(2)
    )
    count = dense(state).size
    x = dense(state).reshape(count)
    matrix, other = dense(a).reshape(count, count), dense(b).reshape(count, count)
    single = "float32" if "32" in a.dtype + b.dtype + state.dtype else "float64"
    done = tnet.apply(a, state)
    assert done.structure.modes == state.structure.modes
    assert done.structure.same_graph(state.structure)
    close(dense(done).reshape(count), matrix @ x, single)
    close(dense(tnet.compose(a, b)).reshape(count, count), matrix @ other, single)
    close(dense(tnet.adjoint(a)).reshape(count, count), matrix.conj().T, single)


def test_apply_a_rectangular_operator():
    rng = np.random.default_rng(0)
    op = tnet.random_network(tnet.tt_matrix((2, 3, 4), (3, 2, 2), 2), rng=rng)
    state = tnet.random_network(tnet.tensor_train((3, 2, 2), 3), rng=rng)
    found = tnet.apply(op, state)
    assert found.shape == (2, 3, 4)
    close(dense(found).reshape(24), dense(op).reshape(24, 12) @ dense(state).reshape(12), "float64")


def test_apply_to_some_modes_only():
    """A two-node gate on a ring, with a bond of its own; a vector that sums a mode away."""
    rng = np.random.default_rng(0)
    state = tnet.random_network(tnet.tensor_ring((2, 3, 4), 2), rng=rng)
    gate = tnet.Structure(
        {"g0": ("x0'", "x0", "w"), "g1": ("w", "x1", "x1'")},
        {"x0'": 5, "x0": 2, "w": 2, "x1": 3, "x1'": 3},
        ("x0'", "x1'", "x0", "x1"),
    )
    op = tnet.random_network(gate, rng=rng)
    found = tnet.apply(op, state)
    close(dense(found), np.einsum("abcd,cde->abe", dense(op), dense(state)), "float64")
    vector = tnet.Network(tnet.Structure({"g2": ("x2",)}, {"x2": 4}), {"g2": np.arange(4.0)})
    summed = tnet.apply(vector, state)
    assert summed.structure.modes == ("x0", "x1")
    close(dense(summed), dense(state) @ np.arange(4.0), "float64")


def test_what_an_operator_may_not_do():
    rng = np.random.default_rng(0)
    form = tnet.tensor_train((2, 2), 2)
    state = tnet.random_network(form, rng=rng)
    op = tnet.random_network(tnet.operator_structure(form, 2), rng=rng)
    with pytest.raises(StructureError, match="compose"):
        tnet.apply(op, op)
    elsewhere = tnet.Network(
        op.structure.renamed(nodes={"g0": "h"}), {"h": op["g0"], "g1": op["g1"]}
    )
    with pytest.raises(StructureError, match="not in the state"):
        tnet.apply(elsewhere, state)
    turned = tnet.Network(op.structure.renamed({"x0": "y", "x0'": "y'"}), op.arrays)
    with pytest.raises(StructureError, match="open leg"):
        tnet.apply(turned, state)
    wide = tnet.random_network(tnet.tt_matrix((2, 2), (3, 2), 1), rng=rng)
    with pytest.raises(ShapeError, match="'x0' has size 3"):
        tnet.apply(wide, state)
    three = tnet.random_network(tnet.tensor_train((2, 2, 2), 2), rng=rng)
    crossed = tnet.Structure(
        {"g0": ("x0'", "x0", "g1-g2"), "g1": ("g1-g2", "x1'", "x1")},
        {"x0'": 2, "x0": 2, "x1'": 2, "x1": 2, "g1-g2": 2},
    )
    with pytest.raises(StructureError, match="joins"):
        tnet.apply(tnet.random_network(crossed, rng=rng), three)


def test_sums_need_one_connected_graph():
    apart = tnet.Structure({"a": ("x",), "b": ("y",)}, {"x": 2, "y": 3})
    net = tnet.random_network(apart, rng=np.random.default_rng(0))
    with pytest.raises(StructureError, match="2 parts"):
        tnet.add(net, net)
    joined = net.structure.with_bond("a", "b")
    arrays = {node: x.reshape((*x.shape, 1)) for node, x in net.arrays.items()}
    fine = tnet.Network(joined, arrays)
    close(dense(tnet.add(fine, fine)), 2 * dense(net), "float64")


def test_mismatches_are_named():
    rng = np.random.default_rng(0)
    a = tnet.random_network(tnet.tensor_train((2, 3), 2), rng=rng)
    with pytest.raises(StructureError, match="different graphs"):
        tnet.add(a, tnet.random_network(tnet.tucker((2, 3), 2), rng=rng))
    with pytest.raises(ShapeError, match="'x1' has size 3 in the first tensor and 4"):
        tnet.add(a, tnet.random_network(tnet.tensor_train((2, 4), 2), rng=rng))
    with pytest.raises(StructureError, match="x2"):
        tnet.inner(a, tnet.random_network(tnet.tucker((2, 3, 2), 2), rng=rng))
    with pytest.raises(ShapeError, match="shape"):
        tnet.relative_error(a, np.ones((3, 2)))
    with pytest.raises(NonFiniteError, match="'g1'"):
        tnet.norm(a.replace({"g1": np.full((2, 3), np.nan)}))
    with pytest.raises(NonFiniteError, match="dense array"):
        tnet.relative_error(a, np.full((2, 3), np.inf))
    pytest.importorskip("torch")
    with pytest.raises(BackendError, match="torch"):
        tnet.add(a, a.to(namespace="torch"))
    with pytest.raises(BackendError, match="torch"):
        tnet.relative_error(a.to(namespace="torch"), np.ones((2, 3)))


def test_real_and_complex_mix():
    rng = np.random.default_rng(0)
    s = tnet.cp((2, 3, 4), 2)
    a, b = tnet.random_network(s, rng=rng), tnet.random_network(s, rng=rng, dtype="complex64")
    assert tnet.add(a, b).dtype == "complex128"
    close(dense(tnet.add(a, b)), dense(a) + dense(b), "float32")
    assert tnet.inner(b, a) == pytest.approx(np.vdot(dense(b), dense(a)), rel=1e-5)


@given(pairs())
def test_distance(nets):
    a, b = nets
    want = float(np.linalg.norm((dense(a) - in_order_of(b, a)).astype(complex)))
    scale = max(float(np.linalg.norm(dense(a))), float(np.linalg.norm(dense(b))))
    assert abs(tnet.distance(a, b) - want) < (1e-4 if "32" in a.dtype else 1e-11) * scale


@pytest.mark.parametrize("form", [tnet.tensor_train, tnet.tucker, tnet.tensor_ring, tnet.cp])
@pytest.mark.parametrize("gap", [1e-3, 1e-9, 1e-12])
def test_distance_sees_below_the_cancellation_floor(form, gap):
    rng = np.random.default_rng(0)
    s = form((3, 4, 5), 2)
    a, d = tnet.random_network(s, rng=rng), tnet.random_network(s, rng=rng)
    a, d = a * (1 / tnet.norm(a)), d * (1 / tnet.norm(d))
    b = tnet.add(a, d * gap)
    assert tnet.distance(b, tnet.add(a, a * 0.0)) == pytest.approx(gap, rel=max(1e-3, 1e-15 / gap))


def test_distance_warns_where_it_cannot_see():
    s = tnet.tensor_ring((4,) * 12, 2)
    a = tnet.random_network(s, rng=np.random.default_rng(0))
    with pytest.warns(PrecisionWarning, match="cancellation"):
        assert tnet.distance(a, a) < 1e-6 * tnet.norm(a)


@given(networks(st.one_of(trees(), graphs())), seeds)
def test_relative_error_against_dense(net, seed):
    x = random_normal(np.random.default_rng(seed), net.shape, like=net[net.structure.node_names[0]])
    want = np.linalg.norm(dense(net) - to_numpy(x)) / np.linalg.norm(to_numpy(x))
    assert tnet.relative_error(net, x) == pytest.approx(
        float(want), rel=1e-4 if "32" in net.dtype else 1e-10
    )


def test_relative_error_by_blocks(monkeypatch, tmp_path):
    import tnet.dense_error

    monkeypatch.setattr(tnet.dense_error, "BLOCK_ENTRIES", 64)
    rng = np.random.default_rng(0)
    net = tnet.random_network(tnet.balanced_tree((5, 23, 4), 3), rng=rng)
    x = dense(net) + 1e-9 * rng.standard_normal(net.shape)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    want = np.linalg.norm(dense(net) - x) / np.linalg.norm(x)
    assert tnet.relative_error(net, mapped) == pytest.approx(want, rel=1e-5)
    assert tnet.relative_error(net, np.zeros(net.shape)) == math.inf
    assert tnet.relative_error(net * 0.0, np.zeros(net.shape)) == 0.0
    whole = rng.integers(0, 255, net.shape, dtype=np.uint8)
    want = np.linalg.norm(dense(net) - whole) / np.linalg.norm(whole.astype(float))
    assert tnet.relative_error(net, whole) == pytest.approx(want, rel=1e-12)
    assert tnet.relative_error(net * 1e200, x * 1e200) == pytest.approx(
        np.linalg.norm(dense(net) - x) / np.linalg.norm(x), rel=1e-5
    )


def test_scale_never_overflows():
    rng = np.random.default_rng(0)
    for form in (tnet.tensor_train, tnet.tensor_ring, tnet.cp):
        net = tnet.random_network(form((2, 3, 2), 2), rng=rng)
        size = tnet.norm(net)
        big = tnet.Network(net.structure, {n: x * 1e100 for n, x in net.arrays.items()})
        small = tnet.Network(net.structure, {n: x * 1e-200 for n, x in net.arrays.items()})
        assert tnet.log_norm(big) == pytest.approx(math.log(size) + 300 * math.log(10))
        assert tnet.norm(big * 1e-100) == pytest.approx(size * 1e200)
        assert tnet.log_norm(small) == pytest.approx(math.log(size) - 600 * math.log(10))
        with pytest.raises(NonFiniteError, match="log_norm"):
            tnet.inner(big, big)
        assert tnet.norm(net * 0.0) == 0.0
        assert tnet.log_norm(net * 0.0) == -math.inf


@pytest.mark.parametrize(("length", "rank"), [(12, 8), (400, 8)])
def test_long_rings_do_not_vanish(length, rank):
    """Against powers of the transfer matrix: 400 nodes of norm one make 8^-400."""
    core = np.random.default_rng(0).standard_normal((rank, 2, rank))
    s = tnet.tensor_ring((2,) * length, rank)
    net = tnet.Network(s, dict.fromkeys(s.node_names, core / np.linalg.norm(core)))
    transfer = np.einsum("axb,cxd->acbd", core, core).reshape(rank**2, rank**2)
    values = np.linalg.eigvals(transfer / np.linalg.norm(core) ** 2)
    largest = np.max(np.abs(values))
    trace = np.sum((values / largest) ** length).real
    want = 0.5 * (math.log(trace) + length * math.log(largest))
    assert tnet.log_norm(net) == pytest.approx(want, rel=1e-9)


def test_a_chain_of_20000_nodes():
    count = 20_000
    s = tnet.tensor_train((2,) * count, 2)
    ones = tnet.Network(s, {n: np.ones(s.node_shape(n)) for n in s.node_names})
    # each of the 2^count entries is 2^(count - 1)
    want = math.log(2.0) * (1.5 * count - 1)
    assert tnet.log_norm(ones) == pytest.approx(want, rel=1e-12)
    with pytest.raises(NonFiniteError, match="log_norm"):
        tnet.norm(ones)
    doubled = tnet.add(ones, ones)
    assert tnet.log_norm(doubled) == pytest.approx(want + math.log(2.0), rel=1e-12)
    flip = tnet.operator_structure(s)
    swap = np.array([[0.0, 1.0], [1.0, 0.0]])
    op = tnet.Network(flip, {n: swap.reshape(flip.node_shape(n)) for n in flip.node_names})
    assert tnet.log_norm(tnet.apply(op, ones)) == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("scale", [1.0, 1e150, 1e-150])
@pytest.mark.parametrize("length", [3, 1500])
def test_distances_of_any_length_and_scale(scale, length):
    """The parts of a and b have norms that drift apart along the chain and meet at its end."""
    s = tnet.tensor_train((2,) * length, 3)
    rng = np.random.default_rng(0)
    a, c = tnet.random_network(s, rng=rng), tnet.random_network(s, rng=rng)
    arrays = dict(a.arrays)
    up, down = s.node_names[:-1:2], s.node_names[1::2]
    for first, second in zip(up, down, strict=False):
        arrays[first], arrays[second] = arrays[first] * scale, arrays[second] / scale
    b = tnet.add(tnet.Network(s, arrays), c * math.exp(tnet.log_norm(a) - tnet.log_norm(c) - 20))
    a = tnet.add(a, a * 0.0)
    want = math.exp(-20)
    assert tnet.relative_error(a, b) == pytest.approx(want, rel=1e-5)
    assert tnet.relative_error(b, a) == pytest.approx(want, rel=1e-5)
    assert tnet.relative_error(a * 0.0, b) == pytest.approx(1.0)
    assert tnet.relative_error(a, b * 0.0) == math.inf
    assert tnet.relative_error(a * 0.0, b * 0.0) == 0.0


def test_gradients_pass_through_sums_and_products():
    torch = pytest.importorskip("torch")
    s = tnet.tensor_train((2, 3), 2)
    net = tnet.random_network(s, rng=np.random.default_rng(0)).to(namespace="torch")
    wanted = tnet.Network(s, {n: x.requires_grad_() for n, x in net.arrays.items()})
    op = tnet.random_network(tnet.operator_structure(s, 2), rng=np.random.default_rng(1))
    total = tnet.add(wanted, tnet.hadamard(wanted, tnet.apply(op.to(namespace="torch"), wanted)))
    tnet.contract(total).sum().backward()
    assert all(torch.isfinite(x.grad).all() for x in wanted.arrays.values())
    assert isinstance(tnet.norm(wanted), float)
