"""Annealing of contraction trees: true counts, never worse, deterministic, within the limit."""

import importlib.util
import itertools
import math
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import strategies
from contraction.errors import PlanError
from contraction.search import annealing, compiled
from contraction.search.annealing import Schedule, anneal
from contraction.search.annealing_plain import PlainTree
from contraction.search.annealing_tree import log2_total, log2_work, pairs_of
from contraction.search.problem import Found, Problem, problem_of, recount
from contraction.search.slicing import Slicing
from contraction.search.windows import reoptimize
from contraction.spec import Spec


def first_pairs(count):
    """The tree that joins the leaves from left to right."""
    return tuple((0 if k == 0 else count + k - 1, k + 1) for k in range(count - 1))


def cost(problem, pairs, weight=0.0, slices=()):
    counts = recount(problem, pairs, slices)
    return math.log2(2.0**counts.log2_flops + weight * 2.0**counts.log2_write)


def all_trees(count):
    def grow(alive, fresh):
        if len(alive) == 1:
            yield ()
        for i, j in itertools.combinations(alive, 2):
            rest = tuple(v for v in alive if v not in (i, j))
            for tail in grow((*rest, fresh), fresh + 1):
                yield ((i, j), *tail)

    return grow(tuple(range(count)), count)


def regular(count, seed, size=2):
    """A random 3-regular network: three random perfect matchings."""
    rng = np.random.default_rng(seed)
    leaves = [[] for _ in range(count)]
    label = 0
    for _ in range(3):
        for i, j in rng.permutation(count).reshape(-1, 2):
            leaves[i].append(label)
            leaves[j].append(label)
            label += 1
    return Problem(tuple(map(tuple, leaves)), (), (size,) * label)


@st.composite
def problems(draw, max_nodes=7):
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


KINDS = [PlainTree]
if importlib.util.find_spec("numba"):  # the kernels compile at first use here, in few seconds
    from contraction.search.annealing_compiled import CompiledTree

    KINDS.append(CompiledTree)


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def kind(request, monkeypatch):
    """Annealing with one kind of tree, whatever is ready."""
    monkeypatch.setattr(annealing, "_kind", lambda moves, deadline: request.param)
    return request.param


weights = st.sampled_from([0.0, 64.0])


@given(problem=problems(), seed=strategies.seeds, weight=weights)
def test_the_cost_returned_is_true_and_no_worse_than_that_of_the_start(problem, seed, weight):
    start = Found(first_pairs(len(problem.leaves)))
    found = anneal(problem, start, seed=seed, moves=300, write_weight=weight)
    if len(problem.leaves) == 1:
        assert found.pairs == ()
        return
    assert found.log2_cost == pytest.approx(cost(problem, found.pairs, weight), abs=1e-9)
    assert found.log2_cost <= cost(problem, start.pairs, weight) + 1e-9


@given(problem=problems(), seed=strategies.seeds, weight=weights, data=st.data())
def test_a_walked_tree_knows_the_labels_costs_and_sizes_of_its_values(problem, seed, weight, data):
    if len(problem.leaves) < 3:
        return
    labels = [x for x in range(len(problem.sizes)) if data.draw(st.booleans())]
    for kind in KINDS:
        start = first_pairs(len(problem.leaves))
        tree = kind(problem, start, seed=seed, write_weight=weight, max_log2_size=3.0)
        for label in labels:
            tree.rotate(40, 2.0, 1.0)
            tree.toggle(label)
        tree.rotate(40, 0.5, 1.0)
        for label in labels[::2]:
            tree.toggle(label)
        sliced = sorted(labels[1::2])
        assert sorted(tree.sliced) == sliced
        pairs, parent = tree.pairs(), np.asarray(tree.parent).tolist()
        assert pairs_of(parent, len(problem.leaves)) == pairs
        assert tree.log2_total() == pytest.approx(cost(problem, pairs, weight, sliced), abs=1e-9)
        fresh = PlainTree(problem, pairs, seed=0, slices=sliced, write_weight=weight)
        # the values of equal trees in another order: compare them as sets
        assert sorted(np.asarray(tree.size)) == pytest.approx(sorted(fresh.size))
        assert sorted(np.asarray(tree.cost)) == pytest.approx(sorted(fresh.cost))


@given(
    problem=problems(), seed=strategies.seeds, limit=st.floats(0.0, 8.0), moves=st.integers(0, 300)
)
def test_the_limit_is_kept_and_all_slices_are_counted(problem, seed, limit, moves):
    start = Found(first_pairs(len(problem.leaves)))
    found = anneal(problem, start, seed=seed, moves=moves, max_log2_size=limit)
    if len(problem.leaves) < 2:
        return
    counts = recount(problem, found.pairs, found.slices)
    assert counts.log2_size <= limit + 1e-6
    assert found.log2_cost == pytest.approx(counts.log2_flops, abs=1e-9)
    assert len(set(found.slices)) == len(found.slices)


@given(problem=problems(max_nodes=4), seed=strategies.seeds)
def test_small_networks_are_solved_best(problem, seed):
    if not 3 <= len(problem.leaves) <= 5:
        return
    start = Found(first_pairs(len(problem.leaves)))
    best = min(cost(problem, pairs) for pairs in all_trees(len(problem.leaves)))
    assert anneal(problem, start, seed=seed, moves=500).log2_cost == pytest.approx(best, abs=1e-9)
    assert reoptimize(problem, start, seed=seed).log2_cost == pytest.approx(best, abs=1e-9)


def test_slices_and_tree_of_a_small_network_are_the_best_of_all():
    edges = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 0), (0, 2), (1, 3)]
    leaves = tuple(tuple(k for k, edge in enumerate(edges) if v in edge) for v in range(5))
    problem = Problem(leaves, (4,), (2, 3, 2, 3, 2, 3, 2))
    limit, best = math.log2(6), math.inf
    for pairs in all_trees(5):
        for many in range(4):
            for slices in itertools.combinations(range(7), many):
                counts = recount(problem, pairs, slices)
                if counts.log2_size <= limit:
                    best = min(best, counts.log2_flops)
    found = anneal(problem, Found(first_pairs(5)), seed=0, moves=5000, max_log2_size=limit)
    assert found.slices
    assert found.log2_cost == pytest.approx(best, abs=1e-9)


@pytest.mark.parametrize("limit", [math.inf, 9.0])
def test_equal_seeds_and_moves_give_equal_results(kind, limit):
    problem = regular(40, seed=3)
    start = Found(first_pairs(40))
    first, again = (
        anneal(problem, start, seed=5, moves=20_000, max_log2_size=limit) for _ in range(2)
    )
    late = time.perf_counter() + 1e6
    assert first == again
    assert first == anneal(problem, start, seed=5, moves=20_000, max_log2_size=limit, deadline=late)
    assert first != anneal(problem, start, seed=6, moves=20_000, max_log2_size=limit)
    counts = recount(problem, first.pairs, first.slices)
    assert first.log2_cost == pytest.approx(counts.log2_flops, abs=1e-9)
    assert counts.log2_size <= limit
    assert first.log2_cost < recount(problem, start.pairs).log2_flops - 3


def test_annealing_and_windows_gain_much(kind):
    problem = regular(60, seed=0)
    start = Found(first_pairs(60))
    found = anneal(problem, start, seed=0, moves=100_000)
    assert found.log2_cost < recount(problem, start.pairs).log2_flops - 1
    quick = reoptimize(problem, start, seed=0)
    assert quick.log2_cost < recount(problem, start.pairs).log2_flops - 1


def test_a_deadline_in_the_past_gives_the_start():
    problem = regular(40, seed=3)
    start = Found(first_pairs(40))
    found = anneal(problem, start, seed=0, deadline=time.perf_counter() - 1)
    assert found.log2_cost == pytest.approx(recount(problem, start.pairs).log2_flops)
    limited = anneal(problem, start, seed=0, deadline=0.0, max_log2_size=6.0)
    assert recount(problem, limited.pairs, limited.slices).log2_size <= 6


def test_costs_beyond_floating_point(kind):
    problem = regular(150, seed=0, size=10**6)
    start = Found(first_pairs(150))
    before = recount(problem, start.pairs).log2_flops
    assert before > 1100
    found = anneal(problem, start, seed=0, moves=20_000)
    assert found.log2_cost < before - 100
    assert found.log2_cost == pytest.approx(recount(problem, found.pairs).log2_flops)
    limited = anneal(problem, start, seed=0, moves=5_000, max_log2_size=200.0)
    counts = recount(problem, limited.pairs, limited.slices)
    assert counts.log2_size <= 200 + 1e-6
    assert limited.log2_cost == pytest.approx(counts.log2_flops)


def test_long_runs_start_again_and_keep_the_best(kind):
    problem = regular(20, seed=4)
    start = Found(first_pairs(20))
    schedule = Schedule(slicing=Slicing(round=100))
    rounds, single = (
        anneal(problem, start, seed=0, moves=8000, max_log2_size=4.0, schedule=s)
        for s in (schedule, Schedule())
    )
    for found in (rounds, single):
        counts = recount(problem, found.pairs, found.slices)
        assert counts.log2_size <= 4
        assert found.log2_cost == pytest.approx(counts.log2_flops)
    assert rounds != single


def test_plain_python_serves_until_kernels_are_ready(monkeypatch):
    monkeypatch.setattr(compiled, "ready", lambda: False)
    assert annealing._kind(10**12, None) is PlainTree


def test_steps_that_no_slice_changes_are_counted_once():
    problem = regular(20, seed=4)
    start = Found(first_pairs(20))
    found = anneal(problem, start, seed=0, moves=2000, max_log2_size=4.0)
    everything = log2_total(problem, found.pairs, found.slices)
    assert log2_work(problem, found.pairs, ()) == log2_total(problem, found.pairs)
    assert log2_work(problem, found.pairs, found.slices) < everything
    assert log2_work(problem, found.pairs, found.slices) > everything - len(found.slices)


def test_slices_of_a_start_that_fits_are_not_made_worse():
    problem = regular(40, seed=3)
    good = anneal(problem, Found(first_pairs(40)), seed=0, moves=100_000, max_log2_size=8.0)
    again = anneal(problem, good, seed=1, moves=400, max_log2_size=8.0)
    assert again.log2_cost <= good.log2_cost + 1e-9


@given(problem=problems(), seed=strategies.seeds, weight=weights, width=st.integers(3, 8))
def test_windows_keep_slices_and_never_lose(problem, seed, weight, width):
    pairs = first_pairs(len(problem.leaves))
    slices = tuple(range(0, len(problem.sizes), 3))
    found = reoptimize(problem, Found(pairs, slices), seed=seed, width=width, write_weight=weight)
    assert found.slices == slices
    if len(problem.leaves) > 1:
        assert found.log2_cost <= cost(problem, pairs, weight, slices) + 1e-9
        assert found.log2_cost == pytest.approx(
            cost(problem, found.pairs, weight, slices), abs=1e-9
        )


@given(problem=problems(), seed=strategies.seeds)
def test_windows_keep_within_the_limit(problem, seed):
    pairs = first_pairs(len(problem.leaves))
    if not pairs:
        return
    limit = recount(problem, pairs).log2_size
    found = reoptimize(problem, Found(pairs), seed=seed, max_log2_size=limit)
    assert recount(problem, found.pairs).log2_size <= limit + 1e-6


def test_hyperedges_in_windows_are_counted_right():
    problem = Problem(((0, 1), (0, 2), (0, 3), (1, 2, 3), (0,)), (0,), (5, 2, 3, 4))
    found = reoptimize(problem, Found(first_pairs(5)), seed=0)
    best = min(recount(problem, pairs).log2_flops for pairs in all_trees(5))
    assert found.log2_cost == pytest.approx(best)


def test_a_long_chain_needs_no_recursion():
    count = 5000
    problem = Problem(
        ((0,), *((k, k + 1) for k in range(count - 2)), (count - 2,)), (), (2,) * (count - 1)
    )
    found = anneal(problem, Found(first_pairs(count)), seed=0, moves=100)
    assert found.log2_cost == pytest.approx(recount(problem, found.pairs).log2_flops)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"max_log2_size": -1.0}, "max_log2_size"),
        ({"max_log2_size": math.nan}, "max_log2_size"),
        ({"write_weight": math.inf}, "write_weight"),
        ({"moves": -1}, "moves"),
    ],
)
def test_numbers_out_of_range_are_named(options, named):
    problem = regular(6, seed=0)
    with pytest.raises(PlanError, match=named):
        anneal(problem, Found(first_pairs(6)), seed=0, **options)


def test_what_is_not_a_tree_or_a_fall_is_refused():
    problem = regular(6, seed=0)
    with pytest.raises(PlanError, match="6 inputs need 5 pairs"):
        anneal(problem, Found(((0, 1),)), seed=0)
    with pytest.raises(PlanError, match="width"):
        reoptimize(problem, Found(first_pairs(6)), seed=0, width=40)
    with pytest.raises(PlanError, match="hot"):
        Schedule(hot=(0.1, 2.0))
    with pytest.raises(PlanError, match="penalty"):
        Slicing(penalty=(5.0, 1.0))


def test_annealing_in_plain_python_imports_no_compiler():
    code = (
        "import sys; from contraction.search.annealing import anneal; "
        "sys.exit('numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("limit", [math.inf, 4.0])
def test_cotengra_counts_the_same(limit):
    cotengra = pytest.importorskip("cotengra")
    problem = regular(24, seed=2, size=3)
    found = anneal(problem, Found(first_pairs(24)), seed=0, moves=4000, max_log2_size=limit)
    name = cotengra.get_symbol
    tree = cotengra.ContractionTree.from_path(
        [[name(x) for x in held] for held in problem.leaves],
        [],
        {name(x): size for x, size in enumerate(problem.sizes)},
        ssa_path=found.pairs,
    )
    for label in found.slices:
        tree.remove_ind_(name(label))
    assert found.log2_cost == pytest.approx(math.log2(tree.contraction_cost()))
    assert len(found.slices) == len(tree.sliced_inds)
    assert bool(found.slices) == (limit < math.inf)
