"""Quality of plans beside cotengrust and KaHyPar, for the same CPU seconds on one thread.

The peers run in an interpreter of their own, named by the environment variable
TNET_PEERS_PYTHON, which has cotengra, cotengrust and kahypar; without it only the fixed bars are
checked. Networks come from `planning_networks`. Every cost is log10 of the multiply-adds as
cotengra counts them. Clocks are replaced by that of the process, on both sides, so that a busy
machine changes nothing.

TNET_PLANNING_SECONDS sets another budget than 10 seconds, TNET_PLANNING_COMPILED=0 runs without
compiled kernels.
"""

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import cotengra
import pytest

from contraction.cost import CPU
from contraction.search import compiled
from contraction.search.objectives import Objective
from contraction.search.portfolio import search_pairs
from contraction.spec import Canonical

sys.path.insert(0, str(Path(__file__).parent))  # the networks lie beside this file

from planning_networks import networks

PYTHON = os.environ.get("TNET_PEERS_PYTHON")
SECONDS = float(os.environ.get("TNET_PLANNING_SECONDS", "10"))
COMPILED = os.environ.get("TNET_PLANNING_COMPILED", "1") != "0"
NETWORKS = {name: Canonical(*problem) for name, problem in networks()}
COMPARED = 400  # inputs up to which the peers must be met
SLACK = 0.05
BARS = {
    "regular 1000": 41.0,
    "sycamore_n53_m20_s0_e0_pABCDCDAB": 18.2,
    "qucirc_rrzz_n56_d13": 19.2,
}
PEERS = """
import json, math, sys, time
time.time = time.process_time
import cotengra, cotengrust
inputs, output, sizes, seconds = json.load(sys.stdin)
names = [cotengra.get_symbol(i) for i in range(len(sizes))]
inputs = [[names[x] for x in held] for held in inputs]
output = [names[x] for x in output]
sizes = dict(zip(names, sizes))
def count(path):
    tree = cotengra.ContractionTree.from_path(inputs, output, sizes, ssa_path=path)
    return math.log10(tree.contraction_cost())
path, _ = cotengrust.optimize_random_greedy_track_flops(
    inputs, output, sizes, ntrials=128, seed=0, use_ssa=True
)
found = {"random-greedy": count(path)}
optimizer = cotengra.HyperOptimizer(
    methods=["kahypar"], minimize="flops", max_time=seconds, max_repeats=10**6, parallel=False,
    optlib="random", progbar=False, on_trial_error="ignore",
)
tree = optimizer.search(inputs, output, sizes)
found["kahypar"] = math.log10(tree.contraction_cost())
print(json.dumps(found))
"""


@pytest.fixture(autouse=True)
def cpu_seconds(monkeypatch):
    """Let the clock of the process time everything."""
    if COMPILED:
        compiled.compile_kernels()
    else:
        monkeypatch.setattr(compiled, "ready", lambda: False)
    monkeypatch.setattr(time, "perf_counter", time.process_time)


def recounted(canonical: Canonical, found) -> tuple[float, float]:
    """Log10 of the multiply-adds of all slices, and log2 of the largest value of one."""
    names = [cotengra.get_symbol(i) for i in range(len(canonical.sizes))]
    tree = cotengra.ContractionTree.from_path(
        [[names[x] for x in held] for held in canonical.inputs],
        [names[x] for x in canonical.output],
        dict(zip(names, canonical.sizes, strict=True)),
        ssa_path=found.pairs,
    )
    for label in found.slices:
        tree.remove_ind_(names[label])
    return math.log10(tree.contraction_cost()), math.log2(tree.max_size())


def peers(canonical: Canonical) -> dict[str, float]:
    """Log10 of the multiply-adds that the peers find."""
    if PYTHON is None or len(canonical.inputs) > COMPARED:
        return {}
    asked = json.dumps([canonical.inputs, canonical.output, canonical.sizes, SECONDS])
    done = subprocess.run(
        [PYTHON, "-W", "ignore", "-c", PEERS], input=asked, capture_output=True, text=True,
        check=True, timeout=1200,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def timed(canonical: Canonical, seconds: float, **options):
    """A search with its CPU seconds."""
    start = time.process_time()
    found = search_pairs(canonical, Objective.FLOPS, CPU, seconds=seconds, seed=0, **options)
    return found, time.process_time() - start


@pytest.mark.parametrize("name", NETWORKS)
def test_multiply_adds(name, benchmark) -> None:
    canonical = NETWORKS[name]
    found, spent = benchmark.pedantic(timed, (canonical, SECONDS), rounds=1)
    cost, width = recounted(canonical, found)
    others = peers(canonical)
    benchmark.extra_info.update(cost=cost, width=width, seconds=spent, **others)
    benchmark.extra_info["inputs"] = len(canonical.inputs)
    assert spent <= 1.1 * SECONDS + 0.05 + 0.5  # half a second for loading on first use
    if others:
        assert cost <= min(others.values()) + SLACK
    assert cost <= BARS.get(name, math.inf)


def test_sliced_sycamore(benchmark) -> None:
    name = next((name for name in NETWORKS if name.startswith("sycamore")), None)
    if name is None:
        pytest.skip("$TNET_NETWORKS has no sycamore network")
    canonical = NETWORKS[name]
    most = 2.0**30
    found, spent = benchmark.pedantic(
        timed, (canonical, 6 * SECONDS), {"max_size": 4 * most}, rounds=1
    )
    cost, width = recounted(canonical, found)
    benchmark.extra_info.update(cost=cost, width=width, seconds=spent, slices=len(found.slices))
    assert width <= 30.0
    assert cost <= 19.2
