"""One tree search under way: the smallest network within an error, or the nearest of a size."""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, final

from structure_search.methods.base import Answer, Problem, Proposal
from structure_search.methods.trees.fits import reduced_data
from structure_search.methods.trees.ladders import (
    SPAN,
    TINY,
    between,
    cuts,
    gains,
    neighbours,
    normalised,
    of_tree,
    raised,
    reaching,
    rough_price,
    within,
)
from structure_search.methods.trees.laminar import (
    Family,
    Float,
    Programme,
    cheapest,
    family_params,
)
from structure_search.methods.trees.orders import (
    format_trees,
    intervals,
    mutual_information,
    orders,
)
from structure_search.methods.trees.parts import (
    ALL_UP_TO,
    all_divisions,
    bonds_of,
    divisions_among,
    programme,
    structure_of,
    trains_only,
)

POWERS = (1.0, 1.4, 2.0, 3.0, 5.0)
MIDDLE_POWER = 2.0
ADJUSTED = 1.4  # the tolerance of a budget is found up to this factor
TRAIN_POWERS = (2.0, 4.0)
LEVELS = (0.25, 1.7)  # powers of the squared tails, in units of the tolerance
FINE = 1.12  # factor between two prices of which no third is tried between
WORTH = 1.08  # of the best size so far: a tree that its spectra say is larger is passed over
SMALLER = 0.98  # of the best size so far: where the next tree is looked for
ORDERS_UP_TO = 5  # modes; all 60 trains
MOST_FORMATS = 14  # that a budget is filled with: all trains of four modes
CANDIDATES = 3  # times as many are priced exactly
NEIGHBOURS = 12  # trees tried around each of the best
TRIAL_SWEEPS, SWEEPS = 6, 20
Stage: TypeAlias = Generator[Sequence[Proposal], Sequence[Answer], None]
Tree: TypeAlias = frozenset[int]


@dataclass(frozen=True, kw_only=True)
class Found:
    """The best network of one tree so far; `weight` and `power` are what its ranks came from."""

    family: Family
    error: float
    weight: float
    power: float


class AbstractRun(ABC):
    """What both kinds of search share: the programme, and how trees are gone through."""

    def __init__(self, problem: Problem, tol: float, leading: int, patience: int) -> None:
        self.tol, self.leading, self.patience = tol, leading, patience
        self.modes = tuple(problem.modes)
        self.sizes = tuple(problem.modes.values())
        self.data = reduced_data(problem, tol)
        count = len(self.sizes)
        self.root = max(range(count), key=lambda k: self.sizes[k])
        self.sets: set[int] | None = None  # None is all of them
        self.orders = [tuple(range(count))]
        if count <= ORDERS_UP_TO:
            self.orders = [o for o in itertools.permutations(range(count)) if o[0] <= o[-1]]
        if count <= ALL_UP_TO:
            divisions = all_divisions(count, self.root)
        else:
            self.orders = orders(mutual_information(count, self.tails))
            self.sets = {s for order in self.orders for s in intervals(order)}
            divisions = divisions_among(self.sets, count, self.root)
        self.whole = programme(self.sizes, divisions, self.tails, tol)
        self.found: dict[Tree, Found] = {}
        self.tried: set[tuple[Tree, float]] = set()
        self.nearby: dict[tuple[Tree, float], list[Tree]] = {}  # still to be tried
        self.near = float(math.prod(self.sizes)) / 100  # a weight to begin with

    @abstractmethod
    def key(self, found: Found) -> tuple[float, float]:
        """Return what is smaller for the better network."""

    @abstractmethod
    def candidates(self, lifted: Programme) -> list[tuple[Tree, float]]:
        """Return trees that a programme finds, and the weights it found them with."""

    def of_this_size(self, lifted: Programme) -> list[tuple[Tree, float]]:
        """Return trees about as large as the best one, and their weights."""
        return []

    @abstractmethod
    def tune(self, sets: Tree, power: float, weight: float) -> Stage:
        """Find the best ranks of one tree, along the prices of its programme."""

    @abstractmethod
    def steps(self, found: Found) -> list[dict[int, int]]:
        """Return ranks that may be better, the most promising first."""

    @property
    def best(self) -> tuple[float, float]:
        """The key of the best network so far."""
        return min(map(self.key, self.found.values()), default=(math.inf, math.inf))

    def leaders(self, count: int) -> list[Tree]:
        """Return the best trees, best first."""
        order = sorted(self.found, key=lambda s: (self.key(self.found[s]), sorted(s)))
        return order[:count]

    def tails(self, axes: Sequence[int]) -> Float | None:
        """Return the relative errors of the ranks 0, 1, ... of the cut around some modes."""
        return self.data.spectra.tails([self.modes[k] for k in axes])

    def trees(self) -> Stage:
        """Try the fixed formats, the trees, and the trains, that the programmes find."""
        yield from self.fixed()
        trains = replace(self.whole, divisions=trains_only(self.whole.divisions))
        for kind, powers in ((self.whole, POWERS), (trains, TRAIN_POWERS)):
            for power in powers:
                for sets, weight in self.candidates(raised(kind, power)):
                    yield from self.tune(sets, power, weight)

    @abstractmethod
    def fixed(self) -> Stage:
        """Try the best of the fixed formats."""

    def around(self) -> Stage:
        """Try the trees around the best ones that promise most."""
        for power in POWERS:
            for sets, weight in self.of_this_size(raised(self.whole, power)):
                yield from self.tune(sets, power, weight)
        for sets in self.leaders(self.leading):
            best = self.found[sets]
            place = (sets, best.power)
            if place not in self.nearby:
                self.nearby[place] = self.promising(sets, best)
            for near in self.nearby[place][:NEIGHBOURS]:
                yield from self.tune(near, best.power, best.weight)
            del self.nearby[place][:NEIGHBOURS]

    def promising(self, sets: Tree, best: Found) -> list[Tree]:
        """Return the trees that differ in one bond, those with the lowest price first."""
        nearby = neighbours(sorted(sets), len(self.sizes), self.root)
        self.widen({s for near in nearby for s in near})
        lifted = raised(self.whole, best.power)
        offers = [
            (rough_price(lifted, best.family.ranks, near, best.weight), sorted(near))
            for near in nearby
            if all(s in lifted.ranks for s in near) and (near, best.power) not in self.tried
        ]
        prices = []
        for _, near in sorted(offers)[: CANDIDATES * NEIGHBOURS]:
            family = cheapest(of_tree(lifted, near), best.weight)
            if len(family.ranks) == len(near):
                prices.append((family.num_params + best.weight * family.squared, near))
        return [frozenset(near) for _, near in sorted(prices)]

    def formats(self) -> list[Tree]:
        """Return the fixed formats: trains in several orders, Tucker, and a balanced tree."""
        made: dict[Tree, None] = {}
        for sets in format_trees(len(self.sizes), self.orders):
            normal = {normalised(s, self.whole.everything, self.root) for s in sets}
            self.widen(normal)
            made[frozenset(s for s in normal if s in self.whole.ranks)] = None
        return list(made)

    def widen(self, sets: set[int]) -> None:
        """Add sets to the programme."""
        if self.sets is None or sets <= self.sets:
            return
        self.sets |= sets
        divisions = divisions_among(self.sets, len(self.sizes), self.root)
        self.whole = programme(self.sizes, divisions, self.tails, self.tol)

    def descend(self, sets: Tree) -> Stage:
        """Change ranks of one tree one or two at a time as long as that is better."""
        vain = 0
        tried: set[tuple[tuple[int, int], ...]] = set()
        while vain < self.patience:
            found = self.found[sets]
            offers = self.steps(found)
            ranks = next((r for r in offers if tuple(sorted(r.items())) not in tried), None)
            if ranks is None:
                return
            tried.add(tuple(sorted(ranks.items())))
            family = Family(ranks, family_params(ranks, self.sizes), 0.0)
            (answer,) = yield [self.proposal(family, SWEEPS)]
            better = self.keep(family, answer, found.weight, found.power)
            vain = 0 if better else vain + 1

    def proposal(self, family: Family, sweeps: int) -> Proposal:
        """Return the proposal to factorise a tree."""
        structure = structure_of(family.ranks, self.sizes, self.modes)
        label = f"{len(family.ranks) + 1} nodes"
        return self.data.proposal(structure, self.goal(), sweeps, label)

    @abstractmethod
    def goal(self) -> float:
        """Return the error at which sweeps may stop."""

    def keep(self, family: Family, answer: Answer, weight: float, power: float) -> bool:
        """Remember a network if it is the best of its tree."""
        tree = frozenset(family.ranks)
        new = Found(family=family, error=answer.error, weight=weight, power=power)
        old = self.found.get(tree)
        if math.isinf(self.key(new)[0]) or (old is not None and self.key(new) >= self.key(old)):
            return False
        self.found[tree] = new
        return True


@final
class SmallestRun(AbstractRun):
    """The smallest network within the tolerance."""

    def key(self, found: Found) -> tuple[float, float]:
        """Return the size; infinity outside the tolerance."""
        inside = found.error <= self.tol
        return (float(found.family.num_params) if inside else math.inf, found.error)

    def goal(self) -> float:
        """Return the tolerance."""
        return self.tol

    def candidates(self, lifted: Programme) -> list[tuple[Tree, float]]:
        """Return the cheapest trees with tails around the tolerance."""
        families = between(lifted, *LEVELS, self.near)
        self.nearby: dict[tuple[Tree, float], list[Tree]] = {}  # still to be tried
        self.near = families[0][1]
        return [(frozenset(family.ranks), weight) for family, weight in families]

    def fixed(self) -> Stage:
        """Take the ranks with which factorisations share out the tolerance."""
        families = [Family({}, math.prod(self.sizes), 0.0)]  # one node, where all are larger
        for sets in self.formats():
            structure = structure_of(dict.fromkeys(sets, 1), self.sizes, self.modes)
            shared = self.data.shared(structure, self.tol)
            ranks = {
                normalised(mask, self.whole.everything, self.root): shared[bond]
                for mask, bond in bonds_of(structure).items()
            }
            families.append(Family(ranks, family_params(ranks, self.sizes), 1.0))
        for family in sorted(families, key=lambda f: f.num_params)[: self.leading]:
            (answer,) = yield [self.proposal(family, TRIAL_SWEEPS)]
            if answer.error <= self.tol:
                self.keep(family, answer, self.near, 1.0)

    def of_this_size(self, lifted: Programme) -> list[tuple[Tree, float]]:
        """Return the tree with the least tails that is just smaller than the best one."""
        if math.isinf(self.best[0]):
            return []
        budget = max(1, int(SMALLER * self.best[0]))
        family, weight = within(lifted, budget, self.near)
        return [(frozenset(family.ranks), weight)]

    def steps(self, found: Found) -> list[dict[int, int]]:
        """Return smaller ranks, in turns with others of the same size."""
        smaller = cuts(self.whole, found.family, found.power)
        other = gains(self.whole, found.family, found.power, found.family.num_params)
        return [ranks for pair in zip(smaller, other, strict=False) for ranks in pair]

    def tune(self, sets: Tree, power: float, weight: float) -> Stage:
        """Bisect the prices for the smallest ranks within the tolerance."""
        if (sets, power) in self.tried:
            return
        self.tried.add((sets, power))
        tree = of_tree(raised(self.whole, power), sets)
        low, high = weight / SPAN, weight * SPAN  # the lightest within the tolerance is between
        inside: dict[int, bool] = {}
        while high > FINE * low:
            family = cheapest(tree, weight)
            size = family.num_params
            ahead = 0.0  # logarithm of how much heavier the weight should have been
            if size > WORTH * self.best[0]:
                inside[size] = True  # or not: then there is nothing to be found
                ahead = -1.0
            elif size not in inside:
                (answer,) = yield [self.proposal(family, TRIAL_SWEEPS)]
                inside[size] = answer.error <= self.tol
                ahead = 2.0 * math.log((answer.error + TINY) / self.tol)
                self.keep(family, answer, weight, power)
            low, high = (low, weight) if inside[size] else (weight, high)
            share = min(max(math.log(weight / low) + ahead, 0.0) / math.log(high / low), 1.0)
            weight = low * (high / low) ** min(max(share, 0.2), 0.8)


@final
class NearestRun(AbstractRun):
    """The network of least error within a number of parameters."""

    def __init__(
        self, problem: Problem, tol: float, budget: int, leading: int, patience: int
    ) -> None:
        super().__init__(problem, tol, leading, patience)
        self.budget = budget
        low, high = tol, 1.0  # to the tolerance that the budget just allows, nearly
        while high > ADJUSTED * low:
            self.tol = math.sqrt(low * high)
            self._programme()
            low, high = (low, self.tol) if self._smallest() <= budget else (self.tol, high)
        self.tol = high
        self._programme()

    def _programme(self) -> None:
        self.whole = programme(self.sizes, self.whole.divisions, self.tails, self.tol)

    def _smallest(self) -> int:
        """Return the size of the smallest tree whose bound is about the tolerance."""
        weight = float(math.prod(self.sizes)) / 100
        return reaching(raised(self.whole, MIDDLE_POWER), 1.0, weight)[0].num_params

    def key(self, found: Found) -> tuple[float, float]:
        """Return the error; infinity outside the budget."""
        inside = found.family.num_params <= self.budget
        return (found.error if inside else math.inf, float(found.family.num_params))

    def goal(self) -> float:
        """Return zero: every digit counts."""
        return 0.0

    def fixed(self) -> Stage:
        """Fill the budget with each."""
        for sets in self.formats()[:MOST_FORMATS]:
            yield from self.tune(sets, 1.0, self.near)

    def candidates(self, lifted: Programme) -> list[tuple[Tree, float]]:
        """Return the trees with the least tails within the budget."""
        family, weight = within(lifted, self.budget, self.near)
        return [(frozenset(family.ranks), weight)]

    def steps(self, found: Found) -> list[dict[int, int]]:
        """Return other ranks within the budget."""
        return gains(self.whole, found.family, found.power, self.budget)

    def tune(self, sets: Tree, power: float, weight: float) -> Stage:
        """Factorise with the ranks of the programme that fill the budget."""
        if (sets, power) in self.tried:
            return
        self.tried.add((sets, power))
        family, price = within(of_tree(raised(self.whole, power), sets), self.budget, weight)
        if family.num_params <= self.budget:
            (answer,) = yield [self.proposal(family, TRIAL_SWEEPS)]
            self.keep(family, answer, price, power)
