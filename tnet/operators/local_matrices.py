"""Local matrices by name, and one canonical form for every local matrix.

Up to a number, every local matrix is kept once: ``2 z`` is ``z`` with the coefficient 2, and the
imaginary ``y`` is 1j times a real matrix, so that ``y y`` stays real.
"""

from __future__ import annotations

import difflib
import math
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from contraction import arrays as arrays_
from contraction.errors import DTypeError, InputError, NonFiniteError, ShapeError

Matrix: TypeAlias = Any  # a NumPy array (n, n), or a scipy.sparse matrix of that shape
LARGE = 256  # named matrices of more rows than this are sparse
PAULI = ("x", "y", "z", "+", "-")
SPIN = ("sx", "sy", "sz", "s+", "s-")
BOSON = ("b", "bdag", "n")
FERMION = ("c", "cdag")
NAMES = ("id", *PAULI, *SPIN, *BOSON, *FERMION)


class Canonical(NamedTuple):
    """A local matrix as `factor` times a representative; `key` is equal for proportional ones."""

    matrix: Matrix
    factor: complex
    key: tuple[Any, ...]


def local_operator(name: str, size: int) -> Matrix:
    """Return the local matrix called `name` on a mode of `size` states.

    Parameters
    ----------
    name
        ``"id"``; Pauli ``"x", "y", "z", "+", "-"`` (size 2; index 0 is up); spin ``"sx", "sy",
        "sz", "s+", "s-"`` (spin S on 2S + 1 states, index 0 has the largest sz); boson ``"b",
        "bdag", "n"`` (n = diag(0, 1, ...), cut off at `size` states); fermion ``"c", "cdag"``
        (size 2, index 1 occupied; without its Jordan-Wigner string, which `operator` adds).
    size
        Number of states.

    Returns
    -------
    matrix
        float64 (complex128 for ``"y"`` and ``"sy"``); scipy.sparse CSR above 256 states.

    Raises
    ------
    InputError
        The name is not known.
    ShapeError
        The matrix does not exist for this size.

    Examples
    --------
    >>> local_operator("z", 2)
    array([[ 1.,  0.],
           [ 0., -1.]])
    """
    if name not in NAMES:
        close = difflib.get_close_matches(name.lower(), NAMES, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise InputError(
            f"there is no local operator {name!r}; {hint}known are {', '.join(NAMES)}, and any "
            "matrix can be given as an array."
        )
    if name in PAULI + FERMION and size != 2:
        other = "spin operators (sx, sz, ...)" if name in PAULI else "boson operators (b, bdag, n)"
        raise ShapeError(
            f"local operator {name!r} acts on 2 states, but the mode has {size}; for larger modes "
            f"there are {other}, or give a matrix."
        )
    return _named(name, size)


@lru_cache(maxsize=512)
def _named(name: str, size: int) -> Matrix:
    from scipy import sparse  # a tenth of a second, and only operators need it

    n = np.arange(size, dtype=np.float64)
    spin = (size - 1) / 2
    ladder = np.sqrt(np.maximum(spin * (spin + 1) - (spin - n[1:]) * (spin - n[1:] + 1), 0.0))
    shift = {"+": np.ones(1), "s+": ladder, "b": np.sqrt(n[1:]), "c": np.ones(1)}
    raising, lowering = shift.get(name), shift.get({"-": "+", "s-": "s+"}.get(name, name[:-3]))
    if raising is not None:
        found = sparse.diags([raising], [1], shape=(size, size))
    elif lowering is not None:
        found = sparse.diags([lowering], [-1], shape=(size, size))
    elif name in ("x", "sx"):
        half = np.ones(1) if name == "x" else ladder / 2
        found = sparse.diags([half, half], [1, -1], shape=(size, size))
    elif name in ("y", "sy"):
        half = np.ones(1) if name == "y" else ladder / 2
        found = sparse.diags([-1j * half, 1j * half], [1, -1], shape=(size, size))
    else:
        diagonal = {"id": np.ones(size), "n": n, "z": 1 - 2 * n, "sz": spin - n}[name]
        found = sparse.diags([diagonal], [0], shape=(size, size))
    return _frozen(found.tocsr() if size > LARGE else found.toarray())


def _frozen(matrix: Matrix) -> Matrix:
    for held in (matrix.data, matrix.indices, matrix.indptr) if is_sparse(matrix) else (matrix,):
        held.setflags(write=False)
    return matrix


def is_sparse(matrix: Any) -> bool:
    """Tell whether `matrix` is a scipy.sparse matrix or array."""
    return type(matrix).__module__.startswith("scipy.sparse")


def as_matrix(given: Any, size: int, what: str) -> Matrix:
    """Return what a caller gave for one local operator as a matrix of `size` rows, checked."""
    if isinstance(given, str):
        return local_operator(given, size)
    if is_sparse(given):
        matrix = given.tocsr()
    else:
        try:
            matrix = np.asarray(arrays_.to_numpy(given))
        except (TypeError, ValueError) as error:
            raise DTypeError(f"{what} is no matrix: {error}.") from error
    if matrix.dtype.kind not in "biufc":
        raise DTypeError(f"{what} holds {matrix.dtype}; expected real or complex numbers.")
    if matrix.shape != (size, size):
        raise ShapeError(
            f"{what} has shape {tuple(matrix.shape)}, but its mode has {size} states: expected "
            f"({size}, {size})."
        )
    wide = np.complex128 if matrix.dtype.kind == "c" else np.float64
    matrix = matrix.astype(wide)  # a copy: nothing of the caller's is kept
    if not np.isfinite(matrix.data if is_sparse(matrix) else matrix).all():
        raise NonFiniteError(f"{what} holds NaN or infinity; every entry must be finite.")
    return matrix


def canonical(matrix: Matrix) -> Canonical | None:
    """Return the canonical form of a matrix, or None for the zero matrix.

    Divided by their first nonzero entries, proportional matrices are equal. The matrix itself is
    kept as it came, turned into a real one if a phase does that.
    """
    if is_sparse(matrix):
        matrix = matrix.copy()
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        entries = matrix.data
        place: tuple[Any, ...] = (matrix.indptr.tobytes(), matrix.indices.tobytes())
    else:
        entries = matrix[matrix != 0]
        place = ((matrix != 0).tobytes(),)
    if entries.size == 0:
        return None
    pivot = complex(entries[0])
    scaled = entries / pivot
    real = entries.dtype.kind != "c" or not scaled.imag.any()
    shown = (scaled.real if real else scaled) + 0.0
    key = (matrix.shape[0], is_sparse(matrix), real, *place, shown.tobytes())
    if entries.dtype.kind != "c":
        return Canonical(_frozen(matrix), 1.0, key)
    phase = pivot / abs(pivot) if real else 1.0
    turned = matrix / phase if phase != 1.0 else matrix
    if real:
        turned = turned.real.copy()
    return Canonical(_frozen(turned), complex(phase), key)


@lru_cache(maxsize=512)
def _identity_keys(size: int) -> tuple[Any, ...]:
    from scipy import sparse

    # a large one is compared as sparse alone: a dense matrix of that size is no identity
    kinds = [sparse.eye_array(size, format="csr")] + ([np.eye(size)] if size <= LARGE else [])
    return tuple(found.key for found in map(canonical, kinds) if found is not None)


def is_identity_key(key: tuple[Any, ...], size: int) -> bool:
    """Tell whether a canonical form is a multiple of the identity."""
    return key in _identity_keys(size)


def pivot(matrix: Matrix) -> complex:
    """Return the first nonzero entry of a matrix, row by row."""
    if is_sparse(matrix):
        return complex(matrix.data[0])
    return complex(matrix[matrix != 0][0])


def mean_square(matrix: Matrix) -> float:
    """Return the squared Frobenius norm of a matrix over its number of rows."""
    entries = matrix.data if is_sparse(matrix) else matrix
    return math.fsum(np.abs(entries.reshape(-1)) ** 2) / int(matrix.shape[0])
