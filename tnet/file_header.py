"""The header of a `.tnet` file: strict to read, canonical to write.

A safetensors file begins with the length of its header (8 bytes, little-endian) and the header,
a JSON object: tensor name -> dtype, shape and place of the bytes. Ours says nothing twice: leg
sizes are read off the shapes, and the places must be those that the structure implies.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np

from contraction.errors import FileFormatError, InputError
from tnet.certificate import Certificate, ErrorKind
from tnet.structure import Structure

FORMAT = 1
RESERVED = "__metadata__"  # the one tensor name that safetensors keeps for itself
LARGEST_HEADER = 16 << 20
MOST_NODES = 1_000_000
MOST_AXES = 64
LARGEST_SIZE = 1 << 48
MOST_HISTORY, LONGEST_HISTORY = 1000, 1000
_TYPES = {"float32": "F32", "float64": "F64", "complex64": "F32", "complex128": "F64"}


@dataclass(frozen=True)
class Record:
    """Everything a file says about a network, but for the entries of its arrays."""

    structure: Structure
    dtype: str
    center: str | None
    certificate: Certificate | None
    history: tuple[str, ...]


@dataclass(frozen=True)
class Header:
    """A header that has been checked: the stream stands at the first byte of the payload."""

    record: Record
    sha256: str
    payload: int
    format: int


def real_dtype(dtype: str) -> np.dtype[Any]:
    """Return the little-endian real dtype in which `dtype` is stored.

    Examples
    --------
    >>> real_dtype("complex64").str
    '<f4'
    """
    return np.dtype({"F32": "<f4", "F64": "<f8"}[_TYPES[dtype]])


def checked_history(history: Sequence[str]) -> tuple[str, ...]:
    """Return `history` as a tuple, or raise `InputError` if it is no short list of short texts.

    Examples
    --------
    >>> checked_history(["made by hand"])
    ('made by hand',)
    """
    texts = (history,) if isinstance(history, str) else tuple(history)
    if len(texts) > MOST_HISTORY or not all(_is_note(text) for text in texts):
        raise InputError(
            f"`history` holds at most {MOST_HISTORY} printable texts of at most "
            f"{LONGEST_HISTORY} characters."
        )
    return texts


def _is_note(text: Any) -> bool:
    return isinstance(text, str) and len(text) <= LONGEST_HISTORY and text.isprintable()


# ---- writing -------------------------------------------------------------------------------


def digest_seed(record: Record) -> bytes:
    """Return the bytes that the checksum begins with: all of the record, sizes too.

    Examples
    --------
    >>> record = Record(Structure({"a": ("x",)}, {"x": 2}), "float64", None, None, ())
    >>> digest_seed(record).startswith(b'[[2],{"format":1,')
    True
    """
    sizes = [size for _, size in record.structure.sizes]
    return _dumps([sizes, _described(record)]).encode()


def build_header(record: Record, sha256: str) -> bytes:
    """Return the header of a file, its length in front, padded to a multiple of eight bytes.

    Examples
    --------
    >>> record = Record(Structure({"a": ("x",)}, {"x": 2}), "float64", None, None, ())
    >>> len(build_header(record, "")) % 8
    0
    """
    about = _dumps({**_described(record), "sha256": sha256})
    text = _dumps({RESERVED: {"tnet": about}, **_places(record)}).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > LARGEST_HEADER:
        raise InputError(
            f"the header of this network of {len(record.structure.nodes)} nodes takes "
            f"{len(text)} bytes, more than the {LARGEST_HEADER} allowed; use shorter names, or "
            "save it in parts."
        )
    return len(text).to_bytes(8, "little") + text


def _dumps(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _described(record: Record) -> dict[str, Any]:
    structure = record.structure
    return {
        "format": FORMAT,
        "nodes": [[name, list(legs)] for name, legs in structure.nodes],
        "modes": list(structure.modes),
        "dtype": record.dtype,
        "center": record.center,
        "certificate": certificate_to_dict(record.certificate),
        "history": list(record.history),
    }


def certificate_to_dict(certificate: Certificate | None) -> dict[str, Any] | None:
    """Return a certificate as plain data for JSON."""
    if certificate is None:
        return None
    return {
        "error": _finite_or_none(certificate.error),
        "kind": certificate.kind.value,
        "bound": _finite_or_none(certificate.bound),
        "discarded": {k: _finite_or_none(v) for k, v in certificate.discarded.items()},
        "methods": dict(certificate.methods),
        "allowed": None if certificate.allowed is None else float(certificate.allowed),
    }


def _finite_or_none(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None  # JSON knows no infinity


def _places(record: Record) -> dict[str, Any]:
    """Return what the header says of each tensor; it follows from the record alone."""
    item = real_dtype(record.dtype).itemsize
    pair = [2] if record.dtype.startswith("complex") else []
    places, start = {}, 0
    for node in record.structure.node_names:
        shape = [*record.structure.node_shape(node), *pair]
        stop = start + item * math.prod(shape)
        place = {"dtype": _TYPES[record.dtype], "shape": shape, "data_offsets": [start, stop]}
        places[node], start = place, stop
    return places


# ---- reading -------------------------------------------------------------------------------


def parse_header(stream: BinaryIO, size: int, path: Path) -> Header:
    """Read and check the header of a file of `size` bytes; nothing in it is trusted.

    Examples
    --------
    >>> import io
    >>> record = Record(Structure({"a": ("x",)}, {"x": 2}), "float64", None, None, ())
    >>> written = build_header(record, "0" * 64)
    >>> parse_header(io.BytesIO(written), len(written) + 16, Path("x")).record == record
    True
    """
    try:
        header = _parsed(stream, size)
    except _DamageError as damage:
        raise FileFormatError(f"{path} cannot be read as a network: {damage}.") from None
    return header


class _DamageError(Exception):
    """What is wrong with a header; the path is added by the caller."""


def _parsed(stream: BinaryIO, size: int) -> Header:
    if size < 10:
        raise _DamageError(f"it has {size} bytes, and a header alone takes more")
    length = int.from_bytes(stream.read(8), "little")
    if not 2 <= length <= min(LARGEST_HEADER, size - 8):
        raise _DamageError(
            f"its header claims {length} bytes of {size - 8}; the most allowed is {LARGEST_HEADER}"
        )
    header = _strict_json(stream.read(length), "the header")
    about = header.pop(RESERVED, None) if isinstance(header, dict) else None
    if not isinstance(about, dict) or not isinstance(about.get("tnet"), str):
        raise _DamageError("it is no safetensors file with the metadata of a network")
    if len(about) != 1:
        raise _DamageError("it has metadata beside that of a network")
    meta = _strict_json(about["tnet"].encode("utf-8", "surrogatepass"), "the metadata")
    record, sha256 = _record(meta, header)
    if header != _places(record):
        raise _DamageError("the tensors are not of the types and in the places of its structure")
    payload = size - 8 - length
    stored = max((place["data_offsets"][1] for place in header.values()), default=0)
    if payload != stored:
        raise _DamageError(f"it holds {payload} bytes of arrays where {stored} are announced")
    return Header(record, sha256, payload, FORMAT)


def _strict_json(text: bytes, what: str) -> Any:
    """Parse JSON without duplicate keys, NaN or infinity, deep nesting or invalid text."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise _DamageError(f"{what} has a key twice")
        return found

    def refuse(name: str) -> NoReturn:
        raise _DamageError(f"{what} holds {name}, which is no number")

    try:
        return json.loads(text.decode("utf-8"), object_pairs_hook=unique, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise _DamageError(f"{what} is no valid JSON ({error})") from None


def _need(condition: bool, what: str) -> None:
    if not condition:
        raise _DamageError(what)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _record(meta: Any, tensors: Mapping[str, Any]) -> tuple[Record, str]:
    _need(isinstance(meta, dict), "the metadata is no JSON object")
    version = meta.get("format")
    _need(type(version) is int and version >= 1, f"its format is {version!r}, not a number")
    _need(version <= FORMAT, f"it has format {version}, written by a newer tnet; please upgrade")
    keys = {"format", "nodes", "modes", "dtype", "center", "certificate", "history", "sha256"}
    _need(set(meta) == keys, f"the metadata has the keys {sorted(meta)[:12]}")
    dtype, center, sha256 = meta["dtype"], meta["center"], meta["sha256"]
    _need(isinstance(dtype, str) and dtype in _TYPES, f"its dtype is {dtype!r}")
    _need(isinstance(sha256, str), "its checksum is no text")
    _need(center is None or isinstance(center, str), "its centre is no text")
    history = meta["history"]
    _need(
        _is_texts(history) and len(history) <= MOST_HISTORY and all(map(_is_note, history)),
        "its history is no short list of short texts",
    )
    structure = _structure(meta["nodes"], meta["modes"], dtype, tensors)
    _need(center is None or center in structure.legs, f"its centre {center!r} is no node")
    certificate = certificate_from_dict(meta["certificate"])
    return Record(structure, dtype, center, certificate, tuple(history)), sha256


def _structure(nodes: Any, modes: Any, dtype: str, tensors: Mapping[str, Any]) -> Structure:
    _need(isinstance(nodes, list) and _is_texts(modes), "its nodes or modes are no lists")
    _need(0 < len(nodes) <= MOST_NODES, f"it has {len(nodes)} nodes")
    _need(len(nodes) == len(tensors), f"it has {len(nodes)} nodes and {len(tensors)} tensors")
    sizes: dict[str, int] = {}
    for pair in nodes:
        good = isinstance(pair, list) and len(pair) == 2 and _is_texts(pair[1])
        _need(good and isinstance(pair[0], str), "a node is no pair of a name and legs")
        name, legs = pair
        shape = _shape(name, len(legs), dtype, tensors.get(name))
        for leg, size in zip(legs, shape, strict=True):
            _need(sizes.setdefault(leg, size) == size, f"leg {leg!r:.60} has two sizes")
    _need(len({name for name, _ in nodes}) == len(nodes), "a node is named twice")
    try:
        return Structure(nodes, sizes, modes)
    except InputError as error:
        raise _DamageError(f"its structure is wrong ({error})") from None


def _shape(name: str, count: int, dtype: str, tensor: Any) -> list[int]:
    shape = tensor.get("shape") if isinstance(tensor, dict) else None
    _need(isinstance(shape, list), f"node {name!r:.60} has no tensor with a shape")
    assert isinstance(shape, list)
    _need(
        all(type(n) is int and 1 <= n <= LARGEST_SIZE for n in shape) and len(shape) <= MOST_AXES,
        f"the tensor of node {name!r:.60} has the shape {shape!r:.60}",
    )
    if dtype.startswith("complex"):
        _need(shape[-1:] == [2], f"the tensor of node {name!r:.60} holds no pairs of reals")
        shape = shape[:-1]
    _need(len(shape) == count, f"node {name!r:.60} has {count} legs and {len(shape)} axes")
    return shape


def certificate_from_dict(data: Any) -> Certificate | None:
    """Return the certificate that `certificate_to_dict` wrote."""
    if data is None:
        return None
    keys = {"error", "kind", "bound", "discarded", "methods", "allowed"}
    _need(isinstance(data, dict) and set(data) == keys, "its certificate has other keys")
    numbers = [data["error"], data["bound"], data["allowed"]]
    discarded, methods = data["discarded"], data["methods"]
    _need(isinstance(discarded, dict) and isinstance(methods, dict), "its certificate is wrong")
    _need(_is_texts(list(methods.values())), "its certificate's methods are no texts")
    for number in [*numbers, *discarded.values()]:
        good = number is None or type(number) in (int, float)
        _need(good and (number is None or math.isfinite(number)), "its certificate has no numbers")
    try:
        return Certificate(
            error=_or_infinite(data["error"]),
            kind=ErrorKind(data["kind"]),
            bound=_or_infinite(data["bound"]),
            discarded={bond: _or_infinite(value) for bond, value in discarded.items()},
            methods=methods,
            allowed=None if data["allowed"] is None else float(data["allowed"]),
        )
    except (ValueError, TypeError, OverflowError) as error:
        raise _DamageError(f"its certificate is wrong ({error})") from None


def _or_infinite(value: float | None) -> float:
    return math.inf if value is None else float(value)
