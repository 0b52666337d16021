"""Completion and losses: what is fitted, what the error is over, and what is refused."""

import dataclasses
import pickle

import numpy as np
import pytest

import tnet
from contraction.errors import CheckpointError, InputError, NonFiniteError, ShapeError
from structure_search import (
    CoreShape,
    ErrorOf,
    Greedy,
    Loss,
    MaxParams,
    RandomSearch,
    RelativeError,
    SmallestFirst,
    read_run,
    resume,
    search,
)
from structure_search.tasks.base import Failed, FitJob, run_job
from structure_search.tasks.decomposition import Decomposition
from structure_search.tasks.loss import LossTask
from structure_search.tasks.reading import read_task
from tnet.als.entries import Entries

RANDOM = RandomSearch(samples=6, max_rank=3, sweeps=15)


def planted(seed: int = 0, shape=(6, 5, 4), rank: int = 2) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.asarray(tnet.contract(tnet.random_network(tnet.tensor_train(shape, rank), rng=rng)))


def with_holes(x: np.ndarray, share: float = 0.3, seed: int = 1) -> np.ndarray:
    holes = np.random.default_rng(seed).random(x.shape) < share
    return np.where(holes, np.nan, x)


def task_of(x, **more):
    given = {"modes": None, "start": None, "mask": None, "held_out": None, "ridge": None, "seed": 7}
    return read_task(x, **(given | more))


def run(x, method=RANDOM, seed: int = 3, **more):
    goal = more.pop("objective", MaxParams(params=60))
    return search(x, method=method, objective=goal, rng=np.random.default_rng(seed), **more)


def story(result) -> list[tuple]:
    return [(e.key, e.error, e.source, e.request) for e in result.trace]


def entries_of(x: np.ndarray) -> Entries:
    index = np.argwhere(~np.isnan(x))
    return Entries(index, x[tuple(index.T)], x.shape)


# ---- completion ------------------------------------------------------------------------------


def test_nan_a_mask_and_entries_say_the_same() -> None:
    x = with_holes(planted())
    by_mask = np.where(np.isnan(x), 1e300, x)
    stories = [
        story(run(x, ridge=0.01)),
        story(run(by_mask, mask=~np.isnan(x), ridge=0.01)),
        story(run(entries_of(x), ridge=0.01)),
    ]
    assert stories[0] == stories[1] == stories[2]


def test_the_error_is_over_what_it_says_it_is() -> None:
    x = with_holes(planted())
    seen = ~np.isnan(x)
    over_all = run(x, ridge=0.01)
    assert over_all.error_of is ErrorOf.OBSERVED
    dense = tnet.contract(over_all.network)
    measured = np.linalg.norm((x - dense)[seen]) / np.linalg.norm(x[seen])
    assert over_all.best.error == pytest.approx(measured, rel=1e-9)

    aside = seen & (np.random.default_rng(5).random(x.shape) < 0.2)
    held = run(x, held_out=aside, ridge=0.01)
    assert held.error_of is ErrorOf.HELD_OUT
    dense = tnet.contract(held.network)
    measured = np.linalg.norm((x - dense)[aside]) / np.linalg.norm(x[aside])
    assert held.best.error == pytest.approx(measured, rel=1e-9)
    assert held.network.error == held.best.error
    assert run(planted()).error_of is ErrorOf.ALL


def test_entries_held_out_play_no_part_in_the_fit() -> None:
    x = with_holes(planted())
    aside = ~np.isnan(x) & (np.random.default_rng(5).random(x.shape) < 0.2)
    other = np.where(aside, 1e6, x)
    job = FitJob(
        structure=tnet.tensor_train((6, 5, 4), 2), sweeps=9, restarts=1, enough=0.0, stream=(1, 2)
    )
    nets = [run_job(task_of(y, held_out=aside, ridge=0.1), job).network for y in (x, other)]
    np.testing.assert_array_equal(tnet.contract(nets[0]), tnet.contract(nets[1]))


def test_a_fraction_is_drawn_from_the_seed() -> None:
    x = with_holes(planted())
    observed = int((~np.isnan(x)).sum())
    one, two, other = (task_of(x, held_out=0.25, seed=seed) for seed in (7, 7, 8))
    assert one.test.count == round(0.25 * observed)
    assert one.train.count + one.test.count == observed
    together = np.concatenate([one.train.indices, one.test.indices])
    assert len(np.unique(together, axis=0)) == observed
    np.testing.assert_array_equal(one.test.indices, two.test.indices)
    assert one.fingerprint() == two.fingerprint() != other.fingerprint()
    assert one.fingerprint() != task_of(x, seed=7).fingerprint()


@pytest.mark.parametrize("method", [Greedy(), RANDOM])
def test_missing_entries_of_a_planted_network_are_found(method) -> None:
    truth = planted(2, (7, 6, 5))
    x = with_holes(truth, 0.4)
    goal = RelativeError(tol=1e-2)
    found = run(x, method=method, objective=goal, held_out=0.15, ridge=1e-6, max_evaluations=40)
    dense = tnet.contract(found.network)
    if isinstance(method, Greedy):
        assert found.best.error <= 1e-2
        assert np.linalg.norm(dense - truth) / np.linalg.norm(truth) < 3e-2
    assert np.isfinite(dense).all()


def test_a_warm_start_never_predicts_worse() -> None:
    x = with_holes(planted())
    task = task_of(x, held_out=0.2, ridge=0.0)
    s = tnet.tensor_train((6, 5, 4), 4)  # more parameters than the data can fix
    rng = np.random.default_rng(0)
    for stream in range(4):
        start = tnet.random_network(s, rng=rng)
        job = FitJob(
            structure=s, start=start, sweeps=12, restarts=0, enough=0.0, stream=(3, stream)
        )
        found = run_job(task, job)
        assert found.error <= task.error(start) * (1 + 1e-12)
        again = dataclasses.replace(job, start=found.network)
        assert run_job(task, again).error <= found.error


def test_the_residual_is_zero_where_nothing_is_known() -> None:
    x = with_holes(planted())
    task = task_of(x, held_out=0.2)
    net = tnet.random_network(tnet.tensor_train((6, 5, 4), 2), rng=np.random.default_rng(0))
    residual = task.residual(net)
    fitted = np.asarray(task.observed) == 1.0
    assert fitted.sum() == task.train.count
    np.testing.assert_allclose(residual[fitted], (x - tnet.contract(net))[fitted], atol=1e-12)
    assert not residual[~fitted].any()
    np.testing.assert_array_equal(task.x[fitted], x[fitted])
    assert not task.x[~fitted].any()
    whole = task_of(planted())
    np.testing.assert_allclose(whole.residual(net), planted() - tnet.contract(net))


def test_a_completion_is_resumed(tmp_path) -> None:
    x = with_holes(planted())
    whole = run(x, held_out=0.2, ridge=0.01, run=tmp_path / "whole")
    run(x, held_out=0.2, ridge=0.01, run=tmp_path / "parts", max_evaluations=2)
    parts = resume(tmp_path / "parts", x, max_evaluations=100)
    assert story(parts) == story(whole)
    about = read_run(tmp_path / "parts").config["input"]["task"]
    assert (about["name"], about["held_out"], about["error_of"]) == ("completion", 0.2, "held_out")
    with pytest.raises(CheckpointError, match="not those"):
        resume(tmp_path / "parts", with_holes(planted(), seed=9))
    aside = ~np.isnan(x) & (np.random.default_rng(5).random(x.shape) < 0.2)
    run(x, held_out=aside, ridge=0.01, run=tmp_path / "given", max_evaluations=2)
    with pytest.raises(InputError, match="held_out"):
        resume(tmp_path / "given", x)
    assert len(resume(tmp_path / "given", x, held_out=aside, max_evaluations=4).trace) == 4


@pytest.mark.parametrize("method", [CoreShape(max_params=60), SmallestFirst()])
def test_methods_that_need_every_entry_say_so(method, tmp_path) -> None:
    x = planted()
    x[1, 2, 3] = np.nan
    goal = RelativeError(tol=0.1)
    with pytest.raises(NonFiniteError, match=r"\(1, 2, 3\).*Greedy"):
        run(x, method=method, objective=goal, run=tmp_path / "run")
    with pytest.raises(InputError, match="a loss has none"):
        run(Loss(function=square_sum, shape=(3, 4)), method=method, objective=goal)
    assert not (tmp_path / "run").exists()


def test_bad_masks_are_refused() -> None:
    x = planted()
    with pytest.raises(ShapeError, match="mask"):
        run(x, mask=np.ones((6, 5), dtype=bool))
    with pytest.raises(InputError, match="no observed entry"):
        run(np.full((3, 4), np.nan))
    with pytest.raises(NonFiniteError):
        run(np.where(np.arange(4) == 2, np.inf, with_holes(x)))
    for fraction in (0.0, 1.0, -0.1, 3):
        with pytest.raises(InputError, match="fraction"):
            run(x, held_out=fraction)
    with pytest.raises(InputError, match="`Entries` take no `mask`"):
        run(entries_of(x), mask=np.ones(x.shape, dtype=bool))


# ---- a loss ----------------------------------------------------------------------------------


def least_squares(x: np.ndarray):
    torch = pytest.importorskip("torch")
    target = torch.as_tensor(x)
    scale = float((target**2).sum())
    return Loss(function=lambda w: (w - target).square().sum() / scale, shape=x.shape)


def test_a_loss_finds_the_planted_network() -> None:
    x = planted(3)
    loss = least_squares(x)
    s = tnet.tensor_train((6, 5, 4), 2)
    task = LossTask(loss, dict(zip(s.modes, s.shape, strict=True)))
    job = FitJob(structure=s, sweeps=20, restarts=2, enough=1e-8, stream=(0, 1))
    found = run_job(task, job)
    assert found.error <= 1e-8
    host = found.network.to(namespace="numpy")
    off = np.linalg.norm(tnet.contract(host) - x) / np.linalg.norm(x)
    assert off**2 == pytest.approx(found.error, rel=1e-6, abs=1e-14)
    assert task.error(found.network) == pytest.approx(found.error)
    again = run_job(task, job)
    for node, array in found.network.arrays.items():
        np.testing.assert_array_equal(array.numpy(), again.network[node].numpy())


def test_the_residual_of_a_loss_is_minus_its_gradient() -> None:
    x = planted(3)
    loss = least_squares(x)
    s = tnet.tensor_train((6, 5, 4), 1)
    task = LossTask(loss, dict(zip(s.modes, s.shape, strict=True)))
    net = tnet.random_network(s, rng=np.random.default_rng(0), like=task.like)
    expected = 2.0 * (x - tnet.contract(net).numpy()) / np.sum(x**2)
    np.testing.assert_allclose(task.residual(net).numpy(), expected, atol=1e-12)
    assert not task.x.numpy().any()
    assert task.spectra().bound(s) == 0.0


def test_a_fit_to_a_loss_never_ends_worse_than_its_start() -> None:
    torch = pytest.importorskip("torch")
    loss = Loss(function=lambda w: torch.log1p(w.square().sum() * 1e6), shape=(4, 4, 4))
    s = tnet.tensor_train((4, 4, 4), 2)
    task = LossTask(loss, {"x0": 4, "x1": 4, "x2": 4})
    start = tnet.random_network(s, rng=np.random.default_rng(0), like=task.like)
    start = start * 1e-9
    kept = {n: a.clone() for n, a in start.arrays.items()}
    job = FitJob(structure=s, start=start, sweeps=5, restarts=0, enough=0.0, stream=(0, 1))
    assert run_job(task, job).error <= task.error(start)
    for node, array in start.arrays.items():
        np.testing.assert_array_equal(array.numpy(), kept[node].numpy())


@pytest.mark.parametrize("method", [Greedy(inner_nodes=False), RandomSearch(samples=4, sweeps=8)])
def test_searches_for_a_loss(method) -> None:
    x = planted(4, (4, 4, 4))
    loss = least_squares(x)
    goal = RelativeError(tol=1e-3)
    one, two = (run(loss, method=method, objective=goal, max_evaluations=25) for _ in "ab")
    assert story(one) == story(two)
    assert one.error_of is ErrorOf.LOSS
    assert one.network.namespace == "torch"
    if isinstance(method, Greedy):
        assert one.best.error <= 1e-3
        assert one.best.num_params < x.size


def test_a_weight_is_the_first_start_of_a_loss() -> None:
    x = planted(5)
    plain = least_squares(x)
    warm = dataclasses.replace(plain, weight=x)
    modes = {"x0": 6, "x1": 5, "x2": 4}
    s = tnet.tensor_train((6, 5, 4), 2)
    job = FitJob(structure=s, sweeps=0, restarts=0, enough=0.0, stream=(0, 1))
    assert run_job(LossTask(warm, modes), job).error < 1e-12
    assert run_job(LossTask(plain, modes), job).error > 1e-3


def test_bad_losses_are_refused(tmp_path) -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(InputError, match="search without `run`"):
        run(least_squares(planted()), run=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ShapeError, match="at least one entry"):
        Loss(function=torch.sum, shape=())
    with pytest.raises(ShapeError, match="weight"):
        Loss(function=torch.sum, shape=(3, 3), weight=np.ones((3, 4)))
    with pytest.raises(InputError, match="a loss has no entries"):
        run(least_squares(planted()), mask=np.ones((6, 5, 4), dtype=bool))
    job = FitJob(
        structure=tnet.tensor_train((3, 3), 1), sweeps=2, restarts=1, enough=0.0, stream=(0, 1)
    )
    for function, why in [
        (lambda w: w, "real torch scalar"),
        (lambda w: -(w.square().sum()), ">= 0"),
        (lambda w: w.square().sum() / 0.0, "NaN or infinite at every start"),
    ]:
        failed = run_job(LossTask(Loss(function=function, shape=(3, 3)), {"x0": 3, "x1": 3}), job)
        assert isinstance(failed, Failed)
        assert why in failed.reason


# ---- all -------------------------------------------------------------------------------------


def square_sum(w):
    return w.square().sum()


@pytest.mark.parametrize("kind", ["decomposition", "completion", "loss"])
def test_a_job_gives_the_same_result_after_a_round_trip_through_pickle(kind: str) -> None:
    x = planted()
    task = {
        "decomposition": lambda: task_of(x),
        "completion": lambda: task_of(with_holes(x), held_out=0.2),
        "loss": lambda: task_of(Loss(function=square_sum, shape=(6, 5, 4))),
    }[kind]()
    if kind == "loss":
        pytest.importorskip("torch")
    ring = tnet.tensor_ring((6, 5, 4), 2)
    job = FitJob(structure=ring, sweeps=5, restarts=2, enough=0.0, stream=(2**63 - 1, 2**64 - 1))
    run_job(task, job)  # what is prepared for fits must not travel
    other_task, other_job = pickle.loads(pickle.dumps((task, job)))
    if kind == "decomposition":
        assert len(pickle.dumps(task)) < 2 * x.nbytes
    one, two = run_job(task, job), run_job(other_task, other_job)
    assert one.error == two.error
    for node, array in one.network.arrays.items():
        np.testing.assert_array_equal(np.asarray(array), np.asarray(two.network[node]))


def test_a_job_that_fails_says_why() -> None:
    wrong = FitJob(
        structure=tnet.tensor_train((6, 5, 9), 2), sweeps=5, restarts=1, enough=0.0, stream=(0, 0)
    )
    failed = run_job(task_of(planted()), wrong)
    assert isinstance(failed, Failed)
    assert "9" in failed.reason
    assert isinstance(task_of(planted()), Decomposition)
