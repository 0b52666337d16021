"""Agreement of several growths where entries are missing."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

import tnet
from structure_search import Greedy, MaxParams, RelativeError, search
from structure_search.methods import consensus
from structure_search.methods.base import Answer, Problem
from structure_search.results import Evaluation
from structure_search.tasks.completion import completion

MODES = {"a": 4, "b": 4, "c": 4, "d": 4}
QUICK = Greedy(look_ahead=2, trial_sweeps=2, sweeps=3, fit_sweeps=6)


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray]:
    """A ring with noise of a fifth of its size, and what is known of it."""
    rng = np.random.default_rng(3)
    ring = tnet.tensor_ring(tuple(MODES.values()), 2)
    x = np.asarray(tnet.contract(tnet.random_network(ring, rng=rng)))
    noise = rng.standard_normal(x.shape)
    noise *= 0.2 * np.linalg.norm(x) / np.linalg.norm(noise)
    return x + noise, rng.random(x.shape) < 0.7


def problem_of(x: np.ndarray, known: np.ndarray, **changes: object) -> Problem:
    task = completion(np.where(known, x, np.nan), MODES, held_out=0.1)
    rng = np.random.default_rng(0)
    goal = MaxParams(params=64)
    whole = Problem(task=task, objective=goal, start=None, spectra=task.spectra(), rng=rng)
    return replace(whole, **changes)  # type: ignore[arg-type]


def answer(net: tnet.Network, error: float) -> Answer:
    s = net.structure
    found = Evaluation(index=0, key="", structure=s, num_params=s.num_params, error=error)
    return Answer(evaluation=found, effort=1, load=lambda: net)


def test_parts_hold_out_every_fitted_entry_once_and_nothing_else(data) -> None:
    whole = problem_of(*data)
    train = {tuple(row) for row in whole.task.train.indices}
    out: list[tuple[int, ...]] = []
    for part in consensus.parts(whole, consensus.FOLDS):
        aside = [tuple(row) for row in part.task.test.indices]
        assert {tuple(row) for row in part.task.train.indices} == train - set(aside)
        out += aside
    assert sorted(out) == sorted(train)


def test_a_ridge_that_is_given_is_that_of_the_parts(data) -> None:
    x, known = data
    task = completion(np.where(known, x, np.nan), MODES, held_out=0.1, ridge=0.3)
    (part,) = consensus.parts(problem_of(x, known, task=task), 1)
    assert part.task.ridge == 0.3


def test_the_mean_is_over_those_that_predict_well(data) -> None:
    rng = np.random.default_rng(0)
    train = tnet.tensor_train(MODES, 2)
    nets = [tnet.random_network(train, rng=rng) for _ in range(3)]
    answers = [answer(net, error) for net, error in zip(nets, (0.2, 0.21, 0.5), strict=True)]
    mean = consensus.mean_of(answers, problem_of(*data))
    expected = sum(np.asarray(tnet.contract(net, list(MODES))) for net in nets[:2]) / 2
    np.testing.assert_allclose(mean, expected, atol=1e-14)


def test_a_growth_within_a_growth_reports_what_it_fitted(data) -> None:
    whole = problem_of(*data)
    found, ridge = consensus.run_through(QUICK._alone(whole), whole)
    assert found.network is not None
    assert ridge is not None
    assert found.error == pytest.approx(whole.task.error(found.network), rel=1e-10)
    assert found.evaluation.num_params <= 64


def test_more_growths_never_predict_worse_and_repeat_themselves(data) -> None:
    x, known = data
    run = partial(search, np.where(known, x, np.nan), objective=MaxParams(params=64), held_out=0.1)
    alone = run(method=replace(QUICK, members=0), rng=np.random.default_rng(5))
    more = run(method=replace(QUICK, members=2), rng=np.random.default_rng(5))
    same = run(method=replace(QUICK, members=2), rng=np.random.default_rng(5))
    labels = {evaluation.label for evaluation in more.trace}
    assert {"part 0", "part 1", "agreed"} <= labels
    assert not {"part 0", "agreed"} & {evaluation.label for evaluation in alone.trace}
    assert more.best.error <= alone.best.error
    assert more.best.num_params <= 64
    assert [e.error for e in same.trace] == [e.error for e in more.trace]


def test_more_growths_only_where_they_may_help(data) -> None:
    x, known = data
    assert consensus.may_help(problem_of(x, known))
    assert not consensus.may_help(problem_of(x, known, objective=RelativeError(tol=0.1)))
    assert not consensus.may_help(problem_of(x, known, start=tnet.tensor_train(MODES, 2)))
    assert consensus.may_help(problem_of(x, known, start=tnet.tensor_train(MODES, 1)))
    few = np.arange(x.size).reshape(x.shape) < 90
    assert not consensus.may_help(problem_of(x, few))
    full = completion(np.where(known, x, np.nan), MODES)
    assert not consensus.may_help(problem_of(x, known, task=full))
