"""SmallestFirst: the first structure that fits is the smallest of all that do."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tnet
from contraction.errors import InputError
from structure_search import MaxParams, RelativeError, search
from structure_search.families import families, graph_key, rings_of, split_cp, trees_of
from structure_search.methods.smallest_first import SmallestFirst

MODES = {"w": 4, "x": 5, "y": 6, "z": 7}


def planted(structure, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    x = tnet.random_network(structure, rng=rng).to_dense()
    return x + noise * np.linalg.norm(x) / math.sqrt(x.size) * rng.standard_normal(x.shape)


def look(x, tol, **options):
    return search(
        x,
        method=SmallestFirst(**options),
        objective=RelativeError(tol=tol),
        rng=np.random.default_rng(0),
    )


def partitions(names):
    """The sets of two-sided splits that a tree over `names` can have, by brute force."""
    splits = [
        frozenset(side)
        for count in range(1, len(names))
        for side in itertools.combinations(names, count)
        if names[0] in side
    ]
    for count in range(len(splits) + 1):
        for chosen in itertools.combinations(splits, count):
            full = frozenset(names)
            pairs = itertools.combinations(chosen, 2)
            if all(a <= b or b <= a or a | b == full for a, b in pairs):
                yield frozenset(chosen)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_trees_are_all_trees(count):
    # a tree without idle nodes is the set of splits that its bonds make (Buneman 1971)
    names = [f"x{i}" for i in range(count)]
    found = []
    for structure in trees_of(dict.fromkeys(names, 3)):
        assert structure.is_tree
        splits = set()
        for bond in structure.bonds:
            below = tnet.rooted(structure, structure.holders[bond][0]).leaves_below
            side = frozenset(below[structure.holders[bond][1]])
            splits.add(side if names[0] in side else frozenset(names) - side)
        assert len(splits) == len(structure.bonds)
        found.append(frozenset(splits))
    assert len(found) == len(set(found))
    assert set(found) == set(partitions(names))


def test_families_have_no_graph_twice_and_keep_the_order_of_modes():
    made = families(MODES)
    assert all(structure.modes == tuple(MODES) for _, structure in made)
    assert all(set(structure.ranks.values()) <= {1} for _, structure in made)
    assert len(list(rings_of(dict.fromkeys("abcde", 2)))) == math.factorial(4) // 2
    assert len(list(split_cp(MODES))) == 2 ** len(MODES) - 1
    assert len(families({f"x{i}": 2 for i in range(9)})) == 4


@settings(max_examples=12)
@given(st.integers(0, 10**6), st.sampled_from(range(len(list(trees_of(MODES))))))
def test_a_planted_tree_is_found_or_beaten(seed, number):
    structure = list(trees_of(MODES))[number]
    if len(structure.nodes) < 2:
        return
    planted_one = structure.resized(dict.fromkeys(structure.bonds, 2))
    x = planted(planted_one, seed=seed)
    found = look(x, 1e-6)
    assert found.best.num_params <= planted_one.num_params
    assert tnet.relative_error(found.network, x) <= 1e-6


def test_cp_is_found_where_the_data_are_cp():
    x = planted(tnet.cp((8, 9, 10), 3), noise=1e-3)
    found = look(x, 2e-3)
    assert found.best.num_params == 27 * 3
    assert found.best.structure.hyperbonds


def test_the_error_is_that_of_the_whole_data():
    x = planted(tnet.tucker((30, 20, 25), 3), noise=0.05)
    found = look(x, 0.08, keep=4)
    assert tnet.relative_error(found.network, x) == pytest.approx(found.best.error, abs=1e-9)
    met = [e for e in found.trace if e.error <= 0.08]
    assert len({graph_key(e.structure) for e in met}) >= 4
    assert found.best.num_params == min(e.num_params for e in met)


def test_the_same_seed_gives_the_same_search():
    x = planted(tnet.tensor_ring((6, 7, 8), 2), noise=0.01)
    first, second = look(x, 0.02, keep=3), look(x, 0.02, keep=3)
    assert [(e.key, e.error) for e in first.trace] == [(e.key, e.error) for e in second.trace]


def test_no_smaller_tucker_shape_reaches_the_tolerance():
    x = planted(tnet.tucker((6, 7, 8), (2, 3, 2)), noise=0.1, seed=3)
    best = look(x, 0.12).best
    norm = np.linalg.norm(x)
    for ranks in itertools.product(range(1, 5), repeat=3):
        structure = tnet.tucker((6, 7, 8), ranks)
        if structure.num_params < best.num_params:
            start = tnet.decompose(x, structure)
            options = tnet.ALS(restarts=3)
            net = tnet.fit(x, structure, start=start, rng=np.random.default_rng(0), options=options)
            assert np.linalg.norm(net.network.to_dense() - x) / norm > 0.12 * (1 - 1e-3)


def test_a_goal_without_a_tolerance_is_refused():
    with pytest.raises(InputError, match="RelativeError"):
        search(
            np.ones((3, 3)),
            method=SmallestFirst(),
            objective=MaxParams(params=5),
            rng=np.random.default_rng(0),
        )
    with pytest.raises(InputError, match="growth"):
        SmallestFirst(growth=2.0)


def test_the_descent_lowers_the_direct_factorisation_step_by_step():
    x = planted(tnet.tucker((12, 14, 16), 4), noise=0.3, seed=5)
    found = look(x, 0.35)
    trains = [e.num_params for e in found.trace if e.label == "train" and e.error <= 0.35]
    assert trains == sorted(trains, reverse=True)
    direct = tnet.decompose(x, tnet.tensor_train, tol=0.35)
    assert trains[-1] <= direct.num_params
    assert found.best.num_params <= trains[-1]
