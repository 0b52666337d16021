"""What an operator is written as: terms, and pair interactions in bulk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

LocalOperator: TypeAlias = Any  # a name, an array (n, n) or a scipy.sparse matrix
Factors: TypeAlias = Mapping[str, Any]  # site -> a LocalOperator, or a sequence of them
PlainTerm: TypeAlias = "tuple[complex, Factors]"


@dataclass(frozen=True, eq=False)
class Term:
    """A number times a product of local operators; sites that are not named keep the identity.

    Parameters
    ----------
    coefficient
        A finite real or complex number.
    factors
        Site (a mode of the tree) -> its local operator: a name (see `local_operator`), an array
        (n, n) or a scipy.sparse matrix. Several operators on one site are given as a tuple or
        list and multiplied in that order. Fermionic operators are multiplied in the order of the
        mapping.

    Examples
    --------
    >>> Term(-1.0, {"s0": "z", "s1": "z"}).coefficient
    -1.0
    >>> Term(0.5, {"s0": ("s+", "s-")}).factors["s0"]
    ('s+', 's-')
    """

    coefficient: complex
    factors: Factors


@dataclass(frozen=True, eq=False)
class Pairs:
    """A pair interaction: the sum over i < j of ``coefficients[i, j] left_i right_j``.

    Parameters
    ----------
    coefficients
        An array (d, d), of which the part above the diagonal is read, or a callable that takes
        two integer arrays i < j and returns the array of values.
    left, right
        The local operators on the sites i and j.
    sites
        The d sites that i and j count.

    Examples
    --------
    >>> decay = Pairs(lambda i, j: (j - i) ** -3.0, "n", "n", ["s0", "s1", "s2"])
    >>> len(decay.sites)
    3
    """

    coefficients: Any | Callable[[Any, Any], Any]
    left: LocalOperator
    right: LocalOperator
    sites: Sequence[str]
