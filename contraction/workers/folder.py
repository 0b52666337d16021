"""Run folders: what a contraction is, and the results of its tasks, so that it can go on.

manifest.json   the plan, the inputs with their hashes, the kernels, the tasks; written last
inputs.bin      the inputs
parts/          one file for each finished task
result.npy      the result, and
result.json     its hash; then inputs and parts are removed
lock            held by the process that works here (`contraction.folder_lock`)
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, final

import numpy as np
from numpy.typing import NDArray

from contraction.atomic import sync_folder, write_text, write_with
from contraction.errors import CheckpointError, InputError
from contraction.folder_lock import LOCK, OWNER, run_lock
from contraction.workers.parts import Parts
from contraction.workers.stored import Stored, describe, digests, read_arrays, write_arrays

FORMAT, VERSION = "tnet contraction", 1
MANIFEST, INPUTS, PARTS = "manifest.json", "inputs.bin", "parts"
RESULT, RESULT_FACTS = "result.npy", "result.json"
LARGEST_MANIFEST = 1 << 30


@final
@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a run folder says about its contraction.

    Attributes
    ----------
    plan
        The plan, as `Plan.to_dict` writes it.
    inputs
        Where the inputs lie in `inputs.bin`.
    hashes
        SHA-256 of each input.
    kernels
        `Blueprint.fingerprint`.
    tasks
        `Job.tasks`.
    """

    plan: Mapping[str, Any]
    inputs: tuple[Stored, ...]
    hashes: tuple[str, ...]
    kernels: str
    tasks: tuple[tuple[int, ...], ...]

    @property
    def key(self) -> str:
        """A hash of everything: of what the parts are results."""
        return hashlib.sha256(self._text().encode()).hexdigest()

    def to_text(self) -> str:
        """Return the manifest as JSON."""
        return json.dumps({"key": self.key, **json.loads(self._text())}, indent=1)

    def _text(self) -> str:
        inputs = [
            {**stored._asdict(), "sha256": digest}
            for stored, digest in zip(self.inputs, self.hashes, strict=True)
        ]
        document = {
            "format": FORMAT,
            "version": VERSION,
            "plan": self.plan,
            "inputs": inputs,
            "kernels": self.kernels,
            "tasks": self.tasks,
        }
        return json.dumps(document, sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> Manifest:
        """Return the manifest that `to_text` wrote.

        Raises
        ------
        CheckpointError
            Damaged, of another kind, or of a newer version.
        """
        try:
            data = json.loads(text)
            if data["format"] != FORMAT or data["version"] > VERSION:
                raise ValueError(f"{data['format']!r}, version {data['version']!r}")
            inputs = data["inputs"]
            found = cls(
                plan=data["plan"],
                inputs=tuple(
                    Stored(
                        np.dtype(x["dtype"]).str, tuple(x["shape"]), tuple(x["axes"]), x["offset"]
                    )
                    for x in inputs
                ),
                hashes=tuple(x["sha256"] for x in inputs),
                kernels=data["kernels"],
                tasks=tuple(map(tuple, data["tasks"])),
            )
            if found.key != data["key"]:
                raise ValueError("the checksum is wrong")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise CheckpointError(
                f"the manifest is damaged or of a newer version: {error}. Begin in a new folder."
            ) from error
        return found


@final
class RunFolder:
    """A folder that this process works in; made by `run_folder`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def manifest(self) -> Manifest | None:
        """Return what the folder says of itself; None if nothing was begun in it."""
        try:
            if (self.path / MANIFEST).stat().st_size > LARGEST_MANIFEST:
                raise CheckpointError(f"the manifest in {self.path} is too large.")
            text = (self.path / MANIFEST).read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except UnicodeDecodeError as error:
            raise CheckpointError(f"the manifest in {self.path} is damaged: {error}.") from error
        return Manifest.from_text(text)

    def begin(self, manifest: Manifest, inputs: Sequence[NDArray[Any]]) -> None:
        """Write inputs and manifest; a folder without manifest was never begun."""
        (self.path / PARTS).mkdir(exist_ok=True)
        write_with(self.path / INPUTS, lambda stream: write_arrays(stream, inputs))
        write_text(self.path / MANIFEST, manifest.to_text())

    def inputs(self, manifest: Manifest) -> list[NDArray[Any]]:
        """Return the inputs, mapped read-only.

        Raises
        ------
        CheckpointError
            They are gone, or not those of the manifest.
        """
        try:
            found = read_arrays(self.path / INPUTS, manifest.inputs)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"the inputs in {self.path} cannot be read: {error}.") from error
        check_hashes(manifest, found, f"the copy in {self.path}")
        return found

    def parts(self, manifest: Manifest) -> Parts:
        """Return the results of tasks; what a killed process left half-written is removed."""
        folder = self.path / PARTS
        folder.mkdir(exist_ok=True)
        for left in (*folder.glob(".*.tmp"), *self.path.glob(".*.tmp")):
            with suppress(OSError):
                left.unlink()
        return Parts(folder, manifest.key, True)

    def result(self, manifest: Manifest) -> NDArray[Any] | None:
        """Return the result, if it is there and whole."""
        try:
            facts = json.loads((self.path / RESULT_FACTS).read_bytes())
            with open(self.path / RESULT, "rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
                if facts["key"] != manifest.key or facts["sha256"] != digest:
                    return None
                stream.seek(0)
                found: NDArray[Any] = np.load(stream, allow_pickle=False)
        except (OSError, EOFError, ValueError, KeyError, TypeError, RecursionError):
            return None
        self._tidy()  # a process killed in the midst of it could not
        return found

    def finish(self, manifest: Manifest, result: NDArray[Any]) -> None:
        """Write the result, and then remove what led to it."""
        save_array(self.path / RESULT, result)
        with open(self.path / RESULT, "rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        write_text(self.path / RESULT_FACTS, json.dumps({"key": manifest.key, "sha256": digest}))
        self._tidy()

    def _tidy(self) -> None:
        """Remove what led to the result."""
        shutil.rmtree(self.path / PARTS, ignore_errors=True)
        for path in (self.path / INPUTS, *self.path.glob(".*.tmp")):
            with suppress(OSError):
                path.unlink()


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Write an array as a `.npy` file, whole or not at all."""

    def write(stream: BinaryIO) -> None:
        np.lib.format.write_array(stream, np.asarray(array), allow_pickle=False)

    write_with(path, write)


def describe_run(
    plan: Mapping[str, Any],
    inputs: Sequence[NDArray[Any]],
    kernels: str,
    tasks: Sequence[tuple[int, ...]],
) -> Manifest:
    """Return the manifest of a new run. Reads all inputs."""
    return Manifest(
        plan=json.loads(json.dumps(plan)),
        inputs=describe(inputs),
        hashes=tuple(digests(inputs)),
        kernels=kernels,
        tasks=tuple(tasks),
    )


def check_hashes(manifest: Manifest, inputs: Sequence[Any], what: str) -> None:
    """Raise `CheckpointError` unless `inputs` are those of the manifest. Reads all of them."""
    if len(inputs) != len(manifest.inputs):
        raise CheckpointError(
            f"the run was begun with {len(manifest.inputs)} inputs, {what} has {len(inputs)}."
        )
    now = describe(inputs)
    for i, (x, stored) in enumerate(zip(now, manifest.inputs, strict=True)):
        same = x[:3] == stored[:3]
        if not same or digests([inputs[i]])[0] != manifest.hashes[i]:
            raise CheckpointError(
                f"input {i} is not the one that the run was begun with ({what}): "
                + (
                    "its entries differ."
                    if same
                    else f"it was {stored.dtype} {stored.shape} in memory, now {x.dtype} {x.shape}."
                )
            )


@contextmanager
def run_folder(path: str | os.PathLike[str], *, new: bool) -> Iterator[RunFolder]:
    """Hold the lock of a run folder, which is made if it may be `new`.

    Raises
    ------
    InputError
        It holds something else, or is not there.
    RunLockedError
        A living process holds it.
    """
    folder = Path(path)
    if new and not folder.exists():
        if not folder.absolute().parent.is_dir():
            raise InputError(
                f"the folder {str(folder.absolute().parent)!r} for the run folder does not exist; "
                "make it first."
            )
        folder.mkdir(exist_ok=True)  # another process may have been faster
        sync_folder(folder.parent)
    if not folder.is_dir():
        raise InputError(
            f"{str(folder)!r} is a file, not a run folder."
            if folder.exists()
            else f"there is no run folder {str(folder)!r}."
        )
    ours = {MANIFEST, INPUTS, PARTS, RESULT, RESULT_FACTS, LOCK, OWNER}
    strange = [x.name for x in folder.iterdir() if x.name not in ours and x.suffix != ".tmp"]
    if strange and not (folder / MANIFEST).exists():
        raise InputError(
            f"{str(folder)!r} holds {sorted(strange)[0]!r} and no contraction; name a new folder."
        )
    with run_lock(folder):
        yield RunFolder(folder)
