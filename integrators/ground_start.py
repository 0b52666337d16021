"""What stands before and after variational sweeps: from networks to a centre, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from contraction import arrays as arrays_
from contraction.elementary import times_power
from contraction.errors import InputError
from integrators.binding import bind, dtype_for
from integrators.frame import frame_of
from integrators.norms import frobenius
from integrators.seeding import seeded
from integrators.sweeping.centre import Centre
from integrators.sweeping.overlaps import Overlaps
from integrators.sweeping.passages import (
    lengthened,
    passages,
    shortened,
    shorter,
    without_passages,
)
from integrators.sweeping.sight import sight_of
from integrators.sweeping.tour import deepest_leaf
from integrators.tree_state import TreeState
from tnet._axes import contiguous
from tnet.gauge import orthogonalize
from tnet.network import Network
from tnet.operators.tree_operator import TreeOperator
from tnet.rounding import truncate
from tnet.structure import Structure
from tnet.trees import RootedTree, rooted

SEEDED_RANK = 4  # of the bases of a product state before the first sweep


def prepared(
    operator: TreeOperator, start: Network, others: Sequence[Network], max_rank: int | None
) -> tuple[Centre, list[Overlaps]]:
    """Return the centre at an end of a longest path, and the known states beside it."""
    kind = dtype_for(operator, start.dtype)
    for other in others:
        if other.dtype.startswith("complex") and not kind.startswith("complex"):
            kind = {"float32": "complex64", "float64": "complex128"}[kind]
    root = deepest_leaf(rooted(start.structure, start.structure.node_names[0]))
    net = start.to(dtype=kind) if start.dtype != kind else start
    net = orthogonalize(_lowered(net, max_rank), root)
    if not frobenius(net[root]):
        raise InputError(
            "the start is the zero state; any other, such as a product state, will do."
        )
    net = shortened(_opened(operator, net, root, max_rank))
    operator = without_passages(operator)
    tree = rooted(net.structure, root)
    axes = tuple((node, _axes(tree, node)) for node in tree.pre_order)
    sight = sight_of(operator, axes, net.namespace, net.device, kind)
    centre = Centre(sight, _turned(net, dict(axes)), tree)
    centre.arrays[root] = _unit(centre.arrays[root])
    beside = {"namespace": net.namespace, "device": net.device, "dtype": kind}
    known = [
        Overlaps(_turned(shortened(other.to(**beside)), dict(axes)), centre) for other in others
    ]
    return centre, known


def _unit(x: Any) -> Any:
    """Return an array of norm one; one that is so up to rounding is left as it is."""
    size = frobenius(x)
    if abs(size - 1.0) <= 16.0 * arrays_.eps(x):
        return x
    e = math.frexp(size)[1]
    return times_power(x, -e) * (1.0 / math.ldexp(size, -e))


def _lowered(net: Network, max_rank: int | None) -> Network:
    """Return a state within `max_rank`, and no bond wider than what is on either side of it."""
    tree = rooted(net.structure, net.structure.node_names[0])
    states: dict[str, int] = {}
    for node in tree.post_order:
        modes = (net.structure.size[x] for x in tree.structure.legs[node] if x in _modes(net))
        states[node] = math.prod(modes) * math.prod(states[c] for c in tree.children[node])
    caps = {}
    for node in tree.pre_order[1:]:
        bond = tree.bond[node]
        sides = min(states[node], states[tree.root] // states[node])
        cap = sides if max_rank is None else min(sides, max_rank)
        if net.ranks[bond] > cap:
            caps[bond] = cap
    return truncate(net, caps) if caps else net


def _modes(net: Network) -> frozenset[str]:
    return frozenset(net.structure.modes)


def _opened(operator: TreeOperator, net: Network, root: str, max_rank: int | None) -> Network:
    """Return a product state in larger bases: where no node has modes it would never move."""
    if max(net.ranks.values(), default=2) > 1:
        return net
    state = TreeState.from_network(net, frame_of(net.structure, root))
    field = bind(operator, state.frame, state.cores[0])
    wide = seeded(state, field, min(SEEDED_RANK, max_rank or SEEDED_RANK)).to_network()
    # there and back, so that the bond of the root has no more rank than the root has states
    return orthogonalize(orthogonalize(wide, rooted(wide.structure, root).pre_order[-1]), root)


def _axes(tree: RootedTree, node: str) -> tuple[str, ...]:
    """Return the legs of a node as (parent, modes, children): what acts together lies together."""
    legs = tree.structure.legs[node]
    up = [tree.bond[node]] if node in tree.bond else []
    down = [tree.bond[child] for child in tree.children[node]]
    return (*up, *(x for x in legs if x not in up and x not in down), *down)


def _turned(net: Network, axes: dict[str, tuple[str, ...]]) -> dict[str, Any]:
    xp = arrays_.namespace_by_name(net.namespace)
    found = {}
    for node, legs in axes.items():
        order = tuple(net.structure.legs[node].index(leg) for leg in legs)
        x: Any = net[node]
        found[node] = x if order == tuple(range(len(order))) else xp.permute_dims(x, order)
    return found


def finished(
    held: Mapping[str, Any], *, axes: Mapping[str, tuple[str, ...]], root: str, start: Network
) -> Network:
    """Return the arrays of a centre at its root on the graph of the start, in its axis order."""
    xp = arrays_.namespace(held[root])
    legs_of = shorter(start.structure.legs, passages(start.structure))
    arrays, sizes = dict[str, Any](), dict[str, int]()
    for node, legs in legs_of.items():
        mine = axes[node]
        x = xp.permute_dims(held[node], tuple(mine.index(leg) for leg in legs))
        arrays[node] = contiguous(x)
        sizes |= dict(zip(legs, (int(n) for n in x.shape), strict=True))
    turned = Structure(legs_of, sizes, start.structure.modes)
    return lengthened(Network(turned, arrays, root), start.structure)
