"""truncate on any tree: the error promised is kept, the certificate holds, twice is once."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tnet
from contraction.arrays import eps, to, to_numpy
from strategies import networks, seeds, trees
from tnet import ErrorKind, Rounding, Truncation


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
