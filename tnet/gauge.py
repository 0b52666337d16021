"""Gauge: where the norm of a tree network sits.

A bond may carry any invertible matrix and its inverse without a change of the tensor. Moving
the centre fixes that freedom: every other node becomes an isometry towards the centre, so that
the norm of the whole tensor is the norm of the centre's array.
"""

from __future__ import annotations

import itertools
import math

from contraction.arrays import Array, Namespace, dtype_name, namespace_by_name
from contraction.errors import GaugeError, InputError
from contraction.linalg import qr
from contraction.svd_ladder import exponent, times_power
from tnet._axes import apply_matrix, contiguous, fold, unfold
from tnet.network import Network
from tnet.trees import RootedTree, rooted


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
        A bond of rank above the size of one of its sides is cut down to that size.

    Raises
    ------
    StructureError
        The network is no tree, or has no such node.
    NonFiniteError
        An array holds NaN or infinity.
    InputError
        The norm of the tensor is too large for the dtype.

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
    if center is None:
        center = net.center or net.structure.node_names[0]
    tree = rooted(net.structure, center)
    if net.center == center:
        return net
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
    if shift:
        changed[center] = put_back(changed[center], shift, xp)
    return net.replace(changed, center=center)


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
