"""The inner product of two networks, as a number and a power of two.

Two networks on one tree are contracted in one sweep of two matrix products per node, rescaled on
the way, so that neither length nor scale makes it overflow. Any other two networks with the same
modes are contracted as one merged network by the planner.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Any

import numpy as np

import contraction
from contraction import arrays as arrays_
from contraction.errors import NonFiniteError
from contraction.svd_ladder import times_power
from tnet._axes import all_but_axis, apply_matrix
from tnet.alignment import aligned, is_same_graph, require_same_modes, same_kind
from tnet.network import Network
from tnet.scaling import calmed, detached, scaled_to_one
from tnet.trees import rooted


def scaled_inner(a: Network, b: Network) -> tuple[complex, int]:
    """Return (value, exponent) with <a, b> = value 2^exponent.

    Raises
    ------
    StructureError, ShapeError
        The modes differ.
    NonFiniteError
        An array holds NaN or infinity, or a contraction with cycles leaves the dtype's range.

    Examples
    --------
    >>> import numpy as np
    >>> from tnet.structure import Structure
    >>> net = Network(Structure({"a": ("x",)}, {"x": 2}), {"a": np.array([3.0, 4.0])})
    >>> scaled_inner(net, net)
    (25.0, 0)
    """
    require_same_modes(a.structure, b.structure)
    a, b = (detached(net) for net in same_kind(a, b))
    if a.structure.is_tree and is_same_graph(a.structure, b.structure):
        b, product = aligned(b, a.structure), _tree_inner
    else:
        product = _planned_inner
    tiny = 1e-30 if arrays_.eps(a.dtype) > 1e-10 else 1e-280
    with np.errstate(over="ignore", invalid="ignore"):
        value, exponent = product(a, b)
        if tiny < abs(value) < math.inf:
            return value, exponent
        a, more_a = scaled_to_one(a)  # the arrays are out of scale, or the product is zero
        b, more_b = scaled_to_one(b)
        value, exponent = product(a, b)
        if product is _planned_inner and not tiny < abs(value) < math.inf:
            value, exponent = _spread_inner(a, b, tiny)
    if not math.isfinite(abs(value)):
        raise NonFiniteError(f"the inner product of {a!r} and {b!r} left the range of {a.dtype}.")
    return value, exponent + more_a + more_b


def _number(x: Any) -> complex:
    return complex(x) if arrays_.is_complex(x) else float(x)


def _planned_inner(a: Network, b: Network) -> tuple[complex, int]:
    operands = [*a.conj().arrays.values(), *b.arrays.values()]
    return _number(contraction.plan(_merged(a, b)).run(operands)), 0


def _merged(a: Network, b: Network) -> contraction.Spec:
    """Return the contraction of both networks over their common modes."""
    modes = set(a.structure.modes)
    inputs: list[tuple[Hashable, ...]] = []
    sizes: dict[Hashable, int] = {}
    for side, net in enumerate((a, b)):
        name = {leg: leg if leg in modes else (side, leg) for leg in net.structure.size}
        inputs += [tuple(name[leg] for leg in legs) for _, legs in net.structure.nodes]
        sizes |= {name[leg]: size for leg, size in net.structure.sizes}
    return contraction.Spec(tuple(inputs), (), sizes)


def _spread_inner(a: Network, b: Network, tiny: float) -> tuple[complex, int]:
    """Find the power of two, spread evenly over the arrays, that brings the product into range.

    For long networks with cycles, of arrays of norm one: their product shrinks with the length.
    """
    plan = contraction.plan(_merged(a, b))
    operands: list[Any] = [*a.conj().arrays.values(), *b.arrays.values()]
    count = len(operands)
    low, high, power = 0, 0, count
    best: complex = 0.0
    while power <= 64 * count and power != low:
        shares = [(k + 1) * power // count - k * power // count for k in range(count)]
        scaled = [times_power(x, share) for x, share in zip(operands, shares, strict=True)]
        value = _number(plan.run(scaled))
        if tiny < abs(value) < math.inf:
            return value, -power
        if math.isfinite(abs(value)):
            low, best = power, value
        else:
            high = power
        power = (low + high) // 2 if high else 2 * power
    return best, -low  # zero: a larger power only drives the other arrays out of range


def _tree_inner(a: Network, b: Network) -> tuple[complex, int]:
    """Sweep from the leaves to the root; environments have axes (bond of a, bond of b)."""
    xp = arrays_.namespace_by_name(a.namespace)
    tree = rooted(a.structure)
    complex_ = a.dtype.startswith("complex")
    environments: dict[str, Any] = {}
    exponent = 0
    for node in tree.post_order:
        upper: Any = xp.conj(a[node]) if complex_ else a[node]
        lower: Any = b[node]
        legs = a.structure.legs[node]
        for child in tree.children[node]:
            environment = environments.pop(child)
            lower = apply_matrix(lower, environment, legs.index(tree.bond[child]), xp)
        if node == tree.root:
            return _number(upper.reshape(-1) @ lower.reshape(-1)), exponent
        environment = all_but_axis(upper, lower, tree.axis(node), xp)
        environment, shift = calmed(xp, environment)
        if environment is None:
            return 0.0, 0
        environments[node] = environment
        exponent += shift
    raise AssertionError("a tree has a root")
