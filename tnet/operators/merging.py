"""Channels that say the same are made one: from the leaves up, then from the root down."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tnet.operators.covers import proportional
from tnet.operators.grouping import group
from tnet.operators.tree_operator import SparseCore
from tnet.trees import RootedTree


def merged(tree: RootedTree, cores: Mapping[str, SparseCore]) -> dict[str, SparseCore]:
    """Return cores of the same operator in which no two channels of a bond are multiples.

    Of two channels whose entries below the bond (or above it) are proportional one is enough.
    Channels that nothing uses are dropped.
    """
    structure = tree.structure
    held = dict(cores)
    for node in tree.post_order:
        held[node] = _collected(held[node])
        bond = tree.bond.get(node)
        parent = tree.parent[node]
        if bond is not None and parent is not None:
            here, there = structure.legs[node].index(bond), structure.legs[parent].index(bond)
            held[node], held[parent] = _unite(held[node], here, held[parent], there)
    for node in tree.pre_order:
        for child in tree.children[node]:
            bond = tree.bond[child]
            here, there = structure.legs[node].index(bond), structure.legs[child].index(bond)
            held[node], held[child] = _unite(held[node], here, held[child], there)
            held[child] = _collected(held[child])
    return held


def _collected(core: SparseCore) -> SparseCore:
    """Add up the weights of equal entries, and drop zeros."""
    if len(core.weights) == 0:
        return core
    which, first = group(*core.channels.T)
    weights = np.zeros(len(first), dtype=core.weights.dtype)
    np.add.at(weights, which, core.weights)
    kept = weights != 0
    return SparseCore(core.channels[first[kept]], weights[kept])


def _unite(
    core: SparseCore, axis: int, other: SparseCore, other_axis: int
) -> tuple[SparseCore, SparseCore]:
    """Unite the channels of one bond that are multiples of each other in `core`.

    Channels that only one of the two cores uses contribute nothing and go.
    """
    ours, theirs = core.channels[:, axis], other.channels[:, other_axis]
    alive = np.intersect1d(ours, theirs)
    core, other = _only(core, axis, alive), _only(other, other_axis, alive)
    if len(alive) == 0:
        return core, other
    row = np.searchsorted(alive, core.channels[:, axis])
    rest = np.delete(core.channels, axis, axis=1)
    column = group(*rest.T)[0] if rest.shape[1] else np.zeros(len(row), dtype=np.int64)
    classes = proportional(row, column, core.weights, len(alive))
    chosen = classes.chosen[classes.which[row]] == row
    channels = core.channels[chosen].copy()
    channels[:, axis] = classes.which[row[chosen]]
    place = np.searchsorted(alive, other.channels[:, other_axis])
    turned = other.channels.copy()
    turned[:, other_axis] = classes.which[place]
    weights = other.weights * classes.ratio[place]
    return SparseCore(channels, core.weights[chosen]), SparseCore(turned, weights)


def _only(core: SparseCore, axis: int, alive: np.ndarray) -> SparseCore:
    kept = np.isin(core.channels[:, axis], alive)
    return SparseCore(core.channels[kept], core.weights[kept])
