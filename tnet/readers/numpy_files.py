"""NumPy's own files. The header is checked against the size of the file before anything else.

An .npy file, and a member of an .npz file that is stored without compression, is mapped into
memory and read when it is used. Pickled objects are refused by their header.
"""

from __future__ import annotations

import math
import struct
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from contraction.errors import FileFormatError
from tnet.readers.common import (
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


def read_npy(path: Path, request: Request) -> Loaded:
    """Read an .npy file in place."""
    size = file_size(path)
    with reading(path), open(path, "rb") as stream:
        dtype, shape, order = _header(stream, path)
        offset = stream.tell()
        nbytes = math.prod(shape) * dtype.itemsize
        if nbytes != size - offset:
            raise FileFormatError(
                f"{str(path)!r} declares shape {shape} of {dtype}, {nbytes} bytes, and holds "
                f"{size - offset}."
            )
        return Loaded(array=mapped(path, dtype, shape, offset, order))


def _header(stream: IO[bytes], path: Path) -> tuple[np.dtype[Any], tuple[int, ...], str]:
    form = np.lib.format
    version = form.read_magic(stream)
    if version == (1, 0):
        shape, fortran, dtype = form.read_array_header_1_0(stream)
    elif version in ((2, 0), (3, 0)):  # 3.0 differs by UTF-8 field names, which are refused
        shape, fortran, dtype = form.read_array_header_2_0(stream)
    else:
        raise FileFormatError(f"{str(path)!r} is of .npy version {version}, which is not known.")
    shape = check_shape(shape, path)
    check_dtype(dtype, path)
    return dtype, shape, "F" if fortran else "C"


def read_npz(path: Path, request: Request) -> Loaded:
    """Read one member of an .npz file; members stored without compression in place."""
    size = file_size(path)
    with reading(path), zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) > MOST_MEMBERS:
            raise FileFormatError(f"{str(path)!r} has {len(members)} members; refused.")
        names = [info.filename.removesuffix(".npy") for info in members]
        if len(set(names)) != len(names):
            raise FileFormatError(f"{str(path)!r} has two members of one name; refused.")
        unsafe = [n for n in names if n.startswith(("/", "\\")) or ".." in Path(n).parts]
        if unsafe:
            raise FileFormatError(f"{str(path)!r} has the member {unsafe[0]!r}, a path; refused.")
        info = members[names.index(choose(names, request, path))]
        return Loaded(
            array=_member(archive, info, path, request, size),
            key=info.filename.removesuffix(".npy"),
        )


def _member(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, request: Request, size: int
) -> HostArray:
    if info.flag_bits & 1:
        raise FileFormatError(f"{str(path)!r} is encrypted.")
    with archive.open(info) as stream:
        dtype, shape, order = _header(stream, path)
        nbytes = math.prod(shape) * dtype.itemsize
        begin = stream.tell()
        if nbytes != info.file_size - begin:
            raise FileFormatError(
                f"{str(path)!r}: member {info.filename!r} declares shape {shape} of {dtype}, "
                f"{nbytes} bytes, and holds {info.file_size - begin}."
            )
        if info.compress_type == zipfile.ZIP_STORED:
            start = _data_offset(path, info) + begin
            if start + nbytes <= size:
                return mapped(path, dtype, shape, start, order)
        check_budget(nbytes, request, path, stored=info.compress_size)
        flat = np.empty(math.prod(shape), dtype)
        _fill(flat, stream, path)
    return flat.reshape(shape, order="F" if order == "F" else "C")


def _data_offset(path: Path, info: zipfile.ZipInfo) -> int:
    """Return where the bytes of a stored member begin: after its local header (APPNOTE 4.3.7)."""
    with open(path, "rb") as raw:
        raw.seek(info.header_offset)
        head = raw.read(30)
    if len(head) != 30 or head[:4] != b"PK\x03\x04":
        raise FileFormatError(f"{str(path)!r}: the local header of {info.filename!r} is damaged.")
    name, extra = struct.unpack("<HH", head[26:30])
    return int(info.header_offset) + 30 + int(name) + int(extra)


def _fill(flat: HostArray, stream: IO[bytes], path: Path) -> None:
    view = flat.view(np.uint8).data
    done = 0
    while done < len(view):
        piece = stream.read(min(1 << 20, len(view) - done))
        if not piece:
            raise FileFormatError(f"{str(path)!r} ends early.")
        view[done : done + len(piece)] = piece
        done += len(piece)
    stream.read(1)  # the end of the member: zipfile compares its checksum here
