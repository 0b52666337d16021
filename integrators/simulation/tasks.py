"""What a run does step by step: a quench, or the sweeps of a ground-state search."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, TypeAlias, final

from contraction.truncation import Truncation
from integrators.control import Clock
from integrators.control_checks import checked_value
from integrators.evolving import is_saved, next_target
from integrators.flow import Counts, Row
from integrators.moments import Evolution, Moment, advance, begin, observe
from integrators.simulation.building import Simulation
from integrators.simulation.records import Record
from integrators.simulation.settings import Steps, TaskKind
from integrators.tree_state import TreeState
from tnet.network import Network
from tnet.rounding import truncate

SLOW = 0.25  # of the gain of the sweep before: more Lanczos vectors are needed
MOST_STEPS = 64
CLOSE, SWEEPS_AT_ONCE = 1e-5, 3  # relative change of the energy; sweeps after that

Progress: TypeAlias = "Iterator[tuple[Moment, Row | None]]"


class AbstractTask(ABC):
    """Does the steps of a run."""

    @abstractmethod
    def first(self) -> Moment:
        """Return the moment before the first step."""

    @abstractmethod
    def work(self, record: Record) -> Progress:
        """Go on from a record: yield every moment, and the row recorded of it or None."""

    @abstractmethod
    def is_over(self, record: Record) -> bool:
        """Tell whether nothing is left to do after what is recorded."""


def task_of(simulation: Simulation) -> AbstractTask:
    """Return the task of a simulation."""
    if simulation.steps is not None:
        return Evolving(simulation, simulation.steps)
    return GroundSearch(simulation)


@final
class Evolving(AbstractTask):
    """A state evolved in real or imaginary time."""

    def __init__(self, simulation: Simulation, steps: Steps) -> None:
        self._simulation, self._steps = simulation, steps
        self._begun: tuple[Evolution, Moment] | None = None

    def first(self) -> Moment:
        """Return the first state, bound to everything."""
        assert self._simulation.start is not None
        self._begun = self._begin(self._simulation.start)
        return self._begun[1]

    def work(self, record: Record) -> Progress:
        """Go on to the final time."""
        task, steps, rows = self._simulation.task, self._steps, list(record.rows)
        moment = record.moment
        evolution, fresh = self._begun or self._begin(moment.state.to_network())
        if rows and evolution.norm is not None:
            evolution = replace(evolution, norm=rows[0].norm)
        # the same numbers on the frame that everything is bound to
        moment = replace(moment, state=TreeState(fresh.state.frame, moment.state.cores))
        times = steps.save_at
        if not rows and moment.counts.steps == 0 and (times is None or times[0] == task.t0):
            rows.append(observe(evolution, moment))
            yield moment, rows[-1]
        while moment.time < task.t_final:
            target = next_target(moment.time, times, task.t_final)
            moment = advance(evolution, moment, target)
            saved = is_saved(moment, times, task.t_final, steps.every)
            if saved:
                rows = [observe(evolution, moment, rows)]
            yield moment, rows[-1] if saved else None

    def is_over(self, record: Record) -> bool:
        """Tell whether the final time is reached."""
        return record.moment.time >= self._simulation.task.t_final

    def _begin(self, state: Network) -> tuple[Evolution, Moment]:
        steps = self._steps
        real_time = self._simulation.task.kind is TaskKind.QUENCH
        return begin(
            (-1j if real_time else -1.0) * self._simulation.operator,
            state,
            t0=self._simulation.task.t0,
            dt=steps.dt,
            stepper=self._simulation.stepper,
            measure=self._simulation.measure,
            controller=steps.controller,
            scaling=steps.scaling,
            rejection=steps.rejection,
            keep=steps.keep,
            opening=steps.opening,
        )


@final
class GroundSearch(AbstractTask):
    """Sweeps towards the ground state; `time` counts them."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation

    def first(self) -> Moment:
        """Return the first state."""
        assert self._simulation.start is not None
        state = TreeState.from_network(self._simulation.start)
        return Moment(clock=Clock(time=0.0, anchor=0.0, since=0, proposal=1.0), state=state)

    def work(self, record: Record) -> Progress:
        """Sweep until the energy stays, or as often as allowed."""
        from integrators import ground_state

        moment, rows = record.moment, list(record.rows)
        since = _last_change(record)
        while not self._done(moment, rows, since):
            rank = self._rank(moment.counts.steps)
            net = moment.state.to_network()
            if rank is not None and max(net.ranks.values(), default=1) > rank:
                net = truncate(net, Truncation(max_rank=rank))  # the limit was lowered
            done = ground_state(
                self._simulation.operator,
                net,
                stepper=self._stepper(rows),
                max_rank=rank,
                tol=self._simulation.task.tol,
                sweeps=min(_at_once(rows), self._simulation.task.sweeps - moment.counts.steps),
            )
            count = moment.counts.steps + done.sweeps
            moment = Moment(
                clock=moment.clock._replace(time=float(count)),
                state=TreeState.from_network(done.state),
                counts=moment.counts.plus(Counts(steps=done.sweeps)),
                step=float(done.sweeps),
            )
            rows.append(self._row(moment, done.energy, rows))
            yield moment, rows[-1]

    def is_over(self, record: Record) -> bool:
        """Tell whether the energy stays, or all sweeps are done."""
        return self._done(record.moment, list(record.rows), _last_change(record))

    def _stepper(self, rows: list[Row]) -> Any:
        """Return the stepper of the next sweep: more Lanczos vectors while sweeps gain little.

        It follows from what is recorded alone, so that a run that was stopped goes on the same.
        """
        energies = [row.energy for row in rows if row.energy is not None]
        gains = [abs(b - a) for a, b in pairwise(energies)]
        slow = sum(after > SLOW * before for before, after in pairwise(gains))
        stepper = self._simulation.stepper
        return replace(stepper, steps=min(MOST_STEPS, stepper.steps * 2**slow))

    def _rank(self, sweep: int) -> int | None:
        ramp, most = self._simulation.task.ramp, self._simulation.truncation.max_rank
        if sweep >= len(ramp):
            return most if most is not None or not ramp else ramp[-1]
        return ramp[sweep] if most is None else min(ramp[sweep], most)

    def _done(self, moment: Moment, rows: list[Row], since: float) -> bool:
        task = self._simulation.task
        if moment.counts.steps >= task.sweeps:
            return True
        if moment.counts.steps <= len(task.ramp) or _at_once(rows) == 1:
            return False
        settled = [row.energy for row in rows if row.time > since and row.energy is not None]
        if len(settled) < 2 or rows[-1].step == 1.0:
            return False
        return abs(settled[-1] - settled[-2]) <= task.tol * max(1.0, abs(settled[-1]))

    def _row(self, moment: Moment, energy: float, rows: list[Row]) -> Row:
        net = moment.state.to_network()
        values = {
            name: checked_value(name, function(net), rows[-1].values[name] if rows else None)
            for name, function in self._simulation.measure.items()
        }
        return Row(
            time=moment.time,
            norm=moment.norm,
            energy=float(energy),
            ranks=moment.state.ranks,
            values=values,
            error=0.0,
            truncation=0.0,
            step=moment.step,
        )


def _at_once(rows: Sequence[Row]) -> int:
    """Return how many sweeps are one step: several where the last ones have changed little.

    Local problems are solved better and better from sweep to sweep of one step.
    """
    energies = [row.energy for row in rows[-2:] if row.energy is not None]
    if len(energies) < 2:
        return 1
    close = abs(energies[1] - energies[0]) <= CLOSE * max(1.0, abs(energies[1]))
    return SWEEPS_AT_ONCE if close else 1


def _last_change(record: Record) -> float:
    """Return the sweep after which something was last changed; energies before do not count."""
    return max((float(change.get("at", 0.0)) for change in record.changes), default=0.0)
