"""Trees from affinities: ultrametric trees are found again; couplings of operators."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tnet
from contraction.errors import InputError, NonFiniteError, ShapeError, StructureError


def parts_of(structure):
    """The modes on one side of every bond, the side without the first mode."""
    view = tnet.rooted(structure, structure.holders[structure.modes[0]][0])
    return {frozenset(view.leaves_below[node]) for node in view.pre_order[1:]} - {frozenset()}


@given(st.integers(3, 24), st.integers(0, 2**32 - 1))
def test_ultrametric_trees_are_found(count, seed):
    rng = np.random.default_rng(seed)
    groups = [(k,) for k in range(count)]
    affinity, level = np.zeros((count, count)), 1.0
    truth = set()
    while len(groups) > 1:
        a, b = sorted(rng.choice(len(groups), 2, replace=False))
        for i, j in itertools.product(groups[a], groups[b]):
            affinity[i, j] = affinity[j, i] = level
        level *= rng.uniform(1e-3, 0.9)  # far below rounding of the largest in the end
        groups = [g for k, g in enumerate(groups) if k not in (a, b)] + [groups[a] + groups[b]]
        truth.add(frozenset(groups[-1]))
    names = [f"m{k}" for k in range(count)]
    found = tnet.tree_from_affinity(affinity, dict.fromkeys(names, 2))
    everything = frozenset(range(count))
    want = {
        frozenset(names[k] for k in (everything - part if 0 in part else part))
        for part in truth
        if part != everything
    }
    assert {p for p in parts_of(found) if len(p) > 1} == {p for p in want if len(p) > 1}
    assert found.modes == tuple(names)
    assert all(len(legs) <= 3 for _, legs in found.nodes)


@pytest.mark.parametrize("count", [1, 2, 3, 64, 100])
def test_equals_make_balanced_trees(count):
    chain = np.diag(np.ones(count - 1), 1)
    for affinity in (chain + chain.T, np.zeros((count, count)), np.ones((count, count))):
        found = tnet.tree_from_affinity(affinity, (2,) * count, rank=2)
        assert found.is_tree
        assert len(found.modes) == count
        assert max(tnet.rooted(found).height.values()) <= np.ceil(np.log2(count))


def test_nothing_given_is_written():
    affinity = np.eye(4) * 7.0
    tnet.tree_from_affinity(affinity, (2,) * 4)
    assert (affinity == np.eye(4) * 7.0).all()


def test_wrong_affinities():
    with pytest.raises(ShapeError, match="4 modes"):
        tnet.tree_from_affinity(np.ones((3, 3)), (2,) * 4)
    with pytest.raises(ShapeError, match="symmetric"):
        tnet.tree_from_affinity(np.triu(np.ones((4, 4))), (2,) * 4)
    with pytest.raises(NonFiniteError):
        tnet.tree_from_affinity(np.full((4, 4), np.nan), (2,) * 4)


def test_couplings_are_those_of_the_terms():
    sites = {"a": 2, "b": 2, "c": 2, "d": 3}
    terms = [
        (3.0, {"a": "x", "b": "x"}),
        tnet.Term(-4.0, {"b": "z", "a": "z"}),
        (1j, {"a": "y", "b": "z", "c": "y"}),
        (5.0, {"d": "sz"}),
        tnet.Pairs(lambda i, j: 2.0 * (j - i), "x", "z", ["c", "a", "b"]),
    ]
    found = tnet.coupling_strengths(sites, terms)
    want = np.zeros((4, 4))
    want[0, 1], want[0, 2], want[1, 2] = 9 + 16 + 1 + 4, 1 + 4, 1 + 16
    np.testing.assert_allclose(found, np.sqrt(want + want.T), rtol=1e-14)


def test_fermions_couple_without_their_strings():
    sites = dict.fromkeys("abcd", 2)
    hop = [(1.0, {"a": "cdag", "d": "c"}), (1.0, {"d": "cdag", "a": "c"})]
    found = tnet.coupling_strengths(sites, hop)
    assert np.count_nonzero(found) == 2
    assert found[0, 3] == found[3, 0] > 0
    bulk = tnet.Pairs(np.triu(np.ones((4, 4))), "cdag", "c", list("abcd"))
    assert np.count_nonzero(tnet.coupling_strengths(sites, [bulk])) == 12


def test_wrong_couplings():
    with pytest.raises(StructureError, match="no mode"):
        tnet.coupling_strengths({"a": 2}, [(1.0, {"b": "x"})])
    with pytest.raises(InputError, match="8192"):
        tnet.coupling_strengths((2,) * 8193, [])
