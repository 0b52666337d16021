"""Step control by itself: output times are hit, lengths settle, halved steps keep the grid."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tnet
from contraction.truncation import Truncation
from integrators.control import Attempt, Clock, ConstantStep, PIStep
from integrators.control_conserve import KeepMoments, in_bases
from integrators.control_ranks import RankRejection, Scaling, Setting, Trial, scaled, try_step
from integrators.evolving import is_saved, next_target
from integrators.steppers.base import AbstractStepper, Estimates, Step
from integrators.tree_state import TreeState

STATE = TreeState.from_network(
    tnet.random_network(tnet.balanced_tree((3, 3, 3, 3), 2), rng=np.random.default_rng(0))
)
FINE = Attempt(Trial(STATE), 0.0, 0.0)


def clock(h: float, t0: float = 0.0) -> Clock:
    return Clock(time=t0, anchor=t0, since=0, proposal=h)


gaps = st.lists(st.floats(1e-3, 10.0), min_size=1, max_size=4)


@given(gaps=gaps, dt=st.floats(1e-2, 5.0), t0=st.floats(-100.0, 100.0))
def test_equal_steps_hit_every_time_and_are_as_few_as_can_be(gaps, dt, t0) -> None:
    now, rule = clock(dt, t0), ConstantStep()
    for target in (t0 + np.cumsum(gaps)).tolist():
        start, lengths = now.time, []
        while now.time < target:
            h = rule.length(now, target)
            assert 0.0 < h <= dt * (1 + 1e-8)
            lengths.append(h)
            now = rule.after(now, h, FINE, target)
        assert now.time == target
        assert len(set(lengths)) == 1
        assert len(lengths) == max(1, math.ceil((target - start) / dt - 1e-9))


@given(
    dt=st.floats(0.05, 1.0), halved=st.sets(st.integers(0, 12), max_size=4), deep=st.integers(1, 5)
)
def test_halved_steps_come_back_to_the_grid(dt, halved, deep) -> None:
    rule, target = ConstantStep(), 3.0
    now, grid = clock(dt), []
    count = max(1, math.ceil(target / dt - 1e-9))
    while now.time < target:
        h = rule.length(now, target)
        whole = not now.fine
        if whole and now.since in halved:
            h /= 2**deep
        now = rule.after(now, h, FINE, target)
        if not now.fine:
            grid.append(now.time)
        assert len(grid) <= count
    assert np.allclose(grid, np.arange(1, count + 1) * (target / count), rtol=1e-12)
    assert grid[-1] == target


@given(
    gaps=gaps,
    first=st.floats(1e-3, 3.0),
    power=st.sampled_from([1, 2, 3]),
    scale=st.floats(1e-3, 1e3),
)
def test_pi_steps_settle_where_the_error_is_what_is_allowed(gaps, first, power, scale) -> None:
    """The error of a step is scale * h^(power + 1); the stepper says it has order one."""
    rule, now = PIStep(tol=0.1), clock(first)
    best = (0.1 / scale) ** (1.0 / power)
    rejected = steps = 0
    for target in np.cumsum(gaps).tolist():
        if target / best > 2000:
            return
        while now.time < target:
            h, tries = rule.length(now, target), 0
            while True:
                error = scale * h ** (power + 1)
                attempt = Attempt(Trial(STATE), error, error / (0.1 * h))
                if attempt.ratio <= now.allowed:
                    break
                h, tries = rule.shorter(now, h, attempt), tries + 1
                assert tries < 60
            now = rule.after(now, h, attempt, target)
            rejected, steps = rejected + tries, steps + 1
        assert now.time == target
    assert rejected <= 12 + steps / 3 + 10 * math.log10(1 + first / best)


def test_pi_steps_remember_their_length_across_output_times() -> None:
    rule = PIStep(tol=1.0)
    now = clock(0.5)._replace(ratio=0.8)
    now = rule.after(now, 0.1, Attempt(Trial(STATE), 0.001, 0.01), 0.1)
    assert (now.time, now.proposal) == (0.1, 0.5)


def test_tolerances_are_scaled() -> None:
    rule = Truncation(tol=1e-3, max_rank=7, min_rank=2)
    assert scaled(rule, 0.1, Scaling.PER_TIME) == Truncation(tol=1e-4, max_rank=7, min_rank=2)
    assert scaled(rule, 0.1, Scaling.PER_STEP) == rule
    assert scaled(Truncation(tol=0.3), 10.0, Scaling.PER_TIME).tol < 1.0


def test_next_times() -> None:
    times = (0.1, 0.2, 0.4)
    assert [next_target(t, times, 0.5) for t in (0.0, 0.1, 0.3, 0.4)] == [0.1, 0.2, 0.4, 0.5]
    assert next_target(0.3, None, 0.5) == 0.5
    moments = [type("Moment", (), {"time": t}) for t in (0.1, 0.15, 0.4, 0.5)]
    assert [is_saved(m, times, 0.5, 1) for m in moments] == [True, False, True, False]


class Widening(AbstractStepper):
    """Says how much its bases miss: less at every call; keeps the state as it is."""

    def step(self, field, t, h, state):
        calls.append(h)
        return Step(state, Estimates(corner=10.0 ** -len(calls)), widened=state)


calls: list = []


@pytest.mark.parametrize(
    ("tries", "wanted", "limited"), [(1, 2, True), (2, 3, True), (5, 4, False)]
)
def test_steps_are_repeated_until_nothing_is_missed(tries, wanted, limited) -> None:
    calls.clear()
    rule = RankRejection(tries=tries, factor=1.0, on_saturation=False)
    setting = Setting(None, Scaling.PER_TIME, rule, lambda before, after: after)
    unit = STATE.with_cores({0: STATE.cores[0] / STATE.norm})
    stepper = Widening(truncation=Truncation(tol=2e-4))
    trial = try_step(setting, stepper, 0.0, 0.5, unit)
    assert len(calls) == wanted
    assert trial.counts.augmented == wanted - 1
    assert trial.limited is limited
    assert trial.state is not None


@given(seed=st.integers(0, 10**6), complex_=st.booleans())
def test_moments_are_restored_exactly(seed, complex_) -> None:
    rng = np.random.default_rng(seed)
    kind = "complex128" if complex_ else "float64"
    tree = tnet.balanced_tree((3, 4, 2, 3), 3)
    before, after, *moments = (
        tnet.random_network(tree.resized(dict.fromkeys(tree.bonds, r)), rng=rng, dtype=kind)
        for r in (3, 2, 1, 2)
    )
    states = [TreeState.from_network(net) for net in (before, after)]
    kept = KeepMoments(moments=moments).restored(*states)
    assert kept.ranks == states[1].ranks
    for w in moments:
        assert np.isclose(tnet.inner(w, kept.to_network()), tnet.inner(w, before), rtol=1e-9)
    for node in range(1, len(kept.cores)):
        assert kept.cores[node] is states[1].cores[node]
    w = TreeState.from_network(moments[0], states[1].frame)
    product = np.vdot(in_bases(w, states[1]), states[1].cores[0])
    assert np.isclose(product, tnet.inner(moments[0], after), rtol=1e-9)
