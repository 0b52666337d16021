"""Local solvers: one core forward in time between fixed environments.

Which one, for fields of norm L (the fastest rate) and steps h:

- `Lanczos` (linear fields, the default): exact in time, long steps and stiff problems included;
  some 20 applications for h L = 70, and parts of a step where `max_size` is not enough.
  `DenseExponential` for cores of a few dozen entries.
- `RungeKutta4`: four applications, for h L below 2.8 (2.8 / substeps): transport at its Courant
  number, functions. Outside it blows up. `AdaptiveRungeKutta` finds the substeps itself; the
  default for what is not linear.
- `ImplicitMidpoint`: stable for all h L, keeps norms of unitary flows, order two in h: fast
  components are not followed, nor damped, so it wants smooth starts. Each substep is one solve by
  GMRES, without a preconditioner; it seldom takes fewer applications than `Lanczos`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from contraction.arrays import Array, eps, is_complex, to, to_numpy
from contraction.errors import ConvergenceError, InputError
from integrators.krylov import Reach, arnoldi_space, combined, lanczos_space
from integrators.local_problem import AbstractLocalSolver, LocalProblem, Solved, right_side
from integrators.norms import frobenius
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
        Largest space; a step that needs more is made in parts, each as long as its space allows.

    Notes
    -----
    Three-term recursion without re-orthogonalisation, and one small eigenproblem in the end.
    Memory for `max_size` cores. Hochbruck and Lubich, SIAM J. Numer. Anal. 34 (1997) 1911,
    theorem 4, for why the product bounds the error. No part is solved more finely than rounding.

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
        rate = abs(problem.factor)
        z: Any = start
        applications, left, known = 0, 1.0, problem.known
        while left > 0.0 and h * rate != 0.0:
            size = frobenius(z)
            if size == 0.0:
                break
            step = abs(left * h)
            reach = Reach(step * rate, max(self.tol * step, 0.1 * eps(z)))
            make = lanczos_space if problem.hermitian else arnoldi_space
            first = None if known is None else known / size
            space = make(problem, z / size, first, reach, self.max_size)
            applications += len(space.matrix) - (known is not None)
            if space.share < 2.0**-40:
                raise ConvergenceError(
                    f"the local exponential did not converge in spaces of {self.max_size} "
                    f"vectors even over h * 2^-40 (h = {h:.3g}); is the field finite?"
                )
            part = left * space.share
            z = combined(space, _column(problem, space.matrix, part * h) * size, z)
            left, known = left - part, None
        return Solved(z, applications)


def _column(problem: LocalProblem, small: np.ndarray[Any, Any], h: float) -> Any:
    """Return the first column of exp(h factor small)."""
    if problem.hermitian:
        w, V = np.linalg.eigh(small)
        return (V * np.exp(h * problem.factor * w)) @ V[0].conj()
    from scipy.linalg import expm

    return expm(h * problem.factor * small)[:, 0]


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
