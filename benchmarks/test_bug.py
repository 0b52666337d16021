"""BUG steppers: seconds per step, parallel beside augmented, and errors against free fermions.

Peers: the augmented method is the yardstick of the parallel one; TeNPy's TDVP and TEBD on the
chain are printed beside them where it is installed (they keep to chains; ours takes any tree).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tnet
from contraction.truncation import Truncation
from integrators import AugmentedBUG, ParallelBUG
from integrators.binding import bind
from integrators.cutting import cut
from integrators.environments import upward
from integrators.seeding import seeded
from integrators.tree_state import TreeState
from references import ising_quench


def ising(d: int) -> list[Any]:
    pairs = [(-1.0, {f"s{i}": "x", f"s{i + 1}": "x"}) for i in range(d - 1)]
    return pairs + [(-1.0, {f"s{i}": "z"}) for i in range(d)]


def quench(d: int, rank: int) -> tuple[Any, TreeState]:
    """All spins up under the transverse-field Ising chain on a balanced binary tree."""
    tree = tnet.balanced_tree({f"s{i}": 2 for i in range(d)})
    up = tnet.product_state(tree, {f"s{i}": [1.0, 0.0] for i in range(d)}, dtype="complex128")
    state = TreeState.from_network(up)
    field = bind(-1j * tnet.operator(tree, ising(d)), state.frame, state.cores[0])
    return field, seeded(state, field, rank, rounds=1)


def random_state(d: int, rank: int) -> tuple[Any, TreeState]:
    tree = tnet.balanced_tree({f"s{i}": 2 for i in range(d)}, rank)
    net = tnet.random_network(tree, rng=np.random.default_rng(0), dtype="complex128")
    state = TreeState.from_network(net)
    state = state.with_cores({0: state.cores[0] / state.norm})
    return bind(-1j * tnet.operator(tree, ising(d)), state.frame, state.cores[0]), state


def mean_z(state: TreeState) -> float:
    modes = state.frame.structure.modes
    terms = [(1.0 / len(modes), {mode: "z"}) for mode in modes]
    field: Any = bind(tnet.operator(state.frame.structure, terms), state.frame, state.cores[0])
    moved = field.local(0, field.top(), upward(field, state)).apply(state.cores[0])
    return float(np.vdot(state.cores[0], moved).real) / state.norm**2


def cpu(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.process_time()
    found = work()
    return time.process_time() - began, found


STEPPERS = {"augmented": AugmentedBUG(), "parallel": ParallelBUG()}


@pytest.mark.parametrize(("d", "t1", "goal"), [(16, 1.0, 0.012), (64, 0.5, 0.15)])
@pytest.mark.parametrize("name", STEPPERS)
def test_a_quench_of_rank_16(benchmark: Any, name: str, d: int, t1: float, goal: float) -> None:
    """Seconds per step (CPU, median of the second half) and errors of the mean of Z."""
    field, start = quench(d, 16)
    h, stepper = 0.05, STEPPERS[name]

    def work() -> tuple[list[float], dict[float, float], float]:
        state, seconds, errors = start, [], {}
        for k in range(round(t1 / h)):

            def once(state: TreeState = state) -> TreeState:
                after = stepper.step(field, k * h, h, state).state  # noqa: B023
                return cut(after, Truncation(tol=1e-6 * h, max_rank=16)).state

            spent, state = cpu(once)
            seconds.append(spent)
            t = round((k + 1) * h, 10)
            if t in (0.25, 0.5, 1.0):
                errors[t] = abs(mean_z(state) - float(np.mean(ising_quench(d, [t]))))
        return seconds, errors, state.norm

    seconds, errors, norm = benchmark.pedantic(work, rounds=1)
    median = statistics.median(seconds[len(seconds) // 2 :])
    benchmark.extra_info.update(
        cpu_seconds_per_step=median,
        goal=goal if name == "augmented" or d == 16 else 0.08,
        errors={str(t): e for t, e in errors.items()},
        norm_drift=norm - 1.0,
    )


@pytest.mark.parametrize(("d", "rank", "goal"), [(16, 64, 1.2), (16, 128, 1.5), (32, 64, 3.0)])
def test_parallel_beside_augmented(benchmark: Any, d: int, rank: int, goal: float) -> None:
    """One step and its cut from a random state, every new direction kept; in turns."""
    field, state = random_state(d, rank)
    everything = Truncation()
    pair = (AugmentedBUG(truncation=everything), ParallelBUG(truncation=everything))

    def once(stepper: Any) -> None:
        cut(stepper.step(field, 0.0, 0.02, state).state, Truncation(max_rank=rank))

    def work() -> list[tuple[float, float]]:
        turns = range(1 if d == 32 else 3)
        return [(cpu(lambda: once(pair[0]))[0], cpu(lambda: once(pair[1]))[0]) for _ in turns]

    seconds = benchmark.pedantic(work, rounds=1)
    augmented = statistics.median(a for a, _ in seconds)
    parallel = statistics.median(p for _, p in seconds)
    benchmark.extra_info.update(
        augmented=augmented, parallel=parallel, ratio=augmented / parallel, goal=goal
    )


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", ["TDVP", "TEBD"])
def test_tenpy_on_the_chain(benchmark: Any, method: str) -> None:
    """The same quench on a chain by TeNPy, for scale: 16 spins, rank 16, steps of 0.05."""
    pytest.importorskip("tenpy")
    from tenpy.algorithms.tdvp import TwoSiteTDVPEngine
    from tenpy.algorithms.tebd import TEBDEngine
    from tenpy.models.tf_ising import TFIChain
    from tenpy.networks.mps import MPS

    model = TFIChain({"L": 16, "J": 1.0, "g": 1.0, "bc_MPS": "finite", "conserve": None})
    psi = MPS.from_product_state(model.lat.mps_sites(), ["up"] * 16, bc="finite")
    options = {"dt": 0.05, "N_steps": 1, "trunc_params": {"chi_max": 16, "svd_min": 1e-8}}
    if method == "TEBD":
        engine = TEBDEngine(psi, model, {**options, "order": 2})
    else:
        engine = TwoSiteTDVPEngine(psi, model, options)

    def work() -> list[float]:
        return [cpu(engine.run)[0] for _ in range(20)]

    seconds = benchmark.pedantic(work, rounds=1)
    error = abs(np.mean(psi.expectation_value("Sigmaz")) - np.mean(ising_quench(16, [1.0])))
    benchmark.extra_info.update(
        cpu_seconds_per_step=statistics.median(seconds[10:]), error=float(error)
    )
