"""Calibration: the steps are contractions, the fit finds what is there, the profile is kept."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

import contraction
from contraction import calibrate
from contraction.calibration import (
    FEWEST,
    Timer,
    compare_tall_qr,
    fit,
    judge,
    limited_threads,
    measure_profile,
    random_arrays,
)
from contraction.calibration_steps import RATES, draw_trials
from contraction.cost import CPU, MODELS, forget_models, model_for, shipped_model
from contraction.errors import BackendError, DeviceError, InputError
from contraction.execute import bind
from contraction.lowering import Kernel
from contraction.machine import stored_profile
from strategies import NAMESPACES

LITTLE = 3e4  # multiply-adds


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TNET_CACHE", str(tmp_path))
    yield tmp_path
    forget_models()


def einsum(canonical, arrays):
    words = [x for pair in zip(arrays, map(list, canonical.inputs), strict=True) for x in pair]
    return np.einsum(*words, list(canonical.output))


@pytest.mark.parametrize("library", NAMESPACES)
@pytest.mark.parametrize("dtype", ["float64", "complex64"])
def test_steps_are_contractions_of_every_kind(library, dtype) -> None:
    rng, kernels = np.random.default_rng(0), set()
    for trial in itertools.islice(draw_trials(MODELS[library], seed=3, most_work=LITTLE), 120):
        arrays = random_arrays(trial, library, "cpu", dtype, rng)
        want = einsum(trial.canonical, [np.asarray(x) for x in arrays])
        found = np.asarray(bind(trial.program, library)(list(arrays)))
        assert found.dtype == dtype
        np.testing.assert_allclose(found, want, rtol=1e-3, atol=1e-3 * np.abs(want).max())
        kernels |= {step.kernel for step in trial.program.steps}
        seconds = np.dot(trial.counts, [getattr(MODELS[library], x) for x in RATES])
        assert seconds > 0.0
        assert trial.constant == 0.0  # every part of an estimate is a rate that can be fitted
    assert kernels >= {Kernel.MATMUL, Kernel.MULTIPLY, Kernel.REDUCE}


def test_estimates_of_the_planner_are_the_counts_times_the_rates() -> None:
    for trial in itertools.islice(draw_trials(CPU, seed=4, most_work=LITTLE, jitter=0.0), 60):
        seconds = sum(step.seconds for step in trial.program.steps)
        counted = np.dot(trial.counts, [getattr(CPU, x) for x in RATES])
        assert counted == pytest.approx(float(seconds), rel=1e-9)


def test_the_fit_finds_the_rates_behind_the_times() -> None:
    hidden = replace(CPU, gemm=CPU.gemm * 3, call=CPU.call / 2, copy_entry=CPU.copy_entry * 4)
    trials = list(itertools.islice(draw_trials(CPU, seed=5), 300))
    rates = np.array([getattr(hidden, x) for x in RATES])
    rng = np.random.default_rng(0)
    seconds = np.array([np.dot(t.counts, rates) for t in trials])
    seconds *= np.exp(rng.normal(0.0, 0.02, len(seconds)))
    seconds[::15] *= 8.0  # steps that something disturbed
    model, quality = fit(CPU, trials, list(seconds))
    assert quality.steps == 300
    assert quality.median < 1.05
    assert quality.rank_correlation > 0.9
    fresh = list(itertools.islice(draw_trials(CPU, seed=6), 100))
    counts = np.array([t.counts for t in fresh])
    found = judge(counts @ np.array([getattr(model, x) for x in RATES]), counts @ rates)
    assert found["median"] < 1.05
    assert found["ninth"] < 1.25
    before = judge(counts @ np.array([getattr(CPU, x) for x in RATES]), counts @ rates)
    assert found["median"] < before["median"]


def test_a_rate_that_no_step_needs_follows_the_machine() -> None:
    """A machine four times as slow is so in the kernels that were not timed, too."""
    trials = list(itertools.islice(draw_trials(CPU, seed=7), 200))
    rates = np.array([getattr(CPU, x) for x in RATES])
    seconds = [4.0 * float(np.dot(t.counts, rates)) for t in trials]
    unused = [
        x for x, n in zip(RATES, np.sum([t.counts for t in trials], axis=0), strict=True) if not n
    ]
    assert "gram" in unused
    model, _ = fit(CPU, trials, seconds)
    for name in unused:
        assert 3.5 < getattr(model, name) / getattr(CPU, name) < 4.5


def test_judge_by_hand() -> None:
    found = judge(np.array([2.0, 1.0, 8.0, 4.0]), np.array([1.0, 1.0, 4.0, 8.0]))
    assert found["median"] == pytest.approx(2.0)
    assert found["rank_correlation"] == pytest.approx(3.5 / 22.5**0.5, abs=1e-6)


def test_the_timer_takes_the_least() -> None:
    calls = []
    timer = Timer("numpy", "cpu", 1)
    seconds = timer.best(lambda: calls.append(1) or sum(range(100)), repeats=2)
    assert 0.0 < seconds < 1.0
    assert len(calls) > 4


def test_calibrate_stores_what_it_returns(folder) -> None:
    shares = []
    model = calibrate("numpy", dtype="complex64", threads=1, budget=1, progress=shares.append)
    assert model == model_for("numpy", dtype="complex64", threads=1)
    assert model != shipped_model("numpy", dtype="complex64")
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    (path,) = (folder / "profiles").iterdir()
    assert path.name.startswith("numpy-cpu-complex64-1-")


def test_a_profile_says_how_good_it_is(folder) -> None:
    profile = measure_profile("numpy", threads=1, budget=1)
    assert profile.quality.steps >= FEWEST
    assert 1.0 <= profile.quality.median <= profile.quality.ninth
    assert profile.tall_qr is None  # too short for it
    assert stored_profile(profile.key)[0] == profile


def test_torch_is_measured_with_the_threads_asked_for(folder) -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    profile = measure_profile("torch", threads=1, budget=1)
    assert (profile.key.library, profile.key.threads) == ("torch", 1)
    assert torch.get_num_threads() == before
    assert model_for("torch", threads=1) == profile.model


def test_tall_matrices_are_compared(monkeypatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr("contraction.calibration.TALL", ((256, 8), (128, 16)))
    found = compare_tall_qr("float32")
    assert found.qr_ratio > 0.0
    assert found.svd_ratio > 0.0
    assert (found.library.value == "torch") == (found.qr_ratio > 1.0)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: calibrate("jax"), BackendError, "'jax'"),
        (lambda: calibrate("numpy", device="cuda"), DeviceError, "no device 'cuda'"),
        (lambda: calibrate("numpy", device="tpu"), DeviceError, "tpu"),
        (lambda: calibrate(dtype="int32"), InputError, "int32"),
        (lambda: calibrate(budget=0.5), InputError, "a second"),
        (lambda: calibrate(budget="soon"), InputError, "budget"),
        (lambda: calibrate(budget="-3s"), InputError, "budget"),
    ],
)
def test_what_cannot_be_measured(folder, call, error, words) -> None:
    with pytest.raises(error, match=words):
        call()
    assert not list(folder.iterdir())


def test_cupy_without_a_gpu_is_a_clear_error(folder) -> None:
    if contraction.arrays.gpu_available("cupy"):
        pytest.skip("there is a GPU")
    with pytest.raises(DeviceError, match="cupy"):
        calibrate("cupy")


@pytest.mark.slow
@pytest.mark.parametrize("library", NAMESPACES)
def test_predictions_after_calibration(folder, library) -> None:
    """On 250 fresh steps: half within a factor 1.5, and ranked as they were measured."""
    model = calibrate(library, threads=1, budget=20)
    rng, timer, rows = np.random.default_rng(0), Timer(library, "cpu", 1), []
    with limited_threads(library, 1):
        for trial in itertools.islice(draw_trials(model, seed=77, jitter=0.0), 250):
            arrays = random_arrays(trial, library, "cpu", "float64", rng)
            run = bind(trial.program, library)
            seconds = timer.best(lambda run=run, arrays=arrays: run(list(arrays)))
            rows.append((sum(map(float, (s.seconds for s in trial.program.steps))), seconds))
    predicted, measured = np.array(rows).T
    found = judge(predicted, measured)
    assert found["median"] <= 1.5
    assert found["rank_correlation"] >= (0.95 if library == "numpy" else 0.94)
