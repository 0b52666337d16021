"""What a search returns: evaluations, candidates, the outcome and the result.

Error means relative Frobenius ||X - Y|| / ||X||, never squared.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import Any

import contraction
from tnet.network import Network
from tnet.structure import Structure


class Source(Enum):
    """Where the error of an evaluation came from."""

    FIT = "fit"  # an iterative fit
    EXACT = "exact"  # a direct factorisation: no iteration, no start
    CACHE = "cache"  # an equal structure had been fitted before
    INHERITED = "inherited"  # a structure within this one had come near enough
    REFUSED = "refused"  # a fit would take more operations than allowed
    BOUND = "bound"  # a lower bound ruled the structure out; nothing was fitted
    FAILED = "failed"  # the evaluation raised; the reason is kept, the search goes on


class Outcome(Enum):
    """How a search ended. The value says what to do about it."""

    REACHED = "the objective is met and the method has nothing better to propose"
    EXHAUSTED = (
        "the method has nothing more to propose and the objective is not met: "
        "allow a larger error or more parameters, or try another method"
    )
    BUDGET = "the evaluations are used up: raise `max_evaluations`, or resume with a larger budget"
    CONVERGED = "the last evaluations brought no gain: raise `patience`, or resume with more of it"
    TIME = "the time is used up: raise `max_seconds`, or resume the run"
    INTERRUPTED = "stopped by the user: resume the run to go on"
    TERMINATED = "stopped by a termination signal: resume the run to go on"


class ErrorOf(Enum):
    """What the error of a search is taken over."""

    ALL = "the relative error over all entries"
    OBSERVED = "the relative error over the observed entries, which were all fitted"
    HELD_OUT = "the relative error over observed entries that were not fitted"
    LOSS = "the value of the loss"


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One structure that the method asked for, and what was found about it.

    Attributes
    ----------
    index
        Place in the trace, from zero.
    key
        Digest of the canonical structure: equal for structures that hold the same tensors.
    structure, num_params
        What was evaluated: saturated ranks lowered and bonds of rank one left out.
    error
        Relative error found; infinite where nothing was fitted.
    bound
        A lower bound on the error of any network of this structure (zero if none is known).
    seconds, elapsed
        Wall time of this evaluation, and since the search began.
    source, sweeps
        Where `error` came from, and how many sweeps were run for it.
    label
        What the method was doing.
    request
        Digest of the request (structure, effort and lineage); what a resumed run looks up.
    failure
        The message, if the evaluation failed.
    """

    index: int
    key: str
    structure: Structure
    num_params: int
    error: float
    bound: float = 0.0
    seconds: float = 0.0
    elapsed: float = 0.0
    source: Source = Source.FIT
    sweeps: int = 0
    label: str = ""
    request: str = ""
    failure: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the evaluation as plain data for JSON; infinity becomes None."""
        return {
            "index": self.index,
            "key": self.key,
            "structure": self.structure.to_dict(),
            "ranks": dict(self.structure.ranks),
            "num_params": self.num_params,
            "error": self.error if math.isfinite(self.error) else None,
            "bound": self.bound,
            "seconds": self.seconds,
            "elapsed": self.elapsed,
            "source": self.source.value,
            "sweeps": self.sweeps,
            "label": self.label,
            "request": self.request,
            "failure": self.failure,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Evaluation:
        """Return the evaluation that `to_dict` wrote."""
        error = data["error"]
        return cls(
            index=int(data["index"]),
            key=str(data["key"]),
            structure=Structure.from_dict(data["structure"]),
            num_params=int(data["num_params"]),
            error=math.inf if error is None else float(error),
            bound=float(data["bound"]),
            seconds=float(data["seconds"]),
            elapsed=float(data["elapsed"]),
            source=Source(data["source"]),
            sweeps=int(data["sweeps"]),
            label=str(data["label"]),
            request=str(data["request"]),
            failure=str(data["failure"]),
        )


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A structure with the error that was reached on it."""

    structure: Structure
    num_params: int
    error: float
    index: int  # the evaluation that found it

    @property
    def dense_size(self) -> int:
        """Number of entries of the full tensor."""
        return math.prod(self.structure.shape)

    @property
    def flops(self) -> int:
        """Operations of the plan that contracts the network to its full tensor.

        Worked out when asked for, and remembered.
        """
        return dense_flops(self.structure)

    @property
    def compression(self) -> float:
        """Entries of the full tensor per parameter."""
        return self.dense_size / self.num_params

    def to_dict(self) -> dict[str, Any]:
        """Return the candidate as plain data for JSON."""
        return {
            "structure": self.structure.to_dict(),
            "ranks": dict(self.structure.ranks),
            "num_params": self.num_params,
            "error": self.error,
            "compression": self.compression,
            "index": self.index,
        }


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many structures were asked for, and what that took.

    `requested` is what papers call the number of evaluations; only `fitted` cost a fit. It is
    the sum of `fitted`, `cached`, `inherited`, `pruned`, `refused` and `failed`.
    `passed_over` counts structures that the method did not even ask for, since a lower bound
    rules them out; they are no part of `requested`. `continued` of the requested went on with
    the fit of a structure that had been asked for before, so that ``requested - continued`` are
    the candidates begun.
    """

    requested: int = 0
    fitted: int = 0
    cached: int = 0
    pruned: int = 0
    failed: int = 0
    replayed: int = 0  # of the requested, read back from the journal of an earlier session
    passed_over: int = 0
    inherited: int = 0
    refused: int = 0
    continued: int = 0


@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of a search.

    Attributes
    ----------
    best
        The best candidate by the objective.
    network
        A network of that structure, fitted; its certificate states the error.
    trace
        Every evaluation, in order.
    pareto
        The candidates that no other beats in both parameters and error, smallest first,
        whatever the objective.
    outcome
        How the search ended; its value says what to do about it.
    counts
        Requested, fitted, cached and pruned evaluations.
    seconds
        Wall time over all sessions of the run.
    error_of
        What errors are taken over: all entries, the observed ones, those held out, or no
        entries at all (a loss).
    """

    best: Candidate
    network: Network = field(repr=False)
    trace: tuple[Evaluation, ...] = field(repr=False)
    pareto: tuple[Candidate, ...] = field(repr=False)
    outcome: Outcome
    counts: Counts
    seconds: float
    error_of: ErrorOf = ErrorOf.ALL

    @property
    def reached(self) -> bool:
        """Whether the method ended by itself with the objective met."""
        return self.outcome is Outcome.REACHED


@lru_cache(maxsize=4096)
def dense_flops(structure: Structure) -> int:
    """Return the flops of the plan that contracts a network to its full tensor.

    Two for each multiply-add of real numbers. The plan is the cheapest one for small networks;
    a search of fixed length, and so repeatable, finds it for larger ones.

    Examples
    --------
    >>> dense_flops(Structure({"a": ("x", "r"), "b": ("r", "y")}, {"x": 4, "r": 2, "y": 5}))
    80
    """
    return contraction.plan(structure.spec(), objective="flops").flops


def pareto_front(evaluations: Iterable[Evaluation]) -> tuple[Candidate, ...]:
    """Return the evaluations that no other beats in both parameters and error, smallest first.

    Examples
    --------
    >>> s = Structure({"a": ("x",)}, {"x": 3})
    >>> runs = [(9, 0.1), (5, 0.2), (7, 0.3)]
    >>> found = [
    ...     Evaluation(index=i, key="", structure=s, num_params=p, error=e)
    ...     for i, (p, e) in enumerate(runs)
    ... ]
    >>> [(c.num_params, c.error) for c in pareto_front(found)]
    [(5, 0.2), (9, 0.1)]
    """
    front: list[Candidate] = []
    found = (e for e in evaluations if math.isfinite(e.error))
    for e in sorted(found, key=lambda e: (e.num_params, e.error, e.index)):
        if not front or e.error < front[-1].error:
            front.append(as_candidate(e))
    return tuple(front)


def as_candidate(evaluation: Evaluation) -> Candidate:
    """Return the candidate that an evaluation found."""
    return Candidate(
        structure=evaluation.structure,
        num_params=evaluation.num_params,
        error=evaluation.error,
        index=evaluation.index,
    )
