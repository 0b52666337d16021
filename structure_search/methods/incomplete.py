"""What growth needs beside the usual where some entries are missing: a start, and a ridge."""

from __future__ import annotations

from typing import Any

from contraction.arrays import namespace
from structure_search.canonical import in_one_piece, reduced
from structure_search.methods.base import Problem, Proposal
from structure_search.results import ErrorOf
from structure_search.tasks.completion import Completion
from tnet.formats import tensor_train
from tnet.network import Network
from tnet.structure import Structure

FIRST_RIDGE = 1.0
FACTOR = 2.0
LARGEST = 64.0
SHARE = 1 / 3  # of a budget, for the train that growth begins with
SMALLEST = 2.0**-20  # below this there is none


def may_choose_ridge(problem: Problem) -> bool:
    """Tell whether a method is free to choose ridges, and held-out entries can tell them apart."""
    task = problem.task
    return isinstance(task, Completion) and task.ridge is None and task.error_of is ErrorOf.HELD_OUT


def ridges_near(ridge: float) -> list[float]:
    """Return the ridge and its two neighbours on a ladder of powers of two; zero is below all.

    Examples
    --------
    >>> ridges_near(1.0), ridges_near(0.0)
    ([1.0, 0.5, 2.0], [0.0, 9.5367431640625e-07])
    """
    lower = ridge / FACTOR if ridge > SMALLEST else 0.0
    higher = min(max(ridge * FACTOR, SMALLEST), LARGEST)
    return list(dict.fromkeys((ridge, lower, higher)))


def train_within(problem: Problem) -> Structure | None:
    """Return the largest train of equal ranks with a share of the parameters of a budget.

    From rank one growth may go astray where the entries are few and noisy; neighbours in the
    order of the modes are a fair guess. None without a budget, or where it is too small.
    """
    cap = problem.objective.cap
    if problem.task.complete or cap is None or len(problem.modes) < 2:
        return None
    found, rank = None, 2
    while True:
        train = reduced(tensor_train(problem.modes, rank))
        if train.num_params > SHARE * cap or train == found:
            return found
        found, rank = train, rank + 1


def by_sums(
    problem: Problem, isolated: Structure, sweeps: int, ridge: float | None
) -> list[Proposal]:
    """Propose the product of the sums along each mode, a tensor of rank one; none if it is zero.

    Where few entries are known a random start of rank one may see next to nothing of them.

    Parameters
    ----------
    problem
        The data, zero where they are missing.
    isolated
        One node per mode, in their order.
    sweeps, ridge
        As in `Proposal`.
    """
    x: Any = problem.x
    xp: Any = namespace(x)
    structure = in_one_piece(isolated)
    arrays = {}
    for k, node in enumerate(structure.node_names):
        sums = xp.sum(x, axis=tuple(m for m in range(x.ndim) if m != k))
        size = float(xp.linalg.vector_norm(sums))
        if not size:
            return []
        arrays[node] = (sums / size).reshape(structure.node_shape(node))
    start = Network(structure, arrays)
    label = "rank one by sums"
    return [Proposal(structure=structure, start=start, sweeps=sweeps, ridge=ridge, label=label)]
