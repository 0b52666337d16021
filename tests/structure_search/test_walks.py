"""TnALE, TNLS, TNGA and RandomSearch over tables of errors: what they ask, and what they find."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from walks import Scripted, asked, drive, order_of_modes, problem, ranks

import tnet
from contraction.errors import InputError, RankError
from structure_search import (
    TNGA,
    TNLS,
    Custom,
    RandomSearch,
    TnALE,
    WeightedError,
)
from structure_search.canonical import charged
from structure_search.methods.tnale import round_trip
from structure_search.space.templates import Template

# ---- TnALE step by step --------------------------------------------------------------------


def test_the_asked_sequence_is_the_one_worked_out_by_hand():
    # error: the distance of the ranks from (1, 4, 2), and a half for every mode not as in "acb";
    # ranks 1..4, from (2, 2, 2) and "abc". Brackets are batches.
    def error(structure):
        away = sum(abs(r - t) for r, t in zip(ranks(structure), (1, 4, 2), strict=True))
        order = order_of_modes(structure)
        return away + 0.5 * sum(a != b for a, b in zip(order, "acb", strict=True))

    start = tnet.tensor_ring({"a": 50, "b": 50, "c": 50}, 2)
    method = TnALE(max_rank=4, initial_trips=0, patience=1, starts=1)
    batches, _ = drive(method, problem(start, Custom(score=lambda c: c.error)), error)
    found = [[(*ranks(p.structure), order_of_modes(p.structure)) for p in b] for b in batches]
    exchanges = ["abc", "bac", "cba", "acb"]
    back = ["acb", "cab", "bca", "abc"]
    assert found == [
        # the start is not known, and comes in a batch of its own
        [(2, 2, 2, "abc")],
        [(1, 2, 2, "abc"), (3, 2, 2, "abc")],
        [(1, 2, 2, "abc"), (1, 1, 2, "abc"), (1, 3, 2, "abc")],
        [(1, 3, 2, "abc"), (1, 3, 1, "abc"), (1, 3, 3, "abc")],
        [(1, 3, 2, order) for order in exchanges],
        [(1, 3, 2, "acb"), (1, 3, 1, "acb"), (1, 3, 3, "acb")],
        # still around the centre (2, 2, 2), though the second rank is 3 by now
        [(1, 3, 2, "acb"), (1, 1, 2, "acb"), (1, 2, 2, "acb")],
        [(1, 3, 2, "acb"), (2, 3, 2, "acb"), (3, 3, 2, "acb")],
        # the new centre (1, 3, 2): the window of the first rank is shifted at its bound
        [(1, 3, 2, "acb"), (2, 3, 2, "acb"), (3, 3, 2, "acb")],
        [(1, 3, 2, "acb"), (1, 2, 2, "acb"), (1, 4, 2, "acb")],
        [(1, 4, 2, "acb"), (1, 4, 1, "acb"), (1, 4, 3, "acb")],
        [(1, 4, 2, order) for order in back],
        [(1, 4, 2, "acb"), (1, 4, 1, "acb"), (1, 4, 3, "acb")],
        [(1, 4, 2, "acb"), (1, 2, 2, "acb"), (1, 3, 2, "acb")],
        [(1, 4, 2, "acb"), (2, 4, 2, "acb"), (3, 4, 2, "acb")],
        # the centre (1, 4, 2): four steps return to it, and the trip ends early
        [(1, 4, 2, "acb"), (2, 4, 2, "acb"), (3, 4, 2, "acb")],
        [(1, 4, 2, "acb"), (1, 2, 2, "acb"), (1, 3, 2, "acb")],
        [(1, 4, 2, "acb"), (1, 4, 1, "acb"), (1, 4, 3, "acb")],
        [(1, 4, 2, order) for order in back],
    ]


def test_interpolation_asks_for_three_values_and_is_forgotten_afterwards():
    # squared errors g(first rank) + h(second rank); a first rank other than 2 costs 5 beside
    g = {1: 9.0, 2: 8.0, 3: 1.0, 4: 9.0, 5: 1.0, 6: 9.0, 7: 9.0}
    h = {3: 4.0, 5: 2.0, 6: 0.0, 7: 2.0}

    def error(structure):
        first, second = ranks(structure)
        return math.sqrt(g[first] + h[second])

    def score(found):
        first = found.structure.size.get("g0-g1", 1)
        return found.error**2 + 5.0 * (first != 2)

    start = tnet.tensor_train({"a": 50, "b": 50, "c": 50}, (1, 6))
    method = TnALE(max_rank=7, exchanges=0, patience=1, starts=1)
    batches, _ = drive(method, problem(start, Custom(score=score)), error)
    assert asked(batches) == [
        # {1..5}: 2 is believed to have (9 + 1) / 2 = 5, and costs nothing beside
        [(1, 6), (3, 6), (5, 6)],
        # {3..7}, shifted at the bound: 6 itself is not asked for; 5 is remembered for it
        [(2, 3), (2, 5), (2, 7)],
        [(1, 6), (3, 6), (5, 6)],
        # from here on real: 2 has 8, and loses against 3 with 1 + 5
        [(2, 6)],
        [(1, 6), (3, 6)],
        [(3, 6), (3, 5), (3, 7)],
        [(3, 6), (1, 6), (2, 6)],
        [(3, 6), (2, 6), (4, 6)],
        [(3, 6), (3, 5), (3, 7)],
    ]


def test_a_failed_trip_is_followed_by_a_perturbation_of_the_old_centre():
    table = {(3, 3): 1, (2, 3): 2, (4, 3): 9, (3, 2): 8, (3, 4): 5}
    table |= {(2, 4): 6, (4, 4): 3, (4, 2): 9, (2, 2): 7}
    start = tnet.tensor_train({"a": 50, "b": 50, "c": 50}, 3)
    method = TnALE(max_rank=7, exchanges=0, initial_trips=0, patience=2, starts=1)
    # of {2, 3, 4} for the second rank: 4; then 3, which is the centre and drawn again: 2; then 4
    work = problem(start, Custom(score=lambda c: c.error), Scripted(2, 1, 0))
    batches, _ = drive(method, work, lambda s: float(table[ranks(s)]))
    assert asked(batches) == [
        [(3, 3)],
        [(2, 3), (4, 3)],
        [(3, 3), (3, 2), (3, 4)],  # two steps returned: early end
        [(3, 4)],
        [(2, 4), (4, 4)],
        [(4, 4), (4, 2), (4, 3)],
        [(4, 4), (2, 4), (3, 4)],  # ends at 3, the centre has 1
        [(3, 2)],
        [(2, 2), (4, 2)],
        [(2, 2), (2, 3), (2, 4)],
        [(2, 3), (3, 3), (4, 3)],  # back at the centre: nothing gained twice in a row
    ]


def test_what_was_found_for_a_point_is_not_forgotten_by_a_worse_fit():
    start = tnet.tensor_train({"a": 50, "b": 50}, 2)
    seen = []

    def error(structure):
        seen.append(ranks(structure))
        return 1.0 if seen.count(seen[-1]) == 1 and seen[-1] == (2,) else 5.0

    method = TnALE(max_rank=7, exchanges=0, initial_trips=0, patience=2, starts=1)
    batches, _ = drive(method, problem(start, Custom(score=lambda c: c.error)), error)
    assert asked(batches) == [[(2,)], [(1,), (3,)]]  # one variable: nothing to perturb


@pytest.mark.parametrize(("count", "radius"), [(4, 1), (6, 1), (8, 1), (6, 2)])
def test_structures_of_a_round_trip_on_a_ring(count, radius):
    start = tnet.tensor_ring({f"x{k}": 50 for k in range(count)}, 4)
    method = TnALE(max_rank=9, radius=radius, initial_trips=0)
    work = problem(start, Custom(score=lambda c: c.error))
    batches, _ = drive(method, work, lambda s: 1.0 / sum(ranks(s)), most=400)
    first = [p for batch in batches for p in batch if p.label.startswith("start 1, trip 1,")]
    assert len(first) == 2 * count * (2 * radius + 1) + 1 + count * (count - 1) // 2
    if radius == 1:
        assert len(first) == {4: 31, 6: 52, 8: 77}[count]


def test_structures_of_a_round_trip_over_all_pairs():
    start = tnet.fully_connected({f"x{k}": 50 for k in range(8)}, 3)
    method = TnALE(template=Template.FULL, max_rank=9, initial_trips=0)
    work = problem(start, Custom(score=lambda c: c.error))
    batches, _ = drive(method, work, lambda s: 1.0 / sum(ranks(s)), most=400)
    first = [p for batch in batches for p in batch if p.label.startswith("start 1, trip 1,")]
    assert len(first) == (2 * 28 - 1) * 3
    names = [batch[0].label.split(", ")[2] for batch in batches[:29]]
    rows = [f"v{i}-v{j}" for i, j in itertools.combinations(range(8), 2)]
    assert names[1:] == rows  # the first batch is the start alone


def test_the_order_of_the_variables():
    assert round_trip(4) == (0, 1, 2, 3, 2, 1, 0)
    assert round_trip(3, 2) == (0, 1, 2, 1, 0, 1, 2, 1, 0)
    assert round_trip(1) == (0, 0)


@settings(max_examples=6)
@given(seed=st.integers(0, 2**20))
def test_bounds_change_no_decision(seed):
    # true bounds: below the error of every structure, to the last bit of some
    rng = np.random.default_rng(seed)
    errors: dict[tuple, float] = {}
    tight: dict[tuple, float] = {}

    def key(structure):
        return (*ranks(structure), order_of_modes(structure))

    def error(structure):
        return errors.setdefault(key(structure), float(rng.choice([0.0, 0.01, 0.02, 0.03, 0.1])))

    def bound(structure):
        share = tight.setdefault(key(structure), float(rng.choice([0.0, 0.5, 1.0])))
        return share * error(structure)

    start = tnet.tensor_ring(dict.fromkeys("abcd", 6), 2)
    method = TnALE(max_rank=4, patience=2, starts=1)
    work = [
        problem(start, WeightedError(weight=500.0), np.random.default_rng(7), size=6)
        for _ in range(2)
    ]
    plain, fitted = drive(method, work[0], error)
    pruned, fewer = drive(method, work[1], error, bound)
    assert [[key(p.structure) for p in b] for b in plain] == [
        [key(p.structure) for p in b] for b in pruned
    ]
    assert len(fewer) < len(fitted)
    assert work[0].rng.random() == work[1].rng.random()


def test_what_breaks_a_limit_is_not_asked_for():
    start = tnet.tensor_ring(dict.fromkeys("abcd", 6), 2)
    most = start.num_params + 30
    method = TnALE(max_rank=6, max_params=most, patience=2, starts=2)
    work = problem(start, Custom(score=lambda c: c.error), size=6)
    batches, _ = drive(method, work, lambda s: 1.0 / charged(s).num_params)
    sizes = [charged(p.structure).num_params for batch in batches for p in batch]
    assert max(sizes) <= most
    assert max(sizes) > start.num_params


def test_some_exchanges_are_drawn_and_the_present_order_is_among_them():
    start = tnet.tensor_ring(dict.fromkeys("abcdef", 50), 2)
    method = TnALE(max_rank=3, exchanges=4, initial_trips=0, patience=2, starts=1)
    work = problem(start, Custom(score=lambda c: c.error))
    wanted = {m: k for k, m in enumerate("fbcdea")}

    def error(structure):
        order = order_of_modes(structure)
        return float(sum(wanted[m] != k for k, m in enumerate(order)))

    batches, _ = drive(method, work, error)
    steps = [batch for batch in batches if batch[0].label.endswith("modes")]
    assert {len(batch) for batch in steps} <= {5, 6}
    for batch in steps:
        assert len({order_of_modes(p.structure) for p in batch}) == len(batch)


def test_ranks_stay_where_only_the_modes_move():
    start = tnet.tensor_ring({"a": 5, "b": 6, "c": 7, "d": 8}, (2, 3, 4, 5))
    wanted = {"a": 2, "b": 0, "c": 3, "d": 1}

    def error(structure):
        return float(sum(wanted[m] != k for k, m in enumerate(order_of_modes(structure))))

    method = TnALE(radius=0, initial_radius=0, patience=4, starts=1)
    goal = Custom(score=lambda c: c.error)
    batches, found = drive(method, problem(start, goal, size=50), error)
    assert {ranks(p.structure) for batch in batches for p in batch} == {(5, 2, 3, 4)}
    assert min(missed for _, missed in found) == 0.0


# ---- TNLS and TNGA ---


def test_tnls_asks_for_the_start_and_then_for_whole_generations():
    start = tnet.tensor_ring(dict.fromkeys("abcde", 50), 3)
    work = problem(start, Custom(score=lambda c: c.error))
    batches, _ = drive(TNLS(samples=7, generations=5), work, lambda s: float(sum(ranks(s))))
    assert [len(batch) for batch in batches] == [1, 7, 7, 7, 7]
    assert asked(batches)[0] == [(3,) * 5]
    every = [r for batch in asked(batches) for state in batch for r in state]
    assert min(every) >= 1
    assert max(every) <= 7
    # steps become smaller: of standard deviation 1 at first
    first = [abs(r - 3) for state in asked(batches)[1] for r in state]
    assert max(first) >= 1


def test_tnga_with_one_rank_keeps_to_it():
    work = problem(None, Custom(score=lambda c: c.error), modes=dict.fromkeys("abcd", 50))
    method = TNGA(max_rank=2, population=10, survivors=5, generations=6)
    batches, _ = drive(method, work, lambda s: abs(sum(ranks(s)) - 9) / 9)
    assert [len(batch) for batch in batches] == [10] * 6
    assert {r for batch in asked(batches) for state in batch for r in state} == {1, 2}
    means = [np.mean([abs(sum(state) - 9) for state in batch]) for batch in asked(batches)]
    assert means[-1] < means[0]


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: TnALE(template="star"), InputError, "template"),
        (lambda: TnALE(max_rank=1), RankError, "max_rank"),
        (lambda: TnALE(patience=0), RankError, "patience"),
        (lambda: TnALE(absent=2.0), InputError, "absent"),
        (lambda: TnALE(max_memory="lots"), InputError, "max_memory"),
        (lambda: TNLS(samples=0), RankError, "samples"),
        (lambda: TNGA(survivors=60), InputError, "survivors"),
        (lambda: TNGA(alpha=0.0), InputError, "alpha"),
        (lambda: RandomSearch(density=-0.1), InputError, "density"),
    ],
)
def test_bad_options_are_refused(make, error, says):
    with pytest.raises(error, match=says):
        make()
