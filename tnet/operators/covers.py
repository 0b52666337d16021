"""Which strings of an edge stay as they are, and which are summed into one: exact channels."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Ints = Any


class Cover(NamedTuple):
    """A sparse matrix (rows x columns) written as a product over channels.

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


def all_rows(row: Ints, column: Ints, coefficient: Any) -> Cover:
    """Give every row a channel of its own."""
    rows = np.unique(row)
    channel = np.arange(len(rows))
    at = np.searchsorted(rows, row)
    ones = np.ones(len(rows), dtype=coefficient.dtype)
    return Cover(len(rows), rows, channel, ones, np.arange(len(row)), at, coefficient)
