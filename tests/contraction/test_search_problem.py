"""Problems of the search: what is left out, the counts of a tree, and simplification."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canonicals import canonicals, problems, trees_over
from contraction.errors import PlanError
from contraction.search.problem import (
    Found,
    Problem,
    holder_counts,
    log2,
    problem_of,
    recount,
    simplified,
)
from contraction.spec import Canonical
from contraction.tree import build_tree, check_pairs


def as_canonical(problem: Problem) -> Canonical:
    return Canonical(*problem)


@given(canonicals())
def test_a_problem_keeps_what_the_tree_keeps(canonical) -> None:
    problem, names = problem_of(canonical)
    tree = build_tree(canonical, [(0, 1)] * (len(canonical.inputs) - 1))[:1] if (
        len(canonical.inputs) <= 2
    ) else None  # fmt: skip
    assert len(problem.leaves) == len(canonical.inputs)
    assert len(set(names)) == len(names) == len(problem.sizes)
    assert [canonical.sizes[x] for x in names] == list(problem.sizes)
    assert 1 not in problem.sizes
    assert all(count >= 2 for count in holder_counts(problem))
    for held, labels in zip(problem.leaves, canonical.inputs, strict=True):
        assert len(set(held)) == len(held)
        assert {names[x] for x in held} <= set(labels)
    kept = [x for x in canonical.output if canonical.sizes[x] != 1]
    assert [names[x] for x in problem.output] == kept
    if tree is not None:
        assert [tuple(names[x] for x in held) for held in problem.leaves] == list(tree[0])


@given(st.data())
def test_counts_agree_with_the_tree(data) -> None:
    problem = data.draw(problems())
    pairs = data.draw(trees_over(len(problem.leaves)))
    labels = range(len(problem.sizes))
    slices = data.draw(st.lists(st.sampled_from(labels), unique=True)) if problem.sizes else []
    # an oracle: one slice is the same contraction with the sliced labels of size one
    fixed = tuple(1 if x in slices else n for x, n in enumerate(problem.sizes))
    tree = build_tree(as_canonical(problem._replace(sizes=fixed)), pairs)
    repeats = math.prod(problem.sizes[x] for x in slices)
    made = [tree.size(len(problem.leaves) + k) for k in range(len(pairs))]
    flops = sum(map(tree.step_size, tree.pairs))
    counts = recount(problem, pairs, slices)
    assert counts.log2_flops == log2(repeats * flops)
    assert counts.log2_write == log2(repeats * sum(made))
    assert counts.log2_size == log2(max(made, default=0))


def test_counts_of_huge_and_of_empty() -> None:
    wide = Problem((tuple(range(3000)), tuple(range(3000))), (0,), (2,) * 3000)
    assert recount(wide, [(0, 1)]) == (3000.0, 1.0, 1.0)
    assert recount(wide, [(0, 1)], slices=range(1, 3000)) == (3000.0, 1.0, 3000.0)
    none = Problem(((0,), (0,)), (), (0,))
    assert recount(none, [(0, 1)]) == (-math.inf, 0.0, 0.0)
    assert recount(Problem(((),), (), ()), []) == (-math.inf,) * 3
    with pytest.raises(PlanError, match="pairs"):
        recount(wide, [])


@given(st.data())
def test_simplified_problems_expand_to_trees_of_the_original(data) -> None:
    problem = data.draw(problems(sizes=(0, 2, 3)))
    small = simplified(problem)
    inner = small.problem
    assert len(inner.leaves) == len(problem.leaves) - len(small.prefix)
    assert all(count >= 2 for count in holder_counts(inner)) or len(inner.leaves) == 1
    for i, held in enumerate(inner.leaves):
        assert not any(set(held) <= set(other) for other in inner.leaves[:i] if held and other)
    pairs = data.draw(trees_over(len(inner.leaves)))
    labels = range(len(inner.sizes))
    slices = data.draw(st.lists(st.sampled_from(labels), unique=True)) if inner.sizes else []
    found = small.expand(Found(pairs, tuple(slices)))
    check_pairs(found.pairs, len(problem.leaves))
    assert found.slices == tuple(small.labels[x] for x in slices)
    assert found.log2_cost == recount(problem, found.pairs, found.slices).log2_flops
    # the labels of every value of the small problem are those of the value it stands for
    whole = build_tree(as_canonical(problem), found.pairs)
    part = build_tree(as_canonical(inner), pairs)
    names = [*small.values, *range(len(problem.leaves) + len(small.prefix), len(whole.legs))]
    for value, legs in enumerate(part.legs):
        assert {small.labels[x] for x in legs} == set(whole.legs[names[value]])


@given(st.data())
def test_simplifying_makes_nothing_larger(data) -> None:
    problem = data.draw(problems(sizes=(2, 3)))
    small = simplified(problem)
    tree = build_tree(as_canonical(problem), _finished(small))
    count = len(problem.leaves)
    for k in range(len(small.prefix)):
        pair = tree.pairs[k]
        both = max(tree.size(pair.left), tree.size(pair.right))
        assert tree.size(count + k) <= both == tree.step_size(pair)


def _finished(small) -> tuple[tuple[int, int], ...]:
    count = len(small.problem.leaves)
    chain = tuple((0 if k == 0 else count + k - 1, k + 1) for k in range(count - 1))
    return small.expand(Found(chain)).pairs


def test_a_tree_is_simplified_away_and_a_ring_of_matrices_is_not() -> None:
    count = 20_000
    for parent_of in (lambda i: 0, lambda i: i - 1, lambda i: (i - 1) // 2, lambda i: i % 97 % i):
        leaves: list[list[int]] = [[] for _ in range(count)]
        for i in range(1, count):
            leaves[i].append(i - 1)
            leaves[parent_of(i)].append(i - 1)
        tree = Problem(tuple(map(tuple, leaves)), (), (2,) * (count - 1))
        small = simplified(tree)
        assert small.values == (2 * count - 2,)
        assert small.problem == Problem(((),), (), ())
    ring = Problem(tuple((i, (i + 1) % 9) for i in range(9)), (), (2,) * 9)
    assert simplified(ring).prefix == ()


def test_one_label_held_by_very_many_values() -> None:
    star = Problem(tuple((0, i + 1) for i in range(5000)), tuple(range(5001)), (3,) + (2,) * 5000)
    assert len(simplified(star).problem.leaves) == 5000
    vectors = Problem(((0,),) * 20_000, (), (3,))
    assert simplified(vectors).problem == Problem(((),), (), ())


def test_scalars_are_joined_where_it_costs_least() -> None:
    lone = Problem(((), (0, 1), (1, 2), ()), (0, 2), (8, 2, 8))
    small = simplified(lone)
    assert small.prefix == ((0, 3), (4, 1))
    inner = Problem(((), (0, 1), (1, 2)), (0, 2), (2, 8, 2))
    assert simplified(inner).prefix == ()
