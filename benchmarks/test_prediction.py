"""Predicted beside measured seconds of random steps: calibrated, shipped, and by flops alone.

Steps are contractions of two tensors with random groups of labels, sizes and axis orders, one to
1e8 multiply-adds, lowered and run as in any plan, on one thread. Measured is the least thread
time of some repeats, so that a loaded machine disturbs little. A model of flops alone gets the
call and the rate that fit these very steps best, which is more than it could know.
"""

import itertools
import time
from functools import partial

import numpy as np
import pytest
from scipy.optimize import least_squares

from contraction.calibration import (
    Timer,
    judge,
    limited_threads,
    measure_profile,
    random_arrays,
)
from contraction.calibration_steps import RATES, draw_trials
from contraction.cost import CPU, model_for, shipped_model
from contraction.execute import bind

STEPS = 400
CASES = [
    ("numpy", "float64"),
    ("numpy", "float32"),
    ("numpy", "complex128"),
    ("torch", "float64"),
]


def run_once(run, arrays):
    return run(list(arrays))


def measured_steps(model, library, dtype):
    rng, timer = np.random.default_rng(0), Timer(library, "cpu", 1)
    trials, seconds = [], []
    with limited_threads(library, 1):
        for trial in itertools.islice(draw_trials(model, seed=77, jitter=0.0), STEPS):
            arrays = random_arrays(trial, library, "cpu", dtype, rng)
            seconds.append(timer.best(partial(run_once, bind(trial.program, library), arrays)))
            trials.append(trial)
    return trials, np.array(seconds)


def by_flops(trials, seconds):
    """Seconds by the best call and the best rate for these steps."""
    work = np.array([trial.program.flops for trial in trials])
    found = least_squares(
        lambda x: np.log((np.exp(x[0]) + work * np.exp(x[1])) / seconds),
        np.log([1e-6, 2e-11]),
        loss="soft_l1",
        f_scale=0.2,
    )
    call, rate = np.exp(found.x)
    return call + rate * work


@pytest.mark.parametrize(("library", "dtype"), CASES)
def test_prediction(benchmark, tmp_path, monkeypatch, library, dtype) -> None:
    monkeypatch.setenv("TNET_CACHE", str(tmp_path))
    if library == "torch":
        pytest.importorskip("torch")
    start = time.perf_counter()
    profile = measure_profile(library, dtype=dtype, threads=1, budget=20)
    spent = time.perf_counter() - start
    trials, seconds = measured_steps(profile.model, library, dtype)
    counts = np.array([trial.counts for trial in trials])

    def judged(model):
        return judge(counts @ np.array([getattr(model, name) for name in RATES]), seconds)

    found = {
        "calibrated": judged(profile.model),
        "shipped": judged(shipped_model(library, dtype=dtype)),
        "flops alone": judge(by_flops(trials, seconds), seconds),
    }
    benchmark.pedantic(profile.model.matmul, (3, 40, 50, 60), rounds=5, iterations=10_000)
    benchmark.extra_info |= {
        f"{name} {what}": round(value, 3)
        for name, result in found.items()
        for what, value in result.items()
    } | {"seconds to calibrate": round(spent, 1), "steps": len(trials)}
    assert spent <= 25.0
    assert found["calibrated"]["median"] <= 1.5
    assert found["calibrated"]["median"] < found["flops alone"]["median"]
    assert found["calibrated"]["rank_correlation"] > found["flops alone"]["rank_correlation"]
    if library == "numpy":
        assert found["calibrated"]["rank_correlation"] >= 0.95


CALLS = {
    "matmul": lambda: CPU.matmul(3, 40, 50, 60),
    "matrix and vector": lambda: CPU.matmul(3, 40, 1, 60),
    "syrk": lambda: CPU.syrk(3, 40, 60),
    "copy": lambda: CPU.copy(300_000, 1, 64, 512),
    "multiply": lambda: CPU.multiply(3000, 40, across=True),
    "multiply and sum": lambda: CPU.multiply_sum(3000, 40, along=False, across=True),
    "model_for": model_for,
}


@pytest.mark.parametrize("name", CALLS)
def test_an_estimate_is_cheap(benchmark, name) -> None:
    benchmark.pedantic(CALLS[name], rounds=20, iterations=5000, warmup_rounds=1)
    if benchmark.stats:
        assert benchmark.stats.stats.min < (2e-5 if name == "model_for" else 6e-6)
