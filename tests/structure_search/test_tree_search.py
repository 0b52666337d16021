"""TreeSearch: its programmes against brute force, its bounds, and what it finds."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tnet
from contraction.errors import InputError, RankError
from strategies import seeds, trees
from structure_search import MaxParams, RelativeError, TreeSearch, search
from structure_search.bounds import CutSpectra
from structure_search.families import graph_key, trees_of
from structure_search.methods.trees import ladders, laminar, orders, parts
from structure_search.methods.trees.budget import best_ranks
from tnet.allocation import allocate


def discarded(spectra, ranks) -> float:
    return sum(float(np.sum(np.asarray(s)[ranks[b] :] ** 2)) for b, s in spectra.items())


def cuts_differ(structure) -> bool:
    sides = []
    tree = tnet.rooted(structure)
    for node in tree.bond:
        rows = frozenset(tree.leaves_below[node])
        sides.append(min(rows, frozenset(structure.modes) - rows, key=sorted))
    return all(sides) and len(set(sides)) == len(sides)


@settings(max_examples=40)
@given(trees(max_nodes=5, max_size=3, max_rank=4).filter(cuts_differ), seeds)
def test_the_ranks_within_a_budget_are_those_of_brute_force(structure, seed) -> None:
    rng = np.random.default_rng(seed)
    bonds = structure.bonds
    spectra = {b: np.sort(rng.exponential(size=structure.size[b]))[::-1] for b in bonds}
    every = [
        structure.resized(dict(zip(bonds, ranks, strict=True)))
        for ranks in itertools.product(*(range(1, structure.size[b] + 1) for b in bonds))
    ]
    sizes = sorted(s.num_params for s in every)
    budget = int(rng.integers(sizes[0], sizes[-1] + 1))
    exact = min(discarded(spectra, s.size) for s in every if s.num_params <= budget)
    found = best_ranks(spectra, structure, budget)
    assert structure.resized(found).num_params <= budget
    assert discarded(spectra, found) == pytest.approx(exact, rel=1e-12, abs=1e-15)
    assert exact <= discarded(spectra, allocate(spectra, structure, budget)) * (1 + 1e-12)


def test_a_budget_below_ranks_of_one_is_refused() -> None:
    train = tnet.tensor_train((4, 5), 3)
    with pytest.raises(RankError, match="max_params >= 9"):
        best_ranks({"g0-g1": [3.0, 2.0, 1.0]}, train, 8)
    with pytest.raises(InputError):
        best_ranks({}, train, 20)


def families(programme):
    """Every laminar family over the sets of a programme, with every choice of ranks."""
    sets = sorted(programme.ranks)
    for count in range(len(sets) + 1):
        for chosen in itertools.combinations(sets, count):
            if all(not a & b or a & b in (a, b) for a, b in itertools.combinations(chosen, 2)):
                for ranks in itertools.product(*(range(len(programme.ranks[s])) for s in chosen)):
                    family = {
                        s: int(programme.ranks[s][k]) for s, k in zip(chosen, ranks, strict=True)
                    }
                    lost = sum(
                        float(programme.tails[s][k]) for s, k in zip(chosen, ranks, strict=True)
                    )
                    yield laminar.family_params(family, programme.sizes), lost


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(2, 5), min_size=2, max_size=4), seeds, st.floats(0.1, 1e3))
def test_the_cheapest_tree_is_that_of_brute_force(sizes, seed, weight) -> None:
    rng = np.random.default_rng(seed)
    root = int(rng.integers(len(sizes)))
    divisions = parts.all_divisions(len(sizes), root)
    everything = (1 << len(sizes)) - 1
    sets = {1 << k for k in range(len(sizes))} | set(divisions)
    sets -= {everything, everything ^ 1 << root}
    ranks = {s: np.array([1, 2]) for s in sets}
    tails = {s: np.sort(rng.exponential(size=2))[::-1] for s in sets}
    programme = laminar.Programme(sizes=tuple(sizes), divisions=divisions, ranks=ranks, tails=tails)
    found = laminar.cheapest(programme, weight)
    price = found.num_params + weight * found.squared
    exact = min(params + weight * lost for params, lost in families(programme))
    assert price == pytest.approx(exact, rel=1e-12)
    assert found.num_params == laminar.family_params(found.ranks, sizes)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_the_families_are_all_trees(count: int) -> None:
    """As many laminar families as trees that contracting all binary trees gives."""
    modes = {f"x{k}": 4 for k in range(count)}
    divisions = parts.all_divisions(count, 0)
    everything = (1 << count) - 1
    sets = sorted(({1 << k for k in range(count)} | set(divisions)) - {everything, everything ^ 1})
    keys = set()
    for size in range(len(sets) + 1):
        for chosen in itertools.combinations(sets, size):
            if all(not a & b or a & b in (a, b) for a, b in itertools.combinations(chosen, 2)):
                ranks = dict.fromkeys(chosen, 2)
                keys.add(graph_key(parts.structure_of(ranks, (4,) * count, tuple(modes))))
    assert keys == {graph_key(s) for s in trees_of(modes)}


@given(trees(max_nodes=5, max_size=4, max_rank=3), seeds)
def test_the_tails_bound_the_error(structure, seed) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(structure.shape)
    spectra = CutSpectra(x, structure.modes, float(np.linalg.norm(x)))
    net = tnet.decompose(x, structure)
    tree = tnet.rooted(net.structure)
    tails = []
    for node, bond in tree.bond.items():
        rows = tree.leaves_below[node]
        if rows and len(rows) < len(structure.modes):
            values = spectra.tails(rows)
            tails.append(float(values[min(net.ranks[bond], len(values) - 1)]))
    error = float(np.linalg.norm(x - net.to_dense()) / np.linalg.norm(x))
    assert max(tails, default=0.0) <= error + 1e-9
    assert error <= np.sqrt(np.sum(np.square(tails))) + 1e-7


def test_every_neighbour_is_a_tree_that_differs_in_one_bond() -> None:
    now = frozenset({0b00011, 0b00111, 0b01000})
    near = ladders.neighbours(sorted(now), 5, root=4)
    assert len(near) == len(set(near))
    assert now not in near
    for sets in near:
        assert all(not a & b or a & b in (a, b) for a, b in itertools.combinations(sets, 2))
        assert len(now - sets) <= 1
        assert len(sets - now) <= 1
    assert now - {0b00111} in near
    assert now | {0b00001} in near


def test_divisions_among_sets_reach_every_mode() -> None:
    order = (3, 0, 5, 1, 4, 2)
    divisions = parts.divisions_among(orders.intervals(order), 6, root=2)
    for mask, halves in divisions.items():
        for half in halves:
            assert half & mask == half
            assert 0 < half < mask
            for part in (half, mask ^ half):
                assert part.bit_count() == 1 or part in divisions


def planted(seed: int):
    """A tree whose pairs are far apart in the order of the modes."""
    nodes = {f"u{k}": [f"x{k}", f"u{k}-t{k % 3}"] for k in range(6)}
    nodes |= {f"t{k}": [f"u{k}-t{k}", f"u{k + 3}-t{k}", f"t{k}-h"] for k in range(3)}
    nodes["h"] = [f"t{k}-h" for k in range(3)]
    sizes = {leg: 2 for legs in nodes.values() for leg in legs} | {f"x{k}": 5 for k in range(6)}
    tree = tnet.Structure(nodes, sizes, [f"x{k}" for k in range(6)])
    return tree, tnet.contract(tnet.random_network(tree, rng=np.random.default_rng(seed)))


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_planted_tree_is_found(seed: int) -> None:
    tree, x = planted(seed)
    goal = RelativeError(tol=1e-6)
    quick = TreeSearch(keep=1, rounds=1, patience=4)
    found = search(x, method=quick, objective=goal, rng=np.random.default_rng(0))
    assert found.best.num_params <= tree.num_params
    assert tnet.relative_error(found.network, x) <= 1e-6
    least = search(
        x,
        method=quick,
        objective=MaxParams(params=tree.num_params),
        rng=np.random.default_rng(0),
    )
    assert least.best.num_params <= tree.num_params
    assert least.best.error <= 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_no_fixed_format_is_smaller(seed: int) -> None:
    rng = np.random.default_rng(seed)
    i, j, k, m = np.ogrid[1:7, 1:6, 1:5, 1:8]
    x = 1.0 / (i + j * k + m) + np.sin(i * m / 5.0) * np.exp(-j / k)
    x += 0.02 * rng.standard_normal(x.shape)
    quick = TreeSearch(keep=1, rounds=1, patience=4)
    rivals = [tnet.decompose(x, form, tol=0.1) for form in (tnet.tucker, tnet.balanced_tree)]
    rivals += [
        tnet.decompose(np.transpose(x, order), tnet.tensor_train, tol=0.1)
        for order in itertools.permutations(range(4))
    ]
    goal = RelativeError(tol=0.1)
    found = search(x, method=quick, objective=goal, rng=np.random.default_rng(0))
    assert tnet.relative_error(found.network, x) <= 0.1
    assert found.best.num_params <= min(net.num_params for net in rivals)


@pytest.mark.parametrize("power", [1.0, 3.0])
def test_families_on_either_side_of_a_tolerance_and_of_a_budget(power: float) -> None:
    x = np.random.default_rng(0).standard_normal((5,) * 5)
    x += sum(5.0 / (1.0 + grid) for grid in np.ogrid[:5, :5, :5, :5, :5])
    spectra = CutSpectra(x, [f"x{k}" for k in range(5)], float(np.linalg.norm(x)))
    divisions = parts.all_divisions(5, 0)
    plain = parts.programme(
        x.shape, divisions, lambda axes: spectra.tails([f"x{k}" for k in axes]), 0.1
    )
    lifted = ladders.raised(plain, power)
    family, weight = ladders.reaching(lifted, 1.0, 100.0)
    assert family == laminar.cheapest(lifted, weight)
    assert family.squared <= 1.0
    smaller, _ = ladders.within(lifted, family.num_params - 1, weight)
    assert smaller.num_params < family.num_params
    assert smaller.squared > family.squared
    steps = ladders.between(lifted, 0.25, 1.7, 100.0)
    assert steps[0][0].squared <= 1.7
    assert all(a[0].squared >= b[0].squared for a, b in itertools.pairwise(steps))
    assert steps[-1][0].squared <= 0.25


def test_the_bonds_of_a_structure_are_its_sets() -> None:
    ranks = {0b000001: 2, 0b000011: 3, 0b001100: 4, 0b001111: 2}
    structure = parts.structure_of(ranks, (4,) * 6, [f"x{k}" for k in range(6)])
    bonds = parts.bonds_of(structure)
    normal = {ladders.normalised(mask, 0b111111, 5): bond for mask, bond in bonds.items()}
    assert {mask: structure.size[bond] for mask, bond in normal.items()} == ranks


def test_more_modes_than_all_sets_allow() -> None:
    t = np.linspace(0.0, 1.0, 2**10, endpoint=False)
    x = np.sin(30.0 * t + 3.0 * t**2).reshape((2,) * 10)
    goal = RelativeError(tol=0.01)
    quick = TreeSearch(keep=1, rounds=1, patience=4)
    found = search(x, method=quick, objective=goal, rng=np.random.default_rng(0))
    assert found.best.error <= 0.01
    assert found.best.num_params <= tnet.decompose(x, tnet.tensor_train, tol=0.01).num_params


def test_a_tolerance_of_zero_is_refused() -> None:
    with pytest.raises(InputError, match="above zero"):
        search(
            np.ones((2, 3)),
            method=TreeSearch(),
            objective=RelativeError(tol=0.0),
            max_evaluations=10,  # without a limit the search is refused, whatever the method
            rng=np.random.default_rng(0),
        )


@pytest.mark.parametrize("goal", [RelativeError(tol=0.1), MaxParams(params=9), MaxParams(params=3)])
@pytest.mark.parametrize("size", [1, 5])
def test_data_with_one_mode_are_one_node(goal, size: int) -> None:
    x = np.arange(1.0, size + 1.0)
    found = search(x, method=TreeSearch(), objective=goal, rng=np.random.default_rng(0))
    assert found.best.num_params == size
    assert found.best.error < 1e-12
