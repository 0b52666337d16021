"""What is checked before a contraction from the shell begins, and of its result."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from contraction import Spec
from contraction.errors import InputError, MemoryBudgetError, NonFiniteError
from tnet.console import Console, format_bytes, format_seconds
from tnet.failures import UsageError
from tnet.memory import available_memory

LONG = 3600.0  # seconds from which it is worth keeping what is done
TOO_LONG = 365.25 * 86400.0


def check_result(spec: Spec, dtype: str, out: Path | None, *, kept: bool) -> None:
    """Refuse a result that fits no memory or no disk, or that nobody would see.

    Parameters
    ----------
    spec, dtype
        What is contracted.
    out
        The file for the result.
    kept
        Whether a run folder keeps it.

    Raises
    ------
    MemoryBudgetError, UsageError
        It is too large; nobody would see it.
    """
    size, free = math.prod(spec.shape), available_memory()
    needed = size * np.dtype(dtype).itemsize
    if needed > free:
        raise MemoryBudgetError(
            f"the result has {len(spec.shape)} axes and needs {format_bytes(needed)}; "
            f"{format_bytes(free)} of memory are free."
        )
    room = needed if out is None else shutil.disk_usage(out.absolute().parent).free
    if needed > room:
        raise UsageError(
            f"the result needs {format_bytes(needed)}, and {format_bytes(room)} are free where "
            f"{str(out)!r} is to be.",
            hint="name a file on another disk",
        )
    if size != 1 and out is None and not kept:
        raise UsageError(
            f"the result is a tensor of shape {spec.shape}.", hint="say where it goes: --out FILE"
        )


def check_finite(arrays: Sequence[Any], names: Sequence[str]) -> None:
    """Refuse arrays with NaN or infinity, which would spread over the result.

    Raises
    ------
    NonFiniteError
        With the name of the first such array. Cost: a pass over the arrays.
    """
    for x, name in zip(arrays, names, strict=True):
        with np.errstate(all="ignore"):
            if np.isfinite(np.sum(x)):
                continue
        count = int(np.count_nonzero(~np.isfinite(x)))
        if count:  # else only the sum is beyond range
            raise NonFiniteError(
                f"{name} holds {count} NaN or infinite entr{'y' if count == 1 else 'ies'}; all "
                "are to be finite, for they would spread over the result."
            )


def check_time(predicted: float, workers: int, console: Console, *, kept: bool) -> None:
    """Refuse what nobody would wait for, and warn of what is long and could be lost.

    Parameters
    ----------
    predicted
        Seconds on one core.
    workers
        Who share them.
    console
        For the warning.
    kept
        Whether a run folder keeps what is done.

    Raises
    ------
    InputError
        More than a year.
    """
    seconds = predicted / workers
    if seconds > TOO_LONG:
        raise InputError(
            f"this contraction would take about {format_seconds(seconds)} on {workers} "
            f"worker{'' if workers == 1 else 's'}; look for a better plan with a longer --budget "
            "or more --memory, and see what costs so much with tnet plan --explain."
        )
    if seconds > LONG and not kept:
        console.warn(
            f"this takes about {format_seconds(seconds)}; with --run DIR what is done would "
            "outlast an interruption"
        )


def result_norm(result: Any, console: Console) -> float:
    """Return the Frobenius norm, also where its square is beyond the range of the dtype.

    A result with infinity or NaN has none, and is warned of.
    """
    with np.errstate(all="ignore"):
        norm = float(np.linalg.norm(result))
        if result.size and not 0.0 < norm < math.inf:
            most = float(np.max(np.abs(result)))
            if 0.0 < most < math.inf:
                return most * float(np.linalg.norm(result / most))
            if not math.isfinite(most):
                console.warn(
                    f"the result holds infinity or NaN: beyond the range of {result.dtype}"
                )
    return norm
