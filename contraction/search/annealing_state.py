"""What an annealed tree can do, and how much of a run is done."""

from __future__ import annotations

import abc
import math
import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from contraction.search.problem import Problem
from contraction.tree import Pairs

CHECKS = 400  # parts into which a given number of moves is divided
LEAD = 0.02  # share of a run by which the clock must lead to set the pace
BLOCK = 4096  # rotations between two looks at the clock


class Snapshot(NamedTuple):
    """A copy of a state."""

    parent: Any
    kids: Any
    legs: Any
    cost: Any
    size: Any
    sliced: tuple[int, ...]


class AnnealedTree(abc.ABC):
    """A tree that rotations and slices change in place.

    Costs and sizes are divided by 2**shift, so that none overflows.
    """

    move_seconds: float  # about what a rotation takes, with its share of the changes of slices
    shift: float
    sliced: list[int]

    def __init__(
        self,
        problem: Problem,
        pairs: Pairs,
        *,
        seed: int,
        slices: Iterable[int] = (),
        write_weight: float = 0.0,
        max_log2_size: float = math.inf,
    ) -> None:
        self.problem, self.count, self.seed = problem, len(problem.leaves), seed
        self.write_weight, self.max_log2_size = write_weight, max_log2_size
        self._prepare()
        self.load(pairs, slices)

    @abc.abstractmethod
    def _prepare(self) -> None:
        """Set up what does not depend on the tree."""

    @abc.abstractmethod
    def load(self, pairs: Pairs, slices: Iterable[int] = ()) -> None:
        """Take over another tree."""

    @abc.abstractmethod
    def pairs(self) -> Pairs:
        """Return the tree as it is."""

    @abc.abstractmethod
    def snapshot(self) -> Snapshot:
        """Return a copy of the state."""

    @abc.abstractmethod
    def restore(self, kept: Snapshot) -> None:
        """Go back to a copy."""

    @abc.abstractmethod
    def log2_total(self) -> float:
        """Return log2 of the cost of all steps of all slices."""

    @abc.abstractmethod
    def rotate(self, moves: int, temperature: float, penalty: float = 0.0) -> None:
        """Propose `moves` rotations, each judged by the two steps that it changes.

        A change from `old` to `new` is taken with probability (old/new)**(1/temperature), where
        the cost of a value above the limit counts (size/limit)**penalty times.
        """

    @abc.abstractmethod
    def toggle(self, label: int) -> None:
        """Slice a label, or take it back if it is sliced."""

    @abc.abstractmethod
    def choose(self, noise: float) -> int:
        """Return the label to slice next, or -1 where every value is within the limit.

        A good one makes all slices together little dearer and takes part in much of what is too
        large. `noise` is the scale of Gumbel noise on that score.
        """


class Progress:
    """How much of a run is done: by moves, by the clock, or by whichever is ahead."""

    def __init__(self, moves: int | None, deadline: float | None) -> None:
        self.moves, self.deadline = moves, deadline
        self.begin, self.done = time.perf_counter(), 0

    def share(self) -> float:
        """Return the part of the run that is over; one or more at its end."""
        by_moves = self.done / self.moves if self.moves else float(self.moves == 0)
        if self.deadline is None:
            return by_moves
        now, length = time.perf_counter(), self.deadline - self.begin
        by_clock = (now - self.begin) / length if length > 0 else 1.0
        # a clock that is not what ends the run must not change it
        return by_clock if by_clock >= 1.0 or by_clock > by_moves + LEAD else by_moves

    def expected(self, seconds: float) -> float:
        """Return the moves of the whole run if each takes so many seconds."""
        moves = math.inf if self.moves is None else self.moves
        if self.deadline is None:
            return moves
        return min(moves, max(self.deadline - self.begin, 0.0) / seconds)

    def blocks(self, until: float, most: int = BLOCK) -> Iterator[tuple[int, float]]:
        """Yield the moves of a block and how much of the way to the share `until` is gone."""
        start = self.share()
        while (share := self.share()) < until:
            block = most
            if self.moves is not None:
                block = max(min(block, self.moves // CHECKS, self.moves - self.done), 1)
            yield block, (share - start) / (until - start)
            self.done += block
