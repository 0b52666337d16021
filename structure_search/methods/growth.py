"""Which bond to enlarge: the gain of one more slice on every pair of nodes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from contraction.arrays import Array, namespace
from structure_search.canonical import reduced
from structure_search.methods.slice_fits import bond_between, new_slices
from tnet.als.start import carried_over
from tnet.network import Network
from tnet.structure import Structure

STRIDE = 8


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What structures may grow to.

    Attributes
    ----------
    max_degree
        Most bonds of rank above one at one node, or None.
    max_rank
        Largest rank of a bond, or None.
    allows
        Tells of a structure whether it is within the objective's budget.
    """

    max_degree: int | None = None
    max_rank: int | None = None
    allows: Callable[[Structure], bool] = field(default=lambda _: True, repr=False)

    def keeps(self, structure: Structure) -> bool:
        """Tell whether a structure is within the limits.

        Examples
        --------
        >>> import tnet
        >>> ring = tnet.tensor_ring((4, 4, 4), 2)
        >>> Limits(max_degree=2).keeps(ring), Limits(max_rank=1).keeps(ring)
        (True, False)
        """
        if self.max_rank is not None and max(structure.ranks.values(), default=1) > self.max_rank:
            return False
        if self.max_degree is not None:
            most = max(_degree(structure, node) for node in structure.node_names)
            if most > self.max_degree:
                return False
        return self.allows(structure)


@dataclass(frozen=True, kw_only=True)
class Growth:
    """One more slice on the bond between two nodes.

    Attributes
    ----------
    ends
        The two nodes.
    structure
        The structure with the bond enlarged, or made: by one, or by an eighth of a large rank.
    added
        Parameters of one slice more.
    gain
        Decrease of the squared error by one slice, with everything else held fixed.
    slices
        The new slices of both ends, each with the legs of its node but the bond.
    """

    ends: tuple[str, str]
    structure: Structure
    added: int
    gain: float
    slices: tuple[Array, Array] = field(repr=False)

    @property
    def rate(self) -> float:
        """Gain per parameter."""
        return self.gain / self.added


def growths(
    net: Network, residual: Array, limits: Limits, *, observed: Array | None = None
) -> list[Growth]:
    """Return every bond that can grow by one, with its gain; the largest rate first.

    Parameters
    ----------
    net
        The present network.
    residual
        The data minus the network, zero where nothing is known.
    limits
        Structures beyond these are left out.
    observed
        One where an entry counts and zero elsewhere; None if all do.

    Notes
    -----
    Cost per pair: see `new_slices`.

    Examples
    --------
    >>> import tnet
    >>> net = tnet.random_network(tnet.tensor_train((3, 3, 3), 1), rng=np.random.default_rng(0))
    >>> x = np.random.default_rng(1).standard_normal((3, 3, 3))
    >>> found = growths(net, x - tnet.contract(net), Limits())
    >>> len(found), all(g.gain > 0.0 for g in found)
    (3, True)
    """
    found = []
    for i, j in itertools.combinations(net.structure.node_names, 2):
        one = enlarged(net.structure, i, j)
        if one is None or not limits.keeps(one):
            continue
        slices = new_slices(net, residual, i, j, observed=observed)
        if slices is None:
            continue
        found.append(
            Growth(
                ends=(i, j),
                structure=_stride(one, i, j, limits),
                added=one.num_params - net.num_params,
                gain=slices.gain,
                slices=(slices.first, slices.second),
            )
        )
    return sorted(found, key=lambda g: (-g.rate, g.ends))


def _stride(one: Structure, i: str, j: str, limits: Limits) -> Structure:
    """Return the structure with an eighth of a large rank added, if it fits; else `one`."""
    bond = bond_between(one, i, j)
    assert bond is not None
    more = one.resized({bond: one.size[bond] + (one.size[bond] - 1) // STRIDE})
    useful = reduced(more).size.get(bond) == more.size[bond]
    return more if useful and limits.keeps(more) else one


def enlarged(structure: Structure, i: str, j: str) -> Structure | None:
    """Return the structure with one more value on the bond i-j; None if it could not be used."""
    bond = bond_between(structure, i, j)
    if bond is None:
        name = f"{i}-{j}"
        while name in structure.size:
            name += "'"
        bigger = structure.with_bond(i, j, 2, name=name)
        bond = name
    else:
        bigger = structure.resized({bond: structure.size[bond] + 1})
    usable = reduced(bigger)
    return bigger if usable.size.get(bond) == bigger.size[bond] else None


def _degree(structure: Structure, node: str) -> int:
    return sum(structure.size[x] > 1 for x in structure.legs[node] if x in structure.ranks)


def appended(net: Network, growth: Growth, rng: np.random.Generator) -> Network:
    """Return the network with the new slices in place; its tensor is the old one plus theirs."""
    arrays: dict[str, Array] = dict(net.arrays)
    (bond,) = (
        leg
        for leg in growth.structure.ranks
        if net.structure.size.get(leg, 0) != growth.structure.size[leg]
    )
    norms = [float(namespace(v).linalg.vector_norm(v)) for v in growth.slices]
    balance = math.sqrt(norms[1] / norms[0]) if min(norms) > 0.0 else 1.0
    for node, new, factor in zip(growth.ends, growth.slices, (balance, 1.0 / balance), strict=True):
        axis = growth.structure.legs[node].index(bond)
        xp: Any = namespace(new)
        old: Any = arrays[node]
        if bond not in net.structure.size:
            old = xp.expand_dims(old, axis=axis)
        arrays[node] = xp.concat([old, xp.expand_dims(new * factor, axis=axis)], axis=axis)
    grown = net.structure
    if bond not in grown.size:
        grown = grown.with_bond(*growth.ends, 1, name=bond)
    one = Network(grown.resized({bond: grown.size[bond] + 1}), arrays)
    return carried_over(one, growth.structure, rng=rng)
