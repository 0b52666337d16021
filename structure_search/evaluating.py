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
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from contraction.errors import InputError
from structure_search.bounds import CutSpectra
from structure_search.canonical import canonical_key, charged
from structure_search.fitting import Fitted, conform, most_columns
from structure_search.methods.base import Answer, Proposal, Warmth
from structure_search.neighbours import Neighbours
from structure_search.objectives import AbstractObjective
from structure_search.pending import Pending
from structure_search.replay import Replay
from structure_search.results import Counts, Evaluation, Source
from structure_search.store import NetworkStore
from structure_search.tasks.base import AbstractTask, Failed, FitJob, ceiling_flops
from tnet.als.start import carried_over
from tnet.network import Network
from tnet.structure import Structure

LEAST_FLOPS, FLOPS_PER_ENTRY = 1e12, 1e5  # allowed for one fit unless something else is said
FITTED = (Source.FIT, Source.EXACT, Source.FAILED)


@dataclass(frozen=True)
class _Entry:
    """The best fit of a structure so far."""

    structure: Structure  # of the network; equal structures may have other names
    error: float
    effort: int
    held: int  # index of the evaluation that keeps its network


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
    replay
        Evaluations of earlier sessions.
    max_fit_flops
        Operations that one fit may take; by default 1e12, or 1e5 for each entry of the data if
        that is more. Starts beyond that are not made, and where it is not enough for the first
        one nothing is fitted.
    """

    def __init__(
        self,
        *,
        task: AbstractTask,
        spectra: CutSpectra,
        store: NetworkStore,
        objective: AbstractObjective,
        seed: int,
        replay: Replay | None = None,
        max_fit_flops: float | None = None,
    ) -> None:
        self.task, self.spectra, self._store = task, spectra, store
        self._objective = objective
        self._seed = seed
        entries = math.prod(task.modes.values())
        self._most = max_fit_flops or max(LEAST_FLOPS, FLOPS_PER_ENTRY * entries)
        self._cache: dict[str, _Entry] = {}
        self._neighbours = Neighbours()
        self._replay = Replay() if replay is None else replay
        self.trace: list[Evaluation] = list(self._replay.evaluations)
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
            pending = self._replayed(proposal, firsts)
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

    def _replayed(self, proposal: Proposal, firsts: dict[str, list[Pending]]) -> Pending:
        """Return what the journal answers, or else what is left to do."""
        known, stale = self._replay.take(proposal, enough=self._objective.enough)
        request = proposal.request
        if known is not None:
            return Pending(proposal=proposal, request=request, blank=known, replayed=True)
        if stale is not None and proposal.start is None and proposal.solve is None:
            proposal = replace(proposal, start=self.network(stale))  # go on from there
        return self._settle(proposal, request, firsts)

    def _settle(
        self, proposal: Proposal, request: str, firsts: dict[str, list[Pending]]
    ) -> Pending:
        begun = time.perf_counter()
        structure = charged(self._in_order(proposal.structure))
        key = canonical_key(structure)
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
        start = None if proposal.start is None else self._conformed(proposal, request, structure)
        entry = self._cache.get(key)
        if entry is not None and self._answers(entry, proposal, start):
            return replace(pending, blank=_known(blank, entry, Source.CACHE), held=entry.held)
        for first in firsts.get(key, ()):
            if first.answers(proposal):
                return replace(pending, first=first)
        for inner in self._neighbours.contained(structure, self._objective.enough):
            if (net := self._store.get(inner.held)) is not None:
                known = replace(blank, error=inner.error, source=Source.INHERITED)
                return replace(pending, blank=known, inherited=net)
        bound = self.spectra.bound(structure) if math.isfinite(proposal.useful) else 0.0
        if bound > proposal.useful:
            return replace(pending, blank=replace(blank, bound=bound, source=Source.BOUND))
        blank = replace(blank, bound=bound)
        if proposal.solve is not None:
            return replace(pending, blank=blank, solve=proposal.solve)
        starts = self._starts(proposal, structure)
        if not starts:
            why = self._too_much(proposal, structure)
            return replace(pending, blank=replace(blank, source=Source.REFUSED, failure=why))
        job = self._job(proposal, request, structure, start, starts)
        blank = replace(blank, seconds=time.perf_counter() - begun)
        return replace(pending, blank=blank, job=job)

    def _answers(self, entry: _Entry, proposal: Proposal, start: Network | None) -> bool:
        """Tell whether a fit that was made answers a proposal: as much work, no worse a start."""
        if entry.error <= self._objective.enough:
            return True
        if entry.effort < proposal.effort:
            return False
        return start is None or entry.error <= self.task.error(start)

    def _in_order(self, structure: Structure) -> Structure:
        """Return a proposed structure with its modes in the order of the data."""
        modes = self.task.modes
        if structure.modes == tuple(modes):
            return structure
        if set(structure.modes) != set(modes):
            raise InputError(
                f"the method proposes a structure with the modes {', '.join(structure.modes)}; "
                f"the data have {', '.join(modes)}."
            )
        return structure.permuted(tuple(modes))

    def _conformed(self, proposal: Proposal, request: str, structure: Structure) -> Network | None:
        """Return the start on what is really fitted; None where it has other nodes."""
        net = proposal.start
        assert net is not None
        found = conform(net, structure)
        if found is None and set(net.structure.node_names) == set(structure.node_names):
            found = self._carried(net, request, structure)
        return found

    def _starts(self, proposal: Proposal, structure: Structure) -> int:
        """Return how many starts the operations allowed are enough for, of those asked for."""
        sweeps, starts = max(1, proposal.sweeps), max(1, proposal.restarts)
        if ceiling_flops(structure) * sweeps * starts <= self._most:  # mostly so, and cheap
            return starts
        flops = self.task.planned_flops(structure) * sweeps
        return starts if flops * starts <= self._most else int(self._most // flops)

    def _too_much(self, proposal: Proposal, structure: Structure) -> str:
        """Return why a structure is not fitted at all."""
        sweep, sweeps = self.task.planned_flops(structure), max(1, proposal.sweeps)
        return (
            f"{sweeps} sweeps would take some {sweep * sweeps:.1e} operations, and "
            f"{self._most:.1e} are allowed; lower ranks (the widest node has "
            f"{most_columns(structure)} bond values), ask for fewer sweeps, or allow more "
            "(`max_fit_flops`)"
        )

    def _job(
        self,
        proposal: Proposal,
        request: str,
        structure: Structure,
        start: Network | None,
        starts: int,
    ) -> FitJob:
        restarts = min(proposal.restarts, starts)
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
            ridge=proposal.ridge,
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
        """Return an evaluation without its index, and who keeps its network."""
        blank = pending.blank
        own = index if pending.held is None else pending.held
        if pending.first is not None:
            found = self._finished[id(pending.first)]
            held = self._held[found.index]
            if found.source is Source.FAILED:
                return replace(blank, source=Source.FAILED, failure=found.failure), held
            return _known(blank, found, Source.CACHE), held
        if (net := pending.inherited) is not None:
            padded = self._carried(net, pending.request, blank.structure)
            self._store.put(index, replace(padded, certificate=net.certificate))
        if not pending.asks_for_a_fit:
            return blank, own
        assert done is not None
        blank = replace(blank, seconds=blank.seconds + done.seconds)
        if isinstance(done, Failed):
            return replace(blank, source=Source.FAILED, failure=done.reason), own
        return self._fitted(blank, done, index)

    def _fitted(self, blank: Evaluation, done: Fitted, index: int) -> tuple[Evaluation, int]:
        structure = done.network.structure
        if structure != blank.structure:  # a method's own fit may choose names, and lower ranks
            blank = replace(blank, structure=structure, num_params=structure.num_params)
        fitted = replace(blank, error=done.error, source=done.source, sweeps=done.sweeps)
        best = self._cache.get(blank.key)
        if best is not None and best.error < done.error:  # more work found nothing better
            return _known(fitted, best, done.source), best.held
        self._store.put(index, done.network)
        return fitted, index

    def _answer(self, proposal: Proposal, evaluation: Evaluation) -> Answer:
        key, error = evaluation.key, evaluation.error
        old, held = self._cache.get(key), self._held[evaluation.index]
        if math.isfinite(error) and (old is None or error <= old.error):
            effort = max(proposal.effort, 0 if old is None else old.effort)
            self._cache[key] = _Entry(evaluation.structure, error, effort, held)
            if evaluation.source is not Source.CACHE:
                self._neighbours.add(evaluation.structure, error, held)
        elif old is not None and proposal.effort > old.effort:
            self._cache[key] = replace(old, effort=proposal.effort)
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


def _known(blank: Evaluation, by: _Entry | Evaluation, source: Source) -> Evaluation:
    """Return an evaluation that the network of another one answers."""
    size = by.structure.num_params
    return replace(blank, structure=by.structure, num_params=size, error=by.error, source=source)
