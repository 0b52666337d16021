"""Greedy: grow a network bond by bond, then take away what is not needed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, final

from contraction.errors import InputError
from contraction.truncation import check_rank
from structure_search.methods import inner_nodes, moves
from structure_search.methods.base import AbstractMethod, Answer, Problem, Proposal, Proposals
from structure_search.methods.growth import appended, growths
from tnet.als.start import carried_over
from tnet.network import Network
from tnet.structure import Structure

Stage: TypeAlias = Generator[Sequence[Proposal], Sequence[Answer], Answer]
Try: TypeAlias = Generator[Sequence[Proposal], Sequence[Answer], Answer | None]


@final
@dataclass(frozen=True, kw_only=True)
class Greedy(AbstractMethod):
    """Grow the network one slice at a time, then lower, exchange and split.

    Growth starts from rank one (or from `start`). The gain of one more slice on every pair of
    nodes is found by a fit of the new slices to the residual; the few with the best gain per
    parameter are really tried, and the one whose error falls most, on a logarithmic scale, per
    parameter is kept with its weights. Once the error is within the objective's, ranks are
    lowered, rank is exchanged between bonds, and (with `inner_nodes`) nodes are split by the
    singular values of their arrays, as long as the error stays within. Structures that the
    singular values of some bipartition rule out are passed over without a fit: a cut of rank k
    leaves at least the tail beyond k (a lower bound, so nothing possible is lost).

    Under `MaxParams` the network grows within the budget and is then swept on.

    Growth after Hashemizadeh, Liu, Miller, Rabusseau, arXiv:2008.05437, with another score, a
    look-ahead and the backward part added.

    Parameters
    ----------
    look_ahead
        How many pairs are really tried in each step.
    trial_sweeps, sweeps
        Sweeps for a trial, and after a step.
    fit_sweeps, restarts
        Sweeps for a smaller structure from the present network, and random starts after that
        (none where the first fit comes within half of the error allowed, relative to it).
    inner_nodes
        Whether nodes without a mode may appear.
    max_degree
        Most bonds of rank above one at one node.
    exchange
        How many exchanges of rank may be tried in vain before the search ends; 0 for none.

    Examples
    --------
    >>> import numpy as np
    >>> import tnet
    >>> from structure_search import RelativeError, search
    >>> ring = tnet.tensor_ring((4, 4, 4, 4), (2, 2, 2, 2))
    >>> x = tnet.contract(tnet.random_network(ring, rng=np.random.default_rng(0)))
    >>> goal = RelativeError(tol=1e-4)
    >>> found = search(x, method=Greedy(), objective=goal, rng=np.random.default_rng(1))
    >>> found.best.num_params <= ring.num_params
    True
    """

    look_ahead: int = 4
    trial_sweeps: int = 5
    sweeps: int = 10
    fit_sweeps: int = 30
    restarts: int = 2
    inner_nodes: bool = True
    max_degree: int | None = None
    exchange: int = 12

    def __post_init__(self) -> None:
        for name in ("look_ahead", "trial_sweeps", "sweeps", "fit_sweeps", "restarts"):
            check_rank(getattr(self, name), name)
        check_rank(self.exchange, "exchange", least=0)
        if self.max_degree is not None:
            check_rank(self.max_degree, "max_degree", least=2)
        if not isinstance(self.inner_nodes, bool):
            raise InputError(f"`inner_nodes` is True or False, got {self.inner_nodes!r}.")

    def default_objective(self) -> None:
        """Return None: greedy growth needs to be told where to stop."""

    def propose(self, problem: Problem) -> Proposals:
        """Yield the growth, then the smaller structures."""
        begin = problem.start or isolated(problem)
        label = "start" if problem.start else "rank one"
        (now,) = yield [Proposal(structure=begin, sweeps=self.sweeps, restarts=1, label=label)]
        now = yield from self._grow(problem, now)
        if problem.objective.cap is not None:
            yield from self._polish(now)
        elif now.error <= problem.objective.enough:
            yield from self._shrink(problem, now)

    # ---- forward ---------------------------------------------------------------------------

    def _grow(self, problem: Problem, now: Answer) -> Stage:
        goal = problem.objective
        most = math.inf if goal.cap is None else float(goal.cap)
        while now.error > goal.enough and (net := now.network) is not None:
            options = growths(net, problem.x, most_params=most, max_degree=self.max_degree)
            tried = [g for g in options if g.gain > 0.0][: self.look_ahead]
            if not tried:
                break
            answers = yield [
                Proposal(
                    structure=g.structure,
                    start=appended(net, g, problem.rng),
                    sweeps=self.trial_sweeps,
                    before=now.effort,
                    parent=now.request,
                    label=f"grow {g.ends[0]}-{g.ends[1]}",
                )
                for g in tried
            ]
            before = now
            now = max(answers, key=lambda a: (_worth(before, a), -a.evaluation.index))
            if not math.isfinite(now.error):
                break
            if now.error > goal.enough and self.sweeps > self.trial_sweeps:
                (now,) = yield [
                    Proposal(
                        structure=now.evaluation.structure,
                        start=now.network,
                        sweeps=self.sweeps - self.trial_sweeps,
                        before=now.effort,
                        parent=now.request,
                        label="sweep",
                    )
                ]
        return now

    def _polish(self, now: Answer) -> Stage:
        (done,) = yield [
            Proposal(
                structure=now.evaluation.structure,
                start=now.network,
                sweeps=self.fit_sweeps,
                before=now.effort,
                parent=now.request,
                label="polish",
            )
        ]
        return done

    # ---- backward --------------------------------------------------------------------------

    def _shrink(self, problem: Problem, now: Answer) -> Stage:
        """Take the move that saves most and still fits, until none does."""
        failed: set[str] = set()
        while True:
            smaller = yield from self._lower(problem, now, failed)
            if smaller is None and self.inner_nodes:
                smaller = yield from self._inner(problem, now, failed)
            if smaller is None and self.exchange:
                smaller = yield from self._exchange(problem, now, failed)
            if smaller is None:
                return now
            now = smaller

    def _lower(self, problem: Problem, now: Answer, failed: set[str]) -> Try:
        options = moves.distinct(moves.lowered(now.evaluation.structure), failed)
        return (yield from self._first(problem, now, options, failed, len(options)))

    def _exchange(self, problem: Problem, now: Answer, failed: set[str]) -> Try:
        structure, enough = now.evaluation.structure, problem.objective.enough
        found = itertools.chain(
            moves.exchanged(structure, max_degree=self.max_degree),
            moves.repaired(structure, problem.spectra, enough),
        )
        options = moves.distinct(found, failed)
        return (yield from self._first(problem, now, options, failed, self.exchange))

    def _inner(self, problem: Problem, now: Answer, failed: set[str]) -> Try:
        net = now.network
        if net is None:
            return None
        found = itertools.chain(
            inner_nodes.joins(net),
            inner_nodes.splits(net),
            inner_nodes.stars(problem.modes, problem.spectra, problem.objective.enough),
        )
        options = moves.distinct(found, failed)
        return (yield from self._first(problem, now, options, failed, len(options)))

    def _first(
        self,
        problem: Problem,
        now: Answer,
        options: list[moves.Move],
        failed: set[str],
        patience: int,
    ) -> Try:
        """Return the first option that fits; give up after `patience` fits in vain."""
        enough = problem.objective.enough
        net = now.network
        for move in options:
            if patience <= 0:
                return None
            if move.num_params >= now.evaluation.num_params:
                continue
            if problem.spectra.rules_out(move.structure, enough):
                continue
            (answer,) = yield [
                Proposal(
                    structure=move.structure,
                    start=_carried(net, move, problem),
                    sweeps=self.fit_sweeps,
                    restarts=self.restarts,
                    useful=enough,
                    parent=now.request,
                    label=move.label,
                )
            ]
            if answer.error <= enough:
                return answer
            failed.add(answer.evaluation.key)
            patience -= 1
        return None


def _carried(net: Network | None, move: moves.Move, problem: Problem) -> Network | None:
    if move.start is not None:
        return move.start()
    if net is None or not set(net.structure.legs) & set(move.structure.legs):
        return None
    return carried_over(net, move.structure, rng=problem.rng)


def _worth(before: Answer, after: Answer) -> float:
    """Return the fall of the logarithm of the error per parameter."""
    if not math.isfinite(after.error):
        return -math.inf
    fall = math.log(max(before.error, 1e-300)) - math.log(max(after.error, 1e-300))
    return fall / max(1, after.evaluation.num_params - before.evaluation.num_params)


def isolated(problem: Problem) -> Structure:
    """Return one node per mode and no bonds: the tensors of rank one."""
    nodes = {f"v{k}": (mode,) for k, mode in enumerate(problem.modes)}
    return Structure(nodes, problem.modes, tuple(problem.modes))
