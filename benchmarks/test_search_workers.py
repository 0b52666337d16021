"""Evaluations per second with one worker and with two, and what journal and driver cost.

On a machine where nothing else runs:

    OPENBLAS_NUM_THREADS=1 pytest benchmarks/test_search_workers.py --benchmark-only \
        -o addopts="--import-mode=importlib"

`speedup` is evaluations per second of wall time, two processes beside one, after the processes
have begun. `parent_cpu_ms_per_evaluation` is what the parent does meanwhile, of which a loaded
machine says the truth, too: with two workers it must stay below half of `fit_ms`.
"""

from __future__ import annotations

import itertools
import statistics
import time
from dataclasses import dataclass

import numpy as np

import tnet
from contraction import Processes, Serial
from contraction.blas_threads import threads_for
from structure_search import AbstractMethod, Proposal, RelativeError, search
from structure_search.tasks.base import FitJob, run_job
from structure_search.tasks.decomposition import Decomposition

BATCH, MEASURED = 60, 3


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
                for i in range(self.width if k else 4)
            ]


def data() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((26, 26, 26, 26))


def rate(workers) -> tuple[float, float, list[float]]:
    """Return evaluations per second, wall and processor time of this process, and of the fits."""
    marks: list[tuple[float, float]] = []

    def progress(evaluation, best) -> None:
        marks.append((time.perf_counter(), time.process_time()))

    found = search(
        data(), method=Rings(), rng=np.random.default_rng(1), workers=workers, progress=progress
    )
    (wall0, cpu0), (wall1, cpu1) = marks[3], marks[-1]
    fits = [e.seconds for e in found.trace[4:]]
    return len(fits) / (wall1 - wall0), (cpu1 - cpu0) / len(fits), fits


def test_two_workers(benchmark) -> None:
    ones, twos, parents, fits = [], [], [], []
    for _ in range(3):
        one, _, seconds = rate(Processes(workers=1))
        two, cpu, _ = rate(Processes(workers=2))
        ones.append(one)
        twos.append(two)
        parents.append(cpu)
        fits += seconds
    speedup = statistics.median(twos) / statistics.median(ones)
    serial, _, _ = rate(Serial())
    benchmark.extra_info |= {
        "fit_ms": 1e3 * statistics.median(fits),
        "evaluations_per_second": {
            "serial": serial,
            "one": statistics.median(ones),
            "two": statistics.median(twos),
        },
        "speedup": speedup,
        "speedup_over_serial": statistics.median(twos) / serial,
        "parent_cpu_ms_per_evaluation": 1e3 * statistics.median(parents),
    }
    benchmark.pedantic(lambda: rate(Processes(workers=2)), rounds=1)


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
