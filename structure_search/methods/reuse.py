"""Reuse: a structure that was found on other data comes first, and another method goes on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, final

import tnet
from contraction.errors import ShapeError, TnetError
from contraction.truncation import check_rank
from structure_search.methods.base import (
    AbstractMethod,
    Problem,
    Proposal,
    Proposals,
    method_to_dict,
)
from structure_search.objectives import AbstractObjective
from structure_search.results import as_candidate
from tnet.network import Network
from tnet.structure import Structure

AS_IT_WAS, NEW_RANKS = "reused as it was", "reused, ranks chosen anew"


@final
@dataclass(frozen=True, kw_only=True)
class Reuse(AbstractMethod):
    """Fit a known structure to new data, then let another method go on from it.

    The structure is fitted with the ranks it has. Where it is a tree and all entries are known,
    its ranks are also chosen anew from the spectra of its bonds, within the tolerance or the
    number of parameters of the objective; the better of both is where `then` starts.

    Parameters
    ----------
    structure
        `Structure.to_dict()` of the known structure. Its modes are taken in their order, so the
        new data may name and size them otherwise.
    then
        `method_to_dict(...)` of the method that goes on, or None to end there.
    sweeps, restarts
        For the fit of a structure that is no tree.

    Examples
    --------
    >>> import numpy as np
    >>> from structure_search import RelativeError, search
    >>> x = tnet.contract(tnet.random_network(
    ...     tnet.tensor_train((5, 6, 7), 2), rng=np.random.default_rng(0)))
    >>> known = tnet.tensor_train((4, 4, 4), 3).to_dict()
    >>> goal = RelativeError(tol=1e-3)
    >>> found = search(x, method=Reuse(structure=known), objective=goal,
    ...                rng=np.random.default_rng(1))
    >>> dict(found.best.structure.ranks)
    {'g0-g1': 2, 'g1-g2': 2}
    """

    structure: Mapping[str, Any]
    then: Mapping[str, Any] | None = None
    sweeps: int = 100
    restarts: int = 4

    def __post_init__(self) -> None:
        Structure.from_dict(self.structure)  # raises if it is none
        check_rank(self.sweeps, "sweeps")
        check_rank(self.restarts, "restarts", least=0)

    @property
    def next_method(self) -> AbstractMethod | None:
        """The method that goes on."""
        from structure_search.methods.registry import method_from_dict

        return None if self.then is None else method_from_dict(self.then)

    def default_objective(self) -> AbstractObjective | None:
        """Return the objective of the method that goes on."""
        then = self.next_method
        return None if then is None else then.default_objective()

    def propose(self, problem: Problem) -> Proposals:
        """Yield the known structure, then what the other method proposes."""
        known = on_modes(Structure.from_dict(self.structure), problem.modes)
        proposals = [
            Proposal(structure=known, sweeps=self.sweeps, restarts=self.restarts, label=AS_IT_WAS)
        ]
        net = _with_new_ranks(known, problem)
        if net is not None:
            proposals.append(
                Proposal(structure=net.structure, solve=lambda: net, sweeps=1, label=NEW_RANKS)
            )
        answers = yield proposals
        tried = [a.evaluation for a in answers if math.isfinite(a.error)]
        then = self.next_method
        if then is None:
            return
        order = problem.objective.order
        best = min(tried, key=lambda e: (order(as_candidate(e)), e.index), default=None)
        start = known if best is None else best.structure
        yield from then.propose(replace(problem, start=start))


def on_modes(structure: Structure, modes: Mapping[str, int]) -> Structure:
    """Return a structure on other modes, taken in their order; its ranks stay.

    Raises
    ------
    ShapeError
        Their numbers differ.

    Examples
    --------
    >>> on_modes(tnet.tensor_train((4, 4), 2), {"a": 5, "b": 6}).shape
    (5, 6)
    """
    if len(structure.modes) != len(modes):
        raise ShapeError(
            f"the structure that is reused has {len(structure.modes)} modes, the data have "
            f"{len(modes)}: {', '.join(modes)}; reuse it on data of the same order."
        )
    bonds = {leg: f"{leg}'" for leg in structure.ranks if leg in modes}  # names may clash
    names = dict(zip(structure.modes, modes, strict=True))
    return structure.renamed(legs={**bonds, **names}).resized(modes)


def _with_new_ranks(known: Structure, problem: Problem) -> Network | None:
    """Return the data on a tree, with ranks chosen for the objective; None where that fails."""
    goal = problem.objective
    if not (known.is_tree and problem.task.complete and (goal.enough > 0.0 or goal.cap)):
        return None
    limits: dict[str, Any] = {"tol": goal.enough} if goal.enough > 0.0 else {}
    if goal.cap is not None:
        limits["max_params"] = goal.cap
    try:
        return tnet.decompose(problem.x, lambda _: known, **limits)
    except TnetError:  # a budget below the smallest network of this tree
        return None


def reuse_of(run: str | PathLike[str], *, then: AbstractMethod | None) -> Reuse:
    """Return the method that begins with the best structure of an earlier run.

    Raises
    ------
    CheckpointError
        The folder is no run folder, is damaged, or holds no fitted network.
    """
    from contraction.errors import CheckpointError
    from structure_search.journal import read_run
    from structure_search.reporting.figures import best_of

    best = best_of(read_run(run))
    if best is None:
        raise CheckpointError(
            f"{Path(run)} holds no fitted network yet; there is nothing to reuse."
        )
    return Reuse(
        structure=best.structure.to_dict(), then=None if then is None else method_to_dict(then)
    )
