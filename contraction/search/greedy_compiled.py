"""The trials of the random greedy search on compiled kernels: what they need, as arrays."""

from __future__ import annotations

import math
from types import ModuleType

import numpy as np

from contraction.search.greedy_network import Network, Scores, Trial
from contraction.tree import Pairs


class CompiledTrials:
    """Runs trials on one network, compiled; see `greedy_plain.PlainTrials`."""

    def __init__(self, kernels: ModuleType, network: Network, scores: Scores) -> None:
        self.kernels = kernels
        self.scores, self.leaves = scores, network.leaves
        bonds, hyper = network.bonds, network.hyper
        at = np.full(2 * (len(bonds) + len(hyper)), -1)
        ends = np.array([bond[:2] for bond in bonds], dtype=np.int64).reshape(-1)
        at[: len(ends)] = ends
        after = np.full(len(at), -1)
        last: dict[int, int] = {}
        for half, slot in enumerate(ends.tolist()):
            after[half] = last.get(slot, -1)
            last[slot] = half
        weight = np.array([bond[2] for bond in bonds] + list(network.weight), dtype=np.float64)
        pins = np.array([slot for held in hyper for slot in held], dtype=np.int64)
        lengths = np.array([len(held) for held in hyper], dtype=np.int64)
        start = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        codes = [i * (2 * network.leaves - 1) + j for i, j, _ in network.first]
        self.arrays = (
            at,
            after,
            weight,
            pins,
            np.repeat(np.arange(len(hyper)), lengths),
            start,
            np.array(network.weight, dtype=np.float64),
            np.array(network.kept, dtype=np.int64),
            np.array(network.size, dtype=np.float64),
            np.array(codes, dtype=np.int64),
        )

    def run(self, trial: Trial, limit: float) -> tuple[float, Pairs] | None:
        """Return log2 of the cost and the pairs, or None once the cost has reached `limit`."""
        first = self.scores.first(*trial)
        pairs = np.empty(2 * (self.leaves - 1), dtype=np.int64)
        cost = self.kernels.run_trial(*self.arrays, first, self.scores.noise, *trial, limit, pairs)
        if cost == math.inf:
            return None
        found = pairs.reshape(-1, 2).tolist()
        return float(cost), tuple((i, j) for i, j in found)
