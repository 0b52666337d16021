"""Which strings of an edge stay as they are, and which are summed into one: exact channels.

An edge is a sparse matrix of coefficients: rows are what terms hold inside, columns what they
hold outside. A channel is either a row (paired with the sum of what it multiplies outside) or a
column (paired with the sum of what multiplies it inside), and the fewest that write all entries
are a minimum vertex cover of the bipartite graph of the entries, by Koenig's theorem from a
maximum matching (Hopcroft and Karp, SIAM J. Comput. 2 (1973) 225). Rows that are multiples of
each other are one row before, and so are columns: all-to-all equal terms have one channel.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tnet.operators.grouping import hash_of

Ints = Any
NEAR = 1e-12  # sums of normalised entries that may belong to proportional rows
EQUAL = 2e-13  # and how near every entry must be: rounding of coefficients, no more


class Cover(NamedTuple):
    """A sparse matrix (rows x columns) written as a product over `width` channels.

    The entries of the left factor are (row, channel, weight); those of the right factor are
    `kept`, a choice of the matrix' own entries, each with a channel and a new coefficient.
    """

    width: int
    row: Ints
    channel: Ints
    weight: Any
    kept: Ints
    kept_channel: Ints
    kept_coefficient: Any


class Classes(NamedTuple):
    """Proportional rows: row r is `ratio[r]` times the row `chosen[which[r]]`."""

    which: Ints
    ratio: Any
    chosen: Ints


def proportional(row: Ints, column: Ints, value: Any, count: int) -> Classes:
    """Find the rows of a sparse matrix that are multiples of each other.

    Parameters
    ----------
    row, column, value
        The entries, each place once; all of the rows 0, ..., count - 1 have one.

    Notes
    -----
    Rows with the same pattern are sorted by one random combination of their entries over the
    first, and neighbours compared entry by entry: the cost is that of sorting the entries.
    """
    if count <= 1:
        return Classes(np.zeros(count, int), np.ones(count), np.zeros(count, int))
    order = np.lexsort((column, row))
    ordered, values = row[order], value[order]
    start = np.searchsorted(ordered, np.arange(count))
    first = values[start]
    normal = values / first[ordered]
    names = hash_of(0, column[order] + 1)
    pattern = np.add.reduceat(names, start)
    dice = 1.0 + (names[:, 0] >> np.uint64(12)).astype(np.float64) * 2.0**-52
    flat = normal.real + 0.618 * normal.imag if normal.dtype.kind == "c" else normal
    probe = np.add.reduceat(flat * dice, start)
    scale = np.add.reduceat(np.abs(normal) * dice, start)
    sorted_ = np.lexsort((probe, pattern[:, 1], pattern[:, 0]))
    before, after = sorted_[:-1], sorted_[1:]
    linked = (pattern[before] == pattern[after]).all(axis=1)
    linked &= np.abs(probe[after] - probe[before]) <= NEAR * scale[after]
    number = np.cumsum(np.concatenate([[True], ~linked])) - 1
    leader = np.empty(count, dtype=np.int64)
    leader[sorted_] = sorted_[np.concatenate([[True], ~linked])][number]
    twin = start[leader[ordered]] + np.arange(len(ordered)) - start[ordered]
    differs = np.abs(normal - normal[twin]) > EQUAL * np.abs(normal[twin])
    leader[ordered[differs]] = ordered[differs]
    chosen, which = np.unique(leader, return_inverse=True)
    return Classes(which, first / first[leader], chosen)


def minimum_cover(row: Ints, column: Ints, value: Any) -> Cover:
    """Write a sparse matrix with the fewest channels that its pattern and ratios allow.

    Rows and columns are numbered from 0 without gaps; each place occurs once.
    """
    if len(row) == 0:
        none = np.zeros(0, dtype=np.int64)
        return Cover(0, none, none, value, none, none, value)
    count = int(row.max()) + 1
    if count == len(row) == int(column.max()) + 1:  # every row meets a column of its own
        whole, ones = np.arange(count), np.ones(count, dtype=value.dtype)
        return Cover(count, whole, whole, ones, whole, row, value)
    rows = proportional(row, column, value, count)
    led = np.flatnonzero(rows.chosen[rows.which[row]] == row)  # entries of the chosen rows
    columns = proportional(column[led], rows.which[row[led]], value[led], int(column.max()) + 1)
    both = led[columns.chosen[columns.which[column[led]]] == column[led]]
    by_row, by_column = vertex_cover(
        rows.which[row[both]],
        columns.which[column[both]],
        len(rows.chosen),
        len(columns.chosen),
    )
    row_channel = np.cumsum(by_row) - 1
    column_channel = np.cumsum(by_column) - 1 + int(by_row.sum())
    kept_row = by_row[rows.which]  # per row, from here on
    whole = np.flatnonzero(kept_row)
    summed = np.flatnonzero(~kept_row[row])
    summed = summed[columns.chosen[columns.which[column[summed]]] == column[summed]]
    free = led[~kept_row[row[led]]]
    _, once = np.unique(column[free], return_index=True)
    free = free[once]
    own = led[kept_row[row[led]]]
    return Cover(
        width=int(by_row.sum() + by_column.sum()),
        row=np.concatenate([whole, row[summed]]),
        channel=np.concatenate(
            [row_channel[rows.which[whole]], column_channel[columns.which[column[summed]]]]
        ),
        weight=np.concatenate([rows.ratio[whole], value[summed]]),
        kept=np.concatenate([own, free]),
        kept_channel=np.concatenate(
            [row_channel[rows.which[row[own]]], column_channel[columns.which[column[free]]]]
        ),
        kept_coefficient=np.concatenate([value[own], columns.ratio[column[free]]]),
    )


def vertex_cover(row: Ints, column: Ints, rows: int, columns: int) -> tuple[Any, Any]:
    """Return which rows and which columns are in a minimum vertex cover.

    Every row and every column has an entry.
    """
    if rows <= columns and rows == 1:
        return np.ones(1, dtype=bool), np.zeros(columns, dtype=bool)
    if columns == 1:
        return np.zeros(rows, dtype=bool), np.ones(1, dtype=bool)
    from scipy import sparse
    from scipy.sparse import csgraph

    ones = np.ones(len(row), dtype=np.int8)
    graph = sparse.csr_array((ones, (row, column)), shape=(rows, columns))
    partner = csgraph.maximum_bipartite_matching(graph, perm_type="column")
    matched = np.flatnonzero(partner >= 0)
    if len(matched) == rows:
        return np.ones(rows, dtype=bool), np.zeros(columns, dtype=bool)
    # what unmatched rows reach by ways that alternate: any entry there, a matched one back
    single = np.flatnonzero(partner < 0)
    tail = np.concatenate([np.full(len(single), rows + columns), row, partner[matched] + rows])
    head = np.concatenate([single, column + rows, matched])
    size = rows + columns + 1
    ways = sparse.csr_array((np.ones(len(tail), dtype=np.int8), (tail, head)), shape=(size, size))
    seen = np.zeros(size, dtype=bool)
    found = csgraph.breadth_first_order(ways, size - 1, return_predecessors=False)
    seen[found] = True
    return ~seen[:rows], seen[rows : rows + columns]
