"""Objectives with a budget: the least error within so many parameters, bytes or operations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from contraction.arrays import DTYPES
from contraction.errors import DTypeError
from contraction.truncation import check_rank
from structure_search.canonical import charged
from structure_search.objective_base import AbstractObjective
from structure_search.results import Candidate
from tnet.structure import Structure


@final
@dataclass(frozen=True, kw_only=True)
class MaxParams(AbstractObjective):
    """The least error with at most `params` parameters.

    Examples
    --------
    >>> import tnet
    >>> goal, s = MaxParams(params=150), tnet.tensor_train((4, 4), 1)
    >>> tried = [
    ...     Candidate(structure=s, num_params=p, error=e, index=0)
    ...     for p, e in [(200, 0.01), (120, 0.06), (100, 0.05)]
    ... ]
    >>> [c.num_params for c in sorted(tried, key=goal.order)]
    [100, 120, 200]
    """

    params: int

    def __post_init__(self) -> None:
        check_rank(self.params, "params")

    def order(self, candidate: Candidate) -> tuple[float, ...]:
        """Within the budget the nearer network is better; outside the smaller one."""
        return _within(candidate, candidate.num_params, self.params)

    def met(self, candidate: Candidate) -> bool:
        """Tell whether the network is within the budget."""
        return candidate.num_params <= self.params

    @property
    def enough(self) -> float:
        """Zero: every digit counts."""
        return 0.0

    @property
    def cap(self) -> int | None:
        """The budget."""
        return self.params


@final
@dataclass(frozen=True, kw_only=True)
class MaxBytes(AbstractObjective):
    """The least error with parameters of at most `nbytes` bytes, stored as `dtype`.

    Examples
    --------
    >>> MaxBytes(nbytes=1000, dtype="float32").cap
    250
    """

    nbytes: int
    dtype: str = "float64"

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise DTypeError(f"`dtype` is one of {', '.join(DTYPES)}, got {self.dtype!r}.")
        check_rank(self.nbytes, "nbytes", least=np.dtype(self.dtype).itemsize)

    def order(self, candidate: Candidate) -> tuple[float, ...]:
        """Within the budget the nearer network is better; outside the smaller one."""
        return _within(candidate, candidate.num_params, self.cap)

    def met(self, candidate: Candidate) -> bool:
        """Tell whether the network is within the budget."""
        return candidate.num_params <= self.cap

    @property
    def enough(self) -> float:
        """Zero: every digit counts."""
        return 0.0

    @property
    def cap(self) -> int:
        """The number of parameters that the bytes are enough for."""
        return int(self.nbytes) // np.dtype(self.dtype).itemsize


@final
@dataclass(frozen=True, kw_only=True)
class MaxFlops(AbstractObjective):
    """The least error with at most `flops` floating-point operations to form the full tensor.

    The operations are those of the plan for contracting the network to its dense tensor
    (`Candidate.flops`), two for each multiply-add of real numbers.

    Examples
    --------
    >>> import tnet
    >>> goal = MaxFlops(flops=100)
    >>> [goal.allows(tnet.tensor_train((4, 4), rank)) for rank in (3, 4)]
    [True, False]
    """

    flops: int

    def __post_init__(self) -> None:
        check_rank(self.flops, "flops")

    def order(self, candidate: Candidate) -> tuple[float, ...]:
        """Within the budget the nearer network is better; outside the one with fewer flops."""
        return _within(candidate, candidate.flops, self.flops)

    def met(self, candidate: Candidate) -> bool:
        """Tell whether the network is within the budget."""
        return candidate.flops <= self.flops

    @property
    def enough(self) -> float:
        """Zero: every digit counts."""
        return 0.0

    @property
    def cap(self) -> int | None:
        """No limit on the parameters as such; see `allows`."""
        return None

    def allows(self, structure: Structure) -> bool:
        """Tell whether the plan for a structure is within the budget."""
        return charged_flops(structure) <= self.flops


def charged_flops(structure: Structure) -> int:
    """Return the flops that a structure is charged for: those of its smallest equal.

    Examples
    --------
    >>> import tnet
    >>> charged_flops(tnet.tensor_train((4, 4), 100)) == charged_flops(tnet.tensor_train((4, 4), 4))
    True
    """
    real = charged(structure)
    return Candidate(structure=real, num_params=real.num_params, error=0.0, index=-1).flops


def _within(candidate: Candidate, used: int, allowed: int) -> tuple[float, ...]:
    if used <= allowed:
        return (0.0, candidate.error, float(candidate.num_params))
    return (1.0, _float(used), candidate.error)


def _float(number: int) -> float:
    return float(min(number, 1 << 1000))
