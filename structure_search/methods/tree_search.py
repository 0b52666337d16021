"""TreeSearch: the best tree for the data, with its ranks, from the spectra of bipartitions."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, TypeAlias, final

from contraction.errors import InputError
from contraction.truncation import check_rank
from structure_search.methods.base import AbstractMethod, Answer, Problem, Proposal, Proposals
from structure_search.methods.laminar import Family, cheapest, family_params
from structure_search.methods.tree_fits import Reduced, reduced_data
from structure_search.methods.tree_ladders import (
    exchanges,
    ladder,
    neighbours,
    of_tree,
    raised,
    reaching,
)
from structure_search.methods.tree_orders import intervals, mutual_information, orders
from structure_search.methods.tree_parts import (
    ALL_UP_TO,
    all_divisions,
    divisions_among,
    programme,
    structure_of,
    trains_only,
)
from structure_search.objectives import RelativeError

POWERS = (1.0, 1.4, 2.0, 3.0, 5.0)
LEVELS = (0.3, 0.6, 1.0, 1.6)
WORTH = 1.08  # of the best size so far: a tree that its spectra say is larger is passed over
TRAIN_POWERS = (2.0, 4.0)
NEIGHBOURS = 12
SWEEPS = 12
Stage: TypeAlias = Generator[Sequence[Proposal], Sequence[Answer], None]


@final
@dataclass(frozen=True, kw_only=True)
class TreeSearch(AbstractMethod):
    """The smallest tree network within an error.

    TODO

    Parameters
    ----------
    keep
        How many trees are refined.
    """

    needs_every_entry: ClassVar[bool] = True

    keep: int = 3
    rounds: int = 6
    patience: int = 24

    def __post_init__(self) -> None:
        check_rank(self.keep, "keep")
        check_rank(self.rounds, "rounds", least=0)

    def default_objective(self) -> RelativeError | None:
        """There is none: the tolerance has to be given."""
        return None

    def propose(self, problem: Problem) -> Proposals:
        """Yield trees with ranks."""
        goal = problem.objective
        tol = goal.enough
        if not tol > 0.0:
            raise InputError("TreeSearch needs RelativeError(tol > 0).")
        run = _Run(problem, tol, self)
        yield from run.trees()
        for _ in range(self.rounds):
            before = run.smallest
            yield from run.around()
            if run.smallest >= before:
                break
        for sets in run.leaders(self.keep):
            yield from run.descend(sets)


class _Found:
    """The smallest network of one tree so far."""

    def __init__(self, family: Family, answer: Answer, weight: float, power: float) -> None:
        self.family, self.answer, self.weight, self.power = family, answer, weight, power
        self.level = family.squared


class _Run:
    def __init__(self, problem: Problem, tol: float, method: TreeSearch) -> None:
        self.tol = tol
        self.modes = tuple(problem.modes)
        self.sizes = tuple(problem.modes.values())
        self.data: Reduced = reduced_data(problem, tol)
        self.root = max(range(len(self.sizes)), key=lambda k: self.sizes[k])
        count = len(self.sizes)
        self.sets: set[int] | None = None
        if count <= ALL_UP_TO:
            divisions = all_divisions(count, self.root)
        else:
            shared = mutual_information(count, self.tails)
            self.sets = {s for order in orders(shared) for s in intervals(order)}
            divisions = divisions_among(self.sets, count, self.root)
        self.whole = programme(self.sizes, divisions, self.tails, tol)
        self.found: dict[frozenset[int], _Found] = {}
        self.leading = method.keep
        self.patience = method.patience
        self.tried: set[tuple[frozenset[int], float]] = set()

    def tails(self, axes: Sequence[int]):
        return self.data.spectra.tails([self.modes[k] for k in axes])

    @property
    def smallest(self) -> float:
        return min((f.family.num_params for f in self.found.values()), default=math.inf)

    def leaders(self, count: int) -> list[frozenset[int]]:
        order = sorted(self.found, key=lambda s: (self.found[s].family.num_params, sorted(s)))
        return order[:count]

    def trees(self) -> Stage:
        """Try the trees that the programmes find."""
        begin = float(math.prod(self.sizes)) / 100
        trains = replace(self.whole, divisions=trains_only(self.whole.divisions))
        for kind, powers in ((self.whole, POWERS), (trains, TRAIN_POWERS)):
            weight = begin
            for power in powers:
                lifted = raised(kind, power)
                for level in LEVELS:
                    family, weight = reaching(lifted, level, weight)
                    yield from self.tune(frozenset(family.ranks), power, weight)

    def around(self) -> Stage:
        """Try the trees around the best ones that their spectra say may be smaller."""
        for sets in self.leaders(self.leading):
            yield from self.near(sets)

    def near(self, sets: frozenset[int]) -> Stage:
        """Try the trees around one."""
        best = self.found[sets]
        count = len(self.sizes)
        nearby = neighbours(sorted(sets), count, self.root)
        if self.sets is not None:
            self.widen({s for near in nearby for s in near})
        lifted = raised(self.whole, best.power)
        offers = []
        for near in nearby:
            if all(s in self.whole.ranks for s in near) and (near, best.power) not in self.tried:
                family = cheapest(of_tree(lifted, near), best.weight)
                if frozenset(family.ranks) == near:
                    price = family.num_params + best.weight * family.squared
                    offers.append((price, sorted(near)))
        for _, near in sorted(offers)[:NEIGHBOURS]:
            yield from self.tune(frozenset(near), best.power, best.weight)

    def widen(self, sets: set[int]) -> None:
        """Add sets to the programme."""
        assert self.sets is not None
        if sets <= self.sets:
            return
        self.sets |= sets
        divisions = divisions_among(self.sets, len(self.sizes), self.root)
        self.whole = programme(self.sizes, divisions, self.tails, self.tol)

    def tune(self, sets: frozenset[int], power: float, weight: float) -> Stage:
        """Find the smallest ranks of one tree, along the prices of its programme."""
        if (sets, power) in self.tried:
            return
        self.tried.add((sets, power))
        rungs = ladder(of_tree(raised(self.whole, power), sets), weight)
        low, high = 0, len(rungs)  # the first that reaches the tolerance is in [low, high]
        while high and rungs[high - 1].num_params > WORTH * self.smallest:
            high -= 1
        place = min(range(len(rungs)), key=lambda k: abs(math.log(rungs[k].squared + 1e-30)))
        while low < high:
            k = min(max(place, low), high - 1)
            (answer,) = yield [self.proposal(rungs[k], sweeps=0)]
            if answer.error <= self.tol:
                self.keep(rungs[k], answer, weight, power)
                high = k
            else:
                low = k + 1
            place = (low + high) // 2

    def proposal(self, family: Family, sweeps: int) -> Proposal:
        structure = structure_of(family.ranks, self.sizes, self.modes)
        return self.data.proposal(structure, self.tol, sweeps, f"{len(family.ranks) + 1} nodes")

    def keep(self, family: Family, answer: Answer, weight: float, power: float) -> None:
        key = frozenset(family.ranks)
        old = self.found.get(key)
        if old is None or family.num_params < old.family.num_params:
            self.found[key] = _Found(family, answer, weight, power)

    def descend(self, sets: frozenset[int]) -> Stage:
        """Lower and exchange ranks of one tree as long as the error stays within."""
        vain = 0
        tried: set[tuple[tuple[int, int], ...]] = set()
        while vain < self.patience:
            found = self.found[sets]
            near = [
                ranks
                for ranks in exchanges(self.whole, found.family, found.power)
                if tuple(sorted(ranks.items())) not in tried
            ]
            if not near:
                return
            ranks = near[0]
            tried.add(tuple(sorted(ranks.items())))
            family = Family(ranks, family_params(ranks, self.sizes), 0.0)
            (answer,) = yield [self.proposal(family, sweeps=SWEEPS)]
            if answer.error <= self.tol:
                self.found[sets] = _Found(family, answer, found.weight, found.power)
                vain = 0
            else:
                vain += 1
