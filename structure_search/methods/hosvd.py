"""The all-orthogonal core of an array, and higher-order orthogonal iteration on it.

The factors of the truncated HOSVD are nested, so one core serves every core shape: the error of
shape r is 1 - (sum of squared core entries with index <= r) / ||X||^2, squared and relative
(De Lathauwer, De Moor, Vandewalle, SIAM J. Matrix Anal. Appl. 21 (2000) 1253).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np

from contraction import linalg
from contraction.arrays import Array, is_complex, namespace, to_numpy
from contraction.elementary import failures_of_lapack

WORKED_ON = 2**19  # entries of the core that orthogonal iteration sees
WEAK = 1e-6  # of the largest squared singular value: the singular vectors need a decomposition
TOGETHER = 32  # entries along the last axes that are summed by a product of matrices
LARGE, PART = 64, 4  # eigenvectors alone are sought if so large and this part of them is wanted
SPARE = 24  # rows of a factor beyond its rank that are worked on, at least
Float = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, kw_only=True)
class OrthogonalCore:
    """X = core x_1 V_1 ... x_N V_N, up to what the caps on the ranks leave out.

    Attributes
    ----------
    core
        Shape (R_1, ..., R_N), in the namespace of the data.
    factors
        V_n of shape (I_n, R_n), with orthonormal columns, leading ones first.
    kept
        For each column of a factor the sum of the squared singular values up to it, relative to
        ||X||^2.
    norm
        Frobenius norm of the data.
    """

    core: Array = field(repr=False)
    factors: tuple[Array, ...] = field(repr=False)
    kept: tuple[Float, ...] = field(repr=False)
    norm: float


def orthogonal_core(x: Array, caps: Sequence[int]) -> OrthogonalCore:
    """Return the all-orthogonal core of `x` with at most `caps` columns per mode.

    Cost: one Gram matrix per mode, |X| sum I_n multiply-adds, and as much for the core.
    Values below sqrt(eps) of the largest are noise, which no core shape can notice.
    """
    norm = float(namespace(x).linalg.vector_norm(x))
    factors, kept = [], []
    for n, cap in enumerate(caps):
        share, V = _spectrum(x, n, min(cap, x.shape[n]))
        factors.append(V)
        kept.append(np.minimum(np.cumsum(share) / max(norm**2, np.finfo(float).tiny), 1.0))
    core = x
    for n, V in sorted(enumerate(factors), key=lambda p: p[1].shape[1] / p[1].shape[0]):
        core = project(core, n, V)
    return OrthogonalCore(core=core, factors=tuple(factors), kept=tuple(kept), norm=norm)


def _spectrum(x: Array, axis: int, cap: int) -> tuple[Float, Array]:
    """Return leading squared singular values of an unfolding and its left singular vectors."""
    size = x.shape[axis]
    rest = math.prod(x.shape) // size
    if cap <= rest < size:  # from the shorter side of a tall unfolding
        wide: Any = _unfolding(x, axis)
        share, right = _eigenpairs(_adjoint(wide) @ wide, cap)
        return share, linalg.qr(wide @ right)[0]
    return _eigenpairs(_gram(x, axis), cap)


def _eigenpairs(gram: Array, cap: int) -> tuple[Float, Array]:
    if isinstance(gram, np.ndarray) and len(gram) >= LARGE and cap * PART <= len(gram):
        with suppress(*failures_of_lapack()):
            V = linalg.qr(_some_eigenvectors(gram, cap))[0]  # orthonormal, whatever LAPACK did
            xp = namespace(V)
            share = xp.real(xp.sum(xp.conj(V) * (gram @ V), axis=0))
            return np.maximum(to_numpy(share), 0.0), V
    w, V = linalg.eigh(gram)
    return np.maximum(to_numpy(w[:cap]), 0.0), V[:, :cap]


def _some_eigenvectors(gram: Any, count: int) -> Any:
    from scipy.linalg import eigh

    size = len(gram)
    V: Any = eigh(gram, subset_by_index=(size - count, size - 1), check_finite=False)[1]
    return np.ascontiguousarray(V[:, ::-1])


def _adjoint(x: Any) -> Any:
    return (namespace(x).conj(x) if is_complex(x) else x).T


def project(x: Array, axis: int, V: Any) -> Array:
    """Return x x_axis V^H: the axis of length I becomes one of length R."""
    xp: Any = namespace(x)
    before, after = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :])
    conjugate = xp.conj(V) if is_complex(x) else V
    if after == 1:  # one product of matrices instead of many with vectors
        y = xp.reshape(x, (before, x.shape[axis])) @ conjugate
    else:
        y = conjugate.T @ xp.reshape(x, (before, x.shape[axis], after))
    out: Array = xp.reshape(y, (*x.shape[:axis], V.shape[1], *x.shape[axis + 1 :]))
    return out


def _unfolding(x: Any, axis: int) -> Array:
    xp = namespace(x)
    order = (axis, *(k for k in range(x.ndim) if k != axis))
    out: Array = xp.reshape(xp.permute_dims(x, order), (x.shape[axis], -1))
    return out


def _gram(x: Any, axis: int) -> Array:
    xp: Any = namespace(x)
    # of the last axis no copy is needed
    wide: Any = xp.reshape(x, (-1, x.shape[-1])).T if axis == x.ndim - 1 else _unfolding(x, axis)
    out: Array = wide @ (xp.conj(wide) if is_complex(x) else wide).T
    return out


def _leading(core: Array, axis: int, rank: int) -> Array:
    """Return the leading left singular vectors of an unfolding, unchecked where NumPy finds them.

    They only steer the iteration: what is handed out is made orthonormal by a checked
    factorisation (`orthonormal`), so that a wrong vector costs quality but no honesty.
    """
    if isinstance(core, np.ndarray):
        try:
            w, vectors = _unchecked(core, axis, rank)
        except (np.linalg.LinAlgError, ValueError):
            return _checked(core, axis, rank)
        if np.isfinite(w).all():
            found: Array = vectors
            return found
    return _checked(core, axis, rank)


def _checked(core: Array, axis: int, rank: int) -> Array:
    V: Any = linalg.eigh(_gram(core, axis))[1]
    leading: Array = V[:, :rank]
    return leading


def _unchecked(core: Any, axis: int, rank: int) -> tuple[Any, Any]:
    size = core.shape[axis]
    if rank <= core.size // size < size:  # from the shorter side
        wide: Any = _unfolding(core, axis)
        w, V = np.linalg.eigh(_adjoint(wide) @ wide)
        w, V = w[: -rank - 1 : -1], V[:, : -rank - 1 : -1]
        if w[-1] > WEAK * w[0]:
            return w, (wide @ V) / np.sqrt(w)
        U, s, _ = np.linalg.svd(wide, full_matrices=False)
        return s, np.ascontiguousarray(U[:, :rank])
    gram: Any = _gram(core, axis)
    if size >= LARGE and PART * rank <= size:
        from scipy.linalg import eigh

        w, V = eigh(gram, subset_by_index=(size - rank, size - 1), check_finite=False)
    else:
        w, V = np.linalg.eigh(gram)
    return w, np.ascontiguousarray(V[:, : -rank - 1 : -1])


def orthonormal(core: Array, factors: Sequence[Array]) -> tuple[Array, list[Array]]:
    """Return `core` projected on what the factors span, and orthonormal bases of that."""
    bases = [linalg.qr(w)[0] for w in factors]
    for n, Q in sorted(enumerate(bases), key=lambda p: p[1].shape[1] / p[1].shape[0]):
        core = project(core, n, Q)
    return core, bases


def captured(core: Array) -> Float:
    """Return the squared norm that every shape keeps, at index (r_1 - 1, ..., r_N - 1).

    Cost: one pass per mode over an array of the size of the core.
    """
    host = to_numpy(core)
    squares = host.real**2 + host.imag**2 if np.iscomplexobj(host) else host**2
    energy: Float = np.ascontiguousarray(squares, dtype=np.float64)
    shape = energy.shape
    first = len(shape)  # of the last axes, which are summed by one product of matrices
    while first and math.prod(shape[first - 1 :]) <= TOGETHER:
        first -= 1
    if first < len(shape):
        sums = reduce(np.kron, (np.triu(np.ones((n, n))) for n in shape[first:]))
        energy = (energy.reshape(-1, len(sums)) @ sums).reshape(shape)
    for axis in range(first):
        slabs = energy.reshape(math.prod(shape[:axis]), shape[axis], -1)
        for k in range(1, shape[axis]):  # many times as fast as a cumulative sum along an axis
            slabs[:, k] += slabs[:, k - 1]
    return energy


def orthogonal_iteration(
    core: Array,
    ranks: Sequence[int],
    *,
    sweeps: int,
    rtol: float = 1e-7,
    start: Sequence[Array] | None = None,
    spare: int = SPARE,
) -> tuple[Array, tuple[Array, ...], int]:
    """Return the best Tucker core of shape `ranks` and its factors inside `core`, by HOOI.

    Starts from the truncated HOSVD, which is a corner of an all-orthogonal core, or from `start`:
    factors inside a corner of `core`. Only a corner a few times larger than `ranks`, at least by
    `spare`, is worked on, less of it where it has more than 2^19 entries; what lies outside
    matters little and is still counted as error. Stops when a sweep gains less than `rtol` of the
    norm squared lost.

    De Lathauwer, De Moor, Vandewalle, SIAM J. Matrix Anal. Appl. 21 (2000) 1324.
    """
    sizes = _corner(core.shape, ranks, spare)
    G = core[tuple(slice(n) for n in sizes)]
    if start is None:
        W = _identity(G, sizes, ranks)
        small = G[tuple(slice(r) for r in ranks)]
    else:
        W, small = [_padded(w[:n], n) for w, n in zip(start, sizes, strict=True)], G
        for n, w in enumerate(W):
            small = project(small, n, w)
    small, done = iterated(G, W, ranks, small, sweeps=sweeps, rtol=rtol)
    return small, tuple(_padded(w, n) for w, n in zip(W, core.shape, strict=True)), done


def iterated(
    x: Array, W: list[Array], ranks: Sequence[int], small: Array, *, sweeps: int, rtol: float
) -> tuple[Array, int]:
    """Sweep over the factors `W` of `x` in place; return the last core and the sweeps done.

    `small` is `x` projected on the factors at the start. Cost of a sweep: two passes over `x`,
    and on what is projected N log2 N projections and N Gram matrices.
    """
    norm = namespace(x).linalg.vector_norm
    total, found, done = float(norm(x)) ** 2, float(norm(small)) ** 2, 0
    modes = sorted(range(len(ranks)), key=lambda n: ranks[n] / x.shape[n])
    while done < sweeps:
        done += 1
        small = _swept(x, modes, W, ranks)
        now = float(norm(small)) ** 2
        gained, found = now - found, now
        if gained <= rtol * max(total - now, 0.0):
            break
    return small, done


def turned(core: Array, ranks: Sequence[int]) -> tuple[Array, tuple[Array, ...]]:
    """Return `core` in other bases of each mode, whose leading vectors suit core shape `ranks`.

    One sweep of orthogonal iteration, and a second one that keeps all eigenvectors: after the
    leading ones come those that are worth most beside the other modes' leading ones. The sums of
    squares of the new core are the errors of all shapes in these bases.

    Returns
    -------
    core, bases
        core x_1 Q_1^H ... x_N Q_N^H and the square Q_n.
    """
    sizes = core.shape
    modes = sorted(range(len(ranks)), key=lambda n: ranks[n] / sizes[n])
    W = _identity(core, sizes, ranks)
    _swept(core, modes, W, ranks)
    bases = list(W)

    def all_vectors(y: Array, mode: int) -> Array:
        bases[mode] = Q = _leading(y, mode, sizes[mode])
        leading: Array = Q[:, : ranks[mode]]
        return leading

    _visited(core, modes, W, all_vectors)
    for n, Q in enumerate(bases):
        core = project(core, n, Q)
    return core, tuple(bases)


def _identity(core: Array, sizes: Sequence[int], ranks: Sequence[int]) -> list[Array]:
    xp = namespace(core)
    eye = [xp.eye(n, dtype=core.dtype, device=_device(core)) for n in sizes]
    return [e[:, :r] for e, r in zip(eye, ranks, strict=True)]


def _swept(core: Array, modes: Sequence[int], W: list[Array], ranks: Sequence[int]) -> Array:
    """Replace the factors of `modes`, one after the other, by the best for all others."""
    return _visited(core, modes, W, lambda y, mode: _leading(y, mode, ranks[mode]))


def _visited(
    core: Array, modes: Sequence[int], W: list[Array], new: Callable[[Array, int], Array]
) -> Array:
    """Replace the factors of `modes` by what `new` makes of the projection on all others.

    `core` is projected on the factors of all other modes. Both halves of the modes share the
    projections on the other half. Returns the core projected on all factors.
    """
    if len(modes) == 1:
        W[modes[0]] = new(core, modes[0])
        return project(core, modes[0], W[modes[0]])
    first, second = modes[: len(modes) // 2], modes[len(modes) // 2 :]
    left = core
    for m in second:
        left = project(left, m, W[m])
    _visited(left, first, W, new)
    for m in first:
        core = project(core, m, W[m])
    return _visited(core, second, W, new)


def _padded(w: Array, size: int) -> Array:
    """Return a factor with zeros below."""
    xp: Any = namespace(w)
    zeros = xp.zeros((size - w.shape[0], w.shape[1]), dtype=w.dtype, device=_device(w))
    out: Array = xp.concat([w, zeros], axis=0)
    return out


def _corner(shape: Sequence[int], ranks: Sequence[int], spare: int) -> list[int]:
    """Return the part of the core that is worked on: a multiple of the ranks."""
    sizes = list(shape)
    for factor, more in ((4.0, spare), (4.0, SPARE), (3.0, SPARE), (2.0, SPARE)):
        wanted = [max(math.ceil(factor * r), r + more) for r in ranks]
        sizes = [min(full, n) for full, n in zip(shape, wanted, strict=True)]
        if math.prod(sizes) <= WORKED_ON:
            break
    return sizes


def is_whole(core: Array, data: Array, ranks: Sequence[int]) -> bool:
    """Tell whether iteration with as much to spare as there is works on all of the data."""
    worked_on = _corner(core.shape, ranks, max(core.shape))
    return bool(math.prod(worked_on) == math.prod(data.shape))


def _device(x: Any) -> Any:
    return x.device
