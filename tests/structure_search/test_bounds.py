"""Lower bounds, cut spectra and canonical structures, against dense linear algebra."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tnet
from strategies import graphs, seeds, trees
from structure_search.bounds import CutSpectra
from structure_search.canonical import canonical_key, in_one_piece, reduced
from structure_search.fitting import conform


def spectra_of(x: np.ndarray, modes) -> CutSpectra:
    return CutSpectra(x, tuple(modes), float(np.linalg.norm(x)))


@given(graphs(), seeds)
def test_no_network_is_nearer_than_the_bound(structure, seed) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(structure.shape)
    if x.size == 1:
        return
    bound = spectra_of(x, structure.modes).bound(structure)
    assert 0.0 <= bound <= 1.0
    found = (
        tnet.fit(x, structure, rng=rng, options=tnet.ALS(restarts=2, probe=15, polish=0))
        if len(structure.components) == 1
        else None
    )
    if found is not None:
        assert bound <= found.error * (1 + 1e-9) + 1e-9


@given(trees(max_nodes=5), seeds)
def test_the_bound_is_zero_where_the_network_is_exact(structure, seed) -> None:
    net = tnet.random_network(structure, rng=np.random.default_rng(seed))
    x = np.asarray(tnet.contract(net))
    if np.linalg.norm(x) > 0:
        assert spectra_of(x, structure.modes).bound(structure) <= 1e-6


@given(st.integers(2, 4), seeds)
def test_tails_are_those_of_the_singular_values(order, seed) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 5, order))
    x = rng.standard_normal(shape)
    modes = [f"x{i}" for i in range(order)]
    spectra = spectra_of(x, modes)
    for count in range(1, order):
        for rows in itertools.combinations(range(order), count):
            rest = [k for k in range(order) if k not in rows]
            matrix = x.transpose(*rows, *rest).reshape(int(np.prod([shape[k] for k in rows])), -1)
            s = np.linalg.svd(matrix, compute_uv=False)
            tails = spectra.tails([modes[k] for k in rows])
            exact = np.sqrt(np.append(np.cumsum(s[::-1] ** 2)[::-1], 0.0)) / np.linalg.norm(x)
            assert len(tails) == len(exact)
            np.testing.assert_allclose(tails, exact, atol=1e-6)
            assert np.all(tails <= exact + 1e-12)
            assert spectra.rank([modes[k] for k in rows], 0.5) == max(1, np.sum(exact > 0.5))


@pytest.mark.parametrize("imaginary", [0.0, 1.0])
@pytest.mark.parametrize(("shape", "rank"), [((3,) * 7, 2), ((2, 3, 4, 5, 2, 3), 2), ((4,) * 5, 1)])
def test_exact_values_of_narrow_sides(shape, rank, imaginary) -> None:
    """Wide sides are computed in the bases of narrow ones: to rounding the same."""
    rng = np.random.default_rng(0)
    ring = tnet.tensor_ring(shape, rank)
    net = tnet.random_network(ring, rng=rng)
    turned = {
        n: np.asarray(x) * np.exp(1j * imaginary * rng.random(x.shape))
        for n, x in net.arrays.items()
    }
    x = np.asarray(tnet.contract(tnet.Network(ring, turned), ring.modes))
    order = rng.permutation(x.ndim)
    x = np.ascontiguousarray((x if imaginary else x.real).transpose(order))
    modes = [f"m{k}" for k in range(x.ndim)]
    spectra = spectra_of(x, modes)
    for rows in spectra.all_cuts():
        axes = [modes.index(mode) for mode in rows]
        rest = [k for k in range(x.ndim) if k not in axes]
        high = int(np.prod([x.shape[k] for k in axes]))
        exact = np.linalg.svd(x.transpose(axes + rest).reshape(high, -1), compute_uv=False)
        found = spectra.exact_values(rows)
        np.testing.assert_allclose(found * np.linalg.norm(x), exact, atol=1e-13 * exact[0])


def test_bounds_of_many_modes_see_pairs_that_are_joined() -> None:
    rng = np.random.default_rng(0)
    train = tnet.tensor_train((2,) * 11, 2)
    x = np.asarray(tnet.contract(tnet.random_network(train, rng=rng)))
    spectra = spectra_of(x, train.modes)
    assert spectra.bound(train) <= 1e-6
    thin = train.resized({"g5-g6": 1})  # two bond values leave x4 and x5, or x6 and x7
    assert spectra.bound(thin) == max(
        spectra.tails(pair)[2] for pair in (("x4", "x5"), ("x6", "x7"))
    )
    fit = tnet.fit(x, thin, rng=rng, options=tnet.ALS(restarts=1, probe=5, polish=0))
    assert 0.01 < spectra.bound(thin) <= fit.error


@given(graphs(), seeds)
def test_reducing_loses_no_tensor(structure, seed) -> None:
    """What the structure can hold, the reduced one can hold as well, and not the other way."""
    small = reduced(structure)
    assert small.num_params <= structure.num_params
    assert len(small.components) == len(structure.components)
    assert canonical_key(small) == canonical_key(structure)
    assert reduced(small) == small
    x = np.asarray(tnet.contract(tnet.random_network(structure, rng=np.random.default_rng(seed))))
    if np.linalg.norm(x) > 0 and x.size > 1 and len(structure.components) == 1:
        bound = spectra_of(x, structure.modes).bound(small)
        assert bound <= 1e-6


@given(graphs(), st.randoms(use_true_random=False))
def test_the_key_does_not_see_names_and_orders(structure, random) -> None:
    names = list(structure.node_names)
    shuffled = list(structure.nodes)
    random.shuffle(shuffled)
    legs = [leg for leg in structure.size if leg not in structure.modes]
    renamed = tnet.Structure(shuffled, structure.sizes, structure.modes).renamed(
        {leg: f"y{k}" for k, leg in enumerate(legs)}, {n: f"m{k}" for k, n in enumerate(names)}
    )
    hubs = [n for n in names if not set(structure.legs[n]) & set(structure.modes)]
    if len(hubs) < 2:  # more may be told apart by name alone
        assert canonical_key(renamed) == canonical_key(structure)


def test_the_key_sees_what_matters() -> None:
    base = tnet.tensor_train((3, 3, 3, 3), (2, 3, 2))
    keys = {
        canonical_key(s)
        for s in (
            base,
            base.resized({"g0-g1": 3}),
            base.resized({"x0": 4}),
            base.permuted(base.modes).renamed({"x0": "x1", "x1": "x0"}),
            tnet.tensor_ring((3, 3, 3, 3), (2, 3, 2, 2)),
            tnet.tucker((3, 3, 3, 3), 2),
        )
    }
    assert len(keys) == 6


def test_idle_bonds_do_not_count() -> None:
    ring = tnet.tensor_ring((4, 4, 4, 4), (2, 3, 2, 1))
    train = tnet.tensor_train((4, 4, 4, 4), (2, 3, 2))
    assert canonical_key(ring) == canonical_key(train)
    assert reduced(ring).is_tree


@given(graphs(), seeds)
def test_conform_keeps_the_tensor(structure, seed) -> None:
    net = tnet.random_network(structure, rng=np.random.default_rng(seed))
    idle = dict.fromkeys(structure.ranks, 1)
    thin = structure.resized(idle)
    net = tnet.random_network(thin, rng=np.random.default_rng(seed))
    target = in_one_piece(reduced(thin))
    moved = conform(net, target)
    assert moved is not None
    np.testing.assert_allclose(
        tnet.contract(moved), np.asarray(tnet.contract(net, target.modes)), atol=1e-12
    )


def test_conform_refuses_other_ranks() -> None:
    net = tnet.random_network(tnet.tensor_train((3, 3), 2), rng=np.random.default_rng(0))
    assert conform(net, tnet.tensor_train((3, 3), 3)) is None


@pytest.mark.parametrize("dtype", ["float32", "complex64", "complex128"])
def test_spectra_of_other_dtypes(dtype: str) -> None:
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((4, 5, 6)) + 1j * rng.standard_normal((4, 5, 6))).astype("complex128")
    x = x.astype(dtype) if dtype.startswith("complex") else x.real.astype(dtype)
    s = np.linalg.svd(x.reshape(4, -1).astype("complex128"), compute_uv=False)
    tails = spectra_of(x, ["a", "b", "c"]).tails(["a"])
    exact = np.sqrt(np.append(np.cumsum(s[::-1] ** 2)[::-1], 0.0)) / np.linalg.norm(x)
    np.testing.assert_allclose(tails, exact, atol=1e-5)
