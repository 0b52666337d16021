"""Memory: how much is free, and how much a program has alive at once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from contraction.steps import tidied
from contraction.units import parse_bytes, parse_share
from contraction.ways import Kernel

if TYPE_CHECKING:
    from contraction.program import Load, Step


def available_memory() -> int:
    """Return the bytes of memory that can be allocated now, as far as the system says."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (ValueError, OSError, AttributeError):
        return 4 * 1024**3


def peak_size(
    loads: Sequence[Load],
    steps: Sequence[Step],
    owned: Sequence[int] = (),
    *,
    library: str = "numpy",
) -> int:
    """Return the most entries that a run of a program has alive at once.

    Parameters
    ----------
    loads, steps
        Of the program.
    owned
        For each input the entries that are freed with it: zero for arrays of the caller.
    library
        "numpy" has kernels that multiply and sum at once, and buffers; the others do not.
    """
    return max(sizes_alive(loads, steps, owned, library=library))


def sizes_alive(
    loads: Sequence[Load],
    steps: Sequence[Step],
    owned: Sequence[int] = (),
    *,
    library: str = "numpy",
) -> list[int]:
    """Return the most entries alive before the first step, and during each one.

    The parameters are those of `peak_size`.
    """
    held = dict(enumerate(owned))
    alive = first = sum(held.values())
    for load in loads:
        if load.size:
            first = max(first, alive + load.size)
            alive += load.size - held.get(load.value, 0)
            held[load.value] = load.size
    count, every = len(steps) + 1, [first]
    for k, step in enumerate(steps):
        every.append(alive + _needed(step, library))
        freed = held.pop(step.left, 0) + held.pop(step.right, 0)
        made = freed if step.deferred else step.size
        alive += made - freed
        held[count + k] = made
    return every


def _needed(step: Step, library: str) -> int:
    """Return the most entries that a step allocates at once, its result included."""
    if step.deferred:
        return 0
    if step.blocks is not None:
        first, second = step.blocks.whole
        block = max(_needed(first, library), first.size + _needed(second, library))
        return step.blocks.held + step.size + block
    if library == "numpy":
        if step.sums and not step.fused:
            return step.copies + max(step.size, step.buffers)
        return step.size + step.copies + step.buffers
    work = step.size + step.copies + step.fused + step.expanded
    if step.kernel is Kernel.MULTIPLY and (step.view_left.axes or step.view_right.axes):
        if library != "torch" or tidied(step):
            work += step.size  # the product is brought to C order
    return work


def workspace(steps: Sequence[Step], library: str) -> list[int]:
    """Return the entries that each step needs at most beside its operands and its result."""
    return [max(peak_size((), [step], library=library) - step.size, 0) for step in steps]


def free_memory(library: str = "numpy", device: str = "cpu") -> int:
    """Return the bytes that arrays of a library can take on a device now.

    On a GPU that is what the device has free, no more than a limit that is set for the memory
    pool of the library, and what the pool holds without using it.
    """
    if library == "torch" and device.startswith("cuda"):
        import torch

        free, _ = torch.cuda.mem_get_info(device)
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + unused)
    if library == "cupy":
        import cupy

        index = device.partition(":")[2]
        with cupy.cuda.Device(int(index)) if index else cupy.cuda.Device():
            free, _ = cupy.cuda.runtime.memGetInfo()
            pool = cupy.get_default_memory_pool()
            limit = pool.get_limit()  # zero: none
            if limit:
                free = max(min(free, limit - pool.total_bytes()), 0)
            return int(free + pool.free_bytes())
    return available_memory()


def memory_limit(
    memory: int | float | str | None, *, library: str = "numpy", device: str = "cpu"
) -> int | None:
    """Return the bytes that `memory` stands for: an amount, or a share of what is free.

    A share is rounded down to four binary digits, so that plans made under it are found again
    while the free memory changes little.

    Examples
    --------
    >>> memory_limit("2GiB"), memory_limit(None)
    (2147483648, None)
    >>> memory_limit("50%") == memory_limit(0.5)
    True
    """
    if memory is None:
        return None
    share = parse_share(memory)
    if share is None:
        return parse_bytes(memory)
    allowed = int(share * free_memory(library, device))
    drop = max(allowed.bit_length() - 4, 0)
    return max(allowed >> drop << drop, 1)
