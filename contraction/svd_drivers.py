"""Drivers of the singular value decomposition, and in which order to try them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from contraction import torch_lapack
from contraction.arrays import Array, Namespace, device, namespace_name, on_gpu, to, to_numpy
from contraction.elementary import adjoint, phases

HOST_SIDE = 64  # a matrix of so many rows and columns is done sooner by the host than by a GPU
Triple: TypeAlias = tuple[Array, Array, Array]


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One driver of the ladder.

    Attributes
    ----------
    name
        What the log calls it.
    run
        (matrix, namespace) -> U, s, Vh, thin, s descending; may raise, may return rubbish.
    reduced
        True if small singular values carry an absolute error of sqrt(eps) times the largest.
    """

    name: str
    run: Callable[[Array, Namespace], Triple]
    reduced: bool = False


def direct(x: Array, xp: Namespace) -> Triple:
    """Return the SVD by the library's own driver (gesdd on the CPU, gesvdj by cuSOLVER)."""
    U, s, Vh = xp.linalg.svd(x, full_matrices=False)
    return U, s, Vh


def by_torch(x: Array, xp: Namespace) -> Triple:
    """Return the SVD of a NumPy array by PyTorch's LAPACK; of the transpose if it is wide."""
    if x.shape[0] < x.shape[1]:
        V, s, Ut = torch_lapack.svd(xp.matrix_transpose(x))
        return xp.matrix_transpose(Ut), s, xp.matrix_transpose(V)
    return torch_lapack.svd(x)


def one_sided(x: Array, xp: Namespace) -> Triple:
    """Return the SVD by LAPACK's QR iteration (gesvd) on the host: slower, hardly ever fails."""
    from scipy.linalg import svd as scipy_svd

    found = scipy_svd(to_numpy(x), full_matrices=False, lapack_driver="gesvd", check_finite=False)
    return beside(found, x)


def triangular_first(x: Array, xp: Namespace) -> Triple:
    """Return the SVD of the R factor, after a QR of the longer side."""
    if x.shape[0] < x.shape[1]:
        V, s, Uh = triangular_first(adjoint(x, xp), xp)
        return adjoint(Uh, xp), s, adjoint(V, xp)
    Q, R = xp.linalg.qr(x)
    U, s, Vh = (on_host if goes_to_host(R) else direct)(R, xp)
    return Q @ U, s, Vh


def gram(x: Array, xp: Namespace) -> Triple:
    """Return the SVD from the eigenvectors of the smaller Gram matrix; reduced accuracy.

    The second pass of QR makes U orthonormal whatever the conditioning; only singular values
    below sqrt(eps) times the largest are inaccurate.
    """
    if x.shape[0] < x.shape[1]:
        V, s, Uh = gram(adjoint(x, xp), xp)
        return adjoint(Uh, xp), s, adjoint(V, xp)
    _, V = xp.linalg.eigh(adjoint(x, xp) @ x)
    V = xp.flip(V, axis=1)
    U, R = xp.linalg.qr(x @ V)
    values = xp.linalg.diagonal(R)
    s = xp.abs(values)
    order = xp.flip(xp.argsort(s), axis=0)
    U = U * phases(values, xp)
    return U[:, order], s[order], adjoint(V[:, order], xp)


def on_host(x: Array, xp: Namespace) -> Triple:
    """Return the SVD by NumPy on a copy in host memory."""
    return beside(np.linalg.svd(to_numpy(x), full_matrices=False), x)


def beside(found: Sequence[Any], x: Array) -> Triple:
    """Put host results into the namespace and onto the device of `x`."""
    if namespace_name(x) == "numpy":
        U, s, Vh = found
        return U, s, Vh
    where: dict[str, Any] = {"namespace": namespace_name(x), "device": device(x)}
    U, s, Vh = (to(np.ascontiguousarray(y), **where) for y in found)
    return U, s, Vh


LADDER = (
    Rung(name="direct", run=direct),
    Rung(name="gesvd", run=one_sided),
    Rung(name="qr-first", run=triangular_first),
    Rung(name="host", run=on_host),
    Rung(name="gram", run=gram, reduced=True),
)

LENT = Rung(name="torch", run=by_torch)


def ladder_for(x: Array) -> tuple[Rung, ...]:
    """Return the drivers for a matrix in the order of trying.

    For long NumPy matrices PyTorch's LAPACK where it was measured to be faster. On a GPU the
    library's driver works on no more than a triangle, and the host is asked last.

    Examples
    --------
    >>> [rung.name for rung in ladder_for(np.ones((9, 2)))][:2]
    ['direct', 'gesvd']
    """
    if torch_lapack.lends_svd(x):
        return (LENT, *LADDER)
    if not on_gpu(x):
        return LADDER
    first = {"direct": 1, "qr-first": 0 if _is_long(x) else 2}
    return tuple(sorted(LADDER, key=lambda rung: first.get(rung.name, 3)))


def _is_long(x: Array) -> bool:
    return bool(max(x.shape) >= 2 * min(x.shape))


def goes_to_host(x: Array) -> bool:
    """Tell whether a matrix is on a GPU, and so small that it is done sooner by the host.

    Not where torch records what is done, to differentiate it.

    Examples
    --------
    >>> goes_to_host(np.ones((2, 2)))
    False
    """
    return on_gpu(x) and max(x.shape) <= HOST_SIDE and not getattr(x, "requires_grad", False)
