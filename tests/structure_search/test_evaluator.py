"""The evaluator: what answers a proposal, and that no short cut makes an error worse."""

import math
from collections.abc import Sequence

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import tnet
from contraction.errors import InputError
from structure_search import (
    AbstractMethod,
    MaxParams,
    Proposal,
    RelativeError,
    Source,
    WeightedError,
    resume,
    search,
)
from structure_search.canonical import charged
from structure_search.evaluating import Evaluator
from structure_search.methods.base import Warmth
from structure_search.methods.halving import halved
from structure_search.pending import run_solve
from structure_search.store import NetworkStore
from structure_search.tasks.base import ceiling_flops, run_job
from structure_search.tasks.completion import completion
from structure_search.tasks.decomposition import Decomposition

RING = tnet.tensor_ring((3, 4, 3, 4), 1)
BONDS = RING.bonds
EXACT = RelativeError(tol=1e-6)


def planted(seed: int = 0, ranks: Sequence[int] = (2, 3, 2, 2), noise: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = np.asarray(tnet.contract(tnet.random_network(ring(*ranks), rng=rng)))
    x = x / np.linalg.norm(x)
    return x + noise * rng.standard_normal(x.shape) / np.sqrt(x.size)


def ring(*ranks: int) -> tnet.Structure:
    return RING.resized(dict(zip(BONDS, ranks, strict=True)))


def evaluator(x: np.ndarray, goal=EXACT, **more) -> Evaluator:
    task = Decomposition(x, {f"x{k}": n for k, n in enumerate(x.shape)})
    return Evaluator(
        task=task,
        spectra=task.spectra(),
        store=NetworkStore(like=x),
        objective=goal,
        seed=5,
        **more,
    )


def answers(of: Evaluator, *batch: Proposal) -> list:
    found = []
    for pending in of.settle(batch):
        done = run_solve(pending) if pending.solve is not None else None
        done = run_job(of.task, pending.job) if pending.job is not None else done
        found.append(of.finish(pending, done))
    return found


def measured(answer, x: np.ndarray) -> float:
    return float(np.linalg.norm(x - tnet.contract(answer.network)) / np.linalg.norm(x))


# ---- what may never get worse -----------------------------------------------------------------

asks = st.lists(
    st.tuples(st.tuples(*[st.integers(1, 3)] * 4), st.sampled_from([2, 5, 9]), st.integers(0, 2)),
    min_size=2,
    max_size=9,
)


@settings(max_examples=25)
@given(asked=asks, goal=st.sampled_from([RelativeError(tol=0.2), MaxParams(params=50)]))
def test_the_cache_never_makes_an_error_worse(asked, goal) -> None:
    x = planted(1, noise=0.1)
    of = evaluator(x, goal)
    least: dict[str, float] = {}
    for k, (ranks, sweeps, restarts) in enumerate(asked):
        (answer,) = answers(
            of, Proposal(structure=ring(*ranks), sweeps=sweeps, restarts=restarts, label=str(k))
        )
        e = answer.evaluation
        assert e.error <= least.get(e.key, math.inf)
        least[e.key] = e.error
        assert measured(answer, x) == pytest.approx(e.error, rel=1e-6, abs=1e-9)
        assert answer.network.structure == e.structure
    counts = of.counts
    assert counts.requested == len(asked) == counts.fitted + counts.cached + counts.inherited


@settings(max_examples=15)
@given(ranks=st.tuples(*[st.integers(1, 3)] * 4), seed=st.integers(0, 3))
def test_an_answer_is_never_worse_than_the_start(ranks, seed) -> None:
    x = planted(2, noise=0.05)
    of = evaluator(x, MaxParams(params=1000))
    s = ring(*ranks)
    (cold,) = answers(of, Proposal(structure=s, sweeps=30, restarts=1, label="cold"))
    better = run_job(of.task, of.settle([Proposal(structure=s, sweeps=60, label="b")])[0].job)
    start = tnet.random_network(cold.evaluation.structure, rng=np.random.default_rng(seed))
    for net in (start, better.network):
        (warm,) = answers(of, Proposal(structure=s, start=net, sweeps=1, label="warm"))
        assert warm.error <= of.task.error(net) * (1 + 1e-9)
        assert warm.error <= cold.error


@settings(max_examples=25)
@given(ranks=st.tuples(*[st.integers(1, 3)] * 4), seed=st.integers(0, 5))
def test_a_bound_never_exceeds_what_a_fit_finds(ranks, seed) -> None:
    x = planted(seed, noise=0.1)
    of = evaluator(x)
    bound = of.spectra.bound(ring(*ranks))
    (answer,) = answers(of, Proposal(structure=ring(*ranks), sweeps=30, restarts=2, useful=2.0))
    assert bound <= answer.error * (1 + 1e-9) + 1e-12
    assert answer.evaluation.bound == bound


@settings(max_examples=12)
@given(tried=st.lists(st.tuples(*[st.integers(1, 3)] * 4), min_size=2, max_size=6))
def test_pruning_by_the_useful_error_loses_no_winner(tried) -> None:
    x, goal = planted(3), WeightedError(weight=2.0)
    plain, pruned = evaluator(x, goal), evaluator(x, goal)
    best: dict[str, object] = {"plain": None, "pruned": None}
    for k, ranks in enumerate(tried):
        for name, of in (("plain", plain), ("pruned", pruned)):
            than = best[name]
            s = ring(*ranks)
            useful = goal.useful_error(s, than) if name == "pruned" else math.inf
            (answer,) = answers(
                of,
                Proposal(structure=s, sweeps=15, useful=useful, label=str(k), warmth=Warmth.NONE),
            )
            found = None if math.isinf(answer.error) else _candidate(answer)
            if found is not None and (than is None or goal.order(found) < goal.order(than)):
                best[name] = found
    assert goal.order(best["plain"])[0] == goal.order(best["pruned"])[0]


def _candidate(answer):
    from structure_search.results import as_candidate

    return as_candidate(answer.evaluation)


# ---- what answers what -----------------------------------------------------------------------


def test_a_structure_inherits_the_error_of_one_within_it() -> None:
    x = planted()
    of = evaluator(x)
    (exact,) = answers(of, Proposal(structure=ring(2, 3, 2, 2), restarts=6))
    assert exact.error <= 1e-6
    wider = ring(3, 3, 2, 3)
    (answer,) = answers(of, Proposal(structure=wider))
    assert answer.evaluation.source is Source.INHERITED
    assert answer.error == exact.error
    assert answer.network.structure == answer.evaluation.structure
    assert measured(answer, x) == pytest.approx(exact.error, rel=1e-3, abs=1e-9)
    extra = wider.with_bond("g0", "g2", 2)
    (more,) = answers(of, Proposal(structure=extra))
    assert more.evaluation.source is Source.INHERITED
    assert measured(more, x) <= 2e-6
    (narrow,) = answers(of, Proposal(structure=ring(2, 2, 2, 3)))
    assert narrow.evaluation.source is Source.FIT
    other = ring(3, 3, 2, 3).renamed({"g0-g1": "elsewhere"})
    (elsewhere,) = answers(of, Proposal(structure=other, sweeps=3))
    assert elsewhere.evaluation.source is Source.CACHE  # names play no part in the key
    counts = of.counts
    assert (counts.inherited, counts.fitted, counts.cached) == (2, 2, 1)


def test_an_error_above_what_is_enough_is_not_inherited() -> None:
    of = evaluator(planted(noise=0.1), MaxParams(params=500))
    answers(of, Proposal(structure=ring(2, 2, 2, 2), sweeps=5))
    (wider,) = answers(of, Proposal(structure=ring(2, 3, 2, 2), sweeps=5))
    assert wider.evaluation.source is Source.FIT


def test_a_warm_start_ends_no_worse_than_what_it_contains() -> None:
    x = planted(4, noise=0.2)
    of = evaluator(x, MaxParams(params=500))
    (small,) = answers(of, Proposal(structure=ring(2, 2, 2, 2), sweeps=40, restarts=4))
    (wide,) = answers(of, Proposal(structure=ring(2, 3, 2, 2), sweeps=1))
    assert wide.error <= small.error
    (pending,) = of.settle([Proposal(structure=ring(2, 2, 2, 3), sweeps=1)])
    assert of.task.error(pending.job.start) == pytest.approx(small.error, rel=1e-6)
    assert pending.job.restarts == 1
    cold = Proposal(structure=ring(2, 2, 2, 3), sweeps=1, warmth=Warmth.NONE)
    assert of.settle([cold])[0].job.start is None
    tree = Proposal(structure=tnet.tensor_train((3, 4, 3, 4), 2), sweeps=1)
    assert of.settle([tree])[0].job.start is None


def test_a_batch_is_decided_by_the_state_before_it() -> None:
    x = planted(noise=0.1)
    goal = MaxParams(params=500)
    batch = [
        Proposal(structure=ring(2, 2, 2, 2), sweeps=6, label="a"),
        Proposal(structure=ring(2, 2, 2, 3), sweeps=6, label="b"),
        Proposal(structure=ring(2, 2, 2, 2), sweeps=4, label="c"),
        Proposal(structure=ring(2, 2, 2, 2), sweeps=9, label="d"),
    ]
    of = evaluator(x, goal)
    work = of.settle(batch)
    assert [pending.job is not None for pending in work] == [True, True, False, True]
    assert work[1].job.start is None  # nothing was fitted before the batch
    done = {id(p): run_job(of.task, p.job) for p in reversed(work) if p.job is not None}
    backwards = [of.finish(p, done.get(id(p))).evaluation for p in work]
    forwards = [a.evaluation for a in answers(evaluator(x, goal), *batch)]
    for one, two in zip(backwards, forwards, strict=True):
        assert (one.index, one.key, one.error, one.source) == (
            two.index,
            two.key,
            two.error,
            two.source,
        )
    assert [e.source for e in forwards][2] is Source.CACHE
    assert forwards[2].error == forwards[0].error
    assert forwards[3].error <= forwards[0].error  # more work for a structure keeps the best


def test_a_failure_answers_its_equals_in_the_batch() -> None:
    of = evaluator(planted())

    def fails():
        raise InputError("no luck")

    batch = [Proposal(structure=ring(2, 2, 2, 2), solve=fails, label=k) for k in "ab"]
    found = answers(of, *batch)
    assert [a.evaluation.source for a in found] == [Source.FAILED] * 2
    assert "no luck" in found[1].evaluation.failure
    assert of.counts.failed == 2


def test_a_fit_that_would_take_too_long_is_refused() -> None:
    x = planted()
    of = evaluator(x, max_fit_flops=1.0)
    (no,) = answers(of, Proposal(structure=ring(2, 2, 2, 2)))
    assert no.evaluation.source is Source.REFUSED
    assert "max_fit_flops" in no.evaluation.failure
    assert no.network is None
    assert math.isinf(no.error)
    (tree,) = answers(of, Proposal(structure=tnet.tensor_train((3, 4, 3, 4), 2)))
    assert math.isfinite(tree.error)
    assert (of.counts.refused, of.counts.fitted) == (1, 1)
    big = evaluator(np.zeros((4,) * 8) + 1.0)
    (dense,) = answers(big, Proposal(structure=tnet.fully_connected((4,) * 8, 4)))
    assert dense.evaluation.source is Source.REFUSED
    with pytest.raises(InputError, match="max_fit_flops"):
        search(
            x,
            method=Script(()),
            objective=RelativeError(tol=0.1),
            rng=np.random.default_rng(0),
            max_fit_flops=-1.0,
        )


@st.composite
def graphs_with_modes(draw):
    count = draw(st.integers(2, 6))
    modes = draw(st.lists(st.integers(1, 5), min_size=count, max_size=count))
    ranks = st.sampled_from([1, 1, 2, 3, 6])
    s = tnet.fully_connected(modes, 1)
    if draw(st.booleans()):
        s = tnet.tucker(modes, draw(st.lists(st.integers(1, 6), min_size=count, max_size=count)))
    return charged(s.resized({bond: draw(ranks) for bond in s.bonds}))


@given(s=graphs_with_modes())
def test_the_ceiling_is_above_what_is_planned(s) -> None:
    x = np.ones(s.shape)
    task = Decomposition(x, dict(zip(s.modes, s.shape, strict=True)))
    assert task.planned_flops(s) <= ceiling_flops(s)
    assert tnet.planned_flops(s) <= ceiling_flops(s)
    assert completion(x, task.modes).planned_flops(s) <= ceiling_flops(s)


# ---- whole searches --------------------------------------------------------------------------


class Script(AbstractMethod):
    """Asks for the given batches of rank vectors."""

    def __init__(self, batches, **how) -> None:
        self.batches, self.how = batches, how

    def default_objective(self) -> None:
        return None

    def propose(self, problem):
        for number, batch in enumerate(self.batches):
            yield [
                Proposal(structure=ring(*ranks), label=f"{number}.{k}", **self.how)
                for k, ranks in enumerate(batch)
            ]


def test_inherited_and_warm_answers_survive_a_resume(tmp_path, monkeypatch) -> None:
    from structure_search import running

    x = planted()
    batches = [
        [(2, 3, 2, 2)],
        [(3, 3, 2, 2), (1, 3, 2, 2)],
        [(2, 3, 2, 2), (2, 2, 2, 2)],
        [(2, 2, 3, 2), (2, 3, 3, 3)],
    ]
    method = Script(batches, sweeps=12, restarts=4)
    monkeypatch.setattr(running, "method_to_dict", lambda m: {"name": "Script", "options": {}})
    goal = RelativeError(tol=1e-6)

    def go(where, limit):
        rng = np.random.default_rng(0)
        return search(
            x, method=method, objective=goal, rng=rng, run=tmp_path / where, max_evaluations=limit
        )

    def story(result):
        return [(e.request, e.key, e.error, e.source, e.sweeps) for e in result.trace]

    whole = go("whole", 7)
    assert {Source.INHERITED, Source.CACHE, Source.FIT} <= {e.source for e in whole.trace}
    for stop in range(1, 7):
        go(f"part{stop}", stop)
        parts = resume(tmp_path / f"part{stop}", x, method=method, max_evaluations=7)
        assert story(parts) == story(whole)
        assert parts.counts.requested == 7
        for node, array in whole.network.arrays.items():
            np.testing.assert_array_equal(parts.network[node], array)


class Halving(AbstractMethod):
    """A race of all rank vectors up to three."""

    def __init__(self, share: float) -> None:
        self.share = share

    def default_objective(self) -> None:
        return None

    def propose(self, problem):
        batch = [
            Proposal(structure=ring(a, b, 2, 2), sweeps=20, restarts=2, label=f"{a}{b}")
            for a in (1, 2, 3)
            for b in (1, 2, 3)
        ]
        self.answers = yield from halved(batch, problem.objective, first=4, share=self.share)


def test_halving_spends_the_sweeps_on_the_better_ones() -> None:
    x = planted(6, (2, 3, 2, 2), noise=0.01)
    goal = WeightedError(weight=5.0)

    def go(share):
        method = Halving(share)
        found = search(x, method=method, objective=goal, rng=np.random.default_rng(0))
        return method.answers, found

    answered, found = go(1 / 3)
    counts = found.counts
    begun = counts.requested - counts.continued
    assert begun == 9 == len(answered)
    assert counts.continued == 3 + 1
    first = {e.label: e for e in found.trace[:9]}
    for answer in answered:
        assert answer.error <= first[answer.evaluation.label].error
    order = sorted(first.values(), key=lambda e: goal.order(_of(e)))
    assert {e.label for e in found.trace[9:12]} == {e.label for e in order[:3]}
    everything, full = go(1.0)
    assert full.counts.requested - full.counts.continued == 9
    assert sum(e.sweeps for e in found.trace) < sum(e.sweeps for e in full.trace)
    assert goal.order(found.best)[0] <= 1.1 * goal.order(full.best)[0]
    assert [a.evaluation.label for a in everything] == [a.evaluation.label for a in answered]


def _of(evaluation):
    from structure_search.results import as_candidate

    return as_candidate(evaluation)


def test_halving_refuses_nonsense() -> None:
    with pytest.raises(InputError, match="share"):
        next(halved([], MaxParams(params=3), share=0.0))
    with pytest.raises(StopIteration) as end:
        next(halved([], MaxParams(params=3)))
    assert end.value.value == []
