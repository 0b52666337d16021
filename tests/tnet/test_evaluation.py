"""Entries, slices and partial sums against the dense tensor."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tnet
from contraction.arrays import namespace_by_name, to_numpy
from contraction.errors import DTypeError, InputError, ShapeError, StructureError
from strategies import NAMESPACES, graphs, networks, seeds, trees
from tnet import row_sweep


def dense(net):
    return to_numpy(tnet.contract(net))


def close(a, b, dtype):
    np.testing.assert_allclose(
        to_numpy(a),
        b,
        rtol=0,
        atol=(1e-4 if "32" in dtype else 1e-11) * max(1.0, np.max(np.abs(b))),
    )


def random_rows(net, rng, count):
    return np.stack([rng.integers(0, n, count) for n in net.shape], axis=1)


@given(networks(st.one_of(trees(), graphs())), seeds, st.integers(0, 40), st.booleans())
def test_evaluate(net, seed, count, small_chunks):
    rows = random_rows(net, np.random.default_rng(seed), count)
    with pytest.MonkeyPatch.context() as patch:
        if small_chunks:
            patch.setattr(row_sweep, "CHUNK_ENTRIES", 200)
            patch.setattr(row_sweep, "GROUP_COST", 1)
        found = tnet.evaluate(net, rows)
    assert tuple(found.shape) == (count,)
    assert type(found) is type(net[net.structure.node_names[0]])
    if count:
        close(found, dense(net)[tuple(rows.T)], net.dtype)


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_all_entries_of_every_kind_of_graph(namespace):
    rng = np.random.default_rng(0)
    shape = (3, 2, 4, 2)
    rows = np.stack(np.unravel_index(rng.permutation(48), shape), axis=1)
    for structure in (
        tnet.tensor_train(shape, 3),
        tnet.balanced_tree(shape, 3),
        tnet.tucker(shape, 2),
        tnet.tensor_ring(shape, 2),
        tnet.cp(shape, 3),
        tnet.grid(shape, 2),
        tnet.Structure({"all": ("a", "b", "c", "d")}, dict(zip("abcd", shape, strict=True))),
    ):
        net = tnet.random_network(structure, rng=rng).to(namespace=namespace)
        close(tnet.evaluate(net, rows), dense(net)[tuple(rows.T)], "float64")


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.int64])
def test_indices_of_any_library(namespace, dtype):
    net = tnet.random_network(tnet.cp((3, 4), 2), rng=np.random.default_rng(0))
    rows = np.array([[2, 3], [0, 0]], dtype)
    given_ = namespace_by_name(namespace).asarray(rows)
    close(tnet.evaluate(net, given_), dense(net)[tuple(rows.T.astype(int))], "float64")
    close(tnet.evaluate(net, rows.tolist()), dense(net)[tuple(rows.T.astype(int))], "float64")


@pytest.mark.parametrize(
    ("rows", "error", "match"),
    [
        ([[0, 0], [1, -1]], InputError, "row 1 .* -1 for mode 'x1'.* 0 to 3"),
        ([[3, 0]], InputError, "'x0'"),
        ([[0.0, 1.0]], DTypeError, "whole"),
        ([[True, False]], DTypeError, "whole"),
        ([0, 1], ShapeError, r"expected \(rows, 2\)"),
        ([[0, 1, 2]], ShapeError, "one column"),
        (np.array([[2**63, 0]], np.uint64), InputError, "9223372036854775808"),
    ],
)
@pytest.mark.parametrize("form", [tnet.cp, tnet.tensor_train])
def test_bad_indices(rows, error, match, form):
    net = tnet.random_network(form((3, 4), 2), rng=np.random.default_rng(0))
    with pytest.raises(error, match=match):
        tnet.evaluate(net, rows)


def test_scalars_and_no_rows():
    rng = np.random.default_rng(0)
    ring = tnet.Structure({"a": ("p", "q"), "b": ("p", "q")}, {"p": 2, "q": 3})
    for structure in (ring, tnet.Structure({"a": ("p",), "b": ("p",)}, {"p": 2})):
        net = tnet.random_network(structure, rng=rng)
        close(tnet.evaluate(net, np.zeros((3, 0), int)), np.full(3, dense(net)), "float64")
    net = tnet.random_network(tnet.cp((3, 4), 2), rng=rng)
    assert tnet.evaluate(net, []).shape == (0,)
    assert tnet.evaluate(net, np.zeros((0, 2), int)).shape == (0,)


def test_a_tensor_far_too_large_to_form():
    """20,000 modes: every entry of a product of (a, b) vectors counts its ones."""
    count = 20_000
    s = tnet.tensor_train((2,) * count, 1)
    arrays = {n: np.array([1.0, 1.001]).reshape(s.node_shape(n)) for n in s.node_names}
    net = tnet.Network(s, arrays)
    rows = np.random.default_rng(0).integers(0, 2, (50, count))
    np.testing.assert_allclose(tnet.evaluate(net, rows), 1.001 ** rows.sum(1), rtol=1e-10)


def test_memory_is_bounded():
    """A ring of rank 8 with 30,000 rows: all gathered matrices at once would take 46 MB."""
    import tracemalloc

    net = tnet.random_network(tnet.tensor_ring((2, 2, 2), 8), rng=np.random.default_rng(0))
    rows = random_rows(net, np.random.default_rng(1), 30_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_sweep, "CHUNK_ENTRIES", 1 << 18)
        tnet.evaluate(net, rows[:10])
        tracemalloc.start()
        found = tnet.evaluate(net, rows)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 8e6
    close(found, dense(net)[tuple(rows.T)], "float64")


def test_gradients_of_entries():
    torch = pytest.importorskip("torch")
    for form in (tnet.tensor_train, tnet.cp):
        net = tnet.random_network(form((3, 4, 2), 2), rng=np.random.default_rng(0))
        net = net.to(namespace="torch")
        net = tnet.Network(net.structure, {n: x.requires_grad_() for n, x in net.arrays.items()})
        tnet.evaluate(net, [[0, 1, 1], [2, 3, 0], [0, 1, 0]]).sum().backward()
        assert all(torch.any(x.grad != 0) for x in net.arrays.values())


@st.composite
def choices(draw, shape):
    """For each mode nothing, a number, a slice or a list; and the same as numpy understands it."""
    chosen = []
    for n in shape:
        kind = draw(st.sampled_from(["none", "number", "slice", "list", "mask"]))
        if kind == "number":
            chosen.append(draw(st.integers(-n, n - 1)))
        elif kind == "slice":
            start, stop = sorted(draw(st.lists(st.integers(0, n), min_size=2, max_size=2)))
            cut = slice(start, max(stop, start + 1) if start < n else None, draw(st.integers(1, 2)))
            cut = slice(None, None, -1) if start >= n else cut
            chosen.append(cut)
        elif kind == "list":
            chosen.append(draw(st.lists(st.integers(-n, n - 1), min_size=1, max_size=4)))
        elif kind == "mask":
            mask = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
            mask[draw(st.integers(0, n - 1))] = True
            chosen.append(mask)
        else:
            chosen.append(None)
    return chosen


@given(st.data())
def test_select(data):
    net = data.draw(networks(st.one_of(trees(), graphs())))
    chosen = data.draw(choices(net.shape))
    names = dict(zip(net.structure.modes, chosen, strict=True))
    part = tnet.select(net, {mode: c for mode, c in names.items() if c is not None})
    want = dense(net)
    for axis in reversed(range(len(chosen))):
        if chosen[axis] is not None:
            want = want[(slice(None),) * axis + (chosen[axis],)]
    assert part.shape == want.shape
    assert part.namespace == net.namespace
    close(dense(part), want, net.dtype)
    whole = {m for m, c in names.items() if not isinstance(c, (int, np.integer))}
    assert set(part.structure.modes) == whole


def test_select_gives_views_and_keeps_the_centre_where_it_may():
    net = tnet.random_network(tnet.tensor_train((3, 4, 5), 2), rng=np.random.default_rng(0))
    net = tnet.Network(net.structure, net.arrays, center="g1")
    part = tnet.select(net, {"x1": slice(1, 3)})
    assert part.center == "g1"
    assert np.shares_memory(part["g1"], net["g1"])
    assert part["g0"] is net["g0"]
    assert tnet.select(net, {"x1": 0}).center == "g1"
    assert tnet.select(net, {"x0": 0}).center is None
    assert tnet.select(net, {}).center == "g1"


@pytest.mark.parametrize(
    ("chosen", "error", "match"),
    [
        ({"y": 0}, StructureError, "'y' is no mode"),
        ({"g0-g1": 0}, StructureError, "is no mode"),
        ({"x0": 3}, InputError, "size 3; index 3"),
        ({"x0": -4}, InputError, "out of range"),
        ({"x0": slice(2, 2)}, InputError, "empty"),
        ({"x0": []}, InputError, "empty"),
        ({"x0": [0, 5]}, InputError, "5"),
        ({"x0": [0.5]}, DTypeError, "whole"),
        ({"x0": True}, ShapeError, "expected"),
        ({"x0": [True, False]}, ShapeError, "mask"),
        ({"x0": [[0]]}, ShapeError, "expected"),
    ],
)
def test_bad_choices(chosen, error, match):
    net = tnet.random_network(tnet.tensor_train((3, 4), 2), rng=np.random.default_rng(0))
    with pytest.raises(error, match=match):
        tnet.select(net, chosen)


@given(st.data())
def test_sum_over(data):
    net = data.draw(networks(st.one_of(trees(), graphs())))
    modes = data.draw(st.lists(st.sampled_from(net.structure.modes), unique=True))
    axes = tuple(net.structure.modes.index(mode) for mode in modes)
    summed = tnet.sum_over(net, modes)
    want = dense(net).sum(axis=axes)
    assert summed.shape == want.shape
    # cancellation: the scale is that of the summands
    scale = np.abs(dense(net)).sum(axis=axes).max()
    np.testing.assert_allclose(
        dense(summed), want, rtol=0, atol=(1e-3 if "32" in net.dtype else 1e-10) * max(scale, 1.0)
    )
    with pytest.raises(StructureError, match="no mode"):
        tnet.sum_over(net, ["nothing"])
