"""open_array: one door for every input format. Safe on hostile files, lazy where it can be.

Arrays in .npy files, uncompressed .npz members, contiguous HDF5 data sets and .safetensors
files are mapped into memory, not read. No reader unpickles or evaluates anything.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
import itertools
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from contraction.errors import FileFormatError, InputError, ShapeError
from tnet.readers.bundled import DATA_SETS, PICTURES, read_data_set, read_picture
from tnet.readers.common import Duplicates as Duplicates
from tnet.readers.common import HostArray, Loaded, Request, available_memory, check_dtype
from tnet.readers.common import Missing as Missing

BLOCK = 1 << 22  # entries looked at together by a scan

READERS = {
    ".npy": "tnet.readers.numpy_files:read_npy",
    ".npz": "tnet.readers.numpy_files:read_npz",
    ".safetensors": "tnet.readers.tensor_files:read_safetensors",
    ".pt": "tnet.readers.tensor_files:read_torch",
    ".pth": "tnet.readers.tensor_files:read_torch",
    ".h5": "tnet.readers.hdf5:read_hdf5",
    ".hdf5": "tnet.readers.hdf5:read_hdf5",
    ".nc4": "tnet.readers.hdf5:read_hdf5",
    ".mat": "tnet.readers.matlab:read_mat",
    ".csv": "tnet.readers.tables:read_csv",
    ".tsv": "tnet.readers.tables:read_csv",
    ".tns": "tnet.readers.tables:read_tns",
    **dict.fromkeys(
        (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"), "tnet.readers.images:read_image"
    ),
}


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What one pass over an array found.

    Attributes
    ----------
    missing, infinite
        Number of NaN and of infinite entries.
    first_bad
        Index of the first entry that is not finite, or None.
    least, greatest
        Range of the finite entries (of their moduli, if complex); None if there is none.
    norm
        Frobenius norm of the finite entries.
    """

    missing: int
    infinite: int
    first_bad: tuple[int, ...] | None
    least: float | None
    greatest: float | None
    norm: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Data:
    """An array from outside, and where it came from.

    Attributes
    ----------
    array
        The numbers, in the dtype of the source; memory-mapped and read-only where possible.
    names
        One name per axis.
    source
        What `open_array` was given, as text.
    path
        The file or folder; None for bundled data.
    notes
        Remarks of the reader for people.

    Examples
    --------
    >>> data = Data(array=np.ones((2, 3)), names=("x0", "x1"), source="ones")
    >>> data.shape, data.nbytes, data.scan.missing
    ((2, 3), 48, 0)
    """

    array: HostArray
    names: tuple[str, ...]
    source: str
    path: Path | None = None
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return tuple(self.array.shape)

    @property
    def dtype(self) -> str:
        """Name of the dtype."""
        return str(self.array.dtype)

    @property
    def nbytes(self) -> int:
        """Bytes of the array, whether in memory or mapped."""
        return int(self.array.nbytes)

    @property
    def modes(self) -> dict[str, int]:
        """Axis name -> size, as the format functions take it."""
        return dict(zip(self.names, self.shape, strict=True))

    @property
    def in_memory(self) -> bool:
        """False if the array is mapped from a file."""
        base: Any = self.array
        while base is not None:
            if isinstance(base, np.memmap):
                return False
            base = getattr(base, "base", None)
        return True

    @cached_property
    def sha256(self) -> str:
        """Hash of dtype, shape and entries in C order; the container does not matter. Reads all."""
        kind = self.array.dtype.newbyteorder("<")
        found = hashlib.sha256(f"{kind.str} {self.shape}".encode())
        for block in _blocks(self.array):
            found.update(np.ascontiguousarray(block, dtype=kind).data)
        return found.hexdigest()

    @cached_property
    def scan(self) -> Scan:
        """Count and locate what is not finite. Reads all, block by block, once."""
        return scan_array(self.array)

    @property
    def missing(self) -> int:
        """Number of NaN entries. Reads all, once."""
        return self.scan.missing

    def reshaped(self, shape: Sequence[int], *, order: str = "C") -> Data:
        """Return the data in another shape; the axes get the names x0, x1, ...

        Parameters
        ----------
        shape
            The sizes; one may be -1.
        order
            "C": the last index runs fastest, before and after; "F": the first.

        Raises
        ------
        ShapeError
            The sizes do not multiply to the number of entries.
        """
        count, known = self.array.size, math.prod(n for n in shape if n != -1)
        fits = count == known if -1 not in shape else known > 0 and count % known == 0
        if not fits or order not in ("C", "F"):
            raise ShapeError(
                f"{count} entries of shape {self.shape} cannot be reshaped to {tuple(shape)} "
                f"in order {order!r}."
            )
        array = self.array.reshape(tuple(shape), order="F" if order == "F" else "C")
        names = tuple(f"x{i}" for i in range(array.ndim))
        return replace(self, array=array, names=names)


def open_array(
    source: str | os.PathLike[str],
    *,
    key: str | None = None,
    memory: int | None = None,
    missing: Missing | None = None,
    coords: Sequence[str] | None = None,
    value: str | None = None,
    duplicates: Duplicates = Duplicates.REFUSE,
) -> Data:
    """Open an array from a file, a folder of pictures, or a bundled data set.

    Parameters
    ----------
    source
        A path; ``path:key`` for one array of a file that holds several; a bundled name
        (``kinetic``, ``indian-pines``, ``il2``, ``covid19``); a picture of scikit-image
        (``camera`` or ``skimage:camera``). A bundled name wins over a file of that name:
        write ``./kinetic`` for the file.
    key
        Which array of the file, if it is not part of `source`.
    memory
        Bytes that may be allocated; by default what the system has to spare. Files that are
        mapped do not count.
    missing
        What a missing entry becomes. NaN in a dense file stays NaN unless `Missing.ZERO`.
        Entries that a coordinate file does not list become NaN (.csv) or zero (.tns) unless
        told.
    coords, value
        Columns of a CSV file; by default all columns but the last, and the last.
    duplicates
        Whether a coordinate listed twice is an error or a sum.

    Returns
    -------
    Data
        Shape, dtype and names as in the source; nothing is converted, except that bundled
        arrays are float64.

    Raises
    ------
    InputError
        No such file, no such array in it, or not a readable file.
    FileFormatError
        The file is damaged, hostile or not of the format its name says.
    DTypeError
        It holds something other than numbers.
    MemoryBudgetError
        It does not fit `memory`; nothing was allocated.
    DeviceError
        The package that reads it is not installed.

    Examples
    --------
    >>> data = open_array("il2")
    >>> data.modes, data.missing
    ({'ligand': 13, 'time': 4, 'dose': 12, 'cell': 8}, 192)
    """
    request = Request(
        key=key,
        memory=available_memory() if memory is None else memory,
        missing=missing,
        coords=None if coords is None else tuple(coords),
        value=value,
        duplicates=duplicates,
    )
    text = os.fspath(source)
    name = text.removeprefix("skimage:")
    if isinstance(source, str) and text in DATA_SETS:
        return _finish(read_data_set(text, request), request, text, None)
    if isinstance(source, str) and name in PICTURES:
        return _finish(read_picture(name, request), request, text, None)
    path, own_key = _locate(text)
    if own_key is not None:
        if key is not None:
            raise InputError(f"the array is named twice: {own_key!r} in the path and {key!r}.")
        request = replace(request, key=own_key)
    return _finish(_reader(path)(path, request), request, text, path)


def _locate(text: str) -> tuple[Path, str | None]:
    """Split ``path:key``; a path that exists as written is never split."""
    if "\0" in text:
        raise InputError("a file name holds no NUL character.")
    if os.path.lexists(text):
        return Path(text), None
    for mark in ("::", ":"):
        head, found, tail = text.partition(mark)
        while found:
            if tail and os.path.lexists(head):
                return Path(head), tail
            more, found, tail = tail.partition(mark)
            head = f"{head}{mark}{more}"
    raise InputError(f"there is no file {text!r}.{_nearest(text)}")


def _nearest(text: str) -> str:
    path = Path(text)
    try:
        beside = [str(path.parent / p.name) for p in itertools.islice(path.parent.iterdir(), 999)]
    except OSError:
        beside = []
    near = difflib.get_close_matches(text, [*DATA_SETS, *PICTURES, *beside], n=3)
    names = ", ".join(DATA_SETS)
    return f" Did you mean {' or '.join(near)}?" if near else f" Bundled data: {names}, camera, ..."


def _reader(path: Path) -> Any:
    if path.is_dir():
        target = "tnet.readers.images:read_folder"
    else:
        target = READERS.get(path.suffix.lower(), "")
    if not target:
        what = (
            "a network; read it with tnet.load"
            if path.suffix == ".tnet"
            else f"of no known format; known are {', '.join(READERS)} and folders of pictures"
        )
        raise FileFormatError(f"{str(path)!r} is {what}.")
    module, _, function = target.partition(":")
    return getattr(importlib.import_module(module), function)


def _finish(loaded: Loaded, request: Request, source: str, path: Path | None) -> Data:
    array = loaded.array
    check_dtype(array.dtype, path or Path(source))
    if request.missing is Missing.ZERO and array.dtype.kind in "fc":
        holes = np.isnan(array)
        if holes.any():
            array = np.where(holes, array.dtype.type(0), array)
    names = loaded.names
    if len(names) != array.ndim or len(set(names)) != len(names) or not all(map(_good, names)):
        names = tuple(f"x{i}" for i in range(array.ndim))
    return Data(array=array, names=names, source=source, path=path, notes=loaded.notes)


def _good(name: str) -> bool:
    return 0 < len(name) <= 256 and name.isprintable()


def _blocks(array: HostArray) -> Iterator[HostArray]:
    """Yield pieces of about `BLOCK` entries; joined in C order they are the array."""
    if array.size <= BLOCK or array.ndim == 0:
        yield array
        return
    rows = max(1, BLOCK * len(array) // array.size)
    for start in range(0, len(array), rows):
        piece = array[start : start + rows]
        if len(piece) == 1 and piece.size > 2 * BLOCK:
            yield from _blocks(piece[0])  # as deep as there are axes, no deeper
        else:
            yield piece


def scan_array(array: HostArray) -> Scan:
    """Return what one pass over `array` finds; memory for one block.

    Examples
    --------
    >>> scan_array(np.array([[1.0, np.nan], [np.inf, 4.0]])).first_bad
    (0, 1)
    """
    missing = infinite = seen = 0
    first: int | None = None
    least, greatest, squares = math.inf, -math.inf, 0.0
    for block in _blocks(array):
        flat = np.ascontiguousarray(block).reshape(-1)
        good = np.isfinite(flat)
        if not good.all():
            nans = int(np.isnan(flat).sum())
            missing, infinite = missing + nans, infinite + int((~good).sum()) - nans
            first = seen + int((~good).argmax()) if first is None else first
            flat = flat[good]
        seen += block.size
        if flat.size:
            wide = np.abs(flat) if flat.dtype.kind == "c" else flat
            least, greatest = min(least, float(wide.min())), max(greatest, float(wide.max()))
            wide = wide.astype(np.float64, copy=False)
            squares += float(wide @ wide)
    return Scan(
        missing=missing,
        infinite=infinite,
        first_bad=None
        if first is None
        else tuple(int(i) for i in np.unravel_index(first, array.shape)),
        least=least if least <= greatest else None,
        greatest=greatest if least <= greatest else None,
        norm=math.sqrt(squares),
    )
