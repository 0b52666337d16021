"""Fixed formats beside a completion: of the same size, fitted to the same entries."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import tnet
from structure_search.journal import RunRecord
from structure_search.reporting.figures import Best
from structure_search.reporting.fixed_formats import FixedFormat
from structure_search.tasks.base import AbstractTask, Failed, FitJob, timed
from structure_search.tasks.reading import read_task, recorded_held_out
from tnet.structure import Structure

SWEEPS = 60  # at most, of one fit
MOST_FLOPS = 2e9  # of a sweep: a format that costs more is left out


def tucker_within(modes: Mapping[str, int], rank: int) -> Structure:
    """Return Tucker with equal ranks, each at most the size of its mode.

    Examples
    --------
    >>> tucker_within({"a": 4, "b": 5}, 9).num_params
    61
    """
    return tnet.tucker(modes, tuple(min(rank, size) for size in modes.values()))


FORMATS: Mapping[str, Callable[..., Structure]] = {
    "tensor train": tnet.tensor_train,
    "tensor ring": tnet.tensor_ring,
    "Tucker": tucker_within,
    "CP": tnet.cp,
}


def task_again(run: RunRecord, x: Any) -> AbstractTask:
    """Return the task of a run, with the same entries fitted and held out.

    Raises
    ------
    CheckpointError
        The run holds out entries that were given one by one.
    """
    about = run.config["input"].get("task") or {}
    return read_task(
        x,
        modes=tuple(run.config["input"]["modes"]),
        start=None,
        mask=None,
        held_out=recorded_held_out(about, None),
        ridge=about.get("ridge"),
        seed=int(run.config["seed"]),
    )


def largest_within(format_: Callable[..., Structure], modes: Any, most: int) -> Structure | None:
    """Return a format with the greatest equal ranks at which it has at most `most` parameters.

    None where even rank one has more.

    Examples
    --------
    >>> largest_within(tnet.cp, {"a": 4, "b": 5}, 30).num_params
    27
    """
    found, rank = None, 1
    while (structure := format_(modes, rank)).num_params <= most:
        if found is not None and structure.num_params == found.num_params:
            break  # ranks beyond the sizes of the modes are cut
        found, rank = structure, rank + 1
    return found


def completions(task: AbstractTask, best: Best, *, tol: float) -> Iterator[FixedFormat]:
    """Yield fixed formats with at most the parameters of `best`, fitted as the search fits.

    Their errors are those of the task: over held-out entries where there are any.

    Parameters
    ----------
    task
        What was completed.
    best
        The network of the search.
    tol
        The error that each format is asked for; it is within it or not.
    """
    for k, (name, format_) in enumerate(FORMATS.items()):
        structure = largest_within(format_, dict(task.modes), best.num_params)
        if structure is None or task.planned_flops(structure) > MOST_FLOPS:
            continue
        job = FitJob(structure=structure, sweeps=SWEEPS, restarts=2, enough=0.0, stream=(0, k))
        begun = time.monotonic()
        fitted = timed(partial(task.fit, job))
        if not isinstance(fitted, Failed):
            yield FixedFormat(
                name=name,
                num_params=structure.num_params,
                error=fitted.error,
                seconds=time.monotonic() - begun,
                tol=tol,
                structure=structure,
            )
