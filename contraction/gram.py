"""What one reads off an unfolding without ever copying it: Gram matrix, triangle, sketch, norm.

An unfolding is a 3-D view (before, n, after) of a tensor: its rows are the middle axis, its
columns the other two together. It may come in parts cut along `before` or `after`, one part at a
time, which is how arrays larger than memory are treated. Sums run in double precision whatever
the dtype of the data, since a Gram matrix squares the condition number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from contraction import torch_lapack
from contraction.arrays import (
    Array,
    Namespace,
    device,
    dtype_in,
    dtype_name,
    is_complex,
    namespace,
    namespace_name,
    on_gpu,
    random_normal,
)
from contraction.linalg import adjoint
from contraction.triangular import r_factor

WIDE = {
    "float32": "float64",
    "float64": "float64",
    "complex64": "complex128",
    "complex128": "complex128",
}
SMALLEST_SLICE = 1 << 11  # entries; below, the call costs more than the arithmetic
SHORTEST_SUM = 64  # columns; below, adding up n x n results costs more than gathering
ROW = 1 << 13  # entries summed in one go where many digits matter
BLOCK = 1 << 20  # entries of a converted or gathered block: 8 MB, what a cache holds
SMALLEST_SLICE_GPU = 1 << 22  # where a call takes as long as some 10^8 multiplications,
BLOCK_GPU = 1 << 24  # and memory is faster than a cache of the host


def cast(x: Array, kind: str) -> Array:
    """Return `x` in the dtype called `kind`; itself if it is."""
    if dtype_name(x) == kind:
        return x
    xp = namespace(x)
    converted: Array = xp.astype(x, dtype_in(xp, kind))
    return converted


def wide(x: Array) -> Array:
    """Return `x` in double precision; itself if it is."""
    return cast(x, WIDE[dtype_name(x)])


def matrices(x: Array, kind: str = "") -> Iterator[Array]:
    """Cut the unfolding of a (before, n, after) array into matrices (n, c), double by default.

    Views where they are large enough to be worth a call and need no conversion; else gathered
    or converted copies of at most about `BLOCK` entries.
    """
    kind = kind or WIDE[dtype_name(x)]
    for piece, turned in _pieces(x, converts=dtype_name(x) != kind):
        yield _facing(cast(piece, kind), turned)


def _pieces(x: Array, *, converts: bool) -> Iterator[tuple[Array, bool]]:
    """Yield the unfolding in pieces (n, c), or (c, n) and True where memory has it so."""
    before, n, after = (int(size) for size in x.shape)
    block, smallest = _sizes(x)
    step = max(before, after)
    if converts:  # few columns stay in a near cache, and many are worth adding up n x n results
        step = max(block // (4 * n), min(block // n, 8 * n), 1)
    if before == 1:
        for low in range(0, after, step):
            yield x[0, :, low : low + step], False
    elif after == 1:
        for low in range(0, before, step):
            yield x[low : low + step, :, 0], True
    elif n * after >= smallest and after >= SHORTEST_SUM:
        for row in range(before):
            for low in range(0, after, step):
                yield x[row, :, low : low + step], False
    else:
        xp = namespace(x)
        rows = max(block // (n * after), 1)
        for low in range(0, before, rows):
            some = xp.permute_dims(x[low : low + rows], (1, 0, 2))
            yield some.reshape(n, -1), False


def _sizes(x: Array) -> tuple[int, int]:
    """Return the entries of a block, and of the smallest slice that is multiplied by itself."""
    return (BLOCK_GPU, SMALLEST_SLICE_GPU) if on_gpu(x) else (BLOCK, SMALLEST_SLICE)


def _facing(A: Array, turned: bool) -> Array:
    return A.T if turned else A  # type: ignore[attr-defined]


def gram(parts: Iterable[Array]) -> Array:
    """Return G = M M^H of an unfolding M that comes in parts (before, n, after).

    Parameters
    ----------
    parts
        Arrays (before, n, after).

    Returns
    -------
    Array
        (n, n), in double precision. Not finite if the data are not (or overflow).

    Notes
    -----
    n^2 N flops for N entries (half of a general product: NumPy recognises A A^T), no copy of
    double-precision data, n^2 extra memory.

    Examples
    --------
    >>> gram([np.ones((2, 3, 4))])[0]
    array([8., 8., 8.])
    """
    total: Any = None
    with np.errstate(all="ignore"):  # what overflows is found and scaled by the caller
        for part in parts:
            for A in matrices(part):
                total = _plus_square(total, A)
    return _symmetric(total)


def gram_single(parts: Iterable[Array]) -> tuple[Array, float]:
    """Return M M^H with products in single precision, and ||M||_F^2 in double, in one pass.

    Takes what `gram` takes.

    Returns
    -------
    G, square
        (n, n) in double precision, in which the blocks are added up, with a relative error of
        about 1e-7; and the squared norm, with one of a few eps.

    Notes
    -----
    n^2 N flops, twice as fast as `gram`; each block is measured and converted while it is in
    the cache.

    Examples
    --------
    >>> G, square = gram_single([np.ones((2, 3, 4))])
    >>> G[0].tolist(), square
    ([8.0, 8.0, 8.0], 24.0)
    """
    total: Any = None
    square: Any = 0.0
    with np.errstate(all="ignore"):
        for part in parts:
            single = "complex64" if is_complex(part) else "float32"
            for piece, turned in _pieces(part, converts=True):
                square = square + _square(piece)
                total = _plus_square(total, _facing(cast(piece, single), turned))
    return _symmetric(total), float(square)


def _plus_square(total: Any, A: Array) -> Any:
    """Return total + A A^H; `total` is overwritten, None stands for zero."""
    G: Any = wide(A @ adjoint(A, namespace(A)))
    if total is None:
        return G
    total += G
    return total


def _symmetric(G: Array) -> Array:
    if namespace_name(G) == "numpy" and not is_complex(G):
        return G  # NumPy multiplies A A^T so that the result is symmetric to the bit
    half: Array = 0.5 * (G + adjoint(G, namespace(G)))
    return half


def triangle(parts: Iterable[Array]) -> Array:
    """Return R with R^H R = M M^H of an unfolding M in parts, without squaring anything.

    The R factor of M^H, found block by block: each block is stacked under the R so far
    (Demmel, Grigori, Hoemmen, Langou, SIAM J. Sci. Comput. 34 (2012) A206).

    Returns
    -------
    Array
        (k, n) with k = min(n, columns), in double precision. Singular values of R are those of
        M, its right singular vectors the left ones of M.

    Notes
    -----
    2 n^2 N flops for N entries; memory for a few n x n matrices or one block.

    Examples
    --------
    >>> R = triangle([np.ones((2, 3, 4))])
    >>> np.allclose(R.T @ R, 8.0)
    True
    """
    waiting: list[Array] = []
    rows = 0
    xp: Namespace = np
    for part in parts:
        xp = namespace(part)
        n = int(part.shape[1])
        enough = max(4 * n, _sizes(part)[0] // (4 * n))
        for A in matrices(part):
            tall = adjoint(A, xp)
            if not waiting:
                torch_lapack.prepare(tall, int(part.shape[0] * part.shape[2]), n)
            for low in range(0, int(tall.shape[0]), enough):
                waiting.append(tall[low : low + enough])
                rows += int(waiting[-1].shape[0])
                if rows >= enough:
                    waiting = [r_factor(_stacked(waiting, xp))]
                    rows = int(waiting[0].shape[0])
    return r_factor(_stacked(waiting, xp))


def _stacked(rows: list[Array], xp: Namespace) -> Array:
    if len(rows) == 1:
        return rows[0]
    stacked: Array = xp.concat(rows, axis=0)
    return stacked


def project(U: Array, x: Array) -> Array:
    """Return U^H x over the middle axis: (n, r) and (before, n, after) give (before, r, after).

    2 r N flops; no copy of `x`.

    Examples
    --------
    >>> project(np.ones((3, 1)), np.ones((2, 3, 4))).shape
    (2, 1, 4)
    """
    xp = namespace(U, x)
    before, _, after = (int(size) for size in x.shape)
    rank = int(U.shape[1])
    out: Array
    if before == 1:
        out = adjoint(U, xp) @ x[0]
    elif after == 1:
        out = x[:, :, 0] @ (xp.conj(U) if is_complex(U) else U)
    else:
        out = xp.matmul(adjoint(U, xp), x)
    shaped: Array = out.reshape(before, rank, after)
    return shaped


def sketch(parts: Iterable[Array], columns: int, rng: np.random.Generator) -> Array:
    """Return M Omega for a Gaussian Omega with that many columns, drawn part by part.

    Returns
    -------
    Array
        (n, columns) in the dtype of the data. 2 N columns flops.
    """
    total: Any = None
    for part in parts:
        xp = namespace(part)
        before, _, after = (int(size) for size in part.shape)
        omega = random_normal(rng, (before, after, columns), like=part)
        S: Any
        if before == 1:
            S = part[0] @ omega[0]
        elif after == 1:
            S = part[:, :, 0].T @ omega[:, 0, :]
        else:
            S = xp.sum(xp.matmul(part, omega), axis=0)
        total = S if total is None else total + S
    found: Array = total
    return found


def power(parts: Iterable[Array], Q: Array) -> Array:
    """Return M (M^H Q): one step of subspace iteration in one pass over the parts."""
    total: Any = None
    for part in parts:
        xp = namespace(part)
        B = project(Q, part)  # (before, l, after)
        S: Any
        if int(part.shape[0]) == 1:
            S = part[0] @ adjoint(B[0], xp)
        elif int(part.shape[2]) == 1:
            turned: Any = part[:, :, 0]
            S = turned.T @ (xp.conj(B[:, :, 0]) if is_complex(B) else B[:, :, 0])
        else:
            flipped = xp.permute_dims(B, (0, 2, 1))
            S = xp.sum(xp.matmul(part, xp.conj(flipped) if is_complex(B) else flipped), axis=0)
        total = S if total is None else total + S
    found: Array = total
    return found


def squared_norm(parts: Iterable[Array]) -> float:
    """Return ||M||_F^2, summed in double precision; infinite or NaN if the data are.

    In rows of 8192, whose sums are added pairwise: a relative error of a few eps.
    """
    total: Any = 0.0
    with np.errstate(all="ignore"):
        for part in parts:
            for A in matrices(part):
                total = total + _square(A)
    return float(total)


def _square(A: Array) -> Any:
    """Return the squared norm of a matrix whose rows, or all of it, are contiguous.

    A number () beside the matrix, for the host need not wait for it.
    """
    xp = namespace(A)
    wanted = wide(A)
    if int(A.shape[1]) <= ROW and int(A.shape[0]) < int(A.shape[1]):
        return xp.sum(xp.real(xp.vecdot(wanted, wanted)))
    flat = wanted.reshape(-1)
    cut = int(flat.shape[0]) // ROW * ROW
    pieces = (flat[:cut].reshape(-1, ROW), flat[cut:].reshape(1, -1))
    first, rest = (xp.sum(xp.real(xp.vecdot(piece, piece))) for piece in pieces)
    return first + rest


def empty_basis(n: int, like: Array) -> Array:
    """Return the first unit vector as an (n, 1) matrix beside `like`."""
    xp = namespace(like)
    first: Array = xp.eye(n, 1, dtype=like.dtype, device=device(like))
    return first


def as_matrix(x: Array) -> Array:
    """Return the unfolding of a (before, n, after) array as one matrix; a view where possible."""
    before, n, after = (int(size) for size in x.shape)
    flat: Array
    if before == 1:
        flat = x[0]
    elif after == 1:
        flat = x[:, :, 0].T
    else:
        flat = namespace(x).permute_dims(x, (1, 0, 2)).reshape(n, -1)
    return flat


def residual(parts: Iterable[Array], Q: Array) -> float:
    """Return ||M - Q Q^H M||_F^2, measured: no difference of large numbers. 4 N l flops."""

    def rests() -> Iterator[Array]:
        for part in parts:
            xp = namespace(part)
            yield part - project(adjoint(Q, xp), project(Q, part))

    return squared_norm(rests())
