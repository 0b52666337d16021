"""BUG steppers: seconds per step, parallel beside augmented, and errors against free fermions.

`pytest benchmarks/test_bug.py --benchmark-only -s -o addopts="--import-mode=importlib"` prints
every figure beside its goal, in about three minutes on a free machine.

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
from threadpoolctl import threadpool_limits

import tnet
from contraction.truncation import Truncation
from integrators import AugmentedBUG, MidpointBUG, ParallelBUG, ParallelBUG2
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


STEPPERS = {
    "augmented": AugmentedBUG(),
    "parallel": ParallelBUG(),
    "second order": ParallelBUG2(),
    "midpoint": MidpointBUG(),
}
GOALS = {  # CPU seconds a step
    16: {"augmented": 0.012, "parallel": 0.012, "second order": 0.025, "midpoint": 0.025},
    64: {"augmented": 0.15, "parallel": 0.08, "second order": 0.5, "midpoint": 0.5},
}


@pytest.mark.parametrize(("d", "t1"), [(16, 1.0), (64, 0.5)])
@pytest.mark.parametrize("name", STEPPERS)
def test_a_quench_of_rank_16(benchmark: Any, name: str, d: int, t1: float) -> None:
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

    with threadpool_limits(1):
        seconds, errors, norm = benchmark.pedantic(work, rounds=1)
    median, goal = statistics.median(seconds[len(seconds) // 2 :]), GOALS[d][name]
    benchmark.extra_info.update(
        cpu_seconds_per_step=median,
        goal=goal,
        errors={str(t): e for t, e in errors.items()},
        norm_drift=norm - 1.0,
    )
    print(
        f"\n{name}, d = {d}, rank 16: {median:.4f} CPU s a step (goal {goal}), errors of <Z> "
        + ", ".join(f"{e:.1e} at t = {t}" for t, e in errors.items())
        + f", norm drift {norm - 1.0:.1e}"
    )


def one_step(stepper: Any, case: tuple[Any, TreeState], rank: int) -> TreeState:
    """One step of 0.02 and its cut from a random state, every new direction kept."""
    after = stepper.step(case[0], 0.0, 0.02, case[1]).state
    return cut(after, Truncation(max_rank=rank), workers=stepper.workers).state


def quench_errors(stepper: Any, d: int, rank: int) -> tuple[float, float]:
    """Largest error of the mean of Z up to t = 0.3, and how far the norm has drifted."""
    field, state = quench(d, rank)
    errors = []
    for k in range(6):
        after = stepper.step(field, k * 0.05, 0.05, state).state
        state = cut(after, Truncation(tol=5e-8, max_rank=rank)).state
        exact = float(np.mean(ising_quench(d, [0.05 * (k + 1)])))
        errors.append(abs(mean_z(state) - exact))
    return max(errors), abs(state.norm - 1.0)


@pytest.mark.parametrize(("d", "rank", "goal"), [(16, 64, 1.2), (16, 128, 1.5), (32, 64, 3.0)])
def test_parallel_beside_augmented(benchmark: Any, d: int, rank: int, goal: float) -> None:
    """CPU seconds of a step in turns; the errors of a quench at this rank beside them."""
    case = random_state(d, rank)
    pair = [m(truncation=Truncation()) for m in (AugmentedBUG, ParallelBUG)]

    def work() -> list[list[float]]:
        turns = range(2 if d == 32 else 3)
        return [[cpu(lambda s=s: one_step(s, case, rank))[0] for s in pair] for _ in turns]

    with threadpool_limits(1):
        seconds = benchmark.pedantic(work, rounds=1)
        augmented, parallel = (min(column) for column in zip(*seconds, strict=True))
        errors = [quench_errors(stepper, d, rank) for stepper in (AugmentedBUG(), ParallelBUG())]
    benchmark.extra_info.update(
        augmented=augmented, parallel=parallel, ratio=augmented / parallel, goal=goal, errors=errors
    )
    print(
        f"\nd = {d}, rank {rank}: augmented {augmented:.3f}, parallel {parallel:.3f} CPU s a step, "
        f"ratio {augmented / parallel:.2f} (goal {goal})"
    )
    for name, (error, drift) in zip(("augmented", "parallel"), errors, strict=True):
        print(f"    {name:9s} error of <Z> up to t = 0.3 {error:.1e}, norm drift {drift:.1e}")


@pytest.mark.parametrize("method", [ParallelBUG, AugmentedBUG])
def test_two_threads(benchmark: Any, method: Any) -> None:
    """Wall seconds of a step with one thread and with two, BLAS alone in each; needs two cores."""
    case = random_state(32, 64)
    pair = [method(truncation=Truncation(), workers=n) for n in (1, 2)]

    def wall(stepper: Any) -> tuple[float, TreeState]:
        began = time.perf_counter()
        found = one_step(stepper, case, 64)
        return time.perf_counter() - began, found

    def work() -> list[list[tuple[float, TreeState]]]:
        return [[wall(stepper) for stepper in pair] for _ in range(3)]

    with threadpool_limits(1):
        found = benchmark.pedantic(work, rounds=1)
    one, two = (min(t for t, _ in column) for column in zip(*found, strict=True))
    assert all(
        np.array_equal(x, y)
        for x, y in zip(found[0][0][1].cores, found[0][1][1].cores, strict=True)
    )
    benchmark.extra_info.update(one_thread=one, two_threads=two, ratio=one / two, goal=1.5)
    print(
        f"\n{method.__name__}, d = 32, rank 64: one thread {one:.2f} s, two {two:.2f} s a step, "
        f"ratio {one / two:.2f} (goal 1.5 on two free cores); same bits"
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
