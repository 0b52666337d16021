"""Jordan-Wigner strings: fermionic operators as local matrices with signs between them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

from contraction.errors import InputError, StructureError
from tnet.operators.local_table import SIGN_NAME

FERMION_NAMES = frozenset({"c", "cdag"})


class Dressed(NamedTuple):
    """A fermionic term as local products, and intervals of places that hold the sign matrix."""

    factors: dict[str, tuple[Any, ...]]
    intervals: list[tuple[int, int]]


def dress(
    factors: Mapping[str, Any], place: Mapping[str, int], position: Mapping[int, int], number: int
) -> Dressed:
    """Put signs into one term: the sites of `factors`, in order, are multiplied left to right.

    A fermionic operator at place p brings the sign matrix to all places before p. On the term's
    own sites it is multiplied in, in order; strings of an even number of operators cancel.
    """
    listed: list[tuple[str, Any]] = []
    for site, op in factors.items():
        if site not in place:
            raise StructureError(
                f"term {number} acts on {site!r}, which is no mode of the tree; the modes are "
                f"{list(place)[:12]}."
            )
        several = isinstance(op, (tuple, list)) and all(isinstance(x, str) for x in op)
        listed += [(site, x) for x in (op if several else (op,))]
    where = {s: position[place[s]] for s in factors if place[s] in position}
    fermionic = [site for site, op in listed if isinstance(op, str) and op in FERMION_NAMES]
    for site in fermionic:
        if site not in where:
            raise StructureError(f"mode {site!r} holds a fermion, but `order` does not name it.")
    odd = [where[site] for site in fermionic]
    if len(odd) % 2:
        raise InputError(
            f"term {number} has {len(odd)} fermionic operators ({dict(factors)}); only an even "
            "number makes an operator that leaves the parity alone, as Hamiltonians do."
        )
    local: dict[str, list[Any]] = {site: [] for site in factors}
    for site, op in listed:
        if isinstance(op, str) and op in FERMION_NAMES:
            for other in where:
                if where[other] < where[site]:
                    local[other].append(SIGN_NAME)
        local[site].append(op)
    stops = sorted(where.values())
    intervals = []
    for left, right in itertools.pairwise(stops):
        if sum(p >= right for p in odd) % 2 and right > left + 1:
            intervals.append((left + 1, right))
    return Dressed({site: tuple(ops) for site, ops in local.items()}, intervals)
