"""Greedy: what a step gains, what a move keeps, and recovery of planted networks."""

import numpy as np
import pytest
from hypothesis import assume, given, settings

import tnet
from contraction.errors import RankError
from strategies import graphs, seeds
from structure_search import Greedy, RelativeError, search
from structure_search.bounds import CutSpectra, cuts_of
from structure_search.canonical import reduced
from structure_search.methods import inner_nodes, moves
from structure_search.methods.growth import appended, growths

FAMILIES = {  # bonds of five nodes of size seven; "h" is a node without a mode
    "ring": {"01": 2, "12": 3, "23": 4, "34": 5, "04": 5},
    "train": {"01": 2, "12": 3, "23": 6, "34": 5},
    "triangle": {"01": 5, "12": 2, "23": 5, "14": 2, "24": 2},
    "tucker": {"h0": 2, "h1": 3, "h2": 4, "h3": 3, "h4": 2},
}


def planted(family: str, seed: int) -> tuple[tnet.Structure, np.ndarray]:
    bonds = FAMILIES[family]
    nodes = {k: [f"x{k}"] for k in "01234"} | ({"h": []} if family == "tucker" else {})
    for ends in bonds:
        for node in ends:
            nodes[node].append(f"b{ends}")
    sizes = {f"x{k}": 7 for k in "01234"} | {f"b{ends}": rank for ends, rank in bonds.items()}
    s = tnet.Structure(nodes, sizes, [f"x{k}" for k in "01234"])
    rng = np.random.default_rng(seed)
    net = tnet.Network(s, {n: rng.standard_normal(s.node_shape(n)) for n in s.node_names})
    x = np.asarray(tnet.contract(net))
    return s, x / np.linalg.norm(x)


def no_hyperbonds(structure: tnet.Structure) -> bool:
    pairs = [structure.holders[b] for b in structure.bonds]
    return not structure.hyperbonds and len({frozenset(p) for p in pairs}) == len(pairs)


@given(graphs(max_nodes=4), seeds)
def test_the_gain_is_the_decrease_of_the_squared_error(structure, seed) -> None:
    assume(no_hyperbonds(structure) and len(structure.nodes) > 1)
    rng = np.random.default_rng(seed)
    net = tnet.random_network(structure, rng=rng)
    x = np.asarray(tnet.contract(net)) + rng.standard_normal(structure.shape)
    before = np.linalg.norm(x - tnet.contract(net)) ** 2
    found = growths(net, x, most_params=1e9, max_degree=None)
    for growth in found:
        bigger = appended(net, growth, rng)
        assert bigger.structure == growth.structure
        after = np.linalg.norm(x - tnet.contract(bigger)) ** 2
        assert before - after == pytest.approx(growth.gain, rel=1e-6, abs=1e-8 * before)
        assert growth.gain >= -1e-12 * before
    assert [g.rate for g in found] == sorted((g.rate for g in found), reverse=True)


def test_the_gain_is_near_the_best_there_is() -> None:
    """On a network of rank one the best new slice is the top singular pair of an unfolding."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 6))
    U, s, Vh = np.linalg.svd(x)
    pair = tnet.Structure({"a": ("x0", "r"), "b": ("r", "x1")}, {"x0": 5, "x1": 6, "r": 1})
    net = tnet.Network(pair, {"a": U[:, :1] * s[0], "b": Vh[:1]})
    (growth,) = growths(net, x, most_params=1e9, max_degree=None)
    assert growth.gain == pytest.approx(s[1] ** 2, rel=1e-3)


def test_limits_on_growth() -> None:
    net = tnet.random_network(
        tnet.fully_connected((4, 4, 4, 4), (2, 1, 1, 1, 1, 1)), rng=np.random.default_rng(0)
    )
    x = np.random.default_rng(1).standard_normal((4, 4, 4, 4))
    assert growths(net, x, most_params=net.num_params, max_degree=None) == []
    for growth in growths(net, x, most_params=1e9, max_degree=1):
        assert set(growth.ends) in ({"v0", "v1"}, {"v2", "v3"})


@given(graphs(max_nodes=5), seeds)
def test_joining_and_splitting_keep_the_tensor(structure, seed) -> None:
    net = tnet.random_network(structure, rng=np.random.default_rng(seed))
    x = np.asarray(tnet.contract(net))
    norm = np.linalg.norm(x)
    if not structure.hyperbonds:
        for move in inner_nodes.joins(net):
            start = move.start()
            assert start.structure == move.structure
            np.testing.assert_allclose(
                tnet.contract(start), x, atol=1e-10 * (1 + norm), err_msg=move.label
            )
    for move in inner_nodes.splits(net):
        start = move.start()
        assert start.structure == move.structure
        assert move.num_params < net.num_params
        # small singular values of the node are cut, so only about
        assert len(move.structure.nodes) == len(structure.nodes) + 1


def test_a_split_finds_the_core_of_a_tucker_network() -> None:
    star = tnet.random_network(tnet.tucker((6, 6, 6), 2), rng=np.random.default_rng(0))
    (joined,) = [m for m in inner_nodes.joins(star) if m.label == "join core+u0"]
    merged = joined.start()
    assert len(merged.structure.nodes) == 3
    moved = [m for m in inner_nodes.splits(merged) if m.num_params == star.num_params]
    assert moved
    np.testing.assert_allclose(
        tnet.contract(moved[0].start()), np.asarray(tnet.contract(star)), atol=1e-9
    )


@settings(max_examples=15)
@given(seeds)
def test_moves_save_parameters_and_mended_ones_satisfy_the_cuts(seed) -> None:
    rng = np.random.default_rng(seed)
    s, x = planted("ring", seed)
    ranks = {bond: rank + int(rng.integers(0, 3)) for bond, rank in s.ranks.items()}
    big = s.resized(ranks).with_bond("0", "2", 2)
    spectra = CutSpectra(x, s.modes, 1.0)
    for move in moves.lowered(big):
        assert move.num_params < big.num_params
    for move in moves.exchanged(big, max_degree=None):
        assert move.num_params < big.num_params
    for move in moves.repaired(big, spectra, 1e-4):
        assert move.num_params < big.num_params
        assert spectra.bound(move.structure) <= 1e-4
    # the truth is never ruled out
    assert spectra.bound(reduced(s)) <= 1e-4
    assert all(
        spectra.rank(rows, 1e-4) <= min(np.prod([s.size[x] for x in legs]) for legs in across)
        for rows, across in cuts_of(s.nodes, s.modes)
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_planted_networks_are_found(family: str) -> None:
    truth, x = planted(family, 0)
    found = search(
        x, method=Greedy(), objective=RelativeError(tol=1e-4), rng=np.random.default_rng(0)
    )
    assert found.best.error <= 1e-4
    assert found.best.num_params <= truth.num_params


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_ten_planted_networks_are_found(family: str) -> None:
    small = 0
    for seed in range(10):
        truth, x = planted(family, seed)
        found = search(
            x, method=Greedy(), objective=RelativeError(tol=1e-4), rng=np.random.default_rng(seed)
        )
        assert found.best.error <= 1e-4
        small += found.best.num_params <= truth.num_params
    assert small >= 9


def test_without_inner_nodes_there_are_none() -> None:
    _, x = planted("tucker", 3)
    found = search(
        x,
        method=Greedy(inner_nodes=False),
        objective=RelativeError(tol=1e-4),
        rng=np.random.default_rng(3),
    )
    assert found.best.error <= 1e-4
    assert len(found.best.structure.nodes) == 5


def test_max_degree_is_kept() -> None:
    _, x = planted("tucker", 3)
    found = search(
        x,
        method=Greedy(inner_nodes=False, max_degree=2),
        objective=RelativeError(tol=1e-4),
        rng=np.random.default_rng(3),
        max_evaluations=150,
    )
    for evaluation in found.trace:
        s = evaluation.structure
        live = {leg for leg in s.ranks if s.size[leg] > 1}
        assert all(len(live & set(legs)) <= 2 for _, legs in s.nodes)


def test_options_are_checked() -> None:
    with pytest.raises(RankError):
        Greedy(look_ahead=0)
    with pytest.raises(RankError):
        Greedy(max_degree=1)
