"""Limited search: trees and slices together, within the entries that may be alive at once.

Annealing limits the entries of one value, but what counts is the peak of the lowered program:
several values are alive at once, and copies beside them. So short runs seek the limit of a value
for which the peak is within what is allowed, and longer ones then search with it. They start from
a bisection: its trees need far fewer slices than those of a greedy search, and a run that starts
from those may never get rid of the slices they need.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from contraction.search import compiled
from contraction.search.annealing import Schedule
from contraction.search.problem import Found
from contraction.search.rounds import KEPT, Rounds
from contraction.search.slicing import Slicing

QUICK = 4  # rotations for each leaf while the limit of a value is sought
SETTLED = 12  # short runs for that, at most
PROBE = 400  # rotations for each leaf in the first round
ROUND = 100_000  # rotations for each leaf in the longest
HASTE = 30_000  # rotations for each leaf below which the time is short, in plain Python
MOSTLY = 0.7  # of a short time, for the first round
SLOW = 1.1e-6  # seconds that a rotation takes with its share of slices
HEATED = 10_000  # rotations for each leaf from which heat finds better trees than a bisection
LEVELS = 4  # bisections of which the one easiest to slice is taken
PATIENCE = 12  # short runs that must be affordable where another bisection is tried
MENDS = 3  # at most, for a tree that does not fit
USUAL = 2.25  # log2 of the peak over the largest value, to begin with
SLACK = 1.1  # log2 by which the peak may stay below what is allowed: most labels are of size two
MARGIN = 0.05  # log2 by which the next limit is lower than what would just have fitted
GENTLE = Schedule(slicing=Slicing(unsliced=0.0, cool=(0.1, 0.05)), window=0)
HASTY = Schedule(slicing=Slicing(unsliced=0.0, noise=0.5), window=0)
LEVEL = Schedule(slicing=Slicing(unsliced=0.0))
HOT = Schedule(slicing=Slicing(unsliced=0.3, penalty=(0.5, 2.0)))


class Judged(NamedTuple):
    """What the lowered program of a tree does."""

    log2_peak: float  # entries alive at once
    log2_cost: float  # of the whole run; what no slice changes is done once


class Limited:
    """Rounds of annealing under a limit, judged by the lowered program.

    Parameters
    ----------
    rounds
        The network with a tree to start from, and the effort.
    judge
        Tells what a tree does.
    most
        Log2 of the entries that are allowed.
    """

    def __init__(self, rounds: Rounds, judge: Callable[[Found], Judged], most: float) -> None:
        self.rounds, self.judge, self.most = rounds, judge, most
        self.limit = max(most - USUAL, 0.0)
        self.trees: list[Found] = []
        self.nearest: tuple[float, Found] | None = None  # log2 of the least excess, and the tree
        self.unfit: Found | None = None  # the last that did not fit
        self.last = rounds.best  # that was judged
        self._number = 0

    def run(self) -> list[Found]:
        """Return the best trees within the limit, best first, or the one that came nearest."""
        rounds = self.rounds
        level, hasty = rounds.level(0), self._hasty()
        if hasty:
            self._keep(self._round(level, hasty, HASTY))
        else:
            self._settle(level)
            level = self._easiest(level)
        length, turn = PROBE * rounds.count, 0
        while self.limit > 0.0 and (moves := rounds.affordable(length, ROUND * rounds.count)):
            # by turns from a bisection, from the best so far, and from one that heat makes
            start, schedule = level, LEVEL
            if turn % 3 == 1 and self.trees:
                start = self.trees[0]
            elif turn % 3 == 2 and moves >= HEATED * rounds.count:
                start, schedule = rounds.best, HOT
            over = self._round(start, moves, schedule)
            self._keep(over)
            length, turn = min(rounds.longer(moves), ROUND * rounds.count), turn + 1
        if hasty and not self.trees:
            self._settle(level)
        if self.trees:
            return self.trees
        return [rounds.best] if self.nearest is None else [self.nearest[1]]

    def _settle(self, level: Found) -> None:
        """Seek the limit of a value by short runs, until one fits; then while time is left."""
        moves = QUICK * self.rounds.count
        for _ in range(SETTLED):
            start = self.unfit if self.unfit and not self.trees else level
            tried, over = self.limit, self._round(start, moves, GENTLE)
            if -SLACK <= over <= 0.0 or (over > 0.0 and self.limit <= 0.0):
                break
            if self.trees and not self.rounds.affordable(moves):
                break
            self.limit = self._fitting(over)
            if over > 0.0:
                self.limit = max(min(self.limit, tried - 1.0), 0.0)
        if self.trees:  # longer runs leave less beside the largest value
            self.limit = max(self.limit, self.most - USUAL)

    def _hasty(self) -> int:
        """Return the rotations of a first round that takes most of a short time, or zero.

        One slow fall of the temperature finds far more than several quick ones, and programs
        of quickly sliced trees take long to lower.
        """
        count, left = self.rounds.count, self.rounds.effort.left()
        most = HASTE * count * SLOW
        if left > most or compiled.worthwhile(left):
            return 0
        moves = int(MOSTLY * (left - self.rounds.overhead) / SLOW)
        return moves if moves >= QUICK * count else 0

    def _keep(self, over: float) -> None:
        """Mend the last tree if it does not fit, and set the limit for the next."""
        if over > 0.0:
            limit = self._fitting(over)
            self._mend(min(limit, self.limit - 1.0))
            self.limit = limit
        elif over < -SLACK:  # longer rounds leave less beside the largest value
            self.limit = self._fitting(over)

    def _easiest(self, level: Found) -> Found:
        """Return the bisection, of a few, that a short run slices at the least cost."""
        rounds, tried = self.rounds, []
        for number in range(LEVELS):
            if rounds.allowance() < PATIENCE * (rounds.windows + rounds.overhead):
                break
            start = level if number == 0 else rounds.level(number)
            moves = QUICK * rounds.count
            self._round(start, moves, GENTLE)
            tried.append((self.last.log2_cost, number, start))
        return min(tried)[2] if tried else level

    def _fitting(self, over: float) -> float:
        """Return the limit that would have made a peak over what is allowed fit."""
        return max(self.limit - over - MARGIN, 0.0)

    def _round(self, start: Found, moves: int, schedule: Schedule) -> float:
        """Anneal once, and return log2 of the peak over what is allowed."""
        found = self.rounds.annealed(
            start, moves, self._number, schedule=schedule, max_log2_size=self.limit
        )
        return self._judge(found)

    def _mend(self, limit: float) -> None:
        """Slice a little more of the tree that did not fit, and leave it as it is otherwise."""
        for _ in range(MENDS):
            start, moves = self.unfit or self.rounds.best, self.rounds.count
            if self.trees and not self.rounds.affordable(QUICK * moves):
                break
            found = self.rounds.annealed(
                start, moves, self._number, schedule=GENTLE, max_log2_size=max(limit, 0.0)
            )
            if self._judge(found) <= 0.0:
                break
            limit -= 1.0

    def _judge(self, found: Found) -> float:
        self._number += 1
        judged = self.judge(found)
        over = judged.log2_peak - self.most
        self.last = found = found._replace(log2_cost=judged.log2_cost)
        if over <= 0.0:
            self.trees = sorted({found, *self.trees}, key=lambda f: (f.log2_cost, f.pairs))[:KEPT]
            self.rounds.effort.tell(self.trees[0].log2_cost)
        else:
            self.unfit = found
            if self.nearest is None or over < self.nearest[0]:
                self.nearest = over, found
        return over
