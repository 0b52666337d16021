"""Moves of several bonds at once, with what each promises before it is fitted."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from contraction.arrays import Array, namespace
from structure_search.canonical import canonical_key, in_one_piece, reduced
from structure_search.methods.base import Problem
from structure_search.methods.growth import Growth, Limits, appended, growths
from structure_search.methods.slice_fits import bond_between
from structure_search.results import Candidate
from tnet.als.start import carried_over
from tnet.network import Network
from tnet.structure import Structure

BOOST = 1.5  # a raise gains about so much more once all is fitted again
FOREMOST = 10  # raises and lowers that are combined


@dataclass(frozen=True, kw_only=True)
class Lowering:
    """One bond with a value less.

    Attributes
    ----------
    bond, rank
        The bond and its rank afterwards.
    loss
        Rise of the squared relative error before anything is fitted again.
    """

    bond: str
    rank: int
    loss: float


@dataclass(frozen=True, kw_only=True)
class Change:
    """Bonds to raise and to lower together.

    Attributes
    ----------
    raised, lowered
        Which.
    structure
        Where they lead.
    """

    raised: tuple[Growth, ...]
    lowered: tuple[Lowering, ...]
    structure: Structure

    @property
    def key(self) -> str:
        """Canonical key of the structure."""
        return canonical_key(self.structure)

    @property
    def label(self) -> str:
        """What is done, in words."""
        up = " ".join("-".join(g.ends) for g in self.raised)
        down = " ".join(f"{low.bond} to {low.rank}" for low in self.lowered)
        return ", ".join([*(["raise " + up] if up else []), *(["lower " + down] if down else [])])

    def start(self, net: Network, rng: np.random.Generator) -> Network:
        """Return `net` with the new slices added and the least important ones left out."""
        grown = net
        for growth in self.raised:
            grown = _appended(grown, growth, rng)
        return carried_over(grown, self.structure, rng=rng) if self.lowered else grown


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """What the neighbourhood of a network promises.

    Attributes
    ----------
    raises
        Bonds that can be raised, with the gain of each.
    lowers
        Bonds that can be lowered, with the loss of each.
    recovery
        Share of such a loss that is left when the network is fitted again.
    """

    net: Network
    error: float
    norm: float
    raises: tuple[Growth, ...]
    lowers: tuple[Lowering, ...]
    recovery: float

    def expected(self, change: Change) -> Candidate:
        """Return the candidate that a change promises."""
        gain = BOOST * sum(g.gain for g in change.raised) / (self.norm**2 or 1.0)
        loss = self.recovery * sum(low.loss for low in change.lowered)
        size = change.structure.num_params
        error = math.sqrt(max(0.0, self.error**2 - gain + loss))
        return Candidate(structure=change.structure, num_params=size, error=error, index=0)


def outlook(
    problem: Problem, net: Network, error: float, limits: Limits, recovery: float
) -> Outlook:
    """Return what can be raised and lowered, and what that is worth.

    Cost: for every pair of nodes two contractions of the size of the whole network, and one for
    every bond.
    """
    residual = problem.task.residual(net)
    raises = [g for g in growths(net, residual, limits, observed=problem.task.observed) if g.gain]
    lowers = []
    for bond, rank in net.ranks.items():
        if rank > 1:
            smaller = carried_over(net, net.structure.resized({bond: rank - 1}), rng=problem.rng)
            worse = problem.task.error(smaller)
            loss = max(0.0, worse**2 - error**2)
            lowers.append(Lowering(bond=bond, rank=rank - 1, loss=loss))
    return Outlook(
        net=net,
        error=error,
        norm=problem.norm,
        raises=tuple(raises),
        lowers=tuple(lowers),
        recovery=recovery,
    )


def changed(
    structure: Structure, raised: Sequence[Growth], lowered: Sequence[Lowering]
) -> Change | None:
    """Return the change that raises and lowers these bonds; None if nothing is left of it."""
    larger = structure
    for growth in raised:
        larger = _with_more(larger, growth)
    down = {low.bond: low.rank for low in lowered}
    if down:
        larger = in_one_piece(reduced(larger.resized(down)))
    wanted = {g.structure.size[_bond(g)] for g in raised}
    if raised and not wanted <= set(larger.ranks.values()):
        return None  # what was added is of no use with the other bonds lowered
    return Change(raised=tuple(raised), lowered=tuple(lowered), structure=larger)


def growing(view: Outlook, order: Sequence[Growth], sizes: Sequence[int]) -> Iterator[Change]:
    """Yield the changes that raise the first so many bonds of `order`."""
    for size in dict.fromkeys(min(size, len(order)) for size in sizes):
        if size:
            made = changed(view.net.structure, order[:size], ())
            if made is not None:
                yield made


def exchanging(
    view: Outlook, order: Sequence[Growth], lowers: Sequence[Lowering]
) -> Iterator[Change]:
    """Yield the changes that lower one or two bonds, and raise none, one or two."""
    up = [(), *((g,) for g in order[:FOREMOST]), *itertools.combinations(order[:4], 2)]
    some = lowers[:FOREMOST]
    down = [*((low,) for low in some), *itertools.combinations(some[:5], 2)]
    for raised, lowered in itertools.product(up, down):
        bonds = {low.bond for low in lowered}
        if any(_bond(g) in bonds for g in raised):
            continue
        made = changed(view.net.structure, raised, lowered)
        if made is not None:
            yield made


def _bond(growth: Growth) -> str:
    bond = bond_between(growth.structure, *growth.ends)
    assert bond is not None
    return bond


def _with_more(structure: Structure, growth: Growth) -> Structure:
    """Return a structure with the bond of a growth at its new rank."""
    bond = _bond(growth)
    rank = growth.structure.size[bond]
    if bond in structure.size:
        return structure.resized({bond: rank})
    return structure.with_bond(*growth.ends, rank, name=bond)


def _appended(net: Network, growth: Growth, rng: np.random.Generator) -> Network:
    """Append slices that were made for a part of `net`: they are zero beyond it."""
    bond, s = _bond(growth), net.structure
    slices: list[Array] = []
    for node, part in zip(growth.ends, growth.slices, strict=True):
        have = [leg for leg in growth.structure.legs[node] if leg != bond]
        xp: Any = namespace(part)
        x: Any = part
        fresh = [leg for leg in s.legs[node] if leg != bond and leg not in have]
        x = x.reshape((*x.shape, *(1 for _ in fresh)))
        have = [*have, *fresh]
        wanted = [leg for leg in s.legs[node] if leg != bond]
        x = xp.permute_dims(x, tuple(have.index(leg) for leg in wanted))
        for axis, leg in enumerate(wanted):
            more = s.size[leg] - int(x.shape[axis])
            if more:
                shape = (*x.shape[:axis], more, *x.shape[axis + 1 :])
                x = xp.concat([x, xp.zeros_like(xp.broadcast_to(x[_first(x, axis)], shape))], axis)
        slices.append(x)
    wider = replace(growth, structure=_with_more(s, growth), slices=(slices[0], slices[1]))
    return appended(net, wider, rng)


def _first(x: Any, axis: int) -> tuple[slice, ...]:
    return (*(slice(None) for _ in range(axis)), slice(0, 1))
