"""Cutting: the ranks of a state down again, by the singular values across each bond."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from contraction.arrays import Array, eps, namespace, to_numpy
from contraction.linalg import svd
from contraction.truncation import Truncation
from integrators.directions import orthonormal_rows
from integrators.environments import weigh
from integrators.tree_state import TreeState
from tnet._axes import apply_matrix, contiguous


class Cut(NamedTuple):
    """A truncated state and what was cut off.

    Attributes
    ----------
    state
        The state, isometric again.
    discarded
        Bond -> Frobenius norm of what was cut there, relative to that of the whole state. The
        whole relative error is at most the root of the sum of their squares, to first order in
        them (parents are cut before the weights below are taken).
    """

    state: TreeState
    discarded: dict[str, float]

    @property
    def error(self) -> float:
        """Root of the sum of squares of `discarded`: a relative Frobenius error."""
        return math.sqrt(sum(x * x for x in self.discarded.values()))


def cut(state: TreeState, truncation: Truncation, *, workers: int = 1) -> Cut:
    """Lower the ranks of a state as far as a truncation rule allows.

    Parameters
    ----------
    state
        Any state, such as the augmented one of a step.
    truncation
        `tol` is the relative Frobenius error over all bonds together, shared evenly over those
        that may be cut; `max_rank` wins over it, `min_rank` holds a rank up. `max_params` is
        not followed here.
    workers
        Number of threads; the result does not depend on it.

    Notes
    -----
    From the root down: the singular values of each slot of the weighted core are those of the
    bond (de Lathauwer, de Moor and Vandewalle, SIAM J. Matrix Anal. Appl. 21 (2000) 1253;
    Grasedyck, ibid. 31 (2010) 2029). Then isometries are restored from the leaves up. Bonds that
    span the whole space below them (`TreeState.saturated`) are cut by `max_rank` alone.
    """
    frame = state.frame
    most = truncation.max_rank or math.inf
    frozen = [s and state.cores[n].shape[0] <= most for n, s in enumerate(state.saturated)]
    for node in range(1, frame.count):  # nothing below a frozen bond is looked at
        frozen[node] = frozen[node] or (frame.parent[node] > 0 and frozen[frame.parent[node]])
    active = [n for n in range(1, frame.count) if not frozen[n]]
    allowed = truncation.tol * state.norm / math.sqrt(max(len(active), 1))
    cores = list(state.cores)
    weighted: dict[int, Array] = {0: state.cores[0]}
    discarded: dict[str, float] = {}
    for node in range(frame.count):
        if node and frozen[node]:
            continue
        whole = weighted.pop(node)
        kept: dict[int, Array] = {}
        for slot, below in enumerate(frame.slots[node]):
            child = below.child
            if child < 0 or frozen[child]:
                continue
            E, kept[child], lost, whole = _cut_slot(whole, slot, truncation, allowed)
            xp = namespace(E)
            cores[node] = apply_matrix(cores[node], xp.conj(E).T, slot + 1, xp)
            cores[child] = weigh(cores[child], E)
            discarded[frame.bond[child]] = lost / (state.norm or 1.0)
        for child, values in kept.items():
            shape = (-1,) + (1,) * (len(cores[child].shape) - 1)
            weighted[child] = cores[child] * values.reshape(shape)
    return Cut(TreeState(frame, tuple(_isometric(state, cores, frozen))), discarded)


def _cut_slot(
    whole: Array, slot: int, truncation: Truncation, allowed: float
) -> tuple[Array, Array, float, Array]:
    """Return the basis kept of a slot, its values, the norm lost, and the core in that basis."""
    xp = namespace(whole)
    size = int(whole.shape[slot + 1])
    matrix = xp.moveaxis(whole, slot + 1, 0).reshape(size, -1)
    U, s = left_basis(matrix, truncation, allowed)
    values: Any = to_numpy(s).astype(np.float64)
    rank = truncation.rank(values, allowed=allowed)
    lost = math.sqrt(float(np.sum(values[rank:] ** 2)))
    E = U[:, :rank]
    return E, s[:rank], lost, apply_matrix(whole, xp.conj(E).T, slot + 1, xp)


def left_basis(matrix: Any, truncation: Truncation, allowed: float) -> tuple[Array, Array]:
    """Return left singular vectors and values, as exactly as the cut needs them.

    From the Gram matrix where the last value kept is a good part of the first (values from it
    are good to sqrt(eps) of the largest), else by a singular value decomposition.
    """
    xp = namespace(matrix)
    if matrix.shape[1] > matrix.shape[0] // 2:
        w, V = xp.linalg.eigh(matrix @ xp.conj(matrix).T)
        w = xp.flip(w, axis=0)
        s = xp.sqrt(xp.where(w > 0.0, w, xp.zeros_like(w)))
        values: Any = to_numpy(s).astype(np.float64)
        rank = truncation.rank(values, allowed=allowed)
        if values[rank - 1] > 30.0 * math.sqrt(eps(matrix)) * values[0] > 0.0:
            return xp.flip(V, axis=1), s
    U, s, _ = svd(matrix)
    return U, s


def _isometric(state: TreeState, cores: list[Array], frozen: list[bool]) -> list[Array]:
    """Restore orthonormal rows, leaves first; what is taken out goes to the parent."""
    frame = state.frame
    for node in reversed(range(1, frame.count)):
        if frozen[node]:
            continue
        core = cores[node]
        if any(s.child >= 0 and not frozen[s.child] for s in frame.slots[node]):
            xp = namespace(core)
            rows, L = orthonormal_rows(core.reshape(core.shape[0], -1))
            core = rows.reshape((rows.shape[0], *core.shape[1:]))
            parent = frame.parent[node]
            turned = xp.permute_dims(L, (1, 0))  # the core was L @ rows
            cores[parent] = apply_matrix(cores[parent], turned, frame.place[node] + 1, xp)
        cores[node] = contiguous(core)
    return cores
