"""Successive halving: a little work for many candidates, more for the better ones."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import replace

from contraction.errors import InputError
from contraction.truncation import check_rank
from structure_search.methods.base import Answer, Proposal
from structure_search.objectives import AbstractObjective
from structure_search.results import as_candidate


def halved(
    batch: Sequence[Proposal],
    objective: AbstractObjective,
    *,
    first: int = 5,
    share: float = 1.0 / 3.0,
) -> Generator[Sequence[Proposal], Sequence[Answer], list[Answer]]:
    """Evaluate candidates that compete: all with a few sweeps, the better ones with more.

    For methods, by ``answers = yield from halved(...)``. All candidates get `first` sweeps. The
    `share` of them that is best by the objective goes on from its networks with as many sweeps
    that they have 1 / `share` times as many, and so on, until the sweeps of their proposals are
    done; random restarts come with the last of them. Every answer is the error of a network that
    was found, so a candidate that is dropped is judged by a true upper bound on its error, but
    more work might have shown it better than one that was kept.

    Each round is a batch of its own: it is journalled, counted (`Counts.continued`) and shared
    among workers as any other.

    Parameters
    ----------
    batch
        The candidates; those with a `solve` are answered in the first round.
    objective
        What is looked for.
    first
        Sweeps in the first round.
    share
        Of the candidates that go on, in (0, 1]; at least one does.

    Returns
    -------
    list of Answer
        The last answer of each candidate, in the order of `batch`.

    Notes
    -----
    Jamieson and Talwalkar, AISTATS 2016: n candidates cost about n * first sweeps for each of
    log(sweeps / first) / log(1 / share) rounds, in place of n * sweeps.
    """
    check_rank(first, "first")
    if not 0.0 < share <= 1.0:
        raise InputError(f"`share` lies above 0, up to 1, got {share!r}.")
    sweeps = float(first)
    rung = [_begun(proposal, first) for proposal in batch]
    answers = list((yield rung) if rung else [])
    alive = [k for k, proposal in enumerate(batch) if rung[k] is not proposal]
    while alive := [k for k in alive if math.isfinite(answers[k].error)]:
        alive.sort(key=lambda k: (objective.order(as_candidate(answers[k].evaluation)), k))
        alive = sorted(alive[: max(1, math.ceil(share * len(alive)))])
        sweeps = sweeps / share if share < 1.0 else math.inf
        further = [_continued(batch[k], answers[k], sweeps) for k in alive]
        for k, answer in zip(alive, (yield further), strict=True):
            answers[k] = answer
        alive = [k for k in alive if sweeps < batch[k].sweeps]
    return answers


def _begun(proposal: Proposal, first: int) -> Proposal:
    """Return the first round of a proposal, or the proposal itself if that is all of it."""
    if proposal.solve is not None or proposal.sweeps <= first:
        return proposal
    return replace(proposal, sweeps=first, restarts=0)


def _continued(proposal: Proposal, answer: Answer, sweeps: float) -> Proposal:
    """Return the next round: up to `sweeps` sweeps in all, from the network that was found."""
    last = sweeps >= proposal.sweeps
    done = answer.effort - proposal.before
    return replace(
        proposal,
        structure=answer.evaluation.structure,
        start=answer.network,
        sweeps=max(1, proposal.sweeps - done if last else int(sweeps) - done),
        restarts=proposal.restarts if last else 0,
        before=answer.effort,
        parent=answer.request,
    )
