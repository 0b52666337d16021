"""Random greedy search: many cheap trials, each joining neighbours by a noisy score.

The parameters of the score are drawn widely first, then ever closer to the best found so far. A
trial ends early when its cost reaches that of the trees already kept.
"""

from __future__ import annotations

import bisect
import math
import time
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from contraction.search import compiled
from contraction.search.greedy_compiled import CompiledTrials
from contraction.search.greedy_network import Network, Scores, Trial, network_of
from contraction.search.greedy_plain import PlainTrials
from contraction.search.problem import Found, Problem, simplified
from contraction.tree import Pairs, reorder

KERNELS = "contraction.search.greedy_numba"
ALPHAS = (0.1, 4.0)  # drawn evenly
COLDEST = 1e-3  # temperatures are drawn evenly in the logarithm, from here to one
WIDEST = 64  # trials before the parameters are drawn near the best
ROUNDS = 6  # in which they come nearer
NEARER = 0.7  # from round to round
SAME = 1e-9  # difference of log2 costs that is none
PLAIN_STEP = 8e-6  # seconds a leaf and trial that plain Python takes, roughly


class Trials(Protocol):
    """Runs trials on one network."""

    def run(
        self, trial: Trial, limit: float, deadline: float = math.inf
    ) -> tuple[float, Pairs] | None:
        """Return log2 of the cost and the pairs, or None at the limit of cost or time."""


def random_greedy(
    problem: Problem,
    *,
    seed: int,
    trials: int = 128,
    deadline: float | None = None,
    keep: int = 4,
) -> list[Found]:
    """Return the best trees of many greedy trials with noise, the best first.

    Parameters
    ----------
    problem
        What to contract.
    seed
        Of the noise and of the parameters; the same seed and number of trials give the same
        trees.
    trials
        How many; the first has no noise.
    deadline
        A value of `time.perf_counter()` at which trials end, but for the first.
    keep
        How many different trees to return at most.

    Returns
    -------
    list of Found
        One at least, ordered by log2 of the multiply-adds. Cost: a trial takes O(E log E) time
        for bounded degrees, on the order of ten microseconds a leaf in plain Python.

    Notes
    -----
    The scores are those of Gray and Kourtis, Quantum 5, 410 (2021), section 3.2.

    Examples
    --------
    >>> chain = Problem(((0, 1), (1, 2), (2, 3)), (0, 3), (2, 64, 4, 8))
    >>> random_greedy(chain, seed=0, trials=4)[0]
    Found(pairs=((0, 1), (3, 2)), slices=(), log2_cost=9.169925001442312)
    """
    small = simplified(problem)
    count = len(small.problem.leaves)
    if count <= 2:
        return [small.expand(Found(((0, 1),) * (count - 1)))]
    network = network_of(small.problem)
    rng = np.random.default_rng(seed)
    scores = Scores(network, rng)
    runner = _runner(network, scores, trials, deadline)
    best: list[tuple[float, Pairs]] = []
    completed = 0
    drawn = _Parameters(rng, trials)
    until = math.inf if deadline is None else deadline
    for trial in drawn:
        if best and time.perf_counter() >= until:
            break
        limit = best[-1][0] - SAME if completed >= keep else math.inf
        result = runner.run(trial, limit, until if best else math.inf)
        if result is None:
            continue
        completed += 1
        entry = (result[0], _canonical(result[1], count))
        if not best or entry < best[0]:
            drawn.center = trial
        if entry not in best:
            bisect.insort(best, entry)
            del best[keep:]
    found = [small.expand(Found(pairs, (), cost)) for cost, pairs in best]
    return sorted(found, key=lambda f: f.log2_cost)


def greedy_pairs(problem: Problem) -> Pairs:
    """Return the tree of the greedy search without noise: near-linear, for very large networks.

    Examples
    --------
    >>> greedy_pairs(Problem(((0, 1), (1, 2), (2, 3)), (0, 3), (2, 64, 4, 8)))
    ((0, 1), (3, 2))
    """
    return random_greedy(problem, seed=0, trials=1, keep=1)[0].pairs


class _Parameters:
    """Draws the parameters of the trials: widely first, then nearer to those of the best."""

    def __init__(self, rng: np.random.Generator, trials: int) -> None:
        self.rng, self.trials = rng, trials
        self.center = Trial(1.0, 0.0, 0)

    def __iter__(self) -> Iterator[Trial]:
        wide = min(WIDEST, self.trials // 4)
        for k in range(self.trials):
            if k == 0:
                yield self.center
            elif k < wide:
                alpha = self.rng.uniform(*ALPHAS)
                yield self._trial(alpha, COLDEST ** self.rng.random())
            else:
                spread = NEARER ** ((k - wide) * ROUNDS // (self.trials - wide))
                near = math.exp(0.5 * spread * self.rng.normal())
                heat = math.exp(1.0 * spread * self.rng.normal())
                temperature = max(self.center.temperature, COLDEST)
                yield self._trial(self.center.alpha * near, temperature * heat)

    def _trial(self, alpha: float, temperature: float) -> Trial:
        return Trial(alpha, temperature, int(self.rng.integers(1 << 16)))


def _runner(network: Network, scores: Scores, trials: int, deadline: float | None) -> Trials:
    seconds = PLAIN_STEP * network.leaves * trials
    if deadline is not None:
        seconds = min(seconds, deadline - time.perf_counter())
    if compiled.worthwhile(seconds):
        kernels = compiled.load(KERNELS)
        if kernels is not None:
            return CompiledTrials(kernels, network, scores)
    return PlainTrials(network, scores)


def _canonical(pairs: Pairs, count: int) -> Pairs:
    """Return the same tree in an order that does not depend on how it was found."""
    least = list(range(count))
    ordered = []
    for i, j in pairs:
        if least[i] > least[j]:
            i, j = j, i
        ordered.append((i, j))
        least.append(least[i])
    return reorder(ordered, count)
