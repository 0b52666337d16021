"""New directions of a subspace: what a moved core adds to an orthonormal basis."""

from __future__ import annotations

from typing import Any

import numpy as np

from contraction.arrays import Array, eps, namespace, to_numpy
from contraction.elementary import norm as norm_of
from contraction.linalg import svd


def new_directions(old: Any, moved: Any, least: float = 0.0) -> Any:
    """Return orthonormal rows that span, with the rows of `old`, those of `moved`.

    Parameters
    ----------
    old
        Orthonormal rows (r, n).
    moved
        Rows (c, n).
    least
        Directions whose weight (singular value of `moved` beyond `old`) is not above this are
        left out; so are those below rounding, 1e-13 ||moved||.

    Returns
    -------
    Array
        Rows (k, n), k <= min(c, n - r), orthogonal to those of `old` to rounding; strongest
        first.

    Notes
    -----
    Projected twice ("twice is enough"), then a singular value decomposition.

    Examples
    --------
    >>> old = np.eye(4)[:2]
    >>> new = new_directions(old, np.array([[1.0, 1.0, 3.0, 0.0]]))
    >>> new.shape, float(abs(new[0, 2]))
    ((1, 4), 1.0)
    """
    xp = namespace(old)
    nothing: Any = moved[:0]
    room = min(moved.shape[0], old.shape[1] - old.shape[0])
    size = norm_of(moved.reshape(-1))
    if room <= 0 or size == 0.0:
        return nothing
    adjoint = xp.conj(old).T
    rest: Any = moved
    for _ in range(2):
        rest = rest - (rest @ adjoint) @ old
    if norm_of(rest.reshape(-1)) <= max(least, 1e-13 * size):
        return nothing
    _, s, Vh = svd(rest)
    kept = int(np.count_nonzero(to_numpy(s) > max(least, 1e3 * eps(moved) * size)))
    V: Any = Vh[: min(kept, room)]
    if V.shape[0] == 0:
        return nothing
    # what is left of the old basis in weak directions is of the size eps / weight
    V = V - (V @ adjoint) @ old
    Q, R = xp.linalg.qr(V.T)
    signs = xp.linalg.diagonal(R)
    signs = signs / xp.abs(signs)
    found: Array = (Q * signs[None, :]).T
    return found


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
    held: Any = core
    found: Any = xp.zeros(shape, dtype=held.dtype, device=held.device)
    found[tuple(slice(0, n) for n in held.shape)] = held
    whole: Array = found
    return whole


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
