"""Local solvers: one core forward in time between fixed environments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from contraction.arrays import Array, eps, is_complex, namespace, to, to_numpy
from contraction.elementary import norm as norm_of
from contraction.errors import ConvergenceError, InputError, NonFiniteError
from integrators.local_problem import AbstractLocalSolver, LocalProblem, Solved, right_side
from integrators.runge_kutta import AdaptiveRungeKutta, RungeKutta4

__all__ = [
    "AbstractLocalSolver",
    "AdaptiveRungeKutta",
    "DenseExponential",
    "ImplicitMidpoint",
    "Lanczos",
    "RungeKutta4",
    "Solved",
    "default_solver",
    "solved",
]


def default_solver(problem: LocalProblem) -> AbstractLocalSolver:
    """Return `Lanczos()` for linear problems, `AdaptiveRungeKutta()` for others."""
    return Lanczos() if problem.linear else AdaptiveRungeKutta()


def solved(
    solver: AbstractLocalSolver | None, problem: LocalProblem, start: Array, h: float
) -> Solved:
    """Solve with the given solver, or the default one of the problem."""
    return (default_solver(problem) if solver is None else solver).solve(problem, start, h)


@final
@dataclass(frozen=True, kw_only=True)
class Lanczos(AbstractLocalSolver):
    """The exponential on a Krylov space, by the recursion of Lanczos.

    Where the generator is no multiple of a Hermitian one it runs Arnoldi's instead.

    Parameters
    ----------
    tol
        The space grows until prod_j(beta_j h / j) < tol * h: an estimate of the error of this
        step, relative to the norm of the core (which is that of the whole state).
    max_size
        Largest space; a step that needs more is halved.

    Notes
    -----
    Three-term recursion without re-orthogonalisation, and one small eigenproblem in the end.
    Memory for `max_size` cores. Hochbruck and Lubich, SIAM J. Numer. Anal. 34 (1997) 1911,
    theorem 4, for why the product bounds the error.

    Examples
    --------
    >>> problem = LocalProblem(lambda z: 2.0 * z, factor=-1j, hermitian=True)
    >>> z = Lanczos().solve(problem, np.ones(3, complex), 0.5).core
    >>> bool(np.allclose(z, np.exp(-1j)))
    True
    """

    tol: float = 1e-6
    max_size: int = 40

    def solve(self, problem: LocalProblem, start: Array, h: float) -> Solved:
        """Return exp(h factor apply) start."""
        if not problem.linear:
            raise InputError("Lanczos solves linear fields; use AdaptiveRungeKutta or RungeKutta4.")
        build = _lanczos if problem.hermitian else _arnoldi
        z, applications, left, part = start, 0, 1.0, 1.0
        while left > 0.0:
            part = min(part, left)
            basis, small, used, done = build(problem, z, part * h, self.tol, self.max_size)
            applications += used
            if not done:
                part /= 2.0
                if part < 2.0**-40:
                    raise ConvergenceError(
                        f"the local exponential did not converge in spaces of {self.max_size} "
                        f"vectors even over h * 2^-40 (h = {h:.3g}); is the field finite?"
                    )
                continue
            z = _combined(problem, basis, small, part * h, z)
            left -= part
        return Solved(z, applications)


def _require_finite(beta: float, h: float) -> None:
    if not math.isfinite(beta):
        raise NonFiniteError(
            f"the field of a core is NaN or infinite within a step of {h:.3g}; check the numbers "
            "of the operator and of the state."
        )


def _dot(xp: Any, x: Any, y: Any) -> complex:
    return complex(xp.vecdot(x.reshape(-1), y.reshape(-1)))


def _lanczos(
    problem: LocalProblem, start: Array, h: float, tol: float, most: int
) -> tuple[list[Any], np.ndarray[Any, Any], int, bool]:
    """Return basis, tridiagonal matrix, applications, and whether the estimate is met."""
    xp = namespace(start)
    size = norm_of(start.reshape(-1))
    alphas: list[float] = []
    betas: list[float] = []
    if size == 0.0:
        return [], np.zeros((0, 0)), 0, True
    basis: list[Any] = [start * (1.0 / size)]
    estimate, done = 1.0, False
    step = abs(h * problem.factor)
    most = min(most, math.prod(start.shape))
    floor = 10.0 * eps(start)
    while not done:
        w: Any = problem.apply(basis[-1])
        alphas.append(_dot(xp, basis[-1], w).real)
        w = w - basis[-1] * alphas[-1]
        if betas:
            w -= basis[-2] * betas[-1]
        beta = norm_of(w.reshape(-1))
        _require_finite(beta, h)
        scale = max(abs(alphas[-1]), betas[-1] if betas else 0.0, 1e-300)
        estimate *= beta * step / len(alphas)
        done = estimate < tol * abs(h) or beta <= floor * scale
        if done or len(alphas) == most:
            break
        betas.append(beta)
        basis.append(w * (1.0 / beta))
    small = np.diag(alphas) + np.diag(betas, 1) + np.diag(betas, -1)
    return basis, small, len(alphas), done or len(alphas) == math.prod(start.shape)


def _arnoldi(
    problem: LocalProblem, start: Array, h: float, tol: float, most: int
) -> tuple[list[Any], np.ndarray[Any, Any], int, bool]:
    """As `_lanczos`, with full orthogonalisation, twice, and an upper Hessenberg matrix."""
    xp = namespace(start)
    size = norm_of(start.reshape(-1))
    if size == 0.0:
        return [], np.zeros((0, 0)), 0, True
    full = math.prod(start.shape)
    most = min(most, full)
    small = np.zeros((most + 1, most), dtype=complex)
    basis: list[Any] = [start * (1.0 / size)]
    estimate, step, done, used = 1.0, abs(h * problem.factor), False, 0
    while used < most and not done:
        w: Any = problem.apply(basis[-1])
        w = w * 1.0
        scale = norm_of(w.reshape(-1))
        for _ in range(2):
            for k, v in enumerate(basis):
                overlap = _dot(xp, v, w)
                small[k, used] += overlap
                w -= v * (overlap if is_complex(w) else overlap.real)
        beta = norm_of(w.reshape(-1))
        _require_finite(beta, h)
        used += 1
        small[used, used - 1] = beta
        estimate *= beta * step / used
        done = estimate < tol * abs(h) or beta <= 10.0 * eps(start) * scale
        if not done and used < most:
            basis.append(w * (1.0 / beta))
    return basis, small[:used, :used], used, done or used == full


def _combined(
    problem: LocalProblem, basis: Sequence[Any], small: np.ndarray[Any, Any], h: float, z: Array
) -> Array:
    """Return ||z|| times the basis times the first column of exp(h factor small)."""
    if not basis:
        return z
    if problem.hermitian:
        w, V = np.linalg.eigh(small)
        column = (V * np.exp(h * problem.factor * w)) @ V[0].conj()
    else:
        from scipy.linalg import expm

        column = expm(h * problem.factor * small)[:, 0]
    size = norm_of(z.reshape(-1))
    total: Any = None
    for v, c in zip(basis, column * size, strict=True):
        number = complex(c) if is_complex(z) else float(c.real)
        term = v * number
        if total is None:
            total = term
        else:
            total += term
    found: Array = total
    return found


@final
@dataclass(frozen=True, kw_only=True)
class DenseExponential(AbstractLocalSolver):
    """The exponential of the whole matrix of a linear problem; for tiny cores and tests.

    Parameters
    ----------
    max_size
        Largest number of entries of a core; larger ones go to `Lanczos`.

    Examples
    --------
    >>> problem = LocalProblem(lambda z: 2.0 * z, factor=-1.0)
    >>> bool(np.allclose(DenseExponential().solve(problem, np.ones(2), 1.0).core, np.exp(-2)))
    True
    """

    max_size: int = 256

    def solve(self, problem: LocalProblem, start: Array, h: float) -> Solved:
        """Return exp(h factor apply) start."""
        n = math.prod(start.shape)
        if n > self.max_size:
            return Lanczos(tol=1e-12).solve(problem, start, h)
        from scipy.linalg import expm

        matrix = _matrix(problem, start)
        column = expm(h * problem.factor * matrix) @ to_numpy(start).reshape(-1)
        return Solved(beside(column.reshape(start.shape), start), n)


@final
@dataclass(frozen=True, kw_only=True)
class ImplicitMidpoint(AbstractLocalSolver):
    """(1 - d/2 A) Z1 = (1 + d/2 A) Z0 by conjugate directions (GMRES): for stiff linear problems.

    Parameters
    ----------
    substeps
        Number of equal steps d.
    tol
        Relative residual of each solve.

    Notes
    -----
    Order two, A-stable, keeps norms where A is skew-Hermitian (up to `tol`).

    Examples
    --------
    >>> problem = LocalProblem(lambda z: -1e6 * z)
    >>> z = ImplicitMidpoint().solve(problem, np.ones(2), 1.0).core
    >>> bool(np.all(np.abs(z) <= 1.0))
    True
    """

    substeps: int = 1
    tol: float = 1e-10

    def solve(self, problem: LocalProblem, start: Array, h: float) -> Solved:
        """Return the result of `substeps` equal steps."""
        if not problem.linear:
            raise InputError("ImplicitMidpoint solves linear fields; use AdaptiveRungeKutta.")
        from scipy.sparse.linalg import LinearOperator, gmres

        f = right_side(problem)
        n, used, d = math.prod(start.shape), 0, h / self.substeps

        def shifted(v: Any) -> Any:
            nonlocal used
            used += 1
            z = beside(np.asarray(v).reshape(start.shape), start)
            return to_numpy(z - f(z) * (d / 2)).reshape(-1)

        kind = to_numpy(start).dtype
        operator = LinearOperator((n, n), matvec=shifted, dtype=kind)
        z: Any = start
        for _ in range(self.substeps):
            right = to_numpy(z + f(z) * (d / 2)).reshape(-1)
            found, info = gmres(
                operator,
                right,
                x0=to_numpy(z).reshape(-1),
                rtol=self.tol,
                atol=0.0,
                restart=min(n, 50),
                maxiter=200,
            )
            if info:
                raise ConvergenceError(
                    f"GMRES did not reach {self.tol:.1e} in the implicit midpoint rule; use more "
                    "substeps."
                )
            z = beside(found.reshape(start.shape), start)
        return Solved(z, used)


def _matrix(problem: LocalProblem, like: Array) -> np.ndarray[Any, Any]:
    n = math.prod(like.shape)
    unit = np.eye(n, dtype=to_numpy(like).dtype).reshape(n, *like.shape)
    columns = [to_numpy(problem.apply(beside(e, like))).reshape(-1) for e in unit]
    return np.stack(columns, axis=1)


def beside(x: Any, like: Array) -> Array:
    """Return host numbers beside `like`, in its dtype."""
    from contraction.arrays import device, dtype_name, namespace_name

    host = x if is_complex(like) else x.real
    return to(
        np.ascontiguousarray(host),
        namespace=namespace_name(like),
        device=device(like),
        dtype=dtype_name(like),
    )
