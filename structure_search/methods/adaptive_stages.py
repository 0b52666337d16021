"""Strategies as stages of another one: followed by the best answer so far, or side by side."""

from __future__ import annotations

import math
import sys
from collections.abc import Generator, Sequence
from typing import TypeAlias, final

from structure_search.methods.base import Answer, Proposal
from structure_search.objectives import AbstractObjective
from structure_search.results import as_candidate

Stage: TypeAlias = Generator[Sequence[Proposal], Sequence[Answer], None]


@final
class Best:
    """Keeps the best answer of all stages that are followed.

    Parameters
    ----------
    objective
        What is better.
    """

    def __init__(self, objective: AbstractObjective) -> None:
        self._objective = objective
        self._order: tuple[float, ...] = (math.inf,)
        self.answer: Answer | None = None

    def see(self, answer: Answer) -> None:
        """Take an answer."""
        if not math.isfinite(answer.error):
            return
        order = self._objective.order(as_candidate(answer.evaluation))
        if self.answer is None or order < self._order:
            self.answer, self._order = answer, order

    def of(self, stage: Stage) -> Stage:
        """Yield what a stage proposes, and see its answers."""
        answers: Sequence[Answer] | None = None
        try:
            while True:
                batch = next(stage) if answers is None else stage.send(answers)
                answers = yield batch
                for answer in answers:
                    self.see(answer)
        except StopIteration:
            return
        finally:
            stage.close()


@final
class Turns:
    """A stage that is gone through in several turns, with others between them.

    Parameters
    ----------
    stage
        Which.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._answers: Sequence[Answer] | None = None

    def next(self, count: int) -> Stage:
        """Yield its next `count` batches."""
        for _ in range(count):
            try:
                answers = self._answers
                batch = next(self._stage) if answers is None else self._stage.send(answers)
            except StopIteration:
                return
            self._answers = yield batch

    def rest(self) -> Stage:
        """Yield all that are left."""
        return self.next(sys.maxsize)


def side_by_side(stages: Sequence[Stage]) -> Stage:
    """Yield what several stages propose, one batch of each at a time, as one batch.

    A stage that ends leaves the rest alone.
    """
    waiting = []
    for stage in stages:
        first = next(stage, None)
        if first is not None:
            waiting.append((stage, first))
    try:
        while waiting:
            answers = yield [proposal for _, batch in waiting for proposal in batch]
            done, following = 0, []
            for stage, batch in waiting:
                part = answers[done : done + len(batch)]
                done += len(batch)
                try:
                    following.append((stage, stage.send(part)))
                except StopIteration:
                    pass
            waiting = following
    finally:
        for stage in stages:
            stage.close()


def one(proposal: Proposal) -> Stage:
    """Yield one proposal."""
    yield [proposal]
