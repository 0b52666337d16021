"""Arrays in files: many in one file that workers map into memory, and single results.

An array keeps the order of its axes in memory, so that what is computed from it is bitwise the
same as from the original. Nothing is pickled. Every file that outlives its process is written
whole or not at all, and says by a checksum whether it is still what was written.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from contraction.errors import CheckpointError

ALIGNED = 64  # bytes: where NumPy likes its arrays to begin
HEADER = 512  # bytes of a result before its entries, at least


class Stored(NamedTuple):
    """Where one array lies in a file, and what it is."""

    dtype: str
    shape: tuple[int, ...]  # as it lies in memory
    axes: tuple[int, ...]  # the permutation that brings the array to C order in memory
    offset: int


def describe(arrays: Sequence[NDArray[Any]]) -> tuple[Stored, ...]:
    """Return how the arrays would lie one after the other in a file.

    Examples
    --------
    >>> describe([np.zeros((2, 3)), np.zeros((2, 3), order="F")])[1]
    Stored(dtype='<f8', shape=(3, 2), axes=(1, 0), offset=64)
    """
    table, offset = [], 0
    for x in arrays:
        axes = _axes(x)
        table.append(Stored(x.dtype.str, tuple(x.shape[a] for a in axes), axes, offset))
        offset += -(-x.nbytes // ALIGNED) * ALIGNED
    return tuple(table)


def digests(arrays: Sequence[NDArray[Any]]) -> list[str]:
    """Return the SHA-256 of the bytes of each array, in the order in which they are stored."""
    return [hashlib.sha256(_bytes(x)).hexdigest() for x in arrays]


def write_arrays(stream: BinaryIO, arrays: Sequence[NDArray[Any]]) -> None:
    """Write the arrays as `describe` says."""
    for x in arrays:
        stream.write(_bytes(x))
        stream.write(bytes(-x.nbytes % ALIGNED))


def read_arrays(path: Path, table: Sequence[Stored]) -> list[NDArray[Any]]:
    """Return arrays that are mapped from a file, read-only.

    Raises
    ------
    CheckpointError
        The file is shorter than `table` says.
    """
    end = max((s.offset + _nbytes(s) for s in table), default=0)
    if path.stat().st_size < end:
        raise CheckpointError(f"{path} has {path.stat().st_size} bytes, expected {end}.")
    buffer: Any = b""
    if end:
        with open(path, "rb") as stream:
            buffer = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    return [_array(buffer, s) for s in table]


def write_result(
    x: NDArray[Any], path: Path, key: str, write: Callable[[Path, Callable[[BinaryIO], None]], None]
) -> None:
    """Write one array with a checksum; `key` says what it is the result of.

    `write` is given the path and a function that fills a stream.
    """
    (stored,), content = describe([x]), _bytes(x)
    facts = {
        "key": key,
        "dtype": stored.dtype,
        "shape": stored.shape,
        "axes": stored.axes,
    }
    text = json.dumps({**facts, "sha256": _checksum(facts, content)}).encode()
    head = text.ljust(max(HEADER, -(-(len(text) + 1) // ALIGNED) * ALIGNED) - 1) + b"\n"

    def fill(stream: BinaryIO) -> None:
        stream.write(head)
        stream.write(content)

    write(path, fill)


def read_result(path: Path, key: str) -> NDArray[Any] | None:
    """Return the array that `write_result` wrote, mapped read-only; None if it is not whole.

    A file that is not there, is damaged, or holds another result counts as none.
    """
    try:
        with open(path, "rb") as stream:
            facts = json.loads(head := stream.readline(1 << 16))
            size = stream.seek(0, 2)
            if facts["key"] != key:
                return None
            shape, axes = map(tuple, (facts["shape"], facts["axes"]))
            stored = Stored(str(np.dtype(facts["dtype"]).str), shape, axes, len(head))
            if size != len(head) + _nbytes(stored):
                return None
            buffer = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        if facts.pop("sha256") != _checksum(facts, memoryview(buffer)[len(head) :]):
            return None
        return _array(buffer, stored)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _checksum(facts: dict[str, Any], content: Any) -> str:
    """Return a hash of an array and of all that is said about it."""
    found = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    found.update(content)
    return found.hexdigest()


def write_plainly(path: Path, fill: Callable[[BinaryIO], None]) -> None:
    """Write a file that nobody needs after this run."""
    try:
        with open(path, "wb") as stream:
            fill(stream)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk names no file
        raise


def _axes(x: NDArray[Any]) -> tuple[int, ...]:
    plain = tuple(range(x.ndim))
    if x.flags.c_contiguous or not x.size or min(x.strides) < 0:
        return plain
    axes = tuple(sorted(plain, key=lambda a: -x.strides[a]))
    return axes if x.transpose(axes).flags.c_contiguous else plain


def _bytes(x: NDArray[Any]) -> Any:
    turned = np.ascontiguousarray(x.transpose(_axes(x)))
    return turned.reshape(-1).view(np.uint8).data


def _nbytes(stored: Stored) -> int:
    return math.prod(stored.shape) * np.dtype(stored.dtype).itemsize


def _array(buffer: Any, stored: Stored) -> NDArray[Any]:
    dtype, shape, axes, offset = stored
    if not math.prod(shape):
        turned: NDArray[Any] = np.empty(shape, dtype=dtype)
    else:
        turned = np.ndarray(shape, dtype=dtype, buffer=buffer, offset=offset)
    back = sorted(range(len(axes)), key=axes.__getitem__)
    return turned.transpose(back) if list(axes) != back or back != sorted(back) else turned
