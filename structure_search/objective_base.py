"""What every objective offers, and the exact error below which a structure would win."""

from __future__ import annotations

import math
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable

from structure_search.canonical import charged
from structure_search.results import Candidate
from tnet.structure import Structure

INFINITE = 0x7FF0000000000000  # the bits of infinity


class AbstractObjective(ABC):
    """An order on candidates."""

    @abstractmethod
    def order(self, candidate: Candidate) -> tuple[float, ...]:
        """Return a key that is smaller for the better candidate.

        On one structure it never falls as the error rises.
        """

    @abstractmethod
    def met(self, candidate: Candidate) -> bool:
        """Tell whether a candidate fulfils the condition, if the objective has one."""

    @property
    @abstractmethod
    def enough(self) -> float:
        """The error at which a fit may stop, since less would not count."""

    @property
    @abstractmethod
    def cap(self) -> int | None:
        """The largest number of parameters of use, or None."""

    def allows(self, structure: Structure) -> bool:
        """Tell whether a structure is within the budget, if the objective has one."""
        return self.cap is None or charged(structure).num_params <= self.cap

    def useful_error(self, structure: Structure, than: Candidate | None) -> float:
        """Return the largest error at which `structure` would still come before `than`.

        Infinity if any error would do or nothing is known (`than` is None), and a negative
        number if not even error zero would. To the last bit: a structure whose error is at
        least `bound` can be passed over if ``bound > useful_error(...)``.

        Cost: some 64 comparisons, by bisection over the floating-point numbers.

        Examples
        --------
        >>> import tnet
        >>> small, large = tnet.tensor_train((4, 4), 1), tnet.tensor_train((4, 4), 2)
        >>> best = Candidate(structure=large, num_params=16, error=0.01, index=0)
        >>> from structure_search import RelativeError
        >>> goal = RelativeError(tol=0.1)
        >>> goal.useful_error(small, best), goal.useful_error(large.resized({}), best) < 0.01
        (0.1, True)
        """
        if than is None:
            return math.inf
        least, real = self.order(than), charged(structure)

        def wins(error: float) -> bool:
            found = Candidate(
                structure=real, num_params=real.num_params, error=error, index=than.index
            )
            return self.order(found) < least

        return _largest(wins)


def _largest(holds: Callable[[float], bool]) -> float:
    """Return the largest number >= 0 for which `holds`, which is true up to somewhere; or -1."""
    if not holds(0.0):
        return -1.0
    if holds(math.inf):
        return math.inf
    low, high = 0, INFINITE  # the bits of non-negative floats are in the order of the floats
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(_from_bits(middle)) else (low, middle)
    return _from_bits(low)


def _from_bits(bits: int) -> float:
    (number,) = struct.unpack("<d", struct.pack("<Q", bits))
    return float(number)
