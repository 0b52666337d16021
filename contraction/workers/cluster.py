"""Dask: workers of a cluster, on this machine or others."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from threading import Event, Lock
from typing import Any, final

from contraction.blas_threads import threads_for
from contraction.errors import DeviceError, InputError, WorkerError
from contraction.units import parse_seconds
from contraction.workers.kits import Bench, Kit
from contraction.workers.processes import check_host_arrays
from contraction.workers.schedulers import Assignment, Crew, Scheduler, check_workers


@final
@dataclass(frozen=True, kw_only=True)
class Dask(Scheduler):
    """The workers of a Dask cluster, each with one BLAS thread.

    The arrays are sent to every worker once. A worker that is lost is replaced by the others.
    For the bits to be those of other schedulers the workers need the same version of NumPy and
    processors of the same kind.

    Parameters
    ----------
    address
        Of the scheduler, such as ``"tcp://10.0.0.1:8786"``.
    client
        Instead of an address, a `distributed.Client`, which stays open.
    timeout
        Seconds to wait for the scheduler to answer: a number, or text such as "5s".
    attempts
        How often a task may be lost with its worker before the run is given up.

    Examples
    --------
    >>> Dask(address="tcp://10.0.0.1:8786").timeout
    5.0
    """

    address: str = ""
    client: Any = field(default=None, repr=False, compare=False)
    timeout: float = 5.0
    attempts: int = 3

    def __post_init__(self) -> None:
        if bool(self.address) is (self.client is not None):
            raise InputError("Dask needs either the `address` of a scheduler or a `client`.")
        object.__setattr__(self, "timeout", parse_seconds(self.timeout, name="timeout"))
        check_workers(self.attempts, name="attempts")

    @contextmanager
    def staff(self, work: Assignment) -> Iterator[Crew]:
        """Have the cluster do the work."""
        check_host_arrays(work.arrays)
        client = self.client or _client(self.address, self.timeout)
        try:
            threads = sum(client.nthreads().values())
            if not threads:
                where = self.address or client.scheduler.address
                raise DeviceError(
                    f"the Dask scheduler at {where} has no workers; start one with "
                    f"`dask worker {where}`."
                )
            parcel = Parcel(uuid.uuid4().hex, work.kit, work.arrays)
            post = Post(client, parcel, self.attempts)
            yield Crew(min(threads, work.bench.most), post.run, abort=post.close)
        finally:
            if self.client is None:
                client.close()


@final
@dataclass(frozen=True)
class Parcel:
    """Work for the workers of a cluster, its arrays included."""

    name: str  # no two runs have the same
    kit: Kit = field(compare=False)
    arrays: Sequence[Any] = field(compare=False)


def do_parcel_task(parcel: Parcel, task: Any) -> Any:
    """Do one task of a parcel; runs in the workers."""
    with threads_for(0.0):
        return _bench(parcel).run(task)


@lru_cache(maxsize=1)
def _bench(parcel: Parcel) -> Bench:
    return parcel.kit.build(parcel.arrays)


@final
class Post:
    """Sends tasks to a cluster, and the parcel again should every copy of it be lost."""

    def __init__(self, client: Any, parcel: Parcel, attempts: int) -> None:
        self._client, self._parcel, self._attempts = client, parcel, attempts
        self._lock, self._closed = Lock(), Event()
        self._under_way: set[Any] = set()
        self._sent = self._send()

    def run(self, task: Any) -> Any:
        """Have the cluster do a task, and return its result.

        Raises
        ------
        WorkerError
            Its workers were lost time and again.
        """
        from distributed.scheduler import KilledWorker

        lost: Exception | None = None
        for _ in range(self._attempts):
            sent = self._sent
            try:
                if self._closed.is_set():
                    raise WorkerError("the run was given up.")
                future = self._client.submit(do_parcel_task, sent, task, pure=False)
                self._under_way.add(future)
                try:
                    return future.result()
                finally:
                    self._under_way.discard(future)
            except KilledWorker as error:
                lost = error
            except Exception as error:
                if self._closed.is_set() or not sent.cancelled():
                    raise
                lost = error  # every worker that held the arrays has gone
                self._send_again(sent)
        raise WorkerError(
            f"task {task} lost its worker on the cluster {self._attempts} times; look at the logs "
            f"of the workers for why they ended ({type(lost).__name__}: {lost})."
        ) from lost

    def close(self) -> None:
        """Have the calls under way fail."""
        self._closed.set()
        self._client.cancel(list(self._under_way))

    def _send(self) -> Any:
        return self._client.scatter(self._parcel, broadcast=True, hash=False)

    def _send_again(self, lost: Any) -> None:
        with self._lock:
            if self._sent is lost:
                self._sent = self._send()


def check_cluster(address: str, timeout: float) -> None:
    """Raise `DeviceError` unless a scheduler answers at `address` within `timeout` seconds."""
    _client(address, timeout).close()


def _client(address: str, timeout: float) -> Any:
    try:
        from distributed import Client
        from distributed.comm.addressing import parse_address, parse_host_port
    except ImportError as error:
        raise DeviceError(
            "a Dask cluster needs the package distributed: pip install 'tnet[distributed]'."
        ) from error
    try:
        # first, for a client that was never whole complains when it is thrown away
        parse_host_port(parse_address(address)[1])
    except ValueError as error:
        raise DeviceError(
            f"{address!r} is no address of a Dask scheduler, which looks like "
            "'tcp://10.0.0.1:8786'."
        ) from error
    try:
        return Client(address, timeout=timeout, set_as_default=False, name="tnet")
    except (OSError, ValueError) as error:  # OSError: nobody there; ValueError: no such address
        raise DeviceError(
            f"no Dask scheduler answers at {address!r} within {timeout:g} s; start one with "
            "`dask scheduler`, or check the address."
        ) from error
