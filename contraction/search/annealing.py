"""Simulated annealing of contraction trees by rotations of sets of labels held as bits.

A move takes ((x, y), z) to (x, (y, z)) and is judged by the two steps that it changes alone, so
it costs a tenth of a microsecond compiled and half of one in plain Python, whatever the size of
the network. The temperature falls geometrically; the best tree is kept from time to time.
Under a limit on the size of values, slices are searched for together with the tree
(`contraction.search.slicing`). After Kirkpatrick, Gelatt and Vecchi, Science 220, 671 (1983).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from contraction.errors import PlanError
from contraction.search import compiled
from contraction.search.annealing_plain import PlainTree
from contraction.search.annealing_state import AnnealedTree, Progress
from contraction.search.annealing_tree import log2_total
from contraction.search.problem import Found, Problem
from contraction.search.slicing import Slicing, anneal_within, check_falls, temperature_at, unslice
from contraction.search.windows import reoptimize
from contraction.tree import check_pairs

KEEPS = 0.02  # share of a phase after which the tree is compared with the best
MOVE = 5e-7  # seconds that a rotation takes in plain Python
POLISH = 3e-4  # seconds a leaf that windows take


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How temperatures fall, and how much of the work each fall gets.

    Parameters
    ----------
    hot, cool
        First and last temperature of the first and of the second half. Networks with few, large
        hyperedges need the hot half; the others gain most in the cool one.
    slicing
        How slices are searched for under a limit; it has temperatures of its own.
    moves_per_leaf
        Rotations for each leaf where neither moves nor a deadline are given.
    window
        Values in a window that is solved exactly at the end; below 3 none is.
    """

    hot: tuple[float, float] = (2.0, 0.1)
    cool: tuple[float, float] = (0.5, 0.05)
    slicing: Slicing = field(default_factory=Slicing)
    moves_per_leaf: int = 1000
    window: int = 8

    def __post_init__(self) -> None:
        check_falls(hot=self.hot, cool=self.cool)
        if self.moves_per_leaf < 1:
            raise PlanError(f"`moves_per_leaf` is at least 1, got {self.moves_per_leaf}.")


SCHEDULE = Schedule()


def anneal(
    problem: Problem,
    start: Found,
    *,
    seed: int,
    moves: int | None = None,
    deadline: float | None = None,
    max_log2_size: float = math.inf,
    schedule: Schedule = SCHEDULE,
    write_weight: float = 0.0,
) -> Found:
    """Return a better tree, and slices if values must be small.

    Parameters
    ----------
    problem, start
        The network, and a tree over it. Without a limit its slices stay; under one they are a
        first guess.
    seed
        Of the random moves. Equal seeds and moves give equal trees, unless a deadline cuts in.
    moves
        Rotations to propose.
    deadline
        Value of `time.perf_counter` at which to stop. With moves too, whichever comes first.
    max_log2_size
        log2 of the entries that the result of a step of one slice may have. The leaves belong
        to the caller and do not count; the last result does, as the part of it that one slice
        makes.
    schedule
        Temperatures.
    write_weight
        Multiply-adds that one entry written is worth.

    Cost: 0.03 to 0.06 us a rotation compiled, 0.3 to 1 us in plain Python; one bit for each value
    and label, so that 20,000 leaves take some hundred megabytes.

    Raises
    ------
    PlanError
        The start is not a tree over the leaves, or a number is out of range.
    """
    count = len(problem.leaves)
    check_pairs(start.pairs, count)
    if not 0 <= max_log2_size:
        raise PlanError(f"`max_log2_size` is the log2 of at least one entry, got {max_log2_size}.")
    if not 0 <= write_weight < math.inf or (moves is not None and moves < 0):
        raise PlanError(
            f"`write_weight` and `moves` are zero or more, got {write_weight} and {moves}."
        )
    if count < 2 or (count < 3 and max_log2_size == math.inf):
        cost = log2_total(problem, start.pairs, start.slices, write_weight)
        return Found(start.pairs, start.slices, cost)
    if moves is None and deadline is None:
        moves = schedule.moves_per_leaf * count
    kind = _kind(moves, deadline)
    tree = kind(
        problem,
        start.pairs,
        seed=seed,
        slices=start.slices,
        write_weight=write_weight,
        max_log2_size=max_log2_size,
    )
    until = deadline
    if deadline is not None and schedule.window >= 3:
        until = _before(deadline, count)
    progress = Progress(moves, until)
    if max_log2_size < math.inf:
        anneal_within(tree, progress, schedule.slicing, seed=seed)
    else:
        _anneal_freely(tree, progress, schedule)
    slices = tuple(sorted(tree.sliced))
    found = Found(tree.pairs(), slices, tree.log2_total())
    if schedule.window < 3:
        return found
    found = reoptimize(
        problem,
        found,
        width=schedule.window,
        seed=seed,
        deadline=deadline,
        max_log2_size=max_log2_size,
        write_weight=write_weight,
    )
    if found.slices:
        tree.load(found.pairs, found.slices)
        unslice(tree)
        slices = tuple(sorted(tree.sliced))
        found = Found(found.pairs, slices, log2_total(problem, found.pairs, slices, write_weight))
    return found


def _anneal_freely(tree: AnnealedTree, progress: Progress, schedule: Schedule) -> None:
    """Leave in `tree` the best tree found, with the slices that it has."""
    best, least = tree.snapshot(), tree.log2_total()
    for fall, until in ((schedule.hot, 0.5), (schedule.cool, 1.0)):
        due = 0.0
        for block, share in progress.blocks(until):
            tree.rotate(block, temperature_at(fall, share))
            if share >= due:
                due = share + KEEPS
                if (total := tree.log2_total()) < least:
                    best, least = tree.snapshot(), total
        if (total := tree.log2_total()) < least:
            best, least = tree.snapshot(), total
        tree.restore(best)
        if tree.shift > 0.0:  # costs have fallen: scale them anew
            tree.load(tree.pairs(), tree.sliced)
            best = tree.snapshot()


def _before(deadline: float, count: int) -> float:
    """Return when to stop annealing, with time left to solve windows."""
    length = deadline - time.perf_counter()
    return deadline - min(POLISH * count, 0.1 * max(length, 0.0))


def _kind(moves: int | None, deadline: float | None) -> type[AnnealedTree]:
    """Return the compiled tree where the run is long enough and the kernels are ready."""
    if deadline is None:  # the same tree in every process, whatever is loaded in it
        pays = moves is None or moves * MOVE >= compiled.LOADING
    else:
        seconds = deadline - time.perf_counter()
        pays = compiled.worthwhile(seconds if moves is None else min(seconds, moves * MOVE))
    if pays and compiled.load("contraction.search.annealing_numba"):
        from contraction.search.annealing_compiled import CompiledTree

        return CompiledTree
    return PlainTree
