"""What every format must do. Add a format to `FORMATS`, and it inherits every check."""

import itertools
import json
import math

import numpy as np
import pytest

import tnet
from contraction.arrays import to_numpy
from contraction.errors import RankError, ShapeError

SHAPE = (3, 2, 4, 2)
NESTED = (("x0", ("x1",)), ("x2", "x3"))

# name -> (the structure for one rank of every bond, its modes, its entries by hand)
FORMATS = {
    "tensor_train": (lambda r: tnet.tensor_train(SHAPE, r), lambda r: 3 * r + 6 * r * r + 2 * r),
    "tensor_ring": (lambda r: tnet.tensor_ring(SHAPE, r), lambda r: 11 * r * r),
    "tucker": (lambda r: tnet.tucker(SHAPE, r), lambda r: r**4 + 11 * r),
    "cp": (lambda r: tnet.cp(SHAPE, r), lambda r: 11 * r),
    "balanced_tree": (
        lambda r: tnet.balanced_tree(SHAPE, r),
        lambda r: r**2 + 2 * r**3 + 11 * r,
    ),
    "tree": (
        lambda r: tnet.tree(NESTED, dict(zip(("x0", "x1", "x2", "x3"), SHAPE, strict=True)), r),
        lambda r: r**2 + 3 * r**2 + 2 * r + 8 * r,
    ),
    "grid": (lambda r: tnet.grid(SHAPE, r, rows=2), lambda r: 11 * r * r),
    "fully_connected": (lambda r: tnet.fully_connected(SHAPE, r), lambda r: 11 * r**3),
    "tt_matrix": (lambda r: tnet.tt_matrix((3, 2), (4, 2), r), lambda r: 12 * r + 4 * r),
    "operator_structure": (
        lambda r: tnet.operator_structure(tnet.tensor_ring((2, 2, 2), 5), r),
        lambda r: 12 * r * r,
    ),
}
formats = pytest.mark.parametrize("name", FORMATS)


def dense(net):
    return to_numpy(tnet.contract(net))


def sample(name, rank=2, seed=0, dtype="float64"):
    structure = FORMATS[name][0](rank)
    return tnet.random_network(structure, rng=np.random.default_rng(seed), dtype=dtype)


def oracle(net):
    """numpy.einsum on the arrays themselves, without any of our machinery."""
    structure = net.structure
    number = {leg: k for k, leg in enumerate(structure.size)}
    operands = []
    for node, legs in structure.nodes:
        operands += [to_numpy(net[node]), [number[leg] for leg in legs]]
    return np.einsum(*operands, [number[mode] for mode in structure.modes], optimize=True)


@formats
@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("dtype", ["float64", "complex128", "float32"])
def test_contraction_is_einsum(name, rank, dtype):
    net = sample(name, rank, dtype=dtype)
    want = oracle(net)
    assert net.shape == want.shape
    scale = np.abs(want).max()
    np.testing.assert_allclose(
        dense(net) / scale, want / scale, atol=1e-5 if "32" in dtype else 1e-12
    )


@formats
@pytest.mark.parametrize("rank", [1, 2, 5])
def test_parameters_and_ranks(name, rank):
    build, count = FORMATS[name]
    structure = build(rank)
    assert structure.num_params == count(rank)
    assert set(structure.ranks.values()) == {rank}
    assert structure.num_params == sample(name, rank).num_params
    assert math.prod(structure.shape) == dense(sample(name, rank)).size


@formats
def test_ranks_by_name_and_in_order(name):
    if name in ("cp",):
        pytest.skip("one rank for all")
    structure = FORMATS[name][0](1)
    ranks = {bond: k + 2 for k, bond in enumerate(structure.ranks)}
    build = FORMATS[name][0]
    assert build(ranks).ranks == ranks
    given_in_order = build(list(range(2, 2 + len(ranks))))
    assert sorted(given_in_order.ranks.values()) == sorted(ranks.values())
    with pytest.raises(RankError):
        build(list(range(2, 3 + len(ranks))))
    with pytest.raises(RankError):
        build({"no bond": 2})


@formats
@pytest.mark.parametrize("rank", [0, -1, 2.5, "2", None, True])
def test_ranks_that_are_none(name, rank):
    with pytest.raises(RankError):
        FORMATS[name][0](rank)


@formats
def test_json_round_trip(name):
    structure = FORMATS[name][0](3)
    back = tnet.Structure.from_dict(json.loads(json.dumps(structure.to_dict())))
    assert back == structure
    assert hash(back) == hash(structure)
    assert back.same_graph(FORMATS[name][0](1))


@formats
@pytest.mark.parametrize("dtype", ["float64", "complex64"])
def test_save_and_load(name, dtype, tmp_path):
    net = sample(name, dtype=dtype)
    tnet.save(tmp_path / "a.tnet", net)
    back = tnet.load(tmp_path / "a.tnet")
    assert back.structure == net.structure
    for node in net.structure.node_names:
        assert back[node].tobytes() == net[node].tobytes()


@formats
def test_renaming_changes_nothing(name):
    net = sample(name)
    legs = {leg: f"leg {k}" for k, leg in enumerate(net.structure.size)}
    nodes = {node: f"node {k}" for k, node in enumerate(net.structure.node_names)}
    renamed = net.structure.renamed(legs, nodes)
    other = tnet.Network(renamed, {nodes[n]: x for n, x in net.arrays.items()})
    np.testing.assert_allclose(dense(other), dense(net), atol=1e-12)
    assert renamed.renamed(
        {new: old for old, new in legs.items()}, {new: old for old, new in nodes.items()}
    ) == (net.structure)
    assert tnet.norm(other) == pytest.approx(tnet.norm(net), rel=1e-12)


@formats
def test_permuting_the_modes_permutes_the_tensor(name):
    net = sample(name)
    order = list(range(len(net.shape)))
    for turned in list(itertools.permutations(order))[:6]:
        modes = [net.structure.modes[k] for k in turned]
        other = tnet.Network(net.structure.permuted(modes), net.arrays)
        np.testing.assert_allclose(dense(other), dense(net).transpose(turned), atol=1e-12)
        assert tnet.inner(net, other) == pytest.approx(tnet.norm(net) ** 2, rel=1e-12)


@formats
def test_algebra(name):
    a, b = sample(name, 2, 0), sample(name, 3, 1)
    x, y = dense(a), dense(b)
    np.testing.assert_allclose(dense(tnet.add(a, b)), x + y, atol=1e-11)
    np.testing.assert_allclose(dense(tnet.subtract(a, b)), x - y, atol=1e-11)
    np.testing.assert_allclose(dense(tnet.hadamard(a, b)), x * y, atol=1e-11)
    assert tnet.inner(a, b) == pytest.approx(np.vdot(x, y), rel=1e-10)
    assert tnet.distance(a, b) == pytest.approx(np.linalg.norm(x - y), rel=1e-10)
    assert tnet.relative_error(a, y) == pytest.approx(
        np.linalg.norm(x - y) / np.linalg.norm(y), rel=1e-10
    )
    assert a.structure.same_graph(tnet.add(a, b).structure)


@formats
def test_operators_on_every_graph(name):
    if name in ("tt_matrix", "operator_structure"):
        pytest.skip("an operator itself")
    state = sample(name)
    op = tnet.random_network(
        tnet.operator_structure(state.structure, 2), rng=np.random.default_rng(1)
    )
    count = math.prod(state.shape)
    want = dense(op).reshape(count, count) @ dense(state).reshape(count)
    np.testing.assert_allclose(dense(tnet.apply(op, state)).reshape(count), want, atol=1e-10)


@formats
def test_entries_and_slices(name):
    net = sample(name)
    rows = np.stack([np.random.default_rng(0).integers(0, n, 20) for n in net.shape], axis=1)
    np.testing.assert_allclose(tnet.evaluate(net, rows), dense(net)[tuple(rows.T)], atol=1e-12)
    first, second, *_ = net.structure.modes
    part = tnet.select(net, {first: 1, second: slice(0, 1)})
    np.testing.assert_allclose(dense(part), dense(net)[1, 0:1], atol=1e-12)
    np.testing.assert_allclose(dense(tnet.sum_over(net, [first])), dense(net).sum(0), atol=1e-11)


@formats
def test_through_quimb(name):
    pytest.importorskip("quimb")
    net = sample(name)
    assert tnet.from_quimb(tnet.to_quimb(net), net.structure.modes).structure == net.structure


@formats
def test_random_networks_are_reproducible_and_of_order_one(name):
    a, b = sample(name, 3, seed=5), sample(name, 3, seed=5)
    assert all(np.array_equal(a[n], b[n]) for n in a.structure.node_names)
    sizes = [np.mean(dense(sample(name, 3, seed=k)) ** 2) for k in range(60)]
    assert 0.3 < np.mean(sizes) < 3.0  # entries of variance one, in the mean over networks


def test_shapes_by_name():
    named = {"height": 3, "width": 4, "band": 5}
    for form in (tnet.tensor_train, tnet.tensor_ring, tnet.tucker, tnet.cp, tnet.balanced_tree):
        structure = form(named, 2)
        assert structure.modes == tuple(named)
        assert structure.shape == (3, 4, 5)
    for form in (tnet.tensor_train, tnet.tucker, tnet.cp, tnet.grid, tnet.fully_connected):
        for wrong in ((), (3, 0), (3, -1), (3, 2.5)):
            with pytest.raises(ShapeError):
                form(wrong, 2)
