"""The evaluator: answers proposals from the journal, the cache, a bound or a fit, in that order."""

from __future__ import annotations

import itertools
import math
import time
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from contraction.errors import TnetError
from structure_search.bounds import CutSpectra
from structure_search.canonical import canonical_key, reduced
from structure_search.fitting import Fitted, Fitter, conform
from structure_search.methods.base import Answer, Proposal
from structure_search.objectives import AbstractObjective
from structure_search.results import Counts, Evaluation, Source
from structure_search.store import NetworkStore
from tnet.network import Network
from tnet.structure import Structure


@dataclass(frozen=True)
class _Entry:
    """The best fit of a structure so far."""

    error: float
    effort: int
    request: str  # under which its network is kept


class Evaluator:
    """Evaluates proposals for one search.

    Parameters
    ----------
    fitter, spectra, store
        The data in the three forms that are needed.
    objective
        Its `enough` is where fits may stop.
    seed
        Each fit draws from Philox(seed, request), so its start does not depend on the order in
        which fits are done.
    journal
        Evaluations of earlier sessions, in order.
    """

    def __init__(
        self,
        *,
        fitter: Fitter,
        spectra: CutSpectra,
        store: NetworkStore,
        objective: AbstractObjective,
        seed: int,
        journal: Iterable[Evaluation] = (),
    ) -> None:
        self._fitter, self.spectra, self._store = fitter, spectra, store
        self._objective = objective
        self._seed = seed
        self._cache: dict[str, _Entry] = {}
        self.trace: list[Evaluation] = []
        self._replay: dict[str, deque[Evaluation]] = defaultdict(deque)
        for evaluation in journal:
            self._replay[evaluation.request].append(evaluation)
            self.trace.append(evaluation)
        self._counts = Counts()
        self._begun = time.monotonic()
        self._before = max((e.elapsed for e in self.trace), default=0.0)

    @property
    def elapsed(self) -> float:
        """Seconds over all sessions."""
        return self._before + time.monotonic() - self._begun

    @property
    def counts(self) -> Counts:
        """What was asked for in this session, and what that took."""
        return replace(self._counts, passed_over=self.spectra.ruled_out)

    def journalled(self, proposal: Proposal) -> bool:
        """Tell whether the answer stands in the journal already."""
        return bool(self._replay.get(proposal.request))

    def evaluate(self, proposal: Proposal) -> Answer:
        """Return the answer to one proposal; a fit that fails is an answer too."""
        request = proposal.request
        waiting = self._replay.get(request)
        if waiting:
            evaluation = waiting.popleft()
            self._count(evaluation.source, replayed=1)
            return self._answer(proposal, evaluation, evaluation.request)
        begun = time.monotonic()
        structure = in_one_piece(reduced(proposal.structure))
        evaluation, held = self._evaluate(proposal, request, structure)
        evaluation = replace(evaluation, seconds=time.monotonic() - begun, elapsed=self.elapsed)
        self.trace.append(evaluation)
        self._count(evaluation.source)
        return self._answer(proposal, evaluation, held)

    def network(self, evaluation: Evaluation) -> Network | None:
        """Return the network behind an evaluation, if it is still kept."""
        found = self._store.get(evaluation.request)
        entry = self._cache.get(evaluation.key)
        if found is None and entry is not None:
            found = self._store.get(entry.request)
        return found

    def refit(self, evaluation: Evaluation) -> Network:
        """Fit the structure of an evaluation again, where its network is no longer kept."""
        fitted = self._fitter.fit(
            evaluation.structure,
            start=None,
            sweeps=100,
            restarts=6,
            enough=evaluation.error,
            rng=self._stream(evaluation.request),
        )
        return fitted.network

    def _evaluate(
        self, proposal: Proposal, request: str, structure: Structure
    ) -> tuple[Evaluation, str]:
        key = canonical_key(structure)
        blank = Evaluation(
            index=len(self.trace),
            key=key,
            structure=structure,
            num_params=structure.num_params,
            error=math.inf,
            label=proposal.label,
            request=request,
        )
        entry = self._cache.get(key)
        if entry is not None and (
            entry.effort >= proposal.effort or entry.error <= self._objective.enough
        ):
            return replace(blank, error=entry.error, source=Source.CACHE), entry.request
        bound = self.spectra.bound(structure) if math.isfinite(proposal.useful) else 0.0
        if bound > proposal.useful:
            return replace(blank, bound=bound, source=Source.BOUND), request
        try:
            fitted = self._fit(proposal, request, structure)
        except (TnetError, ArithmeticError, ValueError, np.linalg.LinAlgError) as error:
            text = f"{type(error).__name__}: {error}"
            return replace(blank, bound=bound, source=Source.FAILED, failure=text), request
        if fitted.network.structure != structure:  # a method's own fit may choose other names
            blank = replace(
                blank,
                structure=fitted.network.structure,
                num_params=fitted.network.structure.num_params,
            )
        self._store.put(request, fitted.network)
        done = replace(
            blank, error=fitted.error, bound=bound, source=fitted.source, sweeps=fitted.sweeps
        )
        return done, request

    def _fit(self, proposal: Proposal, request: str, structure: Structure) -> Fitted:
        if proposal.solve is not None:
            net = proposal.solve()
            assert net.error is not None
            return Fitted(network=net, error=net.error, sweeps=proposal.sweeps, source=Source.FIT)
        start = None if proposal.start is None else conform(proposal.start, structure)
        return self._fitter.fit(
            structure,
            start=start,
            sweeps=proposal.sweeps,
            restarts=proposal.restarts,
            enough=self._objective.enough,
            rng=self._stream(request),
        )

    def _answer(self, proposal: Proposal, evaluation: Evaluation, held: str) -> Answer:
        old = self._cache.get(evaluation.key)
        if math.isfinite(evaluation.error) and (old is None or evaluation.error <= old.error):
            effort = max(proposal.effort, 0 if old is None else old.effort)
            self._cache[evaluation.key] = _Entry(evaluation.error, effort, held)
        elif old is not None and proposal.effort > old.effort:
            self._cache[evaluation.key] = replace(old, effort=proposal.effort)
        load = partial(self.network, evaluation)
        return Answer(evaluation=evaluation, effort=proposal.effort, load=load)

    def _stream(self, request: str) -> np.random.Generator:
        key = np.array([self._seed, int(request, 16)], dtype=np.uint64)
        return np.random.Generator(np.random.Philox(key=key))

    def _count(self, source: Source, replayed: int = 0) -> None:
        now = self._counts
        self._counts = Counts(
            requested=now.requested + 1,
            fitted=now.fitted + (source in (Source.FIT, Source.EXACT)),
            cached=now.cached + (source is Source.CACHE),
            pruned=now.pruned + (source is Source.BOUND),
            failed=now.failed + (source is Source.FAILED),
            replayed=now.replayed + replayed,
        )


def in_one_piece(structure: Structure) -> Structure:
    """Return the structure with its parts joined by bonds of rank one, so that a tree is one.

    Examples
    --------
    >>> s = Structure({"a": ("x",), "b": ("y",)}, {"x": 2, "y": 3})
    >>> in_one_piece(s).ranks
    mappingproxy({'a-b': 1})
    """
    parts = structure.components
    for left, right in itertools.pairwise(parts):
        name = f"{left[0]}-{right[0]}"
        while name in structure.size:
            name += "'"
        structure = structure.with_bond(left[0], right[0], 1, name=name)
    return structure
