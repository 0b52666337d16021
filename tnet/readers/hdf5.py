"""HDF5 files, without the ways in which HDF5 reads other files.

External storage, external and soft links and virtual data sets are refused: each of them makes
reading this file return the bytes of another. Paths are walked one component at a time, through
hard links only. A contiguous data set is mapped into memory, a chunked one is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from contraction.errors import DTypeError, FileFormatError, InputError
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
    need,
    reading,
)

FILTERS = {1, 2, 3, 4, 32000}  # gzip, shuffle, fletcher32, szip, lzf: the ones h5py carries


def read_hdf5(path: Path, request: Request) -> Loaded:
    """Read one data set of an HDF5 file."""
    file_size(path)
    h5py = need("h5py", "tnet[io]")
    with reading(path), h5py.File(path, "r") as root:
        if request.key is None:
            key = choose([name for name, _ in _data_sets(root, h5py)], request, path)
        else:
            key = request.key.strip("/")
        found = _walk(root, key, h5py, path)
        names = tuple(str(found.dims[i].label or "") for i in range(found.ndim))
        return Loaded(array=_read(found, request, path), names=names, key=key)


def _walk(root: Any, key: str, h5py: Any, path: Path) -> Any:
    """Follow `key` from `root` one hard link at a time to a data set."""
    item = root
    for part in key.split("/"):
        if not isinstance(item, h5py.Group) or not part or part in (".", ".."):
            raise InputError(f"{str(path)!r} has no data set {key!r}.")
        link = item.get(part, getlink=True)
        if link is None:
            names = [name for name, _ in _data_sets(root, h5py)][:12]
            raise InputError(f"{str(path)!r} has no data set {key!r}; it holds {names}.")
        if not isinstance(link, h5py.HardLink):
            kind = type(link).__name__
            raise FileFormatError(
                f"{str(path)!r}: {part!r} is a link that may lead to another file ({kind}); "
                "refused."
            )
        item = item[part]
    if not isinstance(item, h5py.Dataset):
        raise InputError(f"{str(path)!r}: {key!r} is a group; name a data set in it.")
    return item


def _data_sets(root: Any, h5py: Any) -> Iterator[tuple[str, Any]]:
    """Yield every numeric data set that hard links reach; hard links may form cycles."""
    stack: list[tuple[str, Any]] = [("", root)]
    seen: set[int] = set()
    steps = 0
    while stack:
        name, group = stack.pop()
        place = h5py.h5o.get_info(group.id).addr
        if place in seen or name.count("/") > MOST_DIMENSIONS:
            continue
        seen.add(place)
        for part in group:
            steps += 1
            if steps > MOST_MEMBERS:
                raise FileFormatError(f"more than {MOST_MEMBERS} members")
            if not isinstance(group.get(part, getlink=True), h5py.HardLink):
                continue
            item, full = group[part], f"{name}/{part}" if name else part
            if isinstance(item, h5py.Group):
                stack.append((full, item))
            elif isinstance(item, h5py.Dataset) and item.dtype.kind in "fiubcV":
                yield full, item


def _read(found: Any, request: Request, path: Path) -> HostArray:
    where = f"{str(path)!r}: {found.name!r}"
    if found.external:
        raise FileFormatError(f"{where} keeps its data in another file; refused.")
    if found.is_virtual:
        raise FileFormatError(f"{where} is virtual, made of other data sets; refused.")
    plist = found.id.get_create_plist()
    used = {plist.get_filter(i)[0] for i in range(plist.get_nfilters())}
    if not used <= FILTERS:
        raise FileFormatError(f"{where} needs the HDF5 filters {sorted(used - FILTERS)}; refused.")
    if found.shape is None:
        raise FileFormatError(f"{where} is empty.")
    shape, dtype = check_shape(found.shape, path), found.dtype
    pair = _complex_pair(dtype)
    if pair is None:
        check_dtype(dtype, path)
    nbytes = math.prod(shape) * dtype.itemsize
    if not used and found.chunks is None and pair is None and found.id.get_offset() is not None:
        return mapped(path, dtype, shape, int(found.id.get_offset()))
    check_budget(nbytes, request, path, stored=int(found.id.get_storage_size()))
    array: HostArray = np.asarray(found[()])
    if pair is not None:
        array = array[pair[0]] + 1j * array[pair[1]]
    return array


def _complex_pair(dtype: np.dtype[Any]) -> tuple[str, str] | None:
    """Return the field names of a complex number kept as two fields (MATLAB does so)."""
    names = dtype.names or ()
    if dtype.kind != "V":
        return None
    if len(names) == 2 and names[0][:1] == "r" and names[1][:1] == "i":
        if all(dtype[name].kind == "f" and dtype[name].itemsize <= 8 for name in names):
            return names[0], names[1]
    raise DTypeError(f"records of {names} are not numbers.")
