"""Moves between structures that save parameters by other ranks: lower, exchange, mend."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from structure_search.bounds import CutSpectra, cuts_of
from structure_search.canonical import canonical_key, reduced
from structure_search.methods.growth import enlarged
from tnet.network import Network
from tnet.structure import Structure


@dataclass(frozen=True, kw_only=True)
class Move:
    """Another structure, and how to come by a network of it.

    Attributes
    ----------
    structure
        Where the move leads.
    label
        What it does.
    start
        Makes the network to fit from; None where a random start is as good.
    """

    structure: Structure
    label: str
    start: Callable[[], Network] | None = field(default=None, repr=False)

    @property
    def num_params(self) -> int:
        """Parameters of the structure that the move leads to."""
        return self.structure.num_params


def lowered(structure: Structure) -> Iterator[Move]:
    """Yield the structures with one bond lowered, by one, two or an eighth."""
    for bond, rank in structure.ranks.items():
        for step in sorted({1, 2, max(1, rank // 8)}):
            if rank - step >= 1:
                smaller = reduced(structure.resized({bond: rank - step}))
                yield Move(structure=smaller, label=f"lower {bond} to {rank - step}")


def exchanged(structure: Structure, *, max_degree: int | None) -> Iterator[Move]:
    """Yield smaller structures with one bond lowered by one or two and another raised by one."""
    now = structure.num_params
    pairs = list(itertools.combinations(structure.node_names, 2))
    for bond, rank in structure.ranks.items():
        for step in (1, 2):
            if rank - step < 1:
                continue
            lower = structure.resized({bond: rank - step})
            for i, j in pairs:
                bigger = enlarged(lower, i, j)
                if bigger is None or bigger.num_params >= now:
                    continue
                if bigger.size.get(bond, 0) >= rank:
                    continue
                if max_degree is not None and max(_degrees(bigger)) > max_degree:
                    continue
                label = f"lower {bond} to {rank - step}, raise {i}-{j}"
                yield Move(structure=reduced(bigger), label=label)


def _degrees(structure: Structure) -> list[int]:
    live = {leg for leg in structure.ranks if structure.size[leg] > 1}
    return [sum(leg in live for leg in legs) for _, legs in structure.nodes]


def repaired(structure: Structure, spectra: CutSpectra, error: float) -> Iterator[Move]:
    """Yield smaller structures with one bond lowered or dropped, and others raised to make up.

    Every network within `error` has, across each cut, at least the rank that the singular
    values of the data ask for. Bonds across a cut that falls short are raised, the cheapest per
    cut mended first, until no cut does.
    """
    now = structure.num_params
    for bond, rank in structure.ranks.items():
        for target in sorted({1, rank - 1, rank - 2, rank // 2}):
            if 1 <= target < rank:
                mended = _mend(structure.resized({bond: target}), bond, spectra, error, now)
                if mended is not None:
                    label = f"lower {bond} to {target}, mend the cuts"
                    yield Move(structure=reduced(mended), label=label)


def _mend(
    structure: Structure, fixed: str, spectra: CutSpectra, error: float, most: int
) -> Structure | None:
    cuts = cuts_of(structure.nodes, structure.modes)
    needed = [spectra.rank(rows, error) for rows, _ in cuts]
    raised = False
    while structure.num_params < most:
        size = structure.size
        short = [
            legs
            for (_, across), need in zip(cuts, needed, strict=True)
            for legs in across
            if math.prod(size[leg] for leg in legs) < need
        ]
        if not short:
            return structure if raised else None
        best: tuple[float, str, Structure] | None = None
        for bond in sorted({leg for legs in short for leg in legs} - {fixed}):
            bigger = structure.resized({bond: size[bond] + 1})
            count = sum(bond in legs for legs in short)
            cost = (bigger.num_params - structure.num_params) / count
            if best is None or cost < best[0]:
                best = (cost, bond, bigger)
        if best is None:
            return None
        structure, raised = best[2], True
    return None


def distinct(moves: Iterator[Move], seen: set[str]) -> list[Move]:
    """Return the moves to structures not in `seen`, the one that saves most first."""
    found: dict[str, Move] = {}
    for move in moves:
        key = canonical_key(move.structure)
        if key not in seen:
            found.setdefault(key, move)
    return sorted(found.values(), key=lambda m: (m.num_params, m.label))
