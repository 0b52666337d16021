"""A spin that only dephases among oscillators: closed formula, any number of modes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import references
import tnet
from contraction.truncation import Truncation
from integrators import TDVP, AugmentedBUG, Flow, Lanczos, ParallelBUG2, evolve
from integrators.models import spin_boson

CHAIN, BINARY = tnet.tensor_train, tnet.balanced_tree
TIMES = (1.0, 2.5, 4.0, 5.0)
SPLITTING = 0.5


def bath(modes: int) -> tuple[np.ndarray, np.ndarray]:
    w = np.linspace(0.5, 2.0, modes)
    return w, 0.05 * np.sqrt(w)


def coherence(modes: int, shape: Any, stepper: Any, dt: float, tol: float) -> tuple[Flow, float]:
    """The flow and the largest error of <X> over the times; modes of eight states."""
    w, g = bath(modes)
    model = spin_boson(w, g, splitting=SPLITTING, cutoff=7)
    tree = shape(model.sites)
    vacuum = np.eye(8)[0]
    start = {s: [1.0, 1.0] / np.sqrt(2.0) if s == "spin" else vacuum for s in model.sites}
    flow = evolve(
        -1j * tnet.operator(tree, model),
        tnet.product_state(tree, start),
        t1=TIMES[-1],
        dt=dt,
        stepper=stepper(truncation=Truncation(tol=tol, max_rank=24), local=Lanczos(tol=1e-8)),
        measure={"x": lambda state: tnet.expectation(state, (1.0, {"spin": "x"})).real},
        save_at=TIMES,
    )
    want = [references.dephasing(t, w, g, splitting=SPLITTING) for t in TIMES]
    return flow, float(np.abs(flow.values["x"] - want).max())


@pytest.mark.parametrize("shape", [CHAIN, BINARY])
def test_six_modes(shape):
    flow, error = coherence(6, shape, TDVP, 0.25, 1e-6)
    assert error < 1e-6
    assert flow.max_ranks.max() <= 3  # two coherent branches, one per state of the spin
    assert flow.drift.norm < 1e-10
    assert flow.drift.energy < 1e-8


@pytest.mark.parametrize(("stepper", "bound"), [(AugmentedBUG, 2e-5), (ParallelBUG2, 2e-5)])
def test_six_modes_by_updates_of_bases(stepper, bound):
    flow, error = coherence(6, BINARY, stepper, 0.1, 1e-6)
    assert error < bound
    assert flow.max_ranks.max() < 24


def test_splitting_alone_turns_the_spin():
    """Without couplings the formula is a cosine, and so is the spin."""
    model = spin_boson([1.0, 2.0], [0.0, 0.0], splitting=1.5, cutoff=2)
    tree = BINARY(model.sites)
    start = {s: [1.0, 1.0] if s == "spin" else [1.0, 0.0, 0.0] for s in model.sites}
    flow = evolve(
        -1j * tnet.operator(tree, model),
        tnet.product_state(tree, start) * (1.0 / np.sqrt(2.0)),
        t1=2.0,
        dt=0.25,
        measure={"x": lambda state: tnet.expectation(state, (1.0, {"spin": "x"})).real},
    )
    np.testing.assert_allclose(flow.values["x"], np.cos(1.5 * flow.times), atol=1e-6)
    assert flow.max_ranks.max() <= 2


@pytest.mark.slow
@pytest.mark.parametrize("shape", [CHAIN, BINARY])
def test_thirty_two_modes(shape):
    """Coherence to 1e-6 up to t = 5; both trees need rank two."""
    flow, error = coherence(32, shape, TDVP, 0.25, 1e-6)
    assert error <= 1e-6
    assert flow.max_ranks.max() <= 4
