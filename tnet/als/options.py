"""Options and results of a fit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from contraction.errors import InputError
from contraction.truncation import check_rank, check_tol
from contraction.units import parse_bytes, parse_share
from tnet.network import Network


class FitOutcome(Enum):
    """Why a fit ended, and what to do about it."""

    TARGET = "the error asked for was reached"
    CONVERGED = "the error stopped falling: for less, raise a rank or change the structure"
    STALLED = "every start stalled early: allow more `restarts`, or `polish` sweeps on the best"
    SWEEP_LIMIT = (
        "the error was still falling at the sweep limit: raise `polish`, or continue with start="
    )
    LOST_RACE = "no start could come near `winning_error`: try another structure"


class FirstStart(Enum):
    """Where the first start of a fit comes from; the others are random."""

    DECOMPOSED = "the decomposition of a spanning tree of the largest bonds, if there is one"
    RANDOM = "random as the others: cheaper for small tensors, and worse on measured data"


@dataclass(frozen=True, kw_only=True)
class ALS:
    """How alternating least squares runs.

    Parameters
    ----------
    tol
        Relative error at which to stop; 0 runs until nothing more is gained.
    restarts
        Most starts; the next one is made only while `tol` is not reached. A fit with `start=`
        runs from there alone.
    first
        What the first start is. With missing entries all starts are random.
    probe
        Most sweeps of one start. A random start on a full tensor of up to two million entries
        may have as many before them on balanced data (see the notes of `fit`).
    window, stall
        A start ends early when `window` sweeps lower its error by less than the fraction
        `stall`: runs in a local minimum show it within some 15 sweeps.
    polish
        Most further sweeps on the best start.
    gain
        These end when `window` sweeps gain less than this fraction.
    winning_error
        An error that would be of use. A start is dropped after `window` sweeps if its error is
        more than 20 times that, and 1.2 times the best start's; a best start that ends above
        20 times it is not polished. For searches.
    ridge
        Weight of the sum of squares of all nodes' entries beside the sum of squared residuals,
        with the observed values scaled to mean square one. None is zero where nothing is
        missing; otherwise it is chosen from a ladder between 0 and 3 by the error over a tenth
        of the observed entries that is put aside for that (never the held-out ones), and the
        fit to all observed entries goes on from there. A ridge above zero takes the solver for
        missing entries also where none is missing.
    memory
        Bytes that the fit may hold beside the data, as a number or text ("2GiB"), or a share of
        what is available ("80%"); by default six tenths of it, on the device of the data.
    max_flops
        Most operations of one sweep over a full tensor, as `planned_flops` counts them; a fit
        that would take more is refused before any work. None allows any number.

    Examples
    --------
    >>> ALS(tol=1e-4, restarts=2).restarts
    2
    """

    tol: float = 0.0
    restarts: int = 6
    first: FirstStart = FirstStart.DECOMPOSED
    probe: int = 40
    window: int = 8
    stall: float = 0.02
    polish: int = 200
    gain: float = 1e-3
    winning_error: float | None = None
    ridge: float | None = None
    memory: int | float | str | None = None
    max_flops: float | None = None
    nodes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        check_tol(self.tol)
        for name in ("restarts", "probe", "window"):
            check_rank(getattr(self, name), name)
        check_rank(self.polish, "polish", least=0)
        for name in ("stall", "gain"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise InputError(f"`{name}` is a fraction in [0, 1), got {getattr(self, name)!r}.")
        if self.winning_error is not None:
            check_tol(self.winning_error, "winning_error")
        if self.ridge is not None and not 0.0 <= self.ridge < math.inf:
            raise InputError(f"`ridge` is a number >= 0, got {self.ridge!r}.")
        if self.memory is not None and parse_share(self.memory) is None:
            parse_bytes(self.memory)
        if self.nodes is not None and (isinstance(self.nodes, str) or not self.nodes):
            raise InputError(f"`nodes` is a tuple of names of nodes, got {self.nodes!r}.")
        if self.max_flops is not None and not self.max_flops > 0.0:
            raise InputError(f"`max_flops` is a number above 0, got {self.max_flops!r}.")


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What a fit found.

    Attributes
    ----------
    network
        The best network seen; its certificate says how far it is from the data.
    error
        Relative Frobenius error, over the observed entries if some are missing.
    outcome
        Why the fit ended; `outcome.value` is advice.
    trace
        Relative error after each sweep of the start that won.
    sweeps, restarts
        Sweeps over all starts together, and starts made.
    seconds
        Wall time.
    held_out_error
        Relative error over the entries held out; None if there are none.
    ridge
        The ridge used (0 where nothing is missing).
    """

    network: Network
    error: float
    outcome: FitOutcome
    trace: tuple[float, ...]
    sweeps: int
    restarts: int
    seconds: float
    held_out_error: float | None = None
    ridge: float = 0.0
