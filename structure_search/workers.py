"""Who does the fits of a search: this process, threads, processes, devices or a cluster.

A fit depends on the data and on its job alone, so whoever does it finds the same bits, on one
BLAS thread and with arrays in one order in memory. The data go to each worker once.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, final

from contraction.arrays import Array, device, namespace, namespace_name, to_numpy
from contraction.errors import InputError, WorkerError
from contraction.torch_lapack import WORTH, is_loaded, shared
from contraction.workers.devices import Devices
from contraction.workers.kits import Bench, Kit
from contraction.workers.schedulers import Assignment, Crew, Scheduler, blas_limit
from structure_search.fitting import Fitted
from structure_search.results import ErrorOf
from structure_search.tasks.base import AbstractTask, Failed, FitJob, run_job
from tnet.als.entries import Entries
from tnet.network import Network

Done: TypeAlias = Fitted | Failed


@final
class Errand(NamedTuple):
    """A fit to be done by some worker."""

    number: int  # no two of one search have the same
    job: FitJob

    def __str__(self) -> str:
        return str(self.number)


@contextmanager
def fit_crew(workers: Scheduler, task: AbstractTask) -> Iterator[Crew]:
    """Have workers ready while the block runs; `Crew.run` takes an `Errand`.

    Raises
    ------
    BackendError
        The data are not on the host, and the workers elsewhere.
    DeviceError
        A device or a cluster is not there.
    InputError
        Devices are to fit a loss, which knows its own.
    """
    if isinstance(workers, Devices) and task.error_of is ErrorOf.LOSS:
        raise InputError("a loss has its own device: give Loss(..., device='cuda:0'), no Devices.")
    kit, arrays = pack_task(task)
    bench = FitBench(task, limit=partial(blas_limit, workers))
    with workers.staff(Assignment(kit, arrays, bench, FitMail)) as crew:
        yield crew._replace(run=partial(_surviving, crew.run, task.like))


def _surviving(run: Callable[[Errand], Done], like: Array, errand: Errand) -> Done:
    """Return what workers find; a fit that ends its workers time and again has failed."""
    try:
        found = run(errand)
    except WorkerError as error:
        return Failed(reason=f"{type(error).__name__}: {error}")
    if isinstance(found, Failed):
        return found
    return replace(found, network=beside(found.network, like))


@final
class FitBench(Bench):
    """Does fits.

    Parameters
    ----------
    task
        What is fitted, its arrays where the fits are to be done.
    to_host
        Whether networks are brought to the host.
    limit
        Limits the threads of BLAS for a fit.
    """

    def __init__(
        self,
        task: AbstractTask,
        *,
        to_host: bool = False,
        limit: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self._task, self._to_host, self._limit = task, to_host, limit

    def run(self, task: Errand) -> Done:
        """Return the fit of an errand, or why it failed."""
        job = task.job
        if job.start is not None:
            job = replace(job, start=in_rows(beside(job.start, self._task.like)))
        with self._limit(), one_torch_thread():
            found = run_job(self._task, job)
        if isinstance(found, Failed):
            return found
        net = found.network.to(namespace="numpy", device="cpu") if self._to_host else found.network
        return replace(found, network=in_rows(net))


def beside(net: Network, like: Array) -> Network:
    """Return a network in the namespace and on the device of an array."""
    library, where = namespace_name(like), device(like)
    there = all(namespace_name(x) == library and device(x) == where for x in net.arrays.values())
    return net if there else net.to(namespace=library, device=where)


@final
@dataclass(frozen=True, kw_only=True)
class FitKit(Kit):
    """A task without its arrays.

    Attributes
    ----------
    kind, state
        Class of the task, and what it holds beside the arrays.
    names
        Where the arrays belong: an attribute, or one of the fields of its entries.
    shapes
        Attribute -> shape of the tensor, for attributes that are `Entries`.
    library
        That the arrays shall be of.
    moved
        Whether they are on a device for these fits alone.
    with_torch
        Whether PyTorch was loaded, and lends its factorisations to NumPy for data of this size.
    """

    kind: type[AbstractTask]
    state: Mapping[str, Any] = field(repr=False)
    names: tuple[tuple[str, str], ...]
    shapes: Mapping[str, tuple[int, ...]]
    library: str
    moved: bool = False
    with_torch: bool = False

    def build(self, arrays: Sequence[Any]) -> FitBench:
        """Return the bench of these arrays."""
        if self.with_torch:
            import torch  # noqa: F401
        held = dict(zip(self.names, map(self._brought, arrays), strict=True))
        state = {**self.state, **{name: x for (name, part), x in held.items() if not part}}
        for name, shape in self.shapes.items():
            indices = to_numpy(held[name, "indices"])
            state[name] = Entries(indices, held[name, "values"], shape)
        task = self.kind.__new__(self.kind)
        task.__dict__.update(state)
        return FitBench(task, to_host=self.moved)

    def for_library(self, library: str, move: Callable[[Any], Any]) -> FitKit:
        """Return the same task for arrays of a library."""
        return replace(self, library=library, moved=True)

    def _brought(self, x: Any) -> Any:
        if namespace_name(x) == self.library or self.library != "torch":
            return x
        return shared(x)


def pack_task(task: AbstractTask) -> tuple[FitKit, list[Any]]:
    """Return a task as a kit and its arrays; those of the host are NumPy's."""
    state: dict[str, Any] = dict(task.__getstate__())  # type: ignore[call-overload]
    found: dict[tuple[str, str], Any] = {}
    shapes = {}
    for name, value in list(state.items()):
        if isinstance(value, Entries):
            found[name, "indices"], found[name, "values"] = value.indices, value.values
            shapes[name] = value.shape
        elif _is_array(value):
            found[name, ""] = value
        else:
            continue
        del state[name]
    kit = FitKit(
        kind=type(task),
        state=state,
        names=tuple(found),
        shapes=shapes,
        library=namespace_name(task.like),
        with_torch=is_loaded() and 2.0 * math.prod(task.modes.values()) ** 1.5 >= WORTH,
    )
    return kit, [to_numpy(x) if device(x) == "cpu" else x for x in found.values()]


def _is_array(value: Any) -> bool:
    library = type(value).__module__.partition(".")[0]
    return library in ("numpy", "torch", "cupy") and getattr(value, "ndim", 0) > 0


@final
@dataclass(frozen=True)
class FitMail:
    """Fits and their results through a pipe, networks as arrays of NumPy."""

    folder: Path

    def pack(self, task: Errand) -> Errand:
        """Return an errand with the network to begin from on the host."""
        start = task.job.start
        return task if start is None else task._replace(job=replace(task.job, start=_host(start)))

    def write(self, task: Errand, result: Done) -> Done:
        """Return a result with its network on the host."""
        if isinstance(result, Failed):
            return result
        return replace(result, network=_host(result.network))

    def collect(self, task: Errand, letter: Done) -> Done:
        """Return the result."""
        return letter


def _host(net: Network) -> Network:
    return net.to(namespace="numpy", device="cpu")


def in_rows(net: Network) -> Network:
    """Return a network with its arrays in C order, as files hold them.

    BLAS takes other ways through other orders, and rounds otherwise.

    Examples
    --------
    >>> import numpy as np
    >>> from tnet.formats import tensor_train
    >>> s = tensor_train((2, 3), 2)
    >>> net = Network(s, {"g0": np.ones((2, 2)), "g1": np.asfortranarray(np.ones((2, 3)))})
    >>> in_rows(net)["g1"].flags.c_contiguous
    True
    """
    held = {node: _in_rows(x) for node, x in net.arrays.items()}
    if all(held[node] is x for node, x in net.arrays.items()):
        return net
    return Network(net.structure, held, net.center, net.certificate)


def _in_rows(x: Any) -> Any:
    if namespace_name(x) == "torch":
        return x.contiguous()  # itself, if it is
    return x if x.flags.c_contiguous else namespace(x).asarray(x, order="C")


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Limit the threads of PyTorch to one, where it is loaded; sums differ with their number."""
    torch: Any = sys.modules.get("torch")
    before = 1 if torch is None else torch.get_num_threads()
    if before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
