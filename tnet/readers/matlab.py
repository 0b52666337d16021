"""MATLAB files: up to version 7.2 through SciPy, version 7.3 as the HDF5 file that it is."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from tnet.readers.common import (
    MOST_MEMBERS,
    Loaded,
    Request,
    check_budget,
    check_dtype,
    check_shape,
    choose,
    file_size,
    reading,
)
from tnet.readers.hdf5 import read_hdf5

NUMERIC = {
    **{"double": 16, "single": 8, "logical": 1},  # bytes at most, complex numbers included
    **{f"{sign}int{8 * n}": n for sign in ("", "u") for n in (1, 2, 4, 8)},
}


def read_mat(path: Path, request: Request) -> Loaded:
    """Read one array of a .mat file; structs, cells, text and sparse matrices are left out."""
    size = file_size(path)
    with reading(path), open(path, "rb") as stream:
        head = stream.read(520)
    if b"\x89HDF\r\n\x1a\n" in (head[:8], head[512:520]):
        loaded = read_hdf5(path, request)
        # MATLAB stores the first index fastest, HDF5 the last: the axes come out reversed
        return replace(loaded, array=loaded.array.T, names=loaded.names[::-1])
    import scipy.io

    with reading(path):
        listed = scipy.io.whosmat(str(path), appendmat=False)
        if len(listed) > MOST_MEMBERS:
            raise ValueError(f"{len(listed)} variables")
        numeric = {name: (shape, kind) for name, shape, kind in listed if kind in NUMERIC}
        key = choose(list(numeric), request, path)
        shape, kind = numeric[key]
        nbytes = math.prod(check_shape(shape, path)) * NUMERIC[kind]
        check_budget(nbytes, request, path, stored=size)
        found = scipy.io.loadmat(str(path), variable_names=[key], appendmat=False)
        array = np.asarray(found[key])
        check_dtype(array.dtype, path)
        if kind == "logical":
            array = array.astype(np.bool_)
    return Loaded(array=array, key=key)
