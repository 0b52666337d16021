"""CutRank: the bonds of a network, read off the ranks of all cuts of the data."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias, final

from contraction.errors import InputError
from contraction.truncation import check_rank
from structure_search.canonical import canonical_key
from structure_search.methods.base import AbstractMethod, Answer, Problem, Proposal, Proposals
from structure_search.methods.cut_rank_graphs import Budget, Graph, graphs
from structure_search.methods.cut_rank_levels import (
    levels,
    noise_is_hidden,
    smallest_allowed,
    too_narrow,
    tree_leaving,
    tree_of,
    violated,
)
from structure_search.methods.cut_rank_table import ENUMERATED, CutRanks
from structure_search.methods.cut_rank_trees import share
from structure_search.methods.moves import distinct, lowered
from structure_search.objectives import RelativeError
from tnet.als.start import carried_over
from tnet.structure import Structure

Stage: TypeAlias = Generator[Sequence[Proposal], Sequence[Answer], Answer | None]
Try: TypeAlias = Generator[Sequence[Proposal], Sequence[Answer], Answer]
PARTS = 8  # searches for graphs that share the boxes: none may take them all
HUB_FITS = 2  # of graphs with one more node, where one without it explains the data
HOPEFUL = (0.9, 0.7, 0.5)  # shares of the tolerance that each bond of a tree leaves out
NEAR = 0.05  # a fit that came so near may only have been slow
NOT_MUCH = 1.5  # times the parameters of a graph that a tree may have to come before it
LONG = 20  # times the sweeps that it gets then
AGAIN = 4  # times the starts of a fit that missed, though its graph agrees with all cuts
FEW_BOXES = 4000  # where the data are not known to have narrow cuts
SWEPT_LEVELS = (0.5, 0.35, 0.25, 0.18, 0.12, 0.08, 0.05, 0.03, 0.02, 0.01, 1e-3, 1e-4)


@final
@dataclass(frozen=True, kw_only=True)
class CutRank(AbstractMethod):
    """The smallest networks whose minimum cuts have the ranks of the data.

    The rank of an unfolding of a generic network is the minimum cut of its graph, of which the
    modes themselves may be cut as well. Ranks are counted above the edge of white noise, at the
    level that the data show and then at ever lower shares of the tolerance; the graphs that
    agree with all of them are listed, smallest first, without and with nodes that have no mode,
    and fitted in that order until one is within the tolerance. Where none agrees, a few cuts
    may be wider than their counted rank (small singular values of the signal lie under the
    noise), one more at a time. For trees every number of nodes without a mode is covered.

    On data that no such graph explains, or does so only with many parameters, the smallest tree
    whose direct factorisation is within the tolerance is taken (above eight modes, a small one).
    In any case ranks are lowered in the end as far as fits allow. Above eight modes only cuts
    around few modes are looked at; above fourteen, trees alone.

    With another objective than `RelativeError` this is done for a row of tolerances.

    Minimum cuts and ranks: Cui, Freedman, Sattath, Stong, Minton, J. Math. Phys. 57 (2016),
    062206; the lower bound holds for all data, the equality for generic networks alone.

    Parameters
    ----------
    most_hubs
        Most nodes without a mode in graphs with loops (trees may have more).
    boxes
        Work of all searches over graphs, about 0.1 ms each.
    slack
        Most cuts that may be wider than their rank.
    fits
        Most fits at one level, for one number of nodes without a mode.
    sweeps, restarts
        Effort of each fit.
    flops
        Operations of all fits of graphs with loops together, as `tnet.planned_flops` counts
        them for each sweep that was made; a fit that may take more of them than are left gets
        fewer starts, or none. 1e11 are about ten seconds.

    Examples
    --------
    >>> import numpy as np
    >>> import tnet
    >>> from structure_search import search
    >>> ring = tnet.tensor_ring((4, 4, 4, 4), (2, 2, 2, 2))
    >>> x = tnet.contract(tnet.random_network(ring, rng=np.random.default_rng(0)))
    >>> goal = RelativeError(tol=1e-4)
    >>> found = search(x, method=CutRank(), objective=goal, rng=np.random.default_rng(1))
    >>> found.best.num_params, ring.num_params
    (64, 64)
    """

    needs_every_entry: ClassVar[bool] = True

    most_hubs: int = 1
    boxes: int = 20000
    slack: int = 4
    fits: int = 4
    sweeps: int = 40
    restarts: int = 6
    flops: float = 2e11

    def __post_init__(self) -> None:
        for name in ("boxes", "fits", "sweeps", "restarts"):
            check_rank(getattr(self, name), name)
        for name in ("most_hubs", "slack"):
            check_rank(getattr(self, name), name, least=0)
        if not self.flops > 0.0:
            raise InputError(f"`flops` is a number of operations above 0, got {self.flops!r}.")

    def default_objective(self) -> None:
        """Return None: a tolerance, or what to weigh, has to be given."""

    def propose(self, problem: Problem) -> Proposals:
        """Yield one structure at a time."""
        goal = problem.objective
        if isinstance(goal, RelativeError):
            yield from _Run(self, problem, goal.tol).all()
            return
        for tol in SWEPT_LEVELS:
            if tol < goal.enough:
                break
            best = yield from _Run(self, problem, tol).quick()
            if best is not None and not goal.allows(best.evaluation.structure):
                break


def graphs_below(problem: Problem, tol: float, params: int, flops: float) -> Proposals:
    """Yield the graphs with fewer than `params` parameters that agree with the cuts of the data.

    Parameters
    ----------
    problem
        What is worked on; every entry is known.
    tol
        Relative error, not squared, that is enough.
    params
        Parameters that are too many.
    flops
        As for `CutRank`.
    """
    if params > 1:
        method = CutRank(flops=flops, boxes=FEW_BOXES)
        yield from _Run(method, problem, tol, params - 1).graphs()


class _Run:
    """The search for one tolerance, among structures of at most `most` parameters."""

    def __init__(
        self, method: CutRank, problem: Problem, tol: float, most: int | None = None
    ) -> None:
        self._method, self._problem, self._tol, self._most = method, problem, tol, most
        self._budget = Budget(method.boxes)
        self._left = method.flops
        self._answers: dict[tuple[str, int], Answer] = {}
        self._best: Answer | None = None
        self._dense = math.prod(problem.modes.values())

    def all(self) -> Stage:
        """Yield the graphs that agree with the cuts; then what is sure; then lower ranks."""
        yield from self._explained()
        yield from self._sure()
        if self._best is not None:
            yield from self._lower()
        return self._best

    def graphs(self) -> Stage:
        """Yield the graphs that agree with the cuts, and lower ranks of one that is within."""
        yield from self._explained()
        if self._best is not None:
            yield from self._lower()
        return self._best

    def quick(self) -> Stage:
        """Yield one structure for the tolerance."""
        return (yield from self._sure(()))

    def _explained(self) -> Stage:
        """Yield graphs level by level, until one is found that agrees with the cuts."""
        problem = self._problem
        first, *others = levels(problem.spectra, problem.modes, self._tol)
        hidden = noise_is_hidden(problem.spectra, problem.modes, self._tol)
        allowed = range(self._method.slack + 1)
        # the level that the data show comes first: where noise is counted, many graphs agree
        rungs = [(first, slack) for slack in allowed]
        rungs += [(ranks, slack) for slack in allowed for ranks in others]
        explained = False
        for ranks, slack in rungs:
            if self._left <= 0.0:
                break
            if explained and (slack or not hidden):
                continue  # where no cut shows the noise, small values may be signal: look lower
            yield from self._level(ranks, 0, slack)
            agrees = self._agrees(ranks, slack)
            if agrees or (ranks is first and not slack):
                for hubs in range(1, self._method.most_hubs + 1):
                    yield from self._level(ranks, hubs, slack)
            explained = explained or agrees or self._agrees(ranks, slack)
        return self._best

    def _agrees(self, ranks: CutRanks, slack: int) -> bool:
        best = self._best
        return best is not None and violated(best.evaluation.structure, ranks) <= slack

    def _level(self, ranks: CutRanks, hubs: int, slack: int) -> Stage:
        """Yield the graphs of one set of ranks that are smaller than the best so far."""
        tree = None if hubs else tree_of(self._problem.spectra, ranks)
        cap = self._cap() if tree is None else min(self._cap(), tree.num_params - 1)
        budget = self._budget.part(self._method.boxes // PARTS)
        small = len(self._problem.modes) + hubs <= ENUMERATED
        found = graphs(ranks.exact, hubs=hubs, cap=cap, slack=slack, budget=budget) if small else ()
        agreed = self._agrees(ranks, slack)
        tries = HUB_FITS if hubs and agreed else self._method.fits
        missed: list[Answer] = []
        for number, graph in zip(range(tries), found, strict=False):
            label = f"cuts, hubs {hubs}, slack {slack}"
            if tree is not None and self._tree_first(tree, graph, number):
                yield from self._smaller(tree, "tree of cuts")
            if not self._affords(graph.structure, 1):
                break
            answer = yield from self._try(graph.structure, label)
            if answer.error <= self._tol:
                break
            missed.append(answer)
        certain = not slack and ranks.noise <= share(self._tol, len(self._problem.modes))
        if tree is not None and (certain or violated(tree, ranks) <= slack):
            yield from self._smaller(tree, "tree of cuts")
        if not (slack or agreed):  # they agree with every cut: worth more, once others are known
            for number, answer in enumerate(missed):
                if answer.evaluation.num_params <= self._cap():
                    yield from self._again(answer, more=not number)
        return self._best

    def _tree_first(self, tree: Structure, graph: Graph, number: int) -> bool:
        """Tell whether a tree, cheap and mostly certain, comes before the fit of a graph."""
        if number:  # the first one missed: the tree may well be what was planted
            return tree.num_params <= NOT_MUCH * graph.num_params
        return not self._affords(graph.structure, self._method.restarts)

    def _smaller(self, structure: Structure, label: str) -> Stage:
        """Yield a structure, if it is smaller than the best."""
        if structure.num_params <= self._cap():
            yield from self._try(structure, label)
        return self._best

    def _again(self, missed: Answer, *, more: bool) -> Try:
        """Yield more sweeps for a fit that came near, then more starts if wanted."""
        structure = missed.evaluation.structure
        starts = self._method.restarts * AGAIN
        long = self._method.sweeps * LONG
        near = missed.error < NEAR and missed.network is not None
        if near and self._affords(structure, LONG):
            (answer,) = yield [
                Proposal(
                    structure=structure,
                    start=missed.network,
                    sweeps=long,
                    before=missed.effort,
                    useful=self._tol,
                    parent=missed.request,
                    label="on",
                )
            ]
            self._note(answer)
            if answer.error <= self._tol:
                return answer
            starts += LONG  # so that it is more work than was done by now
        if more and self._affords(structure, 1):
            return (yield from self._try(structure, "again", starts))
        return missed

    def _affords(self, structure: Structure, starts: int) -> bool:
        """Tell whether so many starts of a fit are within the operations that are left."""
        return self._starts(structure, starts) == starts

    def _starts(self, structure: Structure, starts: int) -> int:
        """Return how many of some starts of a fit are within the operations that are left."""
        flops = self._problem.task.planned_flops(structure) * self._method.sweeps
        return starts if flops * starts <= self._left else max(0, int(self._left // flops))

    def _note(self, answer: Answer) -> None:
        done = answer.evaluation
        if done.sweeps:
            self._left -= done.sweeps * self._problem.task.planned_flops(done.structure)
        if answer.error <= self._tol and answer.evaluation.num_params <= self._cap():
            self._best = answer

    def _cap(self) -> int:
        if self._best is None:  # else more than any reduced tree of full ranks needs
            return 4 * self._dense if self._most is None else self._most
        return self._best.evaluation.num_params - 1

    def _try(self, structure: Structure, label: str, starts: int | None = None) -> Try:
        """Yield one structure, unless it was fitted before from as many starts."""
        starts = self._method.restarts if starts is None else starts
        key = (canonical_key(structure), starts)
        if key not in self._answers:
            starts = max(1, self._starts(structure, starts))
            (answer,) = yield [
                Proposal(
                    structure=structure,
                    sweeps=self._method.sweeps,
                    restarts=starts,
                    useful=self._tol,
                    label=label,
                )
            ]
            self._answers[key] = answer
            self._note(answer)
        return self._answers[key]

    def _sure(self, hopeful: tuple[float, ...] = HOPEFUL) -> Stage:
        """Yield trees, from hopeful ranks to those that are certainly within the tolerance."""
        problem = self._problem
        order = len(problem.modes)
        sure = None
        for part in (*hopeful, share(1.0, order)):
            sure = tree_leaving(problem.spectra, problem.modes, part * self._tol)
            if sure is not None and sure.num_params <= self._cap():
                answer = yield from self._try(sure, f"tree, {part:.2f} of the tolerance a bond")
                if answer.error <= self._tol:
                    return answer
        if sure is None and self._best is None:
            sure = smallest_allowed(
                problem.spectra, problem.modes, self._tol, boxes=self._method.boxes
            )
            yield from self._try(sure, "smallest allowed")
        return self._best

    def _lower(self) -> Stage:
        """Lower ranks as long as fits stay within the tolerance."""
        failed: set[str] = set()
        problem = self._problem
        certain = next(levels(problem.spectra, problem.modes, self._tol))
        while self._best is not None:
            now, net = self._best, self._best.network
            if net is None:
                return now
            for move in distinct(lowered(now.evaluation.structure), failed):
                failed.add(canonical_key(move.structure))
                if too_narrow(move.structure, certain):
                    problem.spectra.ruled_out += 1
                    continue
                start = carried_over(net, move.structure, rng=problem.rng)
                (answer,) = yield [
                    Proposal(
                        structure=move.structure,
                        start=start,
                        sweeps=self._method.sweeps,
                        useful=self._tol,
                        parent=now.request,
                        label=move.label,
                    )
                ]
                if answer.error <= self._tol:
                    self._best = answer
                    break
            if self._best is now:
                return now
        return self._best
