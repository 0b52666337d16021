"""From the entries that a compiler found, node by node, to the cores of a TreeOperator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from tnet.operators.tree_operator import SparseCore
from tnet.structure import Structure
from tnet.trees import RootedTree, rooted

Ints = Any
IDENTITY, DONE, OPEN = 0, 1, 2  # channels of every bond while compiling


class RawCore(NamedTuple):
    """Entries of one node; `inputs` has a column for every leg but the parent's."""

    inputs: Ints
    output: Ints
    weights: Any


def raw_core(blocks: list[tuple[Ints, Any, Any]]) -> RawCore:
    """Join blocks of (inputs, outputs, weights); outputs and weights may be single numbers."""
    inputs = np.concatenate([b[0] for b in blocks])
    output = np.concatenate([_filled(b[1], len(b[0])) for b in blocks])
    weights = np.concatenate([_filled(b[2], len(b[0])) for b in blocks])
    return RawCore(inputs, output, weights)


def _filled(numbers: Any, count: int) -> Any:
    return numbers if np.ndim(numbers) else np.full(count, numbers)


def assembled(tree: RootedTree, raw: Mapping[str, RawCore], dtype: str) -> dict[str, SparseCore]:
    """Drop the channels that nothing uses, from the root down, and number the others."""
    structure = tree.structure
    used: dict[str, Ints] = {}
    cores: dict[str, SparseCore] = {}
    for node in tree.pre_order:
        core = raw[node]
        above = tree.bond.get(node)
        output = core.output
        if above is not None:
            fresh: Ints = used[above]
            place: Ints = np.searchsorted(fresh, output)
            place[place == len(fresh)] = 0
            kept = fresh[place] == output
            core = RawCore(core.inputs[kept], place[kept], core.weights[kept])
        columns: list[Ints] = []
        k = 0
        for leg in structure.legs[node]:
            if leg == above:
                columns.append(core.output)
                continue
            column = core.inputs[:, k]
            k += 1
            if leg in structure.ranks:
                found = np.unique(column)
                used[leg] = found if len(found) else np.zeros(1, dtype=np.int64)
                column = np.searchsorted(used[leg], column)
            columns.append(column)
        width = len(columns)
        channels = np.stack(columns, axis=1) if width else np.zeros((len(core.weights), 0), int)
        cores[node] = SparseCore(channels.astype(np.int64), core.weights.astype(dtype))
    return cores


def centre(tree: Structure) -> str:
    """Return a node in the middle of a longest path: the root from which the tree is shallowest."""
    first = rooted(tree)
    start = first.pre_order[-1]
    ends = rooted(tree, start).pre_order[-1]
    path = first.path(start, ends)
    return path[len(path) // 2]
