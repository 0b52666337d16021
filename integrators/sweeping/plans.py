"""Plans: in which order a sum of products of small matrices is applied to an array.

Every term multiplies some slots (ranges of axes) of the array by a matrix each. Terms that differ
in one matrix only are merged beforehand, and what several terms apply first is applied once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

Number: TypeAlias = complex


class Term(NamedTuple):
    """`weight` times the product of the `factors` (slot, element), added to result `output`."""

    output: int
    weight: Number
    factors: tuple[tuple[int, int], ...]


class Merged(NamedTuple):
    """A sum over the elements of one slot."""

    slot: int
    output: int
    elements: tuple[int, ...]
    weights: Any  # (elements,)


class Taken(NamedTuple):
    """A result of a stem that is wanted as it is."""

    slot: int
    row: int
    output: int
    weight: Number


class Finals(NamedTuple):
    """What is applied last, to some results of a stem: rows of `table` sum over elements."""

    slot: int
    output: int
    rows: tuple[int, ...]
    elements: tuple[int, ...]
    table: Any  # (rows, elements)


class Stem(NamedTuple):
    """What is applied first: every one of some elements of one slot."""

    slot: int
    elements: tuple[int, ...]
    taken: tuple[Taken, ...]
    finals: tuple[Finals, ...]
    deeper: tuple[tuple[int, Branch], ...]  # (row, what follows)


class Branch(NamedTuple):
    """Everything that is done to one array."""

    constants: tuple[tuple[int, Number], ...]  # (output, weight)
    singles: tuple[Merged, ...]
    stems: tuple[Stem, ...]


def plan_terms(terms: Sequence[Term]) -> Branch:
    """Return the order of work for a sum of terms; no numbers of the elements are needed.

    Of the slots in a term, the one with the fewest different elements (over all terms with these
    slots) goes first: so many products are needed, and as many merged matrices after them.

    Examples
    --------
    >>> z = [Term(0, 1.0, ((0, 0), (1, k))) for k in range(3)] + [Term(0, 2.0, ((1, 3),))]
    >>> branch = plan_terms(z)
    >>> len(branch.stems), branch.stems[0].elements, branch.stems[0].finals[0].elements
    (1, (0,), (0, 1, 2))
    """
    constants: dict[int, Number] = {}
    singles: dict[tuple[int, int], dict[int, Number]] = {}
    longer: list[Term] = []
    for term in terms:
        if not term.factors:
            constants[term.output] = constants.get(term.output, 0.0) + term.weight
        elif len(term.factors) == 1:
            slot, element = term.factors[0]
            found = singles.setdefault((slot, term.output), {})
            found[element] = found.get(element, 0.0) + term.weight
        else:
            longer.append(term)
    stems = _stems(longer)
    taken = _taken(singles, stems)
    merged = tuple(
        Merged(slot, output, tuple(sums), np.array(list(sums.values())))
        for (slot, output), sums in singles.items()
        if (slot, output) not in taken
    )
    whole = tuple(
        stem._replace(taken=tuple(t for t in taken.values() if t.slot == stem.slot))
        for stem in stems
    )
    return Branch(tuple(constants.items()), merged, whole)


def _taken(
    singles: dict[tuple[int, int], dict[int, Number]], stems: Sequence[Stem]
) -> dict[tuple[int, int], Taken]:
    """Find sums of one element that a stem applies anyway."""
    row = {(s.slot, e): k for s in stems for k, e in enumerate(s.elements)}
    found = {}
    for (slot, output), sums in singles.items():
        if len(sums) == 1:
            element, weight = next(iter(sums.items()))
            if (slot, element) in row:
                found[slot, output] = Taken(slot, row[slot, element], output, weight)
    return found


def _stems(terms: Sequence[Term]) -> list[Stem]:
    groups: dict[tuple[int, ...], list[Term]] = {}
    for term in terms:
        groups.setdefault(tuple(slot for slot, _ in term.factors), []).append(term)
    rest: dict[int, dict[int, list[Term]]] = {}  # slot -> element -> what follows
    for slots, group in groups.items():
        counts = [len({t.factors[p][1] for t in group}) for p in range(len(slots))]
        p = counts.index(min(counts))
        for term in group:
            element = term.factors[p][1]
            left = term._replace(factors=term.factors[:p] + term.factors[p + 1 :])
            rest.setdefault(slots[p], {}).setdefault(element, []).append(left)
    return [_stem(slot, follow) for slot, follow in rest.items()]


def _stem(slot: int, follow: dict[int, list[Term]]) -> Stem:
    elements = tuple(follow)
    finals: dict[tuple[int, int], dict[int, dict[int, Number]]] = {}
    deeper: list[tuple[int, Branch]] = []
    for row, element in enumerate(elements):
        more = [t for t in follow[element] if len(t.factors) > 1]
        if more:
            deeper.append((row, plan_terms(more)))
        for term in follow[element]:
            if len(term.factors) == 1:
                last, chosen = term.factors[0]
                sums = finals.setdefault((last, term.output), {}).setdefault(row, {})
                sums[chosen] = sums.get(chosen, 0.0) + term.weight
    made = []
    for (last, output), rows in finals.items():
        used = tuple(dict.fromkeys(e for sums in rows.values() for e in sums))
        table = np.array([[sums.get(e, 0.0) for e in used] for sums in rows.values()])
        made.append(Finals(last, output, tuple(rows), used, table))
    return Stem(slot, elements, (), tuple(made), tuple(deeper))
