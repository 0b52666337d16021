"""Measures by name: frozen, callable on a state, for whatever measures along the way.

Any callable that takes a network and returns a number or an array will do; these say what they
are, compare equal, and can be pickled.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tnet.measure.canonical import Values
from tnet.measure.correlations import correlation_matrix
from tnet.measure.entropies import bond_entropies, entropy
from tnet.measure.expectations import expectation, variance
from tnet.measure.local import LocalOperators, local_values
from tnet.network import Network


@dataclass(frozen=True)
class LocalProfile:
    """The expectation value of a local operator on every site; see `local_values`."""

    op: LocalOperators
    sites: tuple[str, ...] | None = None

    def __call__(self, state: Network) -> Values:
        """Return (sites,)."""
        return local_values(state, self.op, self.sites)


@dataclass(frozen=True)
class LocalAverage:
    """The mean over the sites of the expectation value of a local operator."""

    op: LocalOperators
    sites: tuple[str, ...] | None = None

    def __call__(self, state: Network) -> float | complex:
        """Return the mean."""
        found: float | complex = np.mean(local_values(state, self.op, self.sites)).item()
        return found


@dataclass(frozen=True)
class Correlations:
    """All two-site correlations; see `correlation_matrix`."""

    left: LocalOperators
    right: LocalOperators
    sites: tuple[str, ...] | None = None

    def __call__(self, state: Network) -> Values:
        """Return (sites, sites)."""
        return correlation_matrix(state, self.left, self.right, self.sites)


@dataclass(frozen=True)
class Entanglement:
    """The entropy of one bond, or between some modes and the rest, in nats; see `entropy`."""

    where: str | tuple[str, ...]
    order: float = 1.0

    def __call__(self, state: Network) -> float:
        """Return the entropy."""
        return entropy(state, self.where, order=self.order)


@dataclass(frozen=True)
class EntanglementProfile:
    """The entropies of all bonds, in the order of ``structure.bonds``, in nats."""

    order: float = 1.0

    def __call__(self, state: Network) -> Values:
        """Return (bonds,)."""
        return np.array(list(bond_entropies(state, order=self.order).values()), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Expectation:
    """The expectation value of an operator on the whole tree; see `expectation`."""

    op: Any

    def __call__(self, state: Network) -> float | complex:
        """Return the expectation value."""
        return expectation(state, self.op)


@dataclass(frozen=True, eq=False)
class Variance:
    """The variance of an operator on the whole tree; see `variance`."""

    op: Any

    def __call__(self, state: Network) -> float:
        """Return the variance."""
        return variance(state, self.op)


def local_average(op: LocalOperators, sites: Sequence[str] | None = None) -> LocalAverage:
    """Return the measure "mean of a local operator over the sites".

    Parameters
    ----------
    op, sites
        As for `local_values`.

    Examples
    --------
    >>> import tnet
    >>> state = tnet.product_state(tnet.tensor_train((2, 2)), {"x0": 0, "x1": 1})
    >>> local_average("n")(state)
    0.5
    """
    return LocalAverage(op, _frozen(sites))


def local_profile(op: LocalOperators, sites: Sequence[str] | None = None) -> LocalProfile:
    """Return the measure "a local operator on every site".

    Examples
    --------
    >>> import tnet
    >>> state = tnet.product_state(tnet.tensor_train((2, 2)), {"x0": 0, "x1": 1})
    >>> local_profile("n")(state)
    array([0., 1.])
    """
    return LocalProfile(op, _frozen(sites))


def correlations(
    left: LocalOperators, right: LocalOperators, sites: Sequence[str] | None = None
) -> Correlations:
    """Return the measure "correlations of two local operators between all sites".

    Examples
    --------
    >>> import tnet
    >>> state = tnet.product_state(tnet.tensor_train((2, 2)), {"x0": 0, "x1": 1})
    >>> correlations("z", "z")(state)
    array([[ 1., -1.],
           [-1.,  1.]])
    """
    return Correlations(left, right, _frozen(sites))


def entanglement(where: str | Collection[str], *, order: float = 1.0) -> Entanglement:
    """Return the measure "entropy of a bond, or of a set of modes", in nats.

    Examples
    --------
    >>> import tnet
    >>> state = tnet.product_state(tnet.tensor_train((2, 2)), {"x0": 0, "x1": 1})
    >>> entanglement("g0-g1")(state)
    0.0
    """
    return Entanglement(where if isinstance(where, str) else tuple(where), order)


def entanglement_profile(*, order: float = 1.0) -> EntanglementProfile:
    """Return the measure "entropy of every bond", in nats.

    Examples
    --------
    >>> import tnet
    >>> state = tnet.product_state(tnet.tensor_train((2, 2)), {"x0": 0, "x1": 1})
    >>> entanglement_profile()(state)
    array([0.])
    """
    return EntanglementProfile(order)


def energy(op: Any) -> Expectation:
    """Return the measure "expectation value of an operator on the whole tree".

    Examples
    --------
    >>> import tnet
    >>> chain = tnet.tensor_train((2, 2))
    >>> state = tnet.product_state(chain, {"x0": 0, "x1": 1})
    >>> energy(tnet.operator(chain, [(2.0, {"x0": "z", "x1": "z"})]))(state)
    -2.0
    """
    return Expectation(op)


def energy_variance(op: Any) -> Variance:
    """Return the measure "variance of an operator on the whole tree".

    Examples
    --------
    >>> import tnet
    >>> chain = tnet.tensor_train((2, 2))
    >>> state = tnet.product_state(chain, {"x0": 0, "x1": 1})
    >>> energy_variance(tnet.operator(chain, [(2.0, {"x0": "x"})]))(state)
    4.0
    """
    return Variance(op)


def _frozen(sites: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if sites is None else (sites,) if isinstance(sites, str) else tuple(sites)
