"""Exact search: against all trees, opt_einsum's dynamic programme, and recounts."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opt_einsum.paths import DynamicProgramming, linear_to_ssa

from canonicals import problems
from contraction.cost import CPU
from contraction.search.exact import (
    combination,
    connected_splits,
    entries_written,
    exact,
    least_peak,
    multiply_adds,
    seconds_of,
)
from contraction.search.portfolio import _all_trees
from contraction.search.problem import Problem, problem_of, recount
from contraction.spec import Canonical
from contraction.tree import build_tree, check_pairs, order_for_memory
from strategies import graphs, trees

networks = st.one_of(trees(5), graphs(5))


def canonical_of(problem: Problem) -> Canonical:
    return Canonical(*problem)


def connected(problem: Problem) -> bool:
    reached, fresh = {0}, [0]
    for i in fresh:
        for j, held in enumerate(problem.leaves):
            if j not in reached and set(held) & set(problem.leaves[i]):
                reached.add(j)
                fresh.append(j)
    return len(reached) == len(problem.leaves)


@given(networks)
def test_no_tree_is_better(structure) -> None:
    problem, _ = problem_of(structure.spec().canonical)
    count = len(problem.leaves)
    if count < 2:
        return
    every = [recount(problem, pairs) for pairs in _all_trees(count)]
    for measure, least in (
        (multiply_adds, min(c.log2_flops for c in every)),
        (entries_written, min(c.log2_write for c in every)),
        (
            combination(64.0),
            min(math.log2(2**c.log2_flops + 64 * 2**c.log2_write) for c in every),
        ),
    ):
        found = exact(problem, measure)
        assert found is not None
        assert found[0].log2_cost == pytest.approx(least, abs=1e-9)
        check_pairs(found[0].pairs, count)
    counts = recount(problem, exact(problem, multiply_adds)[0].pairs)  # type: ignore[index]
    assert counts.log2_flops == pytest.approx(min(c.log2_flops for c in every), abs=1e-9)


@given(networks)
def test_the_best_few_are_different_and_in_order(structure) -> None:
    problem, _ = problem_of(structure.spec().canonical)
    if len(problem.leaves) < 2:
        return
    found = exact(problem, seconds_of(CPU), copies=CPU, keep=4)
    assert found is not None
    costs = [f.log2_cost for f in found]
    assert costs == sorted(costs)
    assert len({f.pairs for f in found}) == len(found)
    assert len(found) == min(4, math.prod(range(2 * len(problem.leaves) - 3, 0, -2)))


@given(st.one_of(trees(9, 3, 4), graphs(8)))
def test_as_good_as_the_dynamic_programme_of_opt_einsum(structure) -> None:
    problem, _ = problem_of(structure.spec().canonical)
    if len(problem.leaves) < 7 or not connected(problem):
        return  # it takes no outer products, as we do only up to six leaves
    path = DynamicProgramming(minimize="flops")(
        [frozenset(held) for held in problem.leaves],
        frozenset(problem.output),
        dict(enumerate(problem.sizes)),
    )
    theirs = recount(problem, linear_to_ssa(path)).log2_flops
    found = exact(problem, multiply_adds)
    assert found is not None
    assert found[0].log2_cost <= theirs + 1e-9
    assert recount(problem, found[0].pairs).log2_flops == pytest.approx(found[0].log2_cost)


@given(networks)
def test_least_peak(structure) -> None:
    problem, _ = problem_of(structure.spec().canonical)
    count = len(problem.leaves)
    if count < 2:
        return

    def peak(pairs) -> int:
        tree = build_tree(canonical_of(problem), pairs)
        tree = build_tree(canonical_of(problem), order_for_memory(tree))
        alive = most = 0
        for k, pair in enumerate(tree.pairs):
            size = tree.size(count + k)
            most = max(most, alive + size)
            alive += size - sum(tree.size(v) for v in (pair.left, pair.right) if v >= count)
        return most

    found = least_peak(problem)
    assert found is not None
    assert peak(found.pairs) == min(peak(pairs) for pairs in _all_trees(count))
    assert 2**found.log2_cost == pytest.approx(peak(found.pairs))


@pytest.mark.parametrize("count", [1, 2, 4, 5])
def test_splits_are_all_pairs_of_connected_sets_once(count) -> None:
    edges = list(itertools.combinations(range(count), 2))
    for chosen in range(1 << len(edges)):
        near = [0] * count
        for k, (i, j) in enumerate(edges):
            if chosen >> k & 1:
                near[i] |= 1 << j
                near[j] |= 1 << i
        if count == 5 and chosen % 7:
            continue

        def whole(mask: int, near=near) -> bool:
            reached = mask & -mask
            while True:
                more = reached
                for i in range(count):
                    if reached >> i & 1:
                        more |= near[i] & mask
                if more == reached:
                    return reached == mask
                reached = more

        want = {
            frozenset((a, b))
            for a in range(1, 1 << count)
            for b in range(a + 1, 1 << count)
            if not a & b and whole(a) and whole(b) and whole(a | b)
        }
        got = [frozenset(pair) for pair in connected_splits(near)]
        assert len(got) == len(set(got))
        assert set(got) == want


def test_too_much_work_is_given_up() -> None:
    count = 14
    label = itertools.count()
    leaves: list[list[int]] = [[] for _ in range(count)]
    for i, j in itertools.combinations(range(count), 2):
        x = next(label)
        leaves[i].append(x)
        leaves[j].append(x)
    dense = Problem(tuple(map(tuple, leaves)), (), (2,) * next(label))
    assert exact(dense, multiply_adds, work=1000) is None
    assert least_peak(dense, work=1000) is None


def test_costs_beyond_the_floats_have_an_order() -> None:
    wide = tuple(range(1200))
    problem = Problem((wide, wide[:600], wide[600:]), (), (4,) * 1200)
    found = exact(problem, multiply_adds)
    assert found is not None
    check_pairs(found[0].pairs, 3)
    assert found[0].log2_cost < math.inf


@given(problems(max_inputs=5, max_labels=7, sizes=(1, 2, 3, 5)))
def test_no_tree_of_any_network_is_better(problem) -> None:
    every = [recount(problem, pairs) for pairs in _all_trees(len(problem.leaves))]
    for measure, least in (
        (multiply_adds, min(c.log2_flops for c in every)),
        (entries_written, min(c.log2_write for c in every)),
    ):
        best = exact(problem, measure)[0]
        check_pairs(best.pairs, len(problem.leaves))
        assert best.log2_cost == pytest.approx(least, abs=1e-9)


def test_one_leaf_and_very_many_labels() -> None:
    alone = Problem(((),), (), ())
    assert exact(alone, multiply_adds)[0].pairs == ()
    assert least_peak(alone).pairs == ()
    ring = tuple(tuple(range(400 * k, 400 * k + 400)) for k in range(7))
    leaves = tuple(ring[k] + ring[k - 1] for k in range(7))
    assert exact(Problem(leaves, (), (2,) * 2800), multiply_adds) is not None
