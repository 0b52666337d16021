"""Models against exact references: energies known in closed form or by dense linear algebra."""

import math

import numpy as np
import pytest

import references
import tnet
from contraction.errors import InputError
from integrators import models


def ground(model):
    return references.lowest(references.dense_sum(model.sites, model))[0]


@pytest.mark.parametrize("field", [0.5, 1.0, 2.0])
def test_ising_chain_is_free_fermions(field):
    want = references.ising_energy(10, field=field)
    assert ground(models.ising(10, field=field)) == pytest.approx(want, abs=1e-10)


@pytest.mark.parametrize("count", [4, 8, 12])
def test_heisenberg_chain_is_bethe(count):
    want = references.heisenberg_energy(count)
    assert ground(models.heisenberg(count)) == pytest.approx(want, abs=1e-9)


@pytest.mark.parametrize(
    ("model", "energy"),
    [
        (models.heisenberg(8, periodic=True), -3.651093408937),
        (models.heisenberg(6, spin=1), -7.370274969425),
        (models.j1_j2(8, periodic=True), -3.0),
        (models.j1_j2(8), -3.0),
        (models.aklt(5), -8.0 / 3.0),
        (models.bose_hubbard(4, hopping=0.0, interaction=2.0, potential=1.5), -6.0),
        (models.ising_lattice(3, 3), None),
        (models.heisenberg_lattice(4, 3, j2=0.3), None),
    ],
)
def test_ground_energies(model, energy):
    found = ground(model)
    if energy is not None:
        assert found == pytest.approx(energy, abs=1e-9)
    assert np.isfinite(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "energy"),
    [
        (models.heisenberg_lattice(4, 4), -9.189207065193),
        (models.heisenberg_lattice(4, 4, j2=0.5), -7.505556950081),
        (models.heisenberg_lattice(4, 4, periodic=True), -11.228483208429),
        (models.heisenberg_lattice(4, 4, j2=0.5, periodic=True), -8.457923351395),
        (models.ising_lattice(4, 4), -26.860504639528),
        (models.ising_lattice(4, 4, field=3.04438, periodic=True), -52.065694383749),
    ],
)
def test_clusters_of_sixteen(model, energy):
    assert ground(model) == pytest.approx(energy, abs=1e-8)


def test_bose_hubbard_of_six_bosons():
    """The sector of six bosons on six sites (the table's numbers), by projection."""
    model = models.bose_hubbard(6, interaction=10.0, cutoff=2)
    n = np.diag(np.arange(3.0))
    total = references.dense_sum(model.sites, [(1.0, {s: n}) for s in model.sites]).diagonal()
    sector = np.flatnonzero(np.isclose(total, 6))
    H = references.dense_sum(model.sites, model)[sector][:, sector]
    assert references.lowest(H)[0] == pytest.approx(-1.936945867533, abs=1e-9)


@pytest.mark.parametrize("count", [4, 8])
def test_long_range_quench(count):
    model = models.long_range_ising(count)
    H = references.dense_sum(model.sites, model)
    start = references.product_vector([[1.0, 0.0]] * count)
    states = references.quench(H, start, [0.2, 0.5, 1.0])
    found = [references.local_values(psi, model.sites, "z").mean() for psi in states]
    np.testing.assert_allclose(found, references.LONG_RANGE_ISING[count], atol=1e-10)


def test_infinite_exponent_leaves_neighbours():
    near = models.long_range_ising(5, exponent=math.inf)
    far = models.long_range_ising(5, exponent=60.0)
    a, b = (references.dense_sum(m.sites, m) for m in (near, far))
    assert abs(a - b).max() < 1e-12


def test_positions_set_the_distances():
    plain = models.long_range_ising(4)
    moved = models.long_range_ising(4, positions=[3.0, 2.0, 1.0, 0.0])
    a, b = (references.dense_sum(m.sites, m) for m in (plain, moved))
    assert abs(a - b).max() < 1e-14


def test_spin_only_dephases():
    w, g = [1.3, 0.7], [0.3, 0.2]
    model = models.spin_boson(w, g, splitting=0.4, cutoff=11)
    H = references.dense_sum(model.sites, model)
    vacuum = np.eye(12)[0]
    start = references.product_vector([[math.sqrt(0.5)] * 2, vacuum, vacuum])
    (psi,) = references.quench(H, start, [1.0])
    seen = psi.reshape(2, -1)
    x = 2 * np.vdot(seen[0], seen[1]).real
    assert x == pytest.approx(references.dephasing(1.0, w, g, splitting=0.4), abs=1e-7)


def test_hierarchy_of_couplings():
    coefficients = [t.coefficient for t in models.hierarchical(3, ratio=0.5).terms[2::3]]
    assert coefficients == [1.0, 0.5, 1.0, 0.25, 1.0, 0.5, 1.0]


def test_oscillators_without_coupling():
    """Without the cubic terms the energy is 1/2 for each coordinate."""
    model = models.henon_heiles(2, strength=0.0)
    assert ground(model) == pytest.approx(1.0, abs=1e-8)


def test_transport_conserves_mass_without_absorption():
    problem = models.plane_source(cells=21, moments=6, nodes=3, source_width=0.3)
    sites = problem.model.sites
    L = references.dense_sum(sites, problem.model)
    start = references.product_vector([problem.start[s] for s in sites])
    rate = (L @ start).reshape(tuple(sites.values()))
    assert abs(rate[:, 0].sum()) < 1e-12 * np.abs(rate).sum()


def test_density_spread_is_that_of_the_dense_tensor():
    problem = models.plane_source(cells=9, moments=3, nodes=4)
    rng = np.random.default_rng(0)
    state = tnet.random_network(problem.tree.resized(dict.fromkeys(problem.tree.bonds, 3)), rng=rng)
    dense = np.asarray(tnet.contract(state, ["x", "angle", "xi", "eta"]))[:, 0]
    rho = dense / np.sqrt(np.outer(problem.weights, problem.weights))
    w = np.outer(problem.weights, problem.weights)
    mean = np.einsum("xkl,kl->x", rho, w)
    found = models.density_spread(problem, state)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(
        found.variance, np.einsum("xkl,kl->x", (rho - mean[:, None, None]) ** 2, w), rtol=1e-9
    )


@pytest.mark.parametrize("problem", [models.line_source, models.lattice])
def test_plane_problems_lose_no_mass_inside(problem):
    """Streaming and scattering move mass, only absorption (and the source) changes it."""
    found = problem(cells=14, degree=2, nodes=2, absorption=0.0, spread=(0.0, 0.0))
    sites = found.model.sites
    L = references.dense_sum(sites, found.model)
    middle = np.zeros(sites["x"])
    middle[7 * 14 + 7] = 1.0
    start = references.product_vector([middle, *(found.start[s] for s in sites if s != "x")])
    rate = (L @ start).reshape(tuple(sites.values()))
    assert abs(rate[:, 0].sum()) < 1e-12 * np.abs(rate).sum()


@pytest.mark.parametrize(
    "call",
    [
        lambda: models.ising(1),
        lambda: models.ising(4, field=math.nan),
        lambda: models.heisenberg(4, spin=0.7),
        lambda: models.heisenberg(2, periodic=True),
        lambda: models.j1_j2(4, periodic=True),
        lambda: models.long_range_ising(4, positions=[0.0, 1.0, 1.0, 2.0]),
        lambda: models.long_range_ising(4, exponent=-1.0),
        lambda: models.bose_hubbard(4, cutoff=0),
        lambda: models.spin_boson([1.0], [0.1, 0.2]),
        lambda: models.henon_heiles(3, points=10),
        lambda: models.hierarchical(0),
        lambda: models.plane_source(cells=1),
        lambda: models.lattice(cells=3),
    ],
)
def test_wrong_parameters(call):
    with pytest.raises(InputError):
        call()
