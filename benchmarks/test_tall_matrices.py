"""QR and SVD of tall NumPy matrices: NumPy, SciPy, PyTorch, and what contraction makes of them.

`extra_info` has the least CPU seconds of each, in turns, and how much faster a profile that
names PyTorch makes us than we are without. The profile is measured here (`compare_tall_qr`) and
kept in the temporary cache folder of the tests. Run with one thread (OMP_NUM_THREADS=1
OPENBLAS_NUM_THREADS=1).
"""

import time
from dataclasses import asdict

import numpy as np
import pytest
import scipy.linalg

from contraction import linalg, machine, torch_lapack
from contraction.arrays import random_normal
from contraction.calibration import compare_tall_qr
from contraction.cost import CPU
from contraction.machine import Profile, Quality
from contraction.triangular import r_factor

torch = pytest.importorskip("torch")
SHAPES = [(4096, 64), (16384, 128), (100_000, 32)]
KINDS = ["float64", "float32", "complex128"]


@pytest.fixture(params=KINDS)
def kind(request, tmp_path, monkeypatch):
    monkeypatch.setenv("TNET_CACHE", str(tmp_path))
    key = machine.resolved_key("numpy", device="cpu", dtype=request.param, threads=None)
    found = compare_tall_qr(request.param, threads=key.threads)
    quality = Quality(median=1.0, ninth=1.0, rank_correlation=1.0, steps=1)
    machine.store_profile(Profile(key=key, model=CPU, quality=quality, tall_qr=found))
    return request.param


def in_turns(calls, rounds=5):
    """Return the least CPU seconds of each call."""
    times = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.process_time()
            call()
            times[name].append(time.process_time() - start)
    return {name: min(found) for name, found in times.items()}


def without(monkeypatch, call):
    """Return a call that PyTorch lends nothing to."""

    def plain():
        with monkeypatch.context() as patch:
            patch.setattr(torch_lapack, "WORTH", float("inf"))
            call()

    return plain


@pytest.mark.parametrize("what", ["qr", "triangle", "svd"])
@pytest.mark.parametrize("shape", SHAPES)
def test_tall(benchmark, monkeypatch, shape, what, kind) -> None:
    x = random_normal(np.random.default_rng(0), shape, dtype=kind)
    lent = torch.from_numpy(x)
    if what == "qr":
        ours = lambda: linalg.qr(x)  # noqa: E731
        numpys = lambda: np.linalg.qr(x)  # noqa: E731
        scipys = lambda: scipy.linalg.qr(x, mode="economic", check_finite=False)  # noqa: E731
        torches = lambda: torch.linalg.qr(lent)  # noqa: E731
    elif what == "triangle":
        ours = lambda: r_factor(x)  # noqa: E731
        numpys = lambda: np.linalg.qr(x, mode="r")  # noqa: E731
        scipys = lambda: scipy.linalg.qr(x, mode="r", check_finite=False)  # noqa: E731
        torches = lambda: torch.linalg.qr(lent, mode="r")  # noqa: E731
    else:
        ours = lambda: linalg.svd(x)  # noqa: E731
        numpys = lambda: np.linalg.svd(x, full_matrices=False)  # noqa: E731
        scipys = lambda: scipy.linalg.svd(x, full_matrices=False, check_finite=False)  # noqa: E731
        torches = lambda: torch.linalg.svd(lent, full_matrices=False)  # noqa: E731
    calls = {
        "ours": ours,
        "without": without(monkeypatch, ours),
        "numpy": numpys,
        "scipy": scipys,
        "torch": torches,
    }
    found = in_turns(calls)
    benchmark.pedantic(ours, rounds=1)
    measured = machine.measured_tall_qr(kind)
    info = {**found, "gain": found["without"] / found["ours"]}
    benchmark.extra_info.update(info, **asdict(measured) | {"library": measured.library.value})
    print(what, shape, kind, {name: round(value, 4) for name, value in info.items()})
    assert found["ours"] <= 1.25 * found["without"]
