"""From what a caller wrote to plain arrays: every term a row of integers, equal terms collected."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from contraction.errors import DTypeError, InputError, StructureError
from tnet.operators.grouping import group, hash_of
from tnet.operators.jordan_wigner import FERMION_NAMES, Dressed, dress
from tnet.operators.local_table import LocalTable
from tnet.operators.pairs import pair_rows
from tnet.operators.terms import Pairs, Term
from tnet.operators.tree_operator import checked_number
from tnet.structure import Structure

Ints = Any
Numbers = Any


class TermTable(NamedTuple):
    """All terms as integers: term t is `coefficients[t]` times its local matrices.

    `term`, `mode` and `index` list the local matrices that are not the identity, sorted by term
    and mode; modes count in the order of ``structure.modes``.
    """

    coefficients: Numbers
    term: Ints
    mode: Ints
    index: Ints
    constant: complex
    tables: tuple[LocalTable, ...]


class _Rows(NamedTuple):
    """Local matrices of many terms, unsorted; `strings` are Jordan-Wigner intervals."""

    coefficients: Numbers
    term: Ints
    mode: Ints
    index: Ints


def collect(structure: Structure, terms: Iterable[Any], order: Sequence[str]) -> TermTable:
    """Read terms of all kinds, check them, and collect equal ones."""
    place = {mode: k for k, mode in enumerate(structure.modes)}
    tables = tuple(LocalTable(mode, structure.size[mode]) for mode in structure.modes)
    fermions = _fermion_order(structure, order, place)
    plain: list[Any] = []
    parts: list[_Rows] = []
    if isinstance(terms, (Term, Pairs, Mapping, str)):
        raise DTypeError(f"`terms` must be a list of terms, got one {type(terms).__name__}.")
    for term in terms:
        if isinstance(term, Pairs):
            parts.append(_Rows(*pair_rows(term, place, tables, fermions)))
        else:
            plain.append(term)
    parts.append(_read_terms(plain, place, tables, fermions))
    return _collected(parts, tables)


def _fermion_order(structure: Structure, order: Sequence[str], place: dict[str, int]) -> Ints:
    """Return the modes' indices in the order of the Jordan-Wigner strings."""
    chosen = tuple(order) or structure.open_legs
    if not set(chosen) <= set(structure.modes) or len(set(chosen)) != len(chosen):
        raise StructureError(
            f"`order` must name modes of the tree, each once: the modes are "
            f"{list(structure.modes[:12])}, got {list(chosen[:12])}."
        )
    return np.array([place[mode] for mode in chosen], dtype=np.int64)


def _read_terms(
    terms: list[Any], place: dict[str, int], tables: Sequence[LocalTable], fermions: Ints
) -> _Rows:
    """Read plain terms one by one: the only loop over terms, and it does nothing but look up."""
    coefficients: list[complex] = []
    term: list[int] = []
    mode: list[int] = []
    index: list[int] = []
    intervals: list[tuple[int, int, int]] = []
    position = {int(k): p for p, k in enumerate(fermions)}
    for number, given in enumerate(terms):
        coefficient, factors = _parts_of(given, number)
        if FERMION_NAMES.intersection(_names(factors)):
            dressed: Dressed = dress(factors, place, position, number)
            factors = dressed.factors
            intervals += [(number, start, stop) for start, stop in dressed.intervals]
        for site, op in factors.items():
            k = place.get(site, -1)
            if k < 0:
                raise _unknown(site, place, number)
            found, factor = tables[k].add(op)
            coefficient *= factor
            if found:
                term.append(number)
                mode.append(k)
                index.append(found)
        coefficients.append(coefficient)
    rows = [np.array(x, dtype=np.int64) for x in (term, mode, index)]
    if intervals:
        rows = _with_strings(rows, intervals, fermions, tables)
    return _Rows(np.array(coefficients, dtype=np.complex128), *rows)


def _with_strings(
    rows: list[Ints], intervals: list[tuple[int, int, int]], fermions: Ints, tables: Sequence[Any]
) -> list[Ints]:
    """Append the sign matrices of all Jordan-Wigner strings at once."""
    spans = np.array(intervals, dtype=np.int64)
    length = spans[:, 2] - spans[:, 1]
    number = np.repeat(spans[:, 0], length)
    start = np.repeat(spans[:, 1] - np.cumsum(length) + length, length)
    mode = fermions[start + np.arange(len(number))]
    sign = np.zeros(len(tables), dtype=np.int64)
    for k in np.unique(mode):
        sign[k] = tables[k].add("sign")[0]
    fresh = (number, mode, sign[mode])
    return [np.concatenate(pair) for pair in zip(rows, fresh, strict=True)]


def _parts_of(given: Any, number: int) -> tuple[complex, Mapping[str, Any]]:
    if isinstance(given, Term):
        pair: Any = (given.coefficient, given.factors)
    else:
        pair = given
    if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not isinstance(pair[1], Mapping):
        raise DTypeError(
            f"term {number} must be a tnet.Term, a tnet.Pairs or a pair (coefficient, "
            f"{{site: operator}}), got {str(given)[:80]!r}."
        )
    return checked_number(pair[0], f"the coefficient of term {number}"), pair[1]


def _names(factors: Mapping[str, Any]) -> list[str]:
    found = []
    for op in factors.values():
        if isinstance(op, str):
            found.append(op)
        elif isinstance(op, (tuple, list)):
            found += [x for x in op if isinstance(x, str)]
    return found


def _unknown(site: Any, place: dict[str, int], number: int) -> Exception:
    lowered = {mode.lower(): mode for mode in list(place)[:10_000]}
    close = difflib.get_close_matches(str(site).lower(), lowered, n=1)
    hint = f"did you mean {lowered[close[0]]!r}? " if close else ""
    return StructureError(
        f"term {number} acts on {site!r}, which is no mode of the tree; {hint}the modes are "
        f"{list(place)[:12]}."
    )


def _collected(parts: list[_Rows], tables: tuple[LocalTable, ...]) -> TermTable:
    """Join all rows, sort them, add up the coefficients of equal terms, drop zeros."""
    shift = np.cumsum([0, *(len(part.coefficients) for part in parts)])
    coefficients = np.concatenate([part.coefficients for part in parts])
    term = np.concatenate([p.term + s for p, s in zip(parts, shift, strict=False)])
    mode = np.concatenate([part.mode for part in parts])
    index = np.concatenate([part.index for part in parts])
    keys = np.zeros((len(coefficients), 2), dtype=np.uint64)
    np.add.at(keys, term, hash_of(mode, index))
    which, first = group(keys[:, 0], keys[:, 1])
    total: Numbers = np.zeros(len(first), dtype=np.complex128)
    np.add.at(total, which, coefficients)
    if not np.isfinite(total).all():
        raise InputError("the coefficients of equal terms add up to more than a float can hold.")
    if not total.imag.any():
        total = total.real.copy()
    empty = np.bincount(term, minlength=len(coefficients))[first] == 0
    constant = complex(total[empty].sum())
    kept = (total != 0) & ~empty
    fresh = np.full(len(coefficients), -1, dtype=np.int64)
    fresh[first[kept]] = np.arange(int(kept.sum()))
    rows = fresh[term] >= 0
    term, mode, index = fresh[term[rows]], mode[rows], index[rows]
    order = np.lexsort((mode, term))
    return TermTable(total[kept], term[order], mode[order], index[order], constant, tables)
