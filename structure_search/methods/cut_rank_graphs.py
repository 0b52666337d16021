"""The smallest graphs whose cuts have given ranks: branching over intervals of bond ranks.

Every bond between two nodes has an interval of ranks. The intervals are narrowed by what the
cuts say (the product of the bonds across each is at least `least`, and for tight cuts at most
`most`), then the box with the fewest parameters at its lower corner is taken; if the corner
fulfils all cuts it is an answer, otherwise an interval of a cut that is too narrow is split. So
answers come smallest first.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from structure_search.methods.cut_rank_table import (
    CLOSE,
    CutRanks,
    Floats,
    crossing,
    minimum_cuts,
)
from tnet.structure import Structure

INT = np.int64
HUB_DEGREE = 3  # a node without a mode and with fewer bonds is part of a bond


class Budget:
    """How many boxes may still be looked at, over several searches."""

    def __init__(self, boxes: int, whole: Budget | None = None) -> None:
        self.left = boxes
        self._whole = whole

    def part(self, boxes: int) -> Budget:
        """Return a budget of at most `boxes` that draws from this one."""
        return Budget(boxes, self)

    def take(self) -> bool:
        """Take one; False if there are none."""
        if self._whole is not None and not self._whole.take():
            return False
        self.left -= 1
        return self.left >= 0


@dataclass(frozen=True, kw_only=True)
class Graph:
    """Ranks of the bonds of a graph; pairs that are not bonded have rank one."""

    num_params: int
    structure: Structure
    violated: int


def graphs(ranks: CutRanks, *, hubs: int, cap: int, slack: int, budget: Budget) -> Iterator[Graph]:
    """Yield graphs that fulfil the cuts, smallest first.

    Parameters
    ----------
    ranks
        What the cuts ask for.
    hubs
        Number of nodes without a mode.
    cap
        Most parameters.
    slack
        How many cuts may have a minimum cut above their `most`.
    budget
        Shared with other searches; when it is spent the graphs end.

    Notes
    -----
    Complete within the budget, but for graphs that contain an answer: of those with ranks at
    least as large on every bond none is listed.
    """
    if not ranks.least:
        return
    system = _System(ranks, hubs, slack)
    first = system.narrowed(np.ones(system.width, INT), np.full(system.width, max(cap, 1)), cap)
    if first is None:
        return
    number = itertools.count()
    queue = [(system.params(first[0]), 0, next(number), *first)]
    while queue and budget.take():
        *_, low, high = heapq.heappop(queue)
        row = system.too_narrow(low, high)
        if row is None:
            graph = system.graph(low)
            if graph is not None:
                yield graph
            continue
        for box in system.split(row, low, high):
            narrow = system.narrowed(*box, cap)
            if narrow is not None:
                key = system.params(narrow[0])
                depth = -int(narrow[0].sum())
                heapq.heappush(queue, (key, depth, next(number), *narrow))


class _System:
    """The conditions of one search, as arrays."""

    def __init__(self, ranks: CutRanks, hubs: int, slack: int) -> None:
        self._ranks, self._hubs, self._slack = ranks, hubs, slack
        order = len(ranks.sizes)
        self._pairs = tuple(itertools.combinations(range(order + hubs), 2))
        self.width = len(self._pairs)
        self._all = crossing(order, hubs, self._pairs)
        sides = [side for side in sorted(ranks.least) if ranks.least[side] > 0]
        self._sides = np.array(sides, dtype=INT)
        self._rows = self._all[self._sides]
        self._wanted = np.log([ranks.least[s] for s in sides])
        self._limit = np.log([float(ranks.most[s]) for s in sides])
        tight = np.array([ranks.is_tight(s) for s in sides], dtype=bool)
        self._tight = np.where(tight, self._limit, np.inf)
        self._flat = self._rows.reshape(-1, self.width)
        self._wanted_flat = np.repeat(self._wanted, self._rows.shape[1])
        self._out = np.where(self._flat > 0, 0.0, -np.inf)
        ends = np.array(self._pairs).T
        self._at = np.zeros((order + hubs, self.width))
        self._at[ends[0], range(self.width)] = 1.0
        self._at[ends[1], range(self.width)] = 1.0
        self._ends = ends
        self._sizes = np.array([*ranks.sizes, *[1] * hubs], dtype=float)
        floor = [ranks.least.get(_single(n, order), 1) for n in range(order)] + [1] * hubs
        self._floor = self._sizes * np.array(floor)

    def terms(self, low: np.ndarray) -> tuple[Floats, Floats]:
        terms = self._sizes * np.exp(self._at @ np.log(low))
        return terms, np.maximum(terms, self._floor)

    def params(self, low: np.ndarray) -> float:
        """Return the parameters that a graph with these ranks or larger has at least."""
        return round(float(self.terms(low)[1].sum()), 3)

    def narrowed(
        self, low: np.ndarray, high: np.ndarray, cap: int
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the smallest box that holds the same answers; None if it is empty."""
        while True:
            log_high = np.log(high)
            need = self._wanted_flat - self._flat @ log_high
            if need.max(initial=-1.0) > CLOSE:
                return None
            least = (need[:, None] + self._out).max(axis=0) + log_high
            new_low = np.maximum(low, np.ceil(np.exp(least) - 1e-6).astype(INT))
            new_high = self._lowered(new_low, high, cap)
            if new_high is None or (new_low > new_high).any():
                return None
            if (new_low == low).all() and (new_high == high).all():
                return low, high
            low, high = new_low, new_high

    def _lowered(self, low: np.ndarray, high: np.ndarray, cap: int) -> np.ndarray | None:
        log_low = np.log(low)
        terms, floored = self.terms(low)
        total = floored.sum()
        if total > cap + 0.5:
            return None
        a, b = self._ends
        rest = total - floored[a] - floored[b]
        high = np.minimum(high, (low * (cap - rest) / (terms[a] + terms[b]) + 1e-9).astype(INT))
        have = self._rows @ log_low
        open_ = have <= self._tight[:, None] + CLOSE
        count = open_.sum(axis=1)
        broken = int((count == 0).sum())
        if broken > self._slack:
            return None
        if broken == self._slack and (count == 1).any():
            only = np.nonzero(count == 1)[0]
            place = open_[only].argmax(axis=1)
            rows = self._rows[only, place]
            room = self._tight[only] - have[only, place]
            most = np.where(rows > 0, room[:, None], np.inf).min(axis=0) + log_low
            with np.errstate(over="ignore"):
                high = np.minimum(high, np.floor(np.exp(np.minimum(most, 40.0)) + 1e-6)).astype(INT)
        return high

    def too_narrow(self, low: np.ndarray, high: np.ndarray) -> np.ndarray | None:
        """Return the bonds of the cut that is too narrow and has fewest that can grow."""
        short = self._flat @ np.log(low) < self._wanted_flat - CLOSE
        if not short.any():
            return None
        free = self._flat[short] * (high > low)
        found: np.ndarray = np.nonzero(free[free.sum(axis=1).argmin()])[0]
        return found

    def split(
        self, row: np.ndarray, low: np.ndarray, high: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the two halves of a box: one bond at its least rank, or above it."""
        terms, _ = self.terms(low)
        bond = row[np.argmin((terms[self._ends[0]] + terms[self._ends[1]])[row] / low[row])]
        fixed, raised = high.copy(), low.copy()
        fixed[bond] = low[bond]
        raised[bond] += 1
        yield low, fixed
        yield raised, high

    def graph(self, low: np.ndarray) -> Graph | None:
        """Return the graph, if its minimum cuts keep within the limits."""
        order = len(self._ranks.sizes)
        degree = (self._at @ (low > 1))[order:]
        if (degree < HUB_DEGREE).any():
            return None
        cuts = minimum_cuts(self._ranks.sizes, (self._all @ np.log(low)).min(axis=1))
        broken = int((cuts[self._sides] > self._limit + CLOSE).sum())
        if broken > self._slack:
            return None
        bonds = {self._pairs[k]: int(low[k]) for k in np.nonzero(low > 1)[0]}
        structure = structure_of(self._ranks, bonds)
        return Graph(num_params=structure.num_params, structure=structure, violated=broken)


def _single(n: int, order: int) -> int:
    return 1 << n if n < order - 1 else (1 << (order - 1)) - 1


def structure_of(ranks: CutRanks, bonds: dict[tuple[int, int], int]) -> Structure:
    """Return the structure with these bonds; nodes after those with a mode have none."""
    names = tuple(ranks.modes)
    top = max((max(pair) for pair in bonds), default=0)
    labels = [
        f"v{k}" if k < len(names) else f"h{k - len(names)}" for k in range(max(top + 1, len(names)))
    ]
    nodes: dict[str, list[str]] = {
        label: [names[k]] if k < len(names) else [] for k, label in enumerate(labels)
    }
    sizes = dict(ranks.modes)
    for (a, b), rank in bonds.items():
        leg = f"{labels[a]}-{labels[b]}"
        nodes[labels[a]].append(leg)
        nodes[labels[b]].append(leg)
        sizes[leg] = rank
    return Structure(nodes, sizes, names)


def least_params(ranks: CutRanks, *, hubs: int, budget: Budget) -> int:
    """Return a lower bound on the parameters of graphs with the ranks `least` across all cuts.

    Graphs may have fewer nodes without a mode than `hubs`. Where the budget ends before the
    smallest graph is found, the bound is that of the boxes still open.
    """
    if not ranks.least:
        return sum(ranks.sizes)
    system = _System(ranks, hubs, 0)
    cap = 4 * math.prod(ranks.sizes) + hubs
    first = system.narrowed(np.ones(system.width, INT), np.full(system.width, cap, INT), cap)
    if first is None:
        return cap - hubs
    number = itertools.count()
    queue = [(system.params(first[0]), 0, next(number), *first)]
    size = 0.0
    while queue:
        size, _, _, low, high = heapq.heappop(queue)
        row = system.too_narrow(low, high)
        if row is None or not budget.take():
            return max(1, math.ceil(size - 0.01) - hubs)
        for box in system.split(row, low, high):
            narrow = system.narrowed(*box, cap)
            if narrow is not None:
                key, depth = system.params(narrow[0]), -int(narrow[0].sum())
                heapq.heappush(queue, (key, depth, next(number), *narrow))
    return cap - hubs
