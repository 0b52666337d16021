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
from contraction.search.annealing import Schedule, anneal
from contraction.search.annealing_tree import log2_total
from contraction.search.bisection import bisect
from contraction.search.greedy import random_greedy
from contraction.search.members import LARGEST, LONG, member_trees
from contraction.search.objectives import Objective
from contraction.search.problem import Found, Problem
from contraction.search.windows import reoptimize

Progress: TypeAlias = Callable[[float, float], None]

LEAST, MOST = 5e-3, 2.0  # seconds of work where none are given
RUNS = 2.0  # runs of the plan that the work may take as long as
MOVE = 6e-7  # seconds that a rotation takes in plain Python
TRIAL = 1e-5  # the same for one leaf in a greedy trial
WINDOW = 1.7e-4  # the same for one leaf when all windows are solved
BISECTION = 3e-4  # the same for one leaf of a bisection
BISECTED = 800  # leaves from which a bisection is a better start than greedy trees
GENEROUS = 4.0  # windows are tried even if they take so many times what is left
GROWTH = 4  # from one round to the next
LATEST = 0.95  # of the time: the rest is for lowering
SHORTEST = 0.1  # of the time left that the second round and later ones take at least
FIRST = 40  # rotations for each leaf in the first round
FEWEST = 4  # rotations for each leaf below which a round is not worth its start
TRIALS = 128  # greedy ones at most
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
        """Return the effort for a part of the network, from now on; it reports on the whole."""
        if self.deadline is None:
            return self
        now, report = time.perf_counter(), self.report
        return replace(
            self,
            begin=now,
            deadline=now + part * (self.deadline - self.begin),
            report=None if report is None else lambda _, cost: self.tell(cost),
        )

    def until(self, share: float) -> float | None:
        """Return the moment at which this share of the time is over."""
        if self.deadline is None:
            return None
        return self.begin + share * (self.deadline - self.begin)

    @property
    def length(self) -> float:
        """The seconds in all, infinite without a deadline."""
        return math.inf if self.deadline is None else self.deadline - self.begin

    def left(self) -> float:
        """Return the seconds until the deadline, infinite without one."""
        return math.inf if self.deadline is None else self.deadline - time.perf_counter()

    def tell(self, cost: float) -> None:
        """Report how far the search has come."""
        if self.report is not None and self.deadline is not None:
            length = self.length
            over = (time.perf_counter() - self.begin) / length if length > 0 else 1.0
            self.report(min(over, 1.0), cost)


def worth(seconds: float) -> float:
    """Return the seconds of work that a plan of this run time deserves."""
    return min(LEAST + RUNS * seconds, MOST)


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


def _rounded(moves: float) -> int:
    """Return one of a few lengths, that it may be the same another time."""
    return int(2 ** (math.floor(2 * math.log2(moves)) / 2)) if moves >= 1 else 0


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
        # values of larger networks have more labels
        self.trial = TRIAL * self.count * (1.0 + self.count / 150)
        self.windows = WINDOW * self.count * (1.0 + self.count / 300)
        self.overhead = self.windows  # of a round: it ends with them
        self._seconds = seconds

    @property
    def best(self) -> Found:
        """The best tree."""
        return self.trees[0]

    def start(self) -> None:
        """Add greedy trees."""
        self._greedy(1)
        if self.effort.deadline is None:
            trials = int(0.2 * self.allowance() / self.trial)
        else:
            trials = TRIALS
        if trials >= 4:
            self._greedy(min(trials, TRIALS))
        if self.count >= BISECTED and self.allowance() > 4 * BISECTION * self.count:
            self.add(bisect(self.problem, seed=self.effort.seed))
            self.spent += BISECTION * self.count

    def _greedy(self, trials: int) -> None:
        seed, deadline = self.effort.seed, self.effort.until(0.1)
        for found in random_greedy(self.problem, seed=seed, trials=trials, deadline=deadline):
            self.add(found)
        self.spent += trials * self.trial

    def _ask_members(self) -> None:
        if self.effort.left() < LONG or self.count > LARGEST:
            return
        deadline = self.effort.until(0.15)
        if deadline is not None:
            for found in member_trees(self.problem, seed=self.effort.seed, deadline=deadline):
                self.add(found)

    def allowance(self) -> float:
        """Return the seconds of work that are left."""
        if self.effort.deadline is not None:
            return self.effort.left()
        return worth(self.seconds()) - self.spent

    def seconds(self) -> float:
        """Return the estimated run time of the best tree."""
        return self._seconds(self.best)

    def add(self, found: Found) -> None:
        """Take a tree in among those kept."""
        cost = log2_total(self.problem, found.pairs, found.slices, self.weight)
        trees = {found._replace(log2_cost=cost), *self.trees}
        self.trees = sorted(trees, key=lambda f: (f.log2_cost, f.pairs))[:KEPT]
        self.effort.tell(self.best.log2_cost)

    def level(self, number: int) -> Found:
        """Return a bisected tree with its windows solved; the best one where time is short.

        Each `number` gives another tree.
        """
        start, cost = self.best, BISECTION * self.count
        if self.count >= 3 and self.allowance() > 1.5 * cost:
            start = bisect(self.problem, seed=self.effort.seed * 1000 + number)
            self.spent += cost
        if 2 * self.allowance() < self.windows:
            return start
        left = self.effort.left()
        self.spent += self.windows
        return reoptimize(
            self.problem,
            start,
            width=6,
            seed=self.effort.seed,
            deadline=None if left == math.inf else time.perf_counter() + 0.3 * left,
            write_weight=self.weight,
        )

    def affordable(self, moves: int, most: float = math.inf) -> int:
        """Return how many rotations the next round may have, of `most`; zero to stop."""
        if self.count < 3:
            return 0
        least = FEWEST * self.count
        if self.effort.deadline is None:
            left = self.allowance() - self.overhead
            moves = min(moves, int(left / MOVE))
            return moves if moves >= least else 0
        left = self.effort.left() - (1.0 - LATEST) * self.effort.length - self.overhead
        if moves * self.pace > 0.4 * left:  # the last round takes all that is left
            moves = _rounded(min(left / self.pace, most))
        return moves if moves >= least else 0

    def longer(self, moves: int) -> int:
        """Return the rotations of the round after one of so many."""
        least = 0.0 if self.effort.deadline is None else SHORTEST * self.effort.left() / self.pace
        return max(moves * GROWTH, _rounded(least))

    def annealed(
        self,
        start: Found,
        moves: int,
        number: int,
        *,
        schedule: Schedule = HOT,
        max_log2_size: float = math.inf,
    ) -> Found:
        """Return what one round makes of a tree."""
        begin = time.perf_counter()
        found = anneal(
            self.problem,
            start,
            seed=self.effort.seed * 1000 + number,
            moves=moves,
            deadline=self.effort.until(LATEST),
            max_log2_size=max_log2_size,
            schedule=schedule,
            write_weight=self.weight,
        )
        self.spent += moves * MOVE + self.overhead
        if moves >= FIRST * self.count:
            took = time.perf_counter() - begin - self.windows
            self.pace = max(took, 0.1 * moves * MOVE) / moves
        return found

    def polish(self) -> None:
        """Solve the windows of the best tree exactly."""
        seed, deadline = self.effort.seed, self.effort.until(0.2)
        self.add(
            reoptimize(
                self.problem,
                self.best,
                width=6,
                seed=seed,
                deadline=deadline,
                write_weight=self.weight,
            )
        )
        self.spent += self.windows

    def run(self) -> None:
        """Better the trees until the time or the work is over."""
        if self.count < 3 or GENEROUS * self.allowance() < self.windows:
            return
        self.polish()
        self._ask_members()
        length, number = FIRST * self.count, 0
        while moves := self.affordable(length):
            # heat makes a new start, and large networks take long to cool
            schedule = COOL if number % 3 == 2 or self.count >= BISECTED else HOT
            self.add(self.annealed(self.best, moves, number, schedule=schedule))
            length, number = self.longer(moves), number + 1
