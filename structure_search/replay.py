"""Evaluations of earlier sessions, handed out again to a method that asks as it did before."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Iterable
from typing import NamedTuple

from structure_search.journal import RunRecord
from structure_search.methods.base import Proposal
from structure_search.objectives import objective_from_dict
from structure_search.results import Evaluation, Source


class Written(NamedTuple):
    """An evaluation, and the error that was enough in the session that made it."""

    evaluation: Evaluation
    enough: float


class Replay:
    """The evaluations of a journal, by what was asked.

    An evaluation answers the same request again, unless the goal has changed so that it no
    longer tells what a fit would: a fit that ended since its error was enough, and no longer
    is, goes on; a structure that a bound ruled out is fitted if its bound is of use by now.

    Parameters
    ----------
    written
        In the order of the journal.

    Examples
    --------
    >>> from tnet import tensor_train
    >>> asked = Proposal(structure=tensor_train((4, 4), 1))
    >>> done = Evaluation(
    ...     index=0, key="", structure=asked.structure, num_params=8, error=0.1,
    ...     request=asked.request,
    ... )
    >>> Replay([Written(done, 0.2)]).take(asked, enough=0.3) == (done, None)
    True
    >>> Replay([Written(done, 0.2)]).take(asked, enough=0.05) == (None, done)
    True
    """

    def __init__(self, written: Iterable[Written] = ()) -> None:
        self._waiting: defaultdict[str, deque[Written]] = defaultdict(deque)
        self.evaluations: list[Evaluation] = []
        for item in written:
            self._waiting[item.evaluation.request].append(item)
            self.evaluations.append(item.evaluation)

    def take(
        self, proposal: Proposal, *, enough: float
    ) -> tuple[Evaluation | None, Evaluation | None]:
        """Return the evaluation that answers a proposal, or the last one that no longer does."""
        waiting, stale = self._waiting.get(proposal.request), None
        while waiting:
            item = waiting.popleft()
            if item.evaluation.source is Source.BOUND:
                if item.evaluation.bound > proposal.useful:
                    return item.evaluation, None
                continue
            if not enough < item.evaluation.error <= item.enough:
                return item.evaluation, None
            stale = item.evaluation
        return None, stale


def replay_of(record: RunRecord | None) -> Replay:
    """Return the evaluations of a run, each with what was enough in its session."""
    if record is None:
        return Replay()
    goals = [e["objective"] for e in record.events if e["kind"] == "session"]
    enough: dict[object, float] = {
        k: objective_from_dict(goal).enough for k, goal in enumerate(goals)
    }
    sessions = (e.get("session") for e in record.events if e["kind"] == "evaluation")
    return Replay(
        Written(evaluation, enough.get(session, -math.inf))
        for evaluation, session in zip(record.evaluations, sessions, strict=True)
    )
