"""The evaluator where something is in its way: limits, failures, other names, changed goals."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import tnet
from contraction.errors import InputError
from structure_search import MaxParams, Proposal, RelativeError, Source, resume, search
from structure_search.canonical import canonical_key, charged
from structure_search.evaluating import Evaluator
from structure_search.fitting import Fitted
from structure_search.methods.base import AbstractMethod
from structure_search.neighbours import MOST, NEAR, Neighbours
from structure_search.pending import run_solve
from structure_search.store import NetworkStore
from structure_search.tasks.base import Failed, run_job, timed
from structure_search.tasks.decomposition import Decomposition

RING = tnet.tensor_ring((3, 4, 3, 4), 1)


def ring(*ranks: int) -> tnet.Structure:
    return RING.resized(dict(zip(RING.bonds, ranks, strict=True)))


def planted(ranks=(2, 3, 2, 2)) -> np.ndarray:
    x = np.asarray(tnet.contract(tnet.random_network(ring(*ranks), rng=np.random.default_rng(0))))
    return x / np.linalg.norm(x)


def evaluator(x: np.ndarray, goal, *, memory: int = 2**28, **more) -> Evaluator:
    task = Decomposition(x, {f"x{k}": n for k, n in enumerate(x.shape)})
    store = NetworkStore(like=x, memory=memory)
    spectra = task.spectra()
    return Evaluator(task=task, spectra=spectra, store=store, objective=goal, seed=5, **more)


def answers(of: Evaluator, *batch: Proposal) -> list:
    found = []
    for pending in of.settle(batch):
        done = run_solve(pending) if pending.solve is not None else None
        done = run_job(of.task, pending.job) if pending.job is not None else done
        found.append(of.finish(pending, done))
    return found


def measured(net: tnet.Network, x: np.ndarray) -> float:
    return float(np.linalg.norm(x - tnet.contract(net)) / np.linalg.norm(x))


# ---- failures ---------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [math.nan, math.inf, -1.0])
def test_a_fit_without_an_error_has_failed(error: float) -> None:
    net = tnet.random_network(RING, rng=np.random.default_rng(0))
    found = timed(lambda: Fitted(network=net, error=error, sweeps=1, source=Source.FIT))
    assert isinstance(found, Failed)
    assert str(error) in found.reason


def test_memory_that_runs_out_is_a_failure() -> None:
    def fit():
        raise MemoryError("no room")

    assert timed(fit).reason == "MemoryError: no room"


def test_memory_of_pytorch_that_runs_out_is_a_failure() -> None:
    torch = pytest.importorskip("torch")

    def on_a_device():
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    assert timed(on_a_device).reason == "OutOfMemoryError: CUDA out of memory"
    assert "allocate" in timed(lambda: torch.empty(2**45)).reason
    singular = timed(lambda: torch.linalg.inv(torch.zeros((2, 2))))
    assert isinstance(singular, Failed)


def test_any_other_error_of_a_fit_ends_the_search() -> None:
    def fit():
        raise RuntimeError("a fault")

    with pytest.raises(RuntimeError, match="a fault"):
        timed(fit)


def test_a_method_whose_own_fit_fails_still_gets_an_ordinary_one() -> None:
    of = evaluator(planted(), RelativeError(tol=1e-6))
    bare = tnet.random_network(ring(2, 3, 2, 2), rng=np.random.default_rng(0))
    batch = [
        Proposal(structure=ring(2, 3, 2, 2), solve=lambda: bare, label="own"),
        Proposal(structure=ring(2, 3, 2, 2), restarts=6, label="fit"),
        Proposal(structure=ring(2, 3, 2, 2), label="again"),
    ]
    found = [a.evaluation for a in answers(of, *batch)]
    assert [e.source for e in found] == [Source.FAILED, Source.FIT, Source.CACHE]
    assert "certificate" in found[0].failure
    assert found[1].error == found[2].error <= 1e-6


# ---- what a proposal says ---------------------------------------------------------------------


def test_modes_in_another_order_are_put_in_order() -> None:
    x = planted()
    of = evaluator(x, RelativeError(tol=1e-6))
    turned = ring(2, 3, 2, 2).permuted(("x2", "x1", "x0", "x3"))  # of the same shape
    (found,) = answers(of, Proposal(structure=turned, restarts=6))
    assert found.error <= 1e-6
    assert measured(found.network, x) <= 1e-6
    with pytest.raises(InputError, match="the data have x0, x1, x2, x3"):
        of.settle([Proposal(structure=RING.renamed({"x3": "y"}))])


def test_an_answer_from_the_cache_is_the_structure_of_its_network() -> None:
    x = planted()
    of = evaluator(x, MaxParams(params=1000))
    s = ring(2, 3, 2, 2)
    names = {"g0": "a", "g1": "b"}
    nodes = [(names.get(node, node), legs) for node, legs in s.nodes]
    other = tnet.Structure(nodes, s.sizes, s.modes).renamed({"g0-g1": "elsewhere"})
    (first,) = answers(of, Proposal(structure=s, sweeps=9, label="a"))
    batch = [Proposal(structure=other, sweeps=k, label=str(k)) for k in (5, 30, 20)]
    found = answers(of, *batch)
    assert [a.evaluation.source.name for a in found] == ["CACHE", "FIT", "CACHE"]
    for answer in (first, *found):
        assert answer.network.structure == answer.evaluation.structure
        assert answer.evaluation.num_params == answer.network.num_params
        assert measured(answer.network, x) == pytest.approx(answer.error, rel=1e-6, abs=1e-12)


def test_a_start_with_ranks_that_cannot_be_used_is_cut_without_loss() -> None:
    wide = ring(9, 40, 9, 9)
    assert charged(wide) != wide
    net = tnet.random_network(wide, rng=np.random.default_rng(3))
    x = np.asarray(tnet.contract(net))
    of = evaluator(x, MaxParams(params=10**6))
    (pending,) = of.settle([Proposal(structure=wide, start=net, sweeps=1)])
    assert pending.job.start.structure == charged(wide)
    assert measured(pending.job.start, x) <= 1e-10


def test_an_inherited_network_is_kept_however_little_memory_there_is() -> None:
    x = planted()
    of = evaluator(x, RelativeError(tol=1e-6), memory=1)  # the latest network alone
    answers(of, Proposal(structure=ring(2, 3, 2, 2), restarts=6))
    batch = [
        Proposal(structure=ring(1, 2, 2, 2), sweeps=3),  # which puts the first out of memory
        Proposal(structure=ring(3, 3, 2, 2), sweeps=3),
    ]
    _, wide = answers(of, *batch)
    assert wide.evaluation.source is Source.INHERITED
    assert measured(wide.network, x) == pytest.approx(wide.error, abs=1e-9)


# ---- operations -------------------------------------------------------------------------------


def test_starts_are_left_out_before_a_fit_is_refused() -> None:
    x = np.random.default_rng(0).standard_normal((4,) * 5)
    s = tnet.fully_connected((4,) * 5, 3)
    one = tnet.planned_flops(s) * 20
    asked = Proposal(structure=s, sweeps=20, restarts=6)
    for allowed, restarts in [(0.9, None), (1.0, 1), (2.5, 2), (6.0, 6), (9.0, 6)]:
        of = evaluator(x, MaxParams(params=10**6), max_fit_flops=allowed * one)
        (pending,) = of.settle([asked])
        assert (None if pending.job is None else pending.job.restarts) == restarts
        if restarts is None:
            why = pending.blank.failure
            assert "lower ranks (the widest node has 81 bond values)" in why
            assert "max_fit_flops" in why
            assert "fewer sweeps" in why


def test_a_dense_graph_of_eight_nodes_is_fitted_once() -> None:
    ranks = [1, 2, 2, 2, 3, 2, 2]
    s = tnet.fully_connected((4,) * 8, 1)
    s = s.resized({bond: ranks[k % 7] for k, bond in enumerate(s.bonds)})
    of = evaluator(np.ones((4,) * 8), MaxParams(params=10**6))
    (pending,) = of.settle([Proposal(structure=s, sweeps=40, restarts=6)])
    most = 1e12 // (40 * tnet.planned_flops(s))
    assert 1 <= most < 6
    assert pending.job.restarts == most


# ---- neighbours -------------------------------------------------------------------------------

rank_lists = st.lists(
    st.tuples(st.tuples(*[st.integers(1, 4)] * 4), st.floats(0.0, 1.0)), min_size=1, max_size=12
)


@given(fitted=rank_lists, asked=st.tuples(*[st.integers(1, 4)] * 4), error=st.floats(0.0, 1.0))
def test_neighbours_are_what_their_definition_says(fitted, asked, error) -> None:
    known = Neighbours()
    by_key: dict[str, tuple] = {}
    for k, (ranks, e) in enumerate(fitted):
        known.add(ring(*ranks), e, k)
        by_key[canonical_key(ring(*ranks))] = (e, k, ranks)
    inside = sorted(
        (e, k)
        for e, k, r in by_key.values()
        if e <= error and all(a <= b for a, b in zip(r, asked, strict=True))
    )
    assert [(n.error, n.held) for n in known.contained(ring(*asked), error)] == inside

    def far(r) -> float:
        return sum(abs(math.log2(a / b)) for a, b in zip(r, asked, strict=True))

    least = min(round(far(r), 9) for _, _, r in by_key.values())
    found = known.nearest(ring(*asked))
    if least > NEAR:
        assert found is None
    else:
        near = [(e, k) for e, k, r in by_key.values() if round(far(r), 9) == least]
        assert (found.error, found.held) == min(near)
    assert Neighbours().nearest(ring(*asked)) is None


def test_only_the_latest_neighbours_are_kept() -> None:
    known = Neighbours()
    for k in range(MOST + 5):
        known.add(tnet.tensor_train((1000, 1000), k + 1), 0.1, k)
    inside = known.contained(tnet.tensor_train((1000, 1000), 1000), 1.0)
    assert [n.held for n in inside] == list(range(5, MOST + 5))


# ---- a goal that changes ----------------------------------------------------------------------


class Ask(AbstractMethod):
    """Asks for some rings."""

    def __init__(self, *ranks, **how) -> None:
        self.ranks, self.how = ranks, how

    def default_objective(self) -> None:
        return None

    def propose(self, problem):
        for k, ranks in enumerate(self.ranks):
            yield [Proposal(structure=ring(*ranks), label=str(k), **self.how)]


@pytest.fixture
def recorded(monkeypatch):
    from structure_search import running

    monkeypatch.setattr(running, "method_to_dict", lambda m: {"name": "Ask", "options": {}})


def story(result) -> list[tuple]:
    return [(e.index, e.request, e.error, e.source) for e in result.trace]


@pytest.mark.usefixtures("recorded")
def test_a_tighter_goal_goes_on_with_the_fits_that_had_come_near_enough(tmp_path) -> None:
    x = planted()
    method = Ask((2, 3, 2, 2), (3, 3, 2, 2), (1, 1, 1, 1), sweeps=60, restarts=6)
    rng = np.random.default_rng(0)
    loose = search(
        x, method=method, objective=RelativeError(tol=0.5), rng=rng, run=tmp_path / "run"
    )
    sources = [e.source for e in loose.trace]
    assert sources == [Source.FIT, Source.INHERITED, Source.FIT]
    assert 1e-6 < loose.best.error <= 0.5
    goal = RelativeError(tol=1e-6)
    tight = resume(tmp_path / "run", x, method=method, objective=goal)
    assert tight.best.error <= 1e-6
    assert measured(tight.network, x) <= 1e-6
    assert story(tight)[:3] == story(loose)
    assert [e.source for e in tight.trace[3:]] == [Source.FIT, Source.INHERITED]
    assert tight.counts.replayed == 1  # the rank-one network, which had missed
    again = resume(tmp_path / "run", x, method=method, objective=goal)
    assert story(again) == story(tight)
    assert again.counts.replayed == 3
    wide = resume(tmp_path / "run", x, method=method, objective=RelativeError(tol=0.5))
    assert story(wide) == story(tight)


@pytest.mark.usefixtures("recorded")
def test_what_a_bound_ruled_out_is_fitted_once_its_error_would_do(tmp_path) -> None:
    x = planted()
    goal = RelativeError(tol=0.1)
    rng = np.random.default_rng(0)
    method = Ask((2, 3, 2, 2), (1, 1, 1, 1), restarts=6, useful=0.1)
    before = search(x, method=method, objective=goal, rng=rng, run=tmp_path / "run")
    assert before.trace[1].source is Source.BOUND
    useful = Ask((2, 3, 2, 2), (1, 1, 1, 1), restarts=6, useful=0.999)
    after = resume(tmp_path / "run", x, method=useful, objective=goal)
    assert [e.source for e in after.trace[1:]] == [Source.BOUND, Source.FIT]
    assert after.counts.pruned == 0
    assert story(resume(tmp_path / "run", x, method=useful)) == story(after)
