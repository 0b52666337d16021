"""Operators less their expectation values, bond by bond, and the square of an operator.

The variance of a sum of many local terms is small beside the square of its mean. If what the
operator is below every bond is shifted by its own expectation value first, only deviations are
squared, and nothing has to cancel.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from contraction.arrays import to_numpy
from tnet.measure.canonical import Centred, dressed_cores
from tnet.measure.operator_sweep import IDENTITY, Channels, Ints, sweep
from tnet.operators.local_matrices import Matrix
from tnet.operators.tree_operator import SparseCore, TreeOperator


def centred_operator(state: Centred, op: TreeOperator) -> TreeOperator:
    """Return op - <op>, with every channel below every bond of expectation value zero.

    Notes
    -----
    A channel w becomes w - <w>, and <w> goes into the identity channel of the same bond, which is
    added where there is none; the ranks grow by one at most.
    """
    tree, structure = state.tree, state.net.structure
    locals_ = {mode: (None, *matrices[1:]) for mode, matrices in op.locals.items()}
    channels = sweep(state, op.cores, locals_)
    whole = to_numpy(channels[tree.root].matrices).reshape(-1)
    means = {tree.root: whole if len(whole) else np.zeros(1)}
    for node, _, density in dressed_cores(state, tree.pre_order):
        if density is not None:
            matrices: Any = channels[node].matrices
            weights = density.T.reshape(-1)
            means[node] = to_numpy(matrices.reshape(-1, weights.shape[0]) @ weights)
    plain = {node: _identity(channels[node]) for node in tree.bond}
    cores: dict[str, SparseCore] = {}
    for node, legs in structure.nodes:
        core = op.cores[node]
        entries, weights = core.channels, core.weights
        for child in tree.children[node]:
            k = legs.index(tree.bond[child])
            entries, weights = _shifted(
                entries, weights, k, channels[child], means[child], plain[child]
            )
        cores[node] = _closed(state, node, entries, weights, channels[node], means[node], plain)
    return TreeOperator(op.structure, op.locals, cores, op.error)


def squared(op: TreeOperator) -> tuple[dict[str, SparseCore], dict[str, list[Matrix | None]]]:
    """Return the entries and local matrices of the adjoint of `op` times `op`.

    A channel of the product is a pair of channels. As many entries as pairs of entries.
    """
    ranks = op.ranks
    cores: dict[str, SparseCore] = {}
    for node, legs in op.structure.nodes:
        core = op.cores[node]
        sizes = np.array([ranks.get(leg) or len(op.locals[leg]) for leg in legs], dtype=np.int64)
        left, right = core.channels[:, None, :], core.channels[None, :, :]
        pairs = (left * sizes + right).reshape(-1, len(legs))
        weights = (core.weights.conj()[:, None] * core.weights[None, :]).reshape(-1)
        cores[node] = SparseCore(pairs, weights)
    locals_: dict[str, list[Matrix | None]] = {}
    for mode, matrices in op.locals.items():
        products: list[Matrix | None] = [a.conj().T @ b for a in matrices for b in matrices]
        products[0] = None
        locals_[mode] = products
    return cores, locals_


def _identity(channels: Channels) -> int:
    """Return the identity channel of a bond; the next free number if there is none."""
    found = np.flatnonzero(channels.place == IDENTITY)
    return int(found[0]) if len(found) else len(channels.place)


def _shifted(
    entries: Ints, weights: Any, k: int, channels: Channels, means: Any, plain: int
) -> tuple[Ints, Any]:
    """Add, for every channel w of leg k, its mean times the identity channel."""
    place = channels.place[entries[:, k]]
    rows = np.flatnonzero(place >= 0)
    more = entries[rows].copy()
    more[:, k] = plain
    shares = weights[rows] * means[place[rows]]
    return np.concatenate([entries, more]), np.concatenate([weights, shares])


def _closed(
    state: Centred,
    node: str,
    entries: Ints,
    weights: Any,
    own: Channels,
    means: Any,
    plain: dict[str, int],
) -> SparseCore:
    """Subtract the means of the channels above, and add an identity channel if it is missing."""
    tree = state.tree
    legs = state.net.structure.legs[node]
    row = np.zeros(len(legs), dtype=np.int64)  # identities on all modes and below
    for child in tree.children[node]:
        row[legs.index(tree.bond[child])] = plain[child]
    if node == tree.root:
        rows, more = row[None], -means
    else:
        k = legs.index(tree.bond[node])
        made = np.flatnonzero(own.place >= 0)
        rows = np.repeat(row[None], len(made), axis=0)
        rows[:, k] = made
        more = -means[own.place[made]]
        if plain[node] == len(own.place):
            row[k] = plain[node]
            rows, more = np.concatenate([rows, row[None]]), np.append(more, 1.0)
    all_rows, which = np.unique(np.concatenate([entries, rows]), axis=0, return_inverse=True)
    total = np.zeros(len(all_rows), dtype=np.result_type(weights, more))
    np.add.at(total, which.reshape(-1), np.concatenate([weights, more]))
    keep = total != 0
    return SparseCore(all_rows[keep], total[keep])
