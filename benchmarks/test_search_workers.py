"""Evaluations per second with one worker and with two, and what journal and driver cost.

On a machine where nothing else runs, in about a minute:

    OPENBLAS_NUM_THREADS=1 pytest benchmarks/test_search_workers.py --benchmark-only \
        -o addopts="--import-mode=importlib" -s

`speedup` is evaluations per second of wall time, two processes beside one, in turns, after the
processes have begun. `parent_cpu_ms_per_evaluation` is what the parent does meanwhile: processor
time, of which a loaded machine says the truth, too. With two workers it takes its share of the
same processors, so that on two of them the speedup is at most
``2 * fit_ms / (fit_ms + parent_cpu_ms_per_evaluation)``.
"""

from __future__ import annotations

import itertools
import statistics
import time
from dataclasses import dataclass

import numpy as np
import pytest

import tnet
from contraction import Processes, Serial
from contraction.blas_threads import threads_for
from structure_search import (
    AbstractMethod,
    Greedy,
    Proposal,
    RandomSearch,
    RelativeError,
    TnALE,
    search,
)
from structure_search.tasks.base import FitJob, run_job
from structure_search.tasks.decomposition import Decomposition

BATCH, MEASURED, BEGIN, TURNS = 60, 2, 4, 3


@dataclass(frozen=True, kw_only=True)
class Rings(AbstractMethod):
    """Rings of full sweeps in batches; the first batch lets processes begin."""

    rounds: int = MEASURED
    width: int = BATCH
    sweeps: int = 60

    def default_objective(self) -> RelativeError:
        return RelativeError(tol=1e-12)

    def propose(self, problem):
        modes = dict(problem.modes)
        for k in range(self.rounds + 1):
            yield [
                Proposal(
                    structure=tnet.tensor_ring(modes, problem.rng.integers(3, 6, 4).tolist()),
                    sweeps=self.sweeps,
                    restarts=1,
                    label=f"{k}.{i}",
                )
                for i in range(self.width if k else BEGIN)
            ]


def data() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((26, 26, 26, 26))


def rate(workers) -> tuple[float, float, list[float]]:
    """Return evaluations per second, processor time of this process for each, seconds of fits."""
    marks: list[tuple[float, float]] = []

    def progress(evaluation, best) -> None:
        marks.append((time.perf_counter(), time.process_time()))

    found = search(
        data(), method=Rings(), rng=np.random.default_rng(1), workers=workers, progress=progress
    )
    (wall0, cpu0), (wall1, cpu1) = marks[BEGIN - 1], marks[-1]
    fits = [e.seconds for e in found.trace[BEGIN:]]
    return len(fits) / (wall1 - wall0), 1e3 * (cpu1 - cpu0) / len(fits), fits


def test_two_workers(benchmark) -> None:
    crews = {"serial": Serial(), "one": Processes(workers=1), "two": Processes(workers=2)}
    rates: dict[str, list[float]] = {name: [] for name in crews}
    parents, fits = [], []
    for _ in range(TURNS):
        for name, workers in crews.items():
            speed, parent, seconds = rate(workers)
            rates[name].append(speed)
            if name == "one":
                fits += seconds
            if name == "two":
                parents.append(parent)
    median = {name: statistics.median(found) for name, found in rates.items()}
    figures = {
        "fit_ms": 1e3 * statistics.median(fits),
        "parent_cpu_ms_per_evaluation": statistics.median(parents),
        "speedup": median["two"] / median["one"],
        "speedup_over_serial": median["two"] / median["serial"],
    }
    benchmark.extra_info |= {**figures, "evaluations_per_second": median}
    for name, found in rates.items():
        print(
            f"\n{name:6s} {median[name]:7.1f} evaluations/s  {[round(x, 1) for x in found]}", end=""
        )
    print("\n" + ", ".join(f"{name} {value:.2f}" for name, value in figures.items()))
    benchmark.pedantic(lambda: rate(crews["two"]), rounds=1)


@pytest.mark.parametrize(
    "method",
    [RandomSearch(samples=32, max_rank=4), TnALE(max_rank=4), Greedy(look_ahead=6)],
    ids=["random", "tnale", "greedy"],
)
def test_methods_with_two_workers(benchmark, method) -> None:
    """What people run: their batches are small, and TnALE and Greedy wait for the last of each."""
    ring = tnet.tensor_ring((10, 10, 10, 10, 10), (3, 2, 3, 2, 3))
    x = np.asarray(tnet.contract(tnet.random_network(ring, rng=np.random.default_rng(0))))
    x += 1e-2 * np.linalg.norm(x) * np.random.default_rng(1).standard_normal(x.shape) / x.size**0.5

    def seconds(workers) -> float:
        marks: list[float] = []
        search(
            x,
            method=method,
            objective=RelativeError(tol=1e-3),
            max_evaluations=32,
            rng=np.random.default_rng(1),
            workers=workers,
            progress=lambda evaluation, best: marks.append(time.perf_counter()),
        )
        return (marks[-1] - marks[BEGIN]) / (len(marks) - 1 - BEGIN)

    pairs = [(seconds(Processes(workers=1)), seconds(Processes(workers=2))) for _ in range(2)]
    one, two = (statistics.median(found) for found in zip(*pairs, strict=True))
    benchmark.extra_info |= {"speedup": one / two, "ms_per_evaluation": 1e3 * two}
    print(
        f"\n{type(method).__name__}: {1e3 * one:.1f} -> {1e3 * two:.1f} ms, {one / two:.2f} times"
    )
    benchmark.pedantic(lambda: seconds(Processes(workers=2)), rounds=1)


@dataclass(frozen=True, kw_only=True)
class OneSweep(AbstractMethod):
    """One sweep from the same network, time and again: the shortest fits there are."""

    count: int = 300

    def default_objective(self) -> RelativeError:
        return RelativeError(tol=1e-12)

    def propose(self, problem):
        net = begin(dict(problem.modes))
        for k in range(self.count):
            yield [Proposal(structure=net.structure, start=net, sweeps=1, before=k, label=str(k))]


def begin(modes: dict[str, int]) -> tnet.Network:
    return tnet.random_network(tnet.tensor_ring(modes, 2), rng=np.random.default_rng(0))


def test_cost_of_journal_and_driver(benchmark, tmp_path) -> None:
    """Processor time of an evaluation with a run folder, less that of the fit alone."""
    x = np.random.default_rng(0).standard_normal((4, 4, 4, 4))
    task = Decomposition(x, {f"x{k}": 4 for k in range(4)})
    net = begin(dict(task.modes))
    job = FitJob(
        structure=net.structure, start=net, sweeps=1, restarts=0, enough=1e-12, stream=(0, 0)
    )
    folders = itertools.count()

    def searched() -> float:
        begun = time.process_time()
        rng, run = np.random.default_rng(0), tmp_path / str(next(folders))
        found = search(x, method=OneSweep(), rng=rng, run=run)
        return 1e3 * (time.process_time() - begun) / len(found.trace)

    def fitted() -> float:
        begun = time.process_time()
        for _ in range(300):
            run_job(task, job)
        return 1e3 * (time.process_time() - begun) / 300

    searched(), fitted()
    with threads_for(0.0):
        pairs = [(searched(), fitted()) for _ in range(7)]
    costs = [with_driver - alone for with_driver, alone in pairs]
    benchmark.extra_info["ms_per_evaluation"] = {
        "median": statistics.median(costs),
        "fit_alone": statistics.median(alone for _, alone in pairs),
    }
    benchmark.pedantic(searched, rounds=1)
