"""Coordinate files: one entry per line, as text. Errors name the line.

`.csv` and `.tsv`: columns of indices and one of values. A column whose first entry is a whole
number holds positions counted from zero; any other holds labels, numbered as they appear.
`.tns`: lines "i j k value" with indices counted from one and comments after #.
"""

from __future__ import annotations

import csv
import math
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, final

import numpy as np

from contraction.errors import FileFormatError, InputError, MemoryBudgetError
from tnet.readers.common import (
    MOST_DIMENSIONS,
    Duplicates,
    HostArray,
    Loaded,
    Missing,
    Request,
    file_size,
    reading,
)

LONGEST_LINE = 1 << 20
LARGEST_INDEX = 2**62


@final
class Entries:
    """Entries read so far, kept in 8 bytes per number."""

    def __init__(self, order: int, path: Path, request: Request) -> None:
        self.path, self.request = path, request
        self.index = [array("q") for _ in range(order)]
        self.value = array("d")
        self.line = array("q")
        self.size = [0] * order
        self.where = [0] * order  # the line that made each size what it is
        self.labels: list[dict[str, int] | None] = [None] * order

    def add(self, cells: list[str], value: str, line: int, base: int) -> None:
        """Take one entry: text cells of the indices, counted from `base`, and of the value."""
        for axis, cell in enumerate(cells):
            place = self._place(axis, cell, line, base)
            self.index[axis].append(place)
            if place >= self.size[axis]:
                self.size[axis], self.where[axis] = place + 1, line
        self.value.append(self._number(value, line))
        self.line.append(line)
        if len(self.line) % 65536 == 0 and 8 * len(self.line) * (len(cells) + 2) > self._memory:
            raise MemoryBudgetError(
                f"{self.path.name}: more entries than {self._memory} bytes hold, at line {line}."
            )

    @property
    def _memory(self) -> int:
        return self.request.memory

    def _place(self, axis: int, cell: str, line: int, base: int) -> int:
        labels = self.labels[axis]
        if labels is not None:
            return labels.setdefault(cell.strip(), len(labels))
        try:
            place = int(cell)
        except ValueError:
            raise self.error(line, f"index {cell.strip()[:40]!r} is not a whole number") from None
        if place < base or place > LARGEST_INDEX:
            raise self.error(line, f"index {place} is out of range; indices start at {base}")
        return place - base

    def _number(self, text: str, line: int) -> float:
        if not text.strip():
            return math.nan
        try:
            return float(text)
        except ValueError:
            raise self.error(line, f"value {text.strip()[:40]!r} is not a number") from None

    def error(self, line: int, what: str) -> FileFormatError:
        """Return the error that names the line."""
        return FileFormatError(f"{str(self.path)!r}, line {line}: {what}.")

    def dense(self, missing: Missing) -> tuple[HostArray, tuple[str, ...]]:
        """Return the full array, and remarks on what was filled in."""
        if not self.line:
            raise FileFormatError(f"{str(self.path)!r} holds no entry.")
        count = math.prod(self.size)
        if 8 * count > self._memory:
            axis = int(np.argmax(self.size))
            raise MemoryBudgetError(
                f"{str(self.path)!r}: the full array of shape {tuple(self.size)} needs {8 * count} "
                f"bytes, {self._memory} are allowed; line {self.where[axis]} holds the largest "
                f"index, {self.size[axis] - 1} counted from zero."
            )
        index = tuple(np.frombuffer(column, np.int64) for column in self.index)
        flat = np.ravel_multi_index(index, tuple(self.size))
        values = np.frombuffer(self.value, np.float64)
        self._check_duplicates(flat)
        listed = np.zeros(count, np.bool_)
        listed[flat] = True
        absent = count - int(np.count_nonzero(listed))
        full = np.bincount(flat, weights=values, minlength=count)
        notes: tuple[str, ...] = ()
        if absent:
            full[~listed] = math.nan if missing is Missing.NAN else 0.0
            what = "missing" if missing is Missing.NAN else "zero"
            notes = (f"{absent} of {count} entries are not listed: {what}",)
        return full.reshape(self.size), notes

    def _check_duplicates(self, flat: HostArray) -> None:
        if self.request.duplicates is Duplicates.SUM:
            return
        order = np.argsort(flat, kind="stable")
        same = np.flatnonzero(np.diff(flat[order]) == 0)
        if len(same):
            lines = np.frombuffer(self.line, np.int64)[order]
            at = same[np.argmin(lines[same + 1])]
            raise self.error(
                int(lines[at + 1]), f"the same coordinate as line {int(lines[at])}, which is listed"
            )


def _lines(path: Path) -> Iterator[str]:
    """Yield the lines of a text file; refuse one that is too long to be a line."""
    with open(path, encoding="utf-8-sig", newline="") as stream:
        number = 0
        while text := stream.readline(LONGEST_LINE):
            number += 1
            if len(text) == LONGEST_LINE:
                raise FileFormatError(f"{str(path)!r}, line {number}: longer than any line.")
            if "\0" in text:
                raise FileFormatError(f"{str(path)!r}, line {number}: a NUL character; not text.")
            yield text


def read_tns(path: Path, request: Request) -> Loaded:
    """Read a .tns file; what it does not list is zero unless the request says otherwise."""
    file_size(path)
    entries: Entries | None = None
    with reading(path):
        for number, text in enumerate(_lines(path), 1):
            cells = text.partition("#")[0].split()
            if not cells:
                continue
            if entries is None:
                entries = Entries(_order(len(cells) - 1, path), path, request)
            if len(cells) != len(entries.size) + 1:
                raise entries.error(
                    number, f"{len(cells)} numbers, where {len(entries.size) + 1} are expected"
                )
            entries.add(cells[:-1], cells[-1], number, 1)
        if entries is None:
            raise FileFormatError(f"{str(path)!r} holds no entry.")
        full, notes = entries.dense(request.missing or Missing.ZERO)
    return Loaded(array=full, notes=notes)


def read_csv(path: Path, request: Request) -> Loaded:
    """Read a CSV file of coordinates; what it does not list is NaN unless told otherwise."""
    file_size(path)
    with reading(path):
        rows = _rows(path)
        first = next(rows, (1, []))
        header = [cell.strip() for cell in first[1]]
        named = not all(_is_number(cell) for cell in header)
        columns = header if named else [f"x{i}" for i in range(len(header))]
        coords, value = _columns(columns, request, path)
        entries = Entries(_order(len(coords), path), path, request)
        started = False
        for number, cells in rows if named else _chain(first, rows):
            if len(cells) != len(columns):
                raise entries.error(number, f"{len(cells)} cells, expected {len(columns)}")
            chosen = [cells[k] for k in coords]
            if not started:
                entries.labels = [None if _is_whole(cell) else {} for cell in chosen]
                started = True
            entries.add(chosen, cells[value], number, 0)
        full, notes = entries.dense(request.missing or Missing.NAN)
    return Loaded(array=full, names=tuple(columns[k] for k in coords), notes=notes)


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, cells) of every line that is not empty."""
    lines = _lines(path)
    head = next(lines, "")
    mark = max("\t;,", key=head.count)  # the comma where none occurs
    mark = mark if head.count(mark) else ","
    reader = csv.reader(_chain(head, lines), delimiter=mark, strict=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, cells
    except csv.Error as error:
        raise FileFormatError(f"{str(path)!r}, line {reader.line_num}: {error}.") from error


def _chain(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def _order(order: int, path: Path) -> int:
    if not 1 <= order <= MOST_DIMENSIONS:
        raise FileFormatError(f"{str(path)!r} has {order} index columns; 1 to {MOST_DIMENSIONS}.")
    return order


def _columns(columns: list[str], request: Request, path: Path) -> tuple[list[int], int]:
    """Return the positions of the index columns and of the value column."""
    if len(set(columns)) != len(columns):
        raise FileFormatError(f"{str(path)!r}, line 1: two columns of one name: {columns[:12]}.")
    for name in (*(request.coords or ()), *([request.value] if request.value else ())):
        if name not in columns:
            raise InputError(f"{str(path)!r} has no column {name!r}; it has {columns[:12]}.")
    value = request.value
    if value is None:
        left = [name for name in columns if name not in (request.coords or ())]
        value = "value" if "value" in left else (left[-1] if left else None)
    if value is None or value in (request.coords or ()):
        raise InputError(f"{str(path)!r} has no column left for the values; say which (--value).")
    coords = request.coords or tuple(name for name in columns if name != value)
    if len(set(coords)) != len(coords):
        raise InputError(f"an index column is named twice: {list(coords)}.")
    return [columns.index(name) for name in coords], columns.index(value)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_whole(text: str) -> bool:
    try:
        int(text)
    except ValueError:
        return False
    return True
