"""Keeping the best network of a search, in memory and in the run folder."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias, final

from contraction.errors import InputError
from structure_search.evaluating import Evaluator
from structure_search.limits import Gains
from structure_search.objective_base import AbstractObjective
from structure_search.results import Candidate, Evaluation, as_candidate, pareto_front
from structure_search.run_folder import RunFolder
from tnet.network import Network
from tnet.structure import Structure
from tnet.trees import rooted

Progress: TypeAlias = Callable[[Evaluation, Candidate], None]


@final
class Keeper:
    """Keeps the best of what an evaluator finds, and the record.

    Parameters
    ----------
    evaluator
        What it finds; what it read from a journal has been recorded.
    objective
        What is better.
    run
        The run folder, or None.
    progress
        Told of each new evaluation.
    min_gain
        What counts as a gain, see `Limits`.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        objective: AbstractObjective,
        run: RunFolder | None,
        progress: Progress | None,
        *,
        min_gain: float,
    ) -> None:
        self._evaluator, self._objective = evaluator, objective
        self._run, self._progress = run, progress
        self._best: Evaluation | None = None
        self._network: Network | None = None
        self._gains = Gains(min_gain=min_gain)
        for evaluation in evaluator.trace:
            self._consider(evaluation)

    @property
    def found(self) -> bool:
        """Whether anything was fitted."""
        return self._best is not None

    @property
    def met(self) -> bool:
        """Whether the best candidate meets the objective."""
        return self._best is not None and self._objective.met(as_candidate(self._best))

    @property
    def without_gain(self) -> int:
        """The number of evaluations since the last one that brought a gain."""
        return self._gains.since

    def record(self, evaluation: Evaluation) -> None:
        """Take a new evaluation, and write it to the run folder."""
        better = self._consider(evaluation)
        if self._run is not None:
            self._run.add(evaluation, best=better)
            if better and self._run.best_is_due:
                self.save()
        if self._progress is not None and self._best is not None:
            self._progress(evaluation, as_candidate(self._best))

    @property
    def front(self) -> tuple[Candidate, ...]:
        """The candidates that no other beats in both parameters and error."""
        return pareto_front(self._evaluator.trace)

    def _consider(self, evaluation: Evaluation) -> bool:
        if not math.isfinite(evaluation.error):
            self._gains.add(None)
            return False
        order = self._objective.order(as_candidate(evaluation))
        self._gains.add(order)
        if self._best is not None:
            if not order < self._objective.order(as_candidate(self._best)):
                return False
        self._best = evaluation
        self._network = self._evaluator.network(evaluation)  # before the store forgets it
        return True

    def require_best(self) -> Candidate:
        """Return the best candidate; nothing fitted is an error of the caller's limits."""
        if self._best is None:
            failures = [e.failure for e in self._evaluator.trace if e.failure]
            why = f" The last failure: {failures[-1]}" if failures else ""
            raise InputError(
                f"the search ended before any structure was fitted; allow more evaluations or "
                f"time.{why}"
            )
        return as_candidate(self._best)

    def best_network(self) -> Network:
        """Return the network of the best candidate, fitted again only if it was lost."""
        assert self._best is not None
        if self._network is None:
            self._network = self._evaluator.refit(self._best)
        return self._evaluator.task.in_units(self._network)

    def save(self) -> None:
        """Write the best so far to the run folder, if there are both."""
        if self._run is not None and self._best is not None:
            self._run.save_best(self.require_best(), self.best_network(), self.front)

    def spectra(self) -> dict[str, Any]:
        """Return the data's singular values for the report: by mode, and by bond of a tree."""
        assert self._best is not None
        cuts, structure = self._evaluator.spectra, self._best.structure
        names = tuple(self._evaluator.task.modes)
        found: dict[str, dict[str, tuple[str, ...]]] = {"modes": {}, "bonds": {}}
        if len(names) > 1:
            found["modes"] = {mode: (mode,) for mode in names}
        if structure.is_tree:
            found["bonds"] = bond_sides(structure)
        out: dict[str, Any] = {}
        for kind, parts in found.items():
            values = {name: cuts.singular_values(rows) for name, rows in parts.items()}
            out[kind] = {n: [float(s) for s in v] for n, v in values.items() if v is not None}
        return out


def bond_sides(structure: Structure) -> dict[str, tuple[str, ...]]:
    """Return bond -> the modes on one side of it, for a tree.

    Examples
    --------
    >>> import tnet
    >>> bond_sides(tnet.tensor_train((2, 3, 4), 2))
    {'g0-g1': ('x1', 'x2'), 'g1-g2': ('x2',)}
    """
    seen = rooted(structure)
    below = seen.leaves_below
    sides = {seen.bond[node]: below[node] for node in structure.node_names if node in seen.bond}
    return {bond: rows for bond, rows in sides.items() if 0 < len(rows) < len(structure.modes)}
