"""Expectation values, variances and correlations on random trees equal the dense ones."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tnet
from contraction.arrays import eps, to_numpy
from contraction.errors import DTypeError, InputError, StructureError
from strategies import NAMESPACES, networks, seeds, trees

SMALL = trees(max_nodes=6, max_size=3, max_rank=3)


def dense(net):
    x = to_numpy(tnet.contract(net)).astype(np.complex128).reshape(-1)
    return x / np.linalg.norm(x)


def dense_term(structure, coefficient, factors):
    found = np.array([[coefficient]])
    for mode in structure.modes:
        n = structure.size[mode]
        found = np.kron(found, factors.get(mode, np.eye(n)))
    return found


def random_terms(structure, rng, complex_, count=6):
    terms = []
    for _ in range(count):
        sites = rng.permutation(structure.modes)[: rng.integers(0, 4)]
        factors = {}
        for mode in sites.tolist():
            n = structure.size[mode]
            x = rng.standard_normal((n, n))
            factors[mode] = x + 1j * rng.standard_normal((n, n)) if complex_ else x
        terms.append((float(rng.standard_normal()), factors))
    return terms


@given(networks(SMALL), seeds, st.booleans())
def test_expectation_and_variance(net, seed, complex_):
    rng = np.random.default_rng(seed)
    terms = random_terms(net.structure, rng, complex_)
    op = tnet.operator(net.structure, terms)
    matrix = sum(dense_term(net.structure, *term) for term in terms)
    psi = dense(net)
    mean = np.vdot(psi, matrix @ psi)
    size = max(np.linalg.norm(matrix, 2), 1.0)
    tol = 1e3 * eps(net.dtype) * size
    assert abs(tnet.expectation(2.5 * net, op) - mean) < tol
    assert abs(tnet.expectation(net, terms) - mean) < tol
    assert abs(tnet.expectation(net, op.to_network().to(namespace=net.namespace)) - mean) < tol
    spread = np.linalg.norm(matrix @ psi - mean * psi) ** 2
    assert abs(tnet.variance(2.5 * net, op) - spread) < tol * size
