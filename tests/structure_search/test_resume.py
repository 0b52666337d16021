"""Runs cut at any point and gone on with: evaluations, networks and files of uncut ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import tnet
from searches import assert_same, ring_data, story
from structure_search import (
    AbstractMethod,
    CutRank,
    Greedy,
    Proposal,
    RandomSearch,
    RelativeError,
    SmallestFirst,
    Source,
    TnALE,
    TreeSearch,
    read_run,
    resume,
    search,
)
from structure_search.methods.base import Problem, Proposals
from structure_search.methods.registry import METHODS

GOAL = RelativeError(tol=0.01)
METHODS_HERE = {
    "CutRank": CutRank(),
    "Greedy": Greedy(),
    "RandomSearch": RandomSearch(sweeps=5),
    "SmallestFirst": SmallestFirst(keep=2),
    "TnALE": TnALE(max_rank=4, sweeps=5),
    "TreeSearch": TreeSearch(),
}


def begin(folder: Path, method: AbstractMethod, x: np.ndarray, limit: int):
    return search(
        x,
        method=method,
        objective=GOAL,
        max_evaluations=limit,
        rng=np.random.default_rng(3),
        run=folder,
    )


def networks_of(folder: Path) -> list[bool]:
    """Return which evaluations wrote a network."""
    events = read_run(folder).events
    return [e["network"] is not None for e in events if e["kind"] == "evaluation"]


def cut_and_go_on(
    tmp_path: Path, method: AbstractMethod, x: np.ndarray, limit: int, cuts: list[int] | None
) -> None:
    whole = begin(tmp_path / "whole", method, x, limit)
    for cut in cuts or range(1, len(whole.trace) + 1):
        folder = tmp_path / f"cut {cut}"
        begin(folder, method, x, cut)
        found = resume(folder, x, max_evaluations=limit, method=method)
        assert_same(found, whole)
        assert story(read_run(folder).evaluations) == story(whole.trace)
        assert networks_of(folder) == networks_of(tmp_path / "whole")


@pytest.mark.parametrize("name", METHODS_HERE)
def test_a_cut_changes_nothing(tmp_path: Path, name: str) -> None:
    x = ring_data(4) if name != "Greedy" else ring_data(5, order=3)
    cut_and_go_on(tmp_path, METHODS_HERE[name], x, 9, [2, 8])


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(4, 4, 4, 4), (2, 5, 3)])
@pytest.mark.parametrize("name", METHODS)
def test_no_cut_changes_anything(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    kind = METHODS[name]
    method = kind(max_params=60) if name == "CoreShape" else kind()
    ring = tnet.tensor_ring(shape, 2)
    x = tnet.contract(tnet.random_network(ring, rng=np.random.default_rng(1)))
    cut_and_go_on(tmp_path, method, np.asarray(x), 30, None)


@dataclass(frozen=True, kw_only=True)
class Twice(AbstractMethod):
    """Asks for the same thing time and again: cached, widened beyond use, and from new starts."""

    def default_objective(self) -> RelativeError:
        """Return a goal that is not met."""
        return RelativeError(tol=1e-9)

    def propose(self, problem: Problem) -> Proposals:
        """Yield one proposal at a time."""
        modes = dict(problem.modes)
        train = tnet.tensor_train(modes, (4, 2, 4))
        for wide in (4, 16):  # 16 values at the end are 4, so that this is the same request
            yield [Proposal(structure=train.resized({"g0-g1": wide}), sweeps=2, label="train")]
        ring = tnet.tensor_ring(modes, 2)
        for sweeps in (1, 3, 9, 27):  # each start is better than what was found from the last
            options = tnet.ALS(restarts=1, probe=sweeps, polish=0)
            rng = np.random.default_rng(0)
            start = tnet.fit(problem.x, ring, rng=rng, options=options).network
            (answer,) = yield [Proposal(structure=ring, start=start, sweeps=1, label="ring")]
            net = answer.network
            assert net is not None
            error = tnet.relative_error(net, problem.x)
            assert abs(error - answer.error) < 1e-6
            # what is asked for next depends on the network found, not on its error alone
            rank = 1 + int(abs(float(next(iter(net.arrays.values())).ravel()[0])) * 1e6) % 3
            yield [Proposal(structure=ring.resized({"g0-g1": rank}), sweeps=1, label=str(sweeps))]


@pytest.mark.parametrize("cut", range(1, 10))
def test_a_request_asked_twice_may_have_two_networks(tmp_path: Path, cut: int) -> None:
    x = np.random.default_rng(0).standard_normal((4, 4, 4, 4))
    whole = begin(tmp_path / "whole", Twice(), x, 100)
    requests = [e.request for e in whole.trace]
    assert requests[1] == requests[0]
    assert whole.trace[1].source is Source.CACHE
    rings = [e for e in whole.trace if e.label == "ring"]
    assert len({e.request for e in rings}) == 1
    assert len({e.error for e in rings if e.source is Source.FIT}) > 1
    begin(tmp_path / "parts", Twice(), x, cut)
    assert_same(resume(tmp_path / "parts", x, method=Twice(), max_evaluations=100), whole)


def test_what_the_cache_answered_has_its_network_under_another_goal(tmp_path: Path) -> None:
    """Also where the fit that answered it is not asked for again."""

    @dataclass(frozen=True, kw_only=True)
    class Moody(AbstractMethod):
        def default_objective(self) -> RelativeError:
            return RelativeError(tol=1e-9)

        def propose(self, problem: Problem) -> Proposals:
            train = tnet.tensor_train(dict(problem.modes), 2)
            if problem.objective.tol < 1e-6:
                yield [Proposal(structure=train, label="first")]
            (answer,) = yield [Proposal(structure=train, label="second")]
            assert answer.network is not None

    x = ring_data(4)
    rng = np.random.default_rng(0)
    first = search(x, method=Moody(), rng=rng, run=tmp_path)
    assert [e.source for e in first.trace] == [Source.FIT, Source.CACHE]
    goal = RelativeError(tol=1e-3)
    again = resume(tmp_path, x, method=Moody(), objective=goal)
    assert again.counts.replayed == 1
