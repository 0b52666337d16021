"""Sides: a node without one of its legs, and what two sides that meet in a bond do together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple, TypeAlias

from integrators.sweeping.plans import Branch, Number, Term, plan_terms

Factors: TypeAlias = tuple[tuple[int, int], ...]
Sums: TypeAlias = Mapping[int, tuple[tuple[Number, Factors], ...]]


class Kind(Enum):
    """Where the matrices of a slot come from."""

    BOND = "bond"  # the environment behind a bond
    MODES = "modes"  # products of local matrices
    WHOLE = "whole"  # a bond and modes merged


class Seat(NamedTuple):
    """A slot of a side: axes start, ..., stop - 1 of its legs."""

    kind: Kind
    start: int
    stop: int
    leg: str  # of a bond


class Side(NamedTuple):
    """A node without one of its legs.

    Attributes
    ----------
    legs
        The other legs, in axis order.
    seats
        The slots its terms speak of.
    sums
        Channel of the leg -> (weight, factors); the identity is one term without factors.
    channels
        The channels that are not the identity, in the order of the environment's stack.
    branch
        The plan that applies all of `channels`.
    modes, whole
        Matrices of the seats of these kinds: (n, d, d), or a tuple of sparse matrices; and the
        table (n, channels behind the bond + 1, d, d) whose last row belongs to the identity.
    """

    legs: tuple[str, ...]
    seats: tuple[Seat, ...]
    sums: Sums
    channels: tuple[int, ...]
    branch: Branch
    modes: Mapping[int, Any]
    whole: Any


class Joint(NamedTuple):
    """Two sides that meet in a bond: the plan of their sum of products, and a gate of modes.

    The gate acts on the modes of both sides, next to each other: (its axes, its matrix). It is
    slot number `len(left.seats) + len(right.seats)`.
    """

    branch: Branch
    gate: Any
    span: tuple[int, int]


def join(left: Side, right: Side) -> Joint:
    """Return the plan for the sum over channels of products of two sides."""
    shift = len(left.seats)
    terms: list[Term] = []
    gate: list[tuple[Number, int, int]] = []
    touching = _touching(left, right)
    for channel, ones in left.sums.items():
        for one in ones:
            for other in right.sums.get(channel, ()):
                weight = one[0] * other[0]
                theirs = tuple((k + shift, e) for k, e in other[1])
                if touching and _modes_alone(left, one) and _modes_alone(right, other):
                    gate.append((weight, one[1][0][1], other[1][0][1]))
                else:
                    terms.append(Term(0, weight, one[1] + theirs))
    if not gate:
        return Joint(plan_terms(terms), None, (0, 0))
    terms.append(Term(0, 1.0, ((shift + len(right.seats), 0),)))
    span = (left.seats[0].start, len(left.legs) + right.seats[0].stop)
    return Joint(plan_terms(terms), _gate(left.modes[0], right.modes[0], gate), span)


def _touching(left: Side, right: Side) -> bool:
    """Tell whether the merged modes of both sides are next to each other."""
    a, b = left.seats[0], right.seats[0]
    both = a.kind is Kind.MODES and b.kind is Kind.MODES and 0 in left.modes
    dense = both and not isinstance(left.modes[0], tuple)
    whole = dense and 0 in right.modes and not isinstance(right.modes[0], tuple)
    return whole and a.stop == len(left.legs) and b.start == 0


def _modes_alone(side: Side, term: tuple[Number, Factors]) -> bool:
    return len(term[1]) == 1 and term[1][0][0] == 0 and side.seats[0].kind is Kind.MODES


def _gate(a: Any, b: Any, entries: Sequence[tuple[Number, int, int]]) -> Any:
    n = a.shape[-1] * b.shape[-1]
    total: Any = None
    for weight, j, k in entries:
        found = weight * (a[j][:, None, :, None] * b[k][None, :, None, :])
        total = found if total is None else total + found
    return total.reshape(1, n, n)
