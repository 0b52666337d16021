"""Networks kept during a search: in memory up to a limit, and in the run folder if there is one.

networks.bin holds the bytes of arrays one after the other; the journal says where each network
is. There is nothing to execute in it, and every read is checked by its crc32.
"""

from __future__ import annotations

import math
import os
import zlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from contraction.arrays import DTYPES, Array, to, to_numpy
from contraction.errors import CheckpointError
from structure_search.journal import NETWORKS
from structure_search.results import Evaluation
from tnet.file_header import certificate_from_dict, certificate_to_dict
from tnet.network import Network
from tnet.structure import Structure

MEMORY = 2**28  # bytes of networks kept in memory


class NetworkStore:
    """Networks by the index of the evaluation that found them.

    Not by its request: what is asked twice may be answered by two networks. Without a folder the
    oldest networks are forgotten beyond a limit.
    """

    def __init__(self, *, like: Array, memory: int = MEMORY) -> None:
        self._like = like
        self._memory = memory
        self._held: OrderedDict[int, Network] = OrderedDict()
        self._used = 0
        self._handle: int | None = None
        self._places: dict[int, tuple[Mapping[str, Any], Structure]] = {}

    def open(self, folder: Path, places: Mapping[int, tuple[Mapping[str, Any], Structure]]) -> None:
        """Keep the networks in `folder` too; `places` are those that the journal names."""
        flags = os.O_RDWR | os.O_CREAT
        flags |= getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
        self._handle = os.open(folder / NETWORKS, flags, 0o644)
        self._places = dict(places)
        end = max((p["offset"] + p["bytes"] for p, _ in places.values()), default=0)
        if os.fstat(self._handle).st_size > end:
            os.ftruncate(self._handle, end)  # written by a killed process, named by no event
        os.lseek(self._handle, 0, os.SEEK_END)

    def put(self, index: int, net: Network) -> None:
        """Keep a network, in networks.bin too if there is one."""
        self._remember(index, net)
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
        self._places[index] = (place, net.structure)

    def get(self, index: int) -> Network | None:
        """Return the network of an evaluation; None if it was forgotten or is damaged."""
        if index in self._held:
            self._held.move_to_end(index)
            return self._held[index]
        if index not in self._places or self._handle is None:
            return None
        place, structure = self._places[index]
        net = self._read(place, structure)
        if net is not None:
            self._remember(index, net)
        return net

    def place(self, index: int) -> Mapping[str, Any] | None:
        """Return where the network of an evaluation is in networks.bin, or None."""
        return self._places[index][0] if index in self._places else None

    def holders(self, trace: Sequence[Evaluation]) -> list[int]:
        """Return for each evaluation the index of the one that has its network.

        That is itself, or where it was answered by the fit of an equal structure the best of
        those before it.
        """
        best: dict[str, Evaluation] = {}
        found = []
        for evaluation in trace:
            own = self.place(evaluation.index) is not None
            old = best.get(evaluation.key)
            found.append(evaluation.index if own or old is None else old.index)
            if own and (old is None or evaluation.error <= old.error):
                best[evaluation.key] = evaluation
        return found

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

    def _remember(self, index: int, net: Network) -> None:
        self._held[index] = net
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
