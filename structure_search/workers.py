"""Who does the fits of a search: this process, threads, processes, devices or a cluster.

A fit depends on the data and on its job alone, so whoever does it finds the same bits, on one
BLAS thread and with arrays in one order in memory. The data go to each worker once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, final

import tnet
from contraction.arrays import device, namespace, namespace_name
from contraction.errors import WorkerError
from contraction.workers.kits import Bench, Kit
from contraction.workers.schedulers import Assignment, Crew, Scheduler, blas_limit
from structure_search.fitting import Fitted
from structure_search.results import Source
from structure_search.tasks.base import AbstractTask, Failed, FitJob, run_job
from tnet.network import Network
from tnet.storage import write_network


@final
class Errand(NamedTuple):
    """A fit to be done by some worker."""

    number: int  # no two of one search have the same
    job: FitJob
    start: Path | None = None  # the file of the network to begin from, if it went by file

    def __str__(self) -> str:
        return str(self.number)


@contextmanager
def fit_crew(workers: Scheduler, task: AbstractTask) -> Iterator[Crew]:
    """Have workers ready while the block runs; `Crew.run` takes an `Errand`.

    Raises
    ------
    BackendError
        The workers are processes and the data no NumPy arrays.
    DeviceError
        A device or a cluster is not there.
    """
    kit, arrays = pack_task(task)
    bench = FitBench(task, limit=partial(blas_limit, workers))
    with workers.staff(Assignment(kit, arrays, bench, FitMail)) as crew:
        yield crew._replace(run=partial(_surviving, crew.run))


def _surviving(run: Callable[[Errand], Fitted | Failed], errand: Errand) -> Fitted | Failed:
    """Return what workers find; a fit that ends its workers time and again has failed."""
    try:
        return run(errand)
    except WorkerError as error:
        return Failed(reason=f"{type(error).__name__}: {error}")


@final
class FitBench(Bench):
    """Does fits.

    Parameters
    ----------
    task
        What is fitted, its arrays where the fits are to be done.
    home
        Library of the arrays that results shall have, on the host; None leaves them.
    limit
        Limits the threads of BLAS for a fit.
    """

    def __init__(
        self,
        task: AbstractTask,
        *,
        home: str | None = None,
        limit: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self._task, self._home, self._limit = task, home, limit

    def run(self, task: Errand) -> Fitted | Failed:
        """Return the fit of an errand, or why it failed."""
        job = task.job
        start = job.start if task.start is None else tnet.load(task.start)
        if start is not None:
            if self._home is not None:
                x = self._task.x
                start = start.to(namespace=namespace_name(x), device=device(x))
            job = replace(job, start=in_rows(start))
        with self._limit(), one_torch_thread():
            found = run_job(self._task, job)
        if isinstance(found, Failed):
            return found
        net = found.network
        if self._home is not None:
            net = net.to(namespace=self._home, device="cpu")
        return replace(found, network=in_rows(net))


@final
@dataclass(frozen=True, kw_only=True)
class FitKit(Kit):
    """A task without its arrays.

    Attributes
    ----------
    kind, state
        Class of the task, and what it holds beside the arrays.
    names
        Of the arrays.
    home
        Their library, where fits are done in another.
    with_torch
        Whether PyTorch was loaded, which lends its factorisations to NumPy.
    """

    kind: type[AbstractTask]
    state: Mapping[str, Any] = field(repr=False)
    names: tuple[str, ...]
    library: str
    home: str | None = None
    with_torch: bool = False

    def build(self, arrays: Sequence[Any]) -> FitBench:
        """Return the bench of these arrays."""
        if self.with_torch:
            import torch  # noqa: F401
        task = self.kind.__new__(self.kind)
        task.__dict__.update(self.state, **dict(zip(self.names, arrays, strict=True)))
        return FitBench(task, home=self.home)

    def for_library(self, library: str, move: Callable[[Any], Any]) -> FitKit:
        """Return the same task for arrays of a library."""
        return replace(self, library=library, home=self.library)


def pack_task(task: AbstractTask) -> tuple[FitKit, list[Any]]:
    """Return a task as a kit and its arrays."""
    state: dict[str, Any] = dict(task.__getstate__())  # type: ignore[call-overload]
    names = tuple(name for name, value in state.items() if _is_array(value))
    arrays = [state.pop(name) for name in names]
    kit = FitKit(
        kind=type(task),
        state=state,
        names=names,
        library=namespace_name(task.x),
        with_torch="torch" in sys.modules,
    )
    return kit, arrays


def _is_array(value: Any) -> bool:
    library = type(value).__module__.partition(".")[0]
    return library in ("numpy", "torch", "cupy") and hasattr(value, "shape") and value.ndim > 0


@final
@dataclass(frozen=True)
class FitMail:
    """Fits and their results as files of one folder."""

    folder: Path

    def pack(self, task: Errand) -> Errand:
        """Write the network to begin from to a file."""
        if task.job.start is None:
            return task
        path = self.folder / f"{task.number}.start"
        _write(path, task.job.start)
        return task._replace(job=replace(task.job, start=None), start=path)

    def write(self, task: Errand, result: Fitted | Failed) -> None:
        """Write a result: the network, then the facts, which say that it is whole."""
        if isinstance(result, Fitted):
            _write(self._path(task, "network"), result.network)
            facts = {x.name: getattr(result, x.name) for x in fields(Fitted)}
            facts = {**facts, "network": None, "source": result.source.value}
        else:
            facts = asdict(result)
        self._path(task, "json").write_text(json.dumps(facts), encoding="utf-8")

    def collect(self, task: Errand) -> Fitted | Failed | None:
        """Return a result, and remove its files."""
        try:
            facts = json.loads(self._path(task, "json").read_text(encoding="utf-8"))
            if "reason" in facts:
                return Failed(**facts)
            net = tnet.load(self._path(task, "network"))
            return Fitted(**{**facts, "network": net, "source": Source(facts["source"])})
        except (OSError, ValueError, KeyError, TypeError):
            return None
        finally:
            for kind in ("start", "network", "json"):
                with suppress(OSError):
                    self._path(task, kind).unlink()

    def _path(self, task: Errand, kind: str) -> Path:
        return self.folder / f"{task.number}.{kind}"


def _write(path: Path, net: Network) -> None:
    with open(path, "wb") as stream:
        write_network(stream, net)


def in_rows(net: Network) -> Network:
    """Return a network with its arrays in C order, as files hold them.

    BLAS takes other ways through other orders, and rounds otherwise.

    Examples
    --------
    >>> import numpy as np
    >>> s = tnet.tensor_train((2, 3), 2)
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
