"""Cutting: the ranks of a state down again, by the singular values across each bond."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from contraction.arrays import Array, namespace, to_numpy
from contraction.linalg import qr, svd
from contraction.truncation import Truncation
from integrators.environments import weigh
from integrators.tree_state import TreeState
from tnet._axes import apply_matrix


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
        for slot, below in enumerate(frame.slots[node]):
            if below.child < 0 or frozen[below.child]:
                continue
            E, lost, whole = _cut_slot(whole, slot, truncation, allowed)
            xp = namespace(E)
            cores[node] = apply_matrix(cores[node], xp.conj(E).T, slot + 1, xp)
            cores[below.child] = weigh(cores[below.child], E)
            discarded[frame.bond[below.child]] = lost / (state.norm or 1.0)
        for slot, below in enumerate(frame.slots[node]):
            if below.child >= 0 and not frozen[below.child]:
                weighted[below.child] = weigh(cores[below.child], _amplitude(whole, slot))
    return Cut(TreeState(frame, tuple(_isometric(state, cores, frozen))), discarded)


def _cut_slot(
    whole: Array, slot: int, truncation: Truncation, allowed: float
) -> tuple[Array, float, Array]:
    """Return the basis kept of a slot, the norm lost, and the weighted core in that basis."""
    xp = namespace(whole)
    matrix = xp.moveaxis(whole, slot + 1, 0)
    U, s, _ = svd(matrix.reshape(whole.shape[slot + 1], -1))
    values: Any = to_numpy(s).astype(np.float64)
    rank = truncation.rank(values, allowed=allowed)
    lost = math.sqrt(float(np.sum(values[rank:] ** 2)))
    E = U[:, :rank]
    return E, lost, apply_matrix(whole, xp.conj(E).T, slot + 1, xp)


def _amplitude(whole: Array, slot: int) -> Array:
    """Return the matrix that the bond in a slot carries: (size of the slot, columns)."""
    xp = namespace(whole)
    matrix: Any = xp.moveaxis(whole, slot + 1, 0)
    _, R = qr(matrix.reshape(whole.shape[slot + 1], -1).T)
    found: Array = R.T  # type: ignore[attr-defined]
    return found


def _isometric(state: TreeState, cores: list[Array], frozen: list[bool]) -> list[Array]:
    """Restore orthonormal rows, leaves first; what is taken out goes to the parent."""
    frame = state.frame
    for node in reversed(range(1, frame.count)):
        if frozen[node] or not any(s.child >= 0 and not frozen[s.child] for s in frame.slots[node]):
            if not frozen[node] and cores[node] is not state.cores[node]:
                cores[node] = _contiguous(cores[node])
            continue
        core = cores[node]
        xp = namespace(core)
        matrix: Any = core.reshape(core.shape[0], -1)
        Q, R = qr(matrix.T)
        cores[node] = _contiguous(Q.T.reshape((Q.shape[1], *core.shape[1:])))  # type: ignore[attr-defined]
        turned = R  # core = R.T @ rows: the parent takes R along its slot
        parent = frame.parent[node]
        cores[parent] = apply_matrix(cores[parent], turned, frame.place[node] + 1, xp)
    return cores


def _contiguous(x: Array) -> Array:
    from tnet._axes import contiguous

    return contiguous(x)
