"""The two local problems of a sweep: orthonormalise a block, and solve for one node.

NumPy arrays go to LAPACK directly, because the wrappers cost more than the arithmetic at these
sizes; other namespaces go through their own linear algebra.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from contraction import linalg
from contraction.arrays import Array, Namespace, device, dtype_name, namespace, namespace_name
from contraction.errors import ConvergenceError
from contraction.householder import q_and_r
from tnet.als.pairs import transposed

PROXIMAL = {"float64": 1e-12, "complex128": 1e-12, "float32": 1e-6, "complex64": 1e-6}
DOUBLE = {"float32": "float64", "complex64": "complex128"}


@dataclass(frozen=True)
class Kernels:
    """What a sweep needs beside matmul, for one namespace and dtype.

    Attributes
    ----------
    qr
        block -> (Q, S).
    solve
        (data, block, old) -> (W, explained): W minimises ||data - W block^T||^2, and
        ||data||^2 - explained() is the squared residual.
    solve_normal
        The same from the normal equations, for arrays of the type that small solves run in:
        (B^T conj(B), data conj(B), old, both), where both() is (data, block).
    raised
        An array in that type.
    solve_product
        The same for a block that is a Kronecker product: (data conj(blocks), blocks, old), where
        the first and the last have one axis for each block after the node's own.
    conj
        Complex conjugate; does nothing for real arrays.
    """

    qr: Callable[[Any], tuple[Any, Any]]
    solve: Callable[[Any, Any, Any], tuple[Any, Callable[[], float]]]
    solve_normal: Callable[..., tuple[Any, Callable[[], float]]]
    raised: Callable[[Any], Any]
    solve_product: Callable[[Any, Sequence[Any], Any], tuple[Any, Callable[[], float]]]
    conj: Callable[[Any], Any]


def kernels(x: Array) -> Kernels:
    """Return the kernels for arrays like `x`."""
    kind = dtype_name(x)
    if namespace_name(x) == "numpy":
        found = _lapack(kind)
        return (
            _in_double(found, _lapack(DOUBLE[kind]), namespace(x), kind)
            if kind in DOUBLE
            else found
        )
    found = _generic(namespace(x), kind, device(x))
    if kind not in DOUBLE:
        return found
    return _in_double(found, _generic(namespace(x), DOUBLE[kind], device(x)), namespace(x), kind)


def _in_double(single: Kernels, double: Kernels, xp: Namespace, kind: str) -> Kernels:
    """Return single-precision kernels whose small solves run in double.

    Normal equations square the condition of the block, which single precision cannot afford;
    forming them in double costs a third of a QR factorisation in single.
    """
    wide, narrow = getattr(xp, DOUBLE[kind]), getattr(xp, kind)

    def raised(x: Any) -> Any:
        return xp.astype(x, wide)

    def solve(data: Any, block: Any, old: Any) -> tuple[Any, Callable[[], float]]:
        W, explained = double.solve(raised(data), raised(block), raised(old))
        return xp.astype(W, narrow), explained

    def solve_normal(*equations: Any) -> tuple[Any, Callable[[], float]]:
        W, explained = double.solve_normal(*equations)
        return xp.astype(W, narrow), explained

    def solve_product(rhs: Any, blocks: Sequence[Any], old: Any) -> Any:
        higher = [raised(x) for x in blocks]
        W, explained = double.solve_product(raised(rhs), higher, raised(old))
        return xp.astype(W, narrow), explained

    return Kernels(single.qr, solve, solve_normal, raised, solve_product, single.conj)


@lru_cache(maxsize=8)
def _lapack(kind: str) -> Kernels:
    from scipy.linalg import lapack

    letter = {"float32": "s", "float64": "d", "complex64": "c", "complex128": "z"}[kind]
    geqrf = getattr(lapack, f"{letter}geqrf")
    orgqr = getattr(lapack, f"{letter}{'or' if letter in 'sd' else 'un'}gqr")
    potrf, potrs = getattr(lapack, f"{letter}potrf"), getattr(lapack, f"{letter}potrs")
    is_real = letter in "sd"
    upper = lru_cache(maxsize=256)(lambda n: np.triu(np.ones((n, n), dtype=kind)))

    def qr(block: Array) -> tuple[Array, Array]:
        columns = block.shape[1]
        packed, tau, _, _ = geqrf(block, lwork=64 * columns)
        S = packed[:columns] * upper(columns)
        Q, _, _ = orgqr(packed, tau, lwork=64 * columns, overwrite_a=1)
        return Q, S

    def solve_positive(G: Any, rhs: Any) -> Any:
        # (G, rhs) are ours; rhs is (own, columns) in C order, so rhs.T needs no copy
        L, info = potrf(G, lower=1, clean=0)
        if info:
            return None
        x, info = potrs(L, rhs.T, lower=1, overwrite_b=1)
        return x.T

    def shift(G: Any, mu: float) -> Any:
        G = G.copy()
        G.reshape(-1)[:: G.shape[0] + 1] += mu
        return G

    def squared(a: Any, b: Any) -> float:
        return float(np.vdot(a, b).real)

    def trace(G: Any) -> float:
        return float(G.trace().real)

    conj = (lambda x: x) if is_real else np.conj
    return _kernels(qr, solve_positive, shift, squared, trace, conj, PROXIMAL[kind])


@lru_cache(maxsize=8)
def _generic(xp: Namespace, kind: str, where: str) -> Kernels:
    eye = lru_cache(maxsize=256)(lambda n: xp.eye(n, dtype=getattr(xp, kind), device=where))

    def solve_positive(G: Array, rhs: Array) -> Array | None:
        x: Array = xp.linalg.solve(G, rhs.T)  # type: ignore[attr-defined]
        return x.T if bool(xp.all(xp.isfinite(x))) else None  # type: ignore[attr-defined]

    def shift(G: Array, mu: float) -> Array:
        shifted: Array = G + mu * eye(G.shape[0])
        return shifted

    def squared(a: Array, b: Array) -> float:
        return float(xp.sum(xp.real(xp.conj(a) * b)))

    def trace(G: Array) -> float:
        return float(xp.real(xp.linalg.trace(G)))

    def qr(block: Array) -> tuple[Array, Array]:
        return q_and_r(block, xp)

    conj = xp.conj if kind.startswith("complex") else (lambda x: x)
    return _kernels(qr, solve_positive, shift, squared, trace, conj, PROXIMAL[kind])


def _kernels(
    qr: Callable[[Array], tuple[Array, Array]],
    solve_positive: Callable[[Any, Any], Any],
    shift: Callable[[Any, float], Any],
    squared: Callable[[Any, Any], float],
    trace: Callable[[Any], float],
    conj: Callable[[Any], Any],
    proximal: float,
) -> Kernels:
    def solve(data: Any, block: Any, old: Any) -> tuple[Any, Callable[[], float]]:
        """Minimise ||data - W block^T||^2 + mu ||W - old||^2; mu keeps every step solvable.

        The proximal term makes no difference where the block has full column rank, and leaves
        what the data do not determine as it was, so a step never raises the error.
        """
        rows, columns = block.shape
        if rows < columns:
            return solve_wide(data, block, old)
        conjugate = conj(block)
        return solve_normal(block.T @ conjugate, data @ conjugate, old, lambda: (data, block))

    def solve_normal(
        G: Any, rhs: Any, old: Any, both: Callable[[], tuple[Any, Any]]
    ) -> tuple[Any, Callable[[], float]]:
        # W G = rhs
        size = trace(G)
        if size <= 0.0:
            return old, lambda: 0.0
        mu = proximal * size / G.shape[0]
        W = solve_positive(shift(conj(G), mu), rhs + mu * old)
        if W is None:
            W = _by_qr(*both(), old, mu)
        return W, lambda: 2.0 * squared(W, rhs) - squared(W, W @ G)

    def solve_wide(data: Any, block: Any, old: Any) -> tuple[Any, Callable[[], float]]:
        # fewer equations than unknowns: the same solution from the smaller Gram matrix
        conjugate = conj(block)
        K = conjugate @ block.T
        residual = data - old @ block.T
        size = trace(K)
        if size <= 0.0:
            return old, lambda: 0.0
        mu = proximal * size / block.shape[0]
        step = solve_positive(shift(conj(K), mu), residual)
        if step is None:
            W = _by_qr(data, block, old, mu)
            rest = data - W @ block.T
        else:
            W = old + step @ conjugate
            rest = mu * step
        return W, lambda: squared(data, data) - squared(rest, rest)

    def solve_product(rhs: Any, blocks: Sequence[Any], old: Any) -> tuple[Any, Callable[[], float]]:
        """Solve in the eigenvectors of the Gram matrices, where the product is diagonal."""
        xp = namespace(rhs)
        vectors, values, mu = [], xp.ones_like(rhs[:1].real), proximal
        for k, block in enumerate(blocks):
            w, V = xp.linalg.eigh(block.T @ conj(block))
            w = xp.where(w > 0.0, w, xp.zeros_like(w))
            shape = [1] * rhs.ndim
            shape[k + 1] = -1
            values = values * w.reshape(tuple(shape))
            vectors.append(V)
            mu = mu * float(xp.sum(w)) / int(w.shape[0])
        if mu <= 0.0:
            return old, lambda: 0.0
        turned = _along_axes(rhs, vectors)
        found = (turned + mu * _along_axes(old, vectors)) / (values + mu)
        W = _along_axes(found, [conj(V).T for V in vectors])
        return W, lambda: squared(found, 2.0 * turned - values * found)

    return Kernels(qr, solve, solve_normal, lambda x: x, solve_product, conj)


def _along_axes(x: Any, matrices: Sequence[Any]) -> Any:
    """Multiply the axes of `x` after the first by one matrix each, from the right."""
    order = (0, *range(2, x.ndim), 1)
    for matrix in matrices:
        x = transposed(x, order) @ matrix  # the axis in turn goes last: in the end all are home
    return x


def _by_qr(data: Any, block: Any, old: Any, mu: float) -> Any:
    """Solve the same problem from the block itself, where its Gram matrix is not positive."""
    xp = namespace(block)
    columns = block.shape[1]
    eye = xp.eye(columns, dtype=block.dtype, device=device(block))
    Q, R = linalg.qr(xp.concat((block, mu**0.5 * eye), axis=0))
    rhs = xp.concat((data, mu**0.5 * old), axis=1)
    W: Any = xp.linalg.solve(R, xp.conj(Q).T @ rhs.T).T
    if not bool(xp.all(xp.isfinite(W))):
        raise ConvergenceError(
            f"the least-squares problem of a node with {columns} columns could not be solved: "
            "its block is not finite. Scale the data, or lower the ranks."
        )
    return W
