"""MATLAB files: version 5 to 7.2 by the parser below, 7.3 as HDF5, version 4 through SciPy.

SciPy's reader of version 5 trusts the type numbers in the file, and a wrong one crashes the
process; this one checks everything against the size of the file first. Only numbers are read:
cells, structs, objects, functions, text and sparse matrices are passed over. Layout: MAT-File
Format, The MathWorks, chapter 1.
"""

from __future__ import annotations

import math
import mmap
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from contraction.errors import FileFormatError
from tnet.readers.common import (
    MOST_DIMENSIONS,
    MOST_MEMBERS,
    HostArray,
    Loaded,
    Request,
    check_budget,
    check_dtype,
    check_shape,
    choose,
    file_size,
    mapped,
    reading,
)
from tnet.readers.hdf5 import read_hdf5

Buffer: TypeAlias = "bytes | mmap.mmap"

HEADER_BYTES = 128
PREFIX_BYTES = 8192  # of an unpacked variable: more than its flags, dimensions and name need
INT8, INT32, UINT32, MATRIX, COMPRESSED = 1, 5, 6, 14, 15
STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8"}
STORED |= {12: "i8", 13: "u8"}
CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4"}
CLASSES |= {14: "i8", 15: "u8"}
COMPLEX, LOGICAL = 0x08, 0x02


@dataclass(frozen=True, kw_only=True)
class Variable:
    """A numeric variable: what its header says, and where it begins in the file."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    flags: int
    place: int  # of its element in the file
    packed: int  # bytes of it in the file, if compressed; else 0
    data: int  # of its numbers, in the file or in the unpacked element


def read_mat(path: Path, request: Request) -> Loaded:
    """Read one array of a .mat file."""
    size = file_size(path)
    with reading(path), open(path, "rb") as stream:
        head = stream.read(520)
        if b"\x89HDF\r\n\x1a\n" not in (head[:8], head[512:520]):
            if len(head) < 4:
                raise FileFormatError(f"{str(path)!r} is too short for a MATLAB file.")
            if 0 in head[:4]:
                return _version_4(path, request, size)
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return _version_5(content, path, request)
    loaded = read_hdf5(path, request)
    # MATLAB stores the first index fastest, HDF5 the last: the axes come out reversed
    return replace(loaded, array=loaded.array.T, names=loaded.names[::-1])


def _version_5(content: Buffer, path: Path, request: Request) -> Loaded:
    endian = {b"IM": "<", b"MI": ">"}.get(content[126:128], "")
    if not endian:
        raise FileFormatError(f"{str(path)!r} is no MATLAB file of version 4 to 7.3.")
    found = {variable.name: variable for variable in _variables(content, endian, path)}
    key = choose(list(found), request, path)
    variable = found[key]
    buffer, offset = content, 0
    width = 16 if variable.flags & COMPLEX else np.dtype(variable.dtype).itemsize
    nbytes = math.prod(variable.shape) * width
    if variable.packed:
        check_budget(nbytes, request, path, stored=variable.packed)
        first = variable.place + 8
        # the element: 8 bytes per number at most for each part, and the header before them
        most = 16 * math.prod(variable.shape) + PREFIX_BYTES
        raw = zlib.decompressobj().decompress(content[first : first + variable.packed], most)
        buffer = raw
    else:
        offset = variable.data
        kind, begin, count, _ = _element(content, offset, endian, path)
        plain = kind in STORED and STORED[kind] == variable.dtype and not variable.flags
        if plain and count == nbytes and begin % 8 == 0:
            dtype = np.dtype(endian + variable.dtype)
            return Loaded(array=mapped(path, dtype, variable.shape, begin, "F"), key=key)
        check_budget(nbytes, request, path)
    return Loaded(array=_numbers(buffer, variable, endian, path), key=key)


def _variables(content: Buffer, endian: str, path: Path) -> Iterator[Variable]:
    """Yield the numeric variables of the file, in order."""
    place, seen = HEADER_BYTES, 0
    while place + 8 <= len(content):
        kind, begin, count, after = _element(content, place, endian, path)
        seen += 1
        if begin + count > len(content) or seen > MOST_MEMBERS:
            raise FileFormatError(f"{str(path)!r} ends inside a variable, or has too many.")
        packed = count if kind == COMPRESSED else 0
        if packed:
            prefix = zlib.decompressobj().decompress(content[begin : begin + count], PREFIX_BYTES)
            kind, inner, _, _ = _element(prefix, 0, endian, path)
            found = _variable(prefix, inner, endian, path) if kind == MATRIX else None
            after = begin + count  # the one kind of element that is not padded
        else:
            found = _variable(content, begin, endian, path) if kind == MATRIX and count else None
        if found is not None:
            yield replace(found, place=place, packed=packed)
        place = after


def _variable(buffer: Buffer, place: int, endian: str, path: Path) -> Variable | None:
    """Read the header of a matrix that begins at `place`; None if it is not of numbers."""
    kind, begin, count, place = _element(buffer, place, endian, path)
    if kind != UINT32 or count != 8:
        raise FileFormatError(f"{str(path)!r}: a variable without its flags.")
    word = struct.unpack_from(endian + "I", buffer, begin)[0]
    if word & 0xFF not in CLASSES:
        return None
    kind, begin, count, place = _element(buffer, place, endian, path)
    if kind != INT32 or count % 4 or not 4 <= count <= 4 * MOST_DIMENSIONS:
        raise FileFormatError(f"{str(path)!r}: a variable without its dimensions.")
    shape = check_shape(struct.unpack_from(f"{endian}{count // 4}i", buffer, begin), path)
    kind, begin, count, place = _element(buffer, place, endian, path)
    if kind != INT8 or begin + count > len(buffer):
        raise FileFormatError(f"{str(path)!r}: a variable without its name.")
    name = bytes(buffer[begin : begin + count]).decode("latin-1").rstrip("\0")
    return Variable(
        name=name,
        shape=shape,
        dtype=CLASSES[word & 0xFF],
        flags=(word >> 8) & (COMPLEX | LOGICAL),
        place=0,
        packed=0,
        data=place,
    )


def _element(buffer: Buffer, place: int, endian: str, path: Path) -> tuple[int, int, int, int]:
    """Return (type, begin, bytes, place of the next element) of the element at `place`."""
    if place + 8 > len(buffer):
        raise FileFormatError(f"{str(path)!r} ends inside a variable.")
    kind, count = struct.unpack_from(endian + "II", buffer, place)
    if kind >> 16:  # up to four bytes, packed into the second word
        return kind & 0xFFFF, place + 4, min(kind >> 16, 4), place + 8
    return kind, place + 8, count, place + 8 + (count + 7) // 8 * 8


def _numbers(buffer: Buffer, variable: Variable, endian: str, path: Path) -> HostArray:
    """Read the real part, and the imaginary part if there is one."""
    parts: list[Any] = []
    place, count = variable.data, math.prod(variable.shape)
    for _ in range(2 if variable.flags & COMPLEX else 1):
        kind, begin, size, place = _element(buffer, place, endian, path)
        if kind not in STORED:
            raise FileFormatError(f"{str(path)!r}: {variable.name!r} has numbers of type {kind}.")
        dtype = np.dtype(endian + STORED[kind])
        if size != count * dtype.itemsize or begin + size > len(buffer):
            raise FileFormatError(
                f"{str(path)!r}: {variable.name!r} declares shape {variable.shape} over {size} B."
            )
        part = np.frombuffer(buffer, dtype, count, begin)
        parts.append(part.astype("?" if variable.flags & LOGICAL else variable.dtype))
    flat = parts[0] if len(parts) == 1 else parts[0] + 1j * parts[1]
    array: HostArray = flat.reshape(variable.shape, order="F")
    return array


def _version_4(path: Path, request: Request, size: int) -> Loaded:
    import scipy.io

    listed = scipy.io.whosmat(str(path), appendmat=False)
    numeric = {name: shape for name, shape, kind in listed if kind in ("double", "single")}
    key = choose(list(numeric), request, path)
    check_budget(16 * math.prod(check_shape(numeric[key], path)), request, path, stored=size)
    array = np.asarray(scipy.io.loadmat(str(path), variable_names=[key], appendmat=False)[key])
    check_dtype(array.dtype, path)
    return Loaded(array=array, key=key)
