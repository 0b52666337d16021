"""Limits: which structures a search may ask for at all."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np

import contraction
from contraction.arrays import DTYPES
from contraction.errors import DTypeError
from contraction.truncation import check_rank
from contraction.units import parse_bytes
from structure_search.canonical import charged
from tnet.structure import Structure


@final
@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a structure must keep to; None is no limit.

    Parameters
    ----------
    max_degree
        Most bonds of rank above one at one node.
    max_params
        Most parameters.
    max_memory
        Most bytes that contracting the network to its full tensor allocates at its peak, the
        result included and the nodes not, by a plan made for that: a number or text ("64MiB").
    dtype
        Of the entries, for `max_memory`.

    Raises
    ------
    RankError
        A limit that is no whole number above zero.
    InputError
        A `max_memory` that cannot be read.
    DTypeError
        An unknown dtype.

    Examples
    --------
    >>> import tnet
    >>> ring = tnet.tensor_ring((4, 4, 4), 2)
    >>> Limits(max_params=48).allows(ring), Limits(max_degree=1).allows(ring)
    (True, False)
    """

    max_degree: int | None = None
    max_params: int | None = None
    max_memory: int | str | None = None
    dtype: str = "float64"

    def __post_init__(self) -> None:
        for name in ("max_degree", "max_params"):
            if (limit := getattr(self, name)) is not None:
                check_rank(limit, name)
        if self.max_memory is not None:
            parse_bytes(self.max_memory, name="max_memory")
        if self.dtype not in DTYPES:
            raise DTypeError(f"`dtype` is one of {', '.join(DTYPES)}, got {self.dtype!r}.")

    def allows(self, structure: Structure) -> bool:
        """Tell whether a structure keeps to all limits, as it is when nothing in it is idle."""
        if self == Limits(dtype=self.dtype):
            return True
        real = charged(structure)
        if self.max_params is not None and real.num_params > self.max_params:
            return False
        if self.max_degree is not None and largest_degree(real) > self.max_degree:
            return False
        if self.max_memory is None:
            return True
        width = int(np.dtype(self.dtype).itemsize)
        return peak_size(real) * width <= parse_bytes(self.max_memory, name="max_memory")


def largest_degree(structure: Structure) -> int:
    """Return the most bonds of rank above one at one node.

    Examples
    --------
    >>> import tnet
    >>> largest_degree(tnet.tensor_train((2, 3, 2), (2, 1)))
    1
    """
    ranks = structure.ranks
    return max(sum(ranks.get(leg, 1) > 1 for leg in legs) for _, legs in structure.nodes)


@lru_cache(maxsize=4096)
def peak_size(structure: Structure) -> int:
    """Return the most entries alive at once when a network is contracted to its full tensor.

    The nodes themselves are not counted. The plan is made for that number to be small; smaller
    ranks need not make it smaller, since the order of the legs counts as well.

    Examples
    --------
    >>> import tnet
    >>> peak_size(tnet.tensor_train((4, 5), 2))
    20
    """
    return contraction.plan(structure.spec(), objective="size").peak_size
