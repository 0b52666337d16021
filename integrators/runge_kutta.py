"""Runge-Kutta methods for the equations of single cores, linear or not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

from contraction.arrays import Array
from contraction.errors import ConvergenceError
from integrators.local_problem import (
    AbstractLocalSolver,
    LocalProblem,
    Solved,
    first_rate,
    right_side,
)
from integrators.norms import frobenius


@final
@dataclass(frozen=True, kw_only=True)
class RungeKutta4(AbstractLocalSolver):
    """The classical method of order four with a fixed number of substeps.

    Examples
    --------
    >>> import numpy as np
    >>> problem = LocalProblem(lambda z: -z)
    >>> z = RungeKutta4(substeps=4).solve(problem, np.ones(1), 1.0).core
    >>> bool(abs(z[0] - np.exp(-1)) < 1e-4)
    True
    """

    substeps: int = 1

    def solve(self, problem: LocalProblem, start: Array, h: float) -> Solved:
        """Return the result of `substeps` equal steps."""
        z: Any = start
        d = h / self.substeps
        f = right_side(problem)
        for k in range(self.substeps):
            k1: Any = f(z) if k else first_rate(problem, start)
            k2: Any = f(z + k1 * (d / 2))
            k3: Any = f(z + k2 * (d / 2))
            k4: Any = f(z + k3 * d)
            z = z + (k1 + (k2 + k3) * 2.0 + k4) * (d / 6)
        return Solved(z, 4 * self.substeps)


@final
@dataclass(frozen=True, kw_only=True)
class AdaptiveRungeKutta(AbstractLocalSolver):
    """Dormand and Prince's pair of orders 5 and 4 with its own substeps.

    Parameters
    ----------
    rtol
        Relative Frobenius error allowed per unit of the step.
    max_substeps
        More are refused: the problem is stiff, or its solution leaves the range of the floats.

    Notes
    -----
    Dormand and Prince, J. Comput. Appl. Math. 6 (1980) 19; first-same-as-last, so six
    applications per substep.

    Examples
    --------
    >>> import numpy as np
    >>> problem = LocalProblem(lambda z: -z * z, linear=False)
    >>> z = AdaptiveRungeKutta().solve(problem, np.ones(1), 1.0).core
    >>> bool(abs(z[0] - 0.5) < 1e-7)
    True
    """

    rtol: float = 1e-8
    max_substeps: int = 10_000

    def solve(self, problem: LocalProblem, start: Array, h: float) -> Solved:
        """Return Z(h)."""
        f = right_side(problem)
        z: Any = start
        k: list[Any] = [first_rate(problem, start)]
        used, left, part = 1, 1.0, 1.0
        for _ in range(self.max_substeps):
            part = min(part, left)
            stages, new, error = _dormand_prince(f, z, k[0], part * h)
            used += 6
            size = max(frobenius(z), frobenius(new))
            ratio = frobenius(error) / (self.rtol * part * size + 1e-300)
            if not math.isfinite(ratio):
                part /= 10.0
                continue
            if ratio <= 1.0:
                z, k, left = new, [stages[-1]], left - part
                if left <= 1e-14:
                    return Solved(z, used)
            part *= min(5.0, max(0.1, 0.9 * (ratio + 1e-30) ** -0.2))
        raise ConvergenceError(
            f"{self.max_substeps} substeps of a Runge-Kutta method did not cover one step of "
            f"{h:.3g}; the local equation is stiff: use Lanczos (linear fields) or smaller steps."
        )


_A = (
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
_E = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)


def _dormand_prince(f: Any, z: Any, first: Any, d: float) -> tuple[list[Any], Any, Any]:
    k = [first]
    new = z
    for row in _A:
        new = z + sum(k[j] * (d * a) for j, a in enumerate(row) if a)
        k.append(f(new))
    return k, new, sum(k[j] * (d * e) for j, e in enumerate(_E) if e)
