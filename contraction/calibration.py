"""Calibrate: time steps as the executor runs them, and fit the rates of the cost model to them.

The steps are random contractions of two tensors, lowered and bound like those of any plan. Since
an estimate is linear in the rates, the fit is a least-squares problem of some thirty unknowns in
the logarithms of predicted over measured seconds, robust against steps that something disturbed,
and held near the shipped rates by a weak prior, so that a rate no step depends on keeps its
proportion to the others.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from contraction import arrays as arrays_
from contraction.calibration_steps import RATES, Trial, draw_trials
from contraction.cost import CostModel, shipped_model
from contraction.errors import DeviceError, InputError
from contraction.execute import Runner, bind
from contraction.machine import (
    Profile,
    QrLibrary,
    Quality,
    TallQr,
    library_version,
    resolved_key,
    store_profile,
)
from contraction.units import parse_seconds

Progress = Callable[[float], None]
Vector = np.ndarray[Any, np.dtype[np.float64]]

ENOUGH = 900  # steps, if the budget lasts
FEWEST = 80  # steps, whatever the budget
HELD_OUT = 4  # every fourth step is kept from the fit that is judged
SPAN = 1e-4  # seconds for which a step is repeated
REPEATS = 5
PRIOR = 0.1  # weight of a deviation of 1 from the logarithm of a shipped rate
DISTURBED = 0.2  # |log(predicted / measured)| from which a step counts less
TALL = ((4096, 64), (16384, 64), (2048, 128))  # shapes for QR and SVD


def calibrate(
    library: str = "numpy",
    *,
    device: str | None = None,
    dtype: str = "float64",
    threads: int | None = None,
    budget: float | str = 20.0,
    progress: Progress | None = None,
    seed: int = 0,
) -> CostModel:
    """Measure this machine, so that plans are chosen by its own rates; return the model.

    The profile is stored in the cache folder for this processor, library, device, dtype and
    number of threads, and `model_for` finds it from then on.

    Parameters
    ----------
    library
        "numpy", "torch" or "cupy".
    device
        "cpu" or "cuda"; by default "cuda" for CuPy and "cpu" for the others.
    dtype
        "float32", "float64", "complex64" or "complex128".
    threads
        Threads of the library while it is measured; by default as many as it uses.
    budget
        Seconds that the measurement may take, a number or text such as "10s", about; some 10
        suffice. SciPy and PyTorch are compared on tall matrices from 5 seconds up.
    progress
        Called with the share of the work that is done, 0 to 1.
    seed
        Of the steps; the same seed draws the same ones.

    Raises
    ------
    DeviceError
        The library is not installed, or there is no such device.
    InputError
        Another dtype, or a budget of less than a second.

    Notes
    -----
    Time is that of this thread where one thread works, so that other processes disturb little,
    and of the clock where several do.

    Examples
    --------
    >>> model = calibrate(budget="10s")  # doctest: +SKIP
    """
    return measure_profile(
        library,
        device=device,
        dtype=dtype,
        threads=threads,
        budget=budget,
        progress=progress,
        seed=seed,
    ).model


def measure_profile(
    library: str = "numpy",
    *,
    device: str | None = None,
    dtype: str = "float64",
    threads: int | None = None,
    budget: float | str = 20.0,
    progress: Progress | None = None,
    seed: int = 0,
) -> Profile:
    """Do what `calibrate` does, and return all that was found, with its quality."""
    limit = parse_seconds(budget)
    end = time.perf_counter() + 0.9 * limit  # the fit comes after it
    if limit < 1.0:
        raise InputError(f"`budget` is at least a second, got {limit:g}.")
    if dtype not in arrays_.DTYPES:
        raise InputError(f"`dtype` is one of {', '.join(arrays_.DTYPES)}; got {dtype!r}.")
    place = device or ("cuda" if library == "cupy" else "cpu")
    shipped = shipped_model(library, device=place, dtype=dtype)
    _check_device(library, place)
    key = resolved_key(library, device=place, dtype=dtype, threads=threads)
    report = progress or (lambda share: None)
    with limited_threads(library, key.threads):
        both = library == "numpy" and limit >= 5.0 and library_version("torch") is not None
        tall_qr = compare_tall_qr(dtype, threads=key.threads) if both else None
        trials, seconds = _measured(shipped, library, place, dtype, key.threads, end, report, seed)
    model, quality = fit(shipped, trials, seconds)
    profile = Profile(key=key, model=model, quality=quality, tall_qr=tall_qr)
    store_profile(profile)
    report(1.0)
    return profile


def _check_device(library: str, device: str) -> None:
    if library_version(library) is None:
        raise DeviceError(f"{library} is not installed; nothing can be measured with it.")
    if device not in ("cpu", "cuda") or (device, library) in (("cpu", "cupy"), ("cuda", "numpy")):
        raise DeviceError(f"{library} has no device {device!r}.")
    if device == "cuda" and not arrays_.gpu_available(library):
        raise DeviceError(f"{library} sees no CUDA device.")


@contextmanager
def limited_threads(library: str, count: int) -> Iterator[None]:
    """Let a library use `count` threads."""
    if library == "torch":
        import torch

        before = torch.get_num_threads()
        torch.set_num_threads(count)
        try:
            yield
        finally:
            torch.set_num_threads(before)
        return
    from threadpoolctl import threadpool_limits

    with threadpool_limits(count):
        yield


def _measured(
    model: CostModel,
    library: str,
    device: str,
    dtype: str,
    threads: int,
    end: float,
    report: Progress,
    seed: int,
) -> tuple[list[Trial], list[float]]:
    start = time.perf_counter()
    timer = Timer(library, device, threads)
    rng = np.random.default_rng(seed)
    trials, seconds = [], []
    for trial in draw_trials(model, seed=seed):
        trials.append(trial)
        arrays = random_arrays(trial, library, device, dtype, rng)
        run = bind(trial.program, library)
        seconds.append(timer.best(partial(_run, run, arrays)))
        now = time.perf_counter()
        report(0.95 * max(len(trials) / ENOUGH, min(1.0, (now - start) / (end - start))))
        if len(trials) >= ENOUGH or (now > end and len(trials) >= FEWEST):
            return trials, seconds
    raise AssertionError("steps are drawn without end")


def _run(run: Runner, arrays: Sequence[Any]) -> Any:
    return run(list(arrays))  # which the runner consumes


def random_arrays(
    trial: Trial, library: str, device: str, dtype: str, rng: np.random.Generator
) -> list[Any]:
    """Return random inputs for a step."""
    sizes, found = trial.canonical.sizes, []
    for labels in trial.canonical.inputs:
        shape = [sizes[x] for x in labels]
        values: Any = rng.standard_normal(shape)
        if np.dtype(dtype).kind == "c":
            values = values + 1j * rng.standard_normal(shape)
        values = values.astype(dtype)
        if library != "numpy":
            values = arrays_.to(values, namespace=library)
            values = arrays_.to(values, device=device) if library == "torch" else values
        found.append(values)
    return found


class Timer:
    """Times calls so that a loaded machine disturbs little: the least of some repeats.

    Parameters
    ----------
    library, device
        What runs; work on a GPU is waited for.
    threads
        With one, the time of this thread counts, else that of the clock.
    """

    def __init__(self, library: str, device: str, threads: int) -> None:
        self._wait: Callable[[], Any] | None = None
        if device == "cuda":
            cuda = sys.modules[library].cuda
            self._wait = cuda.synchronize if library == "torch" else cuda.Device().synchronize
        alone = threads == 1 and self._wait is None
        self._clock = time.thread_time if alone else time.perf_counter

    def once(self, call: Callable[[], Any], count: int) -> float:
        """Return the seconds of each of `count` calls in a row."""
        clock, wait = self._clock, self._wait
        start = clock()
        for _ in range(count):
            call()
        if wait is not None:
            wait()
        return (clock() - start) / count

    def best(self, call: Callable[[], Any], *, repeats: int = REPEATS) -> float:
        """Return the least seconds of a call, which is made once before it is timed."""
        self.once(call, 1)
        count, least = 1, self.once(call, 1)
        while count * least < SPAN / 2:  # a first call tells little of the next
            count = max(2 * count, min(32 * count, int(SPAN / max(least, 1e-8))))
            least = self.once(call, count)
        return min(least, *(self.once(call, count) for _ in range(repeats)))


def fit(
    shipped: CostModel, trials: Sequence[Trial], seconds: Sequence[float]
) -> tuple[CostModel, Quality]:
    """Return the model that predicts measured steps best, and how well it does.

    Parameters
    ----------
    shipped
        The rates to start from, and to keep where nothing was measured.
    trials, seconds
        The steps, and what each took.

    Notes
    -----
    The quality is that of a fit to three quarters of the steps, seen on the last quarter; the
    model returned is fitted to all of them. Minimised is the sum of soft-L1 losses
    2 (sqrt(1 + (r/s)^2) - 1) s^2 of r = log(predicted / measured), s = 0.2, and of the squared
    deviations of the logarithms of the rates from the shipped ones but for a common factor,
    weighted by 0.1.
    """
    counts = np.array([trial.counts for trial in trials])
    fixed = np.array([trial.constant for trial in trials])
    measured = np.array(seconds)
    held_out = np.arange(len(measured)) % HELD_OUT == HELD_OUT - 1
    judged = _rates(shipped, counts[~held_out], fixed[~held_out], measured[~held_out])
    quality = judge(counts[held_out] @ judged + fixed[held_out], measured[held_out])
    rates = _rates(shipped, counts, fixed, measured)
    model = CostModel(**dict(zip(RATES, map(float, rates), strict=True)))
    return model, Quality(**quality, steps=len(measured))


def _rates(shipped: CostModel, counts: Vector, fixed: Vector, measured: Vector) -> Vector:
    from scipy.optimize import least_squares

    prior = np.log([getattr(shipped, name) for name in RATES])

    def residuals(x: Vector) -> Vector:  # the last unknown is the speed of the whole machine
        predicted = counts @ np.exp(x[:-1]) + fixed
        pull = np.append(x[:-1] - prior - x[-1], x[-1]) * PRIOR
        return np.concatenate([np.log(predicted / measured), pull])

    def jacobian(x: Vector) -> Vector:
        rates = np.exp(x[:-1])
        shares = counts * rates / (counts @ rates + fixed)[:, None]
        pull = np.eye(len(x)) * PRIOR
        pull[:-1, -1] = -PRIOR
        return np.block([[shares, np.zeros((len(shares), 1))], [pull]])

    start = np.append(prior, 0.0)
    found = least_squares(
        residuals, start, jac=jacobian, loss="soft_l1", f_scale=DISTURBED, max_nfev=200
    )
    rates: Vector = np.exp(found.x[:-1])
    return rates


def judge(predicted: Vector, measured: Vector) -> dict[str, float]:
    """Return how far estimates are from what was measured, by the names of `Quality`.

    Examples
    --------
    >>> found = judge(np.array([1.0, 2.0, 8.0]), np.array([1.0, 2.0, 4.0]))
    >>> found["median"], found["rank_correlation"]
    (1.0, 1.0)
    """
    from scipy.stats import rankdata

    if not len(measured):
        return {"median": math.nan, "ninth": math.nan, "rank_correlation": math.nan}
    off = np.abs(np.log(predicted / measured))
    ranks = [rankdata(values) for values in (predicted, measured)]
    alike = np.corrcoef(ranks)[0, 1] if len(off) > 1 else 1.0
    return {
        "median": float(np.exp(np.median(off))),
        "ninth": float(np.exp(np.quantile(off, 0.9))),
        "rank_correlation": round(float(alike), 6),
    }


def compare_tall_qr(dtype: str, *, threads: int = 1) -> TallQr:
    """Time the QR and SVD of tall matrices by SciPy and by PyTorch, on NumPy arrays.

    Cost: about a second, and the import of PyTorch.
    """
    import scipy.linalg
    import torch

    timer, rng, logs = Timer("numpy", "cpu", threads), np.random.default_rng(0), []
    with limited_threads("torch", threads):
        for shape in TALL:
            x = rng.standard_normal(shape).astype(dtype)
            calls = (
                partial(scipy.linalg.qr, x, mode="economic", check_finite=False),
                partial(_by_torch, torch.linalg.qr, x),
                partial(scipy.linalg.svd, x, full_matrices=False, check_finite=False),
                partial(_by_torch, partial(torch.linalg.svd, full_matrices=False), x),
            )
            logs.append([math.log(timer.best(call, repeats=2)) for call in calls])
    qr, _, svd, _ = np.exp(np.mean(logs, axis=0) - np.roll(np.mean(logs, axis=0), -1))
    faster = QrLibrary.TORCH if qr > 1.0 else QrLibrary.SCIPY
    return TallQr(library=faster, qr_ratio=float(qr), svd_ratio=float(svd))


def _by_torch(factorise: Callable[[Any], Any], x: Vector) -> Any:
    import torch

    return factorise(torch.from_numpy(x))
