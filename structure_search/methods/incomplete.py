"""What growth needs beside the usual where some entries are missing: a start, and a ridge."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from contraction.arrays import namespace
from structure_search.canonical import in_one_piece, reduced
from structure_search.methods.base import Answer, Problem, Proposal, Warmth
from structure_search.methods.growth import Limits
from structure_search.methods.inner_nodes import join
from structure_search.objectives import RelativeError
from structure_search.results import ErrorOf
from structure_search.tasks.completion import Completion
from tnet.formats import tensor_ring, tensor_train
from tnet.network import Network
from tnet.structure import Structure

Edges: TypeAlias = frozenset[frozenset[str]]

FIRST_RIDGE = 1.0
FACTOR = 2.0
LARGEST = 64.0
RELIABLE = 0.5  # parameters per fitted entry of trains and rings that growth begins with
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


@dataclass(frozen=True, kw_only=True)
class Way:
    """One more growth.

    Attributes
    ----------
    edges
        The pairs of nodes that may have bonds; None if all.
    structures
        What it begins with, the nearest of them; none: the tensors of rank one.
    """

    edges: Edges | None
    structures: tuple[Structure, ...] = ()

    def starts(
        self, problem: Problem, sweeps: int, fit_sweeps: int, restarts: int, ridge: float | None
    ) -> list[Proposal]:
        """Return the fits that growth begins with.

        Parameters
        ----------
        sweeps
            At rank one.
        fit_sweeps, restarts
            Of a structure, from random starts.
        ridge
            As in `Proposal`.
        """
        begin = isolated(problem)
        one = Proposal(structure=begin, sweeps=sweeps, restarts=1, ridge=ridge, label="rank one")
        if not self.structures:
            return [one, *by_sums(problem, begin, sweeps, ridge)]
        return [
            Proposal(
                structure=s,
                sweeps=fit_sweeps,
                restarts=restarts,
                ridge=ridge,
                warmth=Warmth.NONE,
                label="ring" if len(s.bonds) == len(s.legs) else "train",
            )
            for s in self.structures
        ]


def other_ways(problem: Problem) -> list[Way]:
    """Return the ways of growth beside the free one from rank one.

    Few and noisy entries may lead a free choice of bonds astray. Neighbours in the order of the
    modes are a fair guess: growth within a train and within a ring, each from rank one. Where
    the size is free and the error is given, small trains and rings are starts of free growth.
    """
    nodes = isolated(problem).node_names
    if not isinstance(problem.task, Completion) or problem.start is not None or len(nodes) < 3:
        return []
    if problem.objective.cap is not None:
        train = frozenset(frozenset(pair) for pair in itertools.pairwise(nodes))
        ring = train | {frozenset((nodes[0], nodes[-1]))}
        return [Way(edges=e) for e in ((train, ring) if len(nodes) > 3 else (train,))]
    if not isinstance(problem.objective, RelativeError):
        return []
    most = RELIABLE * _fitted(problem)
    formats: list[Structure] = []
    for rank in itertools.count(2):
        pair = [reduced(f(problem.modes, rank)) for f in (tensor_train, tensor_ring)]
        new = [s for s in pair if s.num_params <= most and s not in formats]
        if not new:
            return [Way(edges=None, structures=(s,)) for s in formats]
        formats += new
    raise AssertionError


def room(problem: Problem, now: Answer) -> float:
    """Return the size below which another way would be better; infinite if it is not limited."""
    goal = problem.objective
    met = isinstance(goal, RelativeError) and now.error <= goal.tol
    return now.evaluation.num_params if met else math.inf


def allowed(problem: Problem, edges: Edges | None, below: float) -> Callable[[Structure], bool]:
    """Return what tells whether growth may go to a structure.

    Beside the objective, the edges and the size, no more parameters than there are entries;
    a few bonds of rank two are allowed in any case, since very few entries may need the sweeps.
    """
    within = problem.objective.allows
    least = 4 * sum(problem.modes.values())
    most = min(below - 1, max(_fitted(problem), least))

    def allows(structure: Structure) -> bool:
        if structure.num_params > most or not within(structure):
            return False
        live = (bond for bond, rank in structure.ranks.items() if rank > 1)
        return edges is None or all(frozenset(structure.holders[b]) in edges for b in live)

    return allows


def has_room(problem: Problem) -> bool:
    """Tell whether parameters that are saved may be spent again: some entries, and a budget."""
    return isinstance(problem.task, Completion) and problem.objective.cap is not None


def packed(net: Network, limits: Limits) -> Network:
    """Return the network with neighbours made one as long as that saves parameters.

    The tensor stays the same. A bond with all the values that one of its ends can offer costs
    more than it saves: modes of size 4 with bonds of 4, 16 and 12 behind them take 1040
    parameters, and 64 * 12 = 768 as one node.

    Examples
    --------
    >>> import numpy as np
    >>> import tnet
    >>> train = tensor_train({"a": 4, "b": 4, "c": 4}, (4, 2))
    >>> net = tnet.random_network(train, rng=np.random.default_rng(0))
    >>> small = packed(net, Limits())
    >>> net.num_params, small.num_params, small.structure.nodes
    (56, 40, (('g0', ('a', 'b', 'g1-g2')), ('g2', ('c', 'g1-g2'))))
    """
    while True:
        pairs = (net.structure.holders[bond] for bond in net.structure.bonds)
        found = [move for pair in pairs if (move := join(net, pair)).num_params < net.num_params]
        found = [move for move in found if limits.keeps(move.structure)]
        start = min(found, key=lambda m: (m.num_params, m.label)).start if found else None
        if start is None:
            return net
        net = start()


def isolated(problem: Problem) -> Structure:
    """Return one node per mode and no bonds: the tensors of rank one."""
    nodes = {f"v{k}": (mode,) for k, mode in enumerate(problem.modes)}
    return Structure(nodes, problem.modes, tuple(problem.modes))


def _fitted(problem: Problem) -> float:
    task = problem.task
    return task.train.count if isinstance(task, Completion) else math.inf


def first_fits(
    problem: Problem, begin: Structure, sweeps: int, ridge: float | None
) -> list[Proposal]:
    """Propose the structure that growth begins with; also by sums where that may help."""
    label = "start" if problem.start else "rank one"
    first = [Proposal(structure=begin, sweeps=sweeps, restarts=1, ridge=ridge, label=label)]
    if not problem.task.complete and max(begin.ranks.values(), default=1) == 1:
        first += by_sums(problem, begin, sweeps, ridge)
    return first


def by_sums(problem: Problem, begin: Structure, sweeps: int, ridge: float | None) -> list[Proposal]:
    """Propose the product of the sums along the modes of each node, a tensor of rank one.

    Where few entries are known a random start of rank one may see next to nothing of them. None
    is proposed where the sums are zero.

    Parameters
    ----------
    problem
        The data, zero where they are missing.
    begin
        A structure whose bonds, if any, have rank one.
    sweeps, ridge
        As in `Proposal`.
    """
    x: Any = problem.x
    xp: Any = namespace(x)
    structure = in_one_piece(begin)
    names = list(problem.modes)
    arrays = {}
    for node, legs in structure.nodes:
        own = sorted(names.index(leg) for leg in legs if leg in problem.modes)
        if not own:
            arrays[node] = xp.ones_like(xp.sum(x)).reshape(structure.node_shape(node))
            continue
        sums: Any = xp.sum(x, axis=tuple(m for m in range(x.ndim) if m not in own))
        size = float(xp.linalg.vector_norm(sums))
        if not size:
            return []
        wanted = [leg for leg in legs if leg in problem.modes]
        order = tuple([names[k] for k in own].index(leg) for leg in wanted)
        arrays[node] = xp.permute_dims(sums / size, order).reshape(structure.node_shape(node))
    start = Network(structure, arrays)
    label = "rank one by sums"
    return [Proposal(structure=structure, start=start, sweeps=sweeps, ridge=ridge, label=label)]
