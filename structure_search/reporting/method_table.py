"""Methods beside one another: medians and spreads over seeds, and who is better, honestly."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from structure_search.journal import RunRecord
from structure_search.objectives import AbstractObjective
from structure_search.reporting.figures import best_of
from structure_search.reporting.method_runs import RunJob, cpu_seconds
from structure_search.results import Candidate, Source

ALIKE = 0.05  # a p-value above which two methods are not told apart
EXACT = 20_000  # permutations up to which all are tried
NEAR = 1.05  # times the best value found by anyone: the target of the curves
PAIRS = 2  # seeds of each, below which nothing can be said


@dataclass(frozen=True, kw_only=True)
class SeedRow:
    """What one run of a method found.

    Attributes
    ----------
    method, seed
        Which run.
    num_params, error, compression, met
        Of its best network; `met` tells whether the goal is.
    value
        What the objective makes small: parameters within a tolerance, the error within a budget,
        or the weighted sum. Infinite where the goal is missed.
    requested, fitted
        Evaluations asked for, and those that cost a fit.
    seconds, cpu
        Wall and processor time; `cpu` is None where a kill has lost some of it.
    outcome
        How it ended.
    steps
        (evaluations so far, value) wherever the value fell.
    """

    method: str
    seed: int
    num_params: int
    error: float
    compression: float
    met: bool
    value: float
    requested: int
    fitted: int
    seconds: float
    cpu: float | None
    outcome: str
    steps: tuple[tuple[int, float], ...]

    @property
    def key(self) -> tuple[float, float]:
        """Smaller is better; runs of equal value are equally good, unless the goal is missed."""
        return (self.value, 0.0 if math.isfinite(self.value) else self.error)


def value_of(goal: AbstractObjective, candidate: Candidate) -> float:
    """Return what an objective makes small; infinite where its condition is not met.

    Examples
    --------
    >>> import tnet
    >>> from structure_search import MaxParams, RelativeError
    >>> c = Candidate(structure=tnet.tensor_train((4, 4), 1), num_params=8, error=0.1, index=0)
    >>> value_of(RelativeError(tol=0.2), c), value_of(MaxParams(params=8), c)
    (8.0, 0.1)
    """
    order = goal.order(candidate)
    if len(order) == 2:  # (value, parameters): an objective without a condition
        return order[0]
    return order[1] if order[0] == 0.0 else math.inf


def seed_row(job: RunJob, run: RunRecord) -> SeedRow:
    """Return what a run found."""
    best = best_of(run)
    assert best is not None
    goal = job.objective
    found = Candidate(
        structure=best.structure, num_params=best.num_params, error=best.error, index=best.index
    )
    steps: list[tuple[int, float]] = []
    for e in run.evaluations:
        if math.isfinite(e.error):
            seen = Candidate(
                structure=e.structure, num_params=e.num_params, error=e.error, index=e.index
            )
            value = value_of(goal, seen)
            if math.isfinite(value) and (not steps or value < steps[-1][1]):
                steps.append((e.index + 1, value))
    return SeedRow(
        method=job.name,
        seed=job.seed,
        num_params=best.num_params,
        error=best.error,
        compression=found.compression,
        met=goal.met(found),
        value=value_of(goal, found),
        requested=len(run.evaluations),
        fitted=sum(e.source in (Source.FIT, Source.EXACT) for e in run.evaluations),
        seconds=run.elapsed,
        cpu=cpu_seconds(job.folder),
        outcome=run.outcome.name if run.outcome else "STOPPED",
        steps=tuple(steps),
    )


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The median of a figure over seeds, and its least and greatest."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of some values."""
        return cls(median=statistics.median(values), least=min(values), greatest=max(values))

    def text(self, form: str = ".4g") -> str:
        """Return it for people.

        Examples
        --------
        >>> Spread.of([3, 1, 2]).text(), Spread.of([5, 5]).text()
        ('2 [1, 3]', '5')
        """
        parts = [_number(v, form) for v in (self.median, self.least, self.greatest)]
        if parts[1] == parts[2]:
            return parts[0]
        return f"{parts[0]} [{parts[1]}, {parts[2]}]"


def _number(value: float, form: str) -> str:
    if not math.isfinite(value):
        return "missed"
    if form == "d":
        return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"
    return f"{value:{form}}"


@dataclass(frozen=True, kw_only=True)
class MethodRow:
    """One method over its seeds; `better` is its share of wins over all pairs with others."""

    method: str
    seeds: int
    met: int
    better: float
    spreads: Mapping[str, Spread]


FIGURES = ("num_params", "error", "compression", "value", "requested", "fitted", "seconds", "cpu")


def method_rows(rows: Sequence[SeedRow]) -> list[MethodRow]:
    """Return a row for each method, the best first: by the share of pairs it wins."""
    groups = by_method(rows)
    made = []
    for name, mine in groups.items():
        others = [row for row in rows if row.method != name]
        figures = {}
        for figure in FIGURES:
            values = [getattr(row, figure) for row in mine]
            if all(value is not None for value in values):
                figures[figure] = Spread.of([float(value) for value in values])
        made.append(
            MethodRow(
                method=name,
                seeds=len(mine),
                met=sum(row.met for row in mine),
                better=win_share(mine, others) if others else 1.0,
                spreads=figures,
            )
        )
    return sorted(made, key=lambda row: (-row.better, row.spreads["fitted"].median, row.method))


def by_method(rows: Sequence[SeedRow]) -> dict[str, list[SeedRow]]:
    """Return method -> its rows."""
    groups: dict[str, list[SeedRow]] = {}
    for row in rows:
        groups.setdefault(row.method, []).append(row)
    return groups


def win_share(mine: Sequence[SeedRow], others: Sequence[SeedRow]) -> float:
    """Return the share of pairs in which mine is better; equal ones count half."""
    won = sum(
        1.0 if a.key < b.key else 0.5 if a.key == b.key else 0.0
        for a, b in itertools.product(mine, others)
    )
    return won / (len(mine) * len(others))


def p_value(a: Sequence[SeedRow], b: Sequence[SeedRow]) -> float:
    """Return how likely a share of wins this far from a half is, were both methods alike.

    A permutation test on the runs: exact for up to 20,000 divisions of them, else by as many
    drawn at random (with a fixed seed).
    """
    keys = sorted({row.key for row in (*a, *b)})
    place = {key: k for k, key in enumerate(keys)}
    ranks = np.array([place[row.key] for row in (*a, *b)])
    size = len(a)
    wins = np.sign(ranks[None, :] - ranks[:, None]) / 2.0  # +1/2 where the row is better

    def distance(chosen: Any) -> float:
        inside = np.zeros(len(ranks), bool)
        inside[list(chosen)] = True
        return abs(float(wins[np.ix_(inside, ~inside)].sum()))

    seen = distance(range(size)) - 1e-9
    if math.comb(len(ranks), size) <= EXACT:
        every = [distance(c) for c in itertools.combinations(range(len(ranks)), size)]
    else:
        rng = np.random.default_rng(0)
        every = [distance(rng.permutation(len(ranks))[:size]) for _ in range(EXACT // 10)]
        every.append(seen + 1e-9)
    return float(np.mean([d >= seen for d in every]))


def verdict(rows: Sequence[SeedRow], ranked: Sequence[MethodRow]) -> list[str]:
    """Return, in words, which of the neighbouring methods differ beyond the luck of seeds."""
    groups = by_method(rows)
    lines = []
    for first, second in itertools.pairwise(ranked):
        a, b = groups[first.method], groups[second.method]
        share = win_share(a, b)
        if len(a) < PAIRS or len(b) < PAIRS:
            lines.append(
                f"{first.method} before {second.method}: with one seed each this is luck as well"
            )
            continue
        p = p_value(a, b)
        if sorted(row.key for row in a) == sorted(row.key for row in b):
            lines.append(f"{first.method} and {second.method} are equal on these data")
        elif p > ALIKE and 2.0 / math.comb(len(a) + len(b), len(a)) > ALIKE:
            lines.append(
                f"{first.method} before {second.method} in {100 * share:.0f} % of pairs; "
                f"{len(a)} and {len(b)} seeds are too few to tell them apart"
            )
        elif p > ALIKE:
            lines.append(
                f"{first.method} and {second.method} are not told apart by {len(a)} and {len(b)} "
                f"seeds (better in {100 * share:.0f} % of pairs, p = {p:.2f})"
            )
        else:
            lines.append(
                f"{first.method} beats {second.method} in {100 * share:.0f} % of pairs "
                f"(p = {p:.3f})"
            )
    return lines


def target_of(rows: Sequence[SeedRow]) -> float | None:
    """Return the value that counts as good: within 5 % of the best that anyone found."""
    best = min((row.value for row in rows), default=math.inf)
    return NEAR * best if math.isfinite(best) else None


def evaluations_to(row: SeedRow, target: float) -> int | None:
    """Return after how many evaluations a run had the target; None if it never did."""
    return next((count for count, value in row.steps if value <= target), None)
