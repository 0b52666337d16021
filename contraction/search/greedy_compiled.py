"""The trials of the random greedy search on compiled kernels: what they need, as arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from contraction.search.greedy_network import Ints, Network, Scores, Trial
from contraction.tree import Pairs

ROOM = 16  # pairs for each leaf that wait beside the heap; more room is made where needed


class CompiledTrials:
    """Runs trials on one network, compiled; see `greedy_plain.PlainTrials`."""

    def __init__(self, kernels: ModuleType, network: Network, scores: Scores) -> None:
        self.kernels = kernels
        self.scores, self.leaves = scores, network.leaves
        self.codes = np.array([i << kernels.HALF | j for i, j, _ in network.first], np.int64)
        state = [*_bonds(network), *_pins(network), *_values(network), *_found(network.leaves)]
        self.fresh = [_joined(state, dtype) for dtype in (np.int64, np.float64)]
        self.whole = [array.copy() for array in self.fresh]
        views = [_cut(whole, state) for whole in self.whole]
        self.state = [views[array.dtype == np.float64].pop(0) for array in state]
        n = self.leaves
        self.state += [np.empty(n), np.empty(n, np.int64)]  # the heap
        self.ranges = [np.empty(n, np.int64), np.empty(n, np.int64)]
        self.pairs = np.empty(2 * (n - 1), np.int64)
        self._make_room(ROOM * n)

    def run(
        self, trial: Trial, limit: float, deadline: float = math.inf
    ) -> tuple[float, Pairs] | None:
        """Return log2 of the cost and the pairs, or None once the cost has reached `limit`.

        A trial is too short for the deadline to matter.
        """
        score, order = self.scores.first(*trial)
        first = (score, self.codes[order], self.scores.noise)
        while True:
            for whole, fresh in zip(self.whole, self.fresh, strict=True):
                np.copyto(whole, fresh)
            arrays = (*self.state, *self.partners, *self.ranges, *first)
            cost = self.kernels.run_trial(*arrays, *trial, limit, self.pairs)
            if cost == cost:
                break
            self._make_room(2 * len(self.partners[0]))
        if cost == math.inf:
            return None
        found = self.pairs.tolist()
        return cost, tuple(zip(found[::2], found[1::2], strict=True))

    def _make_room(self, pairs: int) -> None:
        """Let so many pairs wait beside the heap."""
        self.partners = [np.empty(pairs), np.empty(pairs, np.int64)]


def _joined(state: Sequence[Any], dtype: type) -> Any:
    """Return all arrays of a type in one, which is quicker to copy than many."""
    return np.concatenate([array for array in state if array.dtype == dtype])


def _cut(whole: Any, state: Sequence[Any]) -> list[Any]:
    """Return the parts of an array that is all those of its type in one."""
    lengths = [len(array) for array in state if array.dtype == whole.dtype]
    return np.split(whole, np.cumsum(lengths)[:-1])


def _bonds(network: Network) -> list[Any]:
    """Return the fields of `greedy_numba.Bonds`; hyper labels get bonds that are dead."""
    slots = np.array([bond[:2] for bond in network.bonds], np.int64).reshape(-1)
    at = np.full(2 * (len(network.bonds) + len(network.hyper)), -1)
    at[: len(slots)] = slots
    after, head = _lists(at, network.leaves)
    weight = [bond[2] for bond in network.bonds]
    degree = np.bincount(slots, minlength=network.leaves)
    return [at, after, head, np.array([*weight, *network.weight], np.float64), degree]


def _pins(network: Network) -> list[Any]:
    """Return the fields of `greedy_numba.Pins`; those of a label stand together."""
    at = np.array([slot for held in network.hyper for slot in held], np.int64)
    after, head = _lists(at, network.leaves)
    held = np.array([len(held) for held in network.hyper], np.int64)
    count, places = len(held), np.arange(len(at))
    start = np.cumsum(held) - held
    label = np.repeat(np.arange(count), held)
    weight, kept = np.array(network.weight, np.float64), np.array(network.kept, np.int64)
    unseen, nowhere = np.full(count, -1), np.zeros(count, np.int64)
    return [at, after, head, label, places, places, start, held, weight, kept, unseen, nowhere]


def _values(network: Network) -> list[Any]:
    """Return the fields of `greedy_numba.Values`."""
    names = np.arange(network.leaves)
    slots = np.concatenate([names, np.full(network.leaves - 1, -1)])
    return [np.array(network.size, np.float64), np.array(network.power), names, slots]


def _found(leaves: int) -> list[Any]:
    """Return the fields of `greedy_numba.Found`: nothing yet."""
    unseen = np.full(leaves, -1)
    return [unseen, unseen, np.zeros(leaves), unseen]


def _lists(at: Ints, leaves: int) -> tuple[Ints, Ints]:
    """Return linked lists of what is on each slot: the next of each entry, and the first."""
    head, after = [-1] * leaves, [-1] * len(at)
    for entry, slot in enumerate(at.tolist()):
        if slot >= 0:
            after[entry] = head[slot]
            head[slot] = entry
    return np.array(after, np.int64), np.array(head, np.int64)
