"""Operators on trees: every compiled operator against dense sums of Kronecker products."""

from functools import reduce

import numpy as np
import pytest

import tnet

SIZES = {f"s{i}": 2 for i in range(6)}


def dense_sum(tree, terms):
    """The matrix of a sum of terms, by Kronecker products."""
    sizes = [tree.size[mode] for mode in tree.modes]
    total = np.zeros((int(np.prod(sizes)),) * 2, dtype=complex)
    for coefficient, factors in terms:
        parts = []
        for mode, size in zip(tree.modes, sizes, strict=True):
            given = factors.get(mode, "id")
            ops = given if isinstance(given, tuple) else (given,)
            held = [tnet.local_operator(op, size) if isinstance(op, str) else op for op in ops]
            parts.append(reduce(np.matmul, held))
        total = total + coefficient * reduce(np.kron, parts)
    return total


def matrix_of(op):
    count = int(np.prod([op.structure.size[mode] for mode in op.structure.modes]))
    return np.asarray(op.to_network().to_dense()).reshape(count, count)


@pytest.mark.parametrize("make", [tnet.tensor_train, tnet.balanced_tree, tnet.tucker])
def test_multiples_and_adjoints(make):
    tree = make(SIZES)
    terms = [(0.25, {f"s{i}": o, f"s{i + 1}": o}) for i in range(5) for o in "xyz"]
    terms += [(0.3, {"s2": "x"}), (0.7, {}), (0.4, {"s1": "x", "s5": "z", "s3": "+"})]
    op, want = tnet.operator(tree, terms), dense_sum(tree, terms)
    assert op.dtype == "float64"
    np.testing.assert_allclose(matrix_of(op), want, atol=1e-13)
    np.testing.assert_allclose(matrix_of(-1j * op), -1j * want, atol=1e-13)
    assert (1j * (-1j * op)).dtype == "float64"
    np.testing.assert_allclose(matrix_of(op.adjoint()), want.conj().T, atol=1e-13)
