"""Pair interactions from skeletons to the entries of cores, compressed on the way.

With the skeletons the coefficients are a product over the tree, whose bases are not yet the
smallest. What the rest of the tree makes of every skeleton is found from the root down, as a
triangular factor; then singular value decompositions from the leaves up give orthonormal bases
of the ranks that the tolerance needs (Chandrasekaran, Gu and Pals, SIAM J. Matrix Anal. Appl. 28
(2006) 603, and for trees of operators Ceruti, Kressner and Sulz, arXiv:2405.09952).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from contraction.linalg import qr, svd
from tnet.operators.assembling import DONE, IDENTITY, OPEN, RawCore, raw_core
from tnet.operators.block_svd import TOGETHER
from tnet.operators.placing import in_leg_order
from tnet.operators.row_check import lost_in_rows
from tnet.operators.skeletons import Kernel, Skeleton, skeletons_of

Ints = Any
Numbers = Any


class Sampled(NamedTuple):
    """Entries of every node, and squared Frobenius norms: of the whole and of what was lost."""

    cores: dict[str, RawCore]
    square: float
    lost: float


class _Slot(NamedTuple):
    """A child or an own mode, one kind: its sites, their spread, and its column of inputs."""

    column: int
    sites: Ints
    spread: Numbers


class _Node(NamedTuple):
    """Slots of a node by kind, and the coefficients between every two of them."""

    slots: tuple[tuple[_Slot, ...], ...]
    between: dict[tuple[int, int, int], Numbers]  # (kind, slot, other slot), both ways


def compile_sampled(kernel: Kernel, tol: float) -> Sampled:
    """Return the entries of every node for one pair interaction."""
    found = skeletons_of(kernel, tol)
    nodes = _nodes(kernel, found)
    square, missed = _norms(kernel, found, nodes)
    if missed > tol**2 * square:  # no smooth law: every coefficient is read
        found = skeletons_of(kernel, tol, few=len(kernel.mode))
        nodes = _nodes(kernel, found)
        square, missed = _norms(kernel, found, nodes)
    allowed = max(tol**2 * square - missed, 0.0) / max(len(found), 1)
    above = _above(kernel, found, nodes)
    cores: dict[str, RawCore] = {}
    bases: dict[str, tuple[Numbers, ...]] = {}
    done: dict[str, bool] = {}
    lost = missed
    for node in kernel.placing.tree.post_order:
        inner = [bases.pop(child) for child in kernel.placing.children[node]]
        core, bases[node], less = _compressed(
            kernel, node, nodes[node], inner, found.get(node), above.get(node), allowed, done
        )
        done[node] = bool((core.output == DONE).any())
        cores[node] = in_leg_order(core, node, kernel.placing)
        lost += less
    return Sampled(cores, square, lost)


def _nodes(kernel: Kernel, found: Mapping[str, tuple[Skeleton, ...]]) -> dict[str, _Node]:
    own = kernel.sites_at
    nodes: dict[str, _Node] = {}
    for node in kernel.placing.tree.pre_order:
        children = kernel.placing.children[node]
        rows = []
        for kind in kernel.kinds:
            slots = [
                _Slot(k, found[c][kind].chosen, found[c][kind].spread)
                for k, c in enumerate(children)
            ]
            column = {m: len(children) + k for k, m in enumerate(kernel.placing.modes[node])}
            slots += [
                _Slot(column[int(kernel.mode[s])], np.array([s]), np.ones((1, 1)))
                for s in own[node]
            ]
            rows.append(tuple(slots))
        between = {}
        for kind in kernel.kinds:
            other = rows[kernel.partner(kind)]
            for a, slot in enumerate(rows[kind]):
                for b in range(a + 1, len(other)):
                    block = kernel.block(kind, slot.sites, other[b].sites)
                    between[kind, a, b] = block
                    between[kernel.partner(kind), b, a] = block.T
        nodes[node] = _Node(tuple(rows), between)
    return nodes


def _norms(
    kernel: Kernel, found: Mapping[str, tuple[Skeleton, ...]], nodes: Mapping[str, _Node]
) -> tuple[float, float]:
    """Return the squared Frobenius norm of all coefficients, and of what the skeletons miss."""
    total = 0.0
    for node in nodes.values():
        for (kind, a, b), block in node.between.items():
            if a < b:
                other = node.slots[kernel.partner(kind)][b]
                full = node.slots[kind][a].spread @ block @ other.spread.T
                total += float(np.linalg.norm(full)) ** 2
    between = {node: held.between for node, held in nodes.items()}
    return total, lost_in_rows(kernel, found, between)


def _above(
    kernel: Kernel, found: Mapping[str, tuple[Skeleton, ...]], nodes: Mapping[str, _Node]
) -> dict[str, tuple[Numbers, ...]]:
    """Return what the rest of the tree makes of every skeleton: T with T T^H what counts."""
    placing = kernel.placing
    known: dict[str, tuple[Numbers, ...]] = {}
    for node in placing.tree.pre_order:
        for k, child in enumerate(placing.children[node]):
            factors = []
            for kind in kernel.kinds:
                mine = nodes[node].slots[kind]
                partners = nodes[node].slots[kernel.partner(kind)]
                parts = [
                    nodes[node].between[kind, k, b] @ other.spread.T
                    for b, other in enumerate(partners)
                    if b != k
                ]
                if node in known:
                    start = sum(len(slot.sites) for slot in mine[:k])
                    rows = found[node][kind].weights[start : start + len(mine[k].sites)]
                    parts.append(rows @ known[node][kind])
                wide = np.concatenate([np.zeros((len(mine[k].sites), 0)), *parts], axis=1)
                factors.append(_narrow(wide))
            known[child] = tuple(factors)
    return known


def _narrow(wide: Numbers) -> Numbers:
    """Return a matrix of no more columns than rows with the same product with its adjoint."""
    if wide.shape[1] <= wide.shape[0] or not len(wide):
        return wide
    return np.asarray(qr(np.ascontiguousarray(wide.conj().T))[1]).conj().T


def _compressed(
    kernel: Kernel,
    node: str,
    held: _Node,
    inner: list[tuple[Numbers, ...]],
    skeletons: tuple[Skeleton, ...] | None,
    above: tuple[Numbers, ...] | None,
    allowed: float,
    done: Mapping[str, bool],
) -> tuple[RawCore, tuple[Numbers, ...], float]:
    """Write one node in the orthonormal bases of its children, and choose its own."""
    placing = kernel.placing
    width = len(placing.children[node]) + len(placing.modes[node])
    bases = [_slot_bases(kernel, kind, held, inner) for kind in kernel.kinds]
    labels = [_labels(kernel, kind, held, inner) for kind in kernel.kinds]
    nothing = np.zeros((1, width), dtype=np.int64)
    root = skeletons is None
    blocks: list[Any] = [] if root else [(nothing, IDENTITY, 1.0)]
    for k, child in enumerate(placing.children[node]):
        if not done[child]:
            continue
        row = nothing.copy()
        row[0, k] = DONE
        blocks.append((row, 0 if root else DONE, 1.0))
    for (kind, a, b), block in held.between.items():
        if a < b:
            other = kernel.partner(kind)
            value = bases[kind][a] @ block @ bases[other][b].T
            blocks.append(
                _entries(
                    width,
                    (held.slots[kind][a].column, *labels[kind][a]),
                    (held.slots[other][b].column, *labels[other][b]),
                    value,
                    0 if root else DONE,
                )
            )
    if skeletons is None or above is None:
        return raw_core(blocks), (), 0.0
    made, lost, start = [], 0.0, OPEN
    for kind in kernel.kinds:
        Y = _stacked(bases[kind], skeletons[kind])
        P, less = _basis(Y @ above[kind], allowed / len(kernel.kinds))
        lost += less
        made.append(P.conj().T @ Y)
        first = 0
        for slot, (index, norm) in zip(held.slots[kind], labels[kind], strict=True):
            part = P[first : first + len(index)] / norm[:, None]
            first += len(index)
            inputs = np.zeros((part.size, width), dtype=np.int64)
            inputs[:, slot.column] = np.repeat(index, part.shape[1])
            output = np.tile(start + np.arange(part.shape[1]), len(index))
            blocks.append((inputs, output, part.reshape(-1)))
        start += P.shape[1]
    return raw_core(_nonzero(blocks)), tuple(made), lost


def _slot_bases(
    kernel: Kernel, kind: int, held: _Node, inner: list[tuple[Numbers, ...]]
) -> list[Numbers]:
    return [
        inner[k][kind] if k < len(inner) else np.ones((1, 1))
        for k, _ in enumerate(held.slots[kind])
    ]


def _labels(
    kernel: Kernel, kind: int, held: _Node, inner: list[tuple[Numbers, ...]]
) -> list[tuple[Ints, Numbers]]:
    """Return channels or indices of local matrices of every slot, and the norms of the latter."""
    found = []
    for k, slot in enumerate(held.slots[kind]):
        if k < len(inner):
            first = OPEN + sum(len(basis) for basis in inner[k][:kind])
            count = len(inner[k][kind])
            found.append((first + np.arange(count), np.ones(count)))
        else:
            site = slot.sites
            found.append((kernel.index[kind][site], kernel.norms[kind][site]))
    return found


def _stacked(bases: list[Numbers], skeleton: Skeleton) -> Numbers:
    parts, row = [], 0
    for basis in bases:
        parts.append(basis @ skeleton.weights[row : row + basis.shape[1]])
        row += basis.shape[1]
    return np.concatenate(parts) if parts else skeleton.weights


def _basis(B: Numbers, allowed: float) -> tuple[Numbers, float]:
    """Return orthonormal columns that span a matrix but for a squared error of `allowed`."""
    if not B.size:
        return np.zeros((len(B), 0)), 0.0
    U, s, _ = svd(B)
    values = np.asarray(s)
    tails = np.cumsum((values**2)[::-1])[::-1]
    count = int(np.count_nonzero(tails > max(allowed, (1e-15 * values[0]) ** 2)))
    while 0 < count < len(values) and values[count] >= values[count - 1] * (1 - TOGETHER):
        count += 1
    if count == len(B):
        return np.eye(count), 0.0
    return np.asarray(U)[:, :count], float(np.sum(values[count:] ** 2))


def _entries(
    width: int, a: tuple[int, Ints, Numbers], b: tuple[int, Ints, Numbers], value: Any, out: int
) -> tuple[Ints, int, Numbers]:
    """Return the entries that pair the channels of two slots."""
    value = value / (a[2][:, None] * b[2][None, :])
    inputs = np.zeros((value.size, width), dtype=np.int64)
    inputs[:, a[0]] = np.repeat(a[1], value.shape[1])
    inputs[:, b[0]] = np.tile(b[1], value.shape[0])
    return inputs, out, value.reshape(-1)


def _nonzero(blocks: list[Any]) -> list[Any]:
    found = []
    for inputs, output, weights in blocks:
        if np.ndim(weights) and not np.all(weights):
            kept = weights != 0
            output = output[kept] if np.ndim(output) else output
            inputs, weights = inputs[kept], weights[kept]
        found.append((inputs, output, weights))
    return found
