"""The steps by which a cost model is measured: random contractions of two tensors, of all kinds.

Each is lowered by the planner with rates that remember what they were multiplied by, so that a
step comes with the counts of every rate in its estimate, whatever kernels the lowering knows.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from typing import Any, NamedTuple

from contraction.cost import CostModel
from contraction.program import Program, compile_program
from contraction.spec import Canonical

RATES = tuple(field.name for field in fields(CostModel))
MOST_WORK = 1e8  # multiply-adds of a step
MOST_ENTRIES = 2e6  # of an operand or a result
JITTER = 0.8  # of the logarithm of a rate, so that other ways than the best are measured too
KINDS = {  # groups of labels, and how often such steps are drawn
    "mnk": 4,
    "bmnk": 4,
    "mk": 2,
    "bmk": 3,
    "k": 1,
    "bk": 2,
    "mn": 1,
    "bm": 2,
    "bmn": 2,
    "b": 1,
}


class Trial(NamedTuple):
    """A step to be timed."""

    canonical: Canonical
    program: Program
    counts: tuple[float, ...]  # by which each of `RATES` enters the estimate
    constant: float  # seconds that depend on no rate


class Traced(float):
    """A number of seconds that knows by how much each rate entered it.

    Examples
    --------
    >>> call, entry = Traced(2.0, {"call": 1.0}), Traced(0.5, {"entry": 1.0})
    >>> sum_ = call + 10 * entry
    >>> float(sum_), sum_.counts
    (7.0, {'call': 1.0, 'entry': 10.0})
    """

    counts: Mapping[str, float]

    def __new__(cls, value: float, counts: Mapping[str, float]) -> Traced:
        """Return `value` with its counts."""
        made = super().__new__(cls, value)
        made.counts = counts
        return made

    def _plus(self, other: float, sign: float) -> Traced:
        counts = dict(self.counts)
        for name, count in (
            other.counts if isinstance(other, Traced) else {"": float(other)} if other else {}
        ).items():
            counts[name] = counts.get(name, 0.0) + sign * count
        return Traced(float(self) + sign * float(other), counts)

    def __add__(self, other: float) -> Traced:
        return self._plus(other, 1.0)

    __radd__ = __add__

    def __sub__(self, other: float) -> Traced:
        return self._plus(other, -1.0)

    def __mul__(self, factor: float) -> Traced:
        factor = float(factor)
        return Traced(float(self) * factor, {x: n * factor for x, n in self.counts.items()})

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> Traced:
        return self * (1.0 / float(divisor))


def traced(model: CostModel) -> CostModel:
    """Return the model with rates that are traced.

    Examples
    --------
    >>> from contraction.cost import CPU
    >>> seconds = traced(CPU).matmul(1, 4, 5, 6)
    >>> float(seconds) == CPU.matmul(1, 4, 5, 6), seconds.counts["gemm"]
    (True, 120.0)
    """
    rates: dict[str, Any] = {x: Traced(getattr(model, x), {x: 1.0}) for x in RATES}
    return replace(model, **rates)


def counted_program(canonical: Canonical, model: CostModel) -> Trial:
    """Return the program of a contraction of two inputs, with the counts of the rates.

    Examples
    --------
    >>> from contraction.cost import CPU
    >>> trial = counted_program(Canonical(((0, 1), (1, 2)), (0, 2), (4, 6, 5)), CPU)
    >>> trial.counts[RATES.index("gemm")]
    120.0
    """
    program = compile_program(canonical, ((0, 1),), traced(model))
    seconds = sum(step.seconds for step in program.steps)
    found = seconds.counts if isinstance(seconds, Traced) else {"": float(seconds)}
    counts = tuple(found.get(name, 0.0) for name in RATES)
    return Trial(canonical, program, counts, found.get("", 0.0))


def draw_trials(
    model: CostModel, *, seed: int = 0, most_work: float = MOST_WORK, jitter: float = JITTER
) -> Iterator[Trial]:
    """Yield random steps without end; any first part of them holds all kinds.

    Parameters
    ----------
    model
        By which they are lowered, every second one with its rates changed at random.
    seed
        The same seed yields the same steps.
    most_work
        Multiply-adds of the largest.
    jitter
        Standard deviation of the logarithm of the changed rates; 0 for none.

    Examples
    --------
    >>> from contraction.cost import CPU
    >>> len(next(draw_trials(CPU)).canonical.inputs)
    2
    """
    rng, kinds, odds = random.Random(seed), tuple(KINDS), tuple(KINDS.values())
    changed = False
    while True:
        canonical = _draw(rng, rng.choices(kinds, odds)[0], most_work)
        lowered_by = model
        if changed and jitter:
            rates = {x: getattr(model, x) * math.exp(rng.gauss(0.0, jitter)) for x in RATES}
            lowered_by = replace(model, **rates)
        changed = not changed
        yield counted_program(canonical, lowered_by)


def _draw(rng: random.Random, groups: str, most_work: float) -> Canonical:
    while True:
        sizes: list[int] = []
        labels: dict[str, list[int]] = {group: [] for group in "bmnk"}
        shares = [rng.random() for _ in groups]
        work = rng.uniform(0.0, math.log(most_work))
        for group, share in zip(groups, shares, strict=True):
            volume = math.exp(work * share / sum(shares))
            for size in _split(rng, volume):
                labels[group].append(len(sizes))
                sizes.append(size)
        left = labels["b"] + labels["m"] + labels["k"]
        right = labels["b"] + labels["n"] + labels["k"]
        output = labels["b"] + labels["m"] + labels["n"]
        if rng.random() < 0.7:
            for order in (left, right, output):
                rng.shuffle(order)
        if rng.random() < 0.5:
            left, right = right, left
        volumes = [math.prod(sizes[x] for x in held) for held in (left, right, output)]
        if left and right and max(volumes) <= MOST_ENTRIES and math.prod(sizes) <= most_work:
            return _canonical(left, right, output, sizes)


def _split(rng: random.Random, volume: float) -> list[int]:
    """Return the sizes of one to three labels with about this product, often powers of two."""
    shares = [rng.random() + 0.2 for _ in range(rng.choice((1, 1, 2, 3)))]
    wanted = [volume ** (share / sum(shares)) for share in shares]
    if rng.random() < 0.5:
        return [2 ** max(1, round(math.log2(size))) for size in wanted]
    return [max(2, round(size)) for size in wanted]


def _canonical(left: list[int], right: list[int], output: list[int], sizes: list[int]) -> Canonical:
    number = {x: i for i, x in enumerate(dict.fromkeys(left + right))}
    inputs = tuple(tuple(number[x] for x in held) for held in (left, right))
    return Canonical(inputs, tuple(number[x] for x in output), tuple(sizes[x] for x in number))
