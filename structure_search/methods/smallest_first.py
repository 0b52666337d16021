"""SmallestFirst: structures in order of their size, so that the first that fits is the smallest."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, final

from contraction.errors import InputError
from contraction.truncation import check_rank
from structure_search.bounds import CutSpectra, cuts_of
from structure_search.canonical import reduced
from structure_search.families import NAMED, families
from structure_search.methods.base import AbstractMethod, Problem, Proposals
from structure_search.methods.projected import Projected, descent
from structure_search.objectives import RelativeError
from tnet.structure import Structure


@final
@dataclass(frozen=True, kw_only=True)
class SmallestFirst(AbstractMethod):
    """All graphs of `structure_search.families.families`, smallest structures first.

    First the named tree formats are brought down: from the ranks of the direct factorisation as
    far as fits allow. That gives a good answer early, and a bound for the rest.

    Then a queue holds structures by number of parameters. The smallest is taken out; if a cut of
    the data shows that it cannot reach the tolerance (`CutSpectra`), its successors have one of
    the ranks on that cut raised; if it might, it is fitted, and on a miss every rank is raised
    in turn. So the first structure that reaches the tolerance is the smallest of all that do, up
    to fits that stop in a local minimum. The search goes on until it has `keep` different graphs.

    Fits are done on the data projected to a few leading singular vectors of each mode, which
    costs a fraction; the error over the whole data follows exactly from it, and whatever comes
    near the tolerance is finished on the data themselves.

    Parameters
    ----------
    keep
        Number of different graphs to find, the smallest of each.
    sweeps, restarts
        Effort of each fit.
    growth
        A rank r is raised by max(1, growth * r): 0 tries every rank, more is faster where ranks
        are large.

    Examples
    --------
    >>> import numpy as np
    >>> from structure_search import search
    >>> i, j, k = np.ogrid[1:9, 1:10, 1:11]
    >>> found = search(
    ...     1.0 / (i + j + k),
    ...     method=SmallestFirst(),
    ...     objective=RelativeError(tol=1e-2),
    ...     rng=np.random.default_rng(0),
    ... )
    >>> found.best.num_params, found.outcome.name
    (54, 'REACHED')
    """

    needs_every_entry: ClassVar[bool] = True

    keep: int = 1
    sweeps: int = 40
    restarts: int = 2
    growth: float = 0.1

    def __post_init__(self) -> None:
        check_rank(self.keep, "keep")
        check_rank(self.sweeps, "sweeps")
        check_rank(self.restarts, "restarts")
        if not 0.0 <= self.growth <= 1.0:
            raise InputError(f"`growth` lies between 0 and 1, got {self.growth!r}.")

    def default_objective(self) -> RelativeError | None:
        """There is none: the tolerance has to be given."""
        return None

    def propose(self, problem: Problem) -> Proposals:
        """Yield one structure at a time."""
        goal = problem.objective
        if not isinstance(goal, RelativeError):
            raise InputError(
                f"SmallestFirst looks for the smallest network within an error; it needs the "
                f"objective RelativeError(tol=...), got {type(goal).__name__}."
            )
        fits = Projected.of(problem, goal.tol, sweeps=self.sweeps, restarts=self.restarts)
        graphs = families(problem.modes)
        queue = _Queue(graphs, most=math.prod(problem.modes.values()))
        for number, (label, graph) in enumerate(graphs[:NAMED]):
            if graph.is_tree:
                structure = yield from descent(fits, label, graph, problem.spectra)
                queue.settle(number, label, structure)
        found = 0
        while found < self.keep and (item := queue.pop()) is not None:
            if item.settled:
                found += 1
                continue
            wider = _wider(item.structure, problem.spectra, goal.tol, self.growth)
            if wider is None and fits.may_reach(item.structure):
                (answer,) = yield [fits.proposal(item.structure, item.label)]
                if answer.error <= goal.tol:
                    found += 1
                    queue.close(item.graph)
                    continue
            for ranks in wider or _raised(item.structure, item.structure.ranks, self.growth):
                queue.push(item.graph, item.label, item.structure.resized(ranks))


@dataclass(frozen=True, kw_only=True, order=True)
class _Item:
    """A structure in the queue; `settled` if it is known to reach the tolerance."""

    num_params: int
    number: int
    graph: int
    label: str = field(compare=False)
    structure: Structure = field(compare=False)
    settled: bool = field(compare=False)


class _Queue:
    """Structures by size; each is taken out once, none of a graph that is closed."""

    def __init__(self, graphs: Sequence[tuple[str, Structure]], *, most: int) -> None:
        self._heap: list[_Item] = []
        self._number = itertools.count()
        self._seen: set[tuple[int, tuple[tuple[str, int], ...]]] = set()
        self._closed: set[int] = set()
        self._most = most
        for graph, (label, structure) in enumerate(graphs):
            self.push(graph, label, structure)

    def pop(self) -> _Item | None:
        """Return the structure with the fewest parameters; None if none is left."""
        while self._heap:
            item = heapq.heappop(self._heap)
            if item.graph not in self._closed:
                if item.settled:
                    self.close(item.graph)
                return item
        return None

    def close(self, graph: int) -> None:
        """Take no more structures of this graph."""
        self._closed.add(graph)

    def settle(self, graph: int, label: str, structure: Structure) -> None:
        """Put in a structure that is known to reach the tolerance."""
        self._put(graph, label, structure, settled=True)

    def push(self, graph: int, label: str, structure: Structure) -> None:
        """Put in a structure, unless it was there before or has ranks that nothing can use."""
        key = (graph, structure.sizes)
        saturated = reduced(structure).num_params < structure.num_params
        # a rank that its surroundings cannot use gives nothing that a smaller one does not
        idle = saturated and min(structure.ranks.values(), default=1) > 1
        if key not in self._seen and not idle and structure.num_params <= self._most:
            self._seen.add(key)
            self._put(graph, label, structure, settled=False)

    def _put(self, graph: int, label: str, structure: Structure, *, settled: bool) -> None:
        item = _Item(
            num_params=structure.num_params,
            number=next(self._number),
            graph=graph,
            label=label,
            structure=structure,
            settled=settled,
        )
        heapq.heappush(self._heap, item)


def _wider(
    structure: Structure, spectra: CutSpectra, tol: float, growth: float
) -> list[dict[str, int]] | None:
    """Return how to widen the cut of fewest bonds that is too narrow for `tol`; None if none is.

    A cut through one bond needs just its rank; of several, at least one has to grow.
    """
    fewest: tuple[int, tuple[str, ...], int] | None = None
    for rows, across in cuts_of(structure.nodes, structure.modes):
        need = spectra.rank(rows, tol)
        legs = min(across, key=lambda cut: math.prod(structure.size[leg] for leg in cut))
        have = math.prod(structure.size[leg] for leg in legs)
        if have < need and (fewest is None or len(legs) < fewest[0]):
            fewest = len(legs), legs, need
    if fewest is None:
        return None
    count, legs, need = fewest
    return [{legs[0]: need}] if count == 1 else _raised(structure, legs, growth)


def _raised(structure: Structure, legs: Iterable[str], growth: float) -> list[dict[str, int]]:
    """Return the ranks with one of `legs` raised, for each of them."""
    size = structure.size
    return [{leg: size[leg] + max(1, int(growth * size[leg]))} for leg in legs]
