"""Multiples, sums and adjoints of tree operators."""

from __future__ import annotations

from typing import Any

import numpy as np

from contraction.errors import StructureError
from tnet.operators import local_matrices as matrices_
from tnet.operators.assembling import centre
from tnet.operators.identities import identity_channels
from tnet.operators.local_table import LocalTable
from tnet.operators.merging import merged
from tnet.operators.tree_operator import SparseCore, TreeOperator, checked_number
from tnet.trees import rooted


def scaled(operator: TreeOperator, factor: complex) -> TreeOperator:
    """Return `factor` times the operator; identity channels stay exact.

    The factor goes to every entry that begins a finished part: where something other than a
    finished part of a subtree becomes one. What passes finished parts on keeps its weight 1.
    """
    number = checked_number(factor, "the factor of an operator")
    root = centre(operator.structure)
    tree = rooted(operator.structure, root)
    found = identity_channels(operator, root)
    done = {b: k for b, k in found.above.items() if found.below.get(b) != k}
    cores: dict[str, SparseCore] = {}
    for node, core in operator.cores.items():
        legs = operator.structure.legs[node]
        above = tree.bond.get(node)
        power = np.full(len(core.weights), int(above is None))
        for k, leg in enumerate(legs):
            if leg in done:
                here = core.channels[:, k] == done[leg]
                power = power + (here if leg == above else -here.astype(np.int64))
        weights = core.weights * np.where(power == 1, number, 1.0)
        cores[node] = SparseCore(core.channels, weights)
    return _in_one_dtype(operator, cores)


def _in_one_dtype(operator: TreeOperator, cores: dict[str, SparseCore]) -> TreeOperator:
    """Make all weights real if they can be."""
    real = not any(c.weights.dtype.kind == "c" and c.weights.imag.any() for c in cores.values())
    kept = {
        node: SparseCore(c.channels, c.weights.real.copy() if real else c.weights.astype(complex))
        for node, c in cores.items()
    }
    return TreeOperator(operator.structure, operator.locals, kept, operator.error)


def summed(a: TreeOperator, b: TreeOperator) -> TreeOperator:
    """Return the sum of two operators on one graph; channels that say the same are shared.

    Ranks add up at most, and identities, finished parts and equal strings are counted once.
    The error is that of the sum if the two do not cancel: the larger of both, relative.
    """
    if not a.structure.same_graph(b.structure) or any(
        a.structure.size[mode] != b.structure.size[mode] for mode in a.structure.modes
    ):
        raise StructureError(
            "operators can be added if they act on the same tree: the same nodes, legs and modes."
        )
    tables: dict[str, LocalTable] = {}
    cores: dict[str, list[SparseCore]] = {node: [] for node in a.cores}
    offset = dict.fromkeys(a.ranks, 0)
    for part in (a, b):
        moved = {m: _entered(tables, m, row, a) for m, row in part.locals.items()}
        for node, legs in a.structure.nodes:
            channels = part.cores[node].channels.copy()
            weights = part.cores[node].weights
            for k, leg in enumerate(legs):
                if leg in offset:
                    channels[:, k] += offset[leg]
                else:
                    index, factor = moved[leg]
                    weights = weights * factor[channels[:, k]]
                    channels[:, k] = index[channels[:, k]]
            cores[node].append(SparseCore(channels, weights))
        offset = {bond: offset[bond] + rank for bond, rank in part.ranks.items()}
    joined = {
        node: SparseCore(*(np.concatenate(column) for column in zip(*both, strict=True)))
        for node, both in cores.items()
    }
    tree = rooted(a.structure, centre(a.structure))
    locals_ = {mode: tuple(table.matrices) for mode, table in tables.items()}
    total = TreeOperator(a.structure, locals_, merged(tree, joined), max(a.error, b.error))
    return _in_one_dtype(total, dict(total.cores))


def _entered(
    tables: dict[str, LocalTable], mode: str, row: tuple[Any, ...], a: TreeOperator
) -> tuple[Any, Any]:
    """Put the matrices of one mode into the joint table; return their indices and factors."""
    table = tables.setdefault(mode, LocalTable(mode, a.structure.size[mode]))
    found = [(0, 1.0), *(table.add(matrix) for matrix in row[1:])]
    return np.array([k for k, _ in found]), np.array([complex(f) for _, f in found])


def adjoint_of(operator: TreeOperator) -> TreeOperator:
    """Return the adjoint: weights are conjugated, local matrices transposed and conjugated."""
    locals_ = {
        mode: tuple(x if k == 0 else _adjoint(x) for k, x in enumerate(row))
        for mode, row in operator.locals.items()
    }
    cores = {n: SparseCore(c.channels, c.weights.conj()) for n, c in operator.cores.items()}
    return TreeOperator(operator.structure, locals_, cores, operator.error)


def _adjoint(matrix: Any) -> Any:
    if matrices_.is_sparse(matrix):
        return matrix.conj().T.tocsr()
    return np.ascontiguousarray(matrix.conj().T)
