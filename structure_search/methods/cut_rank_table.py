"""Ranks of the cuts of data, and the minimum cuts of graphs that are compared with them.

A side of a cut is a bit mask over the modes; of the two sides the one without the last mode
stands for the cut.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from contraction.errors import InputError
from structure_search.bounds import CutSpectra
from tnet.structure import Structure

CLOSE = 1e-7  # logarithms of products of ranks that differ by less are equal
FLOW_UNITS = 2**18  # of a logarithm: capacities of a flow are integers
ENUMERATED = 14  # nodes of a graph whose 2**N node sets are all looked at

Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, kw_only=True)
class CutRanks:
    """Least and largest ranks of cuts of the data.

    Attributes
    ----------
    modes
        Mode name -> size.
    least, most
        Side of a cut -> the rank that a network needs at least, and may have at most. Cuts that
        were not looked at are missing.
    noise
        The relative norm of white noise that `most` assumes.
    """

    modes: Mapping[str, int]
    least: Mapping[int, int]
    most: Mapping[int, int]
    noise: float = 0.0

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes of the modes."""
        return tuple(self.modes.values())

    @property
    def exact(self) -> CutRanks:
        """The same with the largest ranks for both."""
        return replace(self, least=self.most)

    def is_tight(self, side: int) -> bool:
        """Tell whether the bonds across this cut, and no others, must make its rank.

        The rank of a cut is the least product over node sets T of the bonds leaving T and the
        modes by which T differs from the side. T other than the side is ruled out if no cut that
        differs by one mode n has a rank of most(side) / I_n or less; where such a cut was not
        looked at, nothing is claimed.
        """
        limit = self.most[side]
        for n, size in enumerate(self.sizes):
            beside = canonical_side(side ^ (1 << n), len(self.sizes))
            if beside and beside not in self.least:
                return False
            if (self.least[beside] if beside else 1) * size <= limit:
                return False
        return True


def canonical_side(side: int, order: int) -> int:
    """Return the side of the same cut without the last mode.

    Examples
    --------
    >>> canonical_side(0b100, 3), canonical_side(0b010, 3)
    (3, 2)
    """
    return side ^ ((1 << order) - 1) if side >> (order - 1) else side


def side_of(rows: Iterable[str], modes: Sequence[str]) -> int:
    """Return the cut around `rows` as a bit mask."""
    return canonical_side(sum(1 << modes.index(mode) for mode in rows), len(modes))


def rows_of(side: int, modes: Sequence[str]) -> tuple[str, ...]:
    """Return the modes on a side."""
    return tuple(mode for n, mode in enumerate(modes) if side >> n & 1)


def noise_edge(modes: Mapping[str, int], side: int, noise: float) -> float:
    """Return where the singular values of white noise on an unfolding end, nearly always.

    The noise has the norm `noise`; sqrt(rows) + sqrt(columns) standard deviations of one entry
    (Vershynin, High-Dimensional Probability, theorem 7.3.1), and 2.5 % above that.
    """
    rows = math.prod(size for n, size in enumerate(modes.values()) if side >> n & 1)
    total = math.prod(modes.values())
    return 1.025 * noise * (math.sqrt(rows) + math.sqrt(total / rows)) / math.sqrt(total)


def cut_ranks(
    spectra: CutSpectra,
    modes: Mapping[str, int],
    sides: Iterable[int],
    *,
    tol: float,
    noise: float,
) -> CutRanks:
    """Return what the singular values say about the ranks of cuts.

    `least` is the rank that every network within the relative error `tol` has across the cut;
    that is certain. `most` is the number of singular values above the edge of white noise of
    relative norm `noise`, which assumes that the data are a network plus such noise.
    """
    names = tuple(modes)
    least, most = {}, {}
    for side in sides:
        values = spectra.exact_values(rows_of(side, names))
        if values is None:
            continue
        tails = np.sqrt(np.cumsum((values**2)[::-1]))[::-1]
        least[side] = max(1, int(np.count_nonzero(tails > tol)))
        above = int(np.count_nonzero(values > noise_edge(modes, side, noise)))
        most[side] = max(least[side], above)
    return CutRanks(modes=modes, least=least, most=most, noise=noise)


@lru_cache(maxsize=64)
def crossing(order: int, hubs: int, pairs: tuple[tuple[int, int], ...]) -> Floats:
    """Return which pairs cross a cut: sides (2**(order - 1)) x placements of hubs x pairs.

    Nodes 0 ... order - 1 have a mode, the `hubs` after them none.

    Raises
    ------
    InputError
        There are more than 14 nodes.
    """
    if order + hubs > ENUMERATED:
        raise InputError(
            f"all cuts of a graph are enumerated up to {ENUMERATED} nodes, got {order + hubs}."
        )
    sides = np.arange(1 << (order - 1))[:, None] + (np.arange(1 << hubs) << order)[None, :]
    ends = np.array(pairs, dtype=int).reshape(-1, 2)
    found: Floats = ((sides[..., None] >> ends[:, 0] ^ sides[..., None] >> ends[:, 1]) & 1).astype(
        float
    )
    return found


def minimum_cuts(sizes: Sequence[int], bonds: Floats) -> Floats:
    """Return the logarithm of the minimum cut for every side, of which modes may be cut too.

    Parameters
    ----------
    sizes
        Sizes of the modes.
    bonds
        Logarithm of the product of the bonds that leave a node set, for the 2**(order - 1) sets
        without the last mode (the least over placements of hubs).
    """
    order = len(sizes)
    whole = (1 << order) - 1
    best = np.concatenate([bonds, bonds[::-1]])  # the complement of k is whole - k
    index = np.arange(whole + 1)
    for n, size in enumerate(sizes):
        best = np.minimum(best, best[index ^ (1 << n)] + math.log(size))
    found: Floats = best[: 1 << (order - 1)]
    return found


def structure_cuts(structure: Structure, sides: Iterable[int]) -> dict[int, float]:
    """Return the logarithm of the minimum cut around each side, where modes may be cut too.

    That is the rank of the unfolding of a generic network of the structure, and the largest rank
    of any network of it.

    Parameters
    ----------
    structure
        Each mode has a node of its own.
    sides
        Sides of cuts of its modes.

    Notes
    -----
    All node sets are looked at up to 14 nodes; above, one maximum flow for each side.

    Examples
    --------
    >>> import tnet
    >>> found = structure_cuts(tnet.tensor_train((3, 3, 3), (2, 3)), (1, 2, 3))
    >>> [round(math.exp(value), 6) for value in found.values()]
    [2.0, 3.0, 3.0]
    """
    open_legs = set(structure.modes)
    own = [n for m in structure.modes for n in structure.holders[m]]
    if len(set(own)) < len(own):
        raise InputError("cuts are compared on structures in which no node has two modes.")
    number = {node: k for k, node in enumerate(own)}
    for node in structure.node_names:
        number.setdefault(node, len(number))
    pairs, logs = [], []
    for leg, ends in structure.holders.items():
        if leg not in open_legs and len(ends) == 2:
            a, b = sorted(number[node] for node in ends)
            pairs.append((a, b))
            logs.append(math.log(structure.size[leg]))
    weights = np.array(logs)
    if len(number) > ENUMERATED:
        return {s: _flow(s, structure.shape, pairs, weights, len(number)) for s in sides}
    across = crossing(len(own), len(number) - len(own), tuple(pairs))
    cuts = minimum_cuts(structure.shape, (across @ weights).min(axis=1))
    return {side: float(cuts[side]) for side in sides}


def _flow(
    side: int, sizes: Sequence[int], pairs: list[tuple[int, int]], weights: Floats, count: int
) -> float:
    """Return one minimum cut: a maximum flow finds the node set, which is then summed up."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import breadth_first_order, maximum_flow

    source, sink = count, count + 1
    arcs = [*pairs, *((b, a) for a, b in pairs)]
    values = [*weights, *weights]
    for n, size in enumerate(sizes):
        arcs.append((source, n) if side >> n & 1 else (n, sink))
        values.append(math.log(size))
    units = np.rint(FLOW_UNITS * np.array(values)).astype(np.int32)
    rows, columns = np.array(arcs).T
    capacity = csr_array((units, (rows, columns)), shape=(count + 2, count + 2))
    left = (capacity - maximum_flow(capacity, source, sink).flow).tocsr()
    left.eliminate_zeros()
    inside = np.zeros(count + 2, dtype=bool)
    inside[breadth_first_order(left, source, return_predecessors=False)] = True
    return float(np.array(values)[inside[rows] & ~inside[columns]].sum())
