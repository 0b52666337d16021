"""From a description to everything a run needs, with all checks, before any work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tnet
from contraction.errors import TnetError
from contraction.truncation import Truncation
from integrators.simulation.measures import Measure, read_measures
from integrators.simulation.problems import read_problem, read_state, read_tree
from integrators.simulation.settings import (
    Output,
    Steps,
    Task,
    TaskKind,
    plain_document,
    read_output,
    read_search,
    read_stepper,
    read_steps,
    read_task,
    read_truncation,
)
from integrators.simulation.tables import Table
from integrators.thermal import infinite_temperature, lifted
from tnet.failures import UsageError
from tnet.network import Network
from tnet.operators.tree_operator import TreeOperator
from tnet.structure import Structure

STEP_TABLES = ("step", "rejection")


@dataclass(frozen=True, kw_only=True, eq=False)
class Simulation:
    """A simulation that is ready to run.

    Attributes
    ----------
    document
        The description it was made from.
    title
        Of the description; "" where it has none.
    tree, operator, start
        The tree, the Hamiltonian on it, and the first state (None for a run that has begun).
    task, output, truncation
        What is computed, where it is kept, how ranks are lowered.
    stepper, steps
        How it is done; a ground-state search has no steps.
    measure
        Name -> measure.
    """

    document: Mapping[str, Any]
    title: str
    tree: Structure
    operator: TreeOperator
    start: Network | None
    task: Task
    output: Output
    truncation: Truncation
    stepper: Any
    steps: Steps | None
    measure: Mapping[str, Measure]


def build(
    document: Mapping[str, Any], *, folder: Path, stem: str, begun: bool = False
) -> Simulation:
    """Return the simulation of a description.

    Parameters
    ----------
    document
        The tables of the TOML file.
    folder
        Where relative names of files in it begin.
    stem
        Name of the description, for that of the output.
    begun
        Whether there is a state already, so that the first one is not made.

    Raises
    ------
    UsageError
        Anything in it that is unknown, missing, of the wrong type or out of range; it names the
        table and the key, and the nearest key that is known.
    """
    plain_document(document)
    file = Table(document, "")
    title = file.text("title", "")
    problem = read_problem(file)
    tree = read_tree(file, problem.sites, folder)
    task = read_task(file)
    output = read_output(file, folder, stem)
    truncation, scaling = read_truncation(file)
    measure = read_measures(file, tree)
    stepper = steps = None
    if task.kind is not TaskKind.GROUND_STATE:
        steps = read_steps(file, task, scaling)
        stepper = read_stepper(file, task, truncation)
    else:
        for name in STEP_TABLES:
            if name in file:
                raise UsageError(
                    f"[{name}] belongs to an evolution; this is a ground-state search."
                )
        stepper = read_search(file, truncation)
    table = file.table("operator", {})
    method = table.choice("method", tnet.Compiler, tnet.Compiler.EXACT)
    tol = table.number("tol", 1e-12, least=0.0)
    table.done()
    thermal = task.kind is TaskKind.THERMAL
    if thermal and "state" in file:
        raise UsageError(
            "[state] has no place here: a thermal state starts at infinite temperature."
        )
    start = None if begun or thermal else read_state(file, tree, folder)
    file.take("state", None)
    file.done()
    try:
        operator = tnet.operator(tree, problem.terms, method=method, tol=tol)
    except TnetError as error:
        raise UsageError(f"the terms make no operator: {error}") from error
    if task.kind is not TaskKind.QUENCH and not operator.hermitian:
        raise UsageError(f"a task of kind {task.kind.value!r} needs a Hermitian operator.")
    if thermal:
        start = None if begun else infinite_temperature(tree)
        operator = lifted(operator)
    return Simulation(
        document=dict(document),
        title=title,
        tree=tree,
        operator=operator,
        start=start,
        task=task,
        output=output,
        truncation=truncation,
        stepper=stepper,
        steps=steps,
        measure=measure,
    )
