"""Greedy: what a step gains, what a move keeps, and recovery of planted networks."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings

import tnet
from contraction.errors import RankError
from strategies import graphs, seeds
from structure_search import Greedy, MaxParams, RelativeError, WeightedError, search
from structure_search.bounds import CutSpectra, cuts_of
from structure_search.canonical import reduced
from structure_search.methods import inner_nodes, moves, slice_fits
from structure_search.methods.base import method_to_dict
from structure_search.methods.greedy import Screening, StepChoice
from structure_search.methods.growth import Limits, appended, growths
from structure_search.methods.registry import method_from_dict
from structure_search.results import as_candidate

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


@settings(max_examples=25, suppress_health_check=[HealthCheck.filter_too_much])
@given(graphs(max_nodes=4), seeds)
def test_the_gain_is_the_decrease_of_the_squared_error(structure, seed) -> None:
    assume(no_hyperbonds(structure) and len(structure.nodes) > 1)
    rng = np.random.default_rng(seed)
    net = tnet.random_network(structure, rng=rng)
    x = np.asarray(tnet.contract(net)) + rng.standard_normal(structure.shape)
    before = np.linalg.norm(x - tnet.contract(net)) ** 2
    found = growths(net, x - tnet.contract(net), Limits())
    for growth in found:
        bigger = appended(net, growth, rng)
        assert bigger.structure == growth.structure
        after = np.linalg.norm(x - tnet.contract(bigger)) ** 2
        assert before - after == pytest.approx(growth.gain, rel=1e-6, abs=1e-8 * before)
        assert growth.gain >= -1e-12 * before
    assert [g.rate for g in found] == sorted((g.rate for g in found), reverse=True)


@settings(max_examples=25, suppress_health_check=[HealthCheck.filter_too_much])
@given(graphs(max_nodes=4), seeds)
def test_gains_by_the_gradient_alone_are_exact_too(structure, seed) -> None:
    """With a mask the block is not formed; the gain counts the observed entries alone."""
    assume(no_hyperbonds(structure) and len(structure.nodes) > 1)
    rng = np.random.default_rng(seed)
    net = tnet.random_network(structure, rng=rng)
    x = np.asarray(tnet.contract(net)) + rng.standard_normal(structure.shape)
    mask = rng.random(structure.shape) < 0.7
    before = np.linalg.norm(mask * (x - tnet.contract(net))) ** 2
    residual = mask * (x - tnet.contract(net))
    for growth in growths(net, residual, Limits(), observed=mask.astype(float)):
        bigger = appended(net, growth, rng)
        after = np.linalg.norm(mask * (x - tnet.contract(bigger))) ** 2
        assert before - after == pytest.approx(growth.gain, rel=1e-6, abs=1e-8 * before)
        assert growth.gain >= 0.0


def test_both_ways_to_new_slices_agree(monkeypatch) -> None:
    """On orthonormal surroundings one gradient step is the best fit."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 4, 6))
    s = tnet.tensor_train((5, 4, 6), 1)
    net = tnet.random_network(s, rng=rng)
    residual = x - np.asarray(tnet.contract(net))
    left, _, right = s.node_names
    formed = slice_fits.new_slices(net, residual, left, right)
    monkeypatch.setattr(slice_fits, "WIDE", 0)
    not_formed = slice_fits.new_slices(net, residual, left, right)
    assert not_formed.gain == pytest.approx(formed.gain, rel=1e-3)


ONE_RULE = [(s, None) for s in (None, *Screening)] + [(None, c) for c in StepChoice]


@pytest.mark.parametrize(("screening", "choice"), ONE_RULE)
def test_every_rule_finds_a_small_ring(screening, choice) -> None:
    small_ring_is_found(screening, choice)


@pytest.mark.slow
@pytest.mark.parametrize("screening", Screening)
@pytest.mark.parametrize("choice", StepChoice)
def test_all_rules_together_find_a_small_ring(screening, choice) -> None:
    small_ring_is_found(screening, choice)


def small_ring_is_found(screening, choice) -> None:
    ring = tnet.tensor_ring((3, 3, 3, 3), 2)
    x = np.asarray(tnet.contract(tnet.random_network(ring, rng=np.random.default_rng(3))))
    method = Greedy(screening=screening, choice=choice, look_ahead=2, inner_nodes=False)
    for goal in (RelativeError(tol=1e-3), WeightedError(weight=5.0), MaxParams(params=48)):
        found = search(x, method=method, objective=goal, rng=np.random.default_rng(0))
        if isinstance(goal, RelativeError):
            assert found.best.error <= 1e-3
        elif isinstance(goal, MaxParams):
            assert found.best.num_params <= 48
            assert found.best.error < 0.6
        else:
            assert goal.order(found.best)[0] < 0.62  # the ring itself: 48 / 81
    assert method_from_dict(json.loads(json.dumps(method_to_dict(method)))) == method


def test_ranks_keep_below_the_limit() -> None:
    _, x = planted("ring", 1)
    goal = WeightedError(weight=5.0)
    method = Greedy(max_rank=2, exchange=2)
    found = search(x, method=method, objective=goal, rng=np.random.default_rng(0))
    assert all(max(e.structure.ranks.values(), default=1) <= 2 for e in found.trace)
    values = [goal.order(as_candidate(e)) for e in found.trace]
    assert goal.order(found.best) == min(values) < values[0]


def test_the_gain_is_near_the_best_there_is() -> None:
    """On a network of rank one the best new slice is the top singular pair of an unfolding."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 6))
    U, s, Vh = np.linalg.svd(x)
    pair = tnet.Structure({"a": ("x0", "r"), "b": ("r", "x1")}, {"x0": 5, "x1": 6, "r": 1})
    net = tnet.Network(pair, {"a": U[:, :1] * s[0], "b": Vh[:1]})
    (growth,) = growths(net, x - tnet.contract(net), Limits())
    assert growth.gain == pytest.approx(s[1] ** 2, rel=1e-3)


def test_limits_on_growth() -> None:
    net = tnet.random_network(
        tnet.fully_connected((4, 4, 4, 4), (2, 1, 1, 1, 1, 1)), rng=np.random.default_rng(0)
    )
    x = np.random.default_rng(1).standard_normal((4, 4, 4, 4))
    small = Limits(allows=lambda s: s.num_params <= net.num_params)
    assert growths(net, x, small) == []
    for growth in growths(net, x, Limits(max_degree=1)):
        assert set(growth.ends) in ({"v0", "v1"}, {"v2", "v3"})
    low = growths(net, x, Limits(max_rank=2))
    assert len(low) == 5
    assert all(set(g.ends) != {"v0", "v1"} for g in low)


@settings(max_examples=40)
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


@settings(max_examples=8)
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


@pytest.mark.parametrize("family", ["ring", "tucker"])  # the others with the slow ones
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
        max_evaluations=40,
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
    with pytest.raises(RankError):
        Greedy(max_rank=1)
