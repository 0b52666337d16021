"""Long-range Ising quenches: against dense exponentials; orders; memory at 64 spins."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

import references
import tnet
from contraction.truncation import Truncation
from integrators import (
    TDVP,
    AugmentedBUG,
    Lanczos,
    MidpointBUG,
    ParallelBUG,
    ParallelBUG2,
    evolve,
    models,
)

CHAIN, BINARY = tnet.tensor_train, tnet.balanced_tree
TIMES = (0.2, 0.5, 1.0)
ENERGIES = {4: 12.6666666667, 8: 35.4857142857, 16: 92.1833277833}


def quench(
    d: int, shape: Any, stepper: Any, dt: float, *, tol: float = 1e-6, rank: int = 40
) -> Any:
    model = models.long_range_ising(d)
    tree = shape(model.sites)
    return evolve(
        -1j * tnet.operator(tree, model),
        tnet.product_state(tree, {s: [1.0, 0.0] for s in model.sites}),
        t1=1.0,
        dt=dt,
        stepper=stepper(truncation=Truncation(tol=tol, max_rank=rank), local=Lanczos(tol=1e-7)),
        measure={"m": tnet.local_average("z")},
        save_at=TIMES,
    )


def worst(flow: Any, d: int) -> float:
    return float(np.abs(flow.values["m"] - references.LONG_RANGE_ISING[d]).max())


@pytest.mark.parametrize("d", [4, 8, pytest.param(16, marks=pytest.mark.slow)])
def test_two_sites_on_the_chain(d):
    flow = quench(d, CHAIN, TDVP, 0.05)
    assert worst(flow, d) <= 1e-8
    assert flow.energies[0] == pytest.approx(ENERGIES[d], abs=1e-9)
    assert flow.drift.energy < 1e-9
    assert flow.drift.norm < 1e-12


def test_two_sites_on_the_binary_tree():
    assert worst(quench(8, BINARY, TDVP, 0.05), 8) <= 1e-8


@pytest.mark.parametrize(
    ("stepper", "dt", "bound", "norm", "energy"),
    [
        (AugmentedBUG, 0.02, 1e-6, 1e-10, 1e-10),
        (MidpointBUG, 0.02, 1e-6, 1e-10, 1e-10),
        (ParallelBUG2, 0.01, 1e-6, 1e-6, 1e-5),
        (ParallelBUG, 0.01, 2e-5, 1e-5, 1e-3),
    ],
)
@pytest.mark.parametrize("d", [4, 8])
def test_updates_of_bases(stepper, dt, bound, norm, energy, d):
    flow = quench(d, BINARY, stepper, dt)
    assert worst(flow, d) <= bound
    assert flow.drift.norm <= norm
    assert flow.drift.energy <= energy


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stepper", "dt", "bound"),
    [(TDVP, 0.05, 1e-8), (ParallelBUG2, 0.01, 1e-6), (AugmentedBUG, 0.02, 1e-6)],
)
def test_sixteen_spins_on_the_binary_tree(stepper, dt, bound):
    flow = quench(16, BINARY, stepper, dt)
    assert worst(flow, 16) <= bound
    assert flow.drift.energy < 1e-5
    assert flow.drift.norm < 1e-6


def state_errors(
    d: int, stepper: Any, rank: int, counts: Any, padding: int = 0, **options: Any
) -> np.ndarray:
    """Errors of the whole state at t = 1; `padding` starts with that many empty directions."""
    model = models.long_range_ising(d)
    tree = BINARY(model.sites)
    net = tnet.product_state(tree, {s: [1.0, 0.0] for s in model.sites}, dtype="complex128")
    H = references.dense_sum(model.sites, model)
    want = references.quench(H, net.to_dense().reshape(-1), [1.0])[0]
    if padding:
        rng = np.random.default_rng(3)
        wide = tnet.random_network(BINARY(model.sites, padding), rng=rng, dtype="complex128")
        net = net + wide * 0.0
    errors = []
    for n in counts:
        method = stepper(truncation=Truncation(tol=1e-8, max_rank=rank), local=Lanczos(tol=1e-11))
        flow = evolve(
            -1j * tnet.operator(tree, model),
            net,
            t1=1.0,
            dt=1 / n,
            stepper=method,
            every=n,
            **options,
        )
        errors.append(np.linalg.norm(flow.state.to_dense().reshape(-1) - want))
    return np.array(errors)


def slopes(errors: np.ndarray) -> np.ndarray:
    return np.log2(errors[:-1] / errors[1:])


@pytest.mark.parametrize(
    ("stepper", "order"), [(ParallelBUG, 2), (ParallelBUG2, 3)], ids=["first", "second"]
)
def test_four_spins_are_exact_after_the_first_step(stepper, order):
    """Four spins have bonds of at most 4: full after one step, and from there all is exact.

    What is left is the error of that step, one order above that of the method.
    """
    errors = state_errors(4, stepper, 30, (8, 16, 32, 64), padding=1)
    assert slopes(errors) == pytest.approx(order, abs=0.15), errors


def test_four_spins_and_bases_that_span_all():
    for stepper in (AugmentedBUG, MidpointBUG):
        assert state_errors(4, stepper, 30, (8, 32), padding=1).max() < 1e-8


def test_first_order_below_full_ranks():
    """Six spins at 5 of 8 (model error 5e-4): the law of the parallel method by itself.

    Directions opened before a step lower its errors, and the model error shows sooner.
    """
    counts = (10, 20, 40, 80)
    errors = state_errors(6, ParallelBUG, 5, counts, opening=0)
    assert np.mean(slopes(errors)) == pytest.approx(1.0, abs=0.15), errors
    opened = state_errors(6, ParallelBUG, 5, counts)
    assert np.all(opened < errors), opened
    better = state_errors(6, ParallelBUG2, 5, (10, 20))
    assert better.max() < 1e-3  # the model error alone


@pytest.mark.slow
def test_sixty_four_spins_keep_their_energy():
    """All pairs of 64 spins, 1/r: energy to 1e-4, nothing dense in between (peak of 1 GB)."""
    model = models.long_range_ising(64)
    tree = BINARY(model.sites)
    tracemalloc.start()
    operator = tnet.operator(tree, model, method=tnet.Compiler.NESTED_SVD, tol=1e-12)
    flow = evolve(
        -1j * operator,
        tnet.product_state(tree, {s: [1.0, 0.0] for s in model.sites}),
        t1=0.2,
        dt=0.01,
        stepper=AugmentedBUG(truncation=Truncation(tol=1e-6, max_rank=24)),
        measure={"m": tnet.local_average("z")},
        every=10,
    )
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1e9
    assert flow.drift.energy < 1e-4
    assert flow.drift.norm < 1e-7
    want = 64 + 2 * np.sum(np.arange(63, 0, -1) / np.arange(1, 64))
    assert flow.energies[0] == pytest.approx(want, rel=1e-10)
