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
from integrators.frame import Frame
from integrators.norms import exponent_of
from integrators.threads import blas_for, in_turn_or_threads
from integrators.tree_state import TreeState, require_finite_norm
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

    Raises
    ------
    NonFiniteError
        The norm of the state is no finite number.

    Notes
    -----
    From the root down: the singular values of each slot of the weighted core are those of the
    bond (de Lathauwer, de Moor and Vandewalle, SIAM J. Matrix Anal. Appl. 21 (2000) 1253;
    Grasedyck, ibid. 31 (2010) 2029). Then isometries are restored from the leaves up. Bonds that
    the step left alone (`TreeState.settled`) are cut by `max_rank` alone.
    """
    require_finite_norm(state)
    e = exponent_of(state.norm, state.cores[0])
    with blas_for(state, workers):
        done = _cut(state.times_power(-e), truncation, workers)
    return done._replace(state=done.state.times_power(e))


class Job(NamedTuple):
    """What cutting any node needs to know."""

    frame: Frame
    truncation: Truncation
    allowed: float  # Frobenius norm that a bond may lose
    frozen: list[bool]


class Piece(NamedTuple):
    """Cut cores of a subtree, norms lost, and what its top node hands to its parent."""

    cores: dict[int, Array]
    lost: dict[int, float]
    matrix: Array | None


def _cut(state: TreeState, truncation: Truncation, workers: int) -> Cut:
    frame = state.frame
    most = truncation.max_rank or math.inf
    frozen = [n in state.settled and core.shape[0] <= most for n, core in enumerate(state.cores)]
    for node in range(1, frame.count):  # nothing below a frozen bond is looked at
        frozen[node] = frozen[node] or (frame.parent[node] > 0 and frozen[frame.parent[node]])
    active = frozen.count(False) - 1
    allowed = truncation.tol * state.norm / math.sqrt(max(active, 1))
    job = Job(frame, truncation, allowed, frozen)
    cores = dict(enumerate(state.cores))
    lost: dict[int, float] = {}
    weighted = _cut_node(job, 0, state.cores[0], cores, lost)

    def work(child: int) -> Piece:
        return _cut_branch(job, child, weighted[child], {n: cores[n] for n in frame.subtree(child)})

    branches = list(weighted)
    for child, piece in zip(branches, in_turn_or_threads(work, branches, workers), strict=True):
        cores.update(piece.cores)
        lost.update(piece.lost)
        cores[0] = _received(frame, cores[0], child, piece.matrix)
    cores[0] = contiguous(cores[0])
    discarded = {frame.bond[node]: x / (state.norm or 1.0) for node, x in lost.items()}
    kept = frozenset(n for n in state.settled if frozen[n])
    return Cut(TreeState(frame, tuple(cores[n] for n in range(frame.count)), kept), discarded)


def _cut_branch(job: Job, top: int, weighted: Array, cores: dict[int, Array]) -> Piece:
    """Cut everything below one child of the root, then restore isometries up to it."""
    frame, waiting, lost = job.frame, {top: weighted}, dict[int, float]()
    for node in frame.subtree(top):
        if not job.frozen[node]:
            waiting.update(_cut_node(job, node, waiting.pop(node), cores, lost))
    matrix: Array | None = None
    for node in reversed(frame.subtree(top)):
        if job.frozen[node]:
            continue
        matrix = None
        if any(s.child >= 0 and not job.frozen[s.child] for s in frame.slots[node]):
            core = cores[node]
            rows, matrix = orthonormal_rows(core.reshape(core.shape[0], -1))
            cores[node] = rows.reshape((rows.shape[0], *core.shape[1:]))
        cores[node] = contiguous(cores[node])
        if node != top:
            parent = frame.parent[node]
            cores[parent] = _received(frame, cores[parent], node, matrix)
    return Piece(cores, lost, matrix)


def _received(frame: Frame, core: Array, child: int, matrix: Array | None) -> Array:
    """Return a core with what a child's core, now isometric, was the product of (L @ rows)."""
    if matrix is None:
        return core
    xp = namespace(matrix)
    return apply_matrix(core, xp.permute_dims(matrix, (1, 0)), frame.place[child] + 1, xp)


def _cut_node(
    job: Job, node: int, whole: Array, cores: dict[int, Array], lost: dict[int, float]
) -> dict[int, Array]:
    """Cut every slot of a weighted core; return the weighted cores of the children."""
    kept: dict[int, Array] = {}
    for slot, below in enumerate(job.frame.slots[node]):
        child = below.child
        if child < 0 or job.frozen[child]:
            continue
        E, kept[child], lost[child], whole = _cut_slot(whole, slot, job.truncation, job.allowed)
        xp = namespace(E)
        cores[node] = apply_matrix(cores[node], xp.conj(E).T, slot + 1, xp)
        cores[child] = weigh(cores[child], E)
    found = {}
    for child, values in kept.items():
        shape = (-1,) + (1,) * (len(cores[child].shape) - 1)
        found[child] = cores[child] * values.reshape(shape)
    return found


def _cut_slot(
    whole: Array, slot: int, truncation: Truncation, allowed: float
) -> tuple[Array, Array, float, Array]:
    """Return the basis kept of a slot, its values, the norm lost, and the core in that basis."""
    xp = namespace(whole)
    size = int(whole.shape[slot + 1])
    matrix = xp.moveaxis(whole, slot + 1, 0).reshape(size, -1)
    U, values, host = left_basis(matrix, truncation, allowed)
    rank = truncation.rank(host, allowed=allowed)
    lost = math.sqrt(float(np.sum(host[rank:] ** 2)))
    E = U[:, :rank]
    return E, values[:rank], lost, apply_matrix(whole, xp.conj(E).T, slot + 1, xp)


def left_basis(matrix: Any, truncation: Truncation, allowed: float) -> tuple[Any, Any, Any]:
    """Return left singular vectors and values, as exactly as the cut needs them.

    From the Gram matrix where the last value kept is a good part of the first (values from it
    are good to sqrt(eps) of the largest), else by a singular value decomposition. The values
    are returned beside the matrix, and on the host in double precision.
    """
    xp = namespace(matrix)
    if matrix.shape[1] > matrix.shape[0] // 2:
        w, V = xp.linalg.eigh(matrix @ xp.conj(matrix).T)
        w = xp.flip(w, axis=0)
        s = xp.sqrt(xp.where(w > 0.0, w, xp.zeros_like(w)))
        host: Any = to_numpy(s).astype(np.float64)
        rank = truncation.rank(host, allowed=allowed)
        if host[rank - 1] > 30.0 * math.sqrt(eps(matrix)) * host[0] > 0.0:
            return xp.flip(V, axis=1), s, host
    U, s, _ = svd(matrix)
    return U, s, to_numpy(s).astype(np.float64)
