"""Limited search: trees and slices together, within the entries that may be alive at once.

Annealing limits the entries of one value, but what counts is the peak of the lowered program:
several values are alive at once, and copies beside them. So the limit of a value starts at what
is allowed in all and falls until the peak of what was found is within it.
"""

from __future__ import annotations

from collections.abc import Callable

from contraction.search.problem import Found
from contraction.search.rounds import GROWTH, Rounds

PROBE = 150  # rotations for each leaf while the limit of a value is sought
PROBES = 12
LEAST_STEP = 0.25  # by which the limit falls, in powers of two


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
        self.limit = most
        self.nearest: tuple[float, Found] | None = None
        self.start = rounds.best
        rounds.trees = []  # those that need too much do not count

    def run(self) -> list[Found]:
        """Return the best trees within the limit, best first, or the one that came nearest."""
        rounds = self.rounds
        length, number = PROBE * rounds.count, 0
        while moves := rounds.affordable(length):
            if not rounds.trees and self.limit <= 0:
                break
            fits = self._round(moves, number)
            number += 1
            if fits:
                length *= GROWTH
        while not rounds.trees and self.limit > 0 and number < PROBES:
            self._round(PROBE * rounds.count, number)  # the time is over, but nothing fits yet
            number += 1
        if rounds.trees:
            return rounds.trees
        return [self.start] if self.nearest is None else [self.nearest[1]]

    def _round(self, moves: int, number: int) -> bool:
        rounds = self.rounds
        start = rounds.trees[0] if rounds.trees and number % 2 else self.start
        found = rounds.annealed(start, moves, number, max_log2_size=max(self.limit, 0.0))
        over = self.peak(found) - self.most
        if over <= 0:
            rounds.add(found)
            return True
        if self.nearest is None or over < self.nearest[0]:
            self.nearest = over, found
        # a step too far costs more than one too short, so half the way at most
        self.limit -= max(over / 2, LEAST_STEP)
        return False
