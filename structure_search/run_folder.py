"""One run folder while a search works in it: locks it, writes it, and reads it to go on."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from contraction.arrays import Array, dtype_name, to_numpy
from contraction.errors import InputError
from contraction.folder_lock import LOCK, OWNER, run_lock
from structure_search import journal
from structure_search.flushing import LateFlush
from structure_search.results import Candidate, Counts, Evaluation, Outcome
from structure_search.store import NetworkStore
from tnet.network import Network

SECONDS_BETWEEN_BEST = 2.0


def fingerprint(x: Array) -> str:
    """Return the sha256 of dtype, shape and entries (in C order), read in pieces.

    Examples
    --------
    >>> fingerprint(np.zeros((2, 3))) == fingerprint(np.asfortranarray(np.zeros((2, 3))))
    True
    """
    digest = hashlib.sha256(f"{dtype_name(x)}{tuple(map(int, x.shape))}".encode())
    for k in range(int(x.shape[0])):
        digest.update(np.ascontiguousarray(to_numpy(x[k])).tobytes())
    return digest.hexdigest()


def version() -> str:
    """Return the version of the installed distribution."""
    try:
        return metadata.version("tnet")
    except metadata.PackageNotFoundError:
        return "0+unknown"


def describe_process() -> dict[str, Any]:
    """Return the versions that run.json records."""
    return {
        "format": journal.FORMAT,
        "tnet": version(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "argv": sys.argv[:64],
        "created": time.time(),
    }


def create(folder: Path, config: Mapping[str, Any]) -> None:
    """Make a run folder with its run.json.

    Raises
    ------
    InputError
        There is a run in it already, or it holds other files.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the run folder {folder} cannot be made: {error}.") from error
    with run_lock(folder):
        if (folder / journal.CONFIG).exists():
            raise InputError(
                f"{folder} holds a run already; go on with it (tnet resume {folder}, "
                "structure_search.resume), or choose another folder."
            )
        if not all(_left_by_a_kill(path.name) for path in folder.iterdir()):
            raise InputError(f"{folder} is not an empty folder; choose another one for the run.")
        try:
            journal.write_json(folder / journal.CONFIG, {**describe_process(), **config})
        except OSError as error:
            raise InputError(f"the run folder {folder} cannot be written: {error}.") from error


def _left_by_a_kill(name: str) -> bool:
    """Tell whether a process killed while it made the folder can have left this file."""
    return name in (LOCK, OWNER) or (name.startswith(f".{journal.CONFIG}.") and "tmp" in name)


class RunFolder:
    """Writes the events and the best network of one session."""

    def __init__(self, record: journal.RunRecord, store: NetworkStore) -> None:
        self.folder = record.folder
        self._session = sum(event["kind"] == "session" for event in record.events)
        self._store = store
        (self.folder / journal.BEST).mkdir(exist_ok=True)
        written = (e.get("network") for e in record.events if e["kind"] == "evaluation")
        places = {
            e.index: (place, e.structure)
            for e, place in zip(record.evaluations, written, strict=True)
            if place
        }
        store.open(self.folder, places)
        self._journal = journal.Journal(self.folder, seq=len(record.events), good=record.good_bytes)
        self._late = LateFlush(self._sync, seconds=journal.SECONDS_BETWEEN_SYNCS)
        self._written = -1  # index of the evaluation whose network is in best/
        self._when = time.monotonic()

    def begin(self, fields: Mapping[str, Any]) -> None:
        """Record that a session begins."""
        about = {"started": time.time(), "pid": os.getpid(), "host": socket.gethostname()}
        self._journal.append("session", {**about, "tnet": version(), **fields}, sync=True)

    def add(self, evaluation: Evaluation, *, best: bool) -> None:
        """Record one evaluation; its network goes to the disk before the line that names it."""
        if self._journal.due:
            self._store.sync()
        place = self._store.place(evaluation.index)
        fields = {**evaluation.to_dict(), "network": place, "best": best}
        self._journal.append("evaluation", {**fields, "session": self._session})
        if self._journal.dirty:
            self._late.soon()

    @property
    def best_is_due(self) -> bool:
        """Whether best/ was not written a moment ago."""
        return time.monotonic() - self._when >= SECONDS_BETWEEN_BEST

    def save_best(self, best: Candidate, net: Network, pareto: Sequence[Candidate]) -> None:
        """Write best/ in the midst of a session, or where an exception ends it."""
        self._save(best, net, pareto, {})

    def end(
        self,
        best: Candidate,
        net: Network,
        pareto: Sequence[Candidate],
        *,
        outcome: Outcome,
        counts: Counts,
        elapsed: float,
        spectra: Mapping[str, Any],
    ) -> None:
        """Write best/ and the last event of the session."""
        journal.write_json(self.folder / journal.BEST / journal.SPECTRA, spectra)
        self._save(best, net, pareto, {"outcome": outcome.name, "advice": outcome.value})
        self._store.sync()
        self._journal.append(
            "end",
            {
                "outcome": outcome.name,
                "advice": outcome.value,
                "evaluations": counts.requested,
                "counts": asdict(counts),
                "elapsed": elapsed,
            },
            sync=True,
        )

    def close(self) -> None:
        """Flush and close everything."""
        self._late.close()
        self._store.close()
        self._journal.close()

    def _sync(self) -> None:
        self._store.sync()
        self._journal.sync()

    def _save(
        self, best: Candidate, net: Network, pareto: Sequence[Candidate], more: Mapping[str, Any]
    ) -> None:
        import tnet

        place = self.folder / journal.BEST
        if best.index != self._written:
            tnet.save(place / journal.NETWORK, net)
        kind = net.certificate.kind.value if net.certificate else None
        metrics = {**best.to_dict(), "error_kind": kind, "dense_size": best.dense_size, **more}
        journal.write_json(place / journal.METRICS, metrics)
        journal.write_json(place / journal.PARETO, [c.to_dict() for c in pareto])
        self._written, self._when = best.index, time.monotonic()


@contextmanager
def opened(folder: Path, store: NetworkStore) -> Iterator[tuple[RunFolder, journal.RunRecord]]:
    """Lock a run folder, read it, and close it whatever happens.

    Raises
    ------
    RunLockedError
        Another process works in it.
    CheckpointError
        It is damaged.
    """
    journal.read_config(folder)
    with run_lock(folder):
        record = journal.read_run(folder)
        run = RunFolder(record, store)
        try:
            yield run, record
        except OSError as error:  # a full disk names no file
            if error.filename is None:
                error.filename = str(folder)
            raise
        finally:
            run.close()


def to_plain(data: Any) -> Any:
    """Return `data` if JSON can hold it.

    Raises
    ------
    InputError
        It cannot.
    """
    try:
        return json.loads(json.dumps(data, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InputError(f"a run folder cannot record {repr(data)[:300]}: {error}.") from error
