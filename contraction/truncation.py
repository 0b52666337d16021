"""The truncation rule: how many singular values to keep, and what that costs.

For singular values s_1 >= s_2 >= ... of a matrix A, keeping r of them makes the Frobenius
error sqrt(sum_{k>r} s_k^2) (Eckart-Young-Mirsky); relative means divided by ||A||.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from contraction.arrays import to_numpy
from contraction.errors import InputError, RankError


def check_rank(value: Any, name: str, *, least: int = 1) -> None:
    """Raise `RankError` unless `value` is a whole number >= `least`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise RankError(f"`{name}` is a whole number >= {least}, got {value!r}.")


def check_tol(value: Any, name: str = "tol") -> None:
    """Raise `InputError` unless `value` is a relative error in [0, 1)."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.floating)):
        raise InputError(f"`{name}` is a relative error in [0, 1), got {value!r}.")
    if not 0.0 <= float(value) < 1.0:  # NaN fails here too
        raise InputError(f"`{name}` is a relative error in [0, 1), got {value!r}.")


@dataclass(frozen=True, kw_only=True)
class Truncation:
    """How far a bond, or all bonds of a network together, may be cut.

    Parameters
    ----------
    tol
        Relative Frobenius error allowed over the whole network, in [0, 1).
    max_rank
        Cap on every bond; it wins over `tol`.
    min_rank
        Smallest rank kept where the bond has that many values.
    max_params
        Budget on the number of entries of the whole network; ranks are then shared out over
        the bonds by their spectra. It wins over `tol`.

    Examples
    --------
    >>> Truncation(tol=0.1).rank([3.0, 0.2, 0.1])
    1
    >>> Truncation(max_rank=2).rank([3.0, 2.0, 1.0])
    2
    """

    tol: float = 0.0
    max_rank: int | None = None
    min_rank: int = 1
    max_params: int | None = None

    def __post_init__(self) -> None:
        check_tol(self.tol)
        check_rank(self.min_rank, "min_rank")
        if self.max_rank is not None:
            check_rank(self.max_rank, "max_rank")
            if self.max_rank < self.min_rank:
                raise RankError(f"`max_rank` {self.max_rank} is below `min_rank` {self.min_rank}.")
        if self.max_params is not None:
            check_rank(self.max_params, "max_params")

    def rank(self, values: Sequence[float], *, allowed: float | None = None) -> int:
        """Return the smallest rank allowed for descending singular `values`; at least one.

        Parameters
        ----------
        values
            Singular values, descending.
        allowed
            Absolute Frobenius error allowed on this bond; `tol` times the norm of `values`
            when not given.
        """
        s = np.asarray(values) if isinstance(values, (list, tuple)) else to_numpy(values)
        floor = float(np.finfo(s.dtype).eps) if s.dtype.kind == "f" else 0.0
        s = s.astype(np.float64)
        top = float(s[0]) if len(s) else 0.0
        if top == 0.0:
            return min(self.min_rank, max(len(s), 1))
        s = s / top  # squares of tiny or huge values would leave the range of the floats
        allowed = None if allowed is None else allowed / top
        norm = math.sqrt(float(s @ s))
        # values below the rounding error of the factorisation are noise, never signal
        allowed = max(self.tol * norm if allowed is None else allowed, floor * norm)
        tails = np.sqrt(np.cumsum((s * s)[::-1])[::-1])  # tails[r]: error of keeping r
        kept = int(np.count_nonzero(tails > allowed))
        kept = max(kept, min(self.min_rank, len(s)), 1)
        return kept if self.max_rank is None else min(kept, self.max_rank)
