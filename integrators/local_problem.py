"""The equation of one core, and what solves it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

from contraction.arrays import Array


class LocalProblem(NamedTuple):
    """The equation dZ/dt = factor * apply(Z) of one core (or of a bond matrix).

    Attributes
    ----------
    apply
        Array -> array of the same shape; never writes to its argument.
    factor
        Number in front, such as -1j.
    hermitian
        Whether `apply` is a Hermitian linear map.
    linear
        Whether it is linear at all.
    """

    apply: Callable[[Array], Array]
    factor: complex = 1.0
    hermitian: bool = False
    linear: bool = True


class Solved(NamedTuple):
    """What a local solver returns: the core at the end, and how often it applied the field."""

    core: Array
    applications: int


class AbstractLocalSolver(ABC):
    """Solves dZ/dt = factor * apply(Z) over one step."""

    @abstractmethod
    def solve(self, problem: LocalProblem, start: Array, h: float) -> Solved:
        """Return Z(h) from Z(0) = `start`, which is not written to."""


def right_side(problem: LocalProblem) -> Any:
    """Return factor * apply as one function; a real factor stays real."""
    factor = problem.factor
    if complex(factor).imag == 0.0:
        factor = complex(factor).real
    apply: Any = problem.apply
    return apply if factor == 1.0 else lambda z: apply(z) * factor
