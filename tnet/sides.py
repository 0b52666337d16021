"""What each bond of a tree sees of its two sides: small factors R with R^H R = the Gram matrix.

Cut a bond of rank r. The part of the network below it is a matrix Low (modes below, r), the part
above a matrix Up^T (modes above, r), and the tensor is Low Up. With Low = Q R_low and
Up^T = P R_up, Q and P isometries that are never formed, the singular values of the bond are those
of the small matrix R_low R_up^T. One pass from the leaves to the root gives every R_low, one
pass back every R_up, each from the factors next to it: linear in the number of nodes.

The factors come from a QR of the dressed node (accurate to eps) or from a Cholesky factor of its
Gram matrix (several times faster, accurate to sqrt(eps)); `Side` keeps account of the rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from contraction.arrays import Array, Namespace, dtype_name, eps, namespace, namespace_by_name
from contraction.svd_ladder import exponent, norm, times_power
from tnet._axes import apply_matrix, unfold
from tnet.network import Network
from tnet.trees import RootedTree

Factor: TypeAlias = Callable[[Array], Array]


@dataclass(frozen=True, kw_only=True, eq=False)
class Core:
    """The array of one node, scaled into range: the true one is x 2^shift, ||x|| = size."""

    x: Array
    shift: int
    size: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """One side of a bond.

    Attributes
    ----------
    R
        (k, rank); None stands for the identity. The true factor is R 2^shift.
    shift, size, rank
        Power of two taken out, Frobenius norm of R, columns of R.
    aligned, isotropic
        Rounding noise of R^H R in units of eps times its trace: noise along the signal adds up
        over the nodes; isotropic noise passes from node to node like any other vector, and so
        grows where the signal cancels and the noise does not.
    """

    R: Array | None
    shift: int = 0
    size: float
    rank: int
    aligned: float = 0.0
    isotropic: float = 0.0

    @property
    def noise(self) -> float:
        """Noise of the Gram matrix over its trace, in units of eps."""
        return self.aligned + self.isotropic


Dress: TypeAlias = Sequence[tuple[int, Side]]


def in_range(x: Array, xp: Namespace) -> Core:
    """Return `x` as a `Core`.

    Raises
    ------
    NonFiniteError
        NaN or infinity in `x`.
    """
    size = norm(x)
    limit = 2.0 ** (30 if dtype_name(x) in ("float32", "complex64") else 240)
    if 1.0 / limit < size < limit:
        return Core(x=x, shift=0, size=size)
    shift = exponent(x, xp)  # also looks for NaN, which fails every comparison
    if shift:
        x = times_power(x, -shift)
    return Core(x=x, shift=shift, size=norm(x))


def cores_of(net: Network) -> dict[str, Core]:
    """Return every array of the network in range."""
    xp = namespace_by_name(net.namespace)
    return {node: in_range(x, xp) for node, x in net.arrays.items()}


def dress(x: Array, shift: int, others: Dress, xp: Namespace) -> tuple[Array, int]:
    """Apply the factors of some sides to the axes they belong to."""
    for axis, side in others:
        if side.R is not None:
            x = apply_matrix(x, side.R, axis, xp)
            shift += side.shift
    return x, shift


def _side(W: Array, shift: int, axis: int, core: Core, others: Dress, factor: Factor) -> Side:
    """Return the side that a dressed node shows to the bond at `axis`."""
    xp = namespace(W)
    found = in_range(factor(unfold(W, axis, xp)), xp)
    size = math.ldexp(found.size, min(max(found.shift, -2000), 1000))
    expected = core.size  # the norm if the factors had no preferred direction
    aligned, isotropic = 1.0, 1.0
    if size > 0.0:  # what regularising a singular Gram matrix has added
        aligned += max((size / norm(W)) ** 2 - 1.0, 0.0) / eps(W)
    for _, side in others:
        if side.R is not None:
            expected *= side.size / math.sqrt(side.rank)
        aligned += side.aligned
        isotropic += side.isotropic
    ratio = expected / size if size > 0.0 else 0.0
    return Side(
        R=found.x,
        shift=shift + found.shift,
        size=found.size,
        rank=int(W.shape[axis]),
        aligned=aligned,
        isotropic=min(isotropic * ratio * ratio, 1e300),
    )


def isometric_side(rank: int) -> Side:
    """Return the side of an isometry."""
    return Side(R=None, size=math.sqrt(rank), rank=rank)


def lower_sides(
    net: Network, tree: RootedTree, cores: Mapping[str, Core], factor: Factor, *, every: bool
) -> dict[str, Side]:
    """Return node -> what its bond to the parent sees below.

    Parameters
    ----------
    net, tree, cores
        The network, rooted, and its arrays in range.
    factor
        Matrix x -> R with R^H R = x^H x.
    every
        False for those only that `upper_sides` asks for: below nodes with several children.

    Notes
    -----
    If the root is the centre of the network, every side is an isometry and costs nothing.
    """
    xp = namespace_by_name(net.namespace)
    size = net.structure.size
    if net.center == tree.root:
        return {node: isometric_side(size[bond]) for node, bond in tree.bond.items()}
    wanted = {tree.root: every}
    for node in tree.pre_order[1:]:
        parent = tree.parent[node]
        assert parent is not None
        wanted[node] = wanted[parent] or len(tree.children[parent]) > 1
    found: dict[str, Side] = {}
    for node in tree.post_order[:-1]:
        if wanted[node]:
            axes = net.structure.legs[node].index
            others = [(axes(tree.bond[child]), found[child]) for child in tree.children[node]]
            core = cores[node]
            W, shift = dress(core.x, core.shift, others, xp)
            found[node] = _side(W, shift, axes(tree.bond[node]), core, others, factor)
    return found


def upper_sides(
    net: Network,
    tree: RootedTree,
    cores: Mapping[str, Core],
    lower: Mapping[str, Side],
    factor: Factor,
) -> dict[str, Side]:
    """Return node -> what its bond to the parent sees above.

    Notes
    -----
    A node with d children is dressed O(log d) times over, not d times: half of the children
    share the factors of the other half, and so on.
    """
    xp = namespace_by_name(net.namespace)
    found: dict[str, Side] = {}
    for node in tree.pre_order:
        children = tree.children[node]
        if not children:
            continue
        axes, core = net.structure.legs[node].index, cores[node]
        used: Dress = [(axes(tree.bond[node]), found[node])] if node != tree.root else []
        W, shift = dress(core.x, core.shift, used, xp)
        stack = [(W, shift, children, used)]
        while stack:
            W, shift, group, used = stack.pop()
            if len(group) == 1:
                axis = axes(tree.bond[group[0]])
                found[group[0]] = _side(W, shift, axis, core, used, factor)
                continue
            half = len(group) // 2
            for mine, rest in ((group[:half], group[half:]), (group[half:], group[:half])):
                extra = [(axes(tree.bond[child]), lower[child]) for child in rest]
                dressed, more = dress(W, shift, extra, xp)
                stack.append((dressed, more, mine, [*used, *extra]))
    return found


def amplification(
    net: Network, tree: RootedTree, cores: Mapping[str, Core], upper: Mapping[str, Side]
) -> float:
    """Return the rounding noise of the tensor's squared norm, in units of eps.

    Each leaf sees the whole tensor: its array times the upper side of its bond. Where the two
    are large and the product is small, digits are lost; a difference of nearly equal tensors
    and a bad gauge both show here.
    """
    xp = namespace_by_name(net.namespace)
    worst = 1.0
    for node in tree.post_order[:-1]:
        if tree.children[node]:
            continue
        core, side = cores[node], upper[node]
        axis = net.structure.legs[node].index(tree.bond[node])
        assert side.R is not None
        size = in_range(apply_matrix(core.x, side.R, axis, xp), xp)
        whole = math.ldexp(size.size, min(max(size.shift, -2000), 900))
        ratio = core.size * side.size / math.sqrt(side.rank) / whole if whole > 0.0 else 0.0
        worst = max(worst, side.aligned + (1.0 + side.isotropic) * min(ratio * ratio, 1e300))
    return worst
