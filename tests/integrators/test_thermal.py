"""Thermal states by purification against dense exponentials."""

import numpy as np
import pytest

import references
import tnet
from contraction import Truncation
from contraction.errors import InputError
from integrators import TDVP, AugmentedBUG, Lanczos, lifted, models, thermal_state


def exact(model, beta):
    H = references.dense_sum(model.sites, model).toarray()
    w = np.linalg.eigvalsh(H)
    low = w[0]
    weights = np.exp(-beta * (w - low))
    return (w @ weights) / weights.sum(), np.log(weights.sum()) - beta * low


@pytest.mark.parametrize("shape", [tnet.tensor_train, tnet.balanced_tree])
def test_energy_and_partition_function(shape):
    model = models.ising(6, field=0.8)
    found = thermal_state(tnet.operator(shape(model.sites), model), 2.0, steps=20)
    energy, log_z = exact(model, 2.0)
    assert abs(found.energy - energy) < 1e-5
    assert abs(found.log_partition - log_z) < 1e-5
    half = len(found.betas) // 2
    energy, log_z = exact(model, float(found.betas[half]))
    assert abs(found.energies[half] - energy) < 1e-5
    assert abs(found.log_partitions[half] - log_z) < 1e-5
    assert abs(found.log_partitions[0] - 6 * np.log(2.0)) < 1e-12
    assert abs(found.free_energy - (found.energy - found.entropy / 2.0)) < 1e-12
    assert abs(found.entropy - (2.0 * found.energy + found.log_partition)) < 1e-12
    assert found.state.dtype == "float64"


def test_full_ranks_are_exact_with_few_steps():
    model = models.heisenberg(6)
    tree = tnet.tensor_train(model.sites)
    stepper = TDVP(truncation=Truncation(tol=1e-12), local=Lanczos(tol=1e-12))
    found = thermal_state(tnet.operator(tree, model), 1.0, steps=4, stepper=stepper)
    energy, log_z = exact(model, 1.0)
    assert abs(found.energy - energy) < 1e-10
    assert abs(found.log_partition - log_z) < 1e-10


def test_other_steppers_and_observables():
    model = models.ising(6, field=1.5)
    tree = tnet.balanced_tree(model.sites)
    stepper = AugmentedBUG(truncation=Truncation(tol=1e-8, max_rank=32))
    found = thermal_state(tnet.operator(tree, model), 1.0, steps=20, stepper=stepper)
    assert abs(found.energy - exact(model, 1.0)[0]) < 5e-3
    H = references.dense_sum(model.sites, model).toarray()
    w, V = np.linalg.eigh(H)
    rho = (V * np.exp(-w)) @ V.T
    z = references.dense_sum(model.sites, [(1.0, {"s2": "z"})]).toarray()
    want = np.trace(rho @ z) / np.trace(rho)
    operator = lifted(tnet.operator(tree, [(1.0, {"s2": "z"})]))
    assert abs(tnet.expectation(found.state, operator) - want) < 2e-3


def test_large_beta_does_not_overflow():
    model = models.ising(6, field=0.5)
    scaled = [(400.0 * t.coefficient, t.factors) for t in model]
    tree = tnet.tensor_train(model.sites)
    found = thermal_state(tnet.operator(tree, scaled), 1.0, steps=100)
    energy = 400.0 * references.ising_energy(6, field=0.5)
    assert np.isfinite(found.log_partition)
    assert abs(found.log_partition / -energy - 1.0) < 1e-2


def test_what_makes_no_sense_is_refused():
    tree = tnet.tensor_train({"a": 2, "b": 2})
    h = tnet.operator(tree, [(1.0, {"a": "z", "b": "z"})])
    with pytest.raises(InputError, match="beta"):
        thermal_state(h, -1.0, steps=2)
    with pytest.raises(InputError, match="Hermitian"):
        thermal_state(1j * h, 1.0, steps=2)
