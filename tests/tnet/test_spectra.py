"""Bond spectra equal the singular values of the dense unfoldings."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tnet
from contraction.arrays import eps, to_numpy
from contraction.errors import InputError, NonFiniteError, StructureError
from strategies import networks, trees


def modes_below(net, bond):
    """The modes on one side of a bond."""
    start, other = net.structure.holders[bond]
    seen, queue = {start, other}, [start]
    for node in queue:
        for leg in net.structure.legs[node]:
            for there in net.structure.holders[leg]:
                if there not in seen:
                    seen.add(there)
                    queue.append(there)
    held = [leg for node in queue for leg in net.structure.legs[node]]
    return [mode for mode in net.structure.modes if mode in held]


def dense_spectrum(net, bond):
    low = modes_below(net, bond)
    rows = math.prod(net.structure.size[m] for m in low)
    order = low + [m for m in net.structure.modes if m not in low]
    x = to_numpy(tnet.contract(net, order)).astype(np.complex128).reshape(rows, -1)
    return np.linalg.svd(x, compute_uv=False)


def padded(values, count):
    return np.pad(values[:count], (0, max(count - len(values), 0)))


@given(networks(trees()), st.data())
def test_spectra_are_those_of_the_dense_unfoldings(net, data):
    if data.draw(st.booleans()):
        net = tnet.orthogonalize(net, data.draw(st.sampled_from(net.structure.node_names)))
    spectra = tnet.bond_spectra(net)
    assert tuple(spectra) == net.structure.bonds
    for bond, values in spectra.items():
        assert len(values) <= net.ranks[bond]
        assert (np.diff(values) <= 0).all()
        exact = dense_spectrum(net, bond)
        count = max(len(exact), len(values))
        unit = 500 * eps(net.dtype) * max(exact[0], 1e-30)
        assert np.abs(padded(values, count) - padded(exact, count)).max() <= unit


def test_small_values_are_absolute_to_eps():
    # a known spectrum down to 1e-14: a Gram matrix would lose everything below 1e-8
    rng = np.random.default_rng(0)
    q = [np.linalg.qr(rng.standard_normal((6, 6)))[0] for _ in range(2)]
    s = 10.0 ** -np.arange(0, 16, 3)[:6]
    net = tnet.Network(tnet.tensor_train((6, 6), 6), {"g0": q[0] * s, "g1": q[1]})
    assert np.abs(tnet.bond_spectra(net)["g0-g1"] - s).max() < 1e-15


def test_a_wide_star():
    net = tnet.random_network(tnet.tucker((2,) * 9, 2), rng=np.random.default_rng(3))
    for bond, values in tnet.bond_spectra(net).items():
        assert np.allclose(values, dense_spectrum(net, bond)[:2])


def test_products_out_of_range_on_the_way():
    net = tnet.random_network(tnet.tensor_train((2,) * 8, 3), rng=np.random.default_rng(1))
    factor = [1e-120, 1e-120, 1e-120, 1e120, 1e120, 1e120, 1e-60, 1e60]
    arrays = {n: x * f for (n, x), f in zip(net.arrays.items(), factor, strict=True)}
    spectra = tnet.bond_spectra(tnet.Network(net.structure, arrays))
    for bond, values in tnet.bond_spectra(net).items():
        assert np.allclose(spectra[bond], values, rtol=1e-12)
    huge = {n: x * 1e200 for n, x in net.arrays.items()}
    with pytest.raises(InputError, match="beyond the range"):
        tnet.bond_spectra(tnet.Network(net.structure, huge))


def test_a_zero_network_and_clear_errors():
    net = tnet.random_network(tnet.tucker((3, 4, 5), 2), rng=np.random.default_rng(0))
    zero = net.replace({"core": np.zeros((2, 2, 2))})
    assert all((values == 0).all() for values in tnet.bond_spectra(zero).values())
    with pytest.raises(NonFiniteError):
        tnet.bond_spectra(net.replace({"u1": np.full((2, 4), np.inf)}))
    ring = tnet.random_network(tnet.tensor_ring((2, 3, 4), 2), rng=np.random.default_rng(0))
    with pytest.raises(StructureError, match="cycle"):
        tnet.bond_spectra(ring)
