"""TnALE: alternating local enumeration over ranks and the arrangement of the modes."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, final

import numpy as np

from contraction.truncation import check_rank
from structure_search.methods.base import AbstractMethod, Answer, Problem, Proposal, Proposals
from structure_search.methods.sampling import (
    UNKNOWN,
    arrangement_of,
    candidate,
    check_probability,
    check_walk,
    limits_of,
)
from structure_search.results import Candidate
from structure_search.space.search_space import SearchSpace, State, Value, space_of
from structure_search.space.templates import Template

DRAWS = 1000  # of a perturbation that keeps to the limits


class Point(NamedTuple):
    """A state, and the error that it is believed to have; infinite if unknown."""

    state: State
    error: float


class Trip(NamedTuple):
    """Where a round trip ended, and whether it did early, on its centre."""

    end: Point
    early: bool


Step: TypeAlias = Generator[Sequence[Proposal], Sequence[Answer], Point]
Round: TypeAlias = Generator[Sequence[Proposal], Sequence[Answer], Trip]


@final
@dataclass(frozen=True, kw_only=True)
class TnALE(AbstractMethod):
    """One variable at a time: try its values near the centre, keep the best, go to the next.

    The variables are the ranks and, last, the arrangement of the modes on the template. A round
    trip goes up and down: 0, 1, ..., M-1, M-2, ..., 1 (`repeats` times), and 0 again. If its end
    is no worse than the centre, it becomes the centre; otherwise the next trip starts from a
    perturbation, all variables but the first drawn from their neighbourhoods. A trip also ends
    when M of its steps have returned to the centre, and a perturbation follows. What
    was found for the point where a step begins is never forgotten in the step; of equals it wins.

    In the first `initial_trips` trips neighbourhoods are wider and only three values of a rank
    are evaluated; squared errors in between are interpolated linearly. What is then believed of
    the centre is forgotten.

    A trip with N ranks and N modes asks for 2N(2 radius + 1) + 1 + N(N-1)/2 structures. All
    of one step are one batch (the present one comes first, in a batch of its own, if its error
    is not known), and except for interpolation those that cannot beat the present one may be
    answered by a bound: that changes no decision.

    Li, Zeng, Li, Caiafa, Zhao, "Alternating local enumeration (TnALE)", ICML 2023
    (arXiv:2304.12875), section 4; the order, shifted neighbourhoods and perturbations are those
    of the code published with it. New: a start, limits, an end (`patience`,
    `starts`).

    Parameters
    ----------
    template
        The graph: `Template.RING` or another with free modes (TN-PS), or `Template.FULL`: ranks
        of all pairs (TN-TS). A start of the search brings its own graph.
    max_rank
        Ranks are 1..max_rank.
    exchanges
        Exchanges of two modes tried in a step: None for all, otherwise so many, drawn at random;
        0 keeps the arrangement (TN-RS). Of no effect for `Template.FULL`.
    radius, initial_radius
        Of the neighbourhoods of ranks; in the first trips. With both 0 the ranks stay those of
        the start, and only the modes move.
    initial_trips
        Trips with interpolation.
    repeats
        How often one trip goes up and down.
    patience
        A walk ends after so many trips in a row without gain.
    starts
        Walks: the first one from the start of the search, if it has one, the others from random
        structures. In walk number k a fit has k times `restarts` random starts, so that no
        unlucky fit is remembered for ever.
    absent
        Probability that a bond of the first structure is absent; by default 0.6 for
        `Template.FULL` and 0 otherwise, as published.
    max_degree, max_params, max_memory
        Limits on structures, as in `Limits`; what breaks them is not asked for.
    sweeps, restarts
        Sweeps for each random start of a fit, and most starts.

    Examples
    --------
    >>> import numpy as np
    >>> import tnet
    >>> from structure_search import WeightedError, search
    >>> ring = tnet.tensor_ring((3, 3, 3), (2, 1, 2))
    >>> x = tnet.random_network(ring, rng=np.random.default_rng(0)).to_dense()
    >>> found = search(
    ...     x,
    ...     method=TnALE(max_rank=3, patience=1, starts=1),
    ...     objective=WeightedError(weight=100.0),
    ...     rng=np.random.default_rng(1),
    ... )
    >>> found.best.num_params <= ring.num_params
    True
    """

    template: Template = Template.RING
    max_rank: int = 7
    exchanges: int | None = None
    radius: int = 1
    initial_radius: int = 2
    initial_trips: int = 1
    repeats: int = 1
    patience: int = 8
    starts: int = 4
    absent: float | None = None
    max_degree: int | None = None
    max_params: int | None = None
    max_memory: int | str | None = None
    sweeps: int = 40
    restarts: int = 3

    def __post_init__(self) -> None:
        counts = {
            "radius": 0,
            "initial_radius": 0,
            "initial_trips": 0,
            "repeats": 1,
            "patience": 1,
            "starts": 1,
        }
        check_walk(self, counts=counts)
        if self.exchanges is not None:
            check_rank(self.exchanges, "exchanges", least=0)
        if self.absent is not None:
            check_probability(self.absent, "absent")

    def default_objective(self) -> None:
        """Return None: the objective must be given."""

    def propose(self, problem: Problem) -> Proposals:
        """Yield one step at a time."""
        space, start = space_of(
            problem.modes,
            self.template,
            problem.start,
            highest=self.max_rank,
            arrangement=arrangement_of(self.exchanges),
            limits=limits_of(self),
        )
        scarce = 0.6 if self.template is Template.FULL else 0.0
        absent = scarce if self.absent is None else self.absent
        for number in range(1, self.starts + 1):
            if start is None or number > 1:
                start = space.sample(problem.rng, absent=absent)
            yield from _Walk(self, space, problem, number).run(start)


class _Walk:
    """The walk through a space from one start."""

    def __init__(self, options: TnALE, space: SearchSpace, problem: Problem, number: int) -> None:
        self._options, self._space, self._problem = options, space, problem
        self._number = number
        self._trips = 0

    def run(self, start: State) -> Proposals:
        """Yield the trips with interpolation, then those without."""
        options = self._options
        if not self._space.variables:  # a single mode
            yield [Proposal(structure=self._space.structure(start), label="the only structure")]
            return
        centre = yield from self._trips_from(
            start, options.initial_radius, most=options.initial_trips, interpolate=True
        )
        yield from self._trips_from(centre, options.radius, most=None, interpolate=False)

    def _trips_from(
        self, centre: State, radius: int, *, most: int | None, interpolate: bool
    ) -> Generator[Sequence[Proposal], Sequence[Answer], State]:
        """Walk until `patience` trips in a row gained nothing, or `most` are done."""
        now = Point(centre, UNKNOWN)
        reached: tuple[float, ...] = (math.inf,)
        done = fruitless = 0
        while done != most and fruitless < self._options.patience:
            self._trips, done = self._trips + 1, done + 1
            trip = yield from self._trip(centre, now, radius, interpolate)
            now, found = trip.end, self._order(trip.end)
            fruitless = 0 if found < reached else fruitless + 1
            if found <= reached:
                centre, reached = now.state, found
            if trip.early or found > reached:
                other = self._perturbed(centre, radius)
                if other is None:
                    break
                now = Point(other, UNKNOWN)
        return centre

    def _trip(self, centre: State, now: Point, radius: int, interpolate: bool) -> Round:
        returned = 0
        for variable in round_trip(len(self._space.variables), self._options.repeats):
            near = self._values(centre, variable, radius, now.state)
            ends = _three(near) if interpolate and self._space.is_rank(variable) else near
            now = yield from self._step(now, variable, near, ends)
            returned += now.state == centre
            if returned >= len(self._space.variables):
                return Trip(now, early=True)
        return Trip(now, early=False)

    def _values(self, centre: State, variable: int, radius: int, now: State) -> tuple[Value, ...]:
        """Return the values to choose from, the present one always among them."""
        near = self._space.values(centre, variable, radius)
        most = self._options.exchanges
        if self._space.is_rank(variable) or most is None or most >= len(near) - 1:
            return near
        drawn = self._problem.rng.choice(len(near) - 1, size=most, replace=False)
        some = [near[0], *(near[k + 1] for k in sorted(map(int, drawn)))]
        present = self._space.value(now, variable)
        return tuple(some) if present in some else (present, *some)

    def _step(
        self, now: Point, variable: int, near: Sequence[Value], asked: Sequence[Value]
    ) -> Step:
        """Evaluate the values `asked`, interpolate to those `near`, and go to the best."""
        space = self._space
        present = space.value(now.state, variable)
        states = {value: space.changed(now.state, variable, value) for value in near}
        order = sorted(asked, key=lambda value: value != present)  # stable: the present one first
        order = [value for value in order if space.allows(states[value])]
        whole = len(asked) == len(near)
        first = 1 if whole and order[:1] == [present] and now.error == UNKNOWN else len(order)
        errors: dict[Value, float] = {}
        for part in (order[:first], order[first:]):
            if part:
                than = self._candidate(now) if whole and now.error < UNKNOWN else None
                answers = yield [self._proposal(states[v], variable, than) for v in part]
                errors |= {v: a.error for v, a in zip(part, answers, strict=True)}
                now = Point(now.state, min(now.error, errors.get(present, UNKNOWN)))
        believed = errors if whole else _interpolated(near, errors)
        believed[present] = min(now.error, believed.get(present, UNKNOWN))
        points = [Point(states[value], believed.get(value, UNKNOWN)) for value in near]
        points.sort(key=lambda point: point.state != now.state)  # of equals the present one wins
        return min((p for p in points if space.allows(p.state)), key=self._order)

    def _proposal(self, state: State, variable: int, than: Candidate | None) -> Proposal:
        structure = self._space.structure(state)
        name = "modes" if variable == len(self._space.bonds) else self._space.bonds[variable]
        return Proposal(
            structure=structure,
            sweeps=self._options.sweeps,
            restarts=self._options.restarts * self._number,
            useful=self._problem.objective.useful_error(structure, than),
            label=f"start {self._number}, trip {self._trips}, {name}",
        )

    def _perturbed(self, centre: State, radius: int) -> State | None:
        """Return the centre with all variables but the first drawn anew; None if it cannot be."""
        rng, space = self._problem.rng, self._space
        near = {v: space.values(centre, v, radius) for v in space.variables[1:]}
        if all(len(values) == 1 for values in near.values()):
            return None
        for _ in range(DRAWS):
            state = centre
            for variable, values in near.items():
                state = space.changed(state, variable, _one_of(values, rng))
            if state != centre and space.allows(state):
                return state
        return None

    def _candidate(self, point: Point) -> Candidate:
        return candidate(self._space.structure(point.state), point.error)

    def _order(self, point: Point) -> tuple[float, ...]:
        if point.error == UNKNOWN:
            return (math.inf,)
        return self._problem.objective.order(self._candidate(point))


def round_trip(variables: int, repeats: int = 1) -> tuple[int, ...]:
    """Return the variables in the order of one round trip.

    Examples
    --------
    >>> round_trip(4)
    (0, 1, 2, 3, 2, 1, 0)
    """
    around = (*range(variables), *range(variables - 2, 0, -1))
    return (*around * repeats, *range(min(variables, 1)))


def _three(values: tuple[Value, ...]) -> tuple[Value, ...]:
    """Return the lowest, the middle and the highest value."""
    return values if len(values) <= 3 else (values[0], values[len(values) // 2], values[-1])


def _interpolated(near: Sequence[Value], errors: dict[Value, float]) -> dict[Value, float]:
    """Return an error for every rank near: squares are linear between those evaluated.

    Next to one that was not evaluated nothing is known.
    """
    ranks = [value for value in near if isinstance(value, int)]
    ends = [value for value in _three(tuple(near)) if isinstance(value, int)]
    squares = [errors.get(end, UNKNOWN) ** 2 for end in ends]
    found: dict[Value, float] = {}
    for rank in ranks:
        around = np.searchsorted(ends, rank)
        if ends[around] == rank:
            found[rank] = errors.get(rank, UNKNOWN)
            continue
        share = (rank - ends[around - 1]) / (ends[around] - ends[around - 1])
        found[rank] = math.sqrt((1.0 - share) * squares[around - 1] + share * squares[around])
    return found


def _one_of(values: Sequence[Value], rng: np.random.Generator) -> Value:
    return values[int(rng.integers(len(values)))]
