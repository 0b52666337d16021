"""Limited search: trees and slices together, within the entries that may be alive at once.

Annealing limits the entries of one value, but what counts is the peak of the lowered program:
several values are alive at once, and copies beside them. So the limit of a value starts at what
is allowed in all and falls until the peak of what was found is within it.
"""

from __future__ import annotations

from collections.abc import Callable

from contraction.search.annealing import Schedule
from contraction.search.problem import Found
from contraction.search.rounds import KEPT, Rounds
from contraction.search.slicing import Slicing

PROBE = 400  # rotations for each leaf while the limit of a value is sought
PROBES = 4  # for that
FORCED = 2  # more of them, without annealing, once the time is over and nothing fits
MENDS = 3  # at most, for a tree that does not fit
USUAL = 1.75  # log2 of the peak over the largest value, to begin with
SLACK = 1.1  # log2 by which the peak may stay below what is allowed: most labels are of size two
MARGIN = 0.05  # log2 by which the next limit is lower than what would just have fitted
GENTLE = Schedule(slicing=Slicing(unsliced=0.0, cool=(0.1, 0.05)))


class Limited:
    """Rounds of annealing under a limit, judged by the peak of the lowered program.

    Parameters
    ----------
    rounds
        The network with a tree to start from, and the effort.
    peak
        Tells log2 of the entries that a tree has alive at once.
    most
        Log2 of those that are allowed.
    """

    def __init__(self, rounds: Rounds, peak: Callable[[Found], float], most: float) -> None:
        self.rounds, self.peak, self.most = rounds, peak, most
        self.limit = max(most - USUAL, 0.0)
        self.trees: list[Found] = []
        self.nearest: tuple[float, Found] | None = None  # log2 of the least excess, and the tree
        self.unfit: Found | None = None  # the last that did not fit
        self._number = 0

    def run(self) -> list[Found]:
        """Return the best trees within the limit, best first, or the one that came nearest."""
        rounds = self.rounds
        rounds.polish()
        length = PROBE * rounds.count
        for _ in range(PROBES):
            moves = rounds.affordable(length)
            if not moves:
                break
            over = self._round(rounds.best, moves)
            if -SLACK <= over <= 0.0:
                break
            self.limit = self._fitting(over)
        while self.limit > 0.0 and (moves := rounds.affordable(length)):
            # by turns from the best tree without slices, and from the best with them
            start = self.trees[0] if self.trees and self._number % 2 else rounds.best
            over = self._round(start, moves)
            if over > 0.0:
                limit = self._fitting(over)
                self._mend(min(limit, self.limit - 1.0))
                self.limit = limit
            elif over < -SLACK:  # longer rounds leave less beside the largest value
                self.limit = self._fitting(over)
            length = rounds.longer(moves)
        for _ in range(FORCED):
            if self.trees or self.limit <= 0.0:
                break
            self.limit = max(self.limit - 1.0, 0.0)
            self._mend(self.limit)
        if self.trees:
            return self.trees
        return [rounds.best] if self.nearest is None else [self.nearest[1]]

    def _fitting(self, over: float) -> float:
        """Return the limit that would have made a peak over what is allowed fit."""
        return max(self.limit - over - MARGIN, 0.0)

    def _round(self, start: Found, moves: int) -> float:
        """Anneal once, and return log2 of the peak over what is allowed."""
        return self._judge(
            self.rounds.annealed(start, moves, self._number, max_log2_size=self.limit)
        )

    def _mend(self, limit: float) -> None:
        """Slice a little more of the tree that did not fit, and leave it as it is otherwise."""
        for _ in range(MENDS):
            start, moves = self.unfit or self.rounds.best, self.rounds.count
            found = self.rounds.annealed(
                start, moves, self._number, schedule=GENTLE, max_log2_size=max(limit, 0.0)
            )
            if self._judge(found) <= 0.0 or self.rounds.allowance() <= 0.0:
                break
            limit -= 1.0

    def _judge(self, found: Found) -> float:
        self._number += 1
        over = self.peak(found) - self.most
        if over <= 0.0:
            self.trees = sorted({found, *self.trees}, key=lambda f: (f.log2_cost, f.pairs))[:KEPT]
            self.rounds.effort.tell(self.trees[0].log2_cost)
        else:
            self.unfit = found
            if self.nearest is None or over < self.nearest[0]:
                self.nearest = over, found
        return over
