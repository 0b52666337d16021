"""Gates: an operator of one- and two-site terms as exponentials, in the order of a tree walk."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from contraction.errors import InputError
from integrators.linear_field import LinearField
from integrators.programs import IDENTITY

Sites: TypeAlias = "tuple[tuple[int, int, int], ...]"  # (node, slot, place) of each factor
Matrix: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"
MOST_TERMS = 2_000_000
MOST_STATES = 2048


class Gate(NamedTuple):
    """The exponential of what acts on one mode or two.

    Attributes
    ----------
    places
        (node, slot) of the modes.
    parts
        For two modes: pairs of matrices whose products add up to the exponential; for one: it
        alone.
    """

    places: tuple[tuple[int, int], ...]
    parts: tuple[tuple[Matrix, ...], ...]


def written_out(field: LinearField) -> list[tuple[complex, Sites]]:
    """Return the terms of a field behind its factor: weights and factors by mode.

    Raises
    ------
    InputError
        A term acts on more than two modes, or there are more than two million.

    Notes
    -----
    From the leaves up, every channel of a bond is a list of products; as many steps as there are
    terms times nodes they pass.
    """
    frame, cores = field.frame, field.cores
    below: dict[int, list[list[tuple[complex, Sites]]]] = {}
    for node in frame.post_order:
        rows: list[list[tuple[complex, Sites]]] = [[] for _ in range(cores.widths[node])]
        for entry in field.entries(node):
            rows[entry.channels[0]] += _products(field, node, entry, below)
        if sum(map(len, rows)) > MOST_TERMS:
            raise InputError(
                f"TEBD writes the operator out, and it has more than {MOST_TERMS} terms; use TDVP."
            )
        for slot in frame.slots[node]:
            below.pop(slot.child, None)
        below[node] = rows
    return below[0][0]


def _products(
    field: LinearField, node: int, entry: Any, below: dict[int, Any]
) -> list[tuple[complex, Sites]]:
    found: list[tuple[complex, Sites]] = [(entry.weight, ())]
    for k, slot in enumerate(field.frame.slots[node]):
        channel = entry.channels[k + 1]
        if slot.child >= 0:
            found = [(w * v, a + b) for w, a in found for v, b in below[slot.child][channel]]
        elif (place := field.cores.places[node][k][channel]) != IDENTITY:
            found = [(w, (*a, (node, k, place))) for w, a in found]
        if found and len(found[0][1]) > 2:
            raise InputError(
                "TEBD exponentiates terms on one or two modes; this operator has longer ones. "
                "Use TDVP or AugmentedBUG."
            )
    return found


@lru_cache(maxsize=32)
def gates(field: LinearField, h: float) -> tuple[Gate, ...]:
    """Return exp(h factor H_ij) for all coupled pairs of modes, in the order of a tree walk.

    What acts on one mode is shared evenly by the pairs it is in. Cached by the identity of the
    field.

    Raises
    ------
    InputError
        As `written_out`, or two modes together have more than 2048 states.
    """
    singles: dict[tuple[int, int], Matrix] = {}
    pairs: dict[tuple[tuple[int, int], tuple[int, int]], Matrix] = {}
    constant: complex = 0.0
    for weight, factors in written_out(field):
        if not factors:
            constant += weight
        elif len(factors) == 1:
            (node, slot, place) = factors[0]
            _add(singles, (node, slot), weight * _dense(field, node, slot, place))
        else:
            one, two = sorted(factors)
            _refuse_large(field, one, two)
            both: Matrix = np.kron(_dense(field, *one), _dense(field, *two))
            _add(pairs, (one[:2], two[:2]), weight * both)
    counts: dict[tuple[int, int], int] = {}
    for pair in pairs:
        for site in pair:
            counts[site] = counts.get(site, 0) + 1
    found = []
    for (a, b), matrix in sorted(pairs.items()):
        whole: Matrix = matrix
        left, right = (_size(field, *site) for site in (a, b))
        if a in singles:
            whole = whole + np.kron(singles[a] / counts[a], np.eye(right, dtype=matrix.dtype))
        if b in singles:
            whole = whole + np.kron(np.eye(left, dtype=matrix.dtype), singles[b] / counts[b])
        found.append(Gate((a, b), _schmidt(_exponential(field, whole, h), left, right)))
    for site, matrix in sorted(singles.items()):
        if site not in counts:
            found.append(Gate((site,), ((_exponential(field, matrix, h),),)))
    return _with_constant(field, found, constant * h)


def _with_constant(field: LinearField, found: list[Gate], exponent: complex) -> tuple[Gate, ...]:
    """Put the exponential of the constant term into one gate."""
    if exponent == 0.0:
        return tuple(found)
    number = np.exp(field.factor * exponent)
    if not found:
        site = next(
            (node, k)
            for node, slots in enumerate(field.frame.slots)
            for k, slot in enumerate(slots)
            if slot.child < 0
        )
        return (Gate((site,), ((number * np.eye(_size(field, *site)),),)),)
    first = found[0]
    parts = tuple((part[0] * number, *part[1:]) for part in first.parts)
    return (first._replace(parts=parts), *found[1:])


def _add(sums: dict[Any, Matrix], key: Any, matrix: Matrix) -> None:
    sums[key] = sums[key] + matrix if key in sums else matrix


def _size(field: LinearField, node: int, slot: int) -> int:
    return int(field.frame.structure.size[field.frame.slots[node][slot].leg])


def _refuse_large(field: LinearField, a: tuple[int, ...], b: tuple[int, ...]) -> None:
    states = _size(field, a[0], a[1]) * _size(field, b[0], b[1])
    if states > MOST_STATES:
        raise InputError(
            f"TEBD needs dense exponentials, and two coupled modes have {states} states together "
            f"(at most {MOST_STATES}); use TDVP."
        )


def _dense(field: LinearField, node: int, slot: int, place: int) -> Matrix:
    from contraction.arrays import to_numpy

    matrix = field.cores.matrices[node][slot][place]
    return np.asarray(matrix.toarray() if hasattr(matrix, "nnz") else to_numpy(matrix))


def _exponential(field: LinearField, matrix: Matrix, h: float) -> Matrix:
    if field.hermitian:
        w, V = np.linalg.eigh(matrix)
        grown: Matrix = (V * np.exp(h * field.factor * w)) @ V.conj().T
        return grown
    from scipy.linalg import expm

    return np.asarray(expm(h * field.factor * matrix))


def _schmidt(gate: Matrix, left: int, right: int) -> tuple[tuple[Matrix, Matrix], ...]:
    """Return pairs of matrices whose Kronecker products add up to a gate."""
    turned = gate.reshape(left, right, left, right).transpose(0, 2, 1, 3)
    U, s, Vh = np.linalg.svd(turned.reshape(left * left, right * right), full_matrices=False)
    count = int(np.count_nonzero(s > 1e-15 * s[0]))
    root = np.sqrt(s)
    return tuple(
        ((U[:, k] * root[k]).reshape(left, left), (Vh[k] * root[k]).reshape(right, right))
        for k in range(count)
    )


def substeps(order: int) -> tuple[float, ...]:
    """Return the lengths of the second-order steps that make a step of the given order.

    Suzuki, Phys. Lett. A 146 (1990) 319.

    Examples
    --------
    >>> substeps(2), round(sum(substeps(4)), 12)
    ((1.0,), 1.0)
    """
    if order <= 2:
        return (1.0,)
    s = 1.0 / (4.0 - 4.0 ** (1.0 / 3.0))
    return (s, s, 1.0 - 4.0 * s, s, s)
