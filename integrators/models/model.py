"""A model: a sum of local terms and the sites it lives on; what the models share."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from contraction.errors import InputError
from tnet.operators.terms import Pairs, Term

Bond = tuple[str, str]


@dataclass(frozen=True)
class Model:
    """A sum of products of local operators, and the sites it is on.

    Iterating over a model gives its terms, so `tnet.operator(tree, model)` takes it as it is.

    Attributes
    ----------
    sites
        Site -> its number of states, in order: what `tnet.balanced_tree(model.sites)` takes.
    terms
        The terms: `tnet.Term`, or `tnet.Pairs` where a matrix of couplings says it.

    Examples
    --------
    >>> import tnet
    >>> from integrators.models import ising
    >>> model = ising(4)
    >>> tree = tnet.balanced_tree(model.sites)
    >>> tnet.operator(tree, model).structure.shape
    (2, 2, 2, 2)
    """

    sites: Mapping[str, int]
    terms: tuple[Term | Pairs, ...]

    def __iter__(self) -> Iterator[Term | Pairs]:
        return iter(self.terms)

    def __len__(self) -> int:
        return len(self.terms)


def numbered(count: int, states: int = 2, *, prefix: str = "s") -> dict[str, int]:
    """Return site -> number of states for s0, s1, ..."""
    if count < 2:
        raise InputError(f"a model needs two sites or more, got {count}.")
    return {f"{prefix}{k}": states for k in range(count)}


def spin_states(spin: float) -> int:
    """Return the number of states of a spin."""
    if not (math.isfinite(spin) and spin > 0 and float(2 * spin).is_integer()):
        raise InputError(f"`spin` is 1/2, 1, 3/2, ..., got {spin}.")
    return int(2 * spin) + 1


def boson_states(cutoff: int) -> int:
    """Return the number of states of a mode with at most `cutoff` bosons."""
    if cutoff < 1:
        raise InputError(f"`cutoff` is the largest number of bosons, 1 or more; got {cutoff}.")
    return cutoff + 1


def chain(names: Sequence[str], periodic: bool) -> list[Bond]:
    """Return the neighbours of a chain; of a ring if periodic."""
    bonds = list(itertools.pairwise(names))
    if periodic and len(names) < 3:
        raise InputError(f"a ring needs three sites or more, got {len(names)}.")
    return [*bonds, (names[-1], names[0])] if periodic else bonds


def require_finite(**numbers: float) -> None:
    """Raise `InputError` naming the first number that is NaN or infinite."""
    for name, value in numbers.items():
        if not math.isfinite(value):
            raise InputError(f"`{name}` must be a finite number, got {value}.")
