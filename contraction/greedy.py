"""A greedy search for contraction trees, near-linear in the size of the network.

Each step joins the pair of neighbours whose result is smallest compared with what it replaces
(Gray and Kourtis, Quantum 5, 410 (2021), section 3.2), with optional Boltzmann noise for
repeated trials. Values that share no label are joined smallest first at the end.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Sequence

from contraction.tree import Pairs

FEW = 16  # holders of one label that are tried as partners; the heap stays linear in size


class _State:
    """The labels of the values still alive, and who holds each label."""

    def __init__(
        self, leaves: Sequence[Sequence[int]], output: Sequence[int], sizes: Sequence[int]
    ) -> None:
        self.sizes = sizes
        self.kept = set(output)
        self.legs: list[frozenset[int] | None] = [frozenset(labels) for labels in leaves]
        self.volume = [math.prod(sizes[x] for x in labels) for labels in leaves]
        self.holders: dict[int, dict[int, None]] = {}  # dicts keep insertion order, sets do not
        for value, labels in enumerate(leaves):
            for label in labels:
                self.holders.setdefault(label, {})[value] = None

    def joined_volume(self, i: int, j: int) -> int:
        """Return the number of entries of the result of joining `i` and `j`."""
        left, right = self.legs[i] or frozenset(), self.legs[j] or frozenset()
        volume = self.volume[i] * self.volume[j]
        for label in left & right:
            gone = len(self.holders[label]) == 2 and label not in self.kept
            volume //= self.sizes[label] ** (2 if gone else 1)
        return volume

    def join(self, i: int, j: int) -> int:
        """Replace `i` and `j` by their product and return its number."""
        left, right = self.legs[i] or frozenset(), self.legs[j] or frozenset()
        volume = self.joined_volume(i, j)
        made = len(self.legs)
        labels = []
        for label in left | right:
            holders = self.holders[label]
            holders.pop(i, None)
            holders.pop(j, None)
            if holders or label in self.kept:
                holders[made] = None
                labels.append(label)
            else:
                del self.holders[label]
        self.legs[i] = self.legs[j] = None
        self.legs.append(frozenset(labels))
        self.volume.append(volume)
        return made

    def partners(self, value: int) -> list[int]:
        """Return some neighbours of `value`: all, but for labels with very many holders."""
        found: dict[int, None] = {}
        for label in sorted(self.legs[value] or ()):
            tried = 0
            for other in reversed(self.holders[label]):  # the newest first
                if other != value:
                    found[other] = None
                    tried += 1
                    if tried == FEW:
                        break
        return list(found)


def greedy_pairs(
    leaves: Sequence[Sequence[int]],
    output: Sequence[int],
    sizes: Sequence[int],
    *,
    alpha: float = 1.0,
    temperature: float = 0.0,
    seed: int = 0,
) -> Pairs:
    """Return a tree found greedily, as pairs in static single assignment form.

    Parameters
    ----------
    leaves, output, sizes
        Labels of the inputs (none repeated on one input, none that only one input holds), of
        the output, and the sizes by label.
    alpha
        Weight of the two values that a step removes against the one that it makes.
    temperature
        Scale of the noise on the scores; zero for none.
    seed
        Of the noise.
    """
    state, noise = _State(leaves, output, sizes), random.Random(seed)
    heap: list[tuple[float, int, int]] = []

    def push(i: int, j: int) -> None:
        made, spent = state.joined_volume(i, j), state.volume[i] + state.volume[j]
        heapq.heappush(heap, (_score(made, spent, alpha, temperature, noise), i, j))

    for value in range(len(leaves)):
        for other in state.partners(value):
            if other < value:
                push(other, value)
    pairs: list[tuple[int, int]] = []
    while heap:
        _, i, j = heapq.heappop(heap)
        if state.legs[i] is None or state.legs[j] is None:
            continue
        pairs.append((i, j))
        made = state.join(i, j)
        for other in state.partners(made):
            push(other, made)
    rest = [(state.volume[v], v) for v, legs in enumerate(state.legs) if legs is not None]
    return (*pairs, *smallest_first(rest, len(state.legs)))


def smallest_first(values: Sequence[tuple[int, int]], fresh: int) -> Pairs:
    """Return pairs that join (volume, number) `values` without shared labels, smallest first."""
    heap, pairs = list(values), []
    heapq.heapify(heap)
    while len(heap) > 1:
        (a, i), (b, j) = heapq.heappop(heap), heapq.heappop(heap)
        pairs.append((i, j))
        heapq.heappush(heap, (a * b, fresh))
        fresh += 1
    return tuple(pairs)


def _score(made: int, spent: int, alpha: float, temperature: float, noise: random.Random) -> float:
    # sign(x) ln(1 + |x|) orders like x and never overflows, whatever the number of labels
    value = made - (spent if alpha == 1.0 else int(alpha * min(spent, 1 << 900)))
    score = math.log(1 + abs(value)) * (1 if value >= 0 else -1)
    if temperature == 0.0:
        return score
    return score + temperature * math.log(-math.log(noise.random() or 1e-300))


__all__ = ["greedy_pairs", "smallest_first"]
