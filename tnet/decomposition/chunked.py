"""A target that stays on disk: the same sweep, fed slab by slab.

Each factorisation makes one pass over the source. A slab is cut along modes that neither the
present unfolding nor an earlier projection touches, so every projection already known is applied
to the slab before anything else is done with it. Once what is left fits the memory allowed it is
gathered, by one pass more, and the sweep goes on in memory.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from contraction.arrays import DTYPES, Array
from contraction.basis import Unfolding
from contraction.errors import DTypeError, MemoryBudgetError, NonFiniteError
from tnet.decomposition.target import AbstractTarget, DenseTarget, dense_target

SHARE = 4  # a slab takes this part of the memory: the slab, its copy, its projection, the sums
Box = tuple[slice, ...]


@dataclass(frozen=True, eq=False)
class Source:
    """Anything that can be read by slices: a memory map, a dataset of h5py or zarr.

    Attributes
    ----------
    data
        Has `shape`, `dtype` and `__getitem__` with a tuple of slices.
    legs
        Names of its axes.
    kind
        Dtype computed in.
    memory
        Bytes that may be used.
    """

    data: Any
    legs: tuple[str, ...]
    kind: str
    memory: int

    def load(self, box: Box) -> Array:
        """Return one box as a contiguous array in memory."""
        part = np.asarray(self.data[box])
        return part.astype(self.kind, order="K", copy=True)


@final
@dataclass(frozen=True, eq=False)
class ChunkedTarget(AbstractTarget):
    """What is left of a tensor on disk: the source and the projections to apply to it.

    Parameters
    ----------
    source
        Where the numbers are.
    legs, size
        See `AbstractTarget`.
    projections
        (group, bond, U) in the order of application.
    used
        Modes that a projection sums over; slabs are never cut along them.
    """

    source: Source
    legs: tuple[str, ...]
    size: Mapping[str, int]
    projections: tuple[tuple[tuple[str, ...], str, Array], ...] = ()
    used: frozenset[str] = frozenset()

    def adjacent(self, group: Sequence[str]) -> bool:
        """Tell that it is; slabs are arranged as they come."""
        return True

    def arranged(self, legs: Sequence[str]) -> ChunkedTarget:
        """Return the target itself."""
        return self

    def unfolded(self, group: Sequence[str]) -> Unfolding:
        """Return an unfolding whose parts are slabs, each read when its turn comes."""
        rows = self.rows(group)
        self._require_room(rows * rows * 8 * 3, f"the Gram matrix of {rows} rows")
        boxes = self._boxes(group)
        like = self.like()

        def read() -> Iterator[Array]:
            for box in boxes:
                slab = self._slab(box)
                order = [*group, *(leg for leg in slab.legs if leg not in group)]
                whole = slab.adjacent(group) and [x for x in slab.legs if x in group] == [*group]
                yield (slab if whole else slab.arranged(order)).view(group)

        return Unfolding(read=read, rows=rows, columns=self.entries // rows, like=like)

    def compressed(self, group: Sequence[str], bond: str, U: Array) -> AbstractTarget:
        """Note the projection; gather the target if what is left fits the memory."""
        held, rank = set(group), int(U.shape[1])
        first = self.legs.index(next(leg for leg in self.legs if leg in held))
        rest = [leg for leg in self.legs if leg not in held]
        if rank > 1:
            rest.insert(first, bond)
        size = {leg: rank if leg == bond else self.size[leg] for leg in rest}
        smaller = ChunkedTarget(
            self.source,
            tuple(rest),
            size,
            (*self.projections, (tuple(group), bond, U)),
            self.used | (held & set(self.source.legs)),
        )
        fits = smaller.entries * self._itemsize <= self.source.memory // 3
        return smaller.gathered() if fits else smaller

    def gathered(self) -> DenseTarget:
        """Return the target in memory, by one pass over the source."""
        shape = tuple(self.size[leg] for leg in self.legs)
        out = np.empty(shape, dtype=self.source.kind)
        for box in self._boxes(()):
            slab = self._slab(box)
            cut = dict(zip(self.source.legs, box, strict=True))
            place = tuple(cut.get(leg, slice(None)) for leg in self.legs)
            here = out[place]
            ordered = slab.arranged([leg for leg in self.legs if leg in slab.size])
            here[...] = np.asarray(ordered.dense()).reshape(here.shape)
        return DenseTarget(out, self.legs, self.size, out)

    def like(self) -> Array:
        """Return an empty array of the dtype computed in."""
        return np.empty(0, dtype=self.source.kind)

    def dense(self) -> Array:
        """Return the target in memory."""
        return self.gathered().dense()

    def squared_norm(self) -> None:
        """Return None: it would take a pass of its own."""

    def require_finite(self) -> None:
        """Read everything once more and name the first entry that is not finite."""
        shape = tuple(int(n) for n in self.source.data.shape)
        count, first = 0, shape
        size = dict(zip(self.source.legs, shape, strict=True))
        for box in ChunkedTarget(self.source, self.source.legs, size)._boxes(()):
            bad = ~np.isfinite(np.asarray(self.source.data[box]))
            if bad.any():
                count += int(bad.sum())
                place = np.unravel_index(int(bad.reshape(-1).argmax()), bad.shape)
                start = [cut.start for cut in box]
                first = min(first, tuple(int(s + p) for s, p in zip(start, place, strict=True)))
        if count:
            raise NonFiniteError(
                f"the tensor has {count} NaN or infinite entries, one of them at index {first}; "
                "every entry must be finite. Remove them, or pass the missing ones as a mask to "
                "tnet.fit."
            )

    @property
    def _itemsize(self) -> int:
        return np.dtype(self.source.kind).itemsize

    def _slab(self, box: Box) -> DenseTarget:
        """Return one slab with every projection applied."""
        slab = dense_target(self.source.load(box), self.source.legs)
        for group, bond, U in self.projections:
            present = [leg for leg in slab.legs if leg in group]
            if not slab.adjacent(group) or present != list(group):
                slab = slab.arranged([*group, *(leg for leg in slab.legs if leg not in group)])
            slab = slab.compressed(group, bond, U)
        return slab

    def _boxes(self, group: Sequence[str]) -> list[Box]:
        """Cut the source along modes that neither `group` nor a projection sums over."""
        shape = [int(n) for n in self.source.data.shape]
        limit = max(self.source.memory // (SHARE * self._itemsize), 1)
        step = list(shape)
        chunks = getattr(self.source.data, "chunks", None)
        for axis, leg in enumerate(self.source.legs):
            entries = math.prod(step)
            if entries <= limit:
                break
            if leg in group or leg in self.used:
                continue
            step[axis] = max(limit * step[axis] // entries, 1)
            if chunks and step[axis] > chunks[axis]:
                step[axis] -= step[axis] % chunks[axis]  # whole chunks are read once
        self._require_room(
            math.prod(step) * self._itemsize * SHARE,
            f"a slab of {'x'.join(map(str, step))} entries",
        )
        cuts = [
            [slice(low, min(low + width, n)) for low in range(0, n, width)]
            for n, width in zip(shape, step, strict=True)
        ]
        return list(itertools.product(*cuts))

    def _require_room(self, needed: int, what: str) -> None:
        if needed > self.source.memory:
            raise MemoryBudgetError(
                f"{what} needs {needed:,} bytes and `memory` allows {self.source.memory:,}; "
                "raise it, or choose a structure whose nodes hold fewer or smaller modes."
            )


def chunked_target(data: Any, legs: Sequence[str], memory: int) -> ChunkedTarget:
    """Return a target that reads `data` by slices and keeps within `memory` bytes.

    Raises
    ------
    DTypeError
        The data are neither real, complex nor whole numbers.
    """
    found = np.dtype(data.dtype)
    kind = {"float16": "float32"}.get(found.name, found.name)
    if found.kind in "iub":
        warnings.warn(
            f"the tensor holds {found.name}; computing in float64.", UserWarning, stacklevel=4
        )
        kind = "float64"
    if kind not in DTYPES:
        raise DTypeError(f"the tensor holds {found.name}; expected one of {', '.join(DTYPES)}.")
    sizes = {leg: int(n) for leg, n in zip(legs, data.shape, strict=True) if n > 1}
    source = Source(data, tuple(legs), kind, memory)
    return ChunkedTarget(source, tuple(sizes), sizes)
