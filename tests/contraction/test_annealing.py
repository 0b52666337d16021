"""Annealing of contraction trees: true counts, never worse, deterministic, optimal when small."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

import strategies
from contraction.search.annealing import anneal
from contraction.search.problem import Found, problem_of, recount
from contraction.spec import Spec


def first_pairs(count):
    """The tree that joins the leaves from left to right."""
    return tuple((0 if k == 0 else count + k - 1, k + 1) for k in range(count - 1))


@st.composite
def problems(draw, max_nodes=8):
    """Hyperedges, output labels, several sizes, and sometimes parts without a common label."""
    structure = draw(strategies.graphs(max_nodes=max_nodes))
    inputs = [legs for _, legs in structure.nodes]
    sizes = dict(structure.size)
    if draw(st.booleans()):
        inputs = inputs + [tuple(f"{leg}'" for leg in legs) for legs in inputs[:3]]
        sizes |= {f"{leg}'": size for leg, size in sizes.items()}
    held = list(dict.fromkeys(leg for legs in inputs for leg in legs))
    output = [leg for leg in held if draw(st.booleans())]
    return problem_of(Spec(inputs, output, sizes).canonical)[0]


@given(problem=problems(), seed=strategies.seeds, weight=st.sampled_from([0.0, 64.0]))
def test_the_cost_returned_is_the_cost_of_the_tree_and_no_worse_than_the_start(
    problem, seed, weight
):
    start = Found(first_pairs(len(problem.leaves)))
    found = anneal(problem, start, seed=seed, moves=300, write_weight=weight)
    if len(problem.leaves) == 1:
        assert found.pairs == ()
        return
    assert found.log2_cost == pytest.approx(cost(problem, found.pairs, weight), abs=1e-9)
    assert found.log2_cost <= cost(problem, start.pairs, weight) + 1e-9


def cost(problem, pairs, weight, slices=()):
    counts = recount(problem, pairs, slices)
    total = 2.0**counts.log2_flops + weight * 2.0**counts.log2_write
    return math.log2(total)
