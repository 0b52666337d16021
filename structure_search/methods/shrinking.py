"""The backward part of growth: ranks lowered, exchanged, nodes split, while nothing is lost."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from structure_search.methods import inner_nodes, moves
from structure_search.methods.base import Answer, Problem, Proposal
from structure_search.methods.growth import Limits
from structure_search.objectives import AbstractObjective, Custom, RelativeError, WeightedError
from structure_search.results import as_candidate
from tnet.als.start import carried_over
from tnet.network import Network

Stage: TypeAlias = Generator[Sequence[Proposal], Sequence[Answer], Answer]
Try: TypeAlias = Generator[Sequence[Proposal], Sequence[Answer], Answer | None]


@dataclass(frozen=True, kw_only=True)
class Backward:
    """How a network is made smaller.

    Attributes
    ----------
    sweeps, restarts
        Of the fit of a smaller structure; no restarts where size has a price.
    ridge
        As in `Proposal`.
    exchange
        How many exchanges of rank may be tried in vain; 0 for none. Where size has a price the
        same number holds for lower ranks.
    inner_nodes
        Whether nodes may be split and joined, under `RelativeError`.
    limits
        What structures have to keep to.
    """

    sweeps: int
    restarts: int
    ridge: float | None = None
    exchange: int
    inner_nodes: bool
    limits: Limits


def has_price(goal: AbstractObjective) -> bool:
    """Tell whether the objective weighs size against error, rather than limiting one of them."""
    return isinstance(goal, WeightedError | Custom)


def shrunk(problem: Problem, now: Answer, how: Backward) -> Stage:
    """Take the move that saves most and is no loss, until none is left."""
    failed: set[str] = set()
    inner = how.inner_nodes and isinstance(problem.objective, RelativeError)
    while True:
        smaller = yield from _lower(problem, now, how, failed)
        if smaller is None and inner:
            smaller = yield from _inner(problem, now, how, failed)
        if smaller is None and how.exchange:
            smaller = yield from _exchange(problem, now, how, failed)
        if smaller is None:
            return now
        now = smaller


def _lower(problem: Problem, now: Answer, how: Backward, failed: set[str]) -> Try:
    options = moves.distinct(moves.lowered(now.evaluation.structure), failed)
    # with a price on size nearly all of them are losses, found out by dear fits
    patience = how.exchange if has_price(problem.objective) else len(options)
    return (yield from _first(problem, now, how, options, failed, patience))


def _exchange(problem: Problem, now: Answer, how: Backward, failed: set[str]) -> Try:
    structure = now.evaluation.structure
    found = itertools.chain(
        moves.exchanged(structure, max_degree=how.limits.max_degree),
        moves.repaired(structure, problem.spectra, max(now.error, problem.objective.enough)),
    )
    options = moves.distinct(found, failed)
    return (yield from _first(problem, now, how, options, failed, how.exchange))


def _inner(problem: Problem, now: Answer, how: Backward, failed: set[str]) -> Try:
    net = now.network
    if net is None:
        return None
    found = itertools.chain(
        inner_nodes.joins(net),
        inner_nodes.splits(net),
        inner_nodes.stars(problem.modes, problem.spectra, problem.objective.enough),
    )
    options = moves.distinct(found, failed)
    return (yield from _first(problem, now, how, options, failed, len(options)))


def _first(
    problem: Problem,
    now: Answer,
    how: Backward,
    options: list[moves.Move],
    failed: set[str],
    patience: int,
) -> Try:
    """Return the first option that is better; give up after `patience` fits in vain."""
    goal = problem.objective
    net = now.network
    for move in options:
        if patience <= 0:
            return None
        smaller = move.num_params < now.evaluation.num_params
        if not smaller or not how.limits.keeps(move.structure):
            continue
        useful = goal.useful_error(move.structure, as_candidate(now.evaluation))
        if problem.spectra.rules_out(move.structure, useful):
            continue
        (answer,) = yield [
            Proposal(
                structure=move.structure,
                start=_carried(net, move, problem),
                sweeps=how.sweeps,
                restarts=0 if has_price(goal) else how.restarts,
                useful=useful,
                ridge=how.ridge,
                parent=now.request,
                label=move.label,
            )
        ]
        if goal.order(as_candidate(answer.evaluation)) < goal.order(as_candidate(now.evaluation)):
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
