"""What every task offers: the data as a method sees them, the fit of one structure, its error.

`run_job` is the one place where a search fits anything. It depends on nothing but its two
arguments, which can be pickled, so it may run in any process and gives the same result there.
"""

from __future__ import annotations

import math
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from contraction.arrays import Array, device, namespace
from contraction.errors import TnetError
from structure_search.bounds import CutSpectra
from structure_search.fitting import Fitted, most_columns
from structure_search.results import ErrorOf as ErrorOf
from tnet.als.start import balanced
from tnet.network import Network
from tnet.structure import Structure

MOVES = 64  # operations that moving one entry is worth, at most
HOST_MEMORY = "can't allocate memory"  # PyTorch's words where the host has too little
EXPECTED = (TnetError, ArithmeticError, ValueError, MemoryError, np.linalg.LinAlgError)


@dataclass(frozen=True, kw_only=True)
class FitJob:
    """One fit: everything that is needed beside the task.

    Attributes
    ----------
    structure
        What to fit.
    start
        A network of this structure to begin from, or None.
    sweeps, restarts
        As in `Proposal`.
    enough
        The error at which to stop.
    stream
        Two numbers: the key of the generator that the fit draws from.
    ridge
        As in `Proposal`.
    """

    structure: Structure
    start: Network | None = field(default=None, repr=False)
    sweeps: int
    restarts: int
    enough: float
    stream: tuple[int, int]
    ridge: float | None = None

    def generator(self) -> np.random.Generator:
        """Return a fresh generator of this job's own numbers."""
        return np.random.Generator(np.random.Philox(key=np.array(self.stream, dtype=np.uint64)))


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A fit that raised: the reason."""

    reason: str
    seconds: float = 0.0


class AbstractTask(ABC):
    """What a network is fitted to. Holds the data; can be pickled."""

    @property
    @abstractmethod
    def x(self) -> Array:
        """The data as a dense array: zero where an entry is missing, or there are no data."""

    @property
    @abstractmethod
    def modes(self) -> Mapping[str, int]:
        """Mode name -> size, in the axis order of `x`."""

    @property
    @abstractmethod
    def norm(self) -> float:
        """The Frobenius norm of `x`."""

    @property
    def scale(self) -> float:
        """What the data that were given were divided by, so that fourth powers are in range."""
        return 1.0

    def in_units(self, net: Network) -> Network:
        """Return a network for the data as they were given."""
        if self.scale == 1.0:
            return net
        arrays = balanced(dict(net.arrays), self.scale)
        return Network(net.structure, arrays, certificate=net.certificate)

    @property
    @abstractmethod
    def like(self) -> Array:
        """An array of the namespace, device and dtype of networks for this task."""

    @property
    @abstractmethod
    def complete(self) -> bool:
        """Whether every entry of `x` is known and the error is over all of them."""

    @property
    @abstractmethod
    def observed(self) -> Array | None:
        """One where an entry counts and zero elsewhere, in the dtype of `x`; None if all do."""

    @property
    @abstractmethod
    def error_of(self) -> ErrorOf:
        """What the error is taken over."""

    @abstractmethod
    def require_complete(self, who: str) -> None:
        """Raise an `InputError` unless the task is complete; `who` needs that."""

    @abstractmethod
    def spectra(self) -> CutSpectra:
        """Return the singular values of the unfoldings; they bound nothing if not `complete`."""

    @abstractmethod
    def planned_flops(self, structure: Structure) -> float:
        """Return about the operations of one sweep; zero where nothing is worth refusing."""

    @abstractmethod
    def fit(self, job: FitJob) -> Fitted:
        """Return the fit that a job asks for."""

    @abstractmethod
    def error(self, net: Network) -> float:
        """Return the error of a network over this task's data."""

    @abstractmethod
    def residual(self, net: Network) -> Array:
        """Return what is missing: X - T, zero where unobserved; minus the gradient of a loss."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a digest of all data, for run.json."""

    @abstractmethod
    def to_dict(self) -> dict[str, Any]:
        """Return what run.json says of the task beside the data themselves.

        Raises
        ------
        InputError
            The task cannot be written down.
        """


def no_spectra(like: Array, modes: Sequence[str]) -> CutSpectra:
    """Return spectra that bound nothing, for tasks whose unfoldings are not known."""
    xp: Any = namespace(like)
    nothing = xp.zeros(tuple(1 for _ in modes), dtype=like.dtype, device=device(like))
    return CutSpectra(nothing, modes, 0.0, widest=0)


def scale_for(largest: float, dtype: str) -> float:
    """Return a power of two to divide data by; 1 where their fourth powers are in range.

    Examples
    --------
    >>> scale_for(3.0, "float64"), scale_for(3.0 * 2.0**900, "float64") == 2.0**901
    (1.0, True)
    """
    safe = 1e8 if dtype in ("float32", "complex64") else 1e60
    if largest == 0.0 or 1.0 / safe < largest < safe:
        return 1.0
    return math.ldexp(1.0, math.frexp(largest)[1] - 1)


def ceiling_flops(structure: Structure) -> int:
    """Return more operations than a sweep of any task takes, worked out in no time.

    No product sums over more than all legs at once, and a node with C bond values has normal
    equations of C^2 numbers, which take C^2 operations for each entry and C^3 to solve.
    """
    widest, entries = most_columns(structure), math.prod(structure.shape)
    ranks = math.prod(structure.ranks.values())
    touched = ranks + widest**2 + MOVES
    return 64 * len(structure.nodes) * (entries * touched + widest**3)


def run_job(task: AbstractTask, job: FitJob) -> Fitted | Failed:
    """Return the fit of a job, or why it failed; the same in any process."""
    return timed(lambda: task.fit(job))


def is_expected(error: Exception) -> bool:
    """Tell whether an error is one of this fit alone, so that the search goes on without it.

    PyTorch's errors of too little memory and of factorisations are no more than `RuntimeError`.

    Examples
    --------
    >>> is_expected(MemoryError()), is_expected(RuntimeError("a fault"))
    (True, False)
    """
    if isinstance(error, EXPECTED):
        return True
    torch: Any = sys.modules.get("torch")
    if torch is None or not isinstance(error, RuntimeError):
        return False
    kinds = (torch.cuda.OutOfMemoryError, torch.linalg.LinAlgError)
    return isinstance(error, kinds) or HOST_MEMORY in str(error)


def timed(fit: Callable[[], Fitted]) -> Fitted | Failed:
    """Return what `fit` returns with its wall time, or why it failed."""
    begun = time.perf_counter()
    try:
        fitted = fit()
    except Exception as error:
        if not is_expected(error):
            raise
        reason = f"{type(error).__name__}: {error}"
        return Failed(reason=reason, seconds=time.perf_counter() - begun)
    seconds = time.perf_counter() - begun
    if not 0.0 <= fitted.error < math.inf:
        return Failed(reason=f"the fit ended with the error {fitted.error}.", seconds=seconds)
    return replace(fitted, seconds=seconds)
