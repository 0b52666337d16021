"""SmallestFirst: structures in order of their size, so that the first that fits is the smallest."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, final

import numpy as np

from contraction.arrays import Array, is_complex, namespace
from contraction.errors import InputError
from contraction.truncation import check_rank
from structure_search.bounds import CutSpectra, cuts_of
from structure_search.canonical import canonical_key, reduced
from structure_search.families import families
from structure_search.fitting import Fitted, Fitter
from structure_search.methods.base import AbstractMethod, Problem, Proposal, Proposals
from structure_search.methods.hosvd import (
    OrthogonalCore,
    orthogonal_core,
    orthogonal_iteration,
    project,
)
from structure_search.objectives import RelativeError
from tnet.certificate import Certificate, ErrorKind
from tnet.network import Network
from tnet.structure import Structure

NEAR = 1.03  # a fit in the core this near to the goal is finished on the data themselves
POLISH_SWEEPS = 8
TUCKER_SWEEPS = 10
SLACK = 1.02  # of the tolerance: the Tucker network is the best one in the core, nearly
MOST_BETWEEN = 20_000  # structures looked at without finding one worth a fit


@final
@dataclass(frozen=True, kw_only=True)
class SmallestFirst(AbstractMethod):
    """All graphs of `structure_search.families.families`, smallest structures first.

    A queue holds structures by number of parameters. The smallest is taken out; if a cut of the
    data shows that it cannot reach the tolerance (`CutSpectra`), its successors have one of the
    ranks on that cut raised; if it might, it is fitted, and on a miss every rank is raised in
    turn. So the first structure that reaches the tolerance is the smallest of all that do, up to
    fits that stop in a local minimum. The search then goes on for `keep` different graphs.

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
    >>> from structure_search import search
    >>> i, j, k = np.ogrid[1:9, 1:10, 1:11]
    >>> found = search(
    ...     1.0 / (i + j + k),
    ...     method=SmallestFirst(),
    ...     objective=RelativeError(tol=1e-2),
    ...     rng=np.random.default_rng(0),
    ... )
    >>> found.best.num_params, found.outcome.name
    (62, 'REACHED')
    """

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
        projected = _Projected.of(problem, goal.tol)
        queue = _Queue(problem.modes)
        found = 0
        while found < self.keep and (item := queue.pop()) is not None:
            label, graph, structure = item
            wider = _wider(structure, problem.spectra, goal.tol, self.growth)
            if wider is None and projected.may_reach(structure, goal.tol):
                solve = partial(projected.solve, structure, self, goal.tol)
                proposal = Proposal(
                    structure=structure,
                    solve=solve,
                    sweeps=self.sweeps,
                    restarts=self.restarts,
                    label=label,
                )
                (answer,) = yield [proposal]
                if answer.error <= goal.tol:
                    found += 1
                    queue.close(graph)
                    continue
            for ranks in wider or _raised(structure, structure.ranks, self.growth):
                queue.push(label, graph, structure.resized(ranks))


class _Queue:
    """Structures by size; each is taken out once, none of a graph that is closed."""

    def __init__(self, modes: Mapping[str, int]) -> None:
        self._heap: list[tuple[int, int, str, int, Structure]] = []
        self._number = itertools.count()
        self._seen: set[tuple[int, tuple[tuple[str, int], ...]]] = set()
        self._closed: set[int] = set()
        self._most = math.prod(modes.values())
        for graph, (label, structure) in enumerate(families(modes)):
            self.push(label, graph, structure)

    def pop(self) -> tuple[str, int, Structure] | None:
        """Return (label, graph, structure) with the fewest parameters; None if none is left."""
        for _ in range(MOST_BETWEEN):
            if not self._heap:
                return None
            _, _, label, graph, structure = heapq.heappop(self._heap)
            if graph not in self._closed:
                return label, graph, structure
        return None

    def close(self, graph: int) -> None:
        """Take no more structures of this graph."""
        self._closed.add(graph)

    def push(self, label: str, graph: int, structure: Structure) -> None:
        """Put in a structure, unless it was there before or has ranks that nothing can use."""
        key = (graph, structure.sizes)
        saturated = reduced(structure).num_params < structure.num_params
        # a rank that its surroundings cannot use gives nothing that a smaller one does not
        idle = saturated and min(structure.ranks.values(), default=1) > 1
        if key not in self._seen and not idle and structure.num_params <= self._most:
            self._seen.add(key)
            item = (structure.num_params, next(self._number), label, graph, structure)
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


@dataclass(frozen=True, kw_only=True)
class _Projected:
    """The data in the leading singular vectors of each mode."""

    x: Array = field(repr=False)
    small: OrthogonalCore = field(repr=False)
    fitter: Fitter = field(repr=False)
    whole: Fitter = field(repr=False)
    modes: tuple[str, ...]
    reach: dict[tuple[int, ...], float] = field(default_factory=dict, repr=False)
    lost: float  # squared, relative: what the projection leaves out
    scale: float  # norm of the core / norm of the data
    seed: int

    @classmethod
    def of(cls, problem: Problem, tol: float) -> _Projected:
        """Keep four times the vectors that the tolerance demands, and at least ten."""
        caps = [
            min(size, max(10, 4 * problem.spectra.rank([mode], tol)))
            for mode, size in problem.modes.items()
        ]
        small = orthogonal_core(problem.x, caps)
        xp: Any = namespace(problem.x)
        scale = float(xp.linalg.vector_norm(small.core)) / small.norm if small.norm else 1.0
        return cls(
            x=problem.x,
            small=small,
            fitter=Fitter(small.core),
            whole=Fitter(problem.x),
            modes=tuple(problem.modes),
            lost=max(0.0, 1.0 - scale**2),
            scale=scale,
            seed=int(problem.rng.integers(2**63)),
        )

    def may_reach(self, structure: Structure, tol: float) -> bool:
        """Tell whether the best Tucker network with as large ranks comes near enough.

        Unfoldings of the network have at most these ranks, so no other network with them is
        nearer to the data than the best Tucker network.
        """
        ranks = []
        for mode, most in zip(self.modes, self.small.core.shape, strict=True):
            legs = structure.legs[structure.holders[mode][0]]
            others = math.prod(structure.size[leg] for leg in legs if leg != mode)
            ranks.append(min(most, others))
        key = tuple(ranks)
        if key not in self.reach:
            core, _, _ = orthogonal_iteration(self.small.core, key, sweeps=TUCKER_SWEEPS)
            xp: Any = namespace(core)
            kept = float(xp.linalg.vector_norm(core)) / self.small.norm
            self.reach[key] = math.sqrt(max(0.0, 1.0 - kept**2))
        return self.reach[key] <= SLACK * tol

    def solve(self, structure: Structure, effort: SmallestFirst, tol: float) -> Network:
        """Return a network of `structure`, fitted in the core and, if it is close, to the data."""
        key = np.array([self.seed, int(canonical_key(structure), 16)], dtype=np.uint64)
        rng = np.random.Generator(np.random.Philox(key=key))
        sizes = dict(zip(self.modes, self.small.core.shape, strict=True))
        allowed = math.sqrt(max(0.0, tol**2 - self.lost)) / self.scale
        fitted = self.fitter.fit(
            structure.resized(sizes),
            start=None,
            sweeps=effort.sweeps,
            restarts=0 if structure.is_tree else effort.restarts,  # factorised, not guessed
            enough=allowed,
            rng=rng,
        )
        error = math.sqrt(self.lost + (self.scale * fitted.error) ** 2)
        net = self._expanded(fitted, structure)
        if tol < error <= NEAR * tol:
            better = self.whole.improve(net, sweeps=POLISH_SWEEPS, enough=tol, rng=rng)
            if better.error < error:
                net, error = better.network, better.error
        certificate = Certificate(error=error, kind=ErrorKind.EXACT)
        return Network(net.structure, net.arrays, certificate=certificate)

    def _expanded(self, fitted: Fitted, structure: Structure) -> Network:
        arrays = dict(fitted.network.arrays)
        legs = fitted.network.structure.legs
        for mode, V in zip(self.modes, self.small.factors, strict=True):
            node = structure.holders[mode][0]
            xp: Any = namespace(V)
            adjoint: Any = V  # project multiplies by the adjoint of what it is given
            adjoint = xp.conj(adjoint).T if is_complex(V) else adjoint.T
            arrays[node] = project(arrays[node], legs[node].index(mode), adjoint)
        return Network(structure, arrays)
