"""Gauge: where the norm of a tree network sits.

A bond may carry any invertible matrix and its inverse without a change of the tensor. Moving
the centre fixes that freedom: every other node becomes an isometry towards the centre, so that
the norm of the whole tensor is the norm of the centre's array.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, TypeAlias

import numpy as np

from contraction.arrays import Array, Namespace, dtype_name, namespace_by_name, to, to_numpy
from contraction.errors import GaugeError, InputError
from contraction.linalg import qr
from contraction.svd_ladder import exponent, times_power
from tnet._axes import apply_matrix, contiguous, fold, unfold
from tnet.network import Network
from tnet.trees import RootedTree, rooted

Powers: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]


def orthogonalize(net: Network, center: str | None = None) -> Network:
    """Make every node an isometry towards `center`; the tensor does not change.

    Parameters
    ----------
    net
        A network on any tree.
    center
        The node that receives the norm; by default the present centre, or else the first node.

    Returns
    -------
    Network
        The same tensor with `center` set; nodes off the way from the old centre are shared.
        A bond of rank above the size of one of its sides is cut down to that size. A certificate
        is dropped, unless the centre is there already and nothing is done.

    Raises
    ------
    StructureError
        The network is no tree, or has no such node.
    NonFiniteError
        An array holds NaN or infinity.
    InputError
        The norm of the tensor is too large or too small for the dtype.

    Notes
    -----
    One QR factorisation per bond on the way from the old centre (all bonds if that is not
    known): 4 m r^2 flops for a node of m r entries with rank r towards the centre. Linear in
    the number of nodes, without recursion. Oseledets, SIAM J. Sci. Comput. 33 (2011) 2295,
    section 3 for a path; Grasedyck, SIAM J. Matrix Anal. Appl. 31 (2010) 2029 for trees.

    Examples
    --------
    >>> import numpy as np, tnet
    >>> net = tnet.random_network(tnet.tensor_train((3, 4, 5), 2), rng=np.random.default_rng(0))
    >>> moved = orthogonalize(net, "g1")
    >>> np.isclose(np.linalg.norm(moved["g1"]), np.linalg.norm(net.to_dense()))
    np.True_
    """
    found, shift = orthogonalize_scaled(net, center)
    if shift:
        assert found.center is not None
        middle = put_back(found[found.center], shift, namespace_by_name(net.namespace))
        found = found.replace({found.center: middle}, center=found.center)
    return found


def orthogonalize_scaled(net: Network, center: str | None = None) -> tuple[Network, int]:
    """Return a network and an exponent e: 2^e times the network is what `orthogonalize` makes.

    For those who go on with the normalised tensor, whatever the norm was.

    Examples
    --------
    >>> import numpy as np, tnet
    >>> net = tnet.random_network(tnet.tensor_train((3, 4, 5), 2), rng=np.random.default_rng(0))
    >>> found, exponent = orthogonalize_scaled(net, "g1")
    >>> found.center, exponent
    ('g1', 0)
    """
    if center is None:
        center = net.center or net.structure.node_names[0]
    tree = rooted(net.structure, center)
    if net.center == center:
        return net, 0
    if net.center is None:
        moves = [(node, tree.parent[node]) for node in tree.post_order[:-1]]
    else:
        way = tree.path(net.center, center)
        moves = list(itertools.pairwise(way))
    xp = namespace_by_name(net.namespace)
    changed: dict[str, Array] = {}
    shift = 0  # powers of two taken out on the way, so that long products stay in range
    for node, parent in moves:
        assert parent is not None
        shift += _push(net, changed, tree, node, parent, xp)
    return net.replace(changed, center=center), shift


def move_center(net: Network, center: str) -> Network:
    """Move a known centre to another node; only the nodes on the way are touched.

    Raises
    ------
    GaugeError
        The network's centre is not known.

    Examples
    --------
    >>> import numpy as np, tnet
    >>> net = tnet.random_network(tnet.tucker((3, 4, 5), 2), rng=np.random.default_rng(0))
    >>> move_center(orthogonalize(net, "u0"), "u1").center
    'u1'
    """
    if net.center is None:
        raise GaugeError(
            "the centre of this network is not known; call tnet.orthogonalize(net, center) first."
        )
    return orthogonalize(net, center)


def balanced(net: Network, tree: RootedTree) -> Network:
    """Return the same tensor with slices along each bond of like norms on both sides.

    Like up to a common factor of all slices of a bond. Only powers of two move across the bonds,
    so nothing is rounded: a gauge that is bad because of scales alone becomes a good one. Linear
    in the number of nodes.

    Examples
    --------
    >>> import numpy as np, tnet
    >>> s = tnet.tensor_train((2, 2), 2)
    >>> net = tnet.Network(s, {"g0": np.diag([2.0**20, 1.0]), "g1": np.diag([2.0**-20, 1.0])})
    >>> balanced(net, tnet.rooted(s))["g0"]
    array([[1., 0.],
           [0., 1.]])
    """
    xp = namespace_by_name(net.namespace)
    held = dict(net.arrays)
    most = 100 if net.dtype in ("float32", "complex64") else 1000  # a factor is a number too
    for node in (*tree.post_order[:-1], *tree.pre_order[1:]):
        above = tree.parent[node]
        assert above is not None
        axes = [net.structure.legs[n].index(tree.bond[node]) for n in (node, above)]
        powers = [_powers(held[n], axis, xp) for n, axis in zip((node, above), axes, strict=True)]
        moved = np.clip(np.nan_to_num((powers[1] - powers[0]) // 2), -most, most)
        for n, axis, by in zip((node, above), axes, (moved, -moved), strict=True):
            if by.any():
                shape = [-1 if k == axis else 1 for k in range(held[n].ndim)]
                factor = to(
                    np.ldexp(1.0, by.astype(int)),
                    namespace=net.namespace,
                    device=net.device,
                    dtype=net.dtype,
                )
                held[n] = held[n] * factor.reshape(tuple(shape))
    return Network(net.structure, held)


def _powers(x: Array, axis: int, xp: Namespace) -> Powers:
    """Return the powers of two of the largest entries of the slices; NaN for slices of zeros."""
    largest = to_numpy(xp.max(xp.abs(unfold(x, axis, xp)), axis=0)).astype(np.float64)
    return np.where(largest > 0.0, np.frexp(largest)[1].astype(np.float64), np.nan)


def _push(
    net: Network,
    changed: dict[str, Array],
    tree: RootedTree,
    node: str,
    parent: str,
    xp: Namespace,
) -> int:
    """Make `node` an isometry towards `parent`, which takes the rest; return the shift."""
    bond = tree.bond[node]
    axis = net.structure.legs[node].index(bond)
    x = changed.get(node, net.arrays[node])
    shift = exponent(x, xp)
    if shift:
        x = times_power(x, -shift)
    Q, R = qr(unfold(x, axis, xp))
    changed[node] = contiguous(fold(Q, tuple(x.shape), axis, xp))
    above = changed.get(parent, net.arrays[parent])
    changed[parent] = apply_matrix(above, R, net.structure.legs[parent].index(bond), xp)
    return shift


def fits(x: Array, shift: int, xp: Namespace) -> bool:
    """Tell whether x * 2^shift stays in the range of the dtype."""
    largest = float(xp.max(xp.abs(x)))
    limit = 120 if dtype_name(x) in ("float32", "complex64") else 1020
    return largest == 0.0 or abs(math.frexp(largest)[1] + shift) <= limit


def put_back(x: Array, shift: int, xp: Namespace) -> Array:
    """Return x * 2^shift.

    Raises
    ------
    InputError
        That leaves the range of the dtype.
    """
    if shift == 0:
        return x
    if not fits(x, shift, xp):
        raise InputError(
            f"the norm of the tensor is about 2^{shift}, beyond the range of {dtype_name(x)}, so "
            "no node can hold it; multiply every array by exp(-tnet.log_norm(net) / nodes) first."
        )
    return times_power(x, shift)
