"""One trial of the random greedy search in plain Python.

A value lives in the slot of one of its leaves. Its bonds are a dictionary from slots to weights,
so that parallel labels cost nothing, and joining two values walks the smaller dictionary. No
labels are merged to score a pair: the size of c = ab is |a| |b| / w^2 with w the weight of the
bond between them, and hyper labels, if any, count by their holders.
"""

from __future__ import annotations

import heapq
import time
from math import exp2, inf, log, log2

from contraction.search.greedy_network import (
    FEW,
    FIRST,
    HUGE,
    SECOND,
    Network,
    Scores,
    Trial,
    huge_score,
)
from contraction.tree import Pairs

LOOK = 64  # joins from one look at the clock to the next

Entry = tuple[float, int, int]


class PlainTrials:
    """Runs trials on one network, in plain Python."""

    def __init__(self, network: Network, scores: Scores) -> None:
        self.network, self.scores = network, scores
        self.noise = scores.noise.tolist()
        self.bonds: list[dict[int, float]] = [{} for _ in range(network.leaves)]
        for i, j, weight in network.bonds:
            self.bonds[i][j] = self.bonds[j][i] = weight
        self.hyper: list[set[int]] = [set() for _ in range(network.leaves)]
        for label, values in enumerate(network.hyper):
            for value in values:
                self.hyper[value].add(label)

    def run(self, trial: Trial, limit: float, deadline: float = inf) -> tuple[float, Pairs] | None:
        """Return log2 of the cost and the pairs, or None at the limit of cost or time."""
        state = _State(self, trial, limit, deadline)
        scores, order = (array.tolist() for array in self.scores.first(*trial))
        if not state.join_neighbours(scores, order) or not state.join_rest():
            return None
        return state.log2_cost, tuple(state.pairs)


class _State:
    """The values still there. Costs are in units of 2**unit, so that none overflows."""

    def __init__(self, trials: PlainTrials, trial: Trial, limit: float, deadline: float) -> None:
        network = trials.network
        self.network, self.noise, self.trial = network, trials.noise, trial
        self.bonds = [bonds.copy() for bonds in trials.bonds]
        self.hyper = [labels.copy() for labels in trials.hyper] if network.hyper else trials.hyper
        self.holders = [set(values) for values in network.hyper]
        self.size, self.power = list(network.size), list(network.power)
        self.names = list(range(network.leaves))  # of the value in a slot
        self.slots = list(range(network.leaves))  # of a value; -1 once it is joined
        self.pairs: list[tuple[int, int]] = []
        # for each value made, its older neighbours not yet proposed; only one is in the heap
        self.partners: list[list[tuple[float, int]]] = []
        self.limited = limit < inf
        self.unit = limit if self.limited else -inf
        self.total = 0.0
        self.deadline = deadline

    @property
    def log2_cost(self) -> float:
        """Log2 of the multiply-adds of all steps."""
        return self.unit + log2(self.total) if self.total else -inf

    def join_neighbours(self, scores: list[float], order: list[int]) -> bool:
        """Join pairs by their scores while there are any; False once the limit is reached.

        Those to start with are sorted, and of those with a value made the best one of each is
        in the heap.
        """
        slots, first, heap = self.slots, self.network.first, list[Entry]()
        for score, k in zip(scores, order, strict=True):
            i, j, _ = first[k]
            if slots[i] < 0 or slots[j] < 0:
                continue
            if heap and heap[0] < (score, i, j):
                if not self.join_made(heap, (score, i, j)):
                    return False
                if slots[i] < 0 or slots[j] < 0:
                    continue
            if not self.join_and_propose(heap, i, j):
                return False
        return self.join_made(heap, (inf, 0, 0))

    def join_made(self, heap: list[Entry], until: Entry) -> bool:
        """Join the pairs in the heap that come before an entry; False once at the limit."""
        slots = self.slots
        while heap and heap[0] < until:
            _, i, j = heapq.heappop(heap)
            if slots[j] < 0:
                continue
            if slots[i] < 0:
                self.propose(heap, j)
            elif not self.join_and_propose(heap, i, j):
                return False
        return True

    def join_and_propose(self, heap: list[Entry], i: int, j: int) -> bool:
        """Join two values, and propose the best pair of what they make."""
        if not self.join(i, j, self.slots[i], self.slots[j]):
            return False
        self.find_partners(self.slots[-1])
        self.propose(heap, len(self.slots) - 1)
        return True

    def propose(self, heap: list[Entry], value: int) -> None:
        """Put the best pair left of a value and an older one into the heap."""
        partners = self.partners[value - self.network.leaves]
        while partners:
            score, other = partners.pop()
            if self.slots[other] >= 0:
                heapq.heappush(heap, (score, other, value))
                return

    def join_rest(self) -> bool:
        """Join values without a common label of few holders, the smallest first."""
        if len(self.pairs) == self.network.leaves - 1:
            return True
        heap = [(self.size[slot], name, slot) for name, slot in enumerate(self.slots) if slot >= 0]
        heapq.heapify(heap)
        while len(heap) > 1:
            _, i, a = heapq.heappop(heap)
            _, j, b = heapq.heappop(heap)
            if not self.join(i, j, a, b):
                return False
            slot = self.slots[-1]
            heapq.heappush(heap, (self.size[slot], self.names[slot], slot))
        return True

    def join(self, i: int, j: int, a: int, b: int) -> bool:
        """Join values i and j of slots a and b; False once the limit is reached or time is up."""
        if len(self.pairs) % LOOK == LOOK - 1 and time.perf_counter() >= self.deadline:
            return False
        bonds = self.bonds
        if len(bonds[a]) < len(bonds[b]):
            a, b = b, a
        mine, other = bonds[a], bonds[b]
        bond = mine.pop(b, 0.0)
        other.pop(a, None)
        for slot, weight in other.items():
            theirs = bonds[slot]
            del theirs[b]
            mine[slot] = theirs[a] = mine.get(slot, 0.0) + weight
        bonds[b] = {}
        shared = bond + self.join_hyper(a, b) if self.hyper[b] else bond
        step = self.size[a] + self.size[b] - shared
        self.size[a] = step - bond
        self.power[a] = exp2(min(step - bond, HUGE))
        self.pairs.append((i, j))
        self.slots[i] = self.slots[j] = -1
        self.names[a] = len(self.slots)
        self.slots.append(a)
        if step > self.unit:
            if self.limited:
                return False
            self.total *= exp2(self.unit - step)
            self.unit = step
        self.total += exp2(step - self.unit)
        return not self.limited or self.total < 1.0

    def join_hyper(self, a: int, b: int) -> float:
        """Give slot a the hyper labels of slot b; return the weight of those on both."""
        shared = 0.0
        mine = self.hyper[a]
        for label in self.hyper[b]:
            holders = self.holders[label]
            holders.discard(b)
            if label not in mine:
                mine.add(label)
                holders.add(a)
                continue
            weight = self.network.weight[label]
            shared += weight
            if self.network.kept[label]:
                if len(holders) == 1:  # open from now on
                    mine.discard(label)
            elif len(holders) == 2:
                mine.discard(label)
                (slot,) = holders - {a}
                self.hyper[slot].discard(label)
                self.bonds[a][slot] = self.bonds[slot][a] = self.bonds[a].get(slot, 0.0) + weight
        self.hyper[b] = set()
        return shared

    def find_partners(self, slot: int) -> None:
        """Score the pairs of the newest value and its neighbours; the best pair comes last."""
        alpha, temperature, offset = self.trial
        size, power, names, noise = self.size, self.power, self.names, self.noise
        mask = len(noise) - 1
        mine, mine_power, name = size[slot], power[slot], names[slot]
        at = name * SECOND + offset
        bonds = self.bonds[slot]
        partners = []
        for other, bond in (self.hyper_bonds(slot) if self.hyper[slot] else bonds).items():
            made = mine + size[other] - 2.0 * bond
            if made > HUGE or mine > HUGE or size[other] > HUGE:
                score = huge_score(made, mine, size[other], alpha)
            else:
                value = exp2(made) / alpha - (mine_power + power[other]) * alpha
                score = log(1.0 + value) if value >= 0.0 else -log(1.0 - value)
            partner = names[other]
            if temperature:
                score += temperature * noise[(partner * FIRST + at) & mask]
            partners.append((score, partner))
        partners.sort(reverse=True)
        self.partners.append(partners)

    def hyper_bonds(self, slot: int) -> dict[int, float]:
        """Return the neighbours of a slot and half of what a join with each saves in log2."""
        found = self.bonds[slot].copy()
        crowded = []
        for label in self.hyper[slot]:
            holders = self.holders[label]
            if len(holders) > FEW:
                crowded.append(label)
                continue
            half = 0.5 * self.network.weight[label]
            for other in holders:
                found[other] = found.get(other, 0.0) + half
        found.pop(slot, None)
        for label in crowded:
            half = 0.5 * self.network.weight[label]
            holders = self.holders[label]
            for other in found:
                if other in holders:
                    found[other] += half
        return found
