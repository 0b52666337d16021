"""The evaluator: answers proposals with as little work as they allow.

In this order: from the journal; from the cache, by a fit of an equal structure; from a fit of a
structure that it contains, if that came near enough; by a lower bound on its error; not at all,
if the fit would take too many operations; by a fit, which begins where the nearest structure
ended if the method gives no start.

A batch is answered in three steps. `settle` decides what each proposal needs, from the state at
the beginning of the batch; the fits that are left are done by anyone, in any order, by
`structure_search.tasks.base.run_job`; `finish` takes the results in the order of the batch. So a
parallel search equals the serial one.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from structure_search.bounds import CutSpectra
from structure_search.canonical import canonical_key, charged, in_one_piece
from structure_search.fitting import Fitted, conform
from structure_search.methods.base import Answer, Proposal, Warmth
from structure_search.neighbours import Known, Neighbours
from structure_search.objectives import AbstractObjective
from structure_search.results import Counts, Evaluation, Source
from structure_search.store import NetworkStore
from structure_search.tasks.base import AbstractTask, Failed, FitJob, ceiling_flops, timed
from tnet.als.start import carried_over
from tnet.network import Network
from tnet.structure import Structure

__all__ = ["Evaluator", "Pending", "in_one_piece", "run_solve"]

LEAST_FLOPS, FLOPS_PER_ENTRY = 1e12, 1e5  # allowed for one fit unless something else is said
FITTED = (Source.FIT, Source.EXACT, Source.FAILED)


@dataclass(frozen=True)
class _Entry:
    """The best fit of a structure so far."""

    error: float
    effort: int
    held: int  # index of the evaluation that keeps its network


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
    contained
        A fitted structure within this one whose network, padded, answers it.
    """

    proposal: Proposal = field(repr=False)
    request: str
    blank: Evaluation = field(repr=False)
    held: int | None = None
    job: FitJob | None = None
    solve: Callable[[], Network] | None = field(default=None, repr=False)
    replayed: bool = False
    first: Pending | None = field(default=None, repr=False)
    contained: Known | None = field(default=None, repr=False)

    @property
    def asks_for_a_fit(self) -> bool:
        """Whether there is anything to run."""
        return self.job is not None or self.solve is not None


def run_solve(pending: Pending) -> Fitted | Failed:
    """Return what a method's own fit finds, or why it failed."""
    solve, sweeps = pending.solve, pending.proposal.sweeps
    assert solve is not None

    def fit() -> Fitted:
        net = solve()
        assert net.error is not None
        return Fitted(network=net, error=net.error, sweeps=sweeps, source=Source.FIT)

    return timed(fit)


class Evaluator:
    """Evaluates proposals for one search.

    Parameters
    ----------
    task
        What is fitted.
    spectra
        Its singular values.
    store
        Where networks are kept.
    objective
        Its `enough` is where fits may stop.
    seed
        Each fit draws from Philox(seed, request), so its start does not depend on the order in
        which fits are done.
    journal
        Evaluations of earlier sessions, in order.
    max_fit_flops
        A fit that would take more operations is refused; by default 1e12, or 1e5 for each entry
        of the data if that is more.
    """

    def __init__(
        self,
        *,
        task: AbstractTask,
        spectra: CutSpectra,
        store: NetworkStore,
        objective: AbstractObjective,
        seed: int,
        journal: Iterable[Evaluation] = (),
        max_fit_flops: float | None = None,
    ) -> None:
        self.task, self.spectra, self._store = task, spectra, store
        self._objective = objective
        self._seed = seed
        entries = math.prod(task.modes.values())
        self._most = max_fit_flops or max(LEAST_FLOPS, FLOPS_PER_ENTRY * entries)
        self._cache: dict[str, _Entry] = {}
        self._neighbours = Neighbours()
        self.trace: list[Evaluation] = []
        self._replay: dict[str, deque[Evaluation]] = defaultdict(deque)
        for evaluation in journal:
            self._replay[evaluation.request].append(evaluation)
            self.trace.append(evaluation)
        self._held = store.holders(self.trace)
        self._counts = Counts()
        self._begun = time.monotonic()
        self._before = max((e.elapsed for e in self.trace), default=0.0)
        self._finished: dict[int, Evaluation] = {}  # of this batch, by id of Pending

    @property
    def elapsed(self) -> float:
        """Seconds over all sessions."""
        return self._before + time.monotonic() - self._begun

    @property
    def counts(self) -> Counts:
        """What was asked for in this session, and what that took."""
        return replace(self._counts, passed_over=self.spectra.ruled_out)

    # ---- a batch ----------------------------------------------------------------------------

    def settle(self, batch: Sequence[Proposal]) -> list[Pending]:
        """Return what is left to do for each proposal, from the state before the batch.

        A structure that comes again within the batch, with no more effort and no start of its
        own, is answered by what is found for the first one.
        """
        self._finished.clear()
        firsts: dict[str, list[Pending]] = defaultdict(list)
        found = []
        for proposal in batch:
            pending = self._replayed(proposal) or self._settle(proposal, firsts)
            fitted = pending.replayed and pending.blank.source in FITTED
            if fitted or pending.asks_for_a_fit:
                firsts[pending.blank.key].append(pending)
            found.append(pending)
        return found

    def finish(self, pending: Pending, done: Fitted | Failed | None = None) -> Answer:
        """Record one proposal of the batch; to be called in the order of the batch.

        Parameters
        ----------
        pending
            From `settle`.
        done
            What its `job` or `solve` gave; None where it has neither.
        """
        if pending.replayed:
            evaluation = pending.blank
        else:
            evaluation, held = self._evaluation(pending, done, len(self.trace))
            evaluation = replace(evaluation, index=len(self.trace), elapsed=self.elapsed)
            self.trace.append(evaluation)
            self._held.append(held)
        self._finished[id(pending)] = evaluation
        self._count(pending, evaluation.source)
        return self._answer(pending.proposal, evaluation)

    def network(self, evaluation: Evaluation) -> Network | None:
        """Return the network behind an evaluation, if it is still kept."""
        found = self._store.get(self._held[evaluation.index])
        entry = self._cache.get(evaluation.key)
        if found is None and entry is not None:
            found = self._store.get(entry.held)
        return found

    def refit(self, evaluation: Evaluation) -> Network:
        """Fit the structure of an evaluation again, where its network is no longer kept."""
        job = FitJob(
            structure=evaluation.structure,
            sweeps=100,
            restarts=6,
            enough=evaluation.error,
            stream=self._stream(evaluation.request),
        )
        return self.task.fit(job).network

    # ---- before the fits --------------------------------------------------------------------

    def _replayed(self, proposal: Proposal) -> Pending | None:
        request = proposal.request
        waiting = self._replay.get(request)
        if not waiting:
            return None
        return Pending(
            proposal=proposal,
            request=request,
            blank=waiting.popleft(),
            replayed=True,
        )

    def _settle(self, proposal: Proposal, firsts: dict[str, list[Pending]]) -> Pending:
        begun = time.perf_counter()
        structure = charged(proposal.structure)
        request, key = proposal.request, canonical_key(structure)
        blank = Evaluation(
            index=-1,
            key=key,
            structure=structure,
            num_params=structure.num_params,
            error=math.inf,
            label=proposal.label,
            request=request,
        )
        pending = Pending(proposal=proposal, request=request, blank=blank)
        start = None if proposal.start is None else conform(proposal.start, structure)
        entry = self._cache.get(key)
        if entry is not None and self._answers(entry, proposal, start):
            known = replace(blank, error=entry.error, source=Source.CACHE)
            return replace(pending, blank=known, held=entry.held)
        for first in firsts.get(key, ()):
            if start is None and first.proposal.effort >= proposal.effort:
                return replace(pending, first=first)
        for inner in self._neighbours.contained(structure, self._objective.enough):
            if self._store.get(inner.held) is not None:
                known = replace(blank, error=inner.error, source=Source.INHERITED)
                return replace(pending, blank=known, contained=inner)
        bound = self.spectra.bound(structure) if math.isfinite(proposal.useful) else 0.0
        if bound > proposal.useful:
            return replace(pending, blank=replace(blank, bound=bound, source=Source.BOUND))
        blank = replace(blank, bound=bound)
        if proposal.solve is not None:
            return replace(pending, blank=blank, solve=proposal.solve)
        if (why := self._too_much(proposal, structure)) is not None:
            return replace(pending, blank=replace(blank, source=Source.REFUSED, failure=why))
        job = self._job(proposal, request, structure, start)
        blank = replace(blank, seconds=time.perf_counter() - begun)
        return replace(pending, blank=blank, job=job)

    def _answers(self, entry: _Entry, proposal: Proposal, start: Network | None) -> bool:
        """Tell whether a fit that was made answers a proposal: as much work, no worse a start."""
        if entry.error <= self._objective.enough:
            return True
        if entry.effort < proposal.effort:
            return False
        return start is None or entry.error <= self.task.error(start)

    def _too_much(self, proposal: Proposal, structure: Structure) -> str | None:
        """Return why a structure is not fitted at all, if the fit would take too long."""
        times = proposal.sweeps * max(1, proposal.restarts)
        if ceiling_flops(structure) * times <= self._most:  # mostly that settles it, cheaply
            return None
        flops = self.task.planned_flops(structure) * times
        if flops <= self._most:
            return None
        return (
            f"the fit would take some {flops:.1e} operations, and {self._most:.1e} are allowed "
            "(`max_fit_flops`)"
        )

    def _job(
        self, proposal: Proposal, request: str, structure: Structure, start: Network | None
    ) -> FitJob:
        restarts = proposal.restarts
        if start is None and proposal.warmth is Warmth.NEAREST:
            start = self._warm(request, structure)
            restarts = max(1, restarts) if start is not None else restarts
        return FitJob(
            structure=structure,
            start=start,
            sweeps=proposal.sweeps,
            restarts=restarts,
            enough=self._objective.enough,
            stream=self._stream(request),
        )

    def _warm(self, request: str, structure: Structure) -> Network | None:
        """Return the network of the nearest structure, padded and cut; a tree needs none."""
        if self.task.complete and structure.is_tree:
            return None
        near = self._neighbours.nearest(structure)
        net = None if near is None else self._store.get(near.held)
        return None if net is None else self._carried(net, request, structure)

    def _carried(self, net: Network, request: str, structure: Structure) -> Network:
        # another stream than that of the fit, which draws its random starts
        seed, number = self._stream(request)
        key = np.array([seed, number ^ 1], dtype=np.uint64)
        return carried_over(net, structure, rng=np.random.Generator(np.random.Philox(key=key)))

    # ---- after the fits ---------------------------------------------------------------------

    def _evaluation(
        self, pending: Pending, done: Fitted | Failed | None, index: int
    ) -> tuple[Evaluation, int]:
        blank = pending.blank
        own = index if pending.held is None else pending.held
        if pending.first is not None:
            found = self._finished[id(pending.first)]
            held = self._held[found.index]
            if found.source is Source.FAILED:
                return replace(blank, source=Source.FAILED, failure=found.failure), held
            return replace(blank, error=found.error, source=Source.CACHE), held
        if pending.contained is not None:
            net = self._store.get(pending.contained.held)
            if net is not None:
                padded = self._carried(net, pending.request, blank.structure)
                self._store.put(index, replace(padded, certificate=net.certificate))
            return blank, own
        if not pending.asks_for_a_fit:
            return blank, own
        assert done is not None
        seconds = blank.seconds + done.seconds
        if isinstance(done, Failed):
            failed = replace(blank, source=Source.FAILED, failure=done.reason, seconds=seconds)
            return failed, own
        structure = done.network.structure  # a method's own fit may choose other names
        if structure != blank.structure:
            blank = replace(blank, structure=structure, num_params=structure.num_params)
        fitted = replace(
            blank, error=done.error, source=done.source, sweeps=done.sweeps, seconds=seconds
        )
        best = self._cache.get(blank.key)
        if best is not None and best.error < done.error and structure == blank.structure:
            return replace(fitted, error=best.error), best.held  # more work found nothing better
        self._store.put(index, done.network)
        return fitted, own

    def _answer(self, proposal: Proposal, evaluation: Evaluation) -> Answer:
        old, held = self._cache.get(evaluation.key), self._held[evaluation.index]
        if math.isfinite(evaluation.error) and (old is None or evaluation.error <= old.error):
            effort = max(proposal.effort, 0 if old is None else old.effort)
            self._cache[evaluation.key] = _Entry(evaluation.error, effort, held)
            if evaluation.source is not Source.CACHE:
                self._neighbours.add(evaluation.structure, evaluation.error, held)
        elif old is not None and proposal.effort > old.effort:
            self._cache[evaluation.key] = replace(old, effort=proposal.effort)
        load = partial(self.network, evaluation)
        return Answer(evaluation=evaluation, effort=proposal.effort, load=load)

    def _stream(self, request: str) -> tuple[int, int]:
        return self._seed, int(request, 16)

    def _count(self, pending: Pending, source: Source) -> None:
        now = self._counts
        further = pending.proposal.before > 0 and pending.blank.key in self._cache
        self._counts = Counts(
            requested=now.requested + 1,
            fitted=now.fitted + (source in (Source.FIT, Source.EXACT)),
            cached=now.cached + (source is Source.CACHE),
            pruned=now.pruned + (source is Source.BOUND),
            inherited=now.inherited + (source is Source.INHERITED),
            refused=now.refused + (source is Source.REFUSED),
            failed=now.failed + (source is Source.FAILED),
            replayed=now.replayed + pending.replayed,
            continued=now.continued + further,
        )
