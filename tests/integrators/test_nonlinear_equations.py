"""Partial differential equations that are not linear, beside solve_ivp on the full grid."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import tnet
from integrators import (
    AugmentedBUG,
    MidpointBUG,
    Nonlinear,
    ParallelBUG,
    RungeKutta4,
    Together,
    evolve,
)


def solved(side, start, t):
    found = solve_ivp(
        lambda _, u: side(u.reshape(start.shape)).ravel(),
        (0, t),
        start.ravel(),
        rtol=1e-9,
        atol=1e-11,
    )
    return found.y[:, -1].reshape(start.shape)


def along(matrix, u):
    """The sum of a matrix along every axis."""
    return sum(np.moveaxis(np.tensordot(matrix, u, (1, k)), 0, k) for k in range(u.ndim))


def everywhere(tree, matrix, number=1.0):
    return tnet.operator(tree, [(number, {mode: matrix}) for mode in tree.modes])


def error(generator, net, exact, t, dt, stepper, tol, rank):
    flow = evolve(
        generator,
        net,
        t1=t,
        dt=dt,
        stepper=stepper(truncation=tnet.Truncation(tol=tol, max_rank=rank), local=RungeKutta4()),
        every=10_000,
    )
    found = np.asarray(tnet.contract(flow.state, list(net.structure.modes)))
    return np.linalg.norm(found - exact) / np.linalg.norm(exact)


def walls(n):
    """The second difference on (0, 1) that lets nothing through the walls."""
    D = np.diag(np.ones(n - 1), 1) + np.diag(np.ones(n - 1), -1) - 2 * np.eye(n)
    D[0, 0] = D[-1, -1] = -1.0
    return n**2 * D


@pytest.fixture(scope="module")
def growth():
    """Fisher's equation u' = nu Laplace u + r u (1 - u) from two spots on a 24 x 24 grid."""
    n, t = 24, 0.4
    x, D = (np.arange(n) + 0.5) / n, 0.01 * walls(n)
    spots = ((0.8, 0.3, 0.4, 0.02), (0.3, 0.7, 0.75, 0.01))
    start = sum(
        a * np.outer(np.exp(-((x - p) ** 2) / w), np.exp(-((x - q) ** 2) / w))
        for a, p, q, w in spots
    )
    exact = solved(lambda u: along(D, u) + 8 * u * (1 - u), start, t)
    net = tnet.decompose(start, tnet.tensor_train({"x": n, "y": n}, 2))
    kinetics = Nonlinear(lambda t, u: 8.0 * (u - tnet.hadamard(u, u)))
    return Together([everywhere(net.structure, D), kinetics]), net, exact, t


@pytest.mark.parametrize(
    ("stepper", "bound"), [(AugmentedBUG, 2e-3), (MidpointBUG, 4e-4), (ParallelBUG, 4e-3)]
)
def test_fishers_equation(growth, stepper, bound):
    generator, net, exact, t = growth
    assert error(generator, net, exact, t, 0.02, stepper, 1e-4, 16) < bound


def test_burgers_equation_and_its_orders():
    """u' = nu Laplace u - u (u_x + u_y), periodic."""
    n, t = 24, 0.3
    x, one = np.arange(n) / n, np.eye(n)
    ahead, behind = np.roll(one, 1, 1), np.roll(one, -1, 1)
    C, D = n / 2 * (ahead - behind), 0.01 * n**2 * (ahead + behind - 2 * one)
    start = 0.5 + 0.5 * np.outer(np.sin(2 * np.pi * x), np.cos(2 * np.pi * x))
    exact = solved(lambda u: along(D, u) - u * along(C, u), start, t)
    tree = tnet.tensor_train({"x": n, "y": n}, 2)
    gradient = everywhere(tree, C)
    steepening = Nonlinear(lambda t, u: -1.0 * tnet.hadamard(u, tnet.apply(gradient, u)))
    generator, net = Together([everywhere(tree, D), steepening]), tnet.decompose(start, tree)
    found = {
        stepper: [error(generator, net, exact, t, h, stepper, 1e-4, 20) for h in (0.03, 0.015)]
        for stepper in (AugmentedBUG, MidpointBUG)
    }
    assert found[AugmentedBUG][1] < 3e-3
    assert found[MidpointBUG][1] < 3e-4
    assert found[MidpointBUG][0] > 2.8 * found[MidpointBUG][1]


@pytest.mark.parametrize("kind", [tnet.tucker, tnet.balanced_tree])
def test_allen_and_cahns_equation_in_three_dimensions(kind):
    """u' = nu Laplace u + u - u^3; the square is rounded before it is multiplied again."""
    n, t = 8, 0.3
    x = (np.arange(n) + 0.5) / n
    D, g, f = 0.01 * walls(n), np.cos(np.pi * x), np.cos(2 * np.pi * x)
    start = 0.5 * np.einsum("i,j,k->ijk", g, f, g) + 0.2 * np.einsum("j,k->jk", g, g)
    exact = solved(lambda u: along(D, u) + u - u**3, start, t)
    net = tnet.decompose(start, kind({"x": n, "y": n, "z": n}, 2))

    def kinetics(t, u):
        square = tnet.truncate(tnet.hadamard(u, u), tnet.Truncation(tol=1e-6))
        return u - tnet.hadamard(u, square)

    generator = Together([everywhere(net.structure, D), Nonlinear(kinetics)])
    assert error(generator, net, exact, t, 0.05, AugmentedBUG, 1e-3, 6) < 2e-3


def spectral(n, length):
    """Fourier's derivative on a periodic interval."""
    k = 2j * np.pi / length * np.fft.fftfreq(n, 1 / n)
    k[n // 2] = 0
    return np.fft.ifft(k[:, None] * np.fft.fft(np.eye(n), axis=0), axis=0).real


def test_landau_damping():
    """A wave of k = 1/2 in a plasma: rate 0.1533, frequency 1.4156 (the dispersion relation)."""
    nx, nv, length, widest = 16, 64, 4 * np.pi, 6.0
    x, dv = length / nx * np.arange(nx), 2 * widest / nv
    v = -widest + dv * (np.arange(nv) + 0.5)
    tree = tnet.tensor_train({"x": nx, "v": nv})
    maxwell = np.exp(-(v**2) / 2) / np.sqrt(2 * np.pi)
    start = tnet.product_state(tree, {"x": 1 + 0.01 * np.cos(x / 2), "v": maxwell})
    streaming = tnet.operator(tree, [(-1.0, {"x": spectral(nx, length), "v": np.diag(v)})])
    k = 2j * np.pi / length * np.fft.fftfreq(nx, 1 / nx)
    k[nx // 2] = k[0] = np.inf

    def field(f):
        return np.fft.ifft(np.fft.fft(1 - dv * np.asarray(tnet.contract(f, ["x", "v"])).sum(1)) / k)

    Dv = spectral(nv, 2 * widest)

    def force(t, f):
        moved = {"g0": field(f).real[:, None] * f["g0"], "g1": f["g1"] @ Dv.T}
        return tnet.Network(f.structure, moved)

    flow = evolve(
        Together([streaming, Nonlinear(force)]),
        start,
        t1=14.0,
        dt=0.1,
        stepper=AugmentedBUG(
            truncation=tnet.Truncation(tol=1e-4, max_rank=12), local=RungeKutta4()
        ),
        measure={"field": lambda f: np.linalg.norm(field(f))},
    )
    size, t = flow.values["field"], flow.times
    peaks = 1 + np.flatnonzero((size[1:-1] > size[:-2]) & (size[1:-1] > size[2:]))
    rate = -np.polyfit(t[peaks[1:]], np.log(size[peaks[1:]]), 1)[0]
    assert rate == pytest.approx(0.1533, abs=3e-3)
    assert np.pi / np.mean(np.diff(t[peaks])) == pytest.approx(1.4156, abs=0.02)
