"""Saving and loading networks: one `.tnet` file, which is a safetensors file.

The payload holds one tensor per node, named as the node, little-endian and C-contiguous; complex
entries are stored as pairs of reals along one more axis. `__metadata__["tnet"]` holds the rest as
strict JSON: the structure, dtype, centre, certificate, history, and the SHA-256 of all of that
followed by the payload. Nothing in a file is ever executed, and nothing is allocated before the
header has been checked against the size of the file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from contraction import arrays as arrays_
from contraction import atomic
from contraction.errors import FileFormatError, MemoryBudgetError, StructureError
from tnet.certificate import Certificate
from tnet.file_header import (
    RESERVED,
    Header,
    Record,
    build_header,
    checked_history,
    digest_seed,
    parse_header,
    real_dtype,
)
from tnet.network import Network
from tnet.structure import Structure


@dataclass(frozen=True, kw_only=True)
class FileInfo:
    """What a `.tnet` file says about the network in it, read without its arrays.

    Attributes
    ----------
    structure, dtype, center, certificate
        As in `Network`.
    history
        The texts given to `save`, oldest first.
    num_bytes
        Size of the file.
    format
        Version of the file format.
    """

    structure: Structure
    dtype: str
    center: str | None
    certificate: Certificate | None
    history: tuple[str, ...]
    num_bytes: int
    format: int


def save(path: str | os.PathLike[str], net: Network, *, history: Sequence[str] = ()) -> None:
    """Write a network to one file, in the safetensors format whatever the suffix of `path`.

    The write is atomic, and the file is read back and compared with its checksum before it takes
    the place of an older one. `.tnet` is the suffix to use; other programs read the tensors of
    the nodes with any safetensors library.

    Parameters
    ----------
    path
        Where to write; the folder must exist.
    net
        Any network, of any namespace; arrays on a device come to the host one at a time.
    history
        Up to a thousand short texts kept beside the network: how it came about.

    Raises
    ------
    InputError
        No file can be written there, `history` is too long, or the network has so many nodes
        that its header would pass 16 MiB (at least 50,000 nodes fit).
    OSError
        The disk is full, or the folder cannot be written to; an older file is untouched.

    Notes
    -----
    One pass over the arrays to hash and write, one to verify; memory for one array.

    Examples
    --------
    >>> import tempfile
    >>> net = Network(Structure({"a": ("x",)}, {"x": 2}), {"a": np.array([3.0, 4.0])})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(Path(folder) / "a.tnet", net)
    ...     load(Path(folder) / "a.tnet").to_dense()
    array([3., 4.])
    """
    write: Callable[[BinaryIO], None] = partial(write_network, net=net, history=history)
    atomic.write_with(path, write, check=_verify)


def write_network(stream: BinaryIO, net: Network, *, history: Sequence[str] = ()) -> None:
    """Write to an open file what `save` writes, without flushing it to the disk.

    Raises
    ------
    InputError, OSError
        As `save`.
    """
    texts = checked_history(history)
    if RESERVED in net.structure.legs:
        raise StructureError(
            f"a node called {RESERVED!r} cannot be saved; rename it (Structure.renamed)."
        )
    record = Record(net.structure, net.dtype, net.center, net.certificate, texts)
    blank = build_header(record, "0" * 64)  # checks the limits before anything is written
    digest = hashlib.sha256(digest_seed(record))
    stream.write(blank)
    for block in _payload(net):
        stream.write(block)
        digest.update(block)
    stream.seek(0)
    stream.write(build_header(record, digest.hexdigest()))


def load(
    path: str | os.PathLike[str],
    *,
    namespace: str = "numpy",
    device: str | None = None,
    memory: int | None = None,
) -> Network:
    """Read a network that `save` wrote: the same bits, structure, centre and certificate.

    Parameters
    ----------
    path
        The file.
    namespace, device
        Where the arrays go: "numpy", "torch" or "cupy"; "cpu", "cuda:0", ...
    memory
        Refuse files with more bytes of arrays than this.

    Raises
    ------
    FileFormatError
        The file is damaged, not a network, or of a newer format.
    MemoryBudgetError
        The arrays need more than `memory` bytes; nothing was allocated.
    FileNotFoundError, PermissionError
        From the operating system.

    Notes
    -----
    One pass: every byte is covered by the checksum or by the header's own consistency.

    Examples
    --------
    >>> import tempfile
    >>> net = Network(Structure({"a": ("x",)}, {"x": 2}), {"a": np.array([3.0, 4.0])}, "a")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(Path(folder) / "a.tnet", net)
    ...     load(Path(folder) / "a.tnet").center
    'a'
    """
    arrays_.require_device(namespace, device)
    with _opened(path) as (stream, size):
        header = parse_header(stream, size, Path(path))
        if memory is not None and header.payload > memory:
            raise MemoryBudgetError(
                f"{path} holds {header.payload} bytes of arrays, more than the {memory} allowed."
            )
        net = _read_arrays(stream, header, Path(path))
    if namespace == "numpy" and device in (None, "cpu"):
        return net
    return net.to(namespace=namespace, device=device)


def file_info(path: str | os.PathLike[str]) -> FileInfo:
    """Read what a `.tnet` file says about its network, without reading the arrays.

    The checksum, which covers the arrays too, is not verified; `load` does that.

    Raises
    ------
    FileFormatError
        The header is damaged, or the file is not a network.

    Examples
    --------
    >>> import tempfile
    >>> net = Network(Structure({"a": ("x",)}, {"x": 2}), {"a": np.array([3.0, 4.0])})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(Path(folder) / "a.tnet", net, history=["by hand"])
    ...     file_info(Path(folder) / "a.tnet").history
    ('by hand',)
    """
    with _opened(path) as (stream, size):
        header = parse_header(stream, size, Path(path))
    record = header.record
    return FileInfo(
        structure=record.structure,
        dtype=record.dtype,
        center=record.center,
        certificate=record.certificate,
        history=record.history,
        num_bytes=size,
        format=header.format,
    )


@contextlib.contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[tuple[BinaryIO, int]]:
    """Open a regular file (opening a named pipe would wait for ever) and give its size."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise FileFormatError(f"{path} is no regular file; expected a network saved by tnet.save.")
    with open(path, "rb") as stream:
        yield stream, os.fstat(stream.fileno()).st_size


def _payload(net: Network) -> Iterator[memoryview]:
    """Yield the bytes of each array: little-endian, C-contiguous, complex as pairs of reals."""
    real = real_dtype(net.dtype)
    for x in net.arrays.values():
        host = np.ascontiguousarray(arrays_.to_numpy(x))  # strided memory is a copy from here on
        flat = host.reshape(-1).view(real.newbyteorder("=")).astype(real, copy=False)
        yield flat.view(np.uint8).data


def _arrays(stream: BinaryIO, header: Header, path: Path) -> Iterator[tuple[str, Any]]:
    """Yield (node, array) as they come, and raise at the end if the checksum disagrees."""
    record = header.record
    real = real_dtype(record.dtype)
    digest = hashlib.sha256(digest_seed(record))
    for node in record.structure.node_names:
        shape = record.structure.node_shape(node)
        x = np.empty(shape, np.dtype(record.dtype))
        block = x.reshape(-1).view(np.uint8).data
        if stream.readinto(block) != len(block):  # type: ignore[attr-defined]
            raise FileFormatError(f"{path} ends inside the array of node {node!r}.")
        digest.update(block)
        if not real.isnative:
            x = x.byteswap()
        yield node, x
    if digest.hexdigest() != header.sha256:
        raise FileFormatError(
            f"{path} is damaged: its contents do not match their checksum. Restore it from a copy."
        )


def _verify(path: Path) -> None:
    with _opened(path) as (stream, size):
        for _ in _arrays(stream, parse_header(stream, size, path), path):
            pass


def _read_arrays(stream: BinaryIO, header: Header, path: Path) -> Network:
    record = header.record
    held = dict(_arrays(stream, header, path))
    return Network(record.structure, held, record.center, record.certificate)
