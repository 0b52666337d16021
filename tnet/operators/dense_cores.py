"""A TreeOperator from a network of dense cores."""

from __future__ import annotations

from typing import Any

import numpy as np

from contraction import arrays as arrays_
from contraction.errors import StructureError
from tnet.network import Network
from tnet.operators.local_table import LocalTable
from tnet.operators.tree_operator import SparseCore, TreeOperator
from tnet.structure import Structure


def from_dense_cores(net: Network) -> TreeOperator:
    """Return the TreeOperator with the cores of an operator network (see `TreeOperator`)."""
    state = _state_structure(net.structure)
    tables = {mode: LocalTable(mode, state.size[mode]) for mode in state.modes}
    real = all(not arrays_.to_numpy(x).imag.any() for x in net.arrays.values())
    cores: dict[str, SparseCore] = {}
    for node, legs in state.nodes:
        dense = arrays_.to_numpy(net[node])
        dense = dense.astype(np.complex128) if not real else dense.real.astype(np.float64)
        cores[node] = _core(dense, net.structure.legs[node], legs, tables)
    if all(not core.weights.imag.any() for core in cores.values()):
        cores = {n: SparseCore(c.channels, c.weights.real.copy()) for n, c in cores.items()}
    locals_ = {mode: tuple(table.matrices) for mode, table in tables.items()}
    return TreeOperator(state, locals_, cores, net.error or 0.0)


def _state_structure(operator: Structure) -> Structure:
    """Return the graph of the states: every written mode is left out."""
    written = {f"{mode}'" for mode in operator.modes}
    modes = [mode for mode in operator.modes if mode not in written]
    for mode in modes:
        twin = f"{mode}'"
        if twin not in operator.modes or operator.holders[twin] != operator.holders[mode]:
            raise StructureError(
                f"mode {mode!r} of the operator has no twin {twin!r} on its node; an operator "
                "reads and writes every mode (see tnet.operator_structure)."
            )
        if operator.size[mode] != operator.size[twin]:
            raise StructureError(
                f"mode {mode!r} has size {operator.size[mode]}, its twin {operator.size[twin]}; "
                "a TreeOperator has square local matrices."
            )
    nodes = [(n, tuple(leg for leg in legs if leg not in written)) for n, legs in operator.nodes]
    order = [mode for mode in operator.modes if mode in modes]
    return Structure(nodes, operator.size, order)


def _core(
    dense: Any, held: tuple[str, ...], legs: tuple[str, ...], tables: dict[str, LocalTable]
) -> SparseCore:
    """Write one dense core as entries: slices for one mode, a basis of matrices for several."""
    own = [leg for leg in legs if leg in tables]
    bonds = [leg for leg in legs if leg not in tables]
    axes = [held.index(leg) for leg in bonds]
    axes += [held.index(leg) for mode in own for leg in (f"{mode}'", mode)]
    turned = dense.transpose(axes)
    columns: dict[str, Any]
    if len(own) == 1:
        columns, weights = _slices(turned, bonds, tables[own[0]])
    else:
        columns, weights = _in_basis(turned, bonds, [tables[mode] for mode in own])
    channels = np.stack([columns[leg] for leg in legs], axis=1)
    return SparseCore(channels, weights)


def _slices(dense: Any, bonds: list[str], table: LocalTable) -> tuple[dict[str, Any], Any]:
    filled = np.argwhere((dense != 0).any(axis=(-2, -1)))
    found = [table.add(np.ascontiguousarray(dense[tuple(place)])) for place in filled]
    columns = {leg: filled[:, k] for k, leg in enumerate(bonds)}
    columns[table.mode] = np.array([index for index, _ in found], dtype=np.int64)
    return columns, np.array([factor for _, factor in found], dtype=np.complex128)


def _in_basis(dense: Any, bonds: list[str], tables: list[LocalTable]) -> tuple[dict[str, Any], Any]:
    """Expand every mode in the identity and all matrices of one entry but the last diagonal one."""
    indices = []
    for k, table in enumerate(tables):
        n = table.size
        flat = dense.reshape(
            *dense.shape[: len(bonds) + k], n * n, *dense.shape[len(bonds) + k + 2 :]
        )
        moved = np.moveaxis(flat, len(bonds) + k, 0).copy()
        moved[:: n + 1][:-1] -= moved[-1]  # the last diagonal entry now counts the identity
        dense = np.moveaxis(moved, 0, len(bonds) + k)
        units = np.eye(n * n).reshape(n * n, n, n)
        added = [table.add(unit)[0] for unit in units[:-1]] if n > 1 else []
        indices.append(np.array([*added, 0], dtype=np.int64))
    filled = np.argwhere(dense != 0)
    columns = {leg: filled[:, k] for k, leg in enumerate(bonds)}
    for k, table in enumerate(tables):
        columns[table.mode] = indices[k][filled[:, len(bonds) + k]]
    return columns, dense[tuple(filled.T)].astype(np.complex128)
