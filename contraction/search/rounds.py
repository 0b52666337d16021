"""Rounds: trees improved by greedy trials, windows and annealing, for as long as allowed.

The rounds grow in length and their order is fixed. With a seed the same trees are found one
after the other; the clock, or the work that the run time of the best tree so far makes worth
its while, decides how far it gets.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from contraction.cost import CostModel
from contraction.greedy import greedy_pairs
from contraction.search.annealing import Schedule, anneal
from contraction.search.annealing_tree import log2_total
from contraction.search.objectives import Objective
from contraction.search.problem import Found, Problem

Progress: TypeAlias = Callable[[float, float], None]

LEAST, MOST = 1e-3, 2.0  # seconds of work where none are given
MOVE = 6e-7  # seconds that a rotation takes in plain Python
TRIAL = 2.5e-5  # the same for one leaf in a greedy trial
GROWTH = 4  # from one round to the next
FIRST = 40  # rotations for each leaf in the first round
FEWEST = 4  # rotations for each leaf below which a round is not worth its start
KEPT = 4  # trees kept
WRITES_ALONE = 2.0**40  # multiply-adds an entry is worth where only entries count
COOL = Schedule(hot=(0.5, 0.1), cool=(0.3, 0.05))
HOT = Schedule()


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How long a search may take.

    Parameters
    ----------
    begin, deadline
        Values of `time.perf_counter`; without a deadline the work is a fixed amount.
    seed
        Of the random choices.
    report
        Called with the share of the time that is over and log2 of the smallest cost.
    """

    begin: float
    deadline: float | None
    seed: int
    report: Progress | None

    @classmethod
    def of(cls, seconds: float | None, seed: int, report: Progress | None) -> Effort:
        """Return the effort of a search that starts now."""
        now = time.perf_counter()
        return cls(
            begin=now,
            deadline=None if seconds is None else now + seconds,
            seed=seed,
            report=report,
        )

    def share(self, part: float) -> Effort:
        """Return the effort for a part of the network, from now on."""
        if self.deadline is None:
            return self
        now = time.perf_counter()
        return replace(self, begin=now, deadline=now + part * (self.deadline - self.begin))

    def until(self, share: float) -> float | None:
        """Return the moment at which this share of the time is over."""
        if self.deadline is None:
            return None
        return self.begin + share * (self.deadline - self.begin)

    def left(self) -> float:
        """Return the seconds until the deadline, infinite without one."""
        return math.inf if self.deadline is None else self.deadline - time.perf_counter()

    def tell(self, cost: float) -> None:
        """Report how far the search has come."""
        if self.report is not None and self.deadline is not None:
            length = self.deadline - self.begin
            over = (time.perf_counter() - self.begin) / length if length > 0 else 1.0
            self.report(min(over, 1.0), cost)


def worth(seconds: float) -> float:
    """Return the seconds of work that a plan of this run time deserves."""
    return min(max(seconds, LEAST), MOST)


def write_weight(objective: Objective, model: CostModel) -> float:
    """Return the multiply-adds that one entry written is worth."""
    match objective:
        case Objective.FLOPS:
            return 0.0
        case Objective.COMBO:
            return 64.0
        case Objective.TIME:
            side, entries = 512, 1 << 20
            product = model.matmul(1, side, side, side) / side**3
            return model.multiply(entries, entries, across=False) / entries / product
        case _:
            return WRITES_ALONE


class Rounds:
    """The trees found so far of one problem, best first, and the means to better them.

    Parameters
    ----------
    problem
        The network, simplified.
    weight
        Multiply-adds that one entry written is worth.
    effort
        How long it may take.
    seconds
        Tells the estimated run time of a tree; asked only where there is no deadline.
    """

    def __init__(
        self,
        problem: Problem,
        weight: float,
        effort: Effort,
        seconds: Callable[[Found], float],
    ) -> None:
        self.problem, self.weight, self.effort = problem, weight, effort
        self.count = len(problem.leaves)
        self.trees: list[Found] = []
        self.spent = 0.0  # seconds of nominal work
        self.pace = MOVE  # seconds of a rotation, as measured
        self._seconds = seconds

    @property
    def best(self) -> Found:
        """The best tree."""
        return self.trees[0]

    def start(self) -> None:
        """Add a greedy tree."""
        p = self.problem
        self.add(Found(greedy_pairs(p.leaves, p.output, [max(size, 1) for size in p.sizes])))
        self.spent += TRIAL * self.count

    def allowance(self) -> float:
        """Return the seconds of work that are left."""
        if self.effort.deadline is not None:
            return self.effort.left()
        return worth(self._seconds(self.best)) - self.spent

    def add(self, found: Found) -> None:
        """Take a tree in among those kept."""
        cost = log2_total(self.problem, found.pairs, found.slices, self.weight)
        trees = {found._replace(log2_cost=cost), *self.trees}
        self.trees = sorted(trees, key=lambda f: (f.log2_cost, f.pairs))[:KEPT]
        self.effort.tell(self.best.log2_cost)

    def affordable(self, moves: int) -> int:
        """Return how many rotations the next round may have; zero to stop."""
        least = FEWEST * self.count
        if self.effort.deadline is None:
            moves = min(moves, int(self.allowance() / MOVE))
            return moves if moves >= least else 0
        left = 0.97 * self.effort.left()
        if moves * self.pace > 0.4 * left:  # the last round takes all that is left
            most = left / self.pace
            # of a few lengths only, that it may be the same another time
            moves = 0 if most < least else int(2 ** (math.floor(2 * math.log2(most)) / 2))
        return moves if moves >= least else 0

    def anneal(self, start: Found, moves: int, number: int, schedule: Schedule) -> None:
        """Do one round."""
        begin = time.perf_counter()
        self.add(
            anneal(
                self.problem,
                start,
                seed=self.effort.seed * 1000 + number,
                moves=moves,
                deadline=self.effort.until(0.98),
                schedule=schedule,
                write_weight=self.weight,
            )
        )
        self.spent += moves * MOVE
        self.pace = (time.perf_counter() - begin) / moves

    def run(self) -> None:
        """Anneal in rounds until the time or the work is over."""
        length, number = FIRST * self.count, 0
        while moves := self.affordable(length):
            schedule = COOL if number % 3 == 2 else HOT
            self.anneal(self.trees[0], moves, number, schedule)
            length, number = length * GROWTH, number + 1
