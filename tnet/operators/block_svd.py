"""Singular value decomposition of a sparse matrix, one connected block at a time."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from contraction import linalg

Ints = Any
TOGETHER = 1e-6  # relative difference of singular values that are one, but for rounding
LARGEST = 2**24  # entries of a block that is still decomposed; larger ones keep all their rows


class Factors(NamedTuple):
    """Orthonormal columns (sparse, rows x width), what they multiply, and the discarded weight."""

    left: Any
    right: Any
    discarded: float


class _Block(NamedTuple):
    rows: Ints
    columns: Ints
    left: Any
    values: Any
    right: Any


def block_svd(matrix: Any, allowed: float) -> Factors:
    """Factorise a CSR matrix, leaving out singular values of squared sum up to `allowed`.

    Rows and columns that no entry connects stay apart, so that operators of different kinds keep
    channels of their own. A block whose rank is its number of rows keeps its rows as they are.
    """
    from scipy import sparse

    rows, columns = matrix.shape
    entries = matrix.tocoo()
    if rows == 1 and matrix.nnz and float(np.sum(np.abs(matrix.data) ** 2)) > allowed:
        return Factors(sparse.csr_array(np.ones((1, 1), dtype=matrix.dtype)), matrix, 0.0)
    label = _labels(entries, rows, columns)
    high = np.bincount(label[:rows], minlength=label.max() + 1)
    wide = np.bincount(label[rows:], minlength=label.max() + 1)
    simple = (high <= 1) | (wide <= 1) | (high * wide > LARGEST)
    rows_by, columns_by = _by_label(label[:rows], high), _by_label(label[rows:], wide)
    blocks = [
        _decomposed(matrix, rows_by[k], columns_by[k]) for k in np.flatnonzero(~simple).tolist()
    ]
    lone = _simple(entries, label, high, wide, simple[label[:rows]])
    values = np.concatenate([lone.values, *(block.values for block in blocks)])
    keep = _kept(values, allowed)
    parts = [_chosen(lone, keep)]
    start, width = len(lone.values), int(keep[: len(lone.values)].sum())
    for block in blocks:
        kept = keep[start : start + len(block.values)]
        parts.append(_block_entries(block, kept, width))
        start, width = start + len(kept), width + int(kept.sum())
    left = [np.concatenate(column) for column in zip(*(p[0] for p in parts), strict=True)]
    right = [np.concatenate(column) for column in zip(*(p[1] for p in parts), strict=True)]
    return Factors(
        sparse.csr_array((left[2], (left[0], left[1])), shape=(rows, width)),
        sparse.csr_array((right[2], (right[0], right[1])), shape=(width, columns)),
        float(np.sum(values[~keep] ** 2)),
    )


def _kept(values: Any, allowed: float) -> Any:
    """Choose the singular values to keep.

    Equal ones stay together: a string and its adjoint have them, and an operator that lost one
    of the two would no longer be Hermitian.
    """
    ordered = np.sort(values)
    count = int(np.searchsorted(np.cumsum(ordered**2), allowed, side="right"))
    if count == len(values):
        return np.zeros(count, dtype=bool)
    return values >= ordered[count] * (1 - TOGETHER)


def _labels(entries: Any, rows: int, columns: int) -> Ints:
    """Give numbers to the blocks; rows come first, then columns."""
    from scipy import sparse
    from scipy.sparse import csgraph

    if entries.nnz == rows * columns:
        return np.zeros(rows + columns, dtype=np.int64)
    size = rows + columns
    row, column = entries.coords
    graph = sparse.coo_array((np.ones(entries.nnz), (row, column + rows)), shape=(size, size))
    label: Ints = csgraph.connected_components(graph.tocsr(), directed=False)[1]
    return label


def _by_label(label: Ints, count: Ints) -> list[Ints]:
    return np.split(np.argsort(label, kind="stable"), np.cumsum(count)[:-1])


def _decomposed(matrix: Any, rows: Ints, columns: Ints) -> _Block:
    whole = len(rows) == matrix.shape[0] and len(columns) == matrix.shape[1]
    dense = (matrix if whole else matrix[rows][:, columns]).toarray()
    left, values, right = linalg.svd(dense)
    return _Block(rows, columns, left, values, right)


class _Lone(NamedTuple):
    """Channels of blocks of one row or one column: their entries and singular values."""

    left: tuple[Ints, Ints, Any]
    right: tuple[Ints, Ints, Any]
    values: Any


def _simple(entries: Any, label: Ints, high: Ints, wide: Ints, simple_row: Any) -> _Lone:
    """Factorise all blocks of one column at once, and give rows of other simple ones a channel.

    Blocks too large to decompose keep their rows, too; nothing is then left out of them.
    """
    row, column = entries.coords
    block = label[row]
    square = np.bincount(row, np.abs(entries.data) ** 2, minlength=len(simple_row))
    tall = (wide == 1) & (high > 1)
    by_row = np.flatnonzero(simple_row & ~tall[label[: len(simple_row)]])
    by_column = np.flatnonzero(tall)
    large = high * wide > LARGEST
    weight = np.bincount(block, np.abs(entries.data) ** 2, minlength=len(high))[by_column]
    values = np.sqrt(np.concatenate([square[by_row], weight]))
    values[: len(by_row)][large[label[by_row]] & (high[label[by_row]] > 1)] = np.inf
    channel_of_row = np.full(len(simple_row), -1, dtype=np.int64)
    channel_of_row[by_row] = np.arange(len(by_row))
    channel_of_block = np.full(len(high), -1, dtype=np.int64)
    channel_of_block[by_column] = len(by_row) + np.arange(len(by_column))
    own = channel_of_row[row] >= 0
    summed = channel_of_block[block] >= 0
    norm = np.sqrt(np.bincount(block, np.abs(entries.data) ** 2, minlength=len(high)))
    alone = np.unique(column[summed], return_index=True)[1]
    at = np.flatnonzero(summed)[alone]
    ones = np.ones(len(by_row), dtype=entries.data.dtype)
    left = (
        np.concatenate([by_row, row[summed]]),
        np.concatenate([np.arange(len(by_row)), channel_of_block[block[summed]]]),
        np.concatenate([ones, entries.data[summed] / norm[block[summed]]]),
    )
    right = (
        np.concatenate([channel_of_row[row[own]], channel_of_block[block[at]]]),
        np.concatenate([column[own], column[at]]),
        np.concatenate([entries.data[own], norm[block[at]]]),
    )
    return _Lone(left, right, values)


def _chosen(lone: _Lone, keep: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Keep some channels, in new numbers."""
    kept = keep[: len(lone.values)]
    number = np.cumsum(kept) - 1
    here, there = kept[lone.left[1]], kept[lone.right[0]]
    left = (lone.left[0][here], number[lone.left[1][here]], lone.left[2][here])
    right = (number[lone.right[0][there]], lone.right[1][there], lone.right[2][there])
    return left, right


def _block_entries(block: _Block, kept: Any, width: int) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return the entries of the kept channels of one block, numbered from `width`."""
    count = int(kept.sum())
    u, g = block.left[:, kept], block.values[kept, None] * block.right[kept]
    if count == len(block.rows):
        u, g = np.eye(count, dtype=u.dtype), u @ g
    channel = np.arange(width, width + count)
    left = (np.repeat(block.rows, count), np.tile(channel, len(block.rows)), u.reshape(-1))
    right = (np.repeat(channel, len(block.columns)), np.tile(block.columns, count), g.reshape(-1))
    return left, right
