"""Oscillators and stiff diffusion in time, beside the exponential of the full matrix."""

import numpy as np
import pytest
import scipy.sparse as sp

import references
import tnet
from contraction.errors import InputError
from integrators import (
    TDVP,
    AdaptiveRungeKutta,
    AugmentedBUG,
    ImplicitMidpoint,
    Lanczos,
    MidpointBUG,
    Nonlinear,
    RungeKutta4,
    evolve,
    models,
)
from integrators.models import grid

TIGHT = tnet.Truncation(tol=1e-5, max_rank=10)


@pytest.mark.parametrize(
    ("modes", "points", "stepper", "bound"),
    [
        (2, 31, AugmentedBUG, 1e-5),
        (2, 31, MidpointBUG, 1e-5),
        (2, 31, TDVP, 1e-5),
        (3, 13, AugmentedBUG, 5e-3),
        (3, 13, MidpointBUG, 2e-3),
    ],
)
def test_henon_heiles(modes, points, stepper, bound):
    """Gaussians at q = 2, strength 0.111803, T = 1, rank 10; the full grid by its exponential."""
    model = models.henon_heiles(modes, points=points)
    q = grid(points, 10.0)
    packet = np.exp(-((q - 2) ** 2) / 2)
    packet /= np.linalg.norm(packet)
    H = references.dense_sum(model.sites, model)
    start = references.product_vector([packet] * modes).astype(complex)
    exact = sp.linalg.expm_multiply(-1j * H, start).reshape((points,) * modes)
    tree = tnet.balanced_tree(model.sites)
    flow = evolve(
        -1j * tnet.operator(tree, model),
        tnet.product_state(tree, dict.fromkeys(model.sites, packet)),
        t1=1.0,
        dt=0.02,
        stepper=stepper(truncation=TIGHT),
        every=50,
    )
    found = np.asarray(tnet.contract(flow.state, list(model.sites)))
    assert np.linalg.norm(found - exact) < bound
    assert abs(flow.drift.norm) < 1e-6
    assert abs(flow.drift.energy) < 1e-4


@pytest.mark.slow
def test_henon_heiles_of_four_modes():
    """d = 4 on 31 points each: 10^6 entries; finer steps are the reference, energy is kept."""
    model = models.henon_heiles(4)
    q = grid(31, 10.0)
    packet = np.exp(-((q - 2) ** 2) / 2)
    packet /= np.linalg.norm(packet)
    tree = tnet.balanced_tree(model.sites)
    flows = [
        evolve(
            -1j * tnet.operator(tree, model),
            tnet.product_state(tree, dict.fromkeys(model.sites, packet)),
            t1=1.0,
            dt=dt,
            stepper=stepper(truncation=tnet.Truncation(tol=1e-6, max_rank=rank)),
            every=1000,
        )
        for stepper, dt, rank in ((AugmentedBUG, 0.02, 10), (TDVP, 0.01, 16))
    ]
    assert all(abs(flow.drift.energy) < 1e-4 for flow in flows)
    a, b = (flow.state for flow in flows)
    assert abs(abs(tnet.inner(a, b)) - 1) < 5e-3


@pytest.fixture(scope="module")
def diffusion():
    """u' = Laplace u + 20 cos(3 x) cos(3 y) u on 40 x 40 cells: rates up to 12,800."""
    n, t = 40, 0.02
    D = n**2 * sp.diags_array([1.0, -2.0, 1.0], offsets=[-1, 0, 1], shape=(n, n), format="csr")
    x = (np.arange(n) + 0.5) / n
    gain, one = sp.diags_array(np.cos(3 * x), format="csr"), sp.eye_array(n)
    start = np.exp(-((x[:, None] - 0.4) ** 2 + (x - 0.5) ** 2 + (x[:, None] - 0.4) * x) / 0.05)
    L = sp.kron(D, one) + sp.kron(one, D) + 20 * sp.kron(gain, gain)
    exact = sp.linalg.expm_multiply(t * L.tocsr(), start.ravel()).reshape(n, n)
    tree = tnet.tensor_train({"x": n, "y": n}, 6)
    terms = [(1.0, {"x": D}), (1.0, {"y": D}), (20.0, {"x": gain, "y": gain})]
    return tnet.operator(tree, terms), tnet.decompose(start, tree), exact, t


def diffused(diffusion, local):
    generator, net, exact, t = diffusion
    stepper = MidpointBUG(truncation=tnet.Truncation(tol=1e-4, max_rank=12), local=local)
    flow = evolve(generator, net, t1=t, dt=t / 10, stepper=stepper, every=10)
    found = np.asarray(tnet.contract(flow.state, ["x", "y"]))
    error = np.linalg.norm(found - exact) / np.linalg.norm(exact)
    return error, flow.statistics["applications"]


@pytest.mark.parametrize(
    "local", [Lanczos(), ImplicitMidpoint(substeps=2), AdaptiveRungeKutta(rtol=1e-6)]
)
def test_stiff_problems_in_long_steps(diffusion, local):
    """Steps of 26 times the fastest time there is."""
    error, _ = diffused(diffusion, local)
    assert error < 5e-3


def test_what_stiff_problems_cost(diffusion):
    """Explicit steps leave the range of stability; many short ones cost more than exponentials."""
    lost, _ = diffused(diffusion, RungeKutta4(substeps=4))
    assert lost > 1e3
    error, many = diffused(diffusion, RungeKutta4(substeps=12))
    assert error < 5e-3
    error, few = diffused(diffusion, Lanczos())
    assert error < 5e-3
    assert few < 0.7 * many


def test_solvers_of_linear_problems_say_so():
    tree = tnet.balanced_tree({"a": 2, "b": 2})
    net = tnet.product_state(tree, {"a": [1.0, 0.0], "b": [1.0, 0.0]})
    for local in (Lanczos(), ImplicitMidpoint()):
        with pytest.raises(InputError, match="RungeKutta"):
            evolve(
                Nonlinear(lambda t, y: y), net, t1=1.0, dt=0.5, stepper=AugmentedBUG(local=local)
            )
