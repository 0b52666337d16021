"""The portfolio: any contraction gets a tree, the same one each time, within its memory."""

import itertools
import math
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canonicals import canonicals
from contraction.cost import CPU
from contraction.loop_program import fitting_loops
from contraction.loops import loop_order
from contraction.search import members, rounds
from contraction.search.exact import exact, multiply_adds
from contraction.search.members import member_trees
from contraction.search.objectives import Objective
from contraction.search.parts import components, factors_first
from contraction.search.portfolio import search_pairs
from contraction.search.problem import Found, Problem, problem_of, recount
from contraction.search.ranking import Ranking
from contraction.search.rounds import Effort, Rounds, write_weight
from contraction.spec import Canonical
from contraction.tree import build_tree, check_pairs


def lattice(rows: int, columns: int, size: int, parts: int = 1) -> Canonical:
    """Return lattices with open ends, beside each other without a common label."""
    inputs: list[tuple[int, ...]] = []
    label = itertools.count()
    for _ in range(parts):
        held: dict[tuple[int, int], list[int]] = {
            place: [] for place in itertools.product(range(rows), range(columns))
        }
        for i, j in held:
            for other in ((i + 1, j), (i, j + 1)):
                if other in held:
                    x = next(label)
                    held[i, j].append(x)
                    held[other].append(x)
        inputs += map(tuple, held.values())
    return Canonical(tuple(inputs), (), (size,) * next(label))


def regular(count: int, seed: int) -> Problem:
    """Return a ring with chords."""
    rng = random.Random(seed)
    places = list(range(count))
    rng.shuffle(places)
    edges = [(i, (i + 1) % count) for i in range(count)]
    edges += zip(places[::2], places[1::2], strict=True)
    leaves: list[list[int]] = [[] for _ in range(count)]
    for x, (i, j) in enumerate(edges):
        leaves[i].append(x)
        leaves[j].append(x)
    return Problem(tuple(map(tuple, leaves)), (), (2,) * len(edges))


def peak_of(canonical: Canonical, found: Found, limit: float = math.inf) -> int:
    loops = loop_order(canonical, found.pairs, found.slices)
    return fitting_loops(canonical, found.pairs, loops, CPU, max_size=limit).peak_size


@given(canonicals(), st.sampled_from(list(Objective)))
def test_any_contraction_gets_a_tree(canonical, objective) -> None:
    found = search_pairs(canonical, objective, CPU)
    check_pairs(found.pairs, len(canonical.inputs))
    assert found.slices == ()


@settings(max_examples=30)
@given(canonicals(7, 8, (1, 2, 3, 5)), st.integers(1, 60))
def test_under_a_limit_any_contraction_gets_a_tree_and_slices(canonical, limit) -> None:
    free = search_pairs(canonical, Objective.TIME, CPU)
    found = search_pairs(canonical, Objective.TIME, CPU, max_size=limit)
    check_pairs(found.pairs, len(canonical.inputs))
    assert len(set(found.slices)) == len(found.slices)
    assert set(found.slices) <= set(range(len(canonical.sizes)))
    if peak_of(canonical, free) <= limit:
        assert peak_of(canonical, found, limit) <= limit
    else:
        assert peak_of(canonical, found, limit) <= peak_of(canonical, free)


@given(canonicals(8, 10, (1, 2, 3, 5)))
def test_small_networks_get_the_fewest_multiply_adds(canonical) -> None:
    problem, _ = problem_of(canonical)
    if not 5 <= len(problem.leaves):
        return
    found = search_pairs(canonical, Objective.FLOPS, CPU)
    best = exact(problem, multiply_adds)
    if best is not None and len(components(problem.leaves)) == 1:
        assert recount(problem, found.pairs).log2_flops <= best[0].log2_cost + 1e-9


@pytest.mark.parametrize("objective", list(Objective))
def test_the_same_contraction_gets_the_same_tree(objective) -> None:
    canonical = lattice(5, 5, 8)
    first = search_pairs(canonical, objective, CPU, seed=3)
    assert search_pairs(canonical, objective, CPU, seed=3) == first
    limited = search_pairs(canonical, objective, CPU, seed=3, max_size=3000)
    assert search_pairs(canonical, objective, CPU, seed=3, max_size=3000) == limited
    assert limited.slices
    assert peak_of(canonical, limited) <= 3000


def test_the_search_is_better_than_its_start() -> None:
    problem = regular(60, seed=1)
    canonical = Canonical(*problem)
    effort = Effort.of(None, 0, None)
    start = Rounds(problem, 0.0, effort, lambda found: 0.0)
    start.start()
    found = search_pairs(canonical, Objective.FLOPS, CPU)
    assert recount(problem, found.pairs).log2_flops < start.best.log2_cost - 1.0


def test_work_grows_with_the_run_time_of_the_plan() -> None:
    problem = regular(40, seed=2)
    spent = []
    for seconds in (1e-6, 1e-2, 0.1):
        search = Rounds(problem, 0.0, Effort.of(None, 0, None), lambda found, s=seconds: s)
        search.start()
        search.run()
        spent.append(search.spent)
        assert search.spent <= rounds.worth(seconds) + 2 * search.windows
    assert spent == sorted(spent)
    assert spent[0] < spent[-1]


def test_a_limit_is_met_by_slices_where_no_tree_is_small_enough() -> None:
    canonical = lattice(6, 6, 4)
    free = search_pairs(canonical, Objective.FLOPS, CPU)
    assert peak_of(canonical, free) > 1500
    found = search_pairs(canonical, Objective.FLOPS, CPU, max_size=1500)
    assert found.slices
    assert peak_of(canonical, found) <= 1500


def test_parts_without_a_common_label_are_sliced_apart() -> None:
    canonical = lattice(4, 4, 8, parts=2)
    found = search_pairs(canonical, Objective.FLOPS, CPU, max_size=2000)
    check_pairs(found.pairs, 32)
    assert found.slices
    assert peak_of(canonical, found) <= 2 * 2000
    free = search_pairs(canonical, Objective.FLOPS, CPU)
    assert free.slices == ()


def test_a_result_that_is_too_large_is_left_to_the_caller() -> None:
    canonical = Canonical(((0, 1), (1, 2)), (0, 2), (30, 3, 40))
    found = search_pairs(canonical, Objective.TIME, CPU, max_size=100)
    check_pairs(found.pairs, 2)


def test_progress_is_told(monkeypatch) -> None:
    told: list[tuple[float, float]] = []
    clock = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock) * 1e-3)
    canonical = Canonical(*regular(40, seed=0))
    search_pairs(
        canonical, Objective.FLOPS, CPU, seconds=2.0, progress=lambda *seen: told.append(seen)
    )
    shares = [share for share, _ in told]
    costs = [cost for _, cost in told]
    assert shares == sorted(shares)
    assert 0.0 < shares[0] <= shares[-1] <= 1.0
    assert costs == sorted(costs, reverse=True)
    assert len(told) > 3


def test_the_clock_only_decides_how_far_it_gets(monkeypatch) -> None:
    problem = regular(30, seed=4)

    def trees(seconds: float) -> list[float]:
        clock = itertools.count()
        monkeypatch.setattr(time, "perf_counter", lambda: next(clock) * 2e-3)
        seen: list[float] = []
        effort = Effort.of(seconds, 7, lambda share, cost: seen.append(cost))
        search = Rounds(problem, 0.0, effort, lambda found: 0.0)
        search.start()
        search.run()
        return seen

    assert trees(0.5) == trees(0.5)


def test_weights_of_entries_written() -> None:
    assert write_weight(Objective.FLOPS, CPU) == 0.0
    assert write_weight(Objective.COMBO, CPU) == 64.0
    assert 1.0 < write_weight(Objective.TIME, CPU) < 1e4
    assert write_weight(Objective.SIZE, CPU) > 1e9


def test_members_of_other_libraries_give_trees() -> None:
    problem = regular(30, seed=5)
    found = list(member_trees(problem, seed=0, deadline=time.perf_counter() + 60))
    assert len(found) >= 2
    for one in found:
        check_pairs(one.pairs, 30)
    assert list(member_trees(problem, seed=0, deadline=-math.inf)) == []


def test_members_are_asked_in_long_searches_only(monkeypatch) -> None:
    asked = []

    def record(problem, *, seed, deadline):
        asked.append(len(problem.leaves))
        return iter(())

    monkeypatch.setattr(rounds, "member_trees", record)
    problem = regular(20, seed=6)
    for seconds in (0.05, 1.5 * members.LONG):
        clock = itertools.count()
        monkeypatch.setattr(time, "perf_counter", lambda clock=clock: next(clock) * 1e-2)
        search = Rounds(problem, 0.0, Effort.of(seconds, 0, None), lambda found: 0.0)
        search.start()
        search.run()
    assert asked == [20]


def test_a_trivial_network_ends_at_once() -> None:
    leaves = [*((i,) for i in range(30)), tuple(range(30))]
    star = Canonical(tuple(leaves), (), (2,) * 30)
    found = search_pairs(star, Objective.TIME, CPU, seconds=30.0)
    check_pairs(found.pairs, 31)


@given(canonicals(), st.randoms(use_true_random=False))
def test_factors_are_multiplied_onto_the_smallest_value(canonical, rng) -> None:
    leaves = (*canonical.inputs, ())
    canonical = canonical._replace(inputs=leaves)
    alive, pairs = list(range(len(leaves))), []
    while len(alive) > 1:
        i, j = (alive.pop(rng.randrange(len(alive))) for _ in range(2))
        alive.append(len(leaves) + len(pairs))
        pairs.append((i, j))
    before = build_tree(canonical, pairs)
    found = factors_first(canonical, tuple(pairs))
    check_pairs(found, len(leaves))
    after = build_tree(canonical, found)
    assert sum(map(after.step_size, after.pairs)) <= sum(map(before.step_size, before.pairs))


def test_a_scalar_part_does_not_touch_a_large_result() -> None:
    inputs = ((0, 1), (1, 2), (2, 3), (4,), (4,))
    found = search_pairs(Canonical(inputs, (0, 3), (50, 2, 2, 50, 7)), Objective.TIME, CPU)
    tree = build_tree(Canonical(inputs, (0, 3), (50, 2, 2, 50, 7)), found.pairs)
    scalar = next(p for p in tree.pairs if not (tree.legs[p.left] and tree.legs[p.right]))
    assert tree.step_size(scalar) == 4


def test_a_limit_is_met_in_a_short_time_too() -> None:
    canonical = Canonical(*regular(120, seed=4))
    begin = time.process_time()
    found = search_pairs(canonical, Objective.TIME, CPU, seconds=0.3, max_size=1 << 12)
    assert time.process_time() - begin < 15  # it takes as long as it needs to fit, but no more
    assert found.slices
    assert Ranking(canonical, Objective.TIME, CPU, 1 << 12).fits(found)


def test_progress_of_several_parts_never_goes_back() -> None:
    ring = [(k, (k + 1) % 30) for k in range(30)] + [(k, (k + 7) % 30) for k in range(30)]
    holders: list[list[int]] = [[] for _ in range(60)]
    for label, (i, j) in enumerate(ring):
        for shift in (0, 30):
            holders[i + shift].append(label + 60 * (shift > 0))
            holders[j + shift].append(label + 60 * (shift > 0))
    canonical = Canonical(tuple(map(tuple, holders)), (), (2,) * 120)
    told: list[float] = []
    search_pairs(
        canonical, Objective.FLOPS, CPU, seconds=0.4, progress=lambda share, _: told.append(share)
    )
    assert told == sorted(told)
    assert told[-1] > 0.3
