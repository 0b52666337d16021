"""The state of an annealed tree in plain Python: whole numbers as sets of labels.

A rotation takes ((x, y), z) to (x, (y, z)). Only two steps change, and the new inner value keeps
what it has in common with x and with what is outside: (y | z) & (x | outer), which is right for
labels held by any number of values.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from typing import NamedTuple

from contraction.search.annealing_tree import (
    LARGEST,
    exp2,
    legs_of,
    links_of,
    log2_costs,
    log2_sizes,
    mask_of,
    pairs_of,
    volumes_of,
)
from contraction.search.problem import Problem
from contraction.tree import Pairs


class Snapshot(NamedTuple):
    """A copy of a state."""

    parent: list[int]
    kids: list[int]
    legs: list[int]
    cost: list[float]
    size: list[float]
    sliced: tuple[int, ...]


class PlainTree:
    """A tree that rotations and slices change in place.

    Costs are divided by 2**shift, so that none overflows.
    """

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
        self.problem, self.count = problem, len(problem.leaves)
        self.random = random.Random(seed)
        self.write_weight, self.limit = write_weight, max_log2_size
        self.weights = log2_sizes(problem)
        self.output = mask_of(problem.output)
        self.holders: list[list[int]] = [[] for _ in problem.sizes]
        for value, held in enumerate(problem.leaves):
            for label in held:
                self.holders[label].append(value)
        self.load(pairs, slices)

    def load(self, pairs: Pairs, slices: Iterable[int] = ()) -> None:
        """Take over another tree."""
        self.sliced = sorted(set(slices))
        self.parent, self.kids = links_of(pairs, self.count)
        self.legs = legs_of(self.problem, pairs, mask_of(self.sliced))
        exponents = log2_costs(self.problem, pairs, self.legs, self.write_weight)
        self.shift = max(0.0, max(exponents) - LARGEST)
        self.volume = volumes_of(self.problem, self.shift)
        self.entries = volumes_of(self.problem)
        self.writing = self.write_weight * math.exp2(-self.shift)
        self.size = [self.entries(labels) for labels in self.legs]
        self.cost = [0.0] * self.count + [math.exp2(x - self.shift) for x in exponents]

    def pairs(self) -> Pairs:
        """Return the tree as it is."""
        return pairs_of(self.parent, self.count)

    def snapshot(self) -> Snapshot:
        """Return a copy of the state."""
        return Snapshot(
            self.parent[:],
            self.kids[:],
            self.legs[:],
            self.cost[:],
            self.size[:],
            tuple(self.sliced),
        )

    def restore(self, kept: Snapshot) -> None:
        """Go back to a copy."""
        self.parent, self.kids, self.legs = kept.parent[:], kept.kids[:], kept.legs[:]
        self.cost, self.size = kept.cost[:], kept.size[:]
        self.sliced = list(kept.sliced)

    def log2_total(self) -> float:
        """Return log2 of the cost of all steps of all slices."""
        total = math.fsum(self.cost) if max(self.cost) < math.inf else math.inf
        repeats = math.fsum(self.weights[label] for label in self.sliced)
        return repeats + self.shift + (math.log2(total) if total > 0 else -math.inf)

    def rotate(self, moves: int, temperature: float, penalty: float = 0.0) -> None:
        """Propose `moves` rotations, each judged by the two steps that it changes.

        A change from `old` to `new` is taken with probability (old/new)**(1/temperature), where
        the cost of a value above the limit counts (size/limit)**penalty times.
        """
        if self.write_weight or self.limit < math.inf or len(self.volume.classes) > 1:
            self._rotate_within(moves, temperature, penalty)
            return
        table = self.volume.classes[0][1] if self.volume.classes else (1.0,)
        parent, kids, legs, cost = self.parent, self.kids, self.legs, self.cost
        draw, power = self.random.random, 1.0 / temperature
        for y in self.random.choices(range(len(parent) - 1), k=moves):
            c = parent[y]
            p = parent[c]
            if p < 0:
                continue
            z = kids[p] ^ c
            x = kids[c] ^ y
            both = legs[y] | legs[z]
            ahead = legs[x]
            inner = both & (ahead | legs[p])
            below = table[both.bit_count()]
            above = table[(ahead | inner).bit_count()]
            new = below + above
            old = cost[c] + cost[p]
            if new <= old or draw() < (old / new) ** power:
                parent[z] = c
                parent[x] = p
                kids[c] = y ^ z
                kids[p] = x ^ c
                legs[c] = inner
                cost[c] = below
                cost[p] = above

    def _rotate_within(self, moves: int, temperature: float, penalty: float) -> None:
        parent, kids, legs = self.parent, self.kids, self.legs
        cost, size = self.cost, self.size
        volume, entries = self.volume.function(), self.entries.function()
        limit, writing = exp2(self.limit), self.writing
        draw, power = self.random.random, 1.0 / temperature
        for y in self.random.choices(range(len(parent) - 1), k=moves):
            c = parent[y]
            p = parent[c]
            if p < 0:
                continue
            z = kids[p] ^ c
            x = kids[c] ^ y
            both = legs[y] | legs[z]
            ahead = legs[x]
            inner = both & (ahead | legs[p])
            made, before = entries(inner), size[c]
            below = volume(both) + writing * made
            above = volume(ahead | inner) + writing * size[p]
            new, old = below + above, cost[c] + cost[p]
            if made > limit:
                new *= (made / limit) ** penalty
            if before > limit:
                old *= (before / limit) ** penalty
            if new <= old or draw() < (old / new) ** power:
                parent[z] = c
                parent[x] = p
                kids[c] = y ^ z
                kids[p] = x ^ c
                legs[c] = inner
                size[c] = made
                cost[c] = below
                cost[p] = above
