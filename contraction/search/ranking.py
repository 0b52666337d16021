"""Ranking: trees of one contraction compared by what their lowered programs do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

from contraction.cost import CostModel
from contraction.loop_program import LoopProgram, fitting_loops
from contraction.loops import loop_order, sliced_canonical
from contraction.program import Program, planned_program
from contraction.search.exact import HUGE, Volumes, seconds_of
from contraction.search.objectives import Objective
from contraction.search.problem import Found
from contraction.spec import Canonical
from contraction.tree import build_tree, order_for_memory

Lowered: TypeAlias = Program | LoopProgram

MORE_FLOPS = 4  # times the fewest that a tree of a shorter estimated time may take
LITTLE = 1 << 14  # flops below which it may take a quarter more: lowering takes longer than a run


class Ranking:
    """Compares trees of one contraction; each is lowered once.

    Parameters
    ----------
    canonical, objective, model
        What is contracted, what is made small, and the rates for the estimated time.
    max_size
        Entries that may be alive at once; trees within it go before all others.
    """

    def __init__(
        self, canonical: Canonical, objective: Objective, model: CostModel, max_size: float
    ) -> None:
        self.canonical, self.objective = canonical, objective
        self.model, self.max_size = model, max_size
        self._known: dict[Found, Lowered] = {}

    def program(self, found: Found) -> Lowered:
        """Return the program of a tree, compiled once."""
        key = found._replace(log2_cost=0.0)
        known = self._known.get(key)
        if known is None:
            if found.slices:
                loops = loop_order(self.canonical, found.pairs, found.slices)
                known = fitting_loops(
                    self.canonical, found.pairs, loops, self.model, max_size=self.max_size
                )
            else:
                known = planned_program(
                    self.canonical, found.pairs, self.model, max_size=self.max_size
                )
            self._known[key] = known
        return known

    def fits(self, found: Found) -> bool:
        """Tell whether a tree stays within the entries allowed."""
        return self.max_size == math.inf or self.program(found).peak_size <= self.max_size

    def ordered(self, found: Found) -> Found:
        """Return the tree with its steps in the order of least memory."""
        tree = build_tree(sliced_canonical(self.canonical, found.slices), found.pairs)
        return found._replace(pairs=order_for_memory(tree))

    def best(self, trees: Sequence[Found]) -> Found:
        """Return the best of `trees`, each with its steps in the order of least memory."""
        ordered = list(dict.fromkeys(self.ordered(found) for found in trees))
        most: float = math.inf
        limited = self.max_size < math.inf  # then a tree of many flops may be all that fits
        if self.objective in (Objective.TIME, Objective.FLOPS) and not limited:
            steps = {found: self._multiply_adds(found) for found in ordered}
            most = _allowed_flops(min(steps.values()))  # no need to lower the others
            ordered = [found for found in ordered if steps[found] <= most]
        if len(ordered) == 1:
            return ordered[0]
        ceiling = _allowed_flops(min(self.program(found).flops for found in ordered))

        def key(found: Found) -> tuple[float, ...]:
            program = self.program(found)
            over = 0.0 if self.fits(found) else program.peak_size - self.max_size
            return (over, *self._goal(program, ceiling), program.seconds)

        return min(ordered, key=key)

    def _multiply_adds(self, found: Found) -> int:
        tree = build_tree(sliced_canonical(self.canonical, found.slices), found.pairs)
        repeats = math.prod(tree.sizes[x] for x in found.slices)
        return repeats * sum(map(tree.step_size, tree.pairs))

    def _goal(self, program: Lowered, ceiling: float) -> tuple[float, ...]:
        match self.objective:
            case Objective.TIME:  # an estimate may not buy its time with many more flops
                return (max(ceiling, program.flops), program.seconds)
            case Objective.FLOPS:
                return (program.flops,)
            case Objective.SIZE:
                return (program.peak_size, program.flops)
            case Objective.WRITE:
                return (program.write_size,)
            case Objective.COMBO:
                return (program.flops // 2 + 64 * program.write_size,)


def estimate(canonical: Canonical, found: Found, model: CostModel) -> float:
    """Return rough seconds of a tree without lowering it, some microseconds for each step."""
    tree = build_tree(sliced_canonical(canonical, found.slices), found.pairs)
    measure, sizes = seconds_of(model), tree.sizes
    repeats = min(math.prod(sizes[x] for x in found.slices), HUGE)
    total = 0.0
    for pair in tree.pairs:
        groups = (pair.batch, pair.left_only, pair.right_only, pair.summed)
        volumes = [min(math.prod([sizes[x] for x in group]), HUGE) for group in groups]
        total += measure(Volumes(*volumes))
    return repeats * total


def lowering_seconds(count: int) -> float:
    """Return roughly how long lowering a tree of so many inputs takes."""
    return 6e-5 * count * min(1.0 + count / 60, 8.0)


def _allowed_flops(flops: int) -> int:
    """Return the flops that a shorter estimated time may cost; whole, for they may be huge."""
    return MORE_FLOPS * flops if flops > LITTLE else flops + flops // 4
