"""The state as every measure reads it: normalised, all nodes isometric towards the root.

What is below a bond is then an orthonormal basis, so only the way down needs work: the density of
a bond is the Gram matrix of what is above it, and comes from that of the bond above in two matrix
products.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import numpy as np

from contraction.arrays import Array, Namespace, is_complex, namespace_by_name
from contraction.errors import DTypeError, InputError, NonFiniteError
from contraction.svd_ladder import times_power
from tnet._axes import all_but_axis, apply_matrix
from tnet.gauge import orthogonalize_scaled
from tnet.network import Network
from tnet.scaling import array_norm, detached
from tnet.trees import RootedTree, require_tree, rooted

Values = np.ndarray[Any, np.dtype[Any]]


class Centred(NamedTuple):
    """A state of norm one, rooted at its orthogonality centre."""

    net: Network
    tree: RootedTree
    xp: Namespace


def centred(state: Network, node: str | None = None) -> Centred:
    """Return the state divided by its norm, with its centre at `node`.

    Parameters
    ----------
    state
        A network on any tree, of any norm but zero.
    node
        Where the centre goes; by default it stays, or goes to the first node if not known.

    Raises
    ------
    StructureError
        The state is no tree.
    InputError
        The state is zero.
    DTypeError
        `state` is no network.

    Examples
    --------
    >>> from tnet.structure import Structure
    >>> state = Network(Structure({"a": ("x",)}, {"x": 2}), {"a": np.array([3.0, 4.0])})
    >>> centred(state).net["a"]
    array([0.6, 0.8])
    """
    if not isinstance(state, Network):
        raise DTypeError(f"a state is a tnet.Network, got {type(state).__name__}.")
    require_tree(state.structure)
    net, _ = orthogonalize_scaled(detached(state), node)  # the norm is divided out
    assert net.center is not None
    middle = net[net.center]
    size = array_norm(middle)
    if size == 0.0:
        raise InputError("the state is zero, so it has no expectation values and no samples.")
    power = math.frexp(size)[1]
    middle = times_power(middle, -power) if power else middle
    middle = middle / math.ldexp(size, -power)
    arrays = {**net.arrays, net.center: middle}
    unit = Network(net.structure, arrays, net.center)
    return Centred(unit, rooted(net.structure, net.center), namespace_by_name(net.namespace))


def as_complex(state: Centred) -> Centred:
    """Return the state with complex arrays."""
    if state.net.dtype.startswith("complex"):
        return state
    wide = {"float32": "complex64", "float64": "complex128"}[state.net.dtype]
    return state._replace(net=state.net.to(dtype=wide))


def conjugate(x: Array, xp: Namespace) -> Array:
    """Return the complex conjugate; `x` itself if it is real."""
    if not is_complex(x):
        return x
    found: Array = xp.conj(x)
    return found


class Dressed(NamedTuple):
    """A node as seen from above.

    Attributes
    ----------
    node
        Its name.
    core
        Its array times the density of the bond above.
    density
        That density (ket, bra), of trace one; None at the root.
    """

    node: str
    core: Array
    density: Any


def dressed_cores(state: Centred, wanted: Collection[str]) -> Iterator[Dressed]:
    """Yield the wanted nodes with the density of the bond above, parents first.

    The reduced density of anything at the node is the product of what is yielded with the
    conjugate of the node's array, summed over all axes that are not of interest.

    Parameters
    ----------
    state
        The state.
    wanted
        Nodes to yield; only they and those between them and the root are touched.

    Notes
    -----
    For a node of m r entries with rank r above: 2 m r^2 flops, and as many for each child on the
    way.
    """
    tree, xp = state.tree, state.xp
    needed = ways_up(tree, wanted)
    density: dict[str, Any] = {}
    for node in tree.pre_order:
        if node not in needed:
            continue
        core = state.net[node]
        dressed, above = core, density.pop(node, None)
        if above is not None:
            dressed = apply_matrix(core, above.T, tree.axis(node), xp)
        if node in wanted:
            yield Dressed(node, dressed, above)
        below = [child for child in tree.children[node] if child in needed]
        bra = conjugate(core, xp) if below else core
        legs = state.net.structure.legs[node]
        for child in below:
            density[child] = all_but_axis(dressed, bra, legs.index(tree.bond[child]), xp)


def ways_up(tree: RootedTree, nodes: Collection[str]) -> set[str]:
    """Return the nodes and all their ancestors."""
    found: set[str] = set()
    for node in nodes:
        above: str | None = node
        while above is not None and above not in found:
            found.add(above)
            above = tree.parent[above]
    return found


def require_numbers(values: Values, what: str) -> Values:
    """Return `values`, or raise `NonFiniteError` if one is NaN or infinite."""
    if not np.isfinite(values).all():
        raise NonFiniteError(
            f"{what} came out as NaN or infinity: an array of the state holds such entries, or "
            "its centre is not where it says."
        )
    return values
