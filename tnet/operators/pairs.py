"""Pair interactions in bulk: the entries above the diagonal as rows of terms, without a loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from contraction import arrays as arrays_
from contraction.errors import DTypeError, InputError, NonFiniteError, ShapeError, StructureError
from tnet.operators.jordan_wigner import FERMION_NAMES
from tnet.operators.local_table import SIGN_NAME, LocalTable
from tnet.operators.terms import Pairs

Ints = Any


def pair_rows(
    pairs: Pairs, place: dict[str, int], tables: Sequence[LocalTable], fermions: Ints
) -> tuple[Any, Ints, Ints, Ints]:
    """Return coefficients, and term, mode and index of every local matrix."""
    mode = modes_of_pairs(pairs, place)
    i, j = np.triu_indices(len(mode), 1)
    values = values_at(pairs, i, j)
    kept = values != 0
    i, j, values = i[kept], j[kept], values[kept]
    if is_fermionic(pairs):
        return _fermion_rows(pairs, mode, i, j, values, tables, fermions)
    left, lf = indices_of(pairs.left, mode, tables)
    right, rf = indices_of(pairs.right, mode, tables)
    coefficients = values * lf[i] * rf[j]
    count = np.arange(len(i))
    return _rows(coefficients, [(count, mode[i], left[i]), (count, mode[j], right[j])])


def modes_of_pairs(pairs: Pairs, place: dict[str, int]) -> Ints:
    """Return the numbers of the modes that the sites of a pair interaction are."""
    mode = np.array([_place(site, place) for site in pairs.sites], dtype=np.int64)
    if len(set(mode.tolist())) != len(mode):
        raise StructureError("the sites of Pairs must differ, but one is named twice.")
    return mode


def _place(site: str, place: dict[str, int]) -> int:
    if site not in place:
        raise StructureError(
            f"Pairs acts on {site!r}, which is no mode of the tree; the modes are "
            f"{list(place)[:12]}."
        )
    return place[site]


def values_at(pairs: Pairs, i: Ints, j: Ints) -> Any:
    """Return the coefficients of pairs i < j, finite."""
    count = len(pairs.sites)
    if callable(pairs.coefficients):
        values = np.asarray(pairs.coefficients(i, j))
        if values.shape != i.shape:
            raise ShapeError(
                f"the coefficients of Pairs, called with index arrays of shape {i.shape}, must "
                f"return that shape, got {values.shape}."
            )
    else:
        matrix = np.asarray(arrays_.to_numpy(pairs.coefficients))
        if matrix.shape != (count, count):
            raise ShapeError(
                f"the coefficients of Pairs on {count} sites need shape ({count}, {count}), got "
                f"{matrix.shape}."
            )
        values = matrix[i, j]
    if values.dtype.kind not in "biufc":
        raise DTypeError(f"the coefficients of Pairs hold {values.dtype}; expected numbers.")
    bad = ~np.isfinite(values)
    if bad.any():
        k = int(bad.argmax())
        raise NonFiniteError(
            f"the coefficients of Pairs hold {int(bad.sum())} NaN or infinite values, the first "
            f"at ({i[k]}, {j[k]})."
        )
    return values.astype(np.complex128)


def is_fermionic(pairs: Pairs) -> bool:
    """Tell whether a pair interaction needs Jordan-Wigner strings."""
    odd = [isinstance(x, str) and x in FERMION_NAMES for x in (pairs.left, pairs.right)]
    if sum(odd) == 1:
        raise InputError(
            f"Pairs of {pairs.left!r} and {pairs.right!r} changes the fermion parity; both or "
            "neither must be fermionic."
        )
    return all(odd)


def indices_of(op: Any, mode: Ints, tables: Sequence[LocalTable]) -> tuple[Ints, Any]:
    """Return the index of a local operator on every mode, and its factor there."""
    found = [tables[k].add(op) for k in mode]
    index = np.array([row[0] for row in found], dtype=np.int64)
    return index, np.array([row[1] for row in found], dtype=np.complex128)


def _rows(
    coefficients: Any, blocks: Sequence[tuple[Ints, Ints, Ints]]
) -> tuple[Any, Ints, Ints, Ints]:
    term, mode, index = (np.concatenate(column) for column in zip(*blocks, strict=True))
    kept = index > 0
    return coefficients, term[kept], mode[kept], index[kept]


def _fermion_rows(
    pairs: Pairs, mode: Ints, i: Ints, j: Ints, values: Any, tables: Sequence[Any], fermions: Ints
) -> tuple[Any, Ints, Ints, Ints]:
    """Put the string of the later operator on the earlier one, and between the two."""
    position = np.full(len(tables), -1, dtype=np.int64)
    position[fermions] = np.arange(len(fermions))
    if (position[mode] < 0).any():
        raise StructureError("Pairs holds fermions on modes that `order` does not name.")
    at, to = position[mode[i]], position[mode[j]]
    straight = at < to
    left_after, lf = indices_of((pairs.left, SIGN_NAME), mode, tables)
    left_alone, la = indices_of(pairs.left, mode, tables)
    right_alone, ra = indices_of(pairs.right, mode, tables)
    right_after, rf = indices_of((SIGN_NAME, pairs.right), mode, tables)
    coefficients = values * np.where(straight, lf[i] * ra[j], la[i] * rf[j])
    count = np.arange(len(i))
    low, high = np.minimum(at, to), np.maximum(at, to)
    length = high - low - 1
    number = np.repeat(count, length)
    start = np.repeat(low + 1 - np.cumsum(length) + length, length)
    between = fermions[start + np.arange(len(number))]
    sign = np.zeros(len(tables), dtype=np.int64)
    for k in np.unique(between):
        sign[k] = tables[k].add(SIGN_NAME)[0]
    blocks = [
        (count, mode[i], np.where(straight, left_after[i], left_alone[i])),
        (count, mode[j], np.where(straight, right_alone[j], right_after[j])),
        (number, between, sign[between]),
    ]
    return _rows(coefficients, blocks)
