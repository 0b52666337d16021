"""Simulated annealing of contraction trees by rotations of sets of labels held as bits.

A move takes ((x, y), z) to (x, (y, z)) and is judged by the two steps that it changes alone, so
it costs a tenth of a microsecond compiled and half of one in plain Python, whatever the size of
the network. The temperature falls geometrically; the best tree is kept from time to time.
Under a limit on the size of values, slices are searched for together with the tree
(`contraction.search.slicing`). After Kirkpatrick, Gelatt and Vecchi, Science 220, 671 (1983).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

from contraction.errors import PlanError
from contraction.search.annealing_plain import PlainTree
from contraction.search.annealing_tree import log2_total
from contraction.search.problem import Found, Problem
from contraction.tree import check_pairs

CHECKS = 400  # times that a run looks at the clock and cools
KEEPS = 100  # times that a run compares its tree with the best
BLOCK = 4096  # rotations between two looks at the clock


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How temperatures fall, and how much of the work each fall gets.

    Parameters
    ----------
    hot, cool
        First and last temperature of the first and of the second half. Networks with few, large
        hyperedges need the hot half; the others gain most in the cool one.
    moves_per_leaf
        Rotations for each leaf where neither moves nor a deadline are given.
    """

    hot: tuple[float, float] = (2.0, 0.1)
    cool: tuple[float, float] = (0.5, 0.05)
    moves_per_leaf: int = 1000

    def __post_init__(self) -> None:
        for name in ("hot", "cool"):
            first, last = getattr(self, name)
            if not 0 < last <= first < math.inf:
                raise PlanError(
                    f"`{name}` is a first and a lower last temperature above zero, got "
                    f"{(first, last)}."
                )
        if self.moves_per_leaf < 1:
            raise PlanError(f"`moves_per_leaf` is at least 1, got {self.moves_per_leaf}.")


class Progress:
    """How much of a run is done: by moves, by the clock, or by whichever is ahead."""

    def __init__(self, moves: int | None, deadline: float | None) -> None:
        self.moves, self.deadline = moves, deadline
        self.begin, self.done = time.perf_counter(), 0

    def share(self) -> float:
        """Return the part of the run that is over; one or more at its end."""
        by_moves = self.done / self.moves if self.moves is not None else 0.0
        if self.deadline is None:
            return by_moves if self.moves else 1.0
        now, length = time.perf_counter(), self.deadline - self.begin
        by_clock = (now - self.begin) / length if length > 0 else 1.0
        return max(by_moves, by_clock)

    def blocks(self, until: float = 1.0, most: int = BLOCK) -> Iterator[tuple[int, float]]:
        """Yield the moves of the next block and the share so far, up to the share `until`."""
        start = self.share()
        while (share := self.share()) < until:
            block = most
            if self.moves is not None:
                block = min(block, max(self.moves // CHECKS, 1), self.moves - self.done)
                block = max(block, 1)
            yield block, (share - start) / (until - start)
            self.done += block


def anneal(
    problem: Problem,
    start: Found,
    *,
    seed: int,
    moves: int | None = None,
    deadline: float | None = None,
    max_log2_size: float = math.inf,
    schedule: Schedule | None = None,
    write_weight: float = 0.0,
) -> Found:
    """Return a better tree, and slices if values must be small.

    Parameters
    ----------
    problem, start
        The network, and a tree over it.
    seed
        Of the random moves. Equal seeds and moves give equal trees, unless a deadline cuts in.
    moves
        Rotations to propose.
    deadline
        Value of `time.perf_counter` at which to stop. With moves too, whichever comes first.
    max_log2_size
        log2 of the entries that the result of a step of one slice may have. The leaves belong
        to the caller and do not count; the last result does, as the part of it that one slice
        makes.
    schedule
        Temperatures.
    write_weight
        Multiply-adds that one entry written is worth.

    Raises
    ------
    PlanError
        The start is not a tree over the leaves, or a number is out of range.
    """
    count = len(problem.leaves)
    check_pairs(start.pairs, count)
    if not 0 <= max_log2_size:
        raise PlanError(f"`max_log2_size` is the log2 of at least one entry, got {max_log2_size}.")
    if not 0 <= write_weight < math.inf or (moves is not None and moves < 0):
        raise PlanError(
            f"`write_weight` and `moves` are zero or more, got {write_weight} and {moves}."
        )
    schedule = schedule or Schedule()
    if count < 3:
        cost = log2_total(problem, start.pairs, start.slices, write_weight)
        return Found(start.pairs, start.slices, cost)
    if moves is None and deadline is None:
        moves = schedule.moves_per_leaf * count
    tree = PlainTree(problem, start.pairs, seed=seed, write_weight=write_weight)
    best, least = tree.snapshot(), tree.log2_total()
    progress = Progress(moves, deadline)
    for (first, last), until in ((schedule.hot, 0.5), (schedule.cool, 1.0)):
        kept = 0.0
        for block, share in progress.blocks(until):
            tree.rotate(block, first * (last / first) ** share)
            if share * KEEPS >= kept:
                kept += 2
                if (total := tree.log2_total()) < least:
                    best, least = tree.snapshot(), total
        if (total := tree.log2_total()) < least:
            best, least = tree.snapshot(), total
        tree.restore(best)
    pairs = tree.pairs()
    return Found(pairs, start.slices, log2_total(problem, pairs, start.slices, write_weight))
