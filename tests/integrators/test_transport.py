"""Transport with uncertain coefficients against full tensors, collocation and what physics asks."""

from functools import lru_cache

import numpy as np
import pytest
import scipy.sparse as sp

import references
import tnet
from integrators import AugmentedBUG, MidpointBUG, ParallelBUG, RungeKutta4, evolve, models

PROBLEMS = {
    "slab": lambda: models.plane_source(cells=31, moments=8, nodes=5, source_width=0.3),
    "line": lambda: models.line_source(cells=10, degree=2, nodes=3, source_width=0.2),
    "lattice": lambda: models.lattice(cells=14, degree=2, nodes=3),
}
STEPS = 24


@lru_cache
def problem_of(name):
    return PROBLEMS[name]()


def along(matrix, tensor, axis):
    dense = matrix.toarray() if sp.issparse(matrix) else matrix
    return np.moveaxis(np.tensordot(dense, tensor, axes=(1, axis)), 0, axis)


@lru_cache
def whole_tensor(name, t):
    """The array of the state at time `t`, by the classical method on all of it."""
    problem = problem_of(name)
    sites = list(problem.model.sites)

    def side(u):
        total = np.zeros_like(u)
        for term in problem.model:
            moved = u
            for site, matrix in term.factors.items():
                moved = along(matrix, moved, sites.index(site))
            total += term.coefficient * moved
        return total

    u = references.product_vector([problem.start[s] for s in sites])
    u = u.reshape(tuple(problem.model.sites.values()))
    d = t / STEPS
    for _ in range(STEPS):
        a = side(u)
        b = side(u + d / 2 * a)
        c = side(u + d / 2 * b)
        u = u + d / 6 * (a + 2 * b + 2 * c + side(u + d * c))
    return u


def evolved(problem, t, steps=STEPS, stepper=AugmentedBUG, tol=1e-5):
    return evolve(
        tnet.operator(problem.tree, problem.model),
        tnet.product_state(problem.tree, problem.start),
        t1=t,
        dt=t / steps,
        stepper=stepper(truncation=tnet.Truncation(tol=tol), local=RungeKutta4()),
        every=steps,
    )


def time_of(problem):
    return 5 * problem.cell


@pytest.mark.parametrize(
    ("stepper", "bound"),
    [
        pytest.param(AugmentedBUG, 1e-3, marks=pytest.mark.slow),
        (MidpointBUG, 1e-3),
        (ParallelBUG, 4e-2),
    ],
)
@pytest.mark.parametrize("name", PROBLEMS)
def test_all_nodes_moments_and_cells(name, stepper, bound):
    """Also where a symmetry of the start hides directions from basis updates (the line)."""
    problem = problem_of(name)
    exact = whole_tensor(name, time_of(problem))
    flow = evolved(problem, time_of(problem), stepper=stepper)
    found = np.asarray(tnet.contract(flow.state, list(problem.model.sites)))
    assert np.linalg.norm(found - exact) < bound * np.linalg.norm(exact)
    root = np.sqrt(np.outer(problem.weights, problem.weights))
    cells = len(problem.grid)
    density = problem.unit * exact[:cells, 0] / root
    mean = np.einsum("xkj,kj->x", density, root**2)
    variance = np.einsum("xkj,kj->x", (density - mean[:, None, None]) ** 2, root**2)
    spread = models.density_spread(problem, flow.state)
    assert np.abs(spread.mean - mean).max() < 2 * bound * mean.max()
    assert np.abs(spread.variance - variance).max() < 20 * bound * variance.max()


@pytest.mark.parametrize("name", PROBLEMS)
def test_collocation_solves_one_pair_of_nodes(name):
    problem = problem_of(name)
    exact = whole_tensor(name, time_of(problem))
    root = np.sqrt(problem.weights)
    start = references.product_vector([problem.start[s] for s in ("x", "angle")])
    for k, j in ((0, 1), (2, 2)):
        model = models.collocated(problem, k, j)
        L = references.dense_sum(model.sites, model)
        want = sp.linalg.expm_multiply(time_of(problem) * L, start).reshape(exact.shape[:2])
        found = exact[:, :, k, j] / (root[k] * root[j])
        assert np.linalg.norm(found - want) < 2e-3 * np.linalg.norm(want)  # of the time steps


def test_the_density_has_the_mass_of_the_source():
    """Scattering keeps it, absorption c + b eta takes the mean of exp(-(c + b eta) t)."""
    problem = models.line_source(cells=16, degree=3, nodes=4, source_width=0.2, half_width=2.0)
    t = 0.5
    flow = evolved(problem, t, steps=12)
    spread = models.density_spread(problem, flow.state)
    area = problem.cell**2
    start = np.maximum(1e-4, np.exp(-np.sum(problem.grid**2, 1) / 0.16) / (0.16 * np.pi))
    mean = np.exp(-t) * np.sinh(t) / t
    assert spread.mean.sum() * area == pytest.approx(start.sum() * area * mean, rel=2e-3)
    assert start.sum() * area == pytest.approx(1.0, abs=2e-3)


def test_the_line_source_looks_alike_from_all_sides():
    problem = problem_of("line")
    mean = models.density_spread(problem, evolved(problem, time_of(problem)).state).mean
    square = mean.reshape(10, 10)
    for other in (square.T, square[::-1], square[:, ::-1]):
        np.testing.assert_allclose(other, square, atol=1e-4 * square.max())
    assert square.min() > -1e-3 * square.max()
    assert np.unravel_index(square.argmax(), square.shape) in ((4, 4), (4, 5), (5, 4), (5, 5))


def test_the_lattice_fills_from_its_source():
    """Nothing comes from elsewhere: the mass grows by the source, less what absorbers take."""
    problem = models.lattice(cells=14, degree=2, nodes=2, source=2.0)
    early = models.density_spread(problem, evolved(problem, 0.2, steps=8).state).mean
    assert early.sum() * problem.cell**2 == pytest.approx(2.0 * 0.2, rel=2e-2)
    late = models.density_spread(problem, evolved(problem, 2.0, steps=20).state)
    mass = late.mean.sum() * problem.cell**2
    assert 2.0 < mass < 4.0
    square = late.mean.reshape(14, 14)
    np.testing.assert_allclose(square[::-1], square, atol=2e-3 * square.max())  # left and right
    assert abs(square - square[:, ::-1]).max() > 1e-2 * square.max()  # one absorber is missing
    assert square[6:8, 6:8].min() > 0.9 * square.max()
    assert square.min() > -1e-2 * square.max()
    dark, bright = square[2:4, 2:4].mean(), square[4:6, 2:4].mean()
    assert dark < bright
