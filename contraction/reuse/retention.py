"""Retention: which intermediates to keep between the way up and the way down, and which to redo.

A value that is not kept is freed after its use going up. When the way down reaches its parent
it is made again, together with everything below it that is gone too, and these stay until they
have been used: every value is made at most twice (two retention intervals, Bartan et al.,
arXiv:2304.14463). On a tree the best choice is a dynamic programme: a branch matters to the
rest only by a few amounts of memory and by its extra work, so that each branch keeps the
choices that no other beats in all of them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from contraction.errors import MemoryBudgetError
from contraction.reuse.messages import Messages
from contraction.reuse.schedules import (
    Schedule,
    always_kept,
    full_schedule,
    needed_values,
    schedule_keeping,
)

Table: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
LEVELS = 64  # levels of memory that are told apart where choices are too many
MOST = 64  # choices of a branch that are kept in each mode
EXACT = 40  # inputs above which a refusal tells the entries with everything kept
ALL = 400  # choices of a branch up to which nothing is thrown away
KEPT, AGAIN, GONE = 0, 1, 2  # what becomes of a value: kept, made again, needed no more
COLUMNS = 9
(MODE, FROZEN, UP, REMADE, BELOW, DOWN, WORK, FIRST, SECOND) = range(COLUMNS)
# FROZEN: entries of the branch that stay between the ways; UP: most entries alive on its way up;
# REMADE: most while it is made again; BELOW: what is there under it afterwards; DOWN: most on
# its way down; WORK: multiply-adds done twice; FIRST, SECOND: the rows chosen below


_PLACES = (2.0 * LEVELS) ** np.arange(5)[::-1]  # five levels as one number, exactly


class RefusedError(MemoryBudgetError):
    """A budget is too small; `least` would do, in entries."""

    least = 0


class Budget(NamedTuple):
    """How much may be alive at once."""

    size: int  # in entries
    beside: int = 0  # entries of it that are taken by other things all the time
    itemsize: int = 1  # bytes of an entry

    def besides(self, entries: int) -> Budget:
        """Return the budget when that many more entries are taken."""
        return self._replace(beside=self.beside + entries)

    def refusal(self, least: int) -> RefusedError:
        """Return the error that tells the smallest budget that would do, in entries and bytes."""
        refused = RefusedError(
            f"the derivatives need at least {least:,} entries at once ({least * self.itemsize:,} "
            f"bytes), whatever is made again or sliced, but `memory` allows {self.size:,}; "
            "nothing was allocated. Allow more, or ask for fewer `leaves`."
        )
        refused.least = least
        return refused


def within_memory(messages: Messages, results: Collection[int], budget: Budget) -> Schedule:
    """Return the schedule with the least extra work that stays within a budget.

    The messages must have been built with a cotangent. Copies of inputs count throughout.

    Raises
    ------
    MemoryBudgetError
        There is none.

    Cost: for each step of the tree some thousand combinations at most.
    """
    base = sum(messages.sizes[: messages.inputs]) + budget.beside
    choice = _Branches(messages, results, budget.size - base).best()
    if choice is None:
        if messages.inputs > EXACT:
            raise budget.refusal(full_schedule(messages, results).peak_size + budget.beside)
        every = _Branches(messages, results, None)
        if base + every.least() > budget.size:
            raise budget.refusal(base + every.least())
        choice = every.thriftiest()  # one that was thrown away among too many
    return schedule_keeping(messages, results, choice)


class _Child(NamedTuple):
    """One of the two values under a step, with all combinations of choices laid out."""

    rows: Table
    size: float
    inner: bool  # not an input
    made: bool  # on the way up
    wanted: bool  # its value, on the way down
    asked: bool  # its derivative
    message: float  # entries of its derivative
    copies: float  # entries that the step to its derivative makes on its way
    results: float  # entries of all derivatives by the inputs below it

    @property
    def kept(self) -> Any:
        return self.rows[:, MODE] == KEPT

    @property
    def again(self) -> Any:
        return self.rows[:, MODE] == AGAIN

    @property
    def after_up(self) -> Any:
        """Entries of the branch once its value has been made going up."""
        return self.rows[:, FROZEN] + self.size * (self.made & ~self.kept)

    @property
    def there(self) -> Any:
        """Entries of the branch once its value is there on the way down."""
        return np.where(self.again, self.size + self.rows[:, BELOW], self.rows[:, FROZEN])


class _Branches:
    """The dynamic programme, from the inputs to the root."""

    def __init__(self, messages: Messages, results: Collection[int], limit: int | None) -> None:
        self.messages, self.limit = messages, limit
        self.first, self.end = messages.inputs + 1, 2 * messages.inputs
        self.needed = needed_values(messages, results)
        self.forced = always_kept(messages, results, self.needed)
        self.valued = messages.root in results and messages.root >= self.first
        self.tables: list[Table] = [self._input(v) for v in range(messages.inputs)]
        self.tables.append(np.zeros((0, COLUMNS)))  # the cotangent
        self.results = [self._message(v) for v in range(messages.inputs)] + [0.0]
        for value in range(self.first, self.end):
            self.tables.append(self._table(value))
            i, j = messages.pairs[value - self.first]
            self.results.append(self.results[i] + self.results[j])

    def best(self) -> set[int] | None:
        """Return the values to keep, or None if nothing fits."""
        totals = self._totals()
        assert self.limit is not None
        fits = np.flatnonzero(totals <= self.limit)
        if not len(fits):
            return None
        work = self.tables[-1][fits, WORK]
        least = fits[work == work.min()]
        return self._kept(int(least[np.argmin(totals[least])]))

    def least(self) -> int:
        """Return the fewest entries alive at once that any choice reaches."""
        return int(self._totals().min())

    def thriftiest(self) -> set[int]:
        """Return the values to keep for the fewest entries alive at once."""
        return self._kept(int(np.argmin(self._totals())))

    def _totals(self) -> Any:
        table = self.tables[-1]
        held = self._size(self.messages.root) * self.valued
        end = held + self.results[-1]
        end += sum(finish.size for finish in self.messages.finishes.values())
        return np.maximum(np.maximum(table[:, UP], table[:, DOWN] + held), end)

    def _kept(self, row: int) -> set[int]:
        kept, stack = set(), [(self.messages.root, row)]
        while stack:
            value, row = stack.pop()
            if value < self.first:
                continue
            chosen = self.tables[value][row]
            if chosen[MODE] == KEPT:
                kept.add(value)
            children = self.messages.pairs[value - self.first]
            stack += zip(children, map(int, chosen[[FIRST, SECOND]]), strict=True)
        return kept

    def _size(self, value: int) -> float:
        return float(self._clipped(self.messages.sizes[value]))

    def _clipped(self, entries: int) -> int:
        """Return a number of entries, cut where it is too large anyway."""
        return min(entries, 1 << 60 if self.limit is None else max(self.limit, 0) + 1)

    def _asked(self, value: int) -> bool:
        return self.messages.derivatives.get(value, -1) in self.needed

    def _message(self, value: int) -> float:
        made = self.messages.derivatives.get(value, -1)
        return self._size(made) if made >= self.end and made in self.needed else 0.0

    def _copies(self, value: int) -> float:
        made = self.messages.derivatives.get(value, -1)
        if made < self.end or made not in self.needed:
            return 0.0
        return float(self._clipped(self.messages.beside[made - self.first]))

    def _input(self, value: int) -> Table:
        row = np.zeros((1, COLUMNS))
        row[0, MODE], row[0, DOWN] = KEPT, self._message(value)
        return row

    def _table(self, value: int) -> Table:
        """Return the choices for the branch under a value, at most some of each mode."""
        pair = self.messages.pairs[value - self.first]
        left, right = (self.tables[v] for v in pair)
        picks = np.indices((len(left), len(right))).reshape(2, -1)
        children = [
            self._child(v, other, self.tables[v][pick])
            for v, other, pick in ((pair[0], pair[1], picks[0]), (pair[1], pair[0], picks[1]))
        ]
        found = []
        for mode in self._modes(value):
            rows, allowed = self._combined(value, mode, children)
            rows[:, FIRST], rows[:, SECOND] = picks
            rows = rows[allowed]
            if self.limit is not None:
                rows = rows[(rows[:, [UP, REMADE, DOWN]] <= self.limit).all(1)]
            found.append(_unbeaten(rows, self.limit))
        return np.concatenate(found)

    def _child(self, value: int, other: int, rows: Table) -> _Child:
        return _Child(
            rows,
            self._size(value) if value >= self.first else 0.0,
            value >= self.first,
            value in self.needed and value >= self.first,
            self._asked(other) and value >= self.first,
            self._asked(value),
            self._message(value),
            self._copies(value),
            self.results[value],
        )

    def _modes(self, value: int) -> tuple[int, ...]:
        if value not in self.needed:
            return (GONE,)
        return (KEPT,) if value in self.forced else (KEPT, AGAIN, GONE)

    def _combined(self, value: int, mode: int, children: list[_Child]) -> tuple[Table, Any]:
        """Return all combinations of choices below for one mode, and which are allowed."""
        left, right = children
        pair = self.messages.pairs[value - self.first]
        early, late = (left, right) if pair[0] < pair[1] else (right, left)
        step = self.messages.steps[value - self.first]
        size, copies = (
            self._size(value),
            float(self._clipped(self.messages.beside[value - self.first])),
        )
        made = value in self.needed
        rows = np.zeros_like(left.rows)
        allowed = np.ones(len(rows), bool)
        for child in children:
            if child.inner:  # a value is there, or made again, where it is used
                used = mode == AGAIN or child.wanted
                gone = child.rows[:, MODE] == GONE
                allowed &= ~gone if used else gone
        frozen = left.rows[:, FROZEN] + right.rows[:, FROZEN]
        up = np.maximum(early.rows[:, UP], early.after_up + late.rows[:, UP])
        if made:
            up = np.maximum(up, early.after_up + late.after_up + copies + size)
        rows[:, MODE], rows[:, UP] = mode, up
        rows[:, FROZEN] = frozen + size * (mode == KEPT)
        rows[:, WORK] = left.rows[:, WORK] + right.rows[:, WORK]
        amounts = [left.rows[:, FROZEN], right.rows[:, FROZEN]]
        if mode == AGAIN:
            rows[:, REMADE] = np.maximum.reduce(
                [
                    np.where(early.again, early.rows[:, REMADE] + late.rows[:, FROZEN], 0.0),
                    np.where(late.again, late.rows[:, REMADE] + early.there, 0.0),
                    early.there + late.there + copies + size,
                ]
            )
            amounts = [c.there - c.size * (not c.wanted) for c in children]
            rows[:, BELOW] = amounts[0] + amounts[1]
            rows[:, WORK] += step.flops
        if self._asked(value) or value == self.messages.root:
            again = mode != AGAIN
            rows[:, DOWN] = self._way_down(self._message(value), children, amounts, again=again)
        return rows, allowed

    @staticmethod
    def _way_down(above: float, children: list[_Child], amounts: list[Any], *, again: bool) -> Any:
        """Return the most entries alive on the way down from a value.

        `amounts` are those of the two branches at first; `again` tells that values which were
        not kept must be made before they are used.
        """
        left, right = children
        alive = list(amounts)
        peak = above + alive[0] + alive[1]
        pending = 0.0
        for k, (child, other) in enumerate(((left, right), (right, left))):
            if not child.asked:
                continue
            if other.inner:
                if again:
                    making = above + pending + alive[k] + other.rows[:, REMADE]
                    peak = np.where(other.again, np.maximum(peak, making), peak)
                    alive[1 - k] = np.where(other.again, other.there, alive[1 - k])
            total = above + pending + alive[0] + alive[1]
            peak = np.maximum(peak, total + child.copies + child.message)
            pending += child.message
            if other.inner:
                alive[1 - k] = alive[1 - k] - other.size
        if right.asked:
            waiting = left.message + alive[0] if left.asked else alive[0]
            peak = np.maximum(peak, waiting + right.rows[:, DOWN])
        if left.asked:
            peak = np.maximum(peak, right.results + left.rows[:, DOWN])
        return peak


def _unbeaten(rows: Table, limit: int | None) -> Table:
    """Return the rows that no other beats in every amount and in work."""
    if len(rows) < 2:
        return rows
    goals = rows[:, [FROZEN, UP, REMADE, BELOW, DOWN, WORK]]
    order = np.lexsort(goals.T)
    rows, goals = rows[order], goals[order]
    if len(rows) > ALL:  # the cheapest for each combination of levels of memory
        unit = max(limit if limit is not None else goals[:, :5].max(), 1.0) / LEVELS
        levels = np.minimum(np.ceil(goals[:, :5] / unit), 2 * LEVELS - 1)
        _, first = np.unique(levels @ _PLACES, return_index=True)
        rows, goals = rows[first], goals[first]
    better = np.ones(len(rows), bool)
    for i in range(len(rows)):
        if better[i]:
            beaten = (goals[i] <= goals).all(1)
            beaten[: i + 1] &= (goals[: i + 1] > goals[i]).any(1)
            beaten[i] = False
            better &= ~beaten
    rows = rows[better]
    if len(rows) <= MOST or (len(rows) <= ALL and limit is None):
        return rows
    order = np.argsort(rows[:, WORK], kind="stable")
    spread: Table = rows[order[np.linspace(0, len(rows) - 1, MOST).astype(int)]]
    return spread
