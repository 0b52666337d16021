"""What is left to do for one proposal once the evaluator has looked at it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from contraction.errors import InputError
from structure_search.fitting import Fitted
from structure_search.methods.base import Proposal
from structure_search.results import Evaluation, Source
from structure_search.tasks.base import Failed, FitJob, timed
from tnet.network import Network


@dataclass(frozen=True, kw_only=True)
class Pending:
    """What is left to do for one proposal of a batch: run `job`, or `solve`, or nothing.

    Attributes
    ----------
    proposal, request
        What was asked.
    blank
        The evaluation as far as it is known.
    held
        Index of an earlier evaluation whose network answers it; None if there is none.
    job
        The fit to run, in any process; None if there is none.
    solve
        The method's own fit, to run in this process; None if there is none.
    replayed
        Whether the answer stands in the journal already.
    first
        An earlier proposal of the batch whose result answers this one.
    inherited
        The network that answers it, of a structure within this one.
    """

    proposal: Proposal = field(repr=False)
    request: str
    blank: Evaluation = field(repr=False)
    held: int | None = None
    job: FitJob | None = None
    solve: Callable[[], Network] | None = field(default=None, repr=False)
    replayed: bool = False
    first: Pending | None = field(default=None, repr=False)
    inherited: Network | None = field(default=None, repr=False)

    @property
    def asks_for_a_fit(self) -> bool:
        """Whether there is anything to run."""
        return self.job is not None or self.solve is not None

    def answers(self, proposal: Proposal) -> bool:
        """Tell whether the result will answer a later proposal of the batch, on an equal structure.

        It does if as much work is put in, in the same way: a method's own fit may fail where
        an ordinary one would not.
        """
        mine = self.proposal
        same_way = (mine.solve is None) == (proposal.solve is None)
        return proposal.start is None and same_way and mine.effort >= proposal.effort


def run_solve(pending: Pending) -> Fitted | Failed:
    """Return what a method's own fit finds, or why it failed."""
    solve, sweeps = pending.solve, pending.proposal.sweeps
    assert solve is not None

    def fit() -> Fitted:
        net = solve()
        if net.error is None:
            raise InputError("the method's own fit gave a network without a certificate.")
        return Fitted(network=net, error=net.error, sweeps=sweeps, source=Source.FIT)

    return timed(fit)
