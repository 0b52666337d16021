"""The evaluator: collinear data, time of a fit, answers without a fit, and successive halving.

pytest benchmarks/test_evaluator.py --benchmark-only -o addopts="--import-mode=importlib"

CPU time of the process on one thread, so that a busy machine does not decide.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import tnet
from planted import triangle
from structure_search import (
    AbstractMethod,
    MaxParams,
    Proposal,
    RelativeError,
    WeightedError,
    halved,
    search,
)
from structure_search.tasks.base import FitJob, run_job
from structure_search.tasks.decomposition import Decomposition

FAMILIES = {
    "ring 7^5": tnet.tensor_ring((7,) * 5, [2, 3, 4, 5, 5]),
    "train 7^5": tnet.tensor_train((7,) * 5, [2, 3, 6, 5]),
    "triangle 7^5": triangle(),
    "tucker 7^5": tnet.tucker((7,) * 5, [2, 3, 4, 3, 2]),
}
SEEDS = range(10)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with threadpool_limits(1):
        yield


def planted(structure: tnet.Structure, seed: int, *, uniform: bool = False) -> np.ndarray:
    rng = np.random.default_rng(seed)
    net = tnet.random_network(structure, rng=rng)
    if uniform:
        arrays = {n: rng.uniform(size=structure.node_shape(n)) for n in structure.node_names}
        net = tnet.Network(structure, arrays)
    x = np.asarray(tnet.contract(net))
    return x / np.linalg.norm(x)


@dataclass(frozen=True, kw_only=True)
class Asked(AbstractMethod):
    """Asks for the given structures, one by one."""

    structures: Sequence[tnet.Structure]
    sweeps: int = 40
    restarts: int = 6

    def default_objective(self) -> None:
        """None."""

    def propose(self, problem):
        for s in self.structures:
            yield [Proposal(structure=s, sweeps=self.sweeps, restarts=self.restarts)]


@pytest.mark.parametrize("uniform", [True, False], ids=["collinear", "gaussian"])
@pytest.mark.parametrize("family", FAMILIES)
def test_true_graphs_are_fitted(benchmark, family: str, uniform: bool) -> None:
    structure, goal = FAMILIES[family], RelativeError(tol=1e-4)
    errors, seconds = [], []

    def all_seeds() -> None:
        for seed in SEEDS:
            x = planted(structure, seed, uniform=uniform)
            begun = time.process_time()
            found = search(
                x,
                method=Asked(structures=[structure]),
                objective=goal,
                rng=np.random.default_rng(seed),
            )
            seconds.append(time.process_time() - begun)
            errors.append(found.best.error)

    benchmark.pedantic(all_seeds, rounds=1)
    reached = float(np.mean([error <= goal.tol for error in errors]))
    benchmark.extra_info["share within 1e-4"] = reached
    benchmark.extra_info["median ms a search"] = 1e3 * float(np.median(seconds))
    benchmark.extra_info["slowest ms"] = 1e3 * max(seconds)
    assert reached >= 0.8


DENSE = tnet.fully_connected((4,) * 8, 1)
FITTED = {
    **FAMILIES,
    "ring 4^8": tnet.tensor_ring((4,) * 8, 3),
    "12 bonds on 4^8": DENSE.resized(dict.fromkeys(DENSE.bonds[::2][:12], 2)),
    "all bonds on 4^6": tnet.fully_connected((4,) * 6, 2),
}


@pytest.mark.parametrize("name", FITTED)
def test_time_of_a_fit(benchmark, name: str) -> None:
    """One random start of 20 sweeps that cannot reach what is asked for."""
    structure = FITTED[name]
    x = np.random.default_rng(0).standard_normal(structure.shape)
    task = Decomposition(x, dict(zip(structure.modes, structure.shape, strict=True)))
    start = tnet.random_network(structure, rng=np.random.default_rng(1))
    job = FitJob(structure=structure, start=start, sweeps=20, restarts=0, enough=0.0, stream=(0, 1))
    found = run_job(task, job)  # compiles the sweep
    begun = time.process_time()
    benchmark.pedantic(run_job, (task, job), rounds=5)
    each = (time.process_time() - begun) / 5
    benchmark.extra_info["ms a fit"] = 1e3 * each
    benchmark.extra_info["fits a second"] = 1.0 / each
    benchmark.extra_info["ms a sweep"] = 1e3 * each / max(1, found.sweeps)
    benchmark.extra_info["operations a second"] = (
        tnet.planned_flops(structure) * found.sweeps / each
    )


@dataclass(frozen=True, kw_only=True)
class Answered(AbstractMethod):
    """Fits one network, and then asks for what needs no fit."""

    count: int
    kind: str
    batch: int = 16

    def default_objective(self) -> None:
        """None."""

    def propose(self, problem):
        modes = dict(problem.modes)
        small = tnet.tensor_train(modes, 1)
        yield [Proposal(structure=small, sweeps=1, label="first")]
        for k in range(1, self.count, self.batch):
            cached = self.kind == "cached"
            ranks = problem.rng.integers(1, 9, (self.batch, len(modes))).tolist()
            structures = [small if cached else tnet.tensor_ring(modes, r) for r in ranks]
            yield [
                Proposal(structure=s, sweeps=1, useful=-1.0, label=f"{k}.{i}")
                for i, s in enumerate(structures)
            ]


@pytest.mark.parametrize("kind", ["cached", "pruned"])
def test_answers_without_a_fit(benchmark, kind: str, tmp_path) -> None:
    """Driver, evaluator and journal together: at most a millisecond, however many there were."""
    x = planted(tnet.tensor_ring((4,) * 6, 3), 0)
    each = {}

    def both() -> None:
        for count in (2_000, 10_000):
            for folder in (None, tmp_path / f"{count}"):
                begun = time.process_time()
                found = search(
                    x,
                    method=Answered(count=count, kind=kind),
                    objective=MaxParams(params=10**6),
                    rng=np.random.default_rng(0),
                    max_evaluations=count,
                    run=folder,
                )
                name = f"{count} {'in memory' if folder is None else 'journalled'}"
                each[name] = 1e3 * (time.process_time() - begun) / count
                counts = found.counts
                assert counts.cached + counts.pruned == count - 1

    benchmark.pedantic(both, rounds=1)
    benchmark.extra_info["ms an answer"] = each
    benchmark.extra_info["answers a second"] = {k: round(1e3 / v) for k, v in each.items()}
    assert max(each.values()) <= 2.0
    assert each["10000 journalled"] <= 2.0 * each["2000 journalled"]


@dataclass(frozen=True, kw_only=True)
class Race(AbstractMethod):
    """All ranks 1..3 of a ring of five, with or without halving."""

    structures: Sequence[tnet.Structure]
    share: float

    def default_objective(self) -> None:
        """None."""

    def propose(self, problem):
        batch = [
            Proposal(structure=s, sweeps=45, restarts=2, label=str(k))
            for k, s in enumerate(self.structures)
        ]
        if self.share < 1.0:
            yield from halved(batch, problem.objective, first=5, share=self.share)
        else:
            yield batch


def test_what_halving_gains(benchmark) -> None:
    """The same 81 candidates, raced by halves and thirds beside all of them in full."""
    rng = np.random.default_rng(0)
    structures = [tnet.tensor_ring((6,) * 4, rng.integers(1, 5, 4).tolist()) for _ in range(81)]
    gains, worse = [], []

    def seeds() -> None:
        for seed in range(5):
            x = planted(tnet.tensor_ring((6,) * 4, [2, 3, 2, 3]), seed)
            x = x + 0.05 * np.random.default_rng(seed).standard_normal(x.shape) / np.sqrt(x.size)
            seconds, best = [], []
            for share in (1.0 / 3.0, 1.0):
                goal = WeightedError(weight=5.0)
                begun = time.process_time()
                found = search(
                    x,
                    method=Race(structures=structures, share=share),
                    objective=goal,
                    rng=np.random.default_rng(seed),
                )
                seconds.append(time.process_time() - begun)
                best.append(goal.order(found.best)[0])
            gains.append(seconds[1] / seconds[0])
            worse.append(best[0] / best[1])

    benchmark.pedantic(seeds, rounds=1)
    benchmark.extra_info["times as fast"] = float(np.median(gains))
    benchmark.extra_info["objective beside full fits"] = [round(w, 4) for w in worse]
    assert float(np.median(gains)) > 1.2
    assert float(np.median(worse)) <= 1.01
    assert max(worse) <= 1.3
