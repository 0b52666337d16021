"""Two networks side by side: the same graph, the same kind of arrays, the same axis order."""

from __future__ import annotations

import numpy as np

from contraction import arrays as arrays_
from contraction.errors import BackendError, ShapeError, StructureError
from tnet.network import Network
from tnet.structure import Structure


def same_kind(*nets: Network) -> tuple[Network, ...]:
    """Return the networks in their common dtype; namespaces and devices must agree already.

    Raises
    ------
    BackendError
        The networks live in different libraries or on different devices.

    Examples
    --------
    >>> one = Network(Structure({"a": ("x",)}, {"x": 2}), {"a": np.ones(2)})
    >>> [net.dtype for net in same_kind(one, one.to(dtype="complex64"))]
    ['complex128', 'complex128']
    """
    places = dict.fromkeys((net.namespace, net.device) for net in nets)
    if len(places) > 1:
        listed = " and ".join("/".join(place) for place in places)
        raise BackendError(
            f"the networks live in {listed}; move them to one place first "
            "(Network.to(namespace=, device=))."
        )
    dtypes = dict.fromkeys(net.dtype for net in nets)
    if len(dtypes) == 1:
        return nets
    wanted = str(np.result_type(*(np.dtype(name) for name in dtypes)))
    return tuple(net if net.dtype == wanted else net.to(dtype=wanted) for net in nets)


def require_same_modes(a: Structure, b: Structure) -> None:
    """Raise unless both tensors have the same modes, of the same sizes, in any order.

    Raises
    ------
    StructureError
        A mode of one is missing in the other.
    ShapeError
        A mode has two sizes.

    Examples
    --------
    >>> s = Structure({"a": ("x", "y")}, {"x": 2, "y": 3})
    >>> require_same_modes(s, s.permuted(("y", "x")))
    """
    if set(a.modes) != set(b.modes):
        only_a = sorted(set(a.modes) - set(b.modes))[:6]
        only_b = sorted(set(b.modes) - set(a.modes))[:6]
        raise StructureError(
            f"the two tensors have different modes: {only_a} only in the first, {only_b} only "
            "in the second; rename them (Structure.renamed) or contract the extra ones first."
        )
    for mode in a.modes:
        if a.size[mode] != b.size[mode]:
            raise ShapeError(
                f"mode {mode!r} has size {a.size[mode]} in the first tensor and "
                f"{b.size[mode]} in the second."
            )


def is_same_graph(a: Structure, b: Structure) -> bool:
    """Tell whether nodes and their legs agree, whatever the sizes and the axis orders.

    Examples
    --------
    >>> a = Structure({"a": ("x", "r"), "b": ("r", "y")}, {"x": 2, "r": 1, "y": 3})
    >>> b = Structure({"b": ("y", "r"), "a": ("x", "r")}, {"x": 2, "r": 5, "y": 3})
    >>> is_same_graph(a, b)
    True
    """
    if a.nodes == b.nodes:
        return True
    if a.legs.keys() != b.legs.keys():
        return False
    return all(sorted(legs) == sorted(b.legs[node]) for node, legs in a.nodes)


def aligned(net: Network, like: Structure) -> Network:
    """Return `net` with nodes, axes and modes in the order of `like`; arrays become views.

    Raises
    ------
    StructureError
        The graphs differ; the message names the first node that does.
    ShapeError
        A mode has two sizes.

    Examples
    --------
    >>> s = Structure({"a": ("x", "y")}, {"x": 2, "y": 3})
    >>> turned = Structure({"a": ("y", "x")}, {"x": 2, "y": 3}, ("x", "y"))
    >>> aligned(Network(s, {"a": np.ones((2, 3))}), turned)["a"].shape
    (3, 2)
    """
    own = net.structure
    if not is_same_graph(own, like):
        raise StructureError(f"the two networks have different graphs: {_difference(own, like)}.")
    require_same_modes(like, own)
    if own.nodes == like.nodes and own.modes == like.modes:
        return net
    xp = arrays_.namespace_by_name(net.namespace)
    turned = {}
    for node, legs in like.nodes:
        axes = tuple(own.legs[node].index(leg) for leg in legs)
        x = net[node]
        turned[node] = x if axes == tuple(range(len(axes))) else xp.permute_dims(x, axes)
    structure = Structure(like.nodes, own.sizes, like.modes)
    return Network(structure, turned, net.center, net.certificate)


def _difference(a: Structure, b: Structure) -> str:
    extra = [n for n in a.node_names if n not in b.legs] + [
        n for n in b.node_names if n not in a.legs
    ]
    if extra:
        return f"node {extra[0]!r} is only in one of them"
    node = next(n for n, legs in a.nodes if sorted(legs) != sorted(b.legs[n]))
    return (
        f"node {node!r} has legs {list(a.legs[node])} in one and {list(b.legs[node])} in the other"
    )
