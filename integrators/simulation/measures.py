"""Measures that a file can name, as functions of a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np

import tnet
from contraction.errors import TnetError
from integrators.simulation.problems import local_of
from integrators.simulation.tables import Table, nearest
from tnet.failures import UsageError
from tnet.measure.entropies import bond_entropies, entropy
from tnet.measure.local import local_values, site_matrices
from tnet.network import Network
from tnet.structure import Structure

Measure = Callable[[Network], Any]
RESERVED = ("norm", "energy")


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Profile:
    """Expectation value of one operator on every site, shape (sites,)."""

    operator: Any
    sites: tuple[str, ...]

    def __call__(self, net: Network) -> Any:
        """Return the values."""
        return local_values(net, self.operator, self.sites)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Average:
    """Mean over sites of the expectation value of one operator."""

    operator: Any
    sites: tuple[str, ...]

    def __call__(self, net: Network) -> Any:
        """Return the mean."""
        return np.mean(local_values(net, self.operator, self.sites))


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Entropy:
    """Entanglement entropy of some sites with the others, in nats."""

    sites: tuple[str, ...]

    def __call__(self, net: Network) -> float:
        """Return the entropy."""
        return entropy(net, self.sites)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class BondEntropies:
    """Entanglement entropy of every bond, in nats, shape (bonds,)."""

    bonds: tuple[str, ...]

    def __call__(self, net: Network) -> Any:
        """Return the entropies in the order of `bonds`."""
        found = bond_entropies(net)
        return np.asarray([found[bond] for bond in self.bonds])


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Correlations:
    """Matrix of <L_i R_j>, shape (sites, sites)."""

    left: Any
    right: Any
    sites: tuple[str, ...]

    def __call__(self, net: Network) -> Any:
        """Return the matrix."""
        return tnet.correlation_matrix(net, self.left, self.right, self.sites)


def read_measures(file: Table, tree: Structure) -> dict[str, Measure]:
    """Return the measures of the tables [measure.NAME].

    Raises
    ------
    UsageError
        A kind, operator, site or bond that is not known.
    """
    tables = file.table("measure", {})
    found: dict[str, Measure] = {}
    for name in tables.data:
        if name in RESERVED or "/" in name or name.startswith("."):
            raise UsageError(
                f"a measure cannot be called {name!r}; norm and energy are always kept, and "
                "names have no slash."
            )
        table = tables.table(name)
        kind = table.text("kind", choices=KINDS)
        found[name] = KINDS[kind](table, tree)
        table.done()
    return found


def _sites(table: Table, tree: Structure, default: Any) -> tuple[str, ...]:
    return tuple(table.names("sites", default, known=tree.modes))


def _operator(table: Table, key: str, tree: Structure, sites: tuple[str, ...]) -> Any:
    op = local_of(table, key)
    try:
        site_matrices(tree, op, sites)
    except TnetError as error:
        raise UsageError(f"{table.where} {key}: {error}") from error
    return op


def _profile(table: Table, tree: Structure) -> Measure:
    sites = _sites(table, tree, list(tree.modes))
    return Profile(operator=_operator(table, "operator", tree, sites), sites=sites)


def _average(table: Table, tree: Structure) -> Measure:
    sites = _sites(table, tree, list(tree.modes))
    return Average(operator=_operator(table, "operator", tree, sites), sites=sites)


def _entropy(table: Table, tree: Structure) -> Measure:
    sites = _sites(table, tree, list(tree.modes[: max(1, len(tree.modes) // 2)]))
    if len(sites) == len(tree.modes):
        raise UsageError(f"{table.where} sites: all of them have no others to be entangled with.")
    return Entropy(sites=sites)


def _bond_entropies(table: Table, tree: Structure) -> Measure:
    bonds = table.take("bonds", list(tree.bonds))
    if not isinstance(bonds, list) or not bonds:
        raise table.wrong("bonds", "a list of bonds", bonds)
    for bond in bonds:
        if bond not in tree.bonds:
            raise UsageError(
                f"{table.where}: there is no bond {bond!r}.", hint=nearest(str(bond), tree.bonds)
            )
    return BondEntropies(bonds=tuple(bonds))


def _correlations(table: Table, tree: Structure) -> Measure:
    sites = _sites(table, tree, list(tree.modes))
    left, right = (_operator(table, side, tree, sites) for side in ("left", "right"))
    return Correlations(left=left, right=right, sites=sites)


KINDS: dict[str, Callable[[Table, Structure], Measure]] = {
    "profile": _profile,
    "average": _average,
    "entropy": _entropy,
    "bond_entropies": _bond_entropies,
    "correlations": _correlations,
}
