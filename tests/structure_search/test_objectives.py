"""Objectives: the orders they state, the errors that would win, and the Pareto front."""

import itertools
import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import contraction
import tnet
from contraction.errors import DTypeError, InputError, RankError
from structure_search import (
    Custom,
    Evaluation,
    Greedy,
    MaxBytes,
    MaxFlops,
    MaxParams,
    RandomSearch,
    RelativeError,
    WeightedError,
    search,
)
from structure_search.budgets import charged_flops
from structure_search.canonical import charged
from structure_search.objectives import objective_from_dict, objective_to_dict
from structure_search.results import Candidate, dense_flops, pareto_front

SHAPE = (4, 3, 4)
GOALS = [
    RelativeError(tol=0.05),
    MaxParams(params=40),
    MaxBytes(nbytes=200, dtype="float32"),
    MaxFlops(flops=400),
    WeightedError(weight=5.0),
    WeightedError(weight=1e6, negligible=1e-3),
]
CUSTOM = Custom(score=lambda c: c.num_params * (1.0 + c.error), enough_error=0.01)
every_goal = pytest.mark.parametrize("goal", GOALS, ids=lambda goal: type(goal).__name__)


@st.composite
def structures(draw):
    """A triangle with any ranks, some of them more than the modes can use."""
    ranks = draw(st.lists(st.integers(1, 9), min_size=3, max_size=3))
    return tnet.tensor_ring(SHAPE, ranks)


errors = st.one_of(
    st.floats(0.0, 1.5), st.sampled_from([0.0, 0.05, math.nextafter(0.05, 1.0), 1e-300, 1.0])
)


def candidate(structure, error: float, index: int = 0) -> Candidate:
    real = charged(structure)
    return Candidate(structure=real, num_params=real.num_params, error=error, index=index)


@every_goal
@given(s=structures(), error=errors, than=st.tuples(structures(), errors))
def test_the_useful_error_is_exact(goal, s, error, than) -> None:
    best = candidate(*than)
    useful = goal.useful_error(s, best)

    def wins(error: float) -> bool:
        return goal.order(candidate(s, error)) < goal.order(best)

    assert wins(error) == (error <= useful)
    if useful < 0.0:
        assert not wins(0.0)
    elif math.isfinite(useful):
        assert wins(useful)
        assert not wins(math.nextafter(useful, math.inf))


@every_goal
@given(s=structures(), pair=st.tuples(errors, errors))
def test_more_error_is_never_better(goal, s, pair) -> None:
    low, high = sorted(pair)
    assert goal.order(candidate(s, low)) <= goal.order(candidate(s, high))
    assert goal.useful_error(s, None) == math.inf


@given(found=st.lists(st.tuples(structures(), errors), min_size=1, max_size=6))
def test_the_best_is_what_the_definition_says(found) -> None:
    all_ = [candidate(s, e, k) for k, (s, e) in enumerate(found)]
    within = [c for c in all_ if c.error <= 0.05]
    best = min(all_, key=RelativeError(tol=0.05).order)
    if within:
        assert best.num_params == min(c.num_params for c in within)
    else:
        assert best.error == min(c.error for c in all_)
    small = [c for c in all_ if c.num_params <= 40]
    best = min(all_, key=MaxParams(params=40).order)
    assert best.error == min(c.error for c in small) if small else best.num_params > 40
    cheap = [c for c in all_ if dense_flops(c.structure) <= 400]
    best = min(all_, key=MaxFlops(flops=400).order)
    assert best.error == min(c.error for c in cheap) if cheap else best.flops > 400
    best = min(all_, key=WeightedError(weight=5.0).order)
    assert best.num_params / 48 + 5.0 * best.error**2 == min(
        c.num_params / 48 + 5.0 * c.error**2 for c in all_
    )
    assert min(all_, key=CUSTOM.order) in sorted(all_, key=CUSTOM.score)


@given(s=structures())
def test_budgets_allow_what_they_say(s) -> None:
    real = charged(s)
    flops = contraction.plan(real.spec(), objective="flops").flops
    assert charged_flops(s) == flops == candidate(s, 0.1).flops
    for goal, used, allowed in [
        (MaxParams(params=40), real.num_params, 40),
        (MaxBytes(nbytes=200, dtype="float32"), 4 * real.num_params, 200),
        (MaxFlops(flops=400), flops, 400),
    ]:
        assert goal.allows(s) == (used <= allowed) == goal.met(candidate(s, 0.9))
    assert all(goal.allows(s) for goal in (RelativeError(tol=0.1), WeightedError(), CUSTOM))


def test_where_fits_may_stop() -> None:
    assert RelativeError(tol=0.1).enough == 0.1
    assert MaxFlops(flops=9).enough == MaxBytes(nbytes=80).enough == 0.0
    goal = WeightedError(weight=4.0, negligible=1e-6)
    assert 4.0 * goal.enough**2 == pytest.approx(1e-6)
    assert MaxBytes(nbytes=100).cap == 12
    assert MaxBytes(nbytes=100, dtype="complex64").cap == 12
    assert MaxFlops(flops=9).cap is WeightedError().cap is None


@pytest.mark.parametrize("goal", GOALS)
def test_objectives_survive_as_plain_data(goal) -> None:
    assert objective_from_dict(objective_to_dict(goal)) == goal


def test_what_cannot_be_recorded_is_said(tmp_path) -> None:
    x = np.random.default_rng(0).standard_normal((3, 3))
    rng = np.random.default_rng(0)
    with pytest.raises(InputError, match="Custom"):
        search(x, method=Greedy(), objective=CUSTOM, rng=rng, run=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match="unknown objective"):
        objective_from_dict({"name": "Nonsense"})


def test_bad_objectives_are_refused() -> None:
    for build in (
        lambda: RelativeError(tol=1.0),
        lambda: WeightedError(weight=0.0),
        lambda: WeightedError(weight=math.nan),
        lambda: WeightedError(negligible=-1.0),
        lambda: Custom(score=3),
        lambda: Custom(score=max, enough_error=2.0),
    ):
        with pytest.raises(InputError):
            build()
    for build in (
        lambda: MaxFlops(flops=0),
        lambda: MaxBytes(nbytes=7),
        lambda: MaxParams(params=0),
    ):
        with pytest.raises(RankError):
            build()
    with pytest.raises(DTypeError, match="int8"):
        MaxBytes(nbytes=100, dtype="int8")
    nothing = Custom(score=lambda c: math.nan)
    with pytest.raises(InputError, match="NaN"):
        nothing.order(candidate(tnet.tensor_ring(SHAPE, 1), 0.5))


@pytest.mark.parametrize("goal", [*GOALS, CUSTOM])
def test_every_objective_drives_a_search(goal) -> None:
    x = np.random.default_rng(0).standard_normal(SHAPE)
    method = RandomSearch(samples=8, max_rank=3, sweeps=10)
    found = search(x, method=method, objective=goal, rng=np.random.default_rng(1))
    tried = [candidate(e.structure, e.error, e.index) for e in found.trace if e.error < math.inf]
    assert goal.order(found.best) == min(goal.order(c) for c in tried)
    assert found.pareto == pareto_front(found.trace)


@given(points=st.lists(st.tuples(st.integers(1, 12), st.integers(0, 12)), max_size=30))
def test_the_pareto_front_is_what_nothing_beats(points) -> None:
    s = tnet.tensor_ring(SHAPE, 1)
    done = [
        Evaluation(index=k, key="", structure=s, num_params=p, error=e / 8 if e < 12 else math.inf)
        for k, (p, e) in enumerate(points)
    ]
    front = {(c.num_params, c.error) for c in pareto_front(done)}
    finite = {(e.num_params, e.error) for e in done if math.isfinite(e.error)}
    beaten = {
        a for a, b in itertools.product(finite, finite) if a != b and b[0] <= a[0] and b[1] <= a[1]
    }
    assert front == finite - beaten
