"""The random greedy search: valid trees, exact costs, every kind of label, and large networks."""

import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from canonicals import problems
from contraction.search.greedy import greedy_pairs, random_greedy
from contraction.search.greedy_network import Scores, Trial, huge_score, network_of
from contraction.search.greedy_plain import PlainTrials
from contraction.search.problem import Problem, recount
from contraction.tree import check_pairs


def lattice(rows: int, columns: int, bond: int) -> Problem:
    leaves: list[list[int]] = [[] for _ in range(rows * columns)]
    label = 0
    for i in range(rows * columns):
        for j in (i + 1, i + columns):
            if j < rows * columns and (j != i + 1 or j % columns):
                leaves[i].append(label)
                leaves[j].append(label)
                label += 1
    return Problem(tuple(map(tuple, leaves)), (), (bond,) * label)


def tangle(count: int, seed: int, degree: int = 3, hyper: int = 0, bond: int = 2) -> Problem:
    """A random graph, with some labels of many holders, and two labels in the output."""
    import random

    rng = random.Random(seed)
    leaves: list[list[int]] = [[] for _ in range(count)]
    labels = 0
    for i in range(count):
        for _ in range(degree - 1):
            j = rng.randrange(count)
            if j != i:
                leaves[i].append(labels)
                leaves[j].append(labels)
                labels += 1
    for k in range(hyper):
        for i in rng.sample(range(count), min(count, 3 + 9 * k)):
            leaves[i].append(labels)
        labels += 1
    return Problem(tuple(map(tuple, leaves)), (0, labels - 1), (bond,) * labels)


def check(problem: Problem, found) -> None:
    assert found
    assert len({f.pairs for f in found}) == len(found)
    assert [f.log2_cost for f in found] == sorted(f.log2_cost for f in found)
    for each in found:
        check_pairs(each.pairs, len(problem.leaves))
        assert each.log2_cost == recount(problem, each.pairs).log2_flops


@given(problems(), st.integers(0, 99))
def test_any_problem_gets_valid_trees_and_their_costs(problem, seed) -> None:
    check(problem, random_greedy(problem, seed=seed, trials=6))


@given(problems(max_inputs=12, max_labels=14, sizes=(2, 3)), st.integers(0, 99))
def test_what_a_trial_counts_is_what_its_tree_costs(problem, seed) -> None:
    import numpy as np

    network = network_of(problem)
    trials = PlainTrials(network, Scores(network, np.random.default_rng(seed)))
    result = trials.run(Trial(1.3, 0.5, seed), math.inf)
    assert result is not None
    cost, pairs = result
    if len(problem.leaves) == 1:
        assert (cost, pairs) == (-math.inf, ())
        return
    assert cost == pytest.approx(recount(problem, pairs).log2_flops, abs=1e-5)
    # the same trial ends at a limit below its cost, and not above
    assert trials.run(Trial(1.3, 0.5, seed), cost - 0.01) is None
    again = trials.run(Trial(1.3, 0.5, seed), cost + 0.01)
    assert again is not None
    assert again[1] == pairs


def test_the_same_seed_gives_the_same_trees() -> None:
    problem = tangle(60, 1, hyper=4)
    first = random_greedy(problem, seed=5, trials=40)
    assert random_greedy(problem, seed=5, trials=40) == first
    assert random_greedy(problem, seed=6, trials=40) != first


def test_more_trials_are_better_and_known_costs_are_reached() -> None:
    # log10 of multiply-adds; the best trees known cost 13.25
    problem = lattice(10, 10, 8)
    found = random_greedy(problem, seed=0, trials=128)
    check(problem, found)
    assert len(found) == 4
    assert found[0].log2_cost * math.log10(2) < 13.6
    one = random_greedy(problem, seed=0, trials=1, keep=1)
    assert one[0].pairs == greedy_pairs(problem)
    assert found[0].log2_cost < one[0].log2_cost


def test_trees_and_chains_are_contracted_at_their_least_cost() -> None:
    chain = Problem(tuple((i, i + 1) for i in range(50)), (0, 50), (4,) * 51)
    assert random_greedy(chain, seed=0, trials=8)[0].log2_cost == pytest.approx(math.log2(49 * 64))
    # a caterpillar of fat bonds between thin vectors: each step as large as its larger value
    thin = [(i,) for i in range(40)] + [(i, 40 + i, 41 + i) for i in range(40)]
    comb = Problem(tuple(thin), (40, 80), (2,) * 40 + (8,) * 41)
    least = math.log2(40 * 2 * 64 + 39 * 8**3)
    assert random_greedy(comb, seed=0, trials=8)[0].log2_cost == pytest.approx(least)


def test_labels_of_many_holders_are_weighed_though_they_propose_nothing() -> None:
    # one label on all: a ring of matrices for each of its values
    count = 40
    ring = Problem(
        tuple((i, (i + 1) % count, count) for i in range(count)), (count,), (2,) * count + (50,)
    )
    found = random_greedy(ring, seed=0, trials=16)
    check(ring, found)
    least = math.log2(50 * ((count - 2) * 8 + 4))
    assert found[0].log2_cost == pytest.approx(least)
    check(star := tangle(80, 3, hyper=8), random_greedy(star, seed=0, trials=8))


def test_parts_without_a_common_label_are_joined_smallest_first() -> None:
    pieces = Problem(((0,), (1,), (2,), ()), (0, 1, 2), (2, 3, 64))
    found = random_greedy(pieces, seed=0, trials=4)[0]
    assert found.log2_cost == pytest.approx(math.log2(2 + 6 + 6 * 64))
    two = lattice(4, 4, 2)
    twice = Problem(
        two.leaves + tuple(tuple(x + 24 for x in held) for held in two.leaves), (), (2,) * 48
    )
    check(twice, random_greedy(twice, seed=0, trials=8))


def test_costs_beyond_the_floats() -> None:
    wide = tangle(12, 0, bond=2**400)
    found = random_greedy(wide, seed=0, trials=32)
    check(wide, found)
    assert found[0].log2_cost > 2000
    # the order of the scores is that of the whole numbers
    one, two = 2**1500, 2**1400
    for alpha in (1.0, 0.25):
        exact = one / 2**1000 / alpha - alpha * (two / 2**1000 + 1)
        assert huge_score(1500.0, 1400.0, 1000.0, alpha) == pytest.approx(
            math.log(exact) + 1000 * math.log(2)
        )
    assert huge_score(1000.0, 1500.0, 3.0, 1.0) < 0 == huge_score(1.0, 0.0, 0.0, 1.0)


def test_the_deadline_leaves_one_trial() -> None:
    problem = tangle(300, 2)
    found = random_greedy(problem, seed=0, trials=10**6, deadline=time.perf_counter())
    assert len(found) == 1
    assert found[0].pairs == greedy_pairs(problem)


@pytest.mark.parametrize("kind", ["tree", "graph", "star", "pieces"])
def test_large_networks(kind) -> None:
    count = 20_000
    if kind == "tree":
        leaves: list[list[int]] = [[] for _ in range(count)]
        for i in range(1, count):
            for node in (i, max(0, i - 1 - i * i % 97)):
                leaves[node].append(i)
        labels = count
    elif kind == "graph":  # a ladder: no value is a subset of another
        count = 8_000
        leaves = [[i, i + 1, count + 1 + i // 2] for i in range(count)]
        leaves[-1].append(0)
        labels = count + 1 + count // 2
    elif kind == "star":
        count = 4_000
        leaves = [[0, i + 1] for i in range(count)]
        labels = count + 1
    else:
        leaves = [[i] for i in range(count)]
        labels = count
    output = () if kind in ("tree", "graph") else tuple(range(labels))
    used = sorted({x for held in leaves for x in held})
    number = {x: k for k, x in enumerate(used)}
    held = tuple(tuple(number[x] for x in labels) for labels in leaves)
    problem = Problem(held, tuple(number[x] for x in output), (2,) * len(used))
    check_pairs(greedy_pairs(problem), count)


def test_a_trial_ends_at_the_deadline(monkeypatch) -> None:
    problem = tangle(200, 0)
    network = network_of(problem)
    trials = PlainTrials(network, Scores(network, np.random.default_rng(0)))
    clock = itertools.count()
    monkeypatch.setattr(time, "perf_counter", clock.__next__)
    trial = Trial(1.0, 0.1, 0)
    assert trials.run(trial, math.inf, 1.0) is None
    assert trials.run(trial, math.inf) is not None
    assert len(random_greedy(problem, seed=0, trials=50, deadline=0.0)) == 1  # the first is made
