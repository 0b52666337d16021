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
    known
        apply(start) for the start that a stepper is about to solve from, where it has it.
    """

    apply: Callable[[Array], Array]
    factor: complex = 1.0
    hermitian: bool = False
    linear: bool = True
    known: Array | None = None


class Solved(NamedTuple):
    """What a local solver returns: the core at the end, and how often it applied the field."""

    core: Array
    applications: int


class AbstractLocalSolver(ABC):
    """Solves dZ/dt = factor * apply(Z) over one step."""

    @abstractmethod
    def solve(self, problem: LocalProblem, start: Array, h: float) -> Solved:
        """Return Z(h) from Z(0) = `start`, which is not written to."""


def number(factor: complex) -> complex:
    """Return a real number as a float, so that real arrays stay real.

    Examples
    --------
    >>> number(-1 + 0j), number(-1j)
    (-1.0, (-0-1j))
    """
    found = complex(factor)
    return found if found.imag else found.real


def right_side(problem: LocalProblem) -> Any:
    """Return factor * apply as one function."""
    factor = number(problem.factor)
    apply: Any = problem.apply
    return apply if factor == 1.0 else lambda z: apply(z) * factor


def first_rate(problem: LocalProblem, start: Array) -> Any:
    """Return factor * apply(start), from what is known if it is."""
    known: Any = problem.known
    return right_side(problem)(start) if known is None else known * number(problem.factor)
