"""What stands before and after variational sweeps: from networks to a centre, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from contraction import arrays as arrays_
from contraction.elementary import norm as norm_of
from contraction.errors import InputError
from integrators.binding import bind, dtype_for
from integrators.frame import frame_of
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
    net = orthogonalize(start.to(dtype=kind) if start.dtype != kind else start, root)
    if norm_of(net[root].reshape(-1)) == 0.0:
        raise InputError(
            "the start is the zero state; any other, such as a product state, will do."
        )
    net = shortened(_opened(operator, net, root, max_rank))
    operator = without_passages(operator)
    tree = rooted(net.structure, root)
    axes = tuple((node, _axes(tree, node)) for node in tree.pre_order)
    sight = sight_of(operator, axes, net.namespace, net.device, kind)
    centre = Centre(sight, _turned(net, dict(axes)), tree)
    centre.arrays[root] = centre.arrays[root] * (1.0 / norm_of(centre.arrays[root].reshape(-1)))
    known = [
        Overlaps(_turned(shortened(other.to(dtype=kind)), dict(axes)), centre) for other in others
    ]
    return centre, known


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


def finished(centre: Centre, start: Network) -> Network:
    """Return the state on the graph of the start, with its arrays in that axis order."""
    xp = centre.sight.xp
    legs_of = shorter(start.structure.legs, passages(start.structure))
    arrays, sizes = dict[str, Any](), dict[str, int]()
    for node, legs in legs_of.items():
        mine = centre.sight.axes[node]
        x = xp.permute_dims(centre.arrays[node], tuple(mine.index(leg) for leg in legs))
        arrays[node] = contiguous(x)
        sizes |= dict(zip(legs, (int(n) for n in x.shape), strict=True))
    turned = Structure(legs_of, sizes, start.structure.modes)
    return lengthened(Network(turned, arrays, centre.tree.root), start.structure)
