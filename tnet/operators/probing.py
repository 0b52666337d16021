"""Operators between product states: what they are, asked cheaply; whether they are Hermitian."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tnet.operators.assembling import centre
from tnet.operators.tree_operator import TreeOperator
from tnet.trees import rooted

PROBES = 3
CLOSE = 1e-11  # of the largest value: rounding of sums over many terms stays far below


def product_ratio(
    operator: TreeOperator, bra: Mapping[str, Any], ket: Mapping[str, Any]
) -> complex:
    """Return <bra| operator |ket> / <bra|ket> of two product states.

    Divided mode by mode, so that nothing overflows however many modes there are.

    Parameters
    ----------
    bra, ket
        Mode -> its vector; no two vectors of a mode may be orthogonal.

    Notes
    -----
    Linear in the number of entries of the operator.

    Examples
    --------
    >>> import tnet
    >>> chain = tnet.tensor_train({"a": 2, "b": 2})
    >>> h = tnet.operator(chain, [(2.0, {"a": "z", "b": "z"})])
    >>> up = {"a": [1.0, 0.0], "b": [1.0, 0.0]}
    >>> product_ratio(h, up, up)
    (2+0j)
    """
    structure = operator.structure
    local: dict[str, Any] = {}
    for mode, row in operator.locals.items():
        left, right = np.asarray(bra[mode]).conj(), np.asarray(ket[mode])
        local[mode] = np.array([left @ (x @ right) for x in row]) / (left @ right)
    tree = rooted(structure, centre(structure))
    above: dict[str, Any] = {}
    total = 0j
    for node in tree.post_order:
        channels, weights = operator.cores[node]
        value = weights.astype(np.complex128)
        up = None
        for k, leg in enumerate(structure.legs[node]):
            if leg == tree.bond.get(node):
                up = channels[:, k]
            else:
                value = value * (local if leg in local else above)[leg][channels[:, k]]
        if up is None:
            total = complex(value.sum())
            continue
        bond = tree.bond[node]
        summed = np.zeros(operator.ranks[bond], dtype=np.complex128)
        np.add.at(summed, up, value)
        above[bond] = summed
    return total


def hermitian_factor(operator: TreeOperator) -> complex | None:
    """Return c of modulus one if the operator is c times a Hermitian one, else None.

    Asked of three pairs of random product states, which differ for operators that differ with
    probability one; c is 1 for a Hermitian operator and -1j for -1j times one.

    Examples
    --------
    >>> import tnet
    >>> chain = tnet.tensor_train({"a": 2, "b": 2})
    >>> h = tnet.operator(chain, [(2.0, {"a": "z", "b": "z"})])
    >>> hermitian_factor(h), hermitian_factor(-1j * h)
    ((1+0j), (-0-1j))
    """
    rng = np.random.default_rng(0)
    pairs = []
    for _ in range(PROBES):
        bra, ket = {}, {}
        for mode in operator.locals:
            size = operator.structure.size[mode]
            base = rng.standard_normal(size) + 1j * rng.standard_normal(size)
            tilt = rng.standard_normal(size) + 1j * rng.standard_normal(size)
            bra[mode], ket[mode] = base, base + 0.3 * tilt
        there = product_ratio(operator, bra, ket)
        pairs.append((there, product_ratio(operator, ket, bra).conjugate()))
    top = max(abs(x) for pair in pairs for x in pair)
    if top == 0:
        return 1.0 + 0j
    there, back = max(pairs, key=lambda pair: abs(pair[0]))
    if abs(abs(there) - abs(back)) > CLOSE * top:
        return None
    square = there / back  # c / conj(c)
    factor = next((c for c in (1 + 0j, -1j) if abs(square - c / c.conjugate()) < CLOSE), None)
    if factor is None:
        factor = complex(np.sqrt(square / abs(square)))
    turn = factor / factor.conjugate()
    return factor if all(abs(a - turn * b) <= CLOSE * top for a, b in pairs) else None
