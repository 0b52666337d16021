"""The protocol between a search method and the driver: ask and tell, as one generator.

A method yields a batch of proposals and is sent their answers, in the same order, until it
returns. Everything it decides depends on the answers, on its problem and on the problem's
random stream, so that running it again over journalled answers brings it to the same point:
that is how a run is resumed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar, TypeAlias

import numpy as np

from contraction.arrays import Array
from contraction.errors import InputError
from structure_search.bounds import CutSpectra
from structure_search.canonical import canonical_key
from structure_search.objectives import AbstractObjective
from structure_search.results import Evaluation
from structure_search.tasks.base import AbstractTask
from tnet.network import Network
from tnet.structure import Structure


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What a method works on.

    Attributes
    ----------
    task
        What networks are fitted to; its `residual` is what a network still lacks.
    objective
        What is looked for.
    start
        The structure to start from, or None.
    spectra
        Singular values of the unfoldings of `x`, computed when first asked for. They bound
        nothing where the task is not complete.
    rng
        The method's own random stream.
    """

    task: AbstractTask
    objective: AbstractObjective
    start: Structure | None
    spectra: CutSpectra
    rng: np.random.Generator

    @property
    def x(self) -> Array:
        """The data: zero where an entry is missing, and everywhere for a loss."""
        return self.task.x

    @property
    def modes(self) -> Mapping[str, int]:
        """Mode name -> size, in the axis order of `x`."""
        return self.task.modes

    @property
    def norm(self) -> float:
        """Frobenius norm of `x`."""
        return self.task.norm

    def require_complete(self, who: str) -> None:
        """Raise unless every entry is known: for methods that work on the data themselves.

        Raises
        ------
        NonFiniteError
            Entries are missing; the message names the first one.
        InputError
            The task is a loss.
        """
        self.task.require_complete(who)


class Warmth(Enum):
    """Where a fit without a start of its own begins."""

    NEAREST = "also where the fit of the nearest structure on the same nodes ended"
    NONE = "nowhere but at random, as in published methods"


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """One structure to be evaluated, and how.

    Attributes
    ----------
    structure
        What to evaluate; its modes are those of the data.
    start
        A network of this structure to begin from; by default random ones (or, on a tree, the
        direct factorisation).
    solve
        Replaces the fit: returns the fitted network with its certificate.
    sweeps, restarts
        Sweeps for each start, and the number of random starts tried (also after `start`, if
        that ends far from the error that is enough).
    before
        Effort (sweeps) already in `start`. A structure that was given at least
        ``before + sweeps`` is answered from the cache.
    useful
        An error above this is of no use: a lower bound above it answers without a fit.
    ridge
        Weight of the ridge in a fit to some of the entries (`tnet.ALS`); None leaves it to the
        task. Full data and losses have none.
    warmth
        Whether a fit without `start` begins at the network of the nearest structure that was
        fitted before, its bonds padded and cut, too.
    parent
        The request that `start` was made from; part of this request's identity.
    label
        What the method is doing; part of this request's identity.
    """

    structure: Structure
    start: Network | None = field(default=None, repr=False)
    solve: Callable[[], Network] | None = field(default=None, repr=False)
    sweeps: int = 40
    restarts: int = 0
    before: int = 0
    useful: float = float("inf")
    ridge: float | None = None
    warmth: Warmth = Warmth.NEAREST
    parent: str = ""
    label: str = ""

    @property
    def effort(self) -> int:
        """Sweeps in the network when the fit is done."""
        return self.before + self.sweeps * max(1, self.restarts)

    @property
    def request(self) -> str:
        """Digest of what is asked for: equal requests have equal answers within one run."""
        key = canonical_key(self.structure)
        effort = (self.sweeps, self.restarts, self.before)
        asked: list[str | float] = [key, *effort, self.parent, self.label]
        if self.ridge is not None:
            asked.append(self.ridge)
        return hashlib.blake2b(json.dumps(asked).encode(), digest_size=8).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a method is told about a proposal."""

    evaluation: Evaluation
    effort: int
    load: Callable[[], Network | None] = field(repr=False)

    @property
    def error(self) -> float:
        """The error found; infinite where nothing was fitted."""
        return self.evaluation.error

    @property
    def request(self) -> str:
        """The identity of what was asked."""
        return self.evaluation.request

    @property
    def network(self) -> Network | None:
        """The fitted network, or None where nothing was fitted."""
        return self.load()


Proposals: TypeAlias = Generator[Sequence[Proposal], Sequence[Answer], None]


class AbstractMethod(ABC):
    """A search method: configuration only, no hidden state.

    Attributes
    ----------
    needs_every_entry
        Whether the method works on the data themselves, so that nothing may be missing: a
        search with missing entries, or with a loss, is then refused before any work.
    """

    needs_every_entry: ClassVar[bool] = False

    @abstractmethod
    def propose(self, problem: Problem) -> Proposals:
        """Yield batches of proposals; each yield returns their answers."""

    @abstractmethod
    def default_objective(self) -> AbstractObjective | None:
        """Return the objective that the method implies, or None if it must be given."""


def method_to_dict(method: AbstractMethod) -> dict[str, Any]:
    """Return a method as plain data for JSON: its class name and its fields.

    Raises
    ------
    InputError
        The method is no dataclass, so its configuration cannot be recorded.
    """
    if not dataclasses.is_dataclass(method):
        raise InputError(
            f"a run folder records the fields of a method; make {type(method).__name__} a "
            "frozen dataclass, or search without a run folder."
        )
    return {"name": type(method).__name__, "options": dataclasses.asdict(method)}
