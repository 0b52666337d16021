"""What all trials of the random greedy search share: the network by weights, noise, first scores.

A label of two holders that is not in the output is a *bond*; bonds between the same two values
are one, of the sum of their weights. Other labels that are held more than once are *hyper*; they
turn into bonds, or into open labels, as their holders are joined. Weights are logarithms of sizes
to base two, rounded so that their sums are exact in whatever order they are taken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from contraction.search.problem import Problem

FEW = 16  # holders of a hyper label up to which they are candidates because of it
STEP = 2.0**-24  # to which weights are rounded
HUGE = 900.0  # log2 of entries from which scores are taken from logarithms alone
FIRST, SECOND = 40503, 25717  # odd, so that pairs of values get different noise
LN2 = math.log(2.0)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Network(NamedTuple):
    """A problem as the trials take it."""

    leaves: int
    size: tuple[float, ...]  # log2 of the entries of each leaf
    power: tuple[float, ...]  # the entries, or 2**HUGE
    bonds: tuple[tuple[int, int, float], ...]  # two leaves and a weight
    hyper: tuple[tuple[int, ...], ...]  # the holders of each hyper label
    weight: tuple[float, ...]  # of each hyper label
    kept: tuple[bool, ...]  # whether it is in the output
    first: tuple[tuple[int, int, float], ...]  # pairs to start with and log2 of their result


def network_of(problem: Problem) -> Network:
    """Return the network of a problem. Cost: linear but for hyper labels of up to `FEW` holders."""
    weights = [round(math.log2(max(n, 1)) / STEP) * STEP for n in problem.sizes]
    holders: list[list[int]] = [[] for _ in weights]
    for value, held in enumerate(problem.leaves):
        for label in held:
            holders[label].append(value)
    size = tuple(sum(weights[x] for x in held) for held in problem.leaves)
    output = frozenset(problem.output)
    bonds: dict[tuple[int, int], float] = {}
    hyper = []
    for label, values in enumerate(holders):
        if len(values) == 2 and label not in output:
            i, j = values
            bonds[i, j] = bonds.get((i, j), 0.0) + weights[label]
        elif len(values) > 1:
            hyper.append(label)
    return Network(
        len(problem.leaves),
        size,
        tuple(math.exp2(min(s, HUGE)) for s in size),
        tuple((i, j, w) for (i, j), w in bonds.items()),
        tuple(tuple(holders[x]) for x in hyper),
        tuple(weights[x] for x in hyper),
        tuple(x in output for x in hyper),
        _first_pairs(size, bonds, [(holders[x], weights[x]) for x in hyper]),
    )


def _first_pairs(
    size: Sequence[float],
    bonds: dict[tuple[int, int], float],
    hyper: list[tuple[list[int], float]],
) -> tuple[tuple[int, int, float], ...]:
    """Return the neighbours, in order, and the size of what they make."""
    less = {pair: 2.0 * weight for pair, weight in bonds.items()}
    crowded: list[tuple[set[int], float]] = []
    for values, weight in hyper:
        if len(values) > FEW:
            crowded.append((set(values), weight))
            continue
        for k, i in enumerate(values):
            for j in values[:k]:
                less[j, i] = less.get((j, i), 0.0) + weight
    for values_of, weight in crowded:
        for i, j in less:
            if i in values_of and j in values_of:
                less[i, j] += weight
    return tuple((i, j, size[i] + size[j] - less[i, j]) for i, j in sorted(less))


class Scores:
    """The scores of the first pairs for given parameters, and the noise of all others.

    The score of joining a and b into c is sign(v) ln(1 + |v|) with v = |c| / alpha - alpha
    (|a| + |b|), plus temperature times Gumbel noise (Gray and Kourtis, Quantum 5, 410 (2021),
    section 3.2). The noise of a pair is looked up in one table by the two values and the offset
    of the trial, so that it does not depend on the order in which pairs are found.
    """

    def __init__(self, network: Network, rng: np.random.Generator) -> None:
        bits = max(10, min(16, (32 * network.leaves).bit_length()))
        uniform = rng.random(1 << bits)
        self.noise: Floats = np.log(-np.log(np.maximum(uniform, 1e-300)))
        self.mask = (1 << bits) - 1
        pairs = np.array([pair[:2] for pair in network.first], dtype=np.int64).reshape(-1, 2)
        made = np.array([pair[2] for pair in network.first], dtype=np.float64)
        size, power = np.array(network.size), np.array(network.power)
        self.at: Ints = pairs[:, 0] * FIRST + pairs[:, 1] * SECOND
        self.made: Floats = np.exp2(np.minimum(made, HUGE))
        self.spent: Floats = power[pairs].sum(axis=1)
        largest = np.maximum(made, size[pairs].max(axis=1, initial=0.0))
        self.huge: list[int] = np.flatnonzero(largest > HUGE).tolist()
        self.sizes = [(made, network.size[i], network.size[j]) for i, j, made in network.first]

    def first(self, alpha: float, temperature: float, offset: int) -> tuple[Floats, Ints]:
        """Return the scores of the first pairs, the least first, and which pairs they are of."""
        value = self.made / alpha - self.spent * alpha
        score = np.copysign(np.log(1.0 + np.abs(value)), value)
        for k in self.huge:
            score[k] = huge_score(*self.sizes[k], alpha)
        if temperature:
            score += temperature * self.noise[(self.at + offset) & self.mask]
        order = score.argsort(kind="stable")
        return score[order], order


def huge_score(made: float, left: float, right: float, alpha: float) -> float:
    """Return the score without noise from logarithms to base two of the three sizes."""
    top = max(made, left, right)
    value = math.exp2(made - top) / alpha
    value -= alpha * (math.exp2(left - top) + math.exp2(right - top))
    if value == 0.0:
        return 0.0
    return math.copysign(math.log(abs(value)) + top * LN2, value)


class Trial(NamedTuple):
    """How one trial is made."""

    alpha: float
    temperature: float
    offset: int
