"""tune: the same result, a tree and ways that survive a file, and no run beyond the memory."""

import json
import math
import pickle

import numpy as np
import pytest

from contraction import Objective, Plan, Spec, arrays, plan, tune
from contraction.errors import DTypeError, InputError, MemoryBudgetError, PlanError, ShapeError
from contraction.rivals import _shape, all_trees, regrouped
from contraction.tree import check_pairs
from contraction.tuning import race, random_arrays
from strategies import NAMESPACES

N, R = 24, 8
MTTKRP = ("abc,br,cr->ar", [(N, N, N), (N, R), (N, R)])
RING = Spec([(i, (i + 1) % 7, 20 + i % 3) for i in range(7)], [20], dict.fromkeys(range(30), 3))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_all_trees_are_all_different(count) -> None:
    trees = list(all_trees(count))
    assert len(trees) == math.prod(range(1, 2 * count - 2, 2))
    assert len({_shape(pairs) for pairs in trees}) == len(trees)
    for pairs in trees:
        check_pairs(pairs, count)


def test_regrouping_gives_other_trees() -> None:
    start = ((0, 1), (2, 3), (4, 5), (6, 7))
    trees = list(regrouped(start, range(4)))
    for pairs in trees:
        check_pairs(pairs, 5)
    shapes = {_shape(pairs) for pairs in trees}
    assert len(shapes) == 6  # two for each of the three inner edges
    assert _shape(start) not in shapes
    assert len({_shape(pairs) for pairs in regrouped(start, [0])}) == 2


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("equation", ["abc,br,cr->ar", "abc,ar,cr->br", "abc,ar,br->cr"])
def test_tuned_plans_give_the_same(namespace, equation) -> None:
    shapes = [(N, N, N), (N, R), (N, R)]
    xs = [np.random.default_rng(i).standard_normal(s) for i, s in enumerate(shapes)]
    ys = [arrays.to(x, namespace=namespace) for x in xs]
    p = plan(equation, shapes)
    q = tune(p, ys, budget="40ms")
    assert p.measured is None
    assert 0 < q.measured < 1
    np.testing.assert_allclose(arrays.to_numpy(q.run(ys)), np.einsum(equation, *xs), rtol=1e-9)
    np.testing.assert_allclose(q.run(xs), np.einsum(equation, *xs), rtol=1e-9)
    turned = [np.asfortranarray(x) for x in xs]  # other orders in memory than were timed
    np.testing.assert_allclose(q.run(turned), np.einsum(equation, *xs), rtol=1e-9)


def test_ways_survive_json_and_pickle() -> None:
    p = tune(plan(*MTTKRP), budget="40ms")
    q = Plan.from_dict(json.loads(json.dumps(p.to_dict())))
    r = pickle.loads(pickle.dumps(p))
    for other in (q, r):
        assert (other.pairs, other.measured) == (p.pairs, p.measured)
        assert other.program.steps == p.program.steps
    assert "tuned" not in plan(*MTTKRP).to_dict()


def test_a_way_is_followed_where_the_estimates_say_otherwise() -> None:
    from contraction.rivals import Rivals

    p = plan("abc,bd->adc", [(16, 16, 16), (16, 4)])
    rivals = Rivals(p.spec.canonical, p.compiled.model("numpy"), math.inf, math.inf)
    first = rivals.entrant(p.pairs, {})
    others = rivals.ways(first, 0, 99)
    assert len(others) > 2
    xs = random_arrays(p.spec)
    from contraction.execute import bind

    for rival in others:
        assert rival.program.steps != first.program.steps
        assert rival.program.seconds >= first.program.seconds
        got = bind(rival.program, "numpy")(list(xs))
        np.testing.assert_allclose(got, np.einsum("abc,bd->adc", *xs), rtol=1e-9, atol=1e-9)


def test_damaged_entries_are_refused() -> None:
    data = tune(plan(*MTTKRP), budget="20ms").to_dict()
    for damage in (
        {"library": "fortran"},
        {"seconds": "soon"},
        {"seconds": -1.0},
        {"ways": data["tuned"]["ways"][:1]},
        {"ways": [{"kernel": "magic"}] * 2},
        {"ways": 3},
    ):
        with pytest.raises(PlanError, match="timing"):
            Plan.from_dict({**data, "tuned": {**data["tuned"], **damage}})
    with pytest.raises(PlanError, match="timing"):
        Plan.from_dict({**data, "tuned": [1]})


def test_ways_that_do_not_fit_are_chosen_anew() -> None:
    data = tune(plan(*MTTKRP), budget="20ms").to_dict()
    for way in data["tuned"]["ways"]:
        way["groups"] = [[], [], []]
    assert Plan.from_dict(data).program == plan(MTTKRP[0], MTTKRP[1], path=data["pairs"]).program


def test_no_rival_takes_more_memory_than_allowed() -> None:
    p = plan(*MTTKRP)
    limit = 8 * p.peak_size
    q = tune(plan(*MTTKRP, memory=limit), budget="40ms")
    assert q.peak_size <= p.peak_size
    assert q.memory == limit
    small = [x.astype(np.complex128) for x in random_arrays(p.spec)]
    with pytest.raises(MemoryBudgetError, match="nothing was allocated"):
        tune(q, small, budget="40ms")
    assert tune(p, budget="40ms").peak_size <= 4 * p.peak_size + 4096


def test_the_tree_stays_where_not_time_was_asked_for() -> None:
    for objective in (Objective.FLOPS, Objective.SIZE):
        p = plan(*MTTKRP, objective=objective)
        assert tune(p, budget="20ms").pairs == p.pairs


def test_larger_networks_slices_and_single_inputs() -> None:
    p = plan(RING)
    xs = random_arrays(RING)
    want = p.run(xs)
    np.testing.assert_allclose(tune(p, xs, budget="60ms").run(xs), want, rtol=1e-9)
    sliced = plan(RING, slices=[0])
    q = tune(sliced, xs, budget="20ms")
    assert (q.slices, q.pairs) == (sliced.slices, sliced.pairs)
    assert q.measured > 0
    np.testing.assert_allclose(q.run(xs), want, rtol=1e-9)
    lone = tune(plan("aab->b", [(3, 3, 4)]), budget="5ms")
    assert lone.measured > 0


def test_what_takes_too_long_is_returned_as_it_is() -> None:
    p = plan("ab,bc->ac", [(3000, 3000), (3000, 3000)])
    xs = [np.ones((3000, 3000))] * 2
    assert tune(p, xs, budget="1ms") is p


def test_arrays_are_checked_and_not_written_to() -> None:
    p = plan(*MTTKRP)
    xs = random_arrays(p.spec)
    kept = [x.copy() for x in xs]
    tune(p, xs, budget="10ms")
    for x, y in zip(xs, kept, strict=True):
        np.testing.assert_array_equal(x, y)
    with pytest.raises(ShapeError):
        tune(p, xs[:2])
    with pytest.raises(DTypeError):
        tune(p, [np.array(["x"])] * 3)
    with pytest.raises(InputError, match="budget"):
        tune(p, budget=-1)


def test_random_arrays_keep_results_in_range() -> None:
    words = [(i, i + 1) for i in range(200)]
    spec = Spec(words, [0, 200], dict.fromkeys(range(201), 9))
    assert 1e-12 < np.std(plan(spec).run(random_arrays(spec))) < 1e6  # unscaled 1e95
    assert random_arrays(spec, dtype="complex64")[0].dtype == np.complex64


def test_a_race_asks_everyone_once_and_drops_the_slow() -> None:
    asked = [0, 0, 0]

    def sampler(i: int, seconds: float):
        def sample() -> float:
            asked[i] += 1
            return seconds

        return sample

    times = race([sampler(0, 1.0), sampler(1, 9.0), sampler(2, 1.01)], math.inf)
    assert times == [1.0, 9.0, 1.01]
    assert asked[1] == 1
    assert asked[0] == asked[2] > 5
    asked[:] = [0, 0, 0]
    race([sampler(0, 1.0), sampler(1, 1.0)], 0.0)
    assert asked[:2] == [1, 1]
