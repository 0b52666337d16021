"""Networks kept during a search: in memory up to a limit, and in the run folder if there is one.

networks.bin holds the bytes of arrays one after the other; the journal says where each network
is. There is nothing to execute in it, and every read is checked by its crc32.
"""

from __future__ import annotations

import math
import os
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from contraction.arrays import DTYPES, Array, to, to_numpy
from contraction.errors import CheckpointError
from structure_search.journal import NETWORKS
from tnet.file_header import certificate_from_dict, certificate_to_dict
from tnet.network import Network
from tnet.structure import Structure

MEMORY = 2**28  # bytes of networks kept in memory


class NetworkStore:
    """Request -> network. Without a folder the oldest networks are forgotten beyond a limit."""

    def __init__(self, *, like: Array, memory: int = MEMORY) -> None:
        self._like = like
        self._memory = memory
        self._held: OrderedDict[str, Network] = OrderedDict()
        self._used = 0
        self._handle: int | None = None
        self._places: dict[str, tuple[Mapping[str, Any], Structure]] = {}

    def open(self, folder: Path, places: Mapping[str, tuple[Mapping[str, Any], Structure]]) -> None:
        """Keep the networks in `folder` too; `places` are those that the journal names."""
        flags = os.O_RDWR | os.O_CREAT
        flags |= getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
        self._handle = os.open(folder / NETWORKS, flags, 0o644)
        self._places = dict(places)
        end = max((p["offset"] + p["bytes"] for p, _ in places.values()), default=0)
        if os.fstat(self._handle).st_size > end:
            os.ftruncate(self._handle, end)  # written by a killed process, named by no event
        os.lseek(self._handle, 0, os.SEEK_END)

    def put(self, request: str, net: Network) -> None:
        """Keep a network, in networks.bin too if there is one."""
        self._remember(request, net)
        if self._handle is None:
            return
        host = [np.ascontiguousarray(to_numpy(x)) for x in net.arrays.values()]
        data = b"".join(x.astype(x.dtype.newbyteorder("<"), copy=False).tobytes() for x in host)
        offset = os.lseek(self._handle, 0, os.SEEK_END)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._handle, rest) :]
        place = {
            "offset": offset,
            "bytes": len(data),
            "dtype": net.dtype,
            "crc32": zlib.crc32(data),
            "center": net.center,
            "certificate": certificate_to_dict(net.certificate),
        }
        self._places[request] = (place, net.structure)

    def get(self, request: str) -> Network | None:
        """Return a network kept under `request`; None if it was forgotten or is damaged."""
        if request in self._held:
            self._held.move_to_end(request)
            return self._held[request]
        if request not in self._places or self._handle is None:
            return None
        place, structure = self._places[request]
        net = self._read(place, structure)
        if net is not None:
            self._remember(request, net)
        return net

    def place(self, request: str) -> Mapping[str, Any] | None:
        """Return where the network of `request` is in networks.bin, or None."""
        return self._places[request][0] if request in self._places else None

    def sync(self) -> None:
        """Flush networks.bin to the disk."""
        if self._handle is not None:
            os.fsync(self._handle)

    def close(self) -> None:
        """Flush and close networks.bin."""
        if self._handle is not None:
            self.sync()
            os.close(self._handle)
            self._handle = None

    def _remember(self, request: str, net: Network) -> None:
        self._held[request] = net
        self._used += _bytes(net.structure, net.dtype)
        while self._used > self._memory and len(self._held) > 1:
            _, old = self._held.popitem(last=False)
            self._used -= _bytes(old.structure, old.dtype)

    def _read(self, place: Mapping[str, Any], structure: Structure) -> Network | None:
        assert self._handle is not None
        if place["dtype"] not in DTYPES or place["bytes"] != _bytes(structure, place["dtype"]):
            raise CheckpointError("the journal and networks.bin disagree about a network.")
        data = os.pread(self._handle, place["bytes"], place["offset"])
        if len(data) != place["bytes"] or zlib.crc32(data) != place["crc32"]:
            return None  # lost in a power cut: it is fitted again
        flat = np.frombuffer(data, dtype=np.dtype(place["dtype"]).newbyteorder("<"))
        arrays, start = {}, 0
        for node in structure.node_names:
            shape = structure.node_shape(node)
            stop = start + math.prod(shape)
            host = flat[start:stop].astype(place["dtype"]).reshape(shape)
            arrays[node] = _beside(host, self._like)
            start = stop
        certificate = certificate_from_dict(place.get("certificate"))
        return Network(structure, arrays, place.get("center"), certificate)


def _bytes(structure: Structure, dtype: str) -> int:
    return structure.num_params * np.dtype(dtype).itemsize


def _beside(host: np.ndarray[Any, Any], like: Array) -> Array:
    from contraction.arrays import device, namespace_name

    return to(host, namespace=namespace_name(like), device=device(like))
