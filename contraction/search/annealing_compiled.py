"""The state of an annealed tree for the compiled kernels; see `PlainTree` for what it does."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from contraction.search import annealing_numba
from contraction.search.annealing_state import AnnealedTree, Snapshot
from contraction.search.annealing_tree import (
    exp2,
    holders_of,
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

WORD = 64


class CompiledTree(AnnealedTree):
    """A tree that rotations and slices change in place; the same methods as `PlainTree`."""

    move_seconds = 6e-8

    def _prepare(self) -> None:
        problem = self.problem
        self.state = np.array([self.seed & (1 << WORD) - 1], np.uint64)
        self.weights = np.array(log2_sizes(problem))
        self.words = max(-(-len(problem.sizes) // WORD), 1)
        holders = holders_of(problem)
        self.starts = np.cumsum([0] + [len(held) for held in holders], dtype=np.int64)
        self.holders = np.array([v for held in holders for v in held], np.int64)
        self.total = np.array([len(held) for held in holders], np.int64)
        self.total[list(problem.output)] += 1
        self.seen = np.zeros(2 * self.count - 1, np.int64)
        self.path = np.zeros(2 * self.count - 1, np.int64)

    def load(self, pairs: Pairs, slices: Iterable[int] = ()) -> None:
        """Take over another tree."""
        self.sliced = sorted(set(slices))
        parent, kids = links_of(pairs, self.count)
        self.parent, self.kids = np.array(parent, np.int64), np.array(kids, np.int64)
        legs = legs_of(self.problem, pairs, mask_of(self.sliced))
        self.legs = self._words(legs)
        exponents = log2_costs(self.problem, pairs, legs, self.write_weight)
        self.shift = shift_of(exponents, self.max_log2_size)
        volume = volumes_of(self.problem, self.shift)
        self.masks = self._words([mask for mask, _ in volume.classes] or [0])
        width = max((len(table) for _, table in volume.classes), default=1)
        self.tables = np.ones((len(self.masks), width))
        for k, (_, table) in enumerate(volume.classes):
            self.tables[k, : len(table)] = table
        self.size = np.array([volume(labels) for labels in legs])
        self.cost = np.array([0.0] * self.count + [exp2(x - self.shift) for x in exponents])
        self.limit = limit_of(self.max_log2_size, self.shift)

    def _words(self, masks: Sequence[int]) -> Any:
        raw = b"".join(mask.to_bytes(self.words * 8, "little") for mask in masks)
        return np.frombuffer(raw, "<u8").reshape(len(masks), self.words).astype(np.uint64)

    def pairs(self) -> Pairs:
        """Return the tree as it is."""
        return pairs_of(self.parent.tolist(), self.count)

    def snapshot(self) -> Snapshot:
        """Return a copy of the state."""
        return Snapshot(
            self.parent.copy(),
            self.kids.copy(),
            self.legs.copy(),
            self.cost.copy(),
            self.size.copy(),
            tuple(self.sliced),
        )

    def restore(self, kept: Snapshot) -> None:
        """Go back to a copy."""
        self.parent, self.kids, self.legs = kept.parent.copy(), kept.kids.copy(), kept.legs.copy()
        self.cost, self.size = kept.cost.copy(), kept.size.copy()
        self.sliced = list(kept.sliced)

    def log2_total(self) -> float:
        """Return log2 of the cost of all steps of all slices."""
        total = float(self.cost.sum())
        repeats = math.fsum(self.weights[label] for label in self.sliced)
        return repeats + self.shift + (math.log2(total) if total > 0 else -math.inf)

    def rotate(self, moves: int, temperature: float, penalty: float = 0.0) -> None:
        """Propose `moves` rotations."""
        annealing_numba.rotate(
            self.parent,
            self.kids,
            self.legs,
            self.cost,
            self.size,
            self.masks,
            self.tables,
            self.write_weight,
            self.limit,
            penalty,
            1.0 / temperature,
            moves,
            self.state,
        )

    def toggle(self, label: int) -> None:
        """Slice a label that is not, or the reverse."""
        if label in self.sliced:
            self.sliced.remove(label)
        else:
            self.sliced.append(label)
        annealing_numba.toggle(
            label,
            self.starts,
            self.holders,
            self.total,
            self.parent,
            self.kids,
            self.legs,
            self.cost,
            self.size,
            self.masks,
            self.tables,
            self.write_weight,
            self.seen,
            self.path,
        )

    def choose(self, noise: float) -> int:
        """Return the label to slice next, or -1 where every value is within the limit."""
        label: int = annealing_numba.choose(
            self.starts,
            self.holders,
            self.total,
            self.parent,
            self.kids,
            self.legs,
            self.cost,
            self.size,
            self.weights,
            self.limit,
            noise,
            self.seen,
            self.path,
            self.state,
        )
        return label
