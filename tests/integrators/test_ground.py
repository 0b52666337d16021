"""Ground and excited states against exact energies: Bethe ansatz, dimers, AKLT, free fermions."""

import math

import numpy as np
import pytest

import references
import tnet
from contraction import Truncation
from contraction.errors import InputError, RankError, StructureError
from integrators import (
    DMRG,
    GroundOutcome,
    excited_states,
    ground_state,
    models,
    sweeps_of,
)

SHAPES = {
    "chain": tnet.tensor_train,
    "binary tree": tnet.balanced_tree,
    "star of chains": lambda sites: star_of_chains(sites),
}


def star_of_chains(sites):
    """Three arms that meet in a node without a mode."""
    names = list(sites)
    third = math.ceil(len(names) / 3)
    nodes = {}
    for arm in range(3):
        mine = names[arm * third : (arm + 1) * third]
        for k, name in enumerate(mine):
            inner = f"b{arm}-{k}"
            nodes[f"n{name}"] = [inner, name] + ([f"b{arm}-{k + 1}"] if k + 1 < len(mine) else [])
    nodes["hub"] = [f"b{arm}-0" for arm in range(3)]
    bonds = {leg for legs in nodes.values() for leg in legs if leg not in sites}
    return tnet.Structure(nodes, {**sites, **dict.fromkeys(bonds, 1)}, names)


def antiferro(tree, sites):
    return tnet.product_state(
        tree, {s: np.eye(n)[0 if k % 2 == 0 else n - 1] for k, (s, n) in enumerate(sites.items())}
    )


def solved(model, shape=tnet.tensor_train, **options):
    tree = shape(model.sites)
    return ground_state(tnet.operator(tree, model), antiferro(tree, model.sites), **options)


@pytest.mark.parametrize("sites", [1, 2])
@pytest.mark.parametrize("shape", SHAPES)
def test_heisenberg_on_any_tree(shape, sites):
    model = models.heisenberg(10)
    found = solved(model, SHAPES[shape], stepper=DMRG(sites=sites), tol=1e-11)
    assert found.outcome is GroundOutcome.CONVERGED
    assert abs(found.energy - references.heisenberg_energy(10)) < 1e-9
    assert found.state.dtype == "float64"
    assert abs(tnet.norm(found.state) - 1.0) < 1e-12
    H = references.dense_sum(model.sites, model)
    x = found.state.to_dense().reshape(-1)
    assert abs(x @ (H @ x) - found.energy) < 1e-10


def test_a_long_chain_to_the_bethe_ansatz():
    found = solved(models.heisenberg(32), max_rank=24, sweeps=6)
    error = found.energy - references.heisenberg_energy(32)
    assert -1e-10 < error < 1e-4
    assert all(a >= b - 1e-7 for a, b in zip(found.energies, found.energies[1:], strict=False))
    assert max(found.state.ranks.values()) == 24


@pytest.mark.parametrize("shape", [tnet.tensor_train, tnet.balanced_tree])
def test_dimers_are_found_exactly(shape):
    model = models.j1_j2(16)
    found = solved(model, shape, max_rank=8, tol=1e-13)
    assert abs(found.energy + 6.0) < 1e-11
    if shape is tnet.tensor_train:
        small = tnet.truncate(found.state, Truncation(max_rank=2))
        again = ground_state(
            tnet.operator(small.structure, model),
            small,
            max_rank=2,
            stepper=DMRG(sites=1, share=0.0),
            sweeps=1,
        )
        assert abs(again.energy + 6.0) < 1e-11
        assert max(again.state.ranks.values()) == 2


def test_aklt_is_exact_at_rank_two():
    model = models.aklt(16)
    found = solved(model, max_rank=12, tol=1e-14)
    small = tnet.truncate(found.state, Truncation(max_rank=2))
    again = ground_state(
        tnet.operator(small.structure, model),
        small,
        max_rank=2,
        stepper=DMRG(sites=1, share=0.0),
        sweeps=1,
    )
    assert abs(found.energy + 10.0) < 1e-11
    assert abs(again.energy + 10.0) < 1e-11


def test_free_fermions_at_and_off_criticality():
    for field in (0.5, 1.0):
        model = models.ising(24, field=field)
        tree = tnet.tensor_train(model.sites)
        start = tnet.product_state(tree, {s: [1.0, 0.6] for s in model.sites})
        found = ground_state(tnet.operator(tree, model), start, max_rank=24)
        assert abs(found.energy - references.ising_energy(24, field=field)) < 1e-7


CLUSTERS = {
    False: {0.0: -9.189207065193, 0.2: -8.471488122976, 0.5: -7.505556950081, 0.8: -7.141614482104},
    True: {
        0.0: -11.228483208429,
        0.2: -9.917983064479,
        0.5: -8.457923351395,
        0.8: -10.037361663876,
    },
}


def cluster(j2, periodic, rank):
    """Four by four spins from the alternating state, on a binary tree."""
    model = models.heisenberg_lattice(4, 4, j2=j2, periodic=periodic)
    tree = tnet.balanced_tree(model.sites)
    start = {s: np.eye(2)[(k // 4 + k) % 2] for k, s in enumerate(model.sites)}
    h = tnet.operator(tree, model)
    return ground_state(h, tnet.product_state(tree, start), max_rank=rank, tol=1e-10)


def test_a_cluster_from_above():
    found = cluster(0.5, False, 24)
    assert -1e-11 < found.energy - CLUSTERS[False][0.5] < 3e-2
    assert found.discarded > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("j2", [0.0, 0.2, 0.5, 0.8])
def test_clusters_of_two_dimensions(j2, periodic):
    assert abs(cluster(j2, periodic, 256).energy - CLUSTERS[periodic][j2]) < 1e-8


LONG = pytest.param(10, -12.894560132211, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("count", "energy"),
    [(4, -4.645751311065), (6, -7.370274969425), (8, -10.124637222359), LONG],
)
def test_spin_one(count, energy):
    found = solved(models.heisenberg(count, spin=1), max_rank=81)
    assert abs(found.energy - energy) < 1e-8


@pytest.mark.parametrize(
    ("interaction", "cutoff", "energy"),
    [
        pytest.param(1.0, 4, -8.362393088314, marks=pytest.mark.slow),
        pytest.param(4.0, 4, -4.443550284251, marks=pytest.mark.slow),
        (10.0, 2, -1.936945867533),
    ],
)
def test_bosons_of_a_given_number(interaction, cutoff, energy):
    """Six particles: by a start of six, which sweeps keep, and by a penalty from any start."""
    model = models.bose_hubbard(6, interaction=interaction, cutoff=cutoff)
    tree, sites = tnet.tensor_train(model.sites), list(model.sites)
    one = {s: np.eye(cutoff + 1)[1] for s in sites}
    found = ground_state(tnet.operator(tree, model), tnet.product_state(tree, one))
    assert abs(found.energy - energy) < 1e-8
    assert abs(sum(tnet.local_values(found.state, "n")) - 6.0) < 1e-10
    strength = 10.0  # strength * (N - 6)^2, written out
    penalty = [(strength, {s: ("n", "n")}) for s in sites]
    penalty += [(2.0 * strength, {a: "n", b: "n"}) for k, a in enumerate(sites) for b in sites[:k]]
    penalty += [(-12.0 * strength, {s: "n"}) for s in sites] + [(36.0 * strength, {})]
    start = tnet.product_state(tree, {s: v + 0.3 for s, v in one.items()})
    other = ground_state(tnet.operator(tree, [*model, *penalty]), start, tol=1e-10)
    assert abs(other.energy - energy) < 1e-7
    assert abs(sum(tnet.local_values(other.state, "n")) - 6.0) < 1e-7


def test_complex_operators_and_three_body_terms():
    sites = {f"s{i}": 2 for i in range(8)}
    terms = [(1.0, {f"s{i}": "x", f"s{i + 1}": "y"}) for i in range(7)]
    terms += [(0.7, {f"s{i}": "z", f"s{i + 1}": "x", f"s{i + 2}": "z"}) for i in range(6)]
    terms += [(0.4, {f"s{i}": "z"}) for i in range(8)]
    energy = references.lowest(references.dense_sum(sites, terms))[0]
    for shape in (tnet.tensor_train, tnet.balanced_tree):
        tree = shape(sites, 2)
        start = tnet.random_network(tree, rng=np.random.default_rng(0))
        found = ground_state(tnet.operator(tree, terms), start, tol=1e-11)
        assert abs(found.energy - energy) < 1e-8
        assert found.state.dtype == "complex128"


@pytest.mark.parametrize("shape", [tnet.tensor_train, tnet.balanced_tree])
def test_excited_states_are_orthogonal_eigenstates(shape):
    model = models.ising(8, field=1.2)
    tree = shape(model.sites, 2)
    start = tnet.random_network(tree, rng=np.random.default_rng(0))
    found = excited_states(tnet.operator(tree, model), start, 4, tol=1e-12)
    energies = references.lowest(references.dense_sum(model.sites, model), 4)
    assert np.allclose([f.energy for f in found], energies, atol=1e-8, rtol=0.0)
    overlaps = [abs(tnet.inner(a.state, b.state)) for a in found for b in found if a is not b]
    assert max(overlaps) < 1e-10


def test_long_range_pairs_on_a_tree():
    model = models.long_range_ising(10)
    tree = tnet.balanced_tree(model.sites, 2)
    start = tnet.random_network(tree, rng=np.random.default_rng(2))
    found = ground_state(tnet.operator(tree, model), start, tol=1e-12)
    energy = references.lowest(references.dense_sum(model.sites, model))[0]
    assert abs(found.energy - energy) < 1e-9


def test_one_node_and_two_nodes():
    h = [(1.0, {"x": "x", "y": "x"}), (0.3, {"x": "z"})]
    energy = references.lowest(references.dense_sum({"x": 2, "y": 2}, h))[0]
    for tree in (
        tnet.Structure({"a": ("x", "y")}, {"x": 2, "y": 2}),
        tnet.tensor_train({"x": 2, "y": 2}),
        tnet.balanced_tree({"x": 2, "y": 2}),
    ):
        start = tnet.product_state(tree, {"x": [1.0, 0.2], "y": [0.3, 1.0]})
        assert abs(ground_state(tnet.operator(tree, h), start).energy - energy) < 1e-10


def test_the_same_call_gives_the_same_bits_and_starts_are_not_written_to():
    model = models.heisenberg(10)
    tree = tnet.balanced_tree(model.sites)
    start, h = antiferro(tree, model.sites), tnet.operator(tree, model)
    before = {node: np.array(x) for node, x in start.arrays.items()}
    one, two = (ground_state(h, start, sweeps=3) for _ in range(2))
    assert one.energies == two.energies
    assert all(np.array_equal(one.state[n], two.state[n]) for n in tree.node_names)
    assert all(np.array_equal(start[n], before[n]) for n in tree.node_names)


def test_what_makes_no_sense_is_refused():
    model = models.heisenberg(4)
    tree = tnet.tensor_train(model.sites)
    h, start = tnet.operator(tree, model), antiferro(tree, model.sites)
    with pytest.raises(InputError, match="Hermitian"):
        ground_state(1j * h, start)
    with pytest.raises(InputError, match="zero"):
        ground_state(h, start * 0.0)
    with pytest.raises(StructureError, match="same tree"):
        ground_state(h, antiferro(tnet.balanced_tree(model.sites), model.sites))
    with pytest.raises(RankError, match="sweeps"):
        ground_state(h, start, sweeps=0)
    with pytest.raises(InputError, match="tol"):
        ground_state(h, start, tol=-1.0)
    with pytest.raises(InputError, match="sites"):
        DMRG(sites=3)
    with pytest.raises(InputError, match="tol"):
        DMRG(cutoff=-1.0)
    with pytest.raises(InputError, match="got Model"):
        ground_state(model, start)
    with pytest.raises(InputError, match="got ndarray"):
        ground_state(h, np.ones(4))
    with pytest.raises(RankError, match="max_rank"):
        ground_state(h, start, max_rank=0)
    with pytest.raises(InputError, match="16 states"):
        excited_states(h, start, 17)
    with pytest.raises(InputError, match="got 1 for 2"):
        excited_states(h, [start], 2)


def kinds_of_start(tree):
    model = models.ising(6, field=0.7)
    return tnet.random_network(tree(model.sites, 2), rng=np.random.default_rng(0)), model


@pytest.mark.parametrize("scale", [1e-100, 1e-8, 1e8, 1e100])
def test_the_tolerance_is_relative(scale):
    start, model = kinds_of_start(tnet.balanced_tree)
    plain = ground_state(tnet.operator(start.structure, model), start)
    h = tnet.operator(start.structure, [(scale * t.coefficient, t.factors) for t in model])
    found = ground_state(h, start)
    assert found.sweeps == plain.sweeps
    assert abs(found.energy / scale - plain.energy) < 1e-9
    assert abs(plain.energy - references.ising_energy(6, field=0.7)) < 1e-8


@pytest.mark.parametrize("tree", [tnet.tensor_train, tnet.balanced_tree])
@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_single_precision_stays_so(dtype, tree):
    start, model = kinds_of_start(tree)
    terms = list(model)
    if dtype == "complex64":
        terms.append((0.5, {"s0": "y"}))
    found = ground_state(tnet.operator(start.structure, terms), start.to(dtype="float32"))
    energy = references.lowest(references.dense_sum(model.sites, terms))[0]
    assert found.state.dtype == dtype
    assert found.outcome is GroundOutcome.CONVERGED
    assert abs(found.energy - energy) < 1e-5


@pytest.mark.parametrize("tree", [tnet.tensor_train, tnet.balanced_tree])
def test_wide_starts_are_lowered_and_no_bond_is_wider_than_its_sides(tree):
    model = models.heisenberg(8)
    start = tnet.random_network(tree(model.sites, 20), rng=np.random.default_rng(0))
    h = tnet.operator(start.structure, model)
    low = ground_state(h, start, max_rank=3)
    assert max(low.state.ranks.values()) == 3
    assert low.energy > references.heisenberg_energy(8)
    full = ground_state(h, start, max_rank=None)
    assert max(full.state.ranks.values()) <= 16
    assert abs(full.energy - references.heisenberg_energy(8)) < 1e-8


@pytest.mark.parametrize("power", [-200, 200])
def test_the_norm_of_the_start_does_not_matter(power):
    start, model = kinds_of_start(tnet.tensor_train)
    found = ground_state(tnet.operator(start.structure, model), start * 10.0**power)
    assert abs(found.energy - references.ising_energy(6, field=0.7)) < 1e-8


def test_operators_without_scale():
    start, _ = kinds_of_start(tnet.balanced_tree)
    for terms, energy in (([], 0.0), ([(2.5, {})], 2.5)):
        found = ground_state(tnet.operator(start.structure, terms), start)
        assert found.outcome is GroundOutcome.CONVERGED
        assert abs(found.energy - energy) < 1e-12


def test_a_search_is_continued_as_if_it_had_not_been_stopped():
    model = models.heisenberg(10)
    tree = tnet.balanced_tree(model.sites)
    h, start = tnet.operator(tree, model), antiferro(tree, model.sites)
    whole = ground_state(h, start)
    seen = []

    def stop(sweep):
        seen.append(sweep)
        return GroundOutcome.STOPPED if len(seen) == 2 else None

    first = ground_state(h, start, callback=stop)
    assert first.outcome is GroundOutcome.STOPPED
    assert first.sweeps == len(seen) == 2
    rest = ground_state(h, first.state, progress=first.progress)
    assert rest.outcome is GroundOutcome.CONVERGED
    assert first.sweeps + rest.sweeps == whole.sweeps == len(rest.energies)
    assert np.allclose(rest.energies, whole.energies, rtol=0.0, atol=1e-12)
    for k, sweep in enumerate(sweeps_of(h, start)):
        assert sweep.energy == whole.energies[k]
        assert abs(tnet.expectation(sweep.state, h) - sweep.energy) < 1e-11
    assert sweep.converged


def test_states_of_a_degenerate_level_from_starts_of_their_own():
    tree = tnet.Structure({"a": ("x", "y")}, {"x": 2, "y": 2})
    h = tnet.operator(tree, [(1.0, {"x": "x", "y": "x"}), (0.3, {"x": "z"})])
    starts = [tnet.random_network(tree, rng=np.random.default_rng(k)) for k in range(4)]
    found = [f.energy for f in excited_states(h, starts, 4)]
    assert np.allclose(found, np.sqrt(1.09) * np.array([-1.0, -1.0, 1.0, 1.0]), atol=1e-9)


@pytest.mark.parametrize("shape", [tnet.tensor_train, tnet.balanced_tree])
def test_degenerate_ground_states(shape):
    model = models.j1_j2(8, periodic=True)
    tree = shape(model.sites, 4)
    start = tnet.random_network(tree, rng=np.random.default_rng(0))
    found = excited_states(tnet.operator(tree, model), start, 3)
    want = references.lowest(references.dense_sum(model.sites, model), 3)
    assert np.allclose([f.energy for f in found], want, atol=1e-7)
    assert max(f.variance for f in found) < 1e-7


def test_variances_and_cuts_are_those_of_the_state():
    model = models.heisenberg(10)
    found = solved(model, tnet.balanced_tree, max_rank=6)
    H = references.dense_sum(model.sites, model)
    x = found.state.to_dense().reshape(-1)
    y = H @ x - found.energy * x
    assert abs(found.variance - y @ y) < 1e-9
    gap = found.energy - references.heisenberg_energy(10)
    assert 0.0 < gap < 10.0 * found.discarded


@pytest.mark.parametrize("sites", [None, 2])
@pytest.mark.parametrize("mode", [True, False])
def test_a_star_of_five_arms_and_modes_of_one_state(mode, sites):
    names = [*(["m"] if mode else []), *(f"s{k}" for k in range(5))]
    nodes = {"hub": ("m",) * mode + tuple(f"b{k}" for k in range(5))}
    nodes |= {f"n{k}": (f"b{k}", f"s{k}", f"one{k}") for k in range(5)}
    sizes = {**dict.fromkeys(names, 2), **{f"b{k}": 1 for k in range(5)}}
    ones = [f"one{k}" for k in range(5)]
    tree = tnet.Structure(nodes, {**sizes, **dict.fromkeys(ones, 1)}, (*names, *ones))
    terms = [(1.0, {a: p, b: p}) for k, a in enumerate(names) for b in names[:k] for p in "xz"]
    terms += [(0.3, {a: "z"}) for a in names]
    vectors = {a: [1.0, 0.3 * k] for k, a in enumerate(names)} | {one: [1.0] for one in ones}
    start = tnet.product_state(tree, vectors)
    found = ground_state(tnet.operator(tree, terms), start, stepper=DMRG(sites=sites))
    energy = references.lowest(references.dense_sum(dict.fromkeys(names, 2), terms))[0]
    assert abs(found.energy - energy) < 1e-7


@pytest.mark.slow
def test_full_lengths_of_the_exact_cases():
    dimers = solved(models.j1_j2(64), max_rank=8, tol=1e-13)
    assert abs(dimers.energy + 24.0) < 1e-11
    bonds = solved(models.aklt(32), max_rank=12, tol=1e-14)
    assert abs(bonds.energy + 62.0 / 3.0) < 1e-11
    chain = solved(models.heisenberg(100), max_rank=100)
    assert abs(chain.energy - references.heisenberg_energy(100)) < 3e-8
