"""Tensors saved by deep-learning libraries: safetensors (mapped) and torch (weights only)."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from contraction.errors import DTypeError, FileFormatError
from tnet.readers.common import (
    MOST_HEADER_BYTES,
    MOST_MEMBERS,
    HostArray,
    Loaded,
    Request,
    check_budget,
    check_shape,
    choose,
    file_size,
    mapped,
    need,
    reading,
)

SAFETENSORS_DTYPES = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "C64": "<c8", "BOOL": "|b1"},
    **{"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1"},
    **{"U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BF16": "<u2"},
}


def read_safetensors(path: Path, request: Request) -> Loaded:
    """Read one tensor of a .safetensors file in place; bfloat16 is widened to float32."""
    with reading(path):
        table, start = _header(path)
        key = choose(list(table), request, path)
        entry = table[key]
        shape = check_shape(entry["shape"], path)
        if entry["dtype"] not in SAFETENSORS_DTYPES:
            raise DTypeError(f"{str(path)!r}: {key!r} holds {entry['dtype']}, which is not read.")
        dtype = np.dtype(SAFETENSORS_DTYPES[entry["dtype"]])
        begin, end = entry["data_offsets"]
        if end - begin != math.prod(shape) * dtype.itemsize:
            raise FileFormatError(f"{str(path)!r}: {key!r} has shape {shape} over {end - begin} B.")
        array = mapped(path, dtype, shape, start + begin)
        if entry["dtype"] == "BF16":
            check_budget(4 * array.size, request, path)
            array = (array.astype(np.uint32) << 16).view(np.float32)
    return Loaded(array=array, key=key)


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """Return the table of tensors, checked, and where their bytes begin."""
    size = file_size(path)
    with open(path, "rb") as stream:
        first = stream.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else 0
        if not 2 <= length <= min(MOST_HEADER_BYTES, size - 8):
            raise FileFormatError(f"{str(path)!r} is no safetensors file: header of {length} B.")
        raw = stream.read(length)
    table = json.loads(raw, object_pairs_hook=_no_duplicates)
    table.pop("__metadata__", None)
    if len(table) > MOST_MEMBERS:
        raise FileFormatError(f"{str(path)!r} lists {len(table)} tensors; refused.")
    place = 0
    for begin, end in sorted(tuple(entry["data_offsets"]) for entry in table.values()):
        if begin != place or end < begin:
            raise FileFormatError(f"{str(path)!r}: tensors overlap or leave a hole at {begin}.")
        place = end
    if place != size - 8 - length:
        raise FileFormatError(f"{str(path)!r} declares {place} bytes of tensors, not what it has.")
    return table, 8 + length


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice in the header")
    return found


def read_torch(path: Path, request: Request) -> Loaded:
    """Read one tensor of a torch file with `weights_only`; names in nested dicts join by dots."""
    size = file_size(path)
    torch = need("torch", "tnet[torch]")
    with reading(path):
        tree = _load(path, torch)
        found = dict(_tensors(tree, torch))
        key = choose(list(found), request, path)
        tensor = found[key].detach()
        nbytes = tensor.numel() * tensor.element_size()
        if tensor.is_sparse or tensor.is_quantized:
            raise DTypeError(f"{str(path)!r}: {key!r} is sparse or quantised; store it densely.")
        check_budget(nbytes, request, path, stored=size)
        return Loaded(array=_numpy(tensor, torch), key=key or None)


def _load(path: Path, torch: Any) -> Any:
    try:
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # the format before torch 1.6 cannot be mapped
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if type(error).__name__ != "UnpicklingError":
            raise
        raise FileFormatError(
            f"{str(path)!r} holds pickled code or objects, or is damaged; only plain tensors, and "
            "dicts and lists of them, are read. Save model.state_dict() instead of the model."
        ) from None


def _numpy(tensor: Any, torch: Any) -> HostArray:
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.to(torch.float32)
    array: HostArray = tensor.resolve_conj().resolve_neg().numpy()
    array = array.view()
    array.flags.writeable = False
    return array


def _tensors(tree: Any, torch: Any) -> Iterator[tuple[str, Any]]:
    """Walk nested dicts, lists and tuples; a lone tensor has the empty name."""
    stack: list[tuple[str, Any]] = [("", tree)]
    seen = 0
    while stack:
        name, item = stack.pop()
        seen += 1
        if seen > MOST_MEMBERS:
            raise FileFormatError("more tensors than can be listed")
        if isinstance(item, torch.Tensor):
            yield name, item
        elif isinstance(item, Mapping):
            stack.extend((_join(name, key), item[key]) for key in reversed(list(item)))
        elif isinstance(item, (list, tuple)):
            stack.extend((_join(name, i), item[i]) for i in reversed(range(len(item))))


def _join(name: str, key: Any) -> str:
    return f"{name}.{key}" if name else str(key)
