"""One HDF5 file per run, written whole beside the old one and put in its place.

Layout, schema 1::

    /                      attributes: schema, finished, kind
    /meta                  versions and machine; /meta/changes, /meta/failure
    /params                the TOML text; /params_now: what is followed now, as JSON
    /time                  (rows,), maxshape (None,): times, or sweeps of a ground-state search
    /observables/<name>    (rows, ...): norm, energy, and the measures
    /ranks                 (rows, bonds) with the names in /rank_names
    /truncation, /error, /step, /timing/seconds    (rows,)
    /state/entries         all cores one after the other, flat; /state/about says their shapes

HDF5 files that are appended to in place are lost when the process dies in the midst of it. So a
checkpoint is a whole new file, flushed to the disk and renamed over the old one, of which a hard
link is kept as ``NAME.previous.h5``. Texts are JSON in arrays of bytes, since attributes hold no
more than 64 KiB. The entries of the state come with their SHA-256.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from contraction import arrays as arrays_
from contraction import atomic
from contraction.errors import CheckpointError, DeviceError, TnetError
from integrators.flow import Row
from integrators.frame import Frame, frame_of
from integrators.simulation.records import (
    SCHEMA,
    Record,
    moment_from_plain,
    moment_to_plain,
    previous_of,
)
from integrators.tree_state import TreeState
from tnet.structure import Structure

PACKED = {"compression": "gzip", "shuffle": True}
FRESH = {"libver": "latest", "track_order": True}
IN_MEMORY = 2**28  # bytes of a state
LARGEST_RATIO = 10_000  # of unpacked to stored bytes
HARMLESS = 2**26


def need_h5py() -> Any:
    """Return h5py, or raise `DeviceError` saying how to install it."""
    try:
        import h5py
    except ImportError as error:
        raise DeviceError(
            "runs are kept in HDF5 files, which needs h5py; `pip install 'tnet[io]'` brings it."
        ) from error
    return h5py


def write_run(path: Path, record: Record) -> None:
    """Write a checkpoint; the file before it is kept beside it.

    Whatever happens at whatever moment, `path` holds the old checkpoint or the new one, whole.

    Raises
    ------
    OSError
        The disk is full, or the folder cannot be written to; the old checkpoint stays.
    """
    h5py = need_h5py()
    size = sum(int(core.nbytes) for core in map(arrays_.to_numpy, record.moment.state.cores))

    def write(stream: BinaryIO) -> None:
        # HDF5 ends the process where a disk is full: small files are made in memory, and large
        # ones only where there is room for them
        if size <= IN_MEMORY:
            with h5py.File("run", "w", driver="core", backing_store=False, **FRESH) as file:
                _fill(file, record)
                file.flush()
                stream.write(file.id.get_file_image())
            return
        if shutil.disk_usage(path.parent).free < 1.5 * size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        # HDF5 opens files by name; what it wrote is flushed through the stream of the same file
        with h5py.File(stream.name, "w", **FRESH) as file:
            _fill(file, record)

    def check(made: Path) -> None:
        _read(made)
        if path.exists():
            _keep_previous(path)

    atomic.write_with(path, write, check=check)


def _keep_previous(path: Path) -> None:
    """Give the file at `path` a second name; it keeps its own until it is replaced."""
    previous = previous_of(path)
    beside = previous.with_name(f".{previous.name}.tmp")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(beside)
    try:
        os.link(path, beside)
    except OSError:  # no hard links on this disk
        shutil.copyfile(path, beside)
    os.replace(beside, previous)


def _fill(file: Any, record: Record) -> None:
    file.attrs.update({"schema": SCHEMA, "finished": record.finished, "kind": record.kind})
    _text(file, "meta/about", dict(record.meta))
    _text(file, "meta/changes", list(record.changes))
    _text(file, "meta/failure", record.failure)
    _bytes(file, "params", record.text.encode())
    _text(file, "params_now", record.document)
    rows = record.rows
    _series(file, "time", [row.time for row in rows])
    _series(file, "observables/norm", [row.norm for row in rows])
    if any(row.energy is not None for row in rows):
        energies = [math.nan if row.energy is None else row.energy for row in rows]
        _series(file, "observables/energy", energies)
    for name, values in record.values.items():
        _series(file, f"observables/{name}", values)
    bonds = list(record.moment.state.ranks)
    _text(file, "rank_names", bonds)
    _series(file, "ranks", [[row.ranks[b] for b in bonds] for row in rows], np.int32, len(bonds))
    for name in ("truncation", "error", "step"):
        _series(file, name, [getattr(row, name) for row in rows])
    _series(file, "timing/seconds", record.seconds)
    _state(file, record)


def _state(file: Any, record: Record) -> None:
    cores = record.moment.state.cores
    flat = [np.ascontiguousarray(arrays_.to_numpy(core)).reshape(-1) for core in cores]
    entries = np.concatenate(flat)
    file.create_dataset("state/entries", data=entries, track_times=False)
    about = {
        **moment_to_plain(record.moment),
        "dtype": str(entries.dtype),
        "sha256": hashlib.sha256(entries.tobytes()).hexdigest(),
    }
    _text(file, "state/about", about)


def _text(file: Any, name: str, data: Any) -> None:
    _bytes(file, name, json.dumps(data, allow_nan=False).encode())


def _bytes(file: Any, name: str, content: bytes) -> None:
    data = np.frombuffer(content, dtype=np.uint8)
    packed = PACKED if len(data) > 256 else {}
    file.create_dataset(name, data=data, track_times=False, **packed)


def _series(file: Any, name: str, values: Any, dtype: Any = None, width: int = 0) -> None:
    """Write one value a row, resizable in the first axis."""
    data = np.asarray(values, dtype=dtype)
    if not len(data):
        data = np.zeros((0, width) if width else (0,), dtype=dtype or np.float64)
    rest = data.shape[1:]
    rows = max(1, min(len(data), 4096 // max(1, math.prod(rest))))
    file.create_dataset(
        name,
        data=data,
        maxshape=(None, *rest),
        chunks=(rows, *(max(1, n) for n in rest)),
        fletcher32=True,
        track_times=False,
    )


def read_run(path: str | os.PathLike[str]) -> Record:
    """Read the file of a run.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    Record
        Everything in it; arrays are on the host.

    Raises
    ------
    CheckpointError
        It is damaged, no run, or of a newer version of tnet. The checkpoint before it is at
        `NAME.previous.h5`.
    DeviceError
        h5py is not installed.
    FileNotFoundError
        There is no such file.
    """
    place = Path(path)
    if not place.is_file():
        raise FileNotFoundError(2, "there is no run file", str(place))
    return _read(place)


def read_last(path: Path) -> tuple[Record, str]:
    """Read a run, or the checkpoint before it if the file is damaged; and what happened.

    Raises
    ------
    CheckpointError
        Both are damaged.
    """
    try:
        return read_run(path), ""
    except CheckpointError as error:
        previous = previous_of(path)
        if "newer" in str(error) or not previous.is_file():
            raise
        return _read(previous), f"{error} Going on from the checkpoint before it, {previous}."


def _read(path: Path) -> Record:
    h5py = need_h5py()
    try:
        with h5py.File(path, "r") as file:
            return _record(_Reader(file, h5py, path))
    except TnetError:
        raise
    except (OSError, KeyError, ValueError, TypeError, IndexError, RuntimeError) as error:
        told = f"{type(error).__name__}: {str(error)[:200]}"
        raise CheckpointError(f"{path} is damaged, or no file of a run ({told}).") from error


class _Reader:
    """Reads data sets of one file through hard links only, and none that is not whole."""

    def __init__(self, file: Any, h5py: Any, path: Path) -> None:
        self.file, self.h5py, self.path = file, h5py, path

    def __contains__(self, name: str) -> bool:
        group, _, last = name.rpartition("/")
        held = self._group(group) if group else self.file
        return held is not None and last in held

    def array(self, name: str) -> Any:
        """Return a data set as an array of its own."""
        group, _, last = name.rpartition("/")
        found = self._item(self._group(group) if group else self.file, last)
        if not isinstance(found, self.h5py.Dataset) or found.external or found.is_virtual:
            raise CheckpointError(f"{self.path}: {name} is no plain data set.")
        stored = int(found.id.get_storage_size())
        if found.nbytes > max(HARMLESS, LARGEST_RATIO * stored) or found.dtype.kind not in "biufc":
            raise CheckpointError(f"{self.path}: {name} is not what a run holds.")
        return found[()]

    def text(self, name: str, default: Any = None) -> Any:
        """Return JSON, or the default where there is no such data set."""
        return json.loads(self.bytes(name)) if name in self else default

    def bytes(self, name: str) -> bytes:
        """Return a text as bytes."""
        content: bytes = self.array(name).tobytes()
        return content

    def names(self, group: str) -> list[str]:
        """Return what a group holds."""
        held = self._group(group)
        return [] if held is None else list(held)

    def _group(self, name: str) -> Any:
        found = self.file
        for part in name.split("/"):
            if part not in found:
                return None
            found = self._item(found, part)
        return found

    def _item(self, group: Any, name: str) -> Any:
        if not isinstance(group.get(name, getlink=True), self.h5py.HardLink):
            raise CheckpointError(f"{self.path}: {name} is missing, or leads to another file.")
        return group[name]


def _record(reader: _Reader) -> Record:
    schema = int(reader.file.attrs["schema"])
    if schema > SCHEMA:
        raise CheckpointError(
            f"{reader.path} was written by a newer tnet (schema {schema}, this one reads up to "
            f"{SCHEMA}); upgrade."
        )
    about = reader.text("state/about")
    state = _read_state(reader, about)
    rows, seconds = _read_rows(reader)
    return Record(
        document=reader.text("params_now", {}),
        text=reader.bytes("params").decode(),
        changes=reader.text("meta/changes", []),
        meta=reader.text("meta/about", {}),
        rows=rows,
        seconds=seconds,
        moment=moment_from_plain(about, state),
        finished=bool(reader.file.attrs.get("finished", False)),
        failure=reader.text("meta/failure", ""),
        schema=schema,
    )


def _read_state(reader: _Reader, about: Mapping[str, Any]) -> TreeState:
    entries = reader.array("state/entries")
    digest = hashlib.sha256(np.ascontiguousarray(entries).tobytes()).hexdigest()
    if digest != about["sha256"] or str(entries.dtype) != about["dtype"]:
        raise CheckpointError(f"{reader.path} is damaged: the state does not match its checksum.")
    structure = Structure.from_dict(about["structure"])
    frame = frame_of(structure, about["root"])
    cores, start = [], 0
    for shape in _shapes(frame, structure):
        size = math.prod(shape)
        cores.append(entries[start : start + size].reshape(shape).copy())
        start += size
    if start != len(entries):
        raise CheckpointError(f"{reader.path} is damaged: the state has not the size it says.")
    return TreeState(frame, tuple(cores))


def _shapes(frame: Frame, structure: Structure) -> list[tuple[int, ...]]:
    """Return the shapes of the cores of a state, by number of the node."""
    found = []
    for node in range(frame.count):
        above = structure.size[frame.bond[node]] if node else 1
        found.append((above, *(structure.size[slot.leg] for slot in frame.slots[node])))
    return found


def _read_rows(reader: _Reader) -> tuple[list[Row], list[float]]:
    times = reader.array("time")
    count = len(times)

    def column(name: str, default: float) -> Any:
        found = reader.array(name) if name in reader else np.full(count, default)
        if len(found) != count:
            raise CheckpointError(f"{reader.path} is damaged: {name} has not {count} rows.")
        return found

    measures = [n for n in reader.names("observables") if n not in ("norm", "energy")]
    norms, energies = column("observables/norm", 1.0), column("observables/energy", math.nan)
    values = {name: column(f"observables/{name}", 0.0) for name in measures}
    bonds, ranks = reader.text("rank_names", []), column("ranks", 0)
    columns = {name: column(name, 0.0) for name in ("truncation", "error", "step")}
    rows = [
        Row(
            time=float(times[k]),
            norm=float(norms[k]),
            energy=None if math.isnan(energies[k]) else float(energies[k]),
            ranks={bond: int(r) for bond, r in zip(bonds, ranks[k], strict=True)} if bonds else {},
            values={name: values[name][k] for name in measures},
            error=float(columns["error"][k]),
            truncation=float(columns["truncation"][k]),
            step=float(columns["step"][k]),
        )
        for k in range(count)
    ]
    return rows, [float(s) for s in column("timing/seconds", 0.0)]
