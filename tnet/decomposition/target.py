"""The tensor that a sweep eats up: a dense array whose axes are legs of the network.

Axes of size one are never stored (any number of them may come and go), so that a target has no
more axes than the tensor one began with.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from contraction.arrays import Array, namespace, namespace_name, require_finite
from contraction.basis import Unfolding, unfolding
from contraction.gram import project, squared_norm


class AbstractTarget(ABC):
    """What is left of the tensor during a sweep.

    Attributes
    ----------
    legs
        The axes, in order; none of size one.
    size
        Leg -> its length.
    """

    legs: tuple[str, ...]
    size: Mapping[str, int]

    @abstractmethod
    def adjacent(self, group: Sequence[str]) -> bool:
        """Tell whether the legs of `group` can be unfolded together without moving data."""

    @abstractmethod
    def arranged(self, legs: Sequence[str]) -> AbstractTarget:
        """Return the target with its axes in the order `legs`."""

    @abstractmethod
    def unfolded(self, group: Sequence[str]) -> Unfolding:
        """Return the unfolding with the legs of `group`, in target order, as rows."""

    @abstractmethod
    def compressed(self, group: Sequence[str], bond: str, U: Array) -> AbstractTarget:
        """Return U^H applied to the legs of `group`, which become the one leg `bond`."""

    @abstractmethod
    def like(self) -> Array:
        """Return an array of the namespace, device and dtype of the result."""

    @abstractmethod
    def dense(self) -> Array:
        """Return the target as an array with the axes `legs`."""

    @abstractmethod
    def squared_norm(self) -> float | None:
        """Return the squared norm, or None where measuring it costs more than it saves."""

    @abstractmethod
    def require_finite(self) -> None:
        """Raise `NonFiniteError` naming the first entry of the data that is not finite."""

    def rows(self, group: Sequence[str]) -> int:
        """Return the number of rows of the unfolding by `group`."""
        return math.prod(self.size[leg] for leg in group)

    @property
    def entries(self) -> int:
        """Number of entries."""
        return math.prod(self.size.values())


@final
@dataclass(frozen=True, eq=False)
class DenseTarget(AbstractTarget):
    """A target in memory.

    Parameters
    ----------
    array
        Any shape whose entries, in C order, are those of the target.
    legs, size
        See `AbstractTarget`.
    original
        What the user passed, for error messages.
    """

    array: Array
    legs: tuple[str, ...]
    size: Mapping[str, int]
    original: Array

    def adjacent(self, group: Sequence[str]) -> bool:
        """Tell whether the axes stand side by side."""
        places = [self.legs.index(leg) for leg in group]
        return max(places) - min(places) == len(places) - 1

    def arranged(self, legs: Sequence[str]) -> DenseTarget:
        """Permute once, by a copy."""
        if tuple(legs) == self.legs:
            return self
        axes = tuple(self.legs.index(leg) for leg in legs)
        moved = namespace(self.array).permute_dims(self.dense(), axes)
        return DenseTarget(moved, tuple(legs), self.size, self.original)

    def unfolded(self, group: Sequence[str]) -> Unfolding:
        """See the base class; a view."""
        return unfolding(self.view(group))

    def compressed(self, group: Sequence[str], bond: str, U: Array) -> DenseTarget:
        """See the base class; the new leg stands where the group stood."""
        held = set(group)
        first = self.legs.index(next(leg for leg in self.legs if leg in held))
        rank = int(U.shape[1])
        rest = [leg for leg in self.legs if leg not in held]
        if rank > 1:
            rest.insert(first, bond)
        size = {leg: rank if leg == bond else self.size[leg] for leg in rest}
        return DenseTarget(project(U, self.view(group)), tuple(rest), size, self.original)

    def like(self) -> Array:
        """Return what the user passed."""
        return self.original

    def dense(self) -> Array:
        """Return the array in its shape; a view."""
        shaped: Any = self.array.reshape(tuple(self.size[leg] for leg in self.legs))
        dense: Array = shaped
        return dense

    def squared_norm(self) -> float | None:
        """Return the squared norm, summed in double precision."""
        return squared_norm([self.array.reshape(1, 1, self.entries)])

    def require_finite(self) -> None:
        """Check what the user passed."""
        require_finite(self.original, what="the tensor")

    def view(self, group: Sequence[str]) -> Array:
        """Return the array as (before, group, after); a view of contiguous data."""
        first = min(self.legs.index(leg) for leg in group)
        sizes = [self.size[leg] for leg in self.legs]
        last = first + len(group)
        shape = (math.prod(sizes[:first]), math.prod(sizes[first:last]), math.prod(sizes[last:]))
        view: Array = self.array.reshape(shape)
        return view


def dense_target(x: Array, legs: Sequence[str]) -> DenseTarget:
    """Return a target for `x` with the axes `legs`; data in another memory order is a view."""
    order = _memory_order(x)
    viewed = x if order is None else namespace(x).permute_dims(x, order)
    named = list(legs) if order is None else [legs[axis] for axis in order]
    kept = tuple(leg for leg, n in zip(named, viewed.shape, strict=True) if n > 1)
    size = {leg: int(n) for leg, n in zip(named, viewed.shape, strict=True) if n > 1}
    return DenseTarget(viewed, kept, size, x)


def _memory_order(x: Any) -> tuple[int, ...] | None:
    """Return the axes from slowest to fastest in memory if that makes `x` contiguous."""
    strides = x.stride() if namespace_name(x) == "torch" else x.strides
    order = tuple(sorted(range(len(strides)), key=lambda axis: -strides[axis]))
    step = strides[order[-1]] if order else 1
    item = 1 if namespace_name(x) == "torch" else x.itemsize
    if order == tuple(range(len(order))) or step != item:
        return None
    for axis in reversed(order):
        if strides[axis] != step and x.shape[axis] > 1:
            return None
        step *= x.shape[axis]
    return order
