"""truncate on any tree: the error promised is kept, the certificate holds, twice is once."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tnet
from contraction.arrays import eps, to, to_numpy
from contraction.errors import (
    InputError,
    NonFiniteError,
    PrecisionWarning,
    RankError,
    StructureError,
)
from strategies import networks, seeds, trees
from tnet import ErrorKind, Rounding, Truncation
from tnet.allocation import allocate


def dense(net):
    """The full tensor in double precision, whatever the dtype of the network."""
    arrays = {n: to_numpy(x).astype(np.complex128) for n, x in net.arrays.items()}
    return tnet.Network(net.structure, arrays).to_dense()


def measured(net, small):
    """True relative error."""
    x = dense(net)
    size = np.linalg.norm(x)
    return float(np.linalg.norm(x - dense(small)) / size) if size else 0.0


def isometric(net):
    tree = tnet.rooted(net.structure, net.center)
    for node in tree.pre_order[1:]:
        x = np.moveaxis(to_numpy(net[node]), tree.axis(node), -1)
        x = x.reshape(-1, x.shape[-1]).astype(np.complex128)
        if np.abs(x.conj().T @ x - np.eye(x.shape[1])).max() > 1e3 * eps(net.dtype):
            return False
    return True


def degenerate(net, kind, rng):
    """Networks with something special about them, without changing the structure."""
    if kind == "plain" or not net.structure.bonds:
        return net
    bond = net.structure.bonds[int(rng.integers(len(net.structure.bonds)))]
    node = net.structure.holders[bond][0]
    axis = net.structure.legs[node].index(bond)
    x = np.moveaxis(to_numpy(net[node]).copy(), axis, 0)
    if kind == "deficient":  # all slices along the bond are equal
        x[:] = x[0]
    elif kind == "zero":
        x[:] = 0.0
    elif kind == "graded":
        x *= (10.0 ** -np.arange(0.0, 2.0 * len(x), 2.0)).reshape(-1, *[1] * (x.ndim - 1))
    changed = np.ascontiguousarray(np.moveaxis(x, 0, axis)).astype(net.dtype)
    return net.replace({node: to(changed, namespace=net.namespace)})


@st.composite
def cases(draw):
    net = draw(networks(trees()))
    rng = np.random.default_rng(draw(seeds))
    net = degenerate(net, draw(st.sampled_from(["plain", "deficient", "zero", "graded"])), rng)
    if draw(st.booleans()):
        net = tnet.orthogonalize(net, draw(st.sampled_from(net.structure.node_names)))
    return net


def check_promises(net, truncation, method):
    small = tnet.truncate(net, truncation, method=method)
    certificate, unit = small.certificate, eps(net.dtype)
    error = measured(net, small)
    assert small.structure.same_graph(net.structure)
    assert (small.dtype, small.namespace) == (net.dtype, net.namespace)
    assert all(small.ranks[b] <= net.ranks[b] for b in net.ranks)
    assert isometric(small)
    # the oracle itself rounds: a few eps of double precision
    assert error <= certificate.bound * (1 + 1e-10) + 2e-15
    if truncation.max_rank is None and truncation.tol:
        assert error <= truncation.tol
    if certificate.kind is ErrorKind.EXACT:
        assert abs(certificate.error - error) <= 0.02 * error + 100 * unit
    else:
        assert certificate.kind is ErrorKind.BOUND
        assert certificate.error == certificate.bound
    weights = [w * w for w in certificate.discarded.values()]
    assert math.sqrt(sum(weights)) <= certificate.bound
    again = tnet.truncate(small, truncation, method=method)
    assert dict(again.ranks) == dict(small.ranks)
    assert measured(net, again) <= again.certificate.bound * (1 + 1e-10) + 4e-15


requests = st.one_of(
    st.builds(Truncation, tol=st.sampled_from([0.0, 1e-4, 1e-2, 0.1, 0.4, 0.9])),
    st.builds(
        Truncation,
        tol=st.sampled_from([0.0, 0.1]),
        max_rank=st.integers(2, 3),
        min_rank=st.integers(1, 2),
    ),
)


@given(cases(), requests, st.sampled_from([Rounding.AUTO, Rounding.GRAM]))
def test_promises(net, truncation, method):
    check_promises(net, truncation, method)


@pytest.mark.slow
@settings(max_examples=500)
@given(cases(), requests, st.sampled_from([Rounding.AUTO, Rounding.GRAM]))
def test_promises_on_five_hundred_trees(net, truncation, method):
    check_promises(net, truncation, method)


# ---- larger networks: the fast way, its accuracy, and when it is refused ---------------------


def signal_and_noise(structure_of, rank, noise_rank, noise, seed=0, dtype="float64"):
    """A random network of low rank plus a random one of relative size `noise`."""
    rng = np.random.default_rng(seed)
    a = tnet.orthogonalize(tnet.random_network(structure_of(rank), rng=rng, dtype=dtype))
    b = tnet.orthogonalize(tnet.random_network(structure_of(noise_rank), rng=rng, dtype=dtype))
    return tnet.add((1.0 / tnet.norm(a)) * a, (noise / tnet.norm(b)) * b)


BIG = {
    "path": lambda rank: tnet.tensor_train((4,) * 8, rank),
    "balanced": lambda rank: tnet.balanced_tree((6,) * 6, rank),
    "star": lambda rank: tnet.tucker((40, 40, 40), rank),
    "branching": lambda rank: tnet.tree(((30, (30, 30)), ((30, 30), 30), 30), rank=rank),
}


@pytest.mark.parametrize("namespace", ["numpy", "torch"])
@pytest.mark.parametrize("dtype", ["float64", "complex128"])
@pytest.mark.parametrize("shape", BIG)
def test_gram_and_qr_agree(shape, dtype, namespace):
    if namespace == "torch":
        pytest.importorskip("torch")
    net = signal_and_noise(BIG[shape], 4, 20, 1e-3, dtype=dtype).to(namespace=namespace)
    request = Truncation(tol=2e-3)
    fast = tnet.truncate(net, request)
    slow = tnet.truncate(net, request, method=Rounding.QR_SVD)
    assert set(fast.certificate.methods.values()) <= {"gram+eigh", "gram+subspace"}
    assert set(slow.certificate.methods.values()) == {"qr+svd"}
    assert dict(fast.ranks) == dict(slow.ranks)
    assert max(fast.ranks.values()) < max(net.ranks.values())
    assert fast.error == pytest.approx(slow.error, rel=2e-3)
    lost = tnet.distance(net, fast) / tnet.norm(net)
    assert lost <= fast.certificate.bound <= 2e-3
    if fast.certificate.kind is ErrorKind.EXACT:
        assert lost == pytest.approx(fast.error, rel=1e-3)
    assert isometric(fast)


def test_some_leading_vectors_are_enough_and_near_optimal():
    net = signal_and_noise(lambda r: tnet.tensor_train((4,) * 8, r), 20, 60, 1e-4)
    fast = tnet.truncate(net, Truncation(max_rank=20))
    slow = tnet.truncate(net, Truncation(max_rank=20), method=Rounding.QR_SVD)
    assert "gram+subspace" in fast.certificate.methods.values()
    assert fast.certificate.kind is ErrorKind.EXACT
    assert fast.error == pytest.approx(slow.error, rel=1e-4)
    assert tnet.distance(net, fast) == pytest.approx(fast.error * tnet.norm(net), rel=1e-4)


def test_small_tolerances_are_served_by_qr():
    net = signal_and_noise(lambda r: tnet.tensor_train((4,) * 8, r), 8, 20, 1e-10)
    small = tnet.truncate(net, Truncation(tol=2e-10))
    assert set(small.certificate.methods.values()) == {"qr+svd"}
    assert max(small.ranks.values()) < 28
    lost = tnet.distance(net, small) / tnet.norm(net)
    assert lost <= 2e-10
    assert small.error == pytest.approx(lost, rel=1e-3)


def test_cancellation_is_noticed():
    # |a - b| is 1e-7 of |a|: a Gram matrix sees only the rounding of the big parts
    rng = np.random.default_rng(1)
    shape = tnet.tensor_train((4,) * 8, 12)
    a = tnet.random_network(shape, rng=rng)
    tiny = tnet.random_network(tnet.tensor_train((4,) * 8, 3), rng=rng)
    b = tnet.add(a, (1e-7 * tnet.norm(a) / tnet.norm(tiny)) * tiny)
    net = tnet.subtract(b, a)
    small = tnet.truncate(net, Truncation(tol=1e-2))
    assert set(small.certificate.methods.values()) == {"qr+svd"}
    # the input itself is only known to eps |a| = 2e-9 of its norm
    want = 1e-7 * tnet.norm(a)
    assert math.isclose(tnet.norm(small), want, rel_tol=1e-2)
    assert max(small.ranks.values()) == 3


def test_a_bad_gauge_is_noticed():
    net = signal_and_noise(lambda r: tnet.tensor_train((4,) * 8, r), 8, 16, 1e-3)
    rng = np.random.default_rng(0)
    arrays = dict(net.arrays)
    for k in range(2, 6):  # insert G and its inverse, condition 1e8
        rank = net.ranks[f"g{k}-g{k + 1}"]
        d = 10.0 ** rng.uniform(-4, 4, rank)
        arrays[f"g{k}"] = arrays[f"g{k}"] * d
        arrays[f"g{k + 1}"] = arrays[f"g{k + 1}"] / d[:, None, None]
    bad = tnet.Network(net.structure, arrays)
    small = tnet.truncate(bad, Truncation(tol=2e-3))
    lost = tnet.distance(net, small) / tnet.norm(net)
    assert lost <= min(2e-3, small.certificate.bound)
    assert max(small.ranks.values()) == 8


def test_long_products_out_of_range():
    net = signal_and_noise(lambda r: tnet.tensor_train((3,) * 8, r), 2, 18, 1e-3)
    factors = itertools.cycle([1e-90, 1e-90, 1e90, 1e90])
    arrays = {n: x * f for (n, x), f in zip(net.arrays.items(), factors, strict=False)}
    for method in (Rounding.GRAM, Rounding.QR_SVD):
        small = tnet.truncate(
            tnet.Network(net.structure, arrays), Truncation(tol=1e-2), method=method
        )
        assert max(small.ranks.values()) == 2
        assert tnet.distance(net, small) <= 1e-2 * tnet.norm(net)


@pytest.mark.parametrize("scale", [1e-100, 1e100])
def test_a_norm_out_of_range_is_spread_over_the_nodes(scale):
    net = signal_and_noise(lambda r: tnet.tensor_train((3,) * 8, r), 2, 8, 1e-3)
    arrays = {n: x * scale for n, x in net.arrays.items()}
    small = tnet.truncate(tnet.Network(net.structure, arrays), Truncation(tol=1e-2))
    assert small.center is None
    assert max(small.ranks.values()) == 2
    back = tnet.Network(small.structure, {n: x / scale for n, x in small.arrays.items()})
    assert tnet.distance(net, back) <= 1e-2 * tnet.norm(net)


# ---- ranks and budgets ----------------------------------------------------------------------


@given(networks(trees(), namespaces=("numpy",), dtypes=("float64",)), st.data())
def test_ranks_by_name(net, data):
    bonds = net.structure.bonds
    ranks = {b: data.draw(st.integers(1, 4)) for b in bonds if data.draw(st.booleans())}
    small = tnet.truncate(net, ranks)
    assert all(small.ranks[b] <= r for b, r in ranks.items())
    assert measured(net, small) <= small.certificate.bound * (1 + 1e-10) + 2e-15
    again = tnet.truncate(small, ranks)
    assert dict(again.ranks) == dict(small.ranks)


def quality(spectra, ranks):
    return sum(float((spectra[b][r:] ** 2).sum()) for b, r in ranks.items())


@given(networks(trees(max_nodes=5), namespaces=("numpy",), dtypes=("float64",)), st.data())
def test_budgets_are_kept_and_near_the_best(net, data):
    spectra = tnet.bond_spectra(net)
    least = net.structure.resized(dict.fromkeys(net.ranks, 1)).num_params
    budget = data.draw(st.integers(max(least - 2, 1), net.num_params + 1))
    if budget < least:
        with pytest.raises(RankError, match=f"max_params >= {least}"):
            tnet.truncate(net, Truncation(max_params=budget))
        return
    small = tnet.truncate(net, Truncation(max_params=budget))
    assert small.num_params <= budget
    error = measured(net, small)
    assert error <= small.certificate.bound * (1 + 1e-10) + 2e-15
    assert dict(tnet.truncate(small, Truncation(max_params=budget)).ranks) == dict(small.ranks)
    # against brute force over all ranks
    bonds = net.structure.bonds
    options = itertools.product(*(range(1, len(spectra[b]) + 1) for b in bonds))
    fits = (
        quality(spectra, dict(zip(bonds, ranks, strict=True)))
        for ranks in options
        if net.structure.resized(dict(zip(bonds, ranks, strict=True))).num_params <= budget
    )
    best = min(fits)
    got = quality(spectra, allocate(spectra, net.structure, budget))
    total = float((spectra[bonds[0]] ** 2).sum()) if bonds else 1.0
    assert got >= best - 1e-12 * total
    assert math.sqrt(got) <= math.sqrt(best) + 0.1 * math.sqrt(total)


def test_the_greedy_share_is_nearly_always_the_best():
    rng = np.random.default_rng(0)
    best_found = 0
    structure = tnet.tree((4, (3, (4,), 2), (5, (3,))), rank=4)
    for _ in range(60):
        net = tnet.random_network(structure, rng=rng)
        arrays = {
            n: x * rng.uniform(0.2, 1) ** np.arange(x.shape[0]).reshape(-1, *[1] * (x.ndim - 1))
            for n, x in net.arrays.items()
        }
        spectra = tnet.bond_spectra(tnet.Network(structure, arrays))
        budget = int(rng.integers(30, structure.num_params))
        tops = [range(1, len(values) + 1) for values in spectra.values()]
        every = (dict(zip(spectra, ranks, strict=True)) for ranks in itertools.product(*tops))
        best = min(
            quality(spectra, ranks)
            for ranks in every
            if structure.resized(ranks).num_params <= budget
        )
        found = allocate(spectra, structure, budget)
        assert structure.resized(found).num_params <= budget
        best_found += quality(spectra, found) <= best * (1 + 1e-9)
    assert best_found >= 57


def test_ranks_that_cut_nothing_lose_nothing():
    net = signal_and_noise(BIG["path"], 4, 20, 1e-9)
    same = tnet.truncate(net, {"g1-g2": 1000})
    assert tnet.distance(net, same) <= 1e-13 * tnet.norm(net)
    assert same.certificate.bound <= 1e-12


def test_budget_with_tolerance_and_limits():
    net = signal_and_noise(BIG["path"], 4, 20, 1e-3)
    loose = tnet.truncate(net, Truncation(tol=2e-3, max_params=10**6))
    assert dict(loose.ranks) == dict(tnet.truncate(net, Truncation(tol=2e-3)).ranks)
    tight = tnet.truncate(net, Truncation(tol=1e-9, max_params=300, max_rank=3))
    assert tight.num_params <= 300
    assert max(tight.ranks.values()) <= 3
    held = tnet.truncate(net, Truncation(tol=0.9, min_rank=3))
    assert min(held.ranks.values()) >= 3
    with pytest.raises(RankError, match="too small"):
        tnet.truncate(net, Truncation(min_rank=4, max_params=100))


def test_the_bound_is_exact_on_a_path_and_rank_room_is_given_back():
    net = tnet.random_network(tnet.tensor_train((5,) * 5, 5), rng=np.random.default_rng(0))
    small = tnet.truncate(net, {"g1-g2": 2, "g2-g3": 5})
    assert small.certificate.kind is ErrorKind.EXACT
    assert small.error == pytest.approx(small.certificate.bound, abs=1e-12)
    assert small.error == pytest.approx(measured(net, small), rel=1e-10)
    # a node with a leg of size one has no room for more than its other legs
    star = tnet.tree((4, (1, (4, 4))), rank=4)
    wide = tnet.random_network(star, rng=np.random.default_rng(0))
    cut = tnet.truncate(wide, {"t0-t1": 2})
    assert dict(cut.ranks) == {"t0-t1": 2, "t1-t2": 2}
    assert isometric(cut)
    assert measured(wide, cut) <= cut.certificate.bound


# ---- certificates add up ---------------------------------------------------------------------


def test_tolerances_count_from_the_origin():
    net = signal_and_noise(BIG["branching"], 3, 20, 1e-2)
    first = tnet.truncate(net, Truncation(tol=1e-3))
    second = tnet.truncate(first, Truncation(tol=2e-2))
    lost = tnet.distance(net, second) / tnet.norm(net)
    assert lost <= second.certificate.bound
    assert second.certificate.bound <= 2e-2
    assert max(second.ranks.values()) < max(first.ranks.values())
    # a smaller tolerance than was used already leaves everything as it is
    third = tnet.truncate(second, Truncation(tol=1e-3))
    assert dict(third.ranks) == dict(second.ranks)
    # without the certificate the tolerance counts from here
    fresh = tnet.truncate(second.replace({}), Truncation(tol=0.9))
    assert fresh.certificate.allowed == 0.9


def test_an_estimate_stays_an_estimate():
    net = tnet.random_network(BIG["path"](6), rng=np.random.default_rng(0))
    guess = tnet.Certificate(error=0.1, kind=ErrorKind.ESTIMATE)
    fitted = tnet.Network(net.structure, net.arrays, None, guess)
    small = tnet.truncate(fitted, Truncation(max_rank=3))
    assert small.certificate.kind is ErrorKind.ESTIMATE
    assert small.error > 0.1
    assert math.isinf(small.certificate.bound)


def test_single_nodes_and_zero_tensors():
    one = tnet.Network(tnet.Structure({"a": ("x",)}, {"x": 3}), {"a": np.arange(3.0)})
    same = tnet.truncate(one, Truncation(tol=0.5))
    assert (same.center, same.error) == ("a", 0.0)
    assert np.array_equal(same["a"], one["a"])
    net = tnet.random_network(BIG["branching"](3), rng=np.random.default_rng(0))
    zero = net.replace({"t0": np.zeros_like(net["t0"])})
    for method in Rounding:
        small = tnet.truncate(zero, Truncation(tol=0.1), method=method)
        assert set(small.ranks.values()) == {1}
        assert small.error == 0.0
        assert tnet.norm(small) == 0.0
        assert isometric(small)


def test_clear_errors():
    net = tnet.random_network(BIG["path"](3), rng=np.random.default_rng(0))
    with pytest.raises(RankError, match="no bond 'zz'"):
        tnet.truncate(net, {"zz": 2})
    with pytest.raises(RankError, match="rank of g0-g1"):
        tnet.truncate(net, {"g0-g1": 0})
    with pytest.raises(InputError, match="Truncation"):
        tnet.truncate(net, 1e-3)
    ring = tnet.random_network(tnet.tensor_ring((2, 3, 4), 2), rng=np.random.default_rng(0))
    with pytest.raises(StructureError, match="cycle"):
        tnet.truncate(ring, Truncation(tol=0.1))
    for method in (Rounding.GRAM, Rounding.QR_SVD):
        broken = net.replace({"g3": np.full_like(net["g3"], np.inf)})
        with pytest.raises(NonFiniteError):
            tnet.truncate(broken, Truncation(tol=0.1), method=method)
    with pytest.warns(PrecisionWarning, match="below what float64 can resolve"):
        tnet.truncate(net, Truncation(tol=1e-16))
