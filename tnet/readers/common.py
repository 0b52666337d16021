"""What every reader shares: the request, the answer, the limits, and one way to fail.

A file is looked at in this order: kind of file, size, header, limits, and only then memory is
allocated. Nothing read from a file is ever executed.
"""

from __future__ import annotations

import importlib
import math
import os
import stat
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from contraction.errors import (
    DeviceError,
    DTypeError,
    FileFormatError,
    InputError,
    MemoryBudgetError,
    TnetError,
)
from tnet.memory import available_memory as available_memory

HostArray: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

MOST_DIMENSIONS = 64
MOST_MEMBERS = 100_000
MOST_HEADER_BYTES = 16 * 1024**2
LARGEST_RATIO = 1000  # of unpacked to packed bytes
HARMLESS_BYTES = 64 * 1024**2  # below this no ratio is suspicious


class Missing(Enum):
    """What stands for an entry that is missing."""

    NAN = "nan"
    ZERO = "zero"


class Duplicates(Enum):
    """What a coordinate that is listed twice means."""

    REFUSE = "refuse"
    SUM = "sum"


class SeveralArraysError(InputError):
    """A file holds several arrays and none was named; `names` lists them."""

    def __init__(self, message: str, names: Sequence[str]) -> None:
        super().__init__(message)
        self.names = tuple(names)


@dataclass(frozen=True, kw_only=True)
class Request:
    """How to read a file.

    Attributes
    ----------
    key
        Which array of a file that holds several.
    memory
        Bytes that may be allocated.
    missing
        What an unlisted entry of a coordinate file becomes; None leaves it to the format.
    coords, value
        The columns of a CSV file.
    duplicates
        What a coordinate listed twice means.
    """

    key: str | None = None
    memory: int
    missing: Missing | None = None
    coords: tuple[str, ...] | None = None
    value: str | None = None
    duplicates: Duplicates = Duplicates.REFUSE


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What a reader found: an array, the names of its axes (or none), and remarks."""

    array: HostArray
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    key: str | None = None


def need(module: str, extra: str) -> Any:
    """Import an optional `module`, or raise `DeviceError` saying how to install it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        raise DeviceError(
            f"reading this needs {name}, which is not installed; `pip install '{extra}'` brings it."
        ) from error


def file_size(path: Path) -> int:
    """Return the size of the regular file `path`; refuse anything else.

    Raises
    ------
    InputError
        The path is missing, a folder, a pipe or a device, or cannot be read.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise InputError(f"{str(path)!r} is not a regular file.")
        if not os.access(path, os.R_OK):
            raise InputError(f"{str(path)!r} cannot be read: permission denied.")
    except OSError as error:
        raise InputError(f"{str(path)!r} cannot be read: {error.strerror}.") from error
    return found.st_size


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever a parser raises over a damaged file into `FileFormatError`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # parsers warn about the files they then refuse
            yield
    except (TnetError, MemoryError):
        raise
    except OSError as error:
        if error.errno is None:
            raise _damaged(path, error) from error
        raise InputError(f"{str(path)!r} cannot be read: {error.strerror or error}.") from error
    except Exception as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> FileFormatError:
    said = " ".join(str(error).split())[:200] or type(error).__name__
    return FileFormatError(f"{str(path)!r} is damaged or not of the format its name says: {said}")


def check_shape(shape: Sequence[int], path: Path) -> tuple[int, ...]:
    """Return `shape` as whole numbers, or raise `FileFormatError`."""
    if len(shape) > MOST_DIMENSIONS:
        raise FileFormatError(
            f"{str(path)!r} declares {len(shape)} dimensions; at most {MOST_DIMENSIONS} are read."
        )
    for size in shape:
        if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or size < 0:
            raise FileFormatError(f"{str(path)!r} declares the impossible shape {tuple(shape)}.")
    return tuple(int(size) for size in shape)


def check_dtype(dtype: np.dtype[Any], path: Path) -> None:
    """Raise unless `dtype` is a plain number that fits float64 or complex128."""
    if dtype.hasobject:
        raise FileFormatError(
            f"{str(path)!r} holds pickled objects, which are never loaded; save plain numbers."
        )
    if dtype.kind not in "fiubc" or dtype.itemsize > (16 if dtype.kind == "c" else 8):
        raise DTypeError(
            f"{str(path)!r} holds {dtype}; expected integers, or floats of up to 64 bits."
        )


def check_budget(nbytes: int, request: Request, path: Path, *, stored: int | None = None) -> None:
    """Refuse an array of `nbytes` that is absurd for its file or exceeds the memory budget.

    Raises
    ------
    FileFormatError
        The array is `LARGEST_RATIO` times larger than the `stored` bytes.
    MemoryBudgetError
        It does not fit `request.memory`.
    """
    if stored is not None and nbytes > max(HARMLESS_BYTES, LARGEST_RATIO * max(stored, 1)):
        raise FileFormatError(
            f"{str(path)!r} declares {nbytes} bytes of data over {stored} stored bytes; refused."
        )
    if nbytes > request.memory:
        raise MemoryBudgetError(
            f"{str(path)!r} needs {nbytes} bytes in memory, {request.memory} are allowed; raise "
            "`memory`, or convert it to .npy, which is read in place."
        )


def mapped(
    path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], offset: int, order: str = "C"
) -> HostArray:
    """Return the bytes of `path` from `offset` on as a read-only array, without reading them."""
    count = math.prod(shape)
    if count * dtype.itemsize + offset > path.stat().st_size:
        raise FileFormatError(f"{str(path)!r} ends before the {count} numbers that it declares.")
    if count == 0:
        return np.empty(shape, dtype)
    flat: HostArray = np.memmap(path, dtype=dtype, mode="r", offset=offset, shape=(count,))
    # numbers that straddle their natural places work, but every use copies: so copy once, unless
    # that is what mapping is meant to avoid
    if flat.ctypes.data % max(dtype.alignment, 1) and flat.nbytes <= HARMLESS_BYTES:
        flat = np.array(flat)
    return flat.reshape(shape, order="F" if order == "F" else "C")


def choose(names: Sequence[str], request: Request, path: Path) -> str:
    """Return the name of the array to read: the one asked for, or the only one."""
    listed = ", ".join(map(repr, list(names)[:12])) + (", ..." if len(names) > 12 else "")
    if request.key is None:
        if len(names) == 1:
            return names[0]
        if not names:
            raise FileFormatError(f"{str(path)!r} holds no array of numbers.")
        raise SeveralArraysError(
            f"{str(path)!r} holds {len(names)} arrays: {listed}; name one: {path.name}:{names[0]}",
            names,
        )
    if request.key not in names:
        raise InputError(
            f"{str(path)!r} has no array {request.key!r}; it holds {listed or 'none'}."
        )
    return request.key
