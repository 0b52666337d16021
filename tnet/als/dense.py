"""Fits to a tensor without missing entries: the target, and the problem of one structure on it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from contraction import arrays as arrays_
from contraction.arrays import Array, namespace
from tnet.als.balance import COPIES, ENTRIES, POWERS, Balanced, balanced_data
from tnet.als.kernels import Kernels, kernels
from tnet.als.options import ALS, FitOutcome
from tnet.als.pairs import transposed
from tnet.als.race import UNKNOWN, Progress, Run, advance, behind
from tnet.als.sweep_program import Program, compile_program
from tnet.als.sweeps import residual, sweep
from tnet.certificate import Certificate, ErrorKind
from tnet.network import Network, random_network
from tnet.structure import Structure

COPIES_KEPT = 8
COPIES_ENTRIES = 1 << 24  # at most this many entries in the copies kept, and at least one copy
MARGIN = 3.0  # a balanced fit goes this much below the tolerance, which it must keep on the data


@dataclass(frozen=True, eq=False)
class Target:
    """A full tensor that structures are fitted to; prepared once, used for many fits.

    Holds the data, their norm and the permuted copies that fits ask for.

    Parameters
    ----------
    x
        The tensor; every entry must be finite.

    Examples
    --------
    >>> Target(np.ones((2, 3))).norm == math.sqrt(6.0)
    True
    """

    x: Array
    norm: float = field(init=False)
    scale: float = field(init=False)  # fits work on x / scale, whose squares are in range
    _copies: dict[tuple[int, ...], Array] = field(init=False, repr=False)
    _balanced: dict[float, tuple[Target, Balanced]] = field(init=False, repr=False)
    single: Target | None = field(init=False, repr=False, default=None)  # see `tnet.als.mixed`

    def __post_init__(self) -> None:
        x = arrays_.as_array(self.x, what="x")
        arrays_.require_finite(x, what="x")
        xp = namespace(x)
        largest = float(xp.max(xp.abs(x))) if math.prod(x.shape) else 0.0
        safe = 1e15 if arrays_.dtype_name(x) in ("float32", "complex64") else 1e130
        scale = 1.0 if largest == 0.0 or 1.0 / safe < largest < safe else largest
        norm = scale * float(xp.linalg.vector_norm(x if scale == 1.0 else x / scale))
        made = {"x": x, "norm": norm, "scale": scale, "_copies": {}, "_balanced": {}}
        for name, value in made.items():
            object.__setattr__(self, name, value)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return tuple(self.x.shape)

    @property
    def balanced_bytes(self) -> int:
        """Bytes that the balanced copies of the data may take; 0 where none are made."""
        x: Any = self.x
        size = math.prod(self.shape)
        return COPIES * size * int(x.dtype.itemsize) if size <= ENTRIES else 0

    def balanced(self, power: float) -> tuple[Target, Balanced]:
        """Return the balanced data as a target, and the way back (see `balanced_data`)."""
        found = self._balanced.get(power)
        if found is None:
            x: Any = self.x if self.scale == 1.0 else self.x / self.scale
            made = balanced_data(x, power)
            found = self._balanced[power] = (Target(made.x), made)
        return found

    def matrix(self, axes: tuple[int, ...], rows: int) -> Array:
        """Return the (scaled) data with axes in another order, as a matrix with `rows` rows."""
        x: Any = self._copies.get(axes)
        if x is None:
            size = math.prod(self.shape)
            room = max(1, min(COPIES_KEPT, COPIES_ENTRIES // max(size, 1)))
            for old in list(self._copies)[: len(self._copies) + 1 - room]:
                self._copies.pop(old, None)  # another thread may have been faster
            x = self.x if self.scale == 1.0 else self.x / self.scale
            if axes:
                x = transposed(x, axes).reshape((-1,))
            self._copies[axes] = x
        matrix: Array = x.reshape((rows, -1))
        return matrix


@dataclass(frozen=True, eq=False)
class DenseProblem:
    """One structure on one target, as the race of starts wants it."""

    target: Target
    program: Program
    kernels: Kernels
    matrix: Array
    squared_norm: float
    floor: float  # relative errors below this are measured entry by entry

    @property
    def structure(self) -> Structure:
        """The structure that is fitted."""
        return self.program.layout.structure

    @property
    def like(self) -> Array:
        """An array of the namespace, device and dtype of the fit."""
        return self.matrix

    @property
    def scale(self) -> float:
        """What the data were divided by."""
        return self.target.scale

    @property
    def flops(self) -> float:
        """About the floating-point operations of one sweep."""
        return self.program.flops

    def random(self, rng: np.random.Generator) -> list[Array]:
        """Return the cores of a Gaussian network."""
        net = random_network(self.structure, rng=rng, like=self.matrix)
        return self.program.layout.cores(net.arrays)

    def start(self, rng: np.random.Generator, options: ALS, number: int, rival: float) -> Run:
        """Return a Gaussian network fitted to balanced data, which are others for each number.

        That fit goes on to smaller errors as long as it reaches them while the data themselves
        miss the tolerance. Where it stalls far behind `rival` the start has stalled.
        """
        run = Run(self.random(rng), UNKNOWN)
        power = POWERS[number % len(POWERS)]
        if len(run.cores) == 1 or not self.target.balanced_bytes:
            return run
        target, balanced = self.target.balanced(power)
        problem = dense_problem(target, self.structure)
        goal = options.tol / MARGIN
        while True:
            run = advance(
                problem,
                run,
                dataclasses.replace(options, tol=goal, winning_error=None),
                sweeps=options.probe - len(run.trace),
                least=options.stall,
            )
            cores = balanced.restored(self.program.layout, run.cores)
            error, done = self.measure(cores), len(run.trace)
            stalled = run.outcome is FitOutcome.STALLED
            if stalled or error <= options.tol or done >= options.probe or goal <= self.floor:
                break
            goal = min(max(goal * options.tol / error / MARGIN, self.floor), goal / 2.0)
        if stalled and behind(error, rival):
            known = self.progress(cores, error)
            return Run(cores, known, (known,), FitOutcome.STALLED, done)
        return Run(cores, UNKNOWN, before=done)

    def cores(self, net: Network) -> list[Array]:
        """Return the cores of a network on the same structure."""
        return self.program.layout.cores(net.arrays)

    def arrays(self, cores: list[Array]) -> dict[str, Array]:
        """Return node arrays, for the scaled data."""
        return self.program.layout.arrays(cores)

    def sweep(self, cores: list[Array]) -> tuple[list[Array], Progress]:
        """Update every node once."""
        if len(cores) == 1:
            shape = self.program.layout.core_shapes[0]
            cores, squared = [self.matrix.reshape(shape)], 0.0
        else:
            cores, squared = sweep(
                self.program, self.kernels, self.matrix, self.squared_norm, cores
            )
        error = math.sqrt(squared / self.squared_norm)
        if not error >= self.floor:
            error = self.measure(cores)
        return cores, self.progress(cores, error)

    def progress(self, cores: Sequence[Array], error: float) -> Progress:
        """Return the objective, here the error itself, beside the error."""
        return Progress(error, error)

    def certificate(self, error: float) -> Certificate:
        """Return what an error over all entries proves: everything."""
        return Certificate(error=error, kind=ErrorKind.EXACT, bound=error)

    def measure(self, cores: Sequence[Array]) -> float:
        """Return the relative error, entry by entry."""
        return residual(self.program, self.matrix, cores) / math.sqrt(self.squared_norm)


def dense_problem(target: Target, structure: Structure) -> DenseProblem:
    """Return the problem of fitting `structure` to `target`; the compiled part is cached."""
    program = compile_program(structure)
    matrix = target.matrix(program.axes, program.rows)
    eps = arrays_.eps(matrix)
    return DenseProblem(
        target,
        program,
        kernels(matrix),
        matrix,
        (target.norm / target.scale) ** 2,
        100.0 * math.sqrt(eps),
    )
