"""Runs of several methods with several seeds, each in its folder, in turn or side by side.

A run that is there already is not done again; one that was stopped goes on.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from contraction.errors import CheckpointError, TnetError
from structure_search import run_folder
from structure_search.journal import CONFIG, RunRecord, read_run, write_json
from structure_search.methods.base import AbstractMethod, method_to_dict
from structure_search.objectives import AbstractObjective, objective_to_dict
from structure_search.results import Outcome
from structure_search.running import resume, search

COST, STOP = "cost.json", "stop"
ATTEMPTS = 3  # of a run whose process dies
SECONDS_BETWEEN_LOOKS = 0.2
STOPPED = (Outcome.INTERRUPTED, Outcome.TERMINATED)


@dataclass(frozen=True, kw_only=True)
class RunJob:
    """One search of a comparison.

    Attributes
    ----------
    folder
        Its run folder.
    name, seed
        The method's name in the comparison, and the seed.
    method, objective
        What is searched for, and how.
    max_evaluations, max_seconds
        Limits, over all sessions of the run.
    options
        More options of `search` (`held_out`, `patience`).
    data
        Returns the data; called in the process that searches.
    modes, source
        As for `search`.
    """

    folder: Path
    name: str
    seed: int
    method: AbstractMethod
    objective: AbstractObjective
    max_evaluations: int | None
    max_seconds: float | None
    options: Mapping[str, Any]
    data: Callable[[], Any] = field(repr=False)
    modes: tuple[str, ...]
    source: Mapping[str, Any]


def is_done(job: RunJob) -> bool:
    """Tell whether a run is over: nothing would be added by going on within the same limits.

    Raises
    ------
    CheckpointError
        The folder holds a run of another method, goal or data, or is damaged.
    """
    if not (job.folder / CONFIG).is_file():
        return False
    run = read_run(job.folder)
    config = run.config
    mine = (
        run_folder.to_plain(method_to_dict(job.method)),
        objective_to_dict(job.objective),
        job.source.get("source"),
    )
    theirs = (config.get("method"), config.get("objective"), config["input"].get("source"))
    if mine != theirs:
        raise CheckpointError(
            f"{job.folder} holds a run with another method, goal or data; choose another folder "
            "for this comparison."
        )
    if run.outcome is None or run.outcome in STOPPED:
        return False
    if run.outcome is Outcome.BUDGET:
        return job.max_evaluations is not None and len(run.evaluations) >= job.max_evaluations
    if run.outcome is Outcome.TIME:
        return job.max_seconds is not None and run.elapsed >= job.max_seconds
    return True


def do_job(job: RunJob, stop: Callable[[], Outcome | None]) -> Outcome:
    """Do one run, or go on with it, and note the processor time that it took."""
    begun, spent = time.process_time(), cpu_seconds(job.folder)
    known = spent is not None or not (job.folder / CONFIG).is_file()
    x = job.data()
    limits: dict[str, Any] = {"max_evaluations": job.max_evaluations, "stop": stop}
    try:
        if (job.folder / CONFIG).is_file():
            left = job.max_seconds
            if left is not None:
                left = max(1e-3, left - read_run(job.folder).elapsed)
            patience = {k: v for k, v in job.options.items() if k == "patience"}
            found = resume(job.folder, x, max_seconds=left, **limits, **patience)
        else:
            found = search(
                x,
                method=job.method,
                objective=job.objective,
                max_seconds=job.max_seconds,
                rng=np.random.default_rng(job.seed),
                modes=job.modes,
                run=job.folder,
                source=job.source,
                **limits,
                **job.options,
            )
        return found.outcome
    finally:
        if (job.folder / CONFIG).is_file():
            total = (spent or 0.0) + time.process_time() - begun
            write_json(job.folder / COST, {"cpu": total, "whole": known})


def cpu_seconds(folder: Path) -> float | None:
    """Return the processor time of a run over its sessions; None where a kill has lost some."""
    try:
        cost = json.loads((folder / COST).read_text(encoding="utf-8"))
        return float(cost["cpu"]) if cost["whole"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A run that could not be done: the job and the reason."""

    job: RunJob
    reason: str


def do_all(
    jobs: Sequence[RunJob],
    *,
    root: Path,
    workers: int,
    stop: Callable[[], Outcome | None],
    show: Callable[[RunJob, bool], None],
) -> list[Failure]:
    """Do all jobs and return those that failed; `show` is told of each with its success.

    Parameters
    ----------
    jobs
        What is to be done.
    root
        A folder that outlives the workers; the word to stop is left in it.
    workers
        Processes; with one, this process does everything.
    stop
        Asked before each evaluation.
    show
        Called with each job when it ends.
    """
    if workers == 1 or len(jobs) < 2:
        return _in_turn(jobs, stop, show)
    word = root / STOP
    word.unlink(missing_ok=True)
    failures: list[Failure] = []
    left, attempt = list(jobs), 0
    try:
        while left and stop() is None:
            attempt += 1
            left, failed = _with_pool(left, word, min(workers, len(left)), stop, show)
            failures += failed
            if left and attempt == ATTEMPTS:
                why = f"its process died {ATTEMPTS} times (killed, or out of memory)"
                failures += [Failure(job=job, reason=why) for job in left]
                break
    finally:
        word.unlink(missing_ok=True)
    return failures


def _in_turn(
    jobs: Sequence[RunJob],
    stop: Callable[[], Outcome | None],
    show: Callable[[RunJob, bool], None],
) -> list[Failure]:
    failures = []
    for job in jobs:
        if stop() is not None:
            break
        try:
            do_job(job, stop)
        except (TnetError, ArithmeticError, MemoryError) as error:
            failures.append(Failure(job=job, reason=f"{type(error).__name__}: {error}"))
        show(job, not failures or failures[-1].job is not job)
    return failures


def _with_pool(
    jobs: Sequence[RunJob],
    word: Path,
    workers: int,
    stop: Callable[[], Outcome | None],
    show: Callable[[RunJob, bool], None],
) -> tuple[list[RunJob], list[Failure]]:
    """Do jobs side by side; return those that a dead process has left undone, and failures."""
    context = multiprocessing.get_context("spawn")
    undone: list[RunJob] = []
    failures: list[Failure] = []
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_deaf) as pool:
        futures: dict[Future[str | None], RunJob] = {
            pool.submit(_job_in_worker, job, word, os.getpid()): job for job in jobs
        }
        waiting = set(futures)
        while waiting:
            done, waiting = wait(waiting, timeout=SECONDS_BETWEEN_LOOKS)
            if stop() is not None and not word.exists():
                word.touch()
                for future in waiting:
                    future.cancel()
            for future in done:
                job = futures[future]
                if future.cancelled():
                    continue
                try:
                    reason = future.result()
                except BrokenProcessPool:
                    undone.append(job)
                    continue
                if reason is not None:
                    failures.append(Failure(job=job, reason=reason))
                show(job, reason is None)
    return undone, failures


def _deaf() -> None:
    """Leave Ctrl-C to the process that began the comparison."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _job_in_worker(job: RunJob, word: Path, parent: int) -> str | None:
    """Do one job in a worker process; return why it failed, or None."""

    def stop() -> Outcome | None:
        if word.exists():
            return Outcome.INTERRUPTED
        return Outcome.TERMINATED if os.getppid() != parent else None

    try:
        do_job(job, stop)
    except (TnetError, ArithmeticError, MemoryError) as error:
        return f"{type(error).__name__}: {error}"
    except KeyboardInterrupt:  # stopped before anything was fitted
        return None
    return None


def finished_runs(jobs: Sequence[RunJob]) -> list[tuple[RunJob, RunRecord]]:
    """Return the jobs with something fitted, and their runs."""
    found = []
    for job in jobs:
        if (job.folder / CONFIG).is_file():
            run = read_run(job.folder)
            if any(np.isfinite(e.error) for e in run.evaluations):
                found.append((job, run))
    return found
