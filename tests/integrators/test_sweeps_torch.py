"""Variational sweeps and projector splitting on torch arrays, by the same code."""

import numpy as np
import pytest

import references
import tnet
from integrators import TDVP, TEBD, evolve, ground_state, models

pytest.importorskip("torch")


def test_ground_states():
    model = models.heisenberg(4)
    tree = tnet.balanced_tree(model.sites, 2)
    start = tnet.random_network(tree, rng=np.random.default_rng(0)).to(namespace="torch")
    beside = tnet.random_network(tree, rng=np.random.default_rng(1))
    h = tnet.operator(tree, model)
    found = ground_state(h, start)
    assert found.state.namespace == "torch"
    assert abs(found.energy - references.heisenberg_energy(4)) < 1e-8
    other = ground_state(h, start, orthogonal_to=[beside])
    assert abs(tnet.inner(other.state.to(namespace="numpy"), beside)) < 1e-10


@pytest.mark.parametrize("stepper", [TDVP(), TDVP(sites=1), TEBD()])
@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_one_step(stepper, dtype):
    model = models.ising(4)
    net = tnet.random_network(tnet.balanced_tree(model.sites, 2), rng=np.random.default_rng(0))
    net = net.to(dtype=dtype)
    generator = -1j * tnet.operator(net.structure, model)
    plain = evolve(generator, net, t1=0.1, dt=0.1, stepper=stepper).state
    other = evolve(generator, net.to(namespace="torch"), t1=0.1, dt=0.1, stepper=stepper).state
    assert (other.namespace, other.dtype) == ("torch", dtype)
    near = 1e-10 if dtype == "complex128" else 1e-4
    assert np.abs(other.to(namespace="numpy").to_dense() - plain.to_dense()).max() < near
