"""Annealing under a limit on the size of values: slices are searched for together with the tree.

A sliced label is fixed, and looped over outside of the contraction: every value that has it
shrinks, and every step without it is repeated. Slicing a finished tree may multiply its cost by
millions, so rotations and slices take turns: rotations see the tree without the sliced labels,
and pay for values above the limit; from time to time one slice is taken back and the labels that
now cost least are sliced instead, until everything fits.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from contraction.errors import PlanError
from contraction.search.annealing_state import AnnealedTree, Progress
from contraction.tree import Pairs


@dataclass(frozen=True, kw_only=True)
class Slicing:
    """How slices are searched for.

    Parameters
    ----------
    unsliced
        Share of the work before the first slice. With more, some runs get stuck.
    hot, cool
        First and last temperature before the first slice, and after it.
    penalty
        First and last power of size/limit by which values above the limit count more.
    sweeps
        Rotations for each leaf between two changes of the slices.
    noise
        Of the choice of a label, at the first temperature. With more, runs get stuck.
    round
        Rotations for each leaf of one fall of the temperature; longer runs start again.
    """

    unsliced: float = 0.05
    hot: tuple[float, float] = (2.0, 0.5)
    cool: tuple[float, float] = (0.5, 0.05)
    penalty: tuple[float, float] = (1.0, 5.0)
    sweeps: int = 8
    noise: float = 0.1
    round: int = 100_000

    def __post_init__(self) -> None:
        check_falls(hot=self.hot, cool=self.cool)
        if not 0 <= self.unsliced < 1 or min(self.sweeps, self.round) < 1 or self.noise < 0:
            raise PlanError(
                "a share `unsliced` in 0..1, `sweeps` and `round` >= 1 and `noise` >= 0 are "
                f"expected, got {self.unsliced}, {self.sweeps}, {self.round} and {self.noise}."
            )
        if not 0 <= self.penalty[0] <= self.penalty[1] <= 10:
            raise PlanError(f"`penalty` rises within 0..10, got {self.penalty}.")


def check_falls(**falls: tuple[float, float]) -> None:
    """Raise `PlanError` unless each is a first and a last temperature that is not higher."""
    for name, (first, last) in falls.items():
        if not 0 < last <= first < math.inf:
            raise PlanError(
                f"`{name}` is a first temperature and a last one that is above zero and not "
                f"higher, got {(first, last)}."
            )


def anneal_within(tree: AnnealedTree, progress: Progress, slicing: Slicing, *, seed: int) -> None:
    """Leave in `tree` the best tree and slices found with every value within its limit.

    A long run is divided into rounds that all start from the same tree: more of one fall gains
    less than another fall, and some get stuck.
    """
    draw = random.Random(seed)
    start = tree.pairs()
    best: tuple[float, Pairs, tuple[int, ...]] | None = None
    if tree.choose(0.0) < 0:
        best = tree.log2_total(), start, tuple(tree.sliced)
    leaves = len(tree.problem.leaves)
    rounds = max(1, int(progress.expected(tree.move_seconds) / (slicing.round * leaves)))
    for k in range(rounds):
        if k and progress.share() >= 1.0:
            break
        tree.load(start, tree.sliced if k == 0 else ())
        _anneal_round(tree, progress, slicing, draw, k / rounds, (k + 1) / rounds)
        total = tree.log2_total()
        if best is None or total < best[0]:
            best = total, tree.pairs(), tuple(tree.sliced)
    assert best is not None
    tree.load(*best[1:])


def _anneal_round(
    tree: AnnealedTree,
    progress: Progress,
    slicing: Slicing,
    draw: random.Random,
    begin: float,
    end: float,
) -> None:
    """Leave in `tree` the best of one fall of the temperature."""
    low, high = slicing.penalty
    for block, share in progress.blocks(begin + slicing.unsliced * (end - begin)):
        tree.rotate(block, temperature_at(slicing.hot, share), low)
    repair(tree, 0.0)
    if tree.shift > 0.0:  # costs were far above the limit
        tree.load(tree.pairs(), tree.sliced)
    best, least = tree.snapshot(), tree.log2_total()
    turn = slicing.sweeps * len(tree.problem.leaves)
    for block, share in progress.blocks(end, turn):
        temperature = temperature_at(slicing.cool, share)
        tree.rotate(block, temperature, low + (high - low) * share)
        if tree.sliced:
            tree.toggle(draw.choice(tree.sliced))
        repair(tree, slicing.noise * temperature / slicing.cool[0])
        if (total := tree.log2_total()) < least:
            best, least = tree.snapshot(), total
    tree.restore(best)
    unslice(tree)


def temperature_at(fall: tuple[float, float], share: float) -> float:
    """Return the temperature after a share of a geometric fall."""
    first, last = fall
    return first * math.pow(last / first, share)


def repair(tree: AnnealedTree, noise: float) -> None:
    """Slice labels until every value is within the limit."""
    while (label := tree.choose(noise)) >= 0:
        tree.toggle(label)


def unslice(tree: AnnealedTree) -> None:
    """Take back every slice without which everything fits."""
    for label in sorted(tree.sliced):
        before = tree.log2_total()
        tree.toggle(label)
        if tree.choose(0.0) >= 0 or tree.log2_total() > before:
            tree.toggle(label)
