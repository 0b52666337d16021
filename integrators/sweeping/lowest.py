"""The lowest eigenvector of a Hermitian operator by a few Lanczos steps from a good start."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from contraction.arrays import eps, namespace
from contraction.errors import NonFiniteError


class Lowest(NamedTuple):
    """What `lowest` found.

    Attributes
    ----------
    value
        The Ritz value: an upper bound of the lowest eigenvalue.
    vector
        Its Ritz vector, of norm one.
    residual
        ||A x - value x||.
    width
        Largest Ritz value minus smallest: how far apart eigenvalues are, from below.
    applications
        How often the operator was applied.
    """

    value: float
    vector: Any
    residual: float
    width: float
    applications: int


def lowest(
    apply: Callable[[Any], Any], start: Any, *, steps: int, tol: float, restarts: int = 0
) -> Lowest:
    """Return the lowest Ritz pair of a Hermitian operator.

    Parameters
    ----------
    apply
        The operator on flat arrays.
    start
        A flat array, not zero.
    steps
        Largest number of Lanczos vectors, at least two.
    tol
        Stop when the residual is below.
    restarts
        How often to begin anew from the Ritz vector while the residual is above `tol`.

    Raises
    ------
    NonFiniteError
        The operator returned NaN or infinity.

    Notes
    -----
    Lanczos with full reorthogonalisation, which costs nothing for so few vectors. Within a sweep
    two to four steps are enough: the neighbours change anyway (White, PRB 48 (1993) 10345).

    Examples
    --------
    >>> A = np.diag([3.0, 1.0, 2.0])
    >>> found = lowest(lambda x: A @ x, np.ones(3), steps=3, tol=1e-12)
    >>> round(found.value, 12), found.applications
    (1.0, 3)
    """
    used, width = 0, 0.0
    xp = namespace(start)
    x = start / _norm(start, xp)
    while True:
        found = _run(apply, x, steps, tol, xp)
        used, width = used + found.applications, max(width, found.width)
        if found.residual <= tol or restarts == 0 or found.applications < 2:
            return found._replace(width=width, applications=used)
        restarts -= 1
        x = found.vector


def _run(apply: Callable[[Any], Any], x: Any, steps: int, tol: float, xp: Any) -> Lowest:
    basis, alphas, betas = [x], list[float](), list[float]()
    count, precision = min(steps, int(x.shape[0])), eps(x)
    while True:
        w = apply(basis[-1])
        alpha = float(xp.real(_dot(basis[-1], w, xp)))
        if not np.isfinite(alpha):
            raise NonFiniteError("the operator gave NaN or infinity on a normalised state.")
        alphas.append(alpha)
        w = w - alpha * basis[-1]
        if betas:
            w = w - betas[-1] * basis[-2]
        for v in basis[:-2]:
            w = w - _dot(v, w, xp) * v
        beta = _norm(w, xp)
        values, s = _ritz(alphas, betas)
        residual = beta * abs(float(s[-1]))
        least = 50.0 * precision * max(map(abs, (*alphas, *betas)))  # below it is rounding alone
        if len(alphas) >= count or residual <= tol or beta <= least:
            vector = float(s[0]) * basis[0]
            for factor, v in zip(s[1:], basis[1:], strict=True):
                vector = vector + float(factor) * v
            width = float(values[-1] - values[0])
            vector = vector / _norm(vector, xp)
            return Lowest(float(values[0]), vector, residual, width, len(alphas))
        betas.append(beta)
        basis.append(w / beta)


def _ritz(alphas: list[float], betas: list[float]) -> tuple[Any, Any]:
    if len(alphas) == 1:
        return np.array(alphas), np.ones(1)
    T = np.diag(alphas) + np.diag(betas, 1) + np.diag(betas, -1)
    values, vectors = np.linalg.eigh(T)
    return values, vectors[:, 0]


def _dot(a: Any, b: Any, xp: Any) -> Any:
    return xp.vecdot(a, b)


def _norm(x: Any, xp: Any) -> float:
    return math.sqrt(float(xp.real(xp.vecdot(x, x))))
