"""Portfolio: the search for a contraction tree, as good as its time allows.

Every tree of up to four inputs is tried. Small networks are solved exactly for the estimated
time; larger ones are simplified, get greedy trees and from about a thousand inputs a bisected
one, which window optimisation and annealing then improve in rounds of growing length
(Gray and Kourtis, Quantum 5, 410 (2021), compare such methods). Where memory is short, slices
are searched for together with the tree. The best few trees are compared after lowering.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from functools import cached_property

from contraction.cost import CostModel
from contraction.search.annealing_tree import log2_sum
from contraction.search.exact import (
    combination,
    entries_written,
    exact,
    least_peak,
    multiply_adds,
    seconds_of,
)
from contraction.search.limited import Judged, Limited
from contraction.search.objectives import Objective
from contraction.search.parts import components, factors_first, restricted
from contraction.search.problem import Found, Simplified, problem_of, simplified, smallest_first
from contraction.search.ranking import Ranking, estimate, lowering_seconds
from contraction.search.rounds import Effort, Progress, Rounds, worth, write_weight
from contraction.spec import Canonical
from contraction.tree import Pairs, leaf_labels, reorder

ALL_TREES = 4  # inputs up to which every tree is tried
EXACT = 16  # inputs up to which an exact search is tried
SPLIT = 4e-6  # seconds that one split of an exact search takes
FEWEST = 3300  # splits that are always affordable: all of eight inputs
SLICED = 64  # labels up to which slices are tried one by one on a finished tree


def search_pairs(
    canonical: Canonical,
    objective: Objective,
    model: CostModel,
    *,
    seconds: float | None = None,
    max_size: float = math.inf,
    seed: int = 0,
    progress: Progress | None = None,
) -> Found:
    """Return the best tree found for a contraction, and the labels to slice.

    Parameters
    ----------
    canonical
        What to contract.
    objective
        What to make small.
    model
        Rates for the estimated time.
    seconds
        Time for the search, shared out over the parts that have no label in common; where
        labels must be sliced it takes as long as it needs to find something at all. By default
        the search does a fixed amount of work, about as long as one run of the best plan so far
        but a millisecond at least and some two seconds at most, so that the same contraction
        always gets the same plan.
    max_size
        Entries that may be alive at once; trees within it go before all others, and labels are
        sliced where no tree is within it. What is nearest to it is returned if nothing is.
    seed
        Of the random choices.
    progress
        Called now and then with the share of `seconds` that is over and log2 of the smallest
        cost so far.

    Cost: near-linear in the number of labels above some thousand inputs.
    """
    effort = Effort.of(seconds, seed, progress)
    leaves, _ = leaf_labels(canonical)
    parts = components(leaves)
    if len(parts) == 1 or len(leaves) <= ALL_TREES:
        return _search_connected(Ranking(canonical, objective, model, max_size), effort)
    pairs: list[tuple[int, int]] = []
    slices: list[int] = []
    rest = []
    for part in parts:
        root = part[0]
        if len(part) > 1:
            inner, labels = restricted(canonical, leaves, part)
            share = effort.share(len(part) / len(leaves))
            found = _search_connected(Ranking(inner, objective, model, max_size), share)
            slices += [labels[x] for x in found.slices]
            names = list(part)
            for i, j in found.pairs:
                pairs.append((names[i], names[j]))
                names.append(len(leaves) + len(pairs) - 1)
            root = names[-1]
        held = {x for value in part for x in leaves[value]}
        volume = math.prod(canonical.sizes[x] for x in canonical.output if x in held)
        rest.append((volume, root))
    joined = (*pairs, *smallest_first(rest, len(leaves) + len(pairs)))
    if max_size == math.inf:
        joined = factors_first(canonical, joined)
    return Found(joined, tuple(slices))


def _search_connected(ranking: Ranking, effort: Effort) -> Found:
    count = len(ranking.canonical.inputs)
    if count <= 2:
        best = Found(((0, 1),) * (count - 1))
    elif count <= ALL_TREES:
        best = ranking.best([Found(pairs) for pairs in _all_trees(count)])
    else:
        best = _search_larger(ranking, effort)
    return best if ranking.fits(best) else _sliced(best, ranking, effort)


def _search_larger(ranking: Ranking, effort: Effort) -> Found:
    network = _Network(ranking)
    exactly = network.count <= EXACT
    candidates = network.exact(FEWEST) if exactly else None
    if candidates is None:
        rounds = network.rounds(effort)
        if exactly:
            candidates = network.exact(int(0.4 * rounds.allowance() / SPLIT))
        if candidates is None:
            if ranking.max_size < math.inf and network.judged(rounds.best).log2_peak > network.most:
                return ranking.best(network.within(rounds))
            rounds.run()
            lowered = network.lowered(rounds.seconds(), effort)
            candidates = [network.whole(found) for found in rounds.trees[:lowered]]
    best = network.chosen(candidates, effort)
    if ranking.fits(best):
        return best
    small = least_peak(network.problem) if exactly else None
    if small is not None:
        best = _rotated(ranking.best([best, small]), ranking, effort)
    return (
        best
        if ranking.fits(best)
        else ranking.best([best, *network.within(network.rounds(effort))])
    )


class _Network:
    """A connected contraction, and the same as the problem that the members work on."""

    def __init__(self, ranking: Ranking) -> None:
        self.ranking, self.count = ranking, len(ranking.canonical.inputs)
        self.problem, self._labels = problem_of(ranking.canonical)

    @cached_property
    def small(self) -> Simplified:
        """The problem after the steps that need no search."""
        return simplified(self.problem)

    def whole(self, found: Found) -> Found:
        """Return a tree of the simplified problem as one of the contraction."""
        found = self.small.expand(found)
        return found._replace(slices=tuple(self._labels[x] for x in found.slices))

    def rounds(self, effort: Effort, objective: Objective | None = None) -> Rounds:
        """Return the rounds of this network with a greedy tree to begin with."""
        weight = write_weight(objective or self.ranking.objective, self.ranking.model)
        rounds = Rounds(self.small.problem, weight, effort, self._seconds)
        rounds.start()
        return rounds

    def exact(self, work: int) -> list[Found] | None:
        """Return the best trees of a small network, or None if that is too much work."""
        problem, model = self.problem, self.ranking.model
        match self.ranking.objective:
            case Objective.TIME:
                return exact(problem, seconds_of(model), copies=model, work=work)
            case Objective.FLOPS:
                return exact(problem, multiply_adds, work=work)
            case Objective.WRITE:
                return exact(problem, entries_written, work=work)
            case Objective.COMBO:
                return exact(problem, combination(64.0), work=work)
            case Objective.SIZE:
                found = least_peak(problem, work=work)
                return None if found is None else [found]

    def lowered(self, seconds: float, effort: Effort) -> int:
        """Return how many trees are worth lowering, for a plan of this run time."""
        time = worth(seconds) if effort.deadline is None else effort.left()
        return max(1, int(time / lowering_seconds(self.count)))

    def chosen(self, candidates: Sequence[Found], effort: Effort) -> Found:
        """Return the best of some trees, best first, after lowering as many as is worth it."""
        ranking = self.ranking
        seconds = estimate(ranking.canonical, candidates[0], ranking.model)
        lowered = self.lowered(seconds, effort)
        best = ranking.best(candidates[:lowered])
        neighbours = 2 * self.count
        if self.count > EXACT or lowered < neighbours:
            return best
        if seconds < neighbours * lowering_seconds(self.count) and effort.deadline is None:
            return best
        return _rotated(best, ranking, effort)

    @property
    def most(self) -> float:
        """Log2 of the entries that may be alive at once beside the result."""
        canonical = self.ranking.canonical
        result = math.prod(canonical.sizes[x] for x in canonical.output)
        return math.log2(max(self.ranking.max_size - result, 1))

    def judged(self, found: Found) -> Judged:
        """Return what a tree of the simplified problem does once it is lowered."""
        program = self.ranking.program(self.ranking.ordered(self.whole(found)))
        weight = write_weight(self.ranking.objective, self.ranking.model)
        written = program.write_size and math.log2(program.write_size) + math.log2(weight or 1)
        cost = math.log2(max(program.flops, 2)) - 1.0
        cost = log2_sum([cost, written]) if weight else cost
        return Judged(math.log2(max(program.peak_size, 1)), cost)

    def within(self, rounds: Rounds) -> list[Found]:
        """Return trees within the memory, or the one that came nearest."""
        most = math.log2(max(self.ranking.max_size, 1))
        rounds.overhead += 2 * lowering_seconds(self.count)
        found = Limited(rounds, self.judged, most).run()
        return [self.whole(one) for one in found[:2]]

    def _seconds(self, found: Found) -> float:
        """Return rough seconds of what a search can change."""
        return estimate(Canonical(*self.small.problem), found, self.ranking.model)


def _sliced(found: Found, ranking: Ranking, effort: Effort) -> Found:
    """Slice labels of a tree one by one until it fits, or nothing makes it smaller.

    Each time it is the label after which the peak, as far as it is too large, and the time grow
    least.
    """
    canonical = ranking.canonical
    labels = [x for x, size in enumerate(canonical.sizes) if size > 1]
    while not ranking.fits(found) and len(labels) <= SLICED:
        tried = [found._replace(slices=(*found.slices, x)) for x in labels if x not in found.slices]
        over = ranking.program(found).peak_size
        smaller = [one for one in tried if ranking.program(one).peak_size < over]
        if not smaller:
            break
        fitting = [one for one in smaller if ranking.fits(one)]
        if fitting:
            return min(fitting, key=lambda one: ranking.program(one).seconds)
        found = min(smaller, key=lambda one: _price(one, found, ranking))
    return found


def _price(one: Found, before: Found, ranking: Ranking) -> float:
    """Return how much time a slice costs for each halving of the peak."""
    new, old = ranking.program(one), ranking.program(before)
    gain = math.log2(old.peak_size) - math.log2(max(new.peak_size, 1))
    return (math.log2(max(new.seconds / old.seconds, 1.0)) + 0.1) / gain


def _rotated(found: Found, ranking: Ranking, effort: Effort) -> Found:
    """Improve a tree by regrouping ((x, y), z) into (x, (y, z)) or (y, (x, z)) while it helps."""
    for _ in range(len(found.pairs)):
        better = ranking.best([found, *_neighbours(found)])
        if better == found or effort.left() < 0:
            break
        found = better
    return found


def _neighbours(found: Found) -> Iterator[Found]:
    count = len(found.pairs) + 1
    for top, (left, right) in enumerate(found.pairs):
        for inner, other in ((left, right), (right, left)):
            if inner < count:
                continue
            x, y = found.pairs[inner - count]
            for stays, goes in ((x, y), (y, x)):
                changed = list(found.pairs)
                changed[inner - count] = (goes, other)
                changed[top] = (stays, inner)
                yield found._replace(pairs=reorder(changed, count))


def _all_trees(count: int) -> Iterator[Pairs]:
    def grow(alive: tuple[int, ...], fresh: int) -> Iterator[Pairs]:
        if len(alive) == 1:
            yield ()
        for i, j in itertools.combinations(alive, 2):
            rest = tuple(v for v in alive if v not in (i, j))
            for tail in grow((*rest, fresh), fresh + 1):
                yield ((i, j), *tail)

    return grow(tuple(range(count)), count)
