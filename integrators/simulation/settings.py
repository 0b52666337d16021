"""From the tables of a file to how it is computed: task, stepper, steps, truncation, output."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import integrators
from contraction.errors import TnetError
from contraction.truncation import Truncation
from integrators.control import AbstractController, ConstantStep, PIStep
from integrators.control_checks import check_times, save_times
from integrators.control_conserve import AbstractKeep, KeepNorm
from integrators.control_ranks import RankRejection, Scaling
from integrators.moments import OPENING
from integrators.simulation.tables import Table, call_with, nearest
from tnet.failures import UsageError

WHAT = "a description of a simulation"
SUFFIX = ".h5"
MOST_SAVES = 10**7
STEPPERS = {  # name in a file -> class of the package
    "augmented": "AugmentedBUG",
    "parallel": "ParallelBUG",
    "fixed": "FixedBUG",
    "midpoint": "MidpointBUG",
    "parallel2": "ParallelBUG2",
    "tdvp": "TDVP",
    "tebd": "TEBD",
}
LOCAL_SOLVERS = {
    "lanczos": "Lanczos",
    "rk4": "RungeKutta4",
    "rk_adaptive": "AdaptiveRungeKutta",
    "dense": "DenseExponential",
    "implicit_midpoint": "ImplicitMidpoint",
}


class TaskKind(Enum):
    """What a simulation computes."""

    QUENCH = "quench"
    IMAGINARY_TIME = "imaginary_time"
    THERMAL = "thermal"
    GROUND_STATE = "ground_state"


DEFAULT_STEPPERS = {
    TaskKind.QUENCH: "augmented",
    TaskKind.IMAGINARY_TIME: "augmented",
    TaskKind.THERMAL: "tdvp",
    TaskKind.GROUND_STATE: "dmrg",
}


class Control(Enum):
    """How long steps are."""

    CONSTANT = "constant"
    PI = "pi"


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is computed: an evolution from t0 to t_final, or a ground state in so many sweeps.

    A thermal state of inverse temperature beta is reached at t_final = beta / 2.
    """

    kind: TaskKind
    t0: float = 0.0
    t_final: float = 0.0
    sweeps: int = 0
    tol: float = 0.0
    ramp: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Steps:
    """How a quench goes on, and what it records when."""

    dt: float
    controller: AbstractController
    every: int
    save_at: tuple[float, ...] | None
    scaling: Scaling
    rejection: RankRejection | None
    keep: tuple[AbstractKeep, ...]
    opening: int = OPENING


@dataclass(frozen=True, kw_only=True)
class Output:
    """Where a run is kept, and how many seconds lie between two checkpoints at least."""

    path: Path
    checkpoint_seconds: float


def plain_document(document: Mapping[str, Any]) -> str:
    """Return a document as JSON text.

    Raises
    ------
    UsageError
        It holds a date, or a number that is not finite.
    """
    try:
        return json.dumps(document, allow_nan=False)
    except (TypeError, ValueError):
        raise UsageError(
            "a description holds numbers, texts, true and false, lists and tables; dates, NaN "
            "and infinities have no place in it."
        ) from None


def read_task(file: Table) -> Task:
    """Return the task of [task]."""
    table = file.table("task")
    kind = table.choice("kind", TaskKind, TaskKind.QUENCH)
    if kind is TaskKind.THERMAL:
        task = Task(kind=kind, t_final=table.number("beta", above=0.0) / 2.0)
    elif kind is not TaskKind.GROUND_STATE:
        task = Task(kind=kind, t0=table.number("t0", 0.0), t_final=table.number("t_final"))
        if not task.t_final > task.t0:
            raise table.wrong("t_final", f"later than t0 = {task.t0:g}", task.t_final)
    else:
        ramp = table.take("max_ranks", [])
        good = isinstance(ramp, list) and all(type(r) is int and r >= 1 for r in ramp)
        if not good:
            raise table.wrong("max_ranks", "a list of whole numbers >= 1, one a sweep", ramp)
        task = Task(
            kind=kind,
            sweeps=table.count("sweeps", 10),
            tol=table.number("tol", 1e-8, least=0.0),
            ramp=tuple(ramp),
        )
    table.done()
    return task


def read_truncation(file: Table) -> tuple[Truncation, Scaling]:
    """Return the truncation of [truncation], and what its tolerance is meant for."""
    table = file.table("truncation", {})
    scaling = table.choice("scaling", Scaling, Scaling.PER_TIME)
    tol = table.number("tol", 1e-6, least=0.0, most=1.0)
    most, least = table.count("max_rank", None), table.count("min_rank", 1)
    table.done()
    try:
        return Truncation(tol=tol, max_rank=most, min_rank=least), scaling
    except TnetError as error:
        raise UsageError(f"[truncation]: {error}") from error


def read_stepper(file: Table, task: Task, truncation: Truncation) -> Any:
    """Return the stepper of [stepper], with its local solver."""
    table = file.table("stepper", {})
    name = table.text("name", DEFAULT_STEPPERS[task.kind], choices=STEPPERS)
    kind = _class(STEPPERS, name, table.where)
    local = None
    if "local" in table:
        own = table.table("local")
        solver = _class(LOCAL_SOLVERS, own.text("name", choices=LOCAL_SOLVERS), own.where)
        local = call_with(solver, own, skip=["name"])
    table.take("local", None)

    def make(**options: Any) -> Any:
        return kind(truncation=truncation, local=local, **options)

    return call_with(kind, table, skip=["name", "truncation", "local"], make=make)


def read_search(file: Table, truncation: Truncation) -> Any:
    """Return the sweeps of a ground-state search from [stepper], cut as [truncation] says."""
    table = file.table("stepper", {})
    table.text("name", "dmrg", choices=["dmrg"])
    kind = _class({"dmrg": "DMRG"}, "dmrg", table.where)
    cutoff = {"cutoff": truncation.tol} if "tol" in file.data.get("truncation", {}) else {}

    def make(**options: Any) -> Any:
        return kind(**cutoff, **options)

    return call_with(kind, table, skip=["name", "cutoff"], make=make)


def _class(known: Mapping[str, str], name: str, where: str) -> Any:
    try:
        return getattr(integrators, known[name])
    except AttributeError:
        there = [key for key, found in known.items() if found in integrators.__all__]
        raise UsageError(
            f"{where} name: there is no {name!r}.", hint=nearest(name, there)
        ) from None


def read_steps(file: Table, task: Task, scaling: Scaling) -> Steps:
    """Return the steps of [step] and [rejection]."""
    table = file.table("step")
    dt = table.number("dt", above=0.0)
    control = table.choice("control", Control, Control.CONSTANT)
    controller: AbstractController = ConstantStep()
    pi = {key: table.number(key, None, least=0.0) for key in ("tol", "smallest", "largest")}
    pi["safety"] = table.number("safety", None, above=0.0)
    given = {key: value for key, value in pi.items() if value is not None}
    if control is Control.PI:
        try:
            controller = PIStep(**given)
        except TnetError as error:
            raise UsageError(f"[step]: {error}") from error
    elif given:
        raise UsageError(f'[step] {next(iter(given))} goes with control = "pi".')
    rejection = None
    kept = table.flag("keep_norm", task.kind is not TaskKind.QUENCH)
    opening = table.count("opening", OPENING, least=0)
    if "rejection" in file:
        rejection = call_with(RankRejection, file.table("rejection"))
    file.take("rejection", None)
    every, save_at = _saves(table, task)
    table.done()
    try:
        check_times(task.t0, task.t_final, dt)
    except TnetError as error:
        raise UsageError(f"[step]: {error}") from error
    return Steps(
        dt=dt,
        controller=controller,
        every=every,
        save_at=save_at,
        scaling=scaling,
        rejection=rejection,
        keep=(KeepNorm(),) if kept else (),
        opening=opening,
    )


def _saves(table: Table, task: Task) -> tuple[int, tuple[float, ...] | None]:
    """Return what `every`, `save_at` or `save_every` mean."""
    ways = [key for key in ("every", "save_at", "save_every") if key in table]
    if len(ways) > 1:
        raise UsageError(f"[step] takes one of {' and '.join(ways)}, not both.")
    every = table.count("every", 1)
    listed = table.numbers("save_at", None)
    apart = table.number("save_every", None, above=0.0)
    if apart is not None:
        count = int((task.t_final - task.t0) / apart * (1 + 1e-12))
        if count > MOST_SAVES:
            raise table.wrong("save_every", "a longer time", apart)
        listed = [task.t0 + k * apart for k in range(count + 1)]
        if task.t_final - listed[-1] > 1e-9 * apart:
            listed.append(task.t_final)
        else:
            listed[-1] = task.t_final
    try:
        return every, save_times(listed, task.t0, task.t_final)
    except TnetError as error:
        raise UsageError(f"[step]: {error}") from error


def read_output(file: Table, folder: Path, stem: str) -> Output:
    """Return where the run is kept: beside the description, under its name, where not said."""
    table = file.table("output", {})
    path = folder / table.text("file", f"{stem}{SUFFIX}")
    seconds = table.number("checkpoint_seconds", 30.0, least=0.0)
    table.done()
    check_suffix(path, "[output] file")
    return Output(path=path, checkpoint_seconds=seconds)


def check_suffix(path: Path, what: str) -> None:
    """Raise `UsageError` unless a file is called as a run is."""
    if path.suffix not in (SUFFIX, ".hdf5"):
        raise UsageError(f"{what} must end in {SUFFIX}, got {str(path)!r}.")
