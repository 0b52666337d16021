"""The distance of two networks on one tree, exact to rounding.

The difference a - b is the network that is block-diagonal along the bonds. Its norm is found by
orthogonalising it from the leaves to the root, but only the triangular factors are kept, and the
columns of a and of b are kept apart: each is scaled by powers of two on its own, so that neither
length nor scale makes one of them overflow, or drown in the other before the two are compared.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from contraction import arrays as arrays_
from contraction.arrays import Array, Namespace
from contraction.errors import NonFiniteError
from contraction.svd_ladder import times_power
from contraction.triangular import r_factor
from tnet._axes import apply_matrix, unfold
from tnet.alignment import aligned
from tnet.network import Network
from tnet.scaling import array_norm, calmed, detached, scaled_to_one
from tnet.trees import rooted

Side = tuple[Network, dict[str, Any]]  # a network, and node -> its columns of the factor
_ZERO = -(10**12)  # the power of two of a side that is zero


def scaled_distance(a: Network, b: Network) -> tuple[float, int]:
    """Return (value, exponent) with ||a - b|| = value 2^exponent, for two networks on one tree.

    Notes
    -----
    One QR factorisation per node, of a matrix with as many columns as a and b have ranks
    together: about 8 m r^2 flops for nodes of m r entries each. The error is a few eps times
    the larger of the two norms.

    Examples
    --------
    >>> from tnet.formats import tensor_train
    >>> net = Network(tensor_train((2, 2), 1), {"g0": np.ones((2, 1)), "g1": np.ones((1, 2))})
    >>> scaled_distance(net, -net)
    (4.0, 0)
    """
    a, b = detached(a), detached(aligned(b, a.structure))
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            return _sweep(a, b, [0, 0])
    except NonFiniteError:  # the arrays may be out of scale one by one
        a, power = scaled_to_one(a)
        b, other = scaled_to_one(b)
        return _sweep(a, b, [power, other])


def _sweep(a: Network, b: Network, powers: list[int]) -> tuple[float, int]:
    xp = arrays_.namespace_by_name(a.namespace)
    tree = rooted(a.structure)
    sides: tuple[Side, Side] = ((a, {}), (b, {}))
    for node in tree.post_order:
        legs = a.structure.legs[node]
        places = [(child, legs.index(tree.bond[child])) for child in tree.children[node]]
        parts = [_absorbed(xp, net[node], held, places) for net, held in sides]
        if node != tree.root:
            parts = _split(xp, [unfold(x, tree.axis(node), xp) for x in parts])
        for k, part in enumerate(parts):
            kept, power = calmed(xp, part)
            sides[k][1][node] = part if kept is None else kept
            powers[k] += power
            if kept is None:
                powers[k] = _ZERO
    return _difference(sides[0][1][tree.root], sides[1][1][tree.root], powers)


def _absorbed(
    xp: Namespace, x: Array, held: dict[str, Any], places: list[tuple[str, int]]
) -> Array:
    for child, axis in places:
        x = apply_matrix(x, held.pop(child), axis, xp)
    return x


def _split(xp: Namespace, columns: list[Array]) -> list[Array]:
    """Return the two blocks of the triangular factor of the two blocks of columns together."""
    cut = int(columns[0].shape[1])
    both: Any = xp.concat(columns, axis=1)
    if both.shape[0] > both.shape[1]:  # otherwise the factor would not be smaller
        both = r_factor(both)
    return [both[:, :cut], both[:, cut:]]


def _difference(first: Any, second: Any, powers: list[int]) -> tuple[float, int]:
    """Return the norm of first 2^p - second 2^q, as a number and a power of two."""
    most = max(powers)
    if most <= _ZERO // 2:
        return 0.0, 0
    left, right = (
        times_power(x, max(power - most, -4000))  # further below is zero anyway
        for x, power in zip((first, second), powers, strict=True)
    )
    return array_norm(left - right), most
