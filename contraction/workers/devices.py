"""Devices: GPUs that share out the tasks of a job. Arrays of the host in, an array of it out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, final

import numpy as np

from contraction.arrays import (
    device,
    namespace_by_name,
    namespace_name,
    require_device,
    to,
    to_numpy,
)
from contraction.errors import BackendError, InputError, MemoryBudgetError
from contraction.memory import free_memory
from contraction.torch_lapack import shared
from contraction.workers.kits import Kit
from contraction.workers.schedulers import Assignment, Crew, Scheduler

LIBRARIES = ("torch", "cupy")


@final
@dataclass(frozen=True, kw_only=True)
class Devices(Scheduler):
    """Devices, each with a thread and a stream of its own.

    The inputs, and what is the same for all slices, are moved to every device once. Results come
    back to the host, where they are put together in their fixed order: for devices of one kind
    the result is bitwise the same however many there are.

    Parameters
    ----------
    names
        The devices, as "cuda:0". One that is named twice has two streams, and holds all twice.
    library
        Whose kernels run there: "torch" or "cupy".

    Notes
    -----
    Every device needs memory for all inputs and for one slice. The plan is that of the arrays
    given: tensors of the host (`torch.from_numpy` shares memory) have one made for PyTorch's
    kernels, NumPy arrays one for NumPy's.

    Examples
    --------
    >>> Devices(names=("cuda:0", "cuda:1")).library
    'torch'
    """

    names: tuple[str, ...]
    library: str = "torch"

    def __post_init__(self) -> None:
        named = isinstance(self.names, tuple) and all(isinstance(x, str) for x in self.names)
        if not (named and self.names):
            raise InputError(
                f"`names` is a tuple such as ('cuda:0', 'cuda:1'), got {self.names!r}."
            )
        if self.library not in LIBRARIES:
            raise InputError(f"`library` is one of {', '.join(LIBRARIES)}; got {self.library!r}.")

    @contextmanager
    def staff(self, work: Assignment) -> Iterator[Crew]:
        """Have the devices hold the arrays while the block runs.

        Raises
        ------
        DeviceError
            A device, or the library, is not there.
        BackendError
            The arrays are not on the host.
        MemoryBudgetError
            The inputs alone do not fit a device.
        """
        for x in work.arrays:
            if device(x) != "cpu":
                raise BackendError(f"devices are given arrays of the host, got one on {device(x)}.")
        for name in dict.fromkeys(self.names):
            self._check(name, work.arrays)
        seats: SimpleQueue[Seat] = SimpleQueue()
        for name in self.names:
            seats.put(Seat(self.library, name, work.kit, work.arrays))

        def run(task: Any) -> Any:
            seat = seats.get()
            try:
                return seat.run(task)
            finally:
                seats.put(seat)

        yield Crew(min(len(self.names), work.bench.most), run)

    def _check(self, name: str, arrays: Sequence[Any]) -> None:
        namespace_by_name(self.library)
        require_device(self.library, name)
        needed = self.names.count(name) * sum(int(x.nbytes) for x in arrays)
        free = free_memory(self.library, name)
        if needed > free:
            raise MemoryBudgetError(
                f"the inputs take {needed:,} bytes on {name}, where {free:,} are free; name fewer "
                "devices, or contract on the host."
            )


@final
class Seat:
    """One stream of one device, with the bench."""

    def __init__(self, library: str, name: str, kit: Kit, arrays: Sequence[Any]) -> None:
        self._library, self._name = library, name
        self._stream = None if name == "cpu" else _new_stream(library, name)
        self._numpy = all(isinstance(x, np.ndarray) for x in arrays)
        with self._inside():
            held = [self._moved(x) for x in arrays]
            self._bench = kit.for_library(library, self._moved).build(held)
        self._wait()

    def run(self, task: Any) -> Any:
        """Do a task on the device, and return its result, if it is an array on the host."""
        with self._inside():
            result: Any = self._bench.run(task)
            is_array = hasattr(result, "dtype")  # of anything else the bench sees to where it is
            if is_array and self._stream is not None and self._library == "torch":
                result = _pinned_copy(result)
            elif is_array and self._stream is not None:
                result = to_numpy(result)  # waits for this stream
        self._wait()
        if not is_array:
            return result
        if self._numpy:
            return to_numpy(result)
        return result if namespace_name(result) == "torch" else to(result, namespace="torch")

    def _moved(self, x: Any) -> Any:
        if self._library == "cupy":
            return to(x, namespace="cupy", device=self._name)
        tensor = shared(x) if isinstance(x, np.ndarray) else x
        if self._stream is None:
            return tensor
        if not tensor.numel():
            return tensor.to(self._name)
        return tensor.pin_memory().to(self._name, non_blocking=True)

    def _wait(self) -> None:
        if self._stream is not None:
            self._stream.synchronize()

    @contextmanager
    def _inside(self) -> Iterator[None]:
        """Make the device and the stream the current ones of this thread."""
        with ExitStack() as stack:
            for manager in _current(self._library, self._name, self._stream):
                stack.enter_context(manager())
            yield


def _new_stream(library: str, name: str) -> Any:
    if library == "torch":
        import torch

        return torch.cuda.Stream(name)
    import cupy

    with cupy.cuda.Device(int(name.partition(":")[2] or 0)):
        return cupy.cuda.Stream(non_blocking=True)


def _current(
    library: str, name: str, stream: Any
) -> list[Callable[[], AbstractContextManager[Any]]]:
    """Return what has to be entered, in this order, for work on a stream of a device."""
    if stream is None:
        return [nullcontext]
    if library == "torch":
        import torch

        return [lambda: torch.cuda.stream(stream)]  # which chooses the device of the stream
    import cupy

    return [lambda: cupy.cuda.Device(int(name.partition(":")[2] or 0)), lambda: stream]


def _pinned_copy(x: Any) -> Any:
    """Begin to copy a tensor to memory of the host that the device can write to directly."""
    import torch

    host = torch.empty(x.shape, dtype=x.dtype, pin_memory=True)
    return host.copy_(x, non_blocking=True)
