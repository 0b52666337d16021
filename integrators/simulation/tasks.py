"""What a run does step by step: a quench, or the sweeps of a ground-state search."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from typing import TypeAlias, final

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
    if simulation.task.kind is TaskKind.QUENCH:
        assert simulation.steps is not None
        return Quench(simulation, simulation.steps)
    return GroundSearch(simulation)


@final
class Quench(AbstractTask):
    """A state evolved in real time."""

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
        return begin(
            -1j * self._simulation.operator,
            state,
            t0=self._simulation.task.t0,
            dt=steps.dt,
            stepper=self._simulation.stepper,
            measure=self._simulation.measure,
            controller=steps.controller,
            scaling=steps.scaling,
            rejection=steps.rejection,
            keep=steps.keep,
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
        net = moment.state.to_network()
        while not self._done(moment, rows):
            done = ground_state(
                self._simulation.operator,
                net,
                max_rank=self._rank(moment.counts.steps),
                tol=self._simulation.task.tol,
                sweeps=1,
            )
            net = done.state
            count = moment.counts.steps + 1
            moment = Moment(
                clock=moment.clock._replace(time=float(count)),
                state=TreeState.from_network(net),
                counts=moment.counts.plus(Counts(steps=1)),
                step=1.0,
            )
            rows.append(self._row(moment, done.energy, rows))
            yield moment, rows[-1]

    def is_over(self, record: Record) -> bool:
        """Tell whether the energy stays, or all sweeps are done."""
        return self._done(record.moment, list(record.rows))

    def _rank(self, sweep: int) -> int | None:
        ramp, most = self._simulation.task.ramp, self._simulation.truncation.max_rank
        if sweep >= len(ramp):
            return most if most is not None or not ramp else ramp[-1]
        return ramp[sweep] if most is None else min(ramp[sweep], most)

    def _done(self, moment: Moment, rows: list[Row]) -> bool:
        task = self._simulation.task
        if moment.counts.steps >= task.sweeps:
            return True
        if len(rows) < 2 or moment.counts.steps <= len(task.ramp):
            return False
        before, last = rows[-2].energy, rows[-1].energy
        if before is None or last is None:
            return False
        same = self._rank(moment.counts.steps) == self._rank(moment.counts.steps - 1)
        return same and abs(last - before) <= task.tol * max(1.0, abs(last))

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
            step=1.0,
        )
