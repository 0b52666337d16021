"""What trees over given modes may be made of: sets of modes, their divisions and their spectra.

Up to `ALL_UP_TO` modes these are all sets and all divisions. Above that, sets that belong
together: intervals of several orders of the modes, which hold every tensor train and every
hierarchical tree over these orders, and every mixture of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from structure_search.methods.trees.laminar import Programme, members
from tnet.structure import Structure
from tnet.trees import rooted

ALL_UP_TO = 9  # modes; 3280 divisions of 255 sets
HALF_LEVELS = 48  # ranks of a set that are all tried; above them on a geometric ladder
LEAST_SHARE = 3e-4  # of the squared tolerance: a tail below this is not worth a rank
MOST_SHARE = 1.6  # of the squared tolerance: no single cut may lose more
Float: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
Tails: TypeAlias = Callable[[Sequence[int]], Float | None]


def modes_in(mask: int) -> list[int]:
    """Return the numbers of the modes of a set.

    Examples
    --------
    >>> modes_in(0b1101)
    [0, 2, 3]
    """
    return [k for k in range(mask.bit_length()) if mask >> k & 1]


def all_divisions(count: int, root: int) -> dict[int, list[int]]:
    """Return every division in two of every set of modes that does not hold `root`.

    Examples
    --------
    >>> all_divisions(3, root=0)
    {6: [2], 7: [1]}
    """
    rest = ((1 << count) - 1) ^ (1 << root)
    made: dict[int, list[int]] = {}
    mask = rest
    while mask:
        if mask.bit_count() > 1:
            low = mask & -mask
            others, halves = mask ^ low, []
            part = others
            while part:
                part = (part - 1) & others
                halves.append(low | part)
            made[mask] = halves
        mask = (mask - 1) & rest
    made = dict(sorted(made.items(), key=lambda item: (item[0].bit_count(), item[0])))
    if rest:
        made[rest | 1 << root] = [1 << root]
    return made


def divisions_among(sets: Iterable[int], count: int, root: int) -> dict[int, list[int]]:
    """Return the divisions of sets into two of the same collection.

    Sets that hold `root` are replaced by their complements; single modes, the rest without
    `root`, and suffixes that make every set divisible are added.
    """
    everything = (1 << count) - 1
    rest = everything ^ (1 << root)
    known = {1 << k for k in range(count)} | {rest}
    known |= {everything ^ s if s >> root & 1 else s for s in sets}
    known -= {0, everything, 1 << root}
    by_size = sorted(known, key=lambda s: (s.bit_count(), s))
    made: dict[int, list[int]] = {}
    for mask in by_size:
        if mask.bit_count() < 2:
            continue
        low = mask & -mask
        halves = [s for s in by_size if s & low and s & mask == s != mask and mask ^ s in known]
        if not halves:  # from its largest members and single modes, one after the other
            halves = [_first_part(mask, by_size, made)]
        made[mask] = halves
    made = dict(sorted(made.items(), key=lambda item: (item[0].bit_count(), item[0])))
    made[everything] = [1 << root]
    return made


def _first_part(mask: int, by_size: Sequence[int], made: dict[int, list[int]]) -> int:
    """Divide `mask` into the largest set inside it and the rest, and the rest likewise."""
    first, rest = 0, mask
    while rest.bit_count() > 1 and (rest == mask or rest not in made):
        part = max((s for s in by_size if s & rest == s != rest), key=int.bit_count)
        first = first or part
        if rest != mask:
            made[rest] = [part]
        rest ^= part
    return first


def trains_only(divisions: Mapping[int, Sequence[int]]) -> dict[int, list[int]]:
    """Return the divisions that make trains: a set is a mode and the rest, but for the root's.

    The root may hold two arms, so that the set of all other modes is divided in every way.

    Examples
    --------
    >>> trains_only(all_divisions(4, root=0))[14]
    [10, 6, 2]
    """
    made: dict[int, list[int]] = {}
    most = max(divisions, key=int.bit_count)
    (half, *_) = divisions[most]
    for mask, halves in divisions.items():
        single = [h for h in halves if h.bit_count() == 1 or (mask ^ h).bit_count() == 1]
        made[mask] = list(halves) if mask in (most, most ^ half) or not single else single
    return made


def divisions_of(sets: Iterable[int], count: int) -> dict[int, list[int]]:
    """Return the divisions that hold one tree: the members of each node one after the other.

    Examples
    --------
    >>> divisions_of([0b0011], 4)
    {3: [2], 7: [4], 15: [8]}
    """
    made: dict[int, list[int]] = {}
    for mask, held in members(sets, (1 << count) - 1).items():
        own = mask
        for member in held:
            own ^= member
        first, *others = [*held, *(1 << k for k in modes_in(own))]
        for part in others:
            first |= part
            made[first] = [part]
    return made


def programme(
    sizes: Sequence[int],
    divisions: Mapping[int, Sequence[int]],
    tails: Tails,
    tol: float,
    *,
    closed: Iterable[int] | None = None,
) -> Programme:
    """Return the programme of trees from `divisions`, with squared tails in units of tol^2.

    Parameters
    ----------
    sizes
        Sizes of the modes.
    divisions
        See `Programme`.
    tails
        Modes of a set -> relative error of keeping 0, 1, 2, ... values of its cut, or None.
    tol
        Error that is looked for; ranks far from what it needs are left out.
    closed
        Sets that may have a bond around them; by default all.
    """
    everything = (1 << len(sizes)) - 1
    ranks, squares = {}, {}
    asked = {1 << k for k in range(len(sizes))} | set(divisions)
    asked -= {everything ^ half for half in divisions[everything]}  # the same cut as `half`
    for mask in sorted(asked if closed is None else closed):
        found = None if mask == everything else tails(modes_in(mask))
        if found is None:
            continue
        square = (found / tol) ** 2
        least = max(1, int(np.count_nonzero(square > MOST_SHARE)))
        most = max(least, int(np.count_nonzero(square > LEAST_SHARE)))
        if least >= _room(mask, sizes):
            continue  # no use: the cut has full rank already
        rank = levels(least, min(most, _room(mask, sizes)))
        ranks[mask] = rank
        squares[mask] = square[np.minimum(rank, len(square) - 1)]
    return Programme(sizes=tuple(sizes), divisions=divisions, ranks=ranks, tails=squares)


def levels(least: int, most: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the ranks to try from `least` to `most`: all, or a ladder where they are many."""
    ranks = np.arange(least, most + 1, dtype=np.int64)
    if len(ranks) <= 2 * HALF_LEVELS:
        return ranks
    ladder = np.geomspace(float(ranks[HALF_LEVELS]), float(most), HALF_LEVELS)
    return np.unique(np.concatenate([ranks[:HALF_LEVELS], ladder.astype(np.int64)]))


def _room(mask: int, sizes: Sequence[int]) -> int:
    inside = math.prod(sizes[k] for k in modes_in(mask))
    return min(inside, math.prod(sizes) // inside)


def bonds_of(structure: Structure) -> dict[int, str]:
    """Return the sets of a tree of `structure_of`: the modes beyond each bond, and the bond.

    Examples
    --------
    >>> bonds_of(structure_of({0b001: 2, 0b011: 3}, (4, 5, 6), ("x", "y", "z")))
    {1: 'u0-u1', 3: 'u1-u2'}
    """
    number = {mode: 1 << k for k, mode in enumerate(structure.modes)}
    tree = rooted(structure, structure.holders[structure.modes[-1]][0])
    found = {sum(number[m] for m in tree.leaves_below[n]): b for n, b in tree.bond.items()}
    return dict(sorted(found.items()))


def structure_of(ranks: dict[int, int], sizes: Sequence[int], modes: Sequence[str]) -> Structure:
    """Return the structure of a laminar family with ranks.

    Examples
    --------
    >>> structure_of({0b001: 2}, (4, 5, 6), ("x", "y", "z")).ranks
    mappingproxy({'u0-u1': 2})
    """
    below = members(ranks, (1 << len(sizes)) - 1)
    node: dict[int, str] = {}
    own: dict[int, list[int]] = {}
    for mask, held in below.items():
        outside = mask
        for member in held:
            outside ^= member
        own[mask] = modes_in(outside)
        hubs = sum(not o for o in own.values())
        node[mask] = f"u{own[mask][0]}" if own[mask] else f"t{hubs - 1}"
    order = sorted(node, key=lambda mask: (node[mask][0] == "t", len(node[mask]), node[mask]))
    legs = {node[mask]: [modes[k] for k in own[mask]] for mask in order}
    sides = dict(zip(modes, sizes, strict=True))
    for mask in order:
        for member in below[mask]:
            bond = "-".join(sorted((node[mask], node[member])))
            sides[bond] = ranks[member]
            legs[node[mask]].append(bond)
            legs[node[member]].append(bond)
    return Structure(legs, sides, modes)
