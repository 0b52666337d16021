"""Fits to a tensor without missing entries: the target, and the problem of one structure on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from contraction import arrays as arrays_
from contraction.arrays import Array, namespace
from tnet.als.kernels import Kernels, kernels
from tnet.als.pairs import transposed
from tnet.als.race import Progress
from tnet.als.sweeps import Program, compile_program, residual, sweep
from tnet.certificate import Certificate, ErrorKind
from tnet.network import Network, random_network
from tnet.structure import Structure

COPIES_KEPT = 8
COPIES_ENTRIES = 1 << 24  # at most this many entries in the copies kept, and at least one copy


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

    def __post_init__(self) -> None:
        x = arrays_.as_array(self.x, what="x")
        arrays_.require_finite(x, what="x")
        xp = namespace(x)
        largest = float(xp.max(xp.abs(x))) if math.prod(x.shape) else 0.0
        safe = 1e15 if arrays_.dtype_name(x) in ("float32", "complex64") else 1e130
        scale = 1.0 if largest == 0.0 or 1.0 / safe < largest < safe else largest
        norm = scale * float(xp.linalg.vector_norm(x if scale == 1.0 else x / scale))
        for name, value in (("x", x), ("norm", norm), ("scale", scale), ("_copies", {})):
            object.__setattr__(self, name, value)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor."""
        return tuple(self.x.shape)

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
