import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tnet
from contraction.errors import RankError, ShapeError, StructureError
from strategies import graphs, trees
from tnet.structure import Structure


def chain() -> Structure:
    return Structure({"a": ("x", "r"), "b": ("r", "y")}, {"x": 4, "r": 2, "y": 5})


@given(graphs())
def test_json_round_trip_and_hash(structure):
    again = Structure.from_dict(json.loads(json.dumps(structure.to_dict())))
    assert again == structure
    assert hash(again) == hash(structure)
    assert len({again, structure}) == 1


ASKED = ("node_names", "legs", "size", "holders", "open_legs", "bonds", "hyperbonds", "shape")
ASKED += ("ranks", "num_params", "is_tree", "components")


@given(graphs(), st.booleans(), st.data())
def test_other_sizes_are_as_if_made_anew(structure, asked_before, data):
    """Whatever the structure has worked out of itself before."""
    if asked_before:
        for name in ASKED:
            getattr(structure, name)
    legs = data.draw(st.lists(st.sampled_from(sorted(structure.size)), unique=True))
    sizes = {leg: data.draw(st.integers(1, 9)) for leg in legs}
    found = structure.resized({leg: np.int64(n) for leg, n in sizes.items()})
    anew = Structure(structure.nodes, {**structure.size, **sizes}, structure.modes)
    assert found == anew
    assert hash(found) == hash(anew)
    assert found.to_dict() == anew.to_dict()
    json.dumps(found.to_dict())
    for name in ASKED:
        assert getattr(found, name) == getattr(anew, name)


@pytest.mark.parametrize("sizes", [{"r": 0}, {"r": 2.5}, {"r": "2"}, {"q": 2}, {"x": -1}])
def test_other_sizes_are_checked(sizes):
    with pytest.raises(StructureError):
        chain().resized(sizes)


@given(graphs())
def test_every_leg_is_open_bond_or_hyperbond(structure):
    kinds = structure.open_legs + structure.bonds + structure.hyperbonds
    assert sorted(kinds) == sorted(structure.size)
    assert sorted(structure.modes) == sorted(structure.open_legs)
    counted = sum(int(np.prod(structure.node_shape(n), dtype=int)) for n in structure.node_names)
    assert counted == structure.num_params


@given(trees())
def test_random_trees_are_trees_from_every_root(structure):
    assert structure.is_tree
    for root in structure.node_names:
        tree = tnet.rooted(structure, root)
        assert sorted(tree.pre_order) == sorted(structure.node_names)
        seen = set()
        for node in tree.post_order:
            assert set(tree.children[node]) <= seen
            seen.add(node)
        for node, bond in tree.bond.items():
            assert set(structure.holders[bond]) == {node, tree.parent[node]}
        assert sum(len(level) for level in tree.levels) == len(structure.nodes)
        path = tree.path(root, structure.node_names[-1])
        for a, b in itertools.pairwise(path):
            assert b in structure.neighbours(a)


def test_edits_return_new_structures():
    s = chain()
    assert s.resized({"r": 3}).num_params == 27
    assert s.renamed({"x": "z"}, {"a": "c"}).legs["c"] == ("z", "r")
    assert s.permuted(["y", "x"]).shape == (5, 4)
    grown = s.with_bond("a", "b", 3, name="q")
    assert grown.node_shape("a") == (4, 2, 3)
    assert grown.without_bond("q") == s
    assert not grown.is_tree
    assert s.same_graph(s.resized({"r": 7}))
    assert s == chain()


@pytest.mark.parametrize(
    ("nodes", "sizes", "modes", "words"),
    [
        ({}, {}, None, "at least one node"),
        ([("a", ("x",)), ("a", ("y",))], {"x": 1, "y": 1}, None, "named twice"),
        ({"a": ("x", "x")}, {"x": 2}, None, "holds a leg twice"),
        ({"a": ("x",)}, {}, None, "has no size"),
        ({"a": ("x",)}, {"x": 0}, None, "whole size >= 1"),
        ({"a": ("x",)}, {"x": 2.5}, None, "whole size >= 1"),
        ({"a": ("x",)}, {"x": True}, None, "whole size >= 1"),
        ({"a": ("x",)}, {"x": "many"}, None, "whole size >= 1"),
        ({"a": ("x",)}, {"x": None}, None, "whole size >= 1"),
        ({"a": ("x",)}, {"x": float("inf")}, None, "whole size >= 1"),
        ({"a": ("x",)}, {"x": float("nan")}, None, "whole size >= 1"),
        ({"a": ("x", "y")}, {"x": 2, "y": 2}, ["x"], "each open leg once"),
        ({"a\n": ("x",)}, {"x": 2}, None, "printable"),
        ({"a": ("x" * 300,)}, {"x": 2}, None, "256 characters"),
    ],
)
def test_malformed_structures_are_refused(nodes, sizes, modes, words):
    if isinstance(nodes, dict) and nodes.get("a") == ("x" * 300,):
        sizes = {"x" * 300: 2}
    with pytest.raises(StructureError, match=words):
        Structure(nodes, sizes, modes)


def test_what_is_no_tree_is_named():
    with pytest.raises(StructureError, match="g1-g2, g2-g0, g0-g1 form a cycle"):
        tnet.rooted(tnet.tensor_ring((2, 2, 2), 2))
    with pytest.raises(StructureError, match="hyperbond of 3 nodes"):
        tnet.rooted(tnet.cp((2, 2, 2), 2))
    apart = Structure({"a": ("x",), "b": ("y",)}, {"x": 2, "y": 2})
    with pytest.raises(StructureError, match="falls into 2 parts: a; b"):
        tnet.rooted(apart)
    with pytest.raises(StructureError, match="no node 'q'"):
        tnet.rooted(chain(), "q")
    parallel = chain().with_bond("a", "b", name="q")
    with pytest.raises(StructureError, match="form a cycle"):
        tnet.rooted(parallel)


def test_ranks_and_shapes_are_checked():
    with pytest.raises(RankError, match="needs 2 numbers"):
        tnet.tensor_train((2, 2, 2), [2, 2, 2])
    for bad in (0, -1, 2.5, True, None, "x", float("nan")):
        with pytest.raises(RankError):
            tnet.tensor_train((2, 2, 2), bad)
    with pytest.raises(RankError, match="one rank for each"):
        tnet.tensor_train((2, 2, 2), {"g0-g1": 2})
    for shape in ((), (2, 0, 3), (2, -1), (2, 2.5)):
        with pytest.raises(ShapeError):
            tnet.tucker(shape, 2)
    with pytest.raises(ShapeError, match="do not fill"):
        tnet.grid((2,) * 6, 2, rows=4)


def test_formats_have_the_documented_graphs():
    assert tnet.tensor_ring((2, 3, 4, 5), (2, 3, 4, 5)).ranks == {
        "g0-g1": 2, "g1-g2": 3, "g2-g3": 4, "g3-g0": 5,
    }  # fmt: skip
    assert tnet.balanced_tree({f"s{i}": 2 for i in range(32)}, rank=1).ranks["t0-t1"] == 1
    assert tnet.tensor_train((7,) * 5, [2, 3, 6, 5]).num_params == 427
    assert tnet.tensor_ring((7,) * 5, [2, 3, 4, 5, 5]).num_params == 511
    assert tnet.tucker((7,) * 5, [2, 3, 4, 3, 2]).num_params == 242
    assert tnet.cp((4, 5, 6), 3).num_params == 45
    grid = tnet.grid((2,) * 9, 3)
    assert max(len(legs) for _, legs in grid.nodes) == 5
    assert tnet.balanced_tree((2,) * 5, 2).modes == ("x0", "x1", "x2", "x3", "x4")
    mpo = tnet.operator_structure(tnet.tensor_train({"s0": 2, "s1": 3}, 1), 4)
    assert mpo.shape == (2, 3, 2, 3)
    assert mpo.ranks == {"g0-g1": 4}


def test_arbitrary_trees_from_nested_tuples():
    tree = tnet.tree((("a",), ("b", ("c",), ("d",)), ("e",)), dict.fromkeys("abcde", 2), rank=2)
    assert tree.is_tree
    assert tree.modes == ("a", "b", "c", "d", "e")
    assert tnet.tree(((4,), (5,), (6,)), rank=2).shape == (4, 5, 6)
    deep: tuple = ("x0",)
    sizes = {"x0": 2}
    for i in range(1, 3000):  # far deeper than Python's recursion limit
        deep, sizes[f"x{i}"] = (f"x{i}", deep), 2
    assert len(tnet.tree(deep, sizes, rank=1).nodes) == 3000
    with pytest.raises(StructureError, match="has no size"):
        tnet.tree((("a",), ("b",)), {"a": 2})


@pytest.mark.parametrize("family", [tnet.cp, tnet.tensor_ring])
def test_families_that_share_bonds_need_two_modes(family):
    with pytest.raises(ShapeError, match="at least two modes, got 1"):
        family((3,), 2)
