"""The state of an annealed tree in plain Python: whole numbers as sets of labels.

A rotation takes ((x, y), z) to (x, (y, z)). Only two steps change, and the new inner value keeps
what it has in common with x and with what is outside: (y | z) & (x | outer), which is right for
labels held by any number of values.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable

from contraction.search.annealing_state import AnnealedTree, Snapshot
from contraction.search.annealing_tree import (
    exp2,
    holders_of,
    labels_of,
    legs_of,
    limit_of,
    links_of,
    log2_costs,
    log2_sizes,
    mask_of,
    pairs_of,
    shift_of,
    volumes_of,
)
from contraction.tree import Pairs

TINY = 1e-300
FAR = 2.0**100  # times above the limit from which no difference is made
FAINT = 1e-3  # of the largest excess: what makes no difference beside it
HOPELESS = 0.2  # of the largest gain: labels below it are not looked at


class PlainTree(AnnealedTree):
    """A tree that rotations and slices change in place.

    Costs are divided by 2**shift, so that none overflows.
    """

    move_seconds = 1e-6

    def _prepare(self) -> None:
        problem = self.problem
        self.random = random.Random(self.seed)
        self.weights = log2_sizes(problem)
        self.holders = holders_of(problem)
        self.shares = [len(held) for held in self.holders]
        for label in problem.output:
            self.shares[label] += 1

    def load(self, pairs: Pairs, slices: Iterable[int] = ()) -> None:
        """Take over another tree."""
        self.sliced = sorted(set(slices))
        self.parent, self.kids = links_of(pairs, self.count)
        self.legs = legs_of(self.problem, pairs, mask_of(self.sliced))
        exponents = log2_costs(self.problem, pairs, self.legs, self.write_weight)
        self.shift = shift_of(exponents, self.max_log2_size)
        self.volume = volumes_of(self.problem, self.shift)
        self.size = [self.volume(labels) for labels in self.legs]
        self.limit = limit_of(self.max_log2_size, self.shift)
        self.cost = [0.0] * self.count + [exp2(x - self.shift) for x in exponents]

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
        total = sum(self.cost)
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
        volume, limit, writing = self.volume.function(), self.limit, self.write_weight
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
            made, before = volume(inner), size[c]
            below = volume(both)
            above = volume(ahead | inner)
            if writing:
                below += writing * made
                above += writing * size[p]
            new, old = below + above, cost[c] + cost[p]
            if made > limit:
                new *= min(made / limit, FAR) ** penalty
            if before > limit:
                old *= min(before / limit, FAR) ** penalty
            if new <= old or draw() < (old / new) ** power:
                parent[z] = c
                parent[x] = p
                kids[c] = y ^ z
                kids[p] = x ^ c
                legs[c] = inner
                size[c] = made
                cost[c] = below
                cost[p] = above

    def toggle(self, label: int) -> None:
        """Slice a label, or take it back if it is sliced."""
        if label in self.sliced:
            self.sliced.remove(label)
        else:
            self.sliced.append(label)
        parent, kids, legs = self.parent, self.kids, self.legs
        volume, size, cost = self.volume, self.size, self.cost
        carriers, bit = self._carriers(label), 1 << label
        for value in carriers:
            legs[value] ^= bit
            size[value] = volume(legs[value])
        for value in carriers:
            above = parent[value]
            if above >= 0:
                union = legs[value] | legs[kids[above] ^ value]
                cost[above] = volume(union) + self._writing(size[above])

    def choose(self, noise: float) -> int:
        """Return the label to slice next, or -1 where every value is within the limit.

        A good one makes all slices together little dearer and takes part in much of what is too
        large. `noise` is the scale of Gumbel noise on that score.
        """
        limit, weights, excess = self.limit, self.weights, dict[int, float]()
        overs = [(size / limit, v) for v, size in enumerate(self.size) if size > limit]
        overs = [(min(over, FAR), value) for over, value in overs if value >= self.count]
        faint = FAINT * max(overs, default=(0.0, 0))[0]
        for over, value in overs:
            if over >= faint:
                for label in labels_of(self.legs[value]):
                    if weights[label] > 0.0:
                        excess[label] = excess.get(label, 0.0) + over
        worst = max(excess.values(), default=0.0)
        if worst == 0.0:
            return -1
        total = min(max(sum(self.cost), TINY), 1 / TINY)
        # even one that is part of every step cannot win with so little less to gain
        least_gain = HOPELESS * max(weights[label] * over for label, over in excess.items())
        best, least = -1, math.inf
        for label, over in sorted(excess.items()):
            if weights[label] * over < least_gain:
                continue
            part = min(self._share(label) / total, 1.0)
            grown = 2.0 ** self.weights[label] * (1.0 - part) + part
            score = math.log(grown) - self.weights[label] * over / worst
            if noise > 0.0:
                score += noise * math.log(-math.log(self.random.random() or TINY))
            if score < least:
                best, least = label, score
        return best

    def _writing(self, size: float) -> float:
        # zero times inf is no number
        return self.write_weight * size if self.write_weight else 0.0

    def _carriers(self, label: int) -> list[int]:
        """Return the values that have a label, sliced or not."""
        parent, below = self.parent, dict[int, int]()
        for value in self.holders[label]:
            while value >= 0:
                below[value] = below.get(value, 0) + 1
                value = parent[value]
        whole = self.shares[label]
        return [value for value, count in below.items() if count < whole]

    def _share(self, label: int) -> float:
        """Return the cost of all steps that a label takes part in, which is not sliced."""
        parent, legs, bit, steps = self.parent, self.legs, 1 << label, set[int]()
        for value in self.holders[label]:
            while legs[value] & bit:
                value = parent[value]
                if value < 0 or value in steps:  # from there on it was walked before
                    break
                steps.add(value)
        return sum(self.cost[step] for step in steps)
