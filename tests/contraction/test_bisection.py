"""Spectral bisection: valid trees of any network, good cuts, and what eigenvectors cannot do."""

import itertools
import math
import random
import types

import numpy as np
import pytest
import scipy.sparse.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from canonicals import problems
from contraction.search import bisection
from contraction.search.bisection import bisect
from contraction.search.cuts import Cut, refine, sweep
from contraction.search.problem import Problem, recount
from contraction.tree import check_pairs


def from_edges(count: int, edges, bond: int = 2) -> Problem:
    leaves: list[list[int]] = [[] for _ in range(count)]
    for label, nodes in enumerate(edges):
        for node in nodes:
            leaves[node].append(label)
    return Problem(tuple(map(tuple, leaves)), (), (bond,) * len(edges))


def strip(rows: int, columns: int) -> Problem:
    edges = []
    for i in range(rows * columns):
        if (i + 1) % columns:
            edges.append((i, i + 1))
        if i + columns < rows * columns:
            edges.append((i, i + columns))
    return from_edges(rows * columns, edges)


def check(problem: Problem, found) -> None:
    check_pairs(found.pairs, len(problem.leaves))
    assert found.log2_cost == recount(problem, found.pairs).log2_flops
    assert found.slices == ()


@settings(max_examples=40)
@given(problems(max_inputs=40, max_labels=40), st.integers(0, 9))
def test_any_problem_gets_a_valid_tree(problem, seed) -> None:
    found = bisect(problem, seed=seed)
    check(problem, found)
    assert bisect(problem, seed=seed) == found


def test_a_narrow_strip_is_cut_across() -> None:
    # pieces of a strip of width 4 have at most 8 legs: every step costs 2^12 at most
    problem = strip(150, 4)
    found = bisect(problem, seed=0)
    check(problem, found)
    assert found.log2_cost < 12 + math.log2(600)


def test_a_large_graph_is_coarsened(monkeypatch) -> None:
    monkeypatch.setattr(bisection, "DIRECT", 60)
    problem = strip(100, 4)
    found = bisect(problem, seed=0)
    check(problem, found)
    assert found.log2_cost < 14 + math.log2(400)


def test_what_is_whole_at_the_deadline_is_left_to_greedy_trials(monkeypatch) -> None:
    problem = strip(100, 4)
    clock = itertools.count()
    monkeypatch.setattr(bisection, "time", types.SimpleNamespace(perf_counter=clock.__next__))
    cuts = []
    halves = bisection._halves
    monkeypatch.setattr(bisection, "_halves", lambda *a: cuts.append(len(a[1])) or halves(*a))
    for deadline, most in ((0, 0), (3, 2), (20, 19)):  # the clock is asked once for each part
        cuts.clear()
        check(problem, bisect(problem, seed=0, deadline=next(clock) + deadline))
        assert min(most, 3) <= len(cuts) <= most


def test_two_communities_are_found() -> None:
    rng = random.Random(0)
    edges = [tuple(rng.sample(range(k, k + 40), 2)) for k in (0, 40) for _ in range(160)]
    edges += [(k, (k + 1) % 40) for k in range(40)] + [
        (40 + k, 40 + (k + 1) % 40) for k in range(40)
    ]
    edges += [(3, 47), (20, 66)]
    problem = from_edges(80, edges)
    left, right = bisection._halves(problem, list(range(80)), np.random.default_rng(0))
    assert {frozenset(left), frozenset(right)} == {frozenset(range(40)), frozenset(range(40, 80))}


@pytest.mark.parametrize("error", [RuntimeError, scipy.sparse.linalg.ArpackNoConvergence])
def test_diffusion_replaces_eigenvectors(monkeypatch, error) -> None:
    def fails(*args, **options):
        raise error(*(["singular"] if error is RuntimeError else ["none", [], []]))

    monkeypatch.setattr(scipy.sparse.linalg, "eigsh", fails)
    problem = strip(60, 4)
    found = bisect(problem, seed=0)
    check(problem, found)
    assert found.log2_cost < 24  # a tree of the lattice, if not the best


def test_hyper_labels_of_many_holders_and_parts_that_share_none() -> None:
    ring = [(i, (i + 1) % 90) for i in range(90)]
    held_by_all = from_edges(90, [*ring, tuple(range(90)), tuple(range(0, 90, 3))])
    found = bisect(held_by_all, seed=0)
    check(held_by_all, found)
    assert found.log2_cost < 5 + math.log2(90) + 1  # as for the ring, for each of 4 values
    two = [(i, (i + 1) % 40) for i in range(40)] + [(40 + i, 40 + (i + 1) % 40) for i in range(40)]
    apart = from_edges(81, two)
    check(apart, bisect(apart, seed=0))
    vectors = Problem(tuple((i,) for i in range(500)), tuple(range(500)), (2,) * 500)
    check(vectors, bisect(vectors, seed=0))


def weight(cut: Cut, side) -> float:
    lit = ({side[node] for node in nodes} for nodes in cut.nets)
    return sum(w for w, sides in zip(cut.weights, lit, strict=True) if len(sides) == 2)


@given(st.data())
def test_refined_cuts_are_balanced_and_no_heavier(data) -> None:
    count = data.draw(st.integers(2, 9))
    node = st.integers(0, count - 1)
    nets = data.draw(st.lists(st.lists(node, min_size=2, max_size=4, unique=True), max_size=12))
    weights = [float(data.draw(st.integers(1, 5))) for _ in nets]
    least = data.draw(st.integers(1, count // 2))
    cut = Cut(count, nets, weights, least)
    order = data.draw(st.permutations(range(count)))
    side = sweep(cut, order)
    # the lightest among all cuts of the order, by another count
    every = [
        weight(cut, [order.index(k) < where for k in range(count)])
        for where in range(least, count - least + 1)
    ]
    assert weight(cut, side) == min(every)
    better = refine(cut, side)
    assert least <= sum(better) <= count - least
    assert weight(cut, better) <= weight(cut, side)


def test_refining_reaches_the_lightest_cut_of_small_graphs() -> None:
    rng = random.Random(1)
    reached = 0
    for _ in range(20):
        nets = [rng.sample(range(8), 2) for _ in range(12)]
        cut = Cut(8, nets, [1.0] * 12, 3)
        sides = itertools.product([False, True], repeat=8)
        least = min(weight(cut, side) for side in sides if 3 <= sum(side) <= 5)
        starts = [sweep(cut, rng.sample(range(8), 8)) for _ in range(4)]
        reached += min(weight(cut, refine(cut, side)) for side in starts) == least
    assert reached >= 18
