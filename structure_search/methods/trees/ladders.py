"""From a programme to trees worth trying, and to the ranks of one tree, in order of size.

The sum of the squared tails of all bonds bounds the squared error; the true squared error is
less, since what one bond cuts off another has partly cut already, and at least the largest
tail. Between the sum and the maximum lie the sums of powers of the tails, which are as easy to
minimise: trees are sought with several of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from structure_search.methods.trees.laminar import (
    Family,
    Programme,
    cheapest,
    family_params,
    members,
)
from structure_search.methods.trees.parts import divisions_of, modes_in

CLOSE = 0.1  # in the logarithm of what is looked for: near enough for a price
STEP = 4.0  # factor between the first weights
SPAN = 30.0  # of the weights of one tree, up and down
MOST = 24  # weights tried
HEAVIEST, LIGHTEST = 1e12, 1e-6  # weights, in parameters per unit of squared tails
TINY = 1e-300


def raised(programme: Programme, power: float) -> Programme:
    """Return a programme with powers of the squared tails."""
    return replace(programme, tails={s: t**power for s, t in programme.tails.items()})


def reaching(programme: Programme, level: float, near: float) -> tuple[Family, float]:
    """Return a family whose squared tails are just within `level`, and its weight.

    Parameters
    ----------
    programme
        What trees may be made of.
    level
        Most squared tails; the family with the heaviest weight if none has so little.
    near
        A weight to begin with.
    """
    _, heavy = _crossing(
        programme,
        near,
        excess=lambda f: math.log(level / (f.squared + TINY)),
        gap=lambda _, above: above,
    )
    return heavy


def within(programme: Programme, budget: int, near: float) -> tuple[Family, float]:
    """Return a family with just at most `budget` parameters, and its weight.

    The family with the lightest weight if none has so few.
    """
    light, _ = _crossing(
        programme,
        near,
        excess=lambda f: math.log(f.num_params / (budget + 0.5)),
        gap=lambda below, _: -below,
    )
    return light


def between(
    programme: Programme, least: float, most: float, near: float
) -> list[tuple[Family, float]]:
    """Return families whose squared tails are between `least` and `most`, and their weights.

    The heaviest comes last; from one to the next the weight doubles.
    """
    found = [reaching(programme, most, near)]
    while found[-1][0].squared > least and len(found) < MOST and found[-1][1] < HEAVIEST:
        weight = 2.0 * found[-1][1]
        found.append((cheapest(programme, weight), weight))
    return found


def _crossing(
    programme: Programme,
    near: float,
    *,
    excess: Callable[[Family], float],
    gap: Callable[[float, float], float],
) -> tuple[tuple[Family, float], tuple[Family, float]]:
    """Return families of two weights between which `excess`, growing, becomes positive.

    By regula falsi in the logarithm of the weight, until `gap` of the two is small. Where all are
    on one side, both are the last.
    """
    now = (cheapest(programme, near), near)
    height = excess(now[0])
    up = height <= 0.0
    low = high = (now, height)
    count = 1
    while LIGHTEST < now[1] < HEAVIEST and (height <= 0.0) == up:
        low = high = (now, height)
        weight = now[1] * (STEP if up else 1.0 / STEP)
        now = (cheapest(programme, weight), weight)
        same = now[0].num_params == low[0][0].num_params
        if same and not up and cheapest(programme, LIGHTEST).num_params == now[0].num_params:
            return low[0], low[0]  # no family is smaller
        height = excess(now[0])
        count += 1
    low, high = (low, (now, height)) if up else ((now, height), high)
    if (height <= 0.0) == up:
        return now, now
    while count < MOST and gap(low[1], high[1]) > CLOSE:
        (light, below), (heavy, above) = low, high
        if heavy[1] < 1.05 * light[1] or heavy[0].num_params == light[0].num_params:
            break
        share = min(max(-below / (above - below), 0.15), 0.85)
        weight = light[1] * (heavy[1] / light[1]) ** share
        now = (cheapest(programme, weight), weight)
        height = excess(now[0])
        low, high = ((now, height), high) if height <= 0.0 else (low, (now, height))
        count += 1
    return low[0], high[0]


def of_tree(programme: Programme, sets: Iterable[int]) -> Programme:
    """Return the programme of the ranks of one tree."""
    kept = [s for s in sets if s in programme.ranks]
    return Programme(
        sizes=programme.sizes,
        divisions=divisions_of(kept, len(programme.sizes)),
        ranks={s: programme.ranks[s] for s in kept},
        tails={s: programme.tails[s] for s in kept},
    )


def neighbours(sets: Sequence[int], count: int, root: int) -> list[frozenset[int]]:
    """Return the trees that differ in one bond: without it, with one more, or with another.

    Examples
    --------
    >>> sorted(map(sorted, neighbours([0b011], 3, 2)))
    [[], [1], [1, 3], [2], [2, 3], [3, 4], [4]]
    """
    everything = (1 << count) - 1
    now = frozenset(sets)
    made: set[frozenset[int]] = set()
    for without in (now, *(now - {s} for s in sorted(now))):
        made.add(without)
        for extra in _possible(without, everything, root):
            made.add(without | {extra})
    return sorted(made - {now}, key=lambda f: (len(f), sorted(f)))


def _possible(sets: frozenset[int], everything: int, root: int) -> list[int]:
    """Return single modes and groups of parts of one node around which a bond could be added."""
    found = []
    for mask, held in members(sets, everything).items():
        own = mask
        for member in held:
            own ^= member
        parts = [*held, *(1 << k for k in modes_in(own))]
        if len(parts) > 1:
            found += [1 << k for k in modes_in(own)]
        if len(parts) > 2:
            found += [a | b for i, a in enumerate(parts) for b in parts[:i]]
            found += [mask ^ a for a in parts]
    normal = {normalised(s, everything, root) for s in found}
    return sorted(s for s in normal if s not in sets and s not in (0, everything))


def rough_price(
    programme: Programme, ranks: Mapping[int, int], sets: Iterable[int], weight: float
) -> float:
    """Return the price of sets with the ranks that are known, and the best of a set without."""
    held = {s: ranks.get(s, 0) for s in sets}
    squared = sum(_tail(programme, s, rank, 1.0) for s, rank in held.items() if rank)
    new = next((s for s, rank in held.items() if not rank), None)
    if new is None:
        return family_params(held, programme.sizes) + weight * squared
    one = family_params({**held, new: 1}, programme.sizes)
    slope = family_params({**held, new: 2}, programme.sizes) - one
    prices = one + slope * (programme.ranks[new] - 1) + weight * programme.tails[new]
    return float(prices.min()) + weight * squared


def normalised(mask: int, everything: int, root: int) -> int:
    """Return the side of a cut that stands for it: the one without `root`, or `root` alone.

    Examples
    --------
    >>> [normalised(mask, 0b111, 2) for mask in (0b110, 0b011, 0b100, 0b010)]
    [1, 4, 4, 2]
    """
    side = everything ^ mask if mask >> root & 1 else mask
    return 1 << root if side == everything ^ (1 << root) else side


def cuts(programme: Programme, family: Family, power: float) -> list[dict[int, int]]:
    """Return ranks near those of a family with fewer parameters, the most promising first.

    One rank is lowered, or one is lowered and another raised. First come those that are
    expected to lose least error for what they save.
    """
    rated = []
    for loss, ranks in _exchanges(programme, family.ranks, power):
        saved = family.num_params - family_params(ranks, programme.sizes)
        if saved > 0:
            rated.append((loss / saved if loss > 0.0 else loss, sorted(ranks.items())))
    return [dict(ranks) for _, ranks in sorted(rated)]


def gains(programme: Programme, family: Family, power: float, budget: int) -> list[dict[int, int]]:
    """Return ranks near those of a family within a budget, the most promising first.

    One rank is raised, or one is lowered and another raised.
    """
    rated = []
    for loss, ranks in _exchanges(programme, family.ranks, power):
        if family_params(ranks, programme.sizes) <= budget:
            rated.append((loss, sorted(ranks.items())))
    return [dict(ranks) for _, ranks in sorted(rated)]


def _exchanges(
    programme: Programme, now: dict[int, int], power: float
) -> list[tuple[float, dict[int, int]]]:
    """Return ranks with one or two changed, and what their tails grow by."""
    offers = []
    for mask, rank in sorted(now.items()):
        for up in (1, 2):
            gain = _tail(programme, mask, rank, power) - _tail(programme, mask, rank + up, power)
            offers.append((-gain, {**now, mask: rank + up}))
        for step in sorted({1, 2, math.ceil(rank / 12), math.ceil(rank / 5)}):
            if rank - step < 1:
                continue
            loss = _tail(programme, mask, rank - step, power) - _tail(programme, mask, rank, power)
            lower = {**now, mask: rank - step}
            offers.append((loss, lower))
            for other in sorted(set(now) - {mask}):
                for up in sorted({1, 2, math.ceil(now[other] / 12)}):
                    more = now[other] + up
                    gain = _tail(programme, other, now[other], power)
                    gain -= _tail(programme, other, more, power)
                    offers.append((loss - gain, {**lower, other: more}))
    return offers


def _tail(programme: Programme, mask: int, rank: int, power: float) -> float:
    """Return a power of a squared tail, between the ranks that the programme knows."""
    squares = programme.tails[mask]
    return math.pow(float(np.interp(rank, programme.ranks[mask], squares)), power)
