"""Levels at which ranks are read off the spectra, and what follows from them without a fit."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from contraction.errors import InputError
from contraction.truncation import check_rank, check_tol
from structure_search.bounds import CutSpectra
from structure_search.methods.cut_rank_graphs import Budget, graphs, least_params
from structure_search.methods.cut_rank_table import (
    CLOSE,
    CutRanks,
    Floats,
    canonical_side,
    cut_ranks,
    noise_edge,
    rows_of,
    structure_cuts,
)
from structure_search.methods.cut_rank_trees import (
    TREES_UP_TO,
    joined_tree,
    share,
    smallest_tree,
)
from tnet.structure import Structure

LEVELS = (1.0, 0.7, 0.5, 0.35, 0.25, 0.1, 0.01, 0.001)  # of the tolerance, assumed to be noise
ROUNDING = 1e-13  # relative noise that data in double precision have at least
ALL_SIDES_UP_TO = TREES_UP_TO
WIDEST_NEXT = 256  # the same for cuts next to narrow ones
WIDEST_SAMPLE = 128  # rows of the cuts that are looked at where there are too many for all
NO_LIMIT = 2**40
HIDDEN = 3.0  # times the tolerance: an estimate of the noise above that is one of the signal


def noise_of(spectra: CutSpectra, modes: Mapping[str, int], sides: Sequence[int]) -> float:
    """Estimate the relative norm of white noise in the data, from above.

    The least singular value of rows x columns entries of white noise is about
    sqrt(columns) - sqrt(rows) standard deviations (Bai, Yin, Ann. Probab. 21 (1993), 1275-1294);
    a signal of full rank makes it larger, so the least over the oblong cuts is taken.
    """
    total = math.prod(modes.values())
    found = math.inf
    for side in sides:
        values = spectra.exact_values(rows_of(side, tuple(modes)))
        if values is None:
            continue
        gap = math.sqrt(total / len(values)) - math.sqrt(len(values))
        if gap >= 1.0:
            found = min(found, float(values[-1]) * math.sqrt(total) / gap)
    return max(found, least_noise(spectra))


def noise_is_hidden(spectra: CutSpectra, modes: Mapping[str, int], tol: float) -> bool:
    """Tell whether no cut shows how small the noise is: the signal fills all oblong ones."""
    most = max(tol, least_noise(spectra))
    return noise_of(spectra, modes, sides_to_look_at(modes)) > HIDDEN * most


def least_noise(spectra: CutSpectra) -> float:
    """Return the relative noise that data have at least: their rounding, which is not white."""
    return max(ROUNDING, spectra.rounding)


def sides_to_look_at(modes: Mapping[str, int]) -> list[int]:
    """Return all cuts of up to eight modes; of more, those around few modes and of few rows."""
    order = len(modes)
    if order <= ALL_SIDES_UP_TO:
        return list(range(1, 1 << (order - 1)))
    sizes = list(modes.values())
    found = set()
    for count in (1, 2, 3):
        for chosen in itertools.combinations(range(order), count):
            if math.prod(sizes[n] for n in chosen) <= WIDEST_SAMPLE or count == 1:
                found.add(canonical_side(sum(1 << n for n in chosen), order))
    return sorted(found)


def levels(spectra: CutSpectra, modes: Mapping[str, int], tol: float) -> Iterator[CutRanks]:
    """Yield the ranks of the cuts at ever lower levels of noise, each set once.

    First at the level that the data show, then at shares of the tolerance; where the data show
    none, at last down to their rounding: small singular values may then be signal as well.
    """
    sides = sides_to_look_at(modes)
    seen: list[Mapping[int, int]] = []
    floor = least_noise(spectra)
    shown = min(noise_of(spectra, modes, sides), max(tol, floor))
    lower = [max(part * tol, floor) for part in LEVELS]
    if noise_is_hidden(spectra, modes, tol):
        lower.append(floor)
    for noise in [shown, *lower]:
        ranks = cut_ranks(spectra, modes, sides, tol=tol, noise=noise)
        if ranks.most not in seen:
            seen.append(ranks.most)
            yield with_neighbours(spectra, ranks, tol)


def with_neighbours(spectra: CutSpectra, ranks: CutRanks, tol: float) -> CutRanks:
    """Return the ranks with those of the cuts next to narrow ones added.

    Only next to known cuts can the bonds across a cut be said to make its rank. Nothing to do
    where all cuts are known.
    """
    order, sizes = len(ranks.sizes), ranks.sizes
    if len(ranks.most) == (1 << (order - 1)) - 1:
        return ranks
    wanted = set()
    for side, most in ranks.most.items():
        width = math.prod(size for n, size in enumerate(sizes) if side >> n & 1)
        if most < min(width, math.prod(sizes) // width):
            wanted |= {canonical_side(side ^ (1 << n), order) for n in range(order)}
    wanted -= {0, *ranks.most}
    names = ranks.modes
    near = [side for side in sorted(wanted) if _rows(side, sizes) <= WIDEST_NEXT]
    more = cut_ranks(spectra, names, near, tol=tol, noise=ranks.noise)
    return replace(ranks, least={**ranks.least, **more.least}, most={**ranks.most, **more.most})


def _rows(side: int, sizes: Sequence[int]) -> int:
    rows = math.prod(size for n, size in enumerate(sizes) if side >> n & 1)
    return min(rows, math.prod(sizes) // rows)


def tree_of(spectra: CutSpectra, ranks: CutRanks) -> Structure | None:
    """Return a small tree whose bonds have the ranks of the data above the noise.

    The smallest one up to eight modes; above, one found by joining modes.
    """
    if len(ranks.sizes) <= TREES_UP_TO:
        return smallest_tree(ranks)

    def rank(side: int, values: Floats) -> int:
        return int(np.count_nonzero(values > noise_edge(ranks.modes, side, ranks.noise)))

    return joined_tree(spectra, ranks.modes, rank)


def violated(structure: Structure, ranks: CutRanks) -> int:
    """Return how many cuts of a structure are wider than the data's `most`."""
    cuts = structure_cuts(structure.permuted(tuple(ranks.modes)), ranks.most)
    return sum(cuts[side] > math.log(most) + CLOSE for side, most in ranks.most.items())


def too_narrow(structure: Structure, ranks: CutRanks) -> bool:
    """Tell whether a cut of a structure is narrower than the data's `least`."""
    cuts = structure_cuts(structure.permuted(tuple(ranks.modes)), ranks.least)
    return any(cuts[side] < math.log(least) - CLOSE for side, least in ranks.least.items())


def tree_within(spectra: CutSpectra, modes: Mapping[str, int], tol: float) -> Structure | None:
    """Return the smallest tree whose direct factorisation is certainly within `tol`."""
    return tree_leaving(spectra, modes, share(tol, len(modes)))


def tree_leaving(spectra: CutSpectra, modes: Mapping[str, int], each: float) -> Structure | None:
    """Return the smallest tree each of whose bonds leaves out at most the error `each`."""
    if len(modes) <= TREES_UP_TO:
        sides = sides_to_look_at(modes)
        least = cut_ranks(spectra, modes, sides, tol=each, noise=ROUNDING).least
        return smallest_tree(CutRanks(modes=modes, least=least, most=least))

    def rank(side: int, values: Floats) -> int:
        tails = np.sqrt(np.cumsum((values**2)[::-1]))[::-1]
        return int(np.count_nonzero(tails > each))

    return joined_tree(spectra, modes, rank)


def only_least(ranks: CutRanks) -> CutRanks:
    """Return the ranks without a limit from above: what is certain."""
    return replace(ranks, most=dict.fromkeys(ranks.most, NO_LIMIT))


def cut_rank_bound(
    spectra: CutSpectra, modes: Mapping[str, int], tol: float, *, hubs: int = 0, boxes: int = 2000
) -> int:
    """Return a number of parameters that no network within `tol` can do with less than.

    Holds for every network in which each mode has a node of its own and at most `hubs` nodes
    have none, whatever its ranks: the product of the bonds across each cut is at least the rank
    of the data there. It assumes nothing of the data.

    Parameters
    ----------
    spectra
        Singular values of the data.
    modes
        Mode name -> size, in the order of the axes.
    tol
        Relative error, not squared.
    hubs
        Most nodes without a mode.
    boxes
        Work, about 0.1 ms each; with less the bound is weaker, and holds as well.

    Returns
    -------
    int
        The lower bound.

    Examples
    --------
    >>> import numpy as np
    >>> import tnet
    >>> train = tnet.tensor_train((4, 4, 4), (2, 2))
    >>> x = tnet.contract(tnet.random_network(train, rng=np.random.default_rng(0)))
    >>> spectra = CutSpectra(x, train.modes, float(np.linalg.norm(x)))
    >>> cut_rank_bound(spectra, dict.fromkeys(train.modes, 4), 1e-6)
    32
    """
    check_tol(tol)
    check_rank(boxes, "boxes")
    check_rank(hubs, "hubs", least=0)
    ranks = cut_ranks(spectra, modes, sides_to_look_at(modes), tol=tol, noise=ROUNDING)
    return max(1, least_params(only_least(ranks), hubs=hubs, budget=Budget(boxes)))


def cut_rank_start(
    spectra: CutSpectra, modes: Mapping[str, int], tol: float, *, boxes: int = 2000
) -> Structure:
    """Return a structure to begin from, without a fit.

    The smallest graph whose minimum cuts equal the ranks of the data, at the highest level of
    noise at which there is one (at any level, where no cut shows the noise). That assumes that
    the data are a generic network plus white noise. Where no graph does so, the smallest tree
    whose direct factorisation is within `tol` (certain; up to eight modes), else the smallest
    graph that the ranks allow, which need not reach `tol`.

    Parameters
    ----------
    spectra, modes, tol, boxes
        As for `cut_rank_bound`.

    Returns
    -------
    Structure
        Nodes ``v0``, ``v1``, ... hold the modes in order, ``h0``, ... hold none.

    Examples
    --------
    >>> import numpy as np
    >>> import tnet
    >>> ring = tnet.tensor_ring((4, 4, 4, 4), (2, 2, 2, 2))
    >>> x = tnet.contract(tnet.random_network(ring, rng=np.random.default_rng(0)))
    >>> spectra = CutSpectra(x, ring.modes, float(np.linalg.norm(x)))
    >>> dict(cut_rank_start(spectra, dict.fromkeys(ring.modes, 4), 1e-4).ranks)
    {'v0-v1': 2, 'v0-v3': 2, 'v1-v2': 2, 'v2-v3': 2}
    """
    check_tol(tol)
    check_rank(boxes, "boxes")
    budget = Budget(boxes)
    sure = tree_within(spectra, modes, tol)
    most = math.prod(modes.values()) if sure is None else sure.num_params
    hidden, best = noise_is_hidden(spectra, modes, tol), None
    for ranks in levels(spectra, modes, tol):
        tree = tree_of(spectra, ranks)
        if tree is not None and (tree.num_params > most or violated(tree, ranks)):
            tree = None
        cap = most if tree is None else tree.num_params - 1
        found = next(graphs(ranks.exact, hubs=0, cap=cap, slack=0, budget=budget), None)
        agrees = tree if found is None else found.structure
        if agrees is not None:
            best, most = agrees, agrees.num_params - 1
            if not hidden:
                break
    return best or sure or smallest_allowed(spectra, modes, tol, boxes=boxes)


def smallest_allowed(
    spectra: CutSpectra, modes: Mapping[str, int], tol: float, *, boxes: int
) -> Structure:
    """Return the smallest graph found that has the ranks that `tol` asks for across all cuts.

    Raises
    ------
    InputError
        No graph with one node per mode has them within the size of the data.
    """
    ranks = cut_ranks(spectra, modes, sides_to_look_at(modes), tol=tol, noise=ROUNDING)
    cap = sum(size * ranks.least.get(1 << n, size) for n, size in enumerate(ranks.sizes))
    most = 4 * math.prod(modes.values())
    while cap <= most:
        found = next(
            graphs(only_least(ranks), hubs=0, cap=cap, slack=0, budget=Budget(boxes)), None
        )
        if found is not None:
            return found.structure
        cap = int(1.2 * cap) + 1
    raise InputError(f"no graph within {most} parameters has the ranks that {tol} asks for.")
