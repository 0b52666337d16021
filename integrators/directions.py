"""New directions of a subspace: what a moved core adds to an orthonormal basis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from contraction.arrays import Array, eps, namespace, to_numpy
from contraction.errors import NonFiniteError
from contraction.linalg import qr
from integrators.norms import frobenius

RESOLVED = 1e-4  # singular values from a Gram matrix are good to eps / this of the largest
ROUNDING = 1e-13


def new_directions(old: Any, moved: Any, least: float = 0.0, most: int | None = None) -> Any:
    """Return orthonormal rows that span, with the rows of `old`, those of `moved`.

    Parameters
    ----------
    old
        Orthonormal rows: a core (r, n1, n2, ...) whose further axes may be shorter than those of
        `moved`; it then stands for itself with zeros behind.
    moved
        Rows (c, m1, m2, ...).
    least
        Directions whose weight (singular value of `moved` beyond `old`) is not above this are
        left out; so are those below rounding, 1e-13 ||moved|| (6e-6 in single precision).
    most
        How many are wanted at the most, the strongest; weaker ones are then not looked for.

    Raises
    ------
    NonFiniteError
        NaN or infinity in `moved`.

    Returns
    -------
    Array
        Rows (k, m1 m2 ...), k <= min(c, m1 m2 ... - r), orthogonal to those of `old` to
        rounding; strongest first.

    Notes
    -----
    The strong directions come from the Gram matrix, are projected out, and the weaker ones from
    the Gram matrix of what is left, as often as needed: 8 c^2 m flops a round (complex), most
    often two rounds. Old directions are projected out of the rows and again of the directions
    found, when those have the length one; those of a padded basis in its block alone.

    Examples
    --------
    >>> old = np.eye(4)[:2]
    >>> new = new_directions(old, np.array([[1.0, 1.0, 3.0, 0.0]]))
    >>> new.shape, float(abs(new[0, 2]))
    ((1, 4), 1.0)
    """
    xp = namespace(moved)
    columns = math.prod(moved.shape[1:])
    room = min(int(moved.shape[0]), columns - int(old.shape[0]))
    room = room if most is None else min(room, most)
    flat = moved.reshape(moved.shape[0], columns)
    size = frobenius(flat)
    if not math.isfinite(size):
        raise NonFiniteError(
            "a core holds NaN or infinity after its step: the step is too long for the local "
            "solver, or the solution leaves the range of the floats."
        )
    floor = max(least, (ROUNDING if eps(moved) < 1e-10 else 50.0 * eps(moved)) * size)
    if room <= 0 or size <= floor:
        return flat[:0]
    adjoint = xp.conj(old.reshape(old.shape[0], -1)).T
    rest = beyond(moved, old, adjoint).reshape(flat.shape)
    found: list[Any] = []
    while room > 0:
        fresh = _strongest(rest, floor, room, old, adjoint, tuple(moved.shape[1:]), found)
        if fresh is None:
            break
        found.append(fresh)
        room -= int(fresh.shape[0])
        if room > 0:
            rest = rest - (rest @ xp.conj(fresh).T) @ fresh
    if not found:
        return flat[:0]
    return found[0] if len(found) == 1 else xp.concat(found, axis=0)


def beyond(moved: Any, old: Any, adjoint: Any) -> Any:
    """Return `moved` (new memory) without its part along the rows of `old`, which may be padded."""
    block = (slice(None), *(slice(0, n) for n in old.shape[1:]))
    rows = moved.shape[0]
    inner = moved[block]
    along = (inner.reshape(rows, -1) @ adjoint) @ old.reshape(old.shape[0], -1)
    if tuple(old.shape[1:]) == tuple(moved.shape[1:]):
        return moved - along.reshape(moved.shape)
    rest = moved * 1.0
    rest[block] -= along.reshape(inner.shape)
    return rest


def _strongest(
    rest: Any,
    floor: float,
    room: int,
    old: Any,
    adjoint: Any,
    shape: Sequence[int],
    found: Sequence[Any],
) -> Any:
    """Return the directions of `rest` within four digits of its strongest; None below `floor`."""
    xp = namespace(rest)
    w, V = xp.linalg.eigh(rest @ xp.conj(rest).T)
    values = np.sqrt(np.maximum(to_numpy(w)[::-1], 0.0))
    top = float(values[0])
    if top <= floor:
        return None
    kept = min(int(np.count_nonzero(values > max(floor, RESOLVED * top))), room)
    scale = xp.asarray(1.0 / values[:kept], dtype=w.dtype, device=rest.device)
    chosen = xp.flip(V[:, -kept:], axis=1)
    fresh = (xp.conj(chosen).T @ rest) * scale[:, None]
    for before in found:
        fresh = fresh - (fresh @ xp.conj(before).T) @ before
    fresh = beyond(fresh.reshape((kept, *shape)), old, adjoint).reshape(fresh.shape)
    return orthonormal_rows(fresh)[0]


def orthonormal_rows(x: Any) -> tuple[Any, Any]:
    """Return Q with orthonormal rows and L with L Q = x, for rows that are nearly so already.

    By Cholesky's factor of the Gram matrix, or by QR where that is not accurate.

    Examples
    --------
    >>> Q, L = orthonormal_rows(np.array([[1.0, 0.0, 0.0], [0.1, 1.0, 0.0]]))
    >>> bool(np.allclose(Q @ Q.T, np.eye(2))), bool(np.allclose(L @ Q, [[1, 0, 0], [0.1, 1, 0]]))
    (True, True)
    """
    xp = namespace(x)
    try:
        L = xp.linalg.cholesky(x @ xp.conj(x).T)
    except _failures():
        L = None
    if L is not None:
        pivots = to_numpy(xp.real(xp.linalg.diagonal(L)))
        if pivots.size and pivots.min() > 0.5 * pivots.max() > 0.0:
            return xp.linalg.inv(L) @ x, L
    Q, R = qr(x.T)
    return Q.T, R.T  # type: ignore[attr-defined]


def _failures() -> tuple[type[BaseException], ...]:
    from contraction.elementary import failures_of_lapack

    return failures_of_lapack()


def padded(core: Any, shape: tuple[int, ...]) -> Any:
    """Return a core with zeros appended on every axis up to `shape`; itself if there are none.

    Examples
    --------
    >>> padded(np.ones((1, 2)), (2, 3))
    array([[1., 1., 0.],
           [0., 0., 0.]])
    """
    if tuple(core.shape) == tuple(shape):
        return core
    xp = namespace(core)
    found: Any = xp.zeros(shape, dtype=core.dtype, device=core.device)
    found[tuple(slice(0, n) for n in core.shape)] = core
    return found


def stacked(core: Array, rows: Array) -> Array:
    """Return a core with more rows (k, the rest as a vector) behind its own.

    Examples
    --------
    >>> stacked(np.ones((1, 2, 2)), np.zeros((3, 4))).shape
    (4, 2, 2)
    """
    if rows.shape[0] == 0:
        return core
    xp = namespace(core)
    more = rows.reshape((rows.shape[0], *core.shape[1:]))
    found: Array = xp.concat([core, more], axis=0)
    return found
