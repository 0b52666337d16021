"""decompose on trees: one algorithm, exact error, honest certificate, every awkward input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tnet
from contraction.arrays import random_normal, to, to_numpy
from contraction.errors import NonFiniteError
from strategies import DTYPES, NAMESPACES, seeds, trees
from tnet import Method


def dense(net):
    """The full tensor in double precision, by NumPy alone."""
    number = {leg: k for k, leg in enumerate(net.structure.size)}
    operands = []
    for node, legs in net.structure.nodes:
        operands += [to_numpy(net[node]).astype(np.complex128), [number[leg] for leg in legs]]
    return np.einsum(*operands, [number[m] for m in net.structure.modes], optimize=True)


def measured(net, x):
    x = to_numpy(x).astype(np.complex128)
    return np.linalg.norm(dense(net) - x) / np.linalg.norm(x)


def data(seed, shape, dtype="float64", namespace="numpy"):
    """Gaussian entries under a decaying profile, so that ranks depend on the tolerance."""
    rng = np.random.default_rng(seed)
    x = random_normal(rng, shape, dtype=dtype)
    for axis, size in enumerate(shape):
        profile = 0.3 ** np.arange(size).astype(dtype)
        x = x * profile.reshape([-1 if k == axis else 1 for k in range(len(shape))])
    return to(x, namespace=namespace)


@given(
    trees(max_nodes=6),
    seeds,
    st.sampled_from(DTYPES),
    st.sampled_from(NAMESPACES),
    st.sampled_from([0.5, 0.1, 1e-2, 1e-3]),
)
def test_the_error_is_within_the_tolerance_and_the_certificate(structure, seed, dtype, lib, tol):
    x = data(seed, structure.shape, dtype, lib)
    net = tnet.decompose(x, structure.resized(dict.fromkeys(structure.bonds, 10**6)), tol=tol)
    assert net.structure.modes == structure.modes
    assert net.structure.nodes == structure.nodes
    assert (net.namespace, net.dtype) == (lib, dtype)
    error = measured(net, x)
    assert error <= tol
    assert error <= net.certificate.bound <= tol


def test_a_missing_entry_is_named():
    x = np.ones((3, 4, 5))
    x[1, 2, 3] = np.nan
    with pytest.raises(NonFiniteError, match=r"\(1, 2, 3\)"):
        tnet.decompose(x, tnet.tucker, tol=0.1)


def test_the_method_is_reported():
    net = tnet.decompose(data(0, (4, 5, 6)), tnet.tucker, ranks=2, method=Method.QR_SVD)
    assert set(net.certificate.methods.values()) == {"qr+svd"}
