"""CutRank: ranks of cuts, graphs and trees that agree with them, and planted networks."""

import itertools
import math

import networkx
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import tnet
from contraction.errors import InputError
from planted import triangle
from strategies import graphs as some_graphs
from strategies import seeds
from structure_search import (
    CutRank,
    MaxParams,
    RelativeError,
    WeightedError,
    cut_rank_bound,
    cut_rank_start,
    search,
)
from structure_search.bounds import CutSpectra
from structure_search.methods.cut_rank_graphs import Budget, graphs
from structure_search.methods.cut_rank_levels import (
    noise_of,
    only_least,
    sides_to_look_at,
    tree_within,
    violated,
)
from structure_search.methods.cut_rank_table import (
    CutRanks,
    _flow,
    canonical_side,
    cut_ranks,
    rows_of,
    side_of,
    structure_cuts,
)
from structure_search.methods.cut_rank_trees import contracted, joined_tree, smallest_tree


def planted(structure, seed: int = 0, noise: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    arrays = {n: rng.standard_normal(structure.node_shape(n)) for n in structure.node_names}
    x = np.asarray(tnet.contract(tnet.Network(structure, arrays), structure.modes))
    x = x / np.linalg.norm(x)
    n = rng.standard_normal(x.shape)
    return x + noise * n / np.linalg.norm(n)


def spectra_of(x: np.ndarray, modes) -> CutSpectra:
    return CutSpectra(x, tuple(modes), float(np.linalg.norm(x)))


def ranks_of(x: np.ndarray, *, tol: float = 1e-9) -> CutRanks:
    modes = {f"x{k}": size for k, size in enumerate(x.shape)}
    sides = range(1, 1 << (x.ndim - 1))
    return cut_ranks(spectra_of(x, modes), modes, sides, tol=tol, noise=1e-12)


def network(bonds: dict[str, int], size: int):
    """A structure by its bonds: digits are nodes with a mode, letters nodes without."""
    names = sorted({c for ends in bonds for c in ends})
    nodes = {c: ([f"x{c}"] if c.isdigit() else []) + [e for e in bonds if c in e] for c in names}
    modes = [f"x{c}" for c in names if c.isdigit()]
    return tnet.Structure(nodes, {**dict.fromkeys(modes, size), **bonds}, modes)


@given(some_graphs(), seeds)
@settings(max_examples=30)
def test_generic_networks_have_the_ranks_of_their_minimum_cuts(structure, seed) -> None:
    assume(len(structure.modes) > 1 and not structure.hyperbonds)
    own = [structure.holders[mode] for mode in structure.modes]
    assume(len(set(own)) == len(own) and all(len(held) == 1 for held in own))
    x = planted(structure, seed)
    cuts = structure_cuts(structure, range(1, 1 << (x.ndim - 1)))
    for side, value in cuts.items():
        rest = [k for k in range(x.ndim) if not side >> k & 1]
        rows = [k for k in range(x.ndim) if side >> k & 1]
        height = math.prod(x.shape[k] for k in rows)
        matrix = x.transpose(rows + rest).reshape(height, -1)
        assert np.linalg.matrix_rank(matrix, tol=1e-10) <= round(math.exp(value))


@pytest.mark.parametrize("seed", range(3))
def test_minimum_cuts_are_those_of_a_flow(seed: int) -> None:
    rng = np.random.default_rng(seed)
    bonds = {f"{a}{b}": int(rng.integers(2, 6)) for a, b in itertools.combinations("01234ab", 2)}
    bonds = {ends: rank for ends, rank in bonds.items() if rng.random() < 0.6}
    assert {c for ends in bonds for c in ends} == set("01234ab")
    structure = network(bonds, 3)
    cuts = structure_cuts(structure, range(1, 16))
    names = structure.node_names
    numbers = {n: k for k, n in enumerate([*"01234", *"ab"])}
    pairs = [tuple(sorted(numbers[c] for c in ends)) for ends in bonds]
    weights = np.log([float(rank) for rank in bonds.values()])
    for side, value in cuts.items():
        graph = networkx.Graph()
        for ends, rank in bonds.items():
            graph.add_edge(ends[0], ends[1], capacity=math.log(rank))
        for n in range(5):
            graph.add_edge("s" if side >> n & 1 else "t", str(n), capacity=math.log(3))
        assert networkx.minimum_cut_value(graph, "s", "t") == pytest.approx(value)
        assert _flow(side, (3,) * 5, pairs, weights, len(names)) == pytest.approx(value)


@given(st.integers(2, 6), st.data())
def test_sides_and_rows(order: int, data) -> None:
    side = data.draw(st.integers(1, (1 << order) - 2))
    modes = [f"m{k}" for k in range(order)]
    same = canonical_side(side, order)
    assert same < 1 << (order - 1)
    assert side_of(rows_of(side, modes), modes) == same
    assert canonical_side(side ^ ((1 << order) - 1), order) == same


PLANTED = {
    "ring": network({"01": 2, "12": 3, "23": 2, "34": 3, "04": 2}, 5),
    "train": tnet.tensor_train((5,) * 5, (2, 3, 4, 3)),
    "triangle": triangle(),
    "star": network({"h0": 2, "h1": 3, "h2": 3, "h3": 2, "h4": 2}, 5),
    "two-hubs": network({"h0": 2, "h1": 3, "hg": 3, "2g": 2, "3g": 3, "4g": 2}, 6),
    "loop-and-hub": network({"0h": 2, "1h": 3, "2h": 2, "23": 2, "34": 3, "24": 2}, 6),
}


@pytest.mark.parametrize("noise", [0.0, 1e-3])
@pytest.mark.parametrize("name", PLANTED)
def test_planted_networks_are_found(name: str, noise: float) -> None:
    structure = PLANTED[name]
    goal = RelativeError(tol=max(1e-4, noise))
    x = planted(structure, 1, noise)
    found = search(x, method=CutRank(), objective=goal, rng=np.random.default_rng(0))
    assert found.best.num_params == structure.num_params
    assert found.best.error <= goal.tol
    assert found.counts.fitted <= 6


def test_a_tree_of_four_inner_nodes_is_found_or_beaten() -> None:
    bonds = {"0a": 2, "1a": 3, "ar": 3, "2b": 2, "3b": 3, "br": 2, "4c": 3, "5c": 2, "cr": 4}
    structure = network(bonds, 4)
    x = planted(structure)
    goal = RelativeError(tol=1e-6)
    found = search(x, method=CutRank(), objective=goal, rng=np.random.default_rng(0))
    assert found.best.num_params <= structure.num_params
    assert found.best.error <= 1e-6
    assert found.counts.fitted == 1


def test_ranks_below_the_square_root_of_eps_are_seen() -> None:
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.standard_normal((n, 6)))[0] for n in (9, 20))
    values = np.array([1.0, 1e-3, 1e-6, 3e-8, 1e-10, 1e-12])
    x = ((left * values) @ right.T).reshape(3, 3, 4, 5)
    found = spectra_of(x, "abcd").exact_values(("a", "b"))
    np.testing.assert_allclose(found[:6] * np.linalg.norm(x), values, rtol=1e-2)
    assert np.all(found[6:] < 1e-14)


def test_weak_bonds_of_collinear_cores_are_seen() -> None:
    s = PLANTED["ring"]
    for seed in range(3):
        rng = np.random.default_rng(seed)
        net = tnet.Network(s, {n: rng.uniform(size=s.node_shape(n)) for n in s.node_names})
        x = np.asarray(tnet.contract(net))
        start = cut_rank_start(spectra_of(x, s.modes), dict.fromkeys(s.modes, 5), 1e-6)
        assert start.num_params == s.num_params


def test_graphs_are_all_that_agree_smallest_first() -> None:
    """Against all rank vectors of a small problem."""
    ring = network({"01": 2, "12": 2, "23": 2, "03": 2}, 3)
    most = {side: round(math.exp(c)) for side, c in structure_cuts(ring, range(1, 8)).items()}
    ranks = CutRanks(modes=dict.fromkeys(ring.modes, 3), least=most, most=most)
    names = [f"v{k}" for k in range(4)]
    agree = []
    for values in itertools.product(range(1, 5), repeat=6):
        sizes, nodes = dict(ranks.modes), {n: [f"x{k}"] for k, n in enumerate(names)}
        for (a, b), rank in zip(itertools.combinations(names, 2), values, strict=True):
            nodes[a].append(f"{a}{b}")
            nodes[b].append(f"{a}{b}")
            sizes[f"{a}{b}"] = rank
        structure = tnet.Structure(nodes, sizes, tuple(ranks.modes))
        cuts = structure_cuts(structure, ranks.most)
        if all(abs(cuts[s] - math.log(ranks.most[s])) < 1e-9 for s in cuts):
            agree.append(structure.num_params)
    found = [
        g.num_params for g in graphs(ranks, hubs=0, cap=max(agree), slack=0, budget=Budget(10_000))
    ]
    assert found == sorted(found)
    assert found[0] == min(agree)
    assert set(found) <= set(agree)


def test_slack_allows_a_rank_that_was_counted_too_low() -> None:
    structure = PLANTED["ring"]
    ranks = ranks_of(planted(structure))
    side = max(ranks.most, key=lambda s: ranks.most[s])
    wrong = {**ranks.most, side: ranks.most[side] - 1}
    low = CutRanks(modes=ranks.modes, least=wrong, most=wrong)
    cap = structure.num_params

    def found(slack: int) -> list[int]:
        listed = graphs(low, hubs=0, cap=cap, slack=slack, budget=Budget(5000))
        return [g.num_params for g in listed if violated(g.structure, ranks) == 0]

    assert found(0) == []
    assert structure.num_params in found(1)


@given(seeds, st.integers(3, 5))
@settings(max_examples=15)
def test_no_fitted_network_is_smaller_than_the_bound(seed: int, order: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(2, 5, order))
    s = tnet.tensor_ring(shape, tuple(int(r) for r in rng.integers(1, 4, order)))
    x = planted(s, seed)
    bound = cut_rank_bound(spectra_of(x, s.modes), dict(zip(s.modes, shape, strict=True)), 1e-9)
    assert 1 <= bound <= s.num_params


def test_a_bound_with_less_work_is_weaker_and_still_a_bound() -> None:
    s = PLANTED["ring"]
    spectra, modes = spectra_of(planted(s), s.modes), dict.fromkeys(s.modes, 5)
    bounds = [cut_rank_bound(spectra, modes, 1e-6, boxes=n) for n in (1, 10, 100, 1000)]
    assert bounds == sorted(bounds)
    assert cut_rank_bound(spectra, modes, 1e-6, hubs=1) <= bounds[-1] <= s.num_params


@pytest.mark.parametrize("seed", range(3))
def test_the_smallest_tree_is_not_above_any_fixed_one(seed: int) -> None:
    x = np.random.default_rng(seed).standard_normal((3, 4, 2, 3, 2))
    tree = tree_within(
        spectra_of(x, [f"x{k}" for k in range(5)]),
        dict(zip([f"x{k}" for k in range(5)], x.shape, strict=True)),
        0.5,
    )
    assert tree is not None
    assert tree.is_tree
    net = tnet.decompose(x, tree)
    assert net.error <= 0.5
    each = 0.5 / math.sqrt(7)
    ranks = cut_ranks(
        spectra_of(x, tree.modes),
        dict(zip(tree.modes, x.shape, strict=True)),
        range(1, 16),
        tol=each,
        noise=1e-13,
    ).least
    for perm in itertools.permutations(range(5)):
        sides = [canonical_side(sum(1 << n for n in perm[: k + 1]), 5) for k in range(4)]
        r = [1, *(ranks[side] for side in sides), 1]
        size = sum(r[k] * x.shape[perm[k]] * r[k + 1] for k in range(5))
        assert tree.num_params <= size


def test_a_tree_of_many_modes_is_found_by_joining() -> None:
    structure = tnet.balanced_tree((3,) * 9, 2)
    x = planted(structure)
    spectra = spectra_of(x, structure.modes)
    tree = joined_tree(
        spectra,
        dict.fromkeys(structure.modes, 3),
        lambda _, values: int(np.count_nonzero(values > 1e-10)),
    )
    assert tree is not None
    assert tree.num_params <= contracted(structure).num_params
    assert tnet.decompose(x, tree).error < 1e-10


def test_a_ring_of_many_modes_is_found_from_some_of_its_cuts() -> None:
    order = list(np.random.default_rng(3).permutation(10))
    ring = tnet.tensor_ring((2,) * 10, 2)
    x = np.ascontiguousarray(planted(ring).transpose(order))
    assert len(sides_to_look_at(dict.fromkeys(map(str, range(10)), 2))) < 200
    found = search(
        x, method=CutRank(), objective=RelativeError(tol=1e-4), rng=np.random.default_rng(0)
    )
    assert found.best.num_params == ring.num_params
    assert found.counts.fitted == 1


def test_the_noise_is_estimated_from_above() -> None:
    s = PLANTED["ring"]
    modes = dict.fromkeys(s.modes, 5)
    for noise in (1e-6, 1e-3, 1e-2):
        x = planted(s, 2, noise)
        found = noise_of(spectra_of(x, s.modes), modes, range(1, 16))
        assert 0.8 * noise <= found <= 2.0 * noise


def test_data_that_nothing_explains_get_a_network_all_the_same() -> None:
    i, j, k, m = np.ogrid[1:7, 1:7, 1:7, 1:7]
    x = 1.0 / (i + 2 * j + k * m)
    for tol in (1e-1, 1e-2, 1e-3):
        goal = RelativeError(tol=tol)
        found = search(x, method=CutRank(), objective=goal, rng=np.random.default_rng(0))
        assert found.best.error <= tol
        train = tnet.decompose(x, tnet.tensor_train, tol=tol)
        assert found.best.num_params <= 1.2 * train.num_params


@pytest.mark.parametrize("goal", [MaxParams(params=90), WeightedError(weight=5.0)])
def test_other_objectives_sweep_over_tolerances(goal) -> None:
    i, j, k, m = np.ogrid[1:7, 1:7, 1:7, 1:7]
    found = search(
        1.0 / (i + 2 * j + k * m), method=CutRank(), objective=goal, rng=np.random.default_rng(0)
    )
    assert found.best.error < 0.3
    assert found.best.num_params <= 300
    assert goal.cap is None or found.best.num_params <= goal.cap


@pytest.mark.parametrize("shape", [(7,), (4, 6), (1, 5, 1, 4), (3, 1, 1)])
def test_few_and_idle_modes(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal(shape)
    goal = RelativeError(tol=1e-8)
    found = search(x, method=CutRank(), objective=goal, rng=np.random.default_rng(0))
    assert found.best.error <= 1e-8


@pytest.mark.parametrize("dtype", ["float32", "complex64", "complex128"])
def test_other_dtypes(dtype: str) -> None:
    ring = PLANTED["ring"]
    rng = np.random.default_rng(4)
    net = {n: rng.standard_normal(ring.node_shape(n)) for n in ring.node_names}
    if dtype.startswith("complex"):
        net = {n: a + 1j * rng.standard_normal(a.shape) for n, a in net.items()}
    x = np.asarray(tnet.contract(tnet.Network(ring, net), ring.modes)).astype(dtype)
    goal = RelativeError(tol=1e-3)
    found = search(x, method=CutRank(), objective=goal, rng=np.random.default_rng(0))
    assert found.best.num_params == ring.num_params
    assert found.best.error <= 1e-3


def test_torch_data() -> None:
    torch = pytest.importorskip("torch")
    ring = PLANTED["ring"]
    x = torch.from_numpy(planted(ring, 1))
    goal = RelativeError(tol=1e-4)
    found = search(x, method=CutRank(), objective=goal, rng=np.random.default_rng(0))
    assert found.best.num_params == ring.num_params
    assert all(isinstance(array, torch.Tensor) for array in found.network.arrays.values())


def test_noise_of_full_rank_alone_is_held_by_a_tree() -> None:
    x = np.random.default_rng(0).standard_normal((3, 4, 3, 4))
    goal = RelativeError(tol=1e-6)
    found = search(x, method=CutRank(), objective=goal, rng=np.random.default_rng(0))
    assert found.best.error <= 1e-6
    assert found.best.num_params <= tnet.decompose(x, tnet.tensor_train, tol=1e-6).num_params


@pytest.mark.parametrize("shape", [(3, 4, 5), (4,), (2, 3)])
def test_zeros(shape: tuple[int, ...]) -> None:
    goal = RelativeError(tol=1e-6)
    found = search(np.zeros(shape), method=CutRank(), objective=goal, rng=np.random.default_rng(0))
    assert found.best.error == 0.0
    assert found.best.num_params == sum(shape)


def test_a_matrix_has_its_rank() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((9, 3)) @ rng.standard_normal((3, 12))
    goal = RelativeError(tol=1e-10)
    found = search(x, method=CutRank(), objective=goal, rng=np.random.default_rng(0))
    assert found.best.num_params == 9 * 3 + 3 * 12


def test_a_tree_comes_right_after_the_first_graph_that_misses() -> None:
    """Small modes: graphs with loops agree with all cuts of a tree, and do not hold it."""
    rng = np.random.default_rng(100)
    ranks = [int(r) for r in rng.integers(1, 5, size=6)]
    modes = {f"x{k}": 3 for k in rng.permutation(6)}
    ring = tnet.tensor_ring(modes, ranks).permuted([f"x{k}" for k in range(6)])
    x = np.asarray(tnet.contract(tnet.random_network(ring, rng=rng)))
    goal = RelativeError(tol=1e-4)
    found = search(x, method=CutRank(), objective=goal, rng=np.random.default_rng(0))
    assert found.best.num_params <= 93
    assert [e.error <= 1e-4 for e in found.trace[:2]] == [False, True]


def test_two_modes_on_a_node_are_refused() -> None:
    s = tnet.Structure({"a": ("x", "y")}, {"x": 2, "y": 3})
    with pytest.raises(InputError, match="no node has two modes"):
        structure_cuts(s, (1,))


def test_certain_ranks_only() -> None:
    ranks = ranks_of(planted(PLANTED["train"]))
    assert min(only_least(ranks).most.values()) > max(ranks.most.values())
    tree = smallest_tree(ranks)
    assert tree is not None
    assert tree.num_params == PLANTED["train"].num_params
    assert violated(tree, ranks) == 0


def weak_ring() -> tuple[np.ndarray, int]:
    """A ring some of whose singular values lie next to 1e-4 of the norm."""
    rng = np.random.default_rng(7)
    ranks = [int(r) for r in rng.integers(1, 5, size=6)]
    modes = {f"x{k}": 3 for k in rng.permutation(6)}
    ring = tnet.tensor_ring(modes, ranks).permuted([f"x{k}" for k in range(6)])
    arrays = {n: rng.standard_normal(ring.node_shape(n)) for n in ring.node_names}
    return np.asarray(tnet.contract(tnet.Network(ring, arrays), ring.modes)), ring.num_params


@pytest.mark.parametrize("tol", [1e-3, 1e-4, 1e-6])
def test_signal_below_the_tolerance_is_not_taken_for_noise(tol: float) -> None:
    """No cut shows the noise, and a large tree agrees with ranks that are counted too low."""
    x, truth = weak_ring()
    goal = RelativeError(tol=tol)
    found = search(x, method=CutRank(), objective=goal, rng=np.random.default_rng(0))
    assert found.best.num_params <= truth
    assert found.best.error <= tol
    modes = {f"x{k}": 3 for k in range(6)}
    assert cut_rank_start(spectra_of(x, modes), modes, tol).num_params <= truth


def test_graphs_that_miss_get_more_starts_after_the_others() -> None:
    x, truth = weak_ring()
    goal = RelativeError(tol=1e-6)
    found = search(x, method=CutRank(), objective=goal, rng=np.random.default_rng(0))
    hits = [e.num_params <= truth and e.error <= 1e-6 for e in found.trace]
    assert True in hits[:3]
