"""The search space: neighbourhoods, limits and templates."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import contraction
import tnet
from contraction.errors import DTypeError, InputError, RankError
from structure_search.canonical import canonical_key, charged
from structure_search.space.limits import Limits, largest_degree, peak_size
from structure_search.space.search_space import Arrangement, SearchSpace, State, space_of
from structure_search.space.templates import Template, completed, read_template, template_graph

FREE = Arrangement.FREE


def modes(count, size=3):
    return {f"x{k}": size for k in range(count)}


def space(template, count, **options):
    return space_of(modes(count), template, None, **{"highest": 3, **options})[0]


def automorphisms(graph, places):
    """Count by brute force the orders of the modes that give the same bonds between them."""
    at = {place: graph.holders[place][0] for place in places}
    joined = {frozenset(graph.holders[bond]) for bond in graph.bonds}
    count = 0
    for order in itertools.permutations(places):
        moved = {at[a]: at[b] for a, b in zip(places, order, strict=True)}
        count += {frozenset(moved[n] for n in pair) for pair in joined} == joined
    return count


@pytest.mark.parametrize("count", [3, 4, 5, 6])
@pytest.mark.parametrize("template", [Template.RING, Template.TRAIN, Template.GRID, Template.FULL])
def test_symmetric_arrangements_have_one_key(template, count):
    graph = template_graph(template, modes(count))
    made = SearchSpace(graph=graph, highest=2, arrangement=FREE)
    ranks = (2,) * len(made.bonds)
    orders = itertools.permutations(made.places)
    keys = {canonical_key(made.structure(State(ranks, order))) for order in orders}
    assert len(keys) == math.factorial(count) // automorphisms(graph, made.places)
    if template is Template.RING:
        assert len(keys) == math.factorial(count - 1) // 2


def test_structures_keep_the_modes_and_their_sizes():
    data = {"a": 2, "b": 3, "c": 4, "d": 5}
    made, _ = space_of(data, Template.RING, None, highest=3, arrangement=FREE)
    state = State((1, 2, 3, 2), ("c", "a", "d", "b"))
    found = made.structure(state)
    assert found.modes == tuple(data)
    assert found.shape == (2, 3, 4, 5)
    assert [next(x for x in legs if x in data) for _, legs in found.nodes] == ["c", "a", "d", "b"]
    assert dict(found.ranks) == dict(zip(made.bonds, state.ranks, strict=True))


@given(
    rank=st.integers(1, 9), low=st.integers(1, 4), width=st.integers(0, 6), radius=st.integers(1, 4)
)
def test_neighbourhoods_of_ranks_are_shifted_not_cut(rank, low, width, radius):
    high = low + width
    rank = min(max(rank, low), high)
    made = SearchSpace(graph=tnet.tensor_train((3, 3)), lowest=low, highest=high)
    values = made.values(State((rank,), made.places), 0, radius)
    assert rank in values
    assert len(values) == min(2 * radius, width) + 1
    assert list(values) == list(range(values[0], values[0] + len(values)))
    assert low <= values[0] <= values[-1] <= high
    if low + radius <= rank <= high - radius:
        assert values[radius] == rank


def test_the_arrangement_is_the_last_variable_and_all_exchanges_are_near():
    made = space(Template.RING, 5, arrangement=FREE)
    assert made.variables == range(6)
    state = made.sample(np.random.default_rng(0))
    near = made.neighbourhood(state, 5, 1)
    assert near[0] == state
    assert len(set(near)) == 1 + 5 * 4 // 2
    assert all(
        sum(a != b for a, b in zip(s.modes, state.modes, strict=True)) == 2 for s in near[1:]
    )


def test_modes_of_one_node_are_not_exchanged():
    graph = tnet.Structure(
        {"a": ("x", "y", "r"), "b": ("r", "z")}, {"x": 2, "y": 3, "z": 4, "r": 2}
    )
    made = SearchSpace(graph=graph, highest=3, arrangement=FREE)
    near = [s.modes for s in made.neighbourhood(made.state_of(graph), 1, 1)]
    assert near == [("x", "y", "z"), ("z", "y", "x"), ("x", "z", "y")]


def test_all_pairs_need_no_arrangement():
    made = space(Template.FULL, 4, arrangement=FREE)
    assert made.variables == range(6)
    assert made.bonds == ("v0-v1", "v0-v2", "v0-v3", "v1-v2", "v1-v3", "v2-v3")


def test_samples_have_the_shares_asked_for():
    made = space(Template.FULL, 6, highest=4)
    rng = np.random.default_rng(1)
    ranks = np.array([made.sample(rng, absent=0.6).ranks for _ in range(400)])
    assert np.mean(ranks == 1) == pytest.approx(0.6, abs=0.02)
    for rank in (2, 3, 4):
        assert np.mean(ranks == rank) == pytest.approx(0.4 / 3, abs=0.02)
    even = np.array([made.sample(rng).ranks for _ in range(400)])
    for rank in (1, 2, 3, 4):
        assert np.mean(even == rank) == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize(
    "limits", [Limits(max_params=60), Limits(max_degree=2), Limits(max_memory=8000)]
)
def test_samples_keep_to_the_limits(limits):
    made = space(Template.FULL, 5, highest=4, limits=limits)
    rng = np.random.default_rng(2)
    for _ in range(30):
        state = made.sample(rng)
        assert made.allows(state)
        real = charged(made.structure(state))
        assert limits.max_params is None or real.num_params <= limits.max_params
        assert limits.max_degree is None or largest_degree(real) <= limits.max_degree


def test_memory_is_the_peak_of_the_plan():
    structure = tnet.tensor_train((4, 5, 6), (3, 4))
    plan = contraction.plan(structure.spec(), objective="size")
    assert peak_size(structure) == plan.peak_size >= 4 * 5 * 6
    needed = plan.peak_size * 4
    assert Limits(max_memory=needed, dtype="float32").allows(structure)
    assert not Limits(max_memory=needed - 1, dtype="float32").allows(structure)
    assert not Limits(max_memory=needed).allows(structure)


def test_limits_that_nothing_keeps_to_are_said():
    made = space(Template.RING, 4, limits=Limits(max_params=3))
    with pytest.raises(InputError, match="widen the limits"):
        made.sample(np.random.default_rng(0))


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: Limits(max_params=0), RankError, "max_params"),
        (lambda: Limits(max_memory="much"), InputError, "max_memory"),
        (lambda: Limits(dtype="int8"), DTypeError, "int8"),
        (lambda: read_template("star"), InputError, "'ring'"),
        (lambda: space(Template.RING, 4, highest=0), RankError, "highest"),
        (
            lambda: SearchSpace(graph=tnet.tensor_train((2, 2)), lowest=3, highest=2),
            InputError,
            "3",
        ),
    ],
)
def test_bad_options_are_refused(make, error, says):
    with pytest.raises(error, match=says):
        make()


def test_a_start_brings_its_graph_and_its_ranks():
    start = tnet.tensor_train(modes(4), (2, 9, 3))
    made, state = space_of(modes(4), Template.RING, start, highest=4, arrangement=FREE)
    assert (made.graph, made.highest) == (start, 9)
    assert state is not None
    assert made.structure(state) == start
    full, state = space_of(modes(4), Template.FULL, start, highest=4)
    assert state is not None
    assert len(full.bonds) == 6
    assert charged(full.structure(state)).num_params == charged(start).num_params
    assert canonical_key(full.structure(state)) == canonical_key(start)


@pytest.mark.parametrize(
    ("start", "says"),
    [
        (tnet.tucker((3, 3, 3)), "core"),
        (tnet.cp((3, 3, 3), 2), "of several"),
    ],
)
def test_starts_that_do_not_go_with_all_pairs(start, says):
    with pytest.raises(InputError, match=says):
        completed(start)


def test_a_start_that_breaks_the_limits_is_refused():
    start = tnet.tensor_train(modes(4), 3)
    with pytest.raises(InputError, match="breaks"):
        space_of(modes(4), Template.RING, start, highest=4, limits=Limits(max_params=10))


def test_templates_of_few_modes_are_trains():
    for template, count in itertools.product(Template, (1, 2)):
        assert template_graph(template, modes(count)) == tnet.tensor_train(modes(count))
