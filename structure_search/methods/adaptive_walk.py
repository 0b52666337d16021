"""A walk over all bonds: several raised, lowered and exchanged at once, the best tried first."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from typing import TypeAlias, final

from structure_search.methods.adaptive_moves import (
    Change,
    Outlook,
    exchanging,
    growing,
    outlook,
)
from structure_search.methods.base import Answer, Problem, Proposal
from structure_search.methods.growth import Growth, Limits
from structure_search.results import as_candidate

Stage: TypeAlias = Generator[Sequence[Proposal], Sequence[Answer], None]
Step: TypeAlias = Generator[Sequence[Proposal], Sequence[Answer], bool]

WIDEST = 4  # bonds raised in one step
BATCH = 4  # changes tried side by side
CHEAP = 1e8  # operations of a sweep below which time is no matter
DEARNESS = 0.33  # power of the operations that a gain is divided by
VAIN = 6  # batches in a row without gain after which the walk is over
TRIAL_SWEEPS, POLISH_SWEEPS = 4, 9
LONGER = 3  # times the sweeps of a trial from a network that sweeps help no more
STEP_SWEEPS = 24  # what a step takes, in sweeps: its fits, and looking for them
FORGOTTEN = 3  # steps after which sweeping on is tried again
RECOVERY = 0.4  # share of a loss that is believed to be left after a fit, to begin with
GAIN = 1e-3  # relative gain of a polish that is worth another round
MEMORY = 0.7  # weight of what was believed of `recovery` against what was just seen


@final
class Walk:
    """A walk from one network, downhill in the objective.

    In each step the worth of every bond is worked out: what one more value would gain with all
    else held fixed, what one less would lose, times the share that fits were seen not to win
    back. Growth by the best one, two, four, ... bonds and the best exchanges are fitted for a
    few sweeps from the present network, side by side; the best answer is the next network. When
    nothing is gained any more the network is swept on, and the walk ends where that is in vain
    too.

    Parameters
    ----------
    problem
        What is worked on.
    limits
        What structures may grow to.
    """

    def __init__(self, problem: Problem, limits: Limits) -> None:
        self._problem, self._limits = problem, limits
        self._recovery = RECOVERY
        self._size = 1  # bonds raised in the last good step
        self._polished = math.inf  # what sweeping on gained the last time
        self._steps = 0
        self._failed: set[str] = set()

    def run(self, start: Answer) -> Stage:
        """Yield the steps from an answer, until a full round brings no gain."""
        self._now = start
        vain, swept = 0, False
        while vain < VAIN:
            before = self._order(self._now)[0]
            better = yield from self._step(TRIAL_SWEEPS * (LONGER if swept else 1), fresh=not vain)
            if better:
                vain, swept = 0, False
                yield from self._sweep_on(before - self._order(self._now)[0])
            elif not swept:
                swept = not (yield from self._polish())  # as long as that helps, look again
                vain = 0
            elif better is None:
                return
            else:
                vain += 1

    def _sweep_on(self, gained: float) -> Stage:
        """Sweep as long as that gains more for its time than the last step did."""
        self._steps += 1
        if not self._steps % FORGOTTEN:
            self._polished = math.inf
        while self._polished > gained * POLISH_SWEEPS / STEP_SWEEPS:
            before = self._order(self._now)[0]
            yield from self._polish()
            self._polished = before - self._order(self._now)[0]

    def _order(self, answer: Answer) -> tuple[float, ...]:
        if not math.isfinite(answer.error):
            return (math.inf,)
        return self._problem.objective.order(as_candidate(answer.evaluation))

    def _step(
        self, sweeps: int, *, fresh: bool
    ) -> Generator[Sequence[Proposal], Sequence[Answer], bool | None]:
        """Try a batch of changes; None if there is none left."""
        net = self._now.network
        if net is None:
            return None
        if fresh:
            self._view = outlook(self._problem, net, self._now.error, self._limits, self._recovery)
        changes = self._promising(self._view)
        if not changes:
            return None
        answers = yield [self._proposal(change, sweeps) for change in changes]
        self._failed.update(change.key for change in changes)
        found, change = min(
            zip(answers, changes, strict=True),
            key=lambda pair: (self._order(pair[0]), pair[0].evaluation.index),
        )
        self._learn(answers, changes)
        if not self._order(found) < self._order(self._now):
            return False
        self._now = found
        if not change.lowered:
            self._size = len(change.raised)
        return True

    def _promising(self, view: Outlook) -> list[Change]:
        """Return the changes to try next: growth of several sizes, then what promises most."""
        goal = self._problem.objective
        now = self._order(self._now)
        single = [c for g in view.raises for c in growing(view, [g], [1])]
        good = [c for c in single if goal.order(view.expected(c)) < now]
        good.sort(key=lambda c: (-self._worth(c, now), c.label))
        order: list[Growth] = [c.raised[0] for c in good]
        sizes = sorted({max(1, self._size // 2), self._size, min(WIDEST, 2 * self._size)})
        lowers = sorted(view.lowers, key=lambda low: (low.loss, low.bond))
        chosen = self._new(growing(view, order, sizes))
        rest = self._new([*single, *exchanging(view, list(view.raises), lowers)])
        rest.sort(key=lambda c: (goal.order(view.expected(c)), c.label))
        known = {c.key for c in chosen}
        return [*chosen, *(c for c in rest if c.key not in known)][:BATCH]

    def _worth(self, change: Change, now: tuple[float, ...]) -> float:
        """Return the gain that a change promises, less where the fit will take long."""
        gain = now[0] - self._problem.objective.order(self._view.expected(change))[0]
        flops = self._problem.task.planned_flops(change.structure)
        return float(gain / max(flops, CHEAP) ** DEARNESS)

    def _new(self, changes: object) -> list[Change]:
        found: dict[str, Change] = {}
        for change in changes:  # type: ignore[attr-defined]
            if change.key not in self._failed and self._limits.keeps(change.structure):
                found.setdefault(change.key, change)
        return list(found.values())

    def _proposal(self, change: Change, sweeps: int) -> Proposal:
        net = self._view.net
        return Proposal(
            structure=change.structure,
            start=change.start(net, self._problem.rng),
            sweeps=sweeps,
            before=self._now.effort,
            useful=self._problem.objective.useful_error(
                change.structure, as_candidate(self._now.evaluation)
            ),
            parent=self._now.request,
            label=change.label,
        )

    def _learn(self, answers: Sequence[Answer], changes: Sequence[Change]) -> None:
        """Compare what lowering cost with what was believed."""
        for answer, change in zip(answers, changes, strict=True):
            loss = sum(low.loss for low in change.lowered)
            if loss > 0.0 and math.isfinite(answer.error):
                gain = sum(g.gain for g in change.raised) / (self._problem.norm**2 or 1.0)
                share = (answer.error**2 - self._view.error**2 + gain) / loss
                seen = min(1.0, max(0.02, share))
                self._recovery = MEMORY * self._recovery + (1.0 - MEMORY) * seen

    def _polish(self) -> Step:
        """Sweep on; tell whether that was worth while."""
        before = self._order(self._now)
        (answer,) = yield [
            Proposal(
                structure=self._now.evaluation.structure,
                start=self._now.network,
                sweeps=POLISH_SWEEPS,
                before=self._now.effort,
                parent=self._now.request,
                label="polish",
            )
        ]
        after = self._order(answer)
        if not after < before:
            return False
        self._now = answer
        return before[0] - after[0] > GAIN * abs(before[0])
