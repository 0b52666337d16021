"""Rows: entries grouped by one node's index, so that all its rows are solved in batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from contraction import arrays as arrays_
from contraction.arrays import Array, namespace, namespace_name
from contraction.errors import ConvergenceError
from tnet.als.entries import beside

LENGTHS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
LARGE = 48  # columns from which systems are factorised one by one
PER_BLOCK = 16  # entries that starting a block is worth


@dataclass(frozen=True, eq=False)
class RowPlan:
    """The entries of every row, cut to blocks of one length.

    Attributes
    ----------
    entries
        (blocks, length): places of entries; blocks of one row follow each other.
    valid
        1 where `entries` is an entry, 0 where it is filling; None if there is no filling.
    row_of_block
        The row of each block, on the host, never falling.
    rows
        Number of rows.
    """

    entries: Array
    valid: Array | None
    row_of_block: np.ndarray[Any, np.dtype[np.int64]]
    rows: int

    def portions(self, columns: int, width: int, most: int) -> Iterator[tuple[slice, list[slice]]]:
        """Yield ranges of rows with the ranges of their blocks, so that `most` numbers are held."""
        height = max(1, most // columns**2)
        length = int(self.entries.shape[1])
        step = max(1, most // max(length * width, columns**2))
        for first in range(0, self.rows, height):
            rows = slice(first, min(first + height, self.rows))
            begin, end = np.searchsorted(self.row_of_block, (rows.start, rows.stop))
            blocks = [slice(k, min(k + step, int(end))) for k in range(int(begin), int(end), step)]
            yield rows, blocks


def row_plan(key: np.ndarray[Any, np.dtype[np.int64]], rows: int, like: Array) -> RowPlan:
    """Group entries by `key` (the row of each), in blocks of the length that wastes least."""
    order = np.argsort(key, kind="stable")
    counts = np.bincount(key, minlength=rows)

    def work(length: int) -> int:
        blocks = -(-counts // length)
        return int(blocks.sum()) * (length + PER_BLOCK)

    length = min(LENGTHS, key=work)
    blocks = -(-counts // length)
    row_of_block = np.repeat(np.arange(rows), blocks)
    ends = np.cumsum(counts)
    first_block = np.cumsum(blocks) - blocks
    within = np.arange(len(row_of_block)) - first_block[row_of_block]
    begins = (ends - counts)[row_of_block] + length * within
    places = begins[:, None] + np.arange(length)
    valid = places < ends[row_of_block][:, None]
    entries = order[np.where(valid, places, 0)]
    filled = None
    if not valid.all():
        filled = namespace(like).astype(beside(valid, like), like.dtype)
    return RowPlan(beside(entries, like), filled, row_of_block, rows)


def segment_sums(total: Any, ids: np.ndarray[Any, np.dtype[np.int64]], parts: Any) -> Any:
    """Return `total` with each of `parts` added to the row that `ids` (never falling) names."""
    if len(ids) == 0:
        return total
    starts = np.flatnonzero(np.diff(ids, prepend=-1))
    if namespace_name(total) == "numpy":
        total[ids[starts]] += np.add.reduceat(parts, starts, axis=0)
        return total
    xp = namespace(total)
    where = beside(ids, total)
    if namespace_name(total) == "torch":
        return total.index_add(0, where, parts)
    xp.add.at(total, where, parts)
    return total


def solve_rows(G: Array, rhs: Array, old: Array, ridge: float, proximal: float) -> Array:
    """Solve W_i (G_i + ridge) = rhs_i for all rows i at once.

    A proximal term towards the old rows keeps rows solvable that their entries do not
    determine, without a ridge as well.

    Parameters
    ----------
    G
        (rows, n, n), Hermitian positive semidefinite.
    rhs, old
        (rows, n).
    ridge, proximal
        Absolute, and relative to the mean diagonal.
    """
    xp: Any = namespace(G)
    count, n = rhs.shape
    mean = float(xp.sum(xp.real(xp.linalg.diagonal(G)))) / (count * n)
    mu = proximal * mean if mean > 0.0 else 1.0
    eye = xp.eye(n, dtype=rhs.dtype, device=arrays_.device(rhs))
    shifted = xp.conj(G) + (ridge + mu) * eye
    wanted = (rhs + mu * old)[:, :, None]
    if n >= LARGE and namespace_name(rhs) == "numpy":
        found = _by_cholesky(shifted, wanted)
        if found is not None:
            return found
    try:
        W = xp.linalg.solve(shifted, wanted)[:, :, 0]
    except Exception as error:  # each library raises its own class for a singular matrix
        if "singular" not in str(error).lower():
            raise
        W = None
    if W is not None and bool(xp.all(xp.isfinite(W))):
        return W  # type: ignore[no-any-return]
    return _by_eigenvalues(shifted, wanted, xp)


@lru_cache(maxsize=4)
def cholesky(kind: str) -> tuple[Any, Any]:
    """Return LAPACK's routines that factorise and solve, for a dtype."""
    from scipy.linalg import lapack

    letter = {"float64": "d", "complex128": "z"}[kind]
    return getattr(lapack, f"{letter}potrf"), getattr(lapack, f"{letter}potrs")


def _by_cholesky(shifted: Any, wanted: Any) -> Array | None:
    """Solve large systems one after the other at half the cost; None if one is not definite."""
    potrf, potrs = cholesky(arrays_.dtype_name(shifted))
    W = np.empty(wanted.shape[:2], dtype=wanted.dtype)
    for k, matrix in enumerate(shifted):
        # the transpose lies as LAPACK wants it; of a Hermitian matrix it is the conjugate
        L, info = potrf(matrix.T, lower=1, clean=0)
        if info:
            return None
        x, info = potrs(L, wanted[k].conj(), lower=1)
        W[k] = x[:, 0].conj()
    return W if np.isfinite(W).all() else None


def _by_eigenvalues(shifted: Any, wanted: Any, xp: Any) -> Array:
    if not bool(xp.all(xp.isfinite(shifted))):
        raise ConvergenceError(
            "the normal equations of a node are not finite; scale the values, lower the ranks "
            "or raise `ridge`."
        )
    w, V = xp.linalg.eigh(shifted)
    least = w[:, -1:] * (w.shape[-1] * arrays_.eps(shifted))
    inverse = xp.where(w > least, 1.0 / xp.where(w > least, w, xp.ones_like(w)), xp.zeros_like(w))
    inner = xp.matrix_transpose(xp.conj(V)) @ wanted
    found: Array = (V @ (xp.astype(inverse, V.dtype)[:, :, None] * inner))[:, :, 0]
    return found
