"""Krylov spaces of one core's equation, and how far in time each of them reaches.

A space of m vectors approximates exp(h A) z with an error of about prod_j(beta_j |h| / j), beta_j
the norms left over on the way (Hochbruck and Lubich, SIAM J. Numer. Anal. 34 (1997) 1911). As
that is a power of h, a space that is too small for a step says how much of it it is good for.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from contraction.arrays import Array, eps, is_complex, namespace, namespace_name, to_numpy
from contraction.elementary import norm_beside, read_back
from contraction.errors import NonFiniteError
from integrators.local_problem import LocalProblem

CHUNK = 8  # vectors that memory is made for at a time


class Space(NamedTuple):
    """A Krylov space of a start vector of length one.

    Attributes
    ----------
    basis
        Its orthonormal vectors: a list of arrays, or the rows of one.
    matrix
        The linear map in this basis, on the host.
    share
        Part of the step, at most one, over which the estimated error is within the tolerance.
    """

    basis: Any
    matrix: np.ndarray[Any, Any]
    share: float


class Reach:
    """The estimate prod_j(beta_j |h| / j), as a logarithm: it leaves the range of floats."""

    def __init__(self, h: float, target: float) -> None:
        self._log, self._step, self._target, self._count = 0.0, h, math.log(target), 0

    def add(self, beta: float) -> bool:
        """Take one more vector into account; tell whether the estimate is within the target."""
        if not math.isfinite(beta):
            raise NonFiniteError(
                f"the field of a core is NaN or infinite within a step of {self._step:.3g}; check "
                "the numbers of the operator and of the state."
            )
        self._count += 1
        factor = beta * self._step / self._count
        self._log += math.log(factor) if factor > 0.0 else -math.inf
        return self._log < self._target

    def share(self) -> float:
        """Return the part of the step for which the estimate is within its part of the target."""
        if self._log < self._target:
            return 1.0
        return math.exp((self._target - self._log) / max(self._count - 1, 1))


def lanczos_space(
    problem: LocalProblem, unit: Array, first: Array | None, reach: Reach, most: int
) -> Space:
    """Return the space of a Hermitian map: three-term recursion, not orthogonalised again.

    Parameters
    ----------
    problem
        Its map is Hermitian.
    unit
        Start of norm one.
    first
        The map applied to it, if that is known.
    reach
        When to stop.
    most
        Largest space.

    Notes
    -----
    One number pair is read from a device per vector.

    Examples
    --------
    >>> problem = LocalProblem(lambda z: 2.0 * z, hermitian=True)
    >>> space = lanczos_space(problem, np.array([1.0, 0.0]), None, Reach(1.0, 1e-9), 5)
    >>> space.matrix, space.share
    (array([[2.]]), 1.0)
    """
    full = math.prod(unit.shape)
    most, floor = min(most, full), 10.0 * eps(unit)
    basis: list[Any] = [unit]
    alphas: list[float] = []
    betas: list[float] = []
    while True:
        v = basis[-1]
        w: Any = problem.apply(v) if first is None or alphas else first
        own = bool(betas)
        if own:
            w = w - basis[-2] * betas[-1]
        along = _real_dot(v, w)
        if own:
            w -= v * along
        else:
            w = w - v * along
        alpha, beta = read_back(unit, along, norm_beside(w.reshape(-1)))
        alphas.append(alpha)
        done = reach.add(beta)
        scale = max(abs(alpha), betas[-1] if own else 0.0, 1e-300)
        done = done or beta <= floor * scale or len(alphas) == full
        if done or len(alphas) == most:
            break
        betas.append(beta)
        basis.append(w * (1.0 / beta))
    matrix = np.diag(alphas) + np.diag(betas, 1) + np.diag(betas, -1)
    return Space(basis, matrix, 1.0 if done else reach.share())


def arnoldi_space(
    problem: LocalProblem, unit: Array, first: Array | None, reach: Reach, most: int
) -> Space:
    """Return the space of any linear map: as `lanczos_space`, orthogonalised in full, twice.

    Examples
    --------
    >>> problem = LocalProblem(lambda z: z[::-1] * np.array([0.0, 1.0]))
    >>> space = arnoldi_space(problem, np.array([1.0, 0.0]), None, Reach(1.0, 1e-9), 5)
    >>> space.matrix
    array([[0., 0.],
           [1., 0.]])
    """
    xp, shape, full = namespace(unit), tuple(unit.shape), math.prod(unit.shape)
    most, floor = min(most, full), 10.0 * eps(unit)
    rows: Any = unit.reshape(1, full)
    kind = np.complex128 if is_complex(unit) else np.float64
    matrix: np.ndarray[Any, Any] = np.zeros((most + 1, most), dtype=kind)
    used, done = 0, False
    while not done and used < most:
        v = rows[used].reshape(shape)
        w: Any = (problem.apply(v) if first is None or used else first).reshape(-1)
        used += 1
        held, size = rows[:used], norm_beside(w)
        once = xp.conj(held @ xp.conj(w))
        w = w - once @ held
        again = xp.conj(held @ xp.conj(w))
        w -= again @ held
        found = _host(unit, once + again, norm_beside(w), size)
        matrix[:used, used - 1] = found[:used]
        beta, scale = float(found[-2].real), float(found[-1].real)
        matrix[used, used - 1] = beta
        done = reach.add(beta) or beta <= floor * scale or used == full
        if not done and used < most:
            rows = _with_row(rows, used, w * (1.0 / beta), min(most, full))
    return Space(rows[:used], matrix[:used, :used], 1.0 if done else reach.share())


def combined(space: Space, column: np.ndarray[Any, Any], like: Array) -> Array:
    """Return the sum of the vectors of a space with the given factors.

    Examples
    --------
    >>> combined(Space([np.ones(2), np.arange(2.0)], np.eye(2), 1.0), np.array([1.0, 2.0]),
    ...     np.ones(2))
    array([1., 3.])
    """
    numbers = [complex(c) if is_complex(like) else float(c.real) for c in column]
    total: Any = space.basis[0].reshape(tuple(like.shape)) * numbers[0]
    for v, number in zip(space.basis[1:], numbers[1:], strict=True):
        total += v.reshape(tuple(like.shape)) * number
    found: Array = total
    return found


def _real_dot(x: Any, y: Any) -> Any:
    """Return the real part of <x, y>, beside the arrays."""
    if namespace_name(x) == "numpy":
        return float(np.vdot(x, y).real)
    xp = namespace(x)
    found = xp.vecdot(x.reshape(-1), y.reshape(-1))
    return xp.real(found) if is_complex(x) else found


def _host(like: Array, vector: Any, *numbers: Any) -> np.ndarray[Any, Any]:
    """Return a vector and real numbers behind it on the host, by one transfer."""
    if namespace_name(like) == "numpy":
        return np.concatenate([vector, np.array(numbers)])
    xp = namespace(like)
    parts = [xp.astype(xp.reshape(n, (1,)), vector.dtype) for n in numbers]
    return to_numpy(xp.concat([vector, *parts]))


def _with_row(rows: Any, count: int, row: Any, most: int) -> Any:
    """Return rows with one more at place `count`, in memory made for some at a time."""
    if count == rows.shape[0]:
        xp = namespace(rows)
        more = (min(CHUNK * (1 + count // CHUNK), most) - count, rows.shape[1])
        rows = xp.concat([rows, xp.empty(more, dtype=rows.dtype, device=rows.device)], axis=0)
    rows[count] = row
    return rows
