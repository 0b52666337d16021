"""contract_with: a plan run by a scheduler, in a folder if it is to survive its process."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from contraction.arrays import Array
from contraction.errors import CheckpointError, InputError
from contraction.execute import prepare
from contraction.plans import Plan
from contraction.spec import Spec
from contraction.workers.folder import (
    Manifest,
    RunFolder,
    check_hashes,
    describe_run,
    run_folder,
)
from contraction.workers.jobs import Blueprint
from contraction.workers.kits import Mail
from contraction.workers.layout import lay_out
from contraction.workers.ordering import in_order
from contraction.workers.parts import Parts
from contraction.workers.processes import check_host_arrays
from contraction.workers.schedulers import Assignment, Scheduler, Serial, blas_limit

Progress: TypeAlias = Callable[[int, int], None]


def contract_with(
    plan: Plan,
    arrays: Sequence[Array],
    *,
    scheduler: Scheduler | None = None,
    folder: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Array:
    """Contract `arrays` by a plan, with many workers, and so that the run can be gone on with.

    The slices of the plan, or large branches of its tree, are tasks. Their results are put
    together in a fixed order as they come, so that the result is bitwise the same for every
    scheduler and any number of workers, and that of `Plan.run` with one BLAS thread.

    Parameters
    ----------
    plan
        The plan. Its `memory` is what one worker may allocate.
    arrays
        One array for each input. With a folder, and for processes and clusters, NumPy arrays.
    scheduler
        Who does it: `Serial`, `Threads`, `Processes`, `Devices` or `Dask`; by default `Serial()`.
    folder
        A folder that keeps the result of every task that is done, new or from an earlier call
        with the same plan and arrays, which is then gone on with. When all is done it holds
        `result.npy`.
    progress
        Called with the number of tasks done and of all tasks.

    Raises
    ------
    ShapeError, BackendError, DTypeError, MemoryBudgetError
        As `Plan.run`.
    CheckpointError
        The folder was begun with another plan or other arrays, or is damaged.
    RunLockedError
        Another process works in the folder.
    WorkerError
        A task ended its worker again and again.
    DeviceError
        No cluster at the address.

    Notes
    -----
    At most three times as many results as workers wait to be added. Processes begin with about a
    second each; tasks below a tenth of a second are better done by `Serial`.

    Examples
    --------
    >>> from contraction import plan
    >>> p = plan("ab,bc->ac", [(2, 3), (3, 2)])
    >>> contract_with(p, [np.ones((2, 3)), np.ones((3, 2))], scheduler=Serial())[0, 0]
    np.float64(3.0)
    """
    crew = scheduler or Serial()
    if folder is None:
        with blas_limit(crew):
            return _contract(*lay_out(plan, arrays), None, crew, progress)
    values = list(arrays)
    prepare(values, plan.spec)
    check_host_arrays(values)
    numbered = _numbered(plan)
    with run_folder(folder, new=True) as run, blas_limit(crew):
        manifest = run.manifest()
        if manifest is not None:
            if manifest.plan != json.loads(json.dumps(numbered.to_dict())):
                raise CheckpointError(
                    f"{str(run.path)!r} was begun with another plan; name a new folder, or go on "
                    "with what was begun (resume_contraction)."
                )
            check_hashes(manifest, values, "the one given")
        return _contract_in(run, numbered, values, manifest, crew, progress)


def resume_contraction(
    folder: str | os.PathLike[str],
    *,
    scheduler: Scheduler | None = None,
    progress: Progress | None = None,
) -> Array:
    """Go on with a contraction that was begun in a folder, and return its result.

    Parameters
    ----------
    folder, scheduler, progress
        As for `contract_with`; the scheduler may be another than before.

    Raises
    ------
    InputError
        Nothing was begun in the folder.
    CheckpointError
        The folder is damaged, or was begun with other kernels.
    RunLockedError, WorkerError, DeviceError
        As `contract_with`.

    Examples
    --------
    >>> import tempfile
    >>> from contraction import plan
    >>> p = plan("ab,bc->ac", [(2, 3), (3, 2)])
    >>> with tempfile.TemporaryDirectory() as name:
    ...     _ = contract_with(p, [np.ones((2, 3)), np.ones((3, 2))], folder=name)
    ...     resume_contraction(name)[0, 0]
    np.float64(3.0)
    """
    crew = scheduler or Serial()
    with run_folder(folder, new=False) as run, blas_limit(crew):
        manifest = run.manifest()
        if manifest is None:
            raise InputError(f"nothing was begun in {str(run.path)!r}; begin with contract_with.")
        found = run.result(manifest)
        if found is not None:
            return found
        plan = Plan.from_dict(manifest.plan)
        values = run.inputs(manifest)
        return _contract_in(run, plan, values, manifest, crew, progress)


def plan_of_run(folder: str | os.PathLike[str]) -> Plan | None:
    """Return the plan that was begun in a folder, its labels numbered; None if none was.

    Raises
    ------
    CheckpointError
        The folder is damaged.
    """
    manifest = RunFolder(Path(folder)).manifest()
    return None if manifest is None else Plan.from_dict(manifest.plan)


def _contract_in(
    run: RunFolder,
    plan: Plan,
    values: list[Any],
    manifest: Manifest | None,
    scheduler: Scheduler,
    progress: Progress | None,
) -> Array:
    """Contract in a folder whose manifest, if there is one, fits plan and values."""
    if manifest is not None:
        found = run.result(manifest)
        if found is not None:
            return found
    blueprint, held = lay_out(plan, values)
    tasks = blueprint.build(held).tasks
    kernels = blueprint.fingerprint()
    if manifest is None:
        manifest = describe_run(plan.to_dict(), values, kernels, tasks)
        run.begin(manifest, values)
    elif (kernels, tasks) != (manifest.kernels, manifest.tasks):
        raise CheckpointError(
            f"{str(run.path)!r} was begun with other kernels than are chosen now, by another "
            "version or calibration; the parts would not fit bit by bit. Begin in a new folder."
        )
    result = np.asarray(_contract(blueprint, held, run.parts(manifest), scheduler, progress))
    run.finish(manifest, result)
    return result


def _contract(
    blueprint: Blueprint,
    held: list[Any],
    parts: Parts | None,
    scheduler: Scheduler,
    progress: Progress | None,
) -> Array:
    job = blueprint.build(held)

    def mail(scratch: Path) -> Mail:
        return parts or Parts(scratch, uuid.uuid4().hex, False)

    work = Assignment(blueprint, held, job, mail, parts is not None)
    with scheduler.staff(work) as crew:

        def compute(task: int) -> Array:
            found = None if parts is None else parts.read(task)
            if found is not None:
                return found
            made: Array = crew.run(task)
            if parts is not None and not crew.keeps:
                parts.write(task, np.asarray(made))
            return made

        total = len(job.tasks)
        window = job.ahead * max(crew.workers, 1)
        results = in_order(compute, range(total), crew.workers, window, crew.abort)
        try:
            result = job.finish(_counted(results, total, progress))
        finally:
            results.close()
    if isinstance(result, np.ndarray) and not result.flags.writeable:
        return result.copy(order="K")  # mapped from a file that is about to go
    return result


def _counted(results: Iterator[Array], total: int, progress: Progress | None) -> Iterator[Array]:
    for done, result in enumerate(results, 1):
        yield result
        if progress is not None:
            progress(done, total)


def _numbered(plan: Plan) -> Plan:
    """Return the same plan with numbers for labels, which can be written whatever they were."""
    number = {label: i for i, label in enumerate(plan.spec.sizes)}
    canonical = plan.spec.canonical
    spec = Spec(canonical.inputs, canonical.output, dict(enumerate(canonical.sizes)))
    return replace(plan, spec=spec, slices=tuple(number[x] for x in plan.slices))
