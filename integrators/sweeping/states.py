"""From the states and fields of time steppers to a moving centre, and back."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from contraction import arrays as arrays_
from contraction.arrays import Array
from contraction.errors import InputError
from integrators.field import AbstractField
from integrators.frame import Frame
from integrators.linear_field import LinearField
from integrators.programs import IDENTITY
from integrators.sweeping.centre import Centre
from integrators.sweeping.passages import (
    Passage,
    merged,
    passages,
    restored,
    shorter,
    way,
    without_passages,
)
from integrators.sweeping.sight import sight_of
from integrators.tree_state import TreeState
from tnet._axes import contiguous
from tnet.operators.tree_operator import SparseCore, TreeOperator
from tnet.trees import rooted


class Carried(NamedTuple):
    """A state as a centre, without the nodes that only pass on.

    Attributes
    ----------
    centre
        At the root, or at the node that a passing root was merged into.
    field
        What drives it.
    frame
        Of the whole state.
    passing
        The nodes that were merged.
    """

    centre: Centre
    field: LinearField
    frame: Frame
    passing: tuple[Passage, ...]

    def state(self) -> TreeState:
        """Return what the centre holds, on the frame; it must be back where it began."""
        frame, xp = self.frame, self.centre.sight.xp
        arrays = restored(self.centre.arrays, dict(axes_of(frame)), self.passing, frame.root, xp)
        root: Any = arrays[frame.root]
        cores: list[Array] = [contiguous(root.reshape((1, *root.shape)))]
        cores += [contiguous(arrays[name]) for name in frame.names[1:]]
        return TreeState(frame, tuple(cores))


def carried(field: AbstractField, state: TreeState, user: str) -> Carried:
    """Return a centre at the root of a state, driven by a linear field.

    Raises
    ------
    InputError
        The field is not linear; `user` is named in the message.
    """
    if not isinstance(field, LinearField):
        raise InputError(
            f"{user} needs a linear field (a TreeOperator or Driven), got "
            f"{type(field).__name__}; use AugmentedBUG for others."
        )
    frame, first = state.frame, state.cores[0]
    arrays: dict[str, Any] = dict(zip(frame.names, state.cores, strict=True))
    arrays[frame.root] = first.reshape(tuple(first.shape[1:]))
    found = passages(frame.structure)
    root = way(found, frame.root)[-1]
    legs = dict(axes_of(frame))
    library = arrays_.namespace_name(first)
    sight = sight_of(
        without_passages(operator_of(field)),
        tuple(shorter(legs, found).items()),
        library,
        arrays_.device(first),
        arrays_.dtype_name(first),
    )
    short = merged(arrays, legs, found, arrays_.namespace_by_name(library))
    centre = Centre(sight, short, rooted(sight.operator.structure, root))
    return Carried(centre, field, frame, found)


@lru_cache(maxsize=64)
def axes_of(frame: Frame) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return node -> legs in the order in which a state holds them; the root has no parent axis.

    Examples
    --------
    >>> import tnet
    >>> from integrators.frame import frame_of
    >>> axes_of(frame_of(tnet.tensor_train((2, 2)), "g1"))
    (('g1', ('g0-g1', 'x1')), ('g0', ('g0-g1', 'x0')))
    """
    found = []
    for node, name in enumerate(frame.names):
        up = (frame.bond[node],) if node else ()
        found.append((name, (*up, *(slot.leg for slot in frame.slots[node]))))
    return tuple(found)


@lru_cache(maxsize=8)
def operator_of(field: LinearField) -> TreeOperator:
    """Return the operator behind the factor of a field, with its coefficients as frozen.

    Cached by the identity of the field; linear in the number of its entries.
    """
    frame = field.frame
    axes = dict(axes_of(frame))
    locals_: dict[str, tuple[Any, ...]] = {}
    cores = {}
    for node, name in enumerate(frame.names):
        for k, slot in enumerate(frame.slots[node]):
            if slot.child < 0:
                locals_[slot.leg] = _locals(field, node, k)
        entries = field.entries(node)
        legs = axes[name]
        rows = [entry.channels if node else entry.channels[1:] for entry in entries]
        channels = np.array(rows, dtype=np.int64).reshape(-1, len(legs))
        order = [legs.index(leg) for leg in frame.structure.legs[name]]
        weights = np.array([entry.weight for entry in entries])
        if weights.dtype.kind == "c" and not weights.imag.any():
            weights = weights.real
        cores[name] = SparseCore(channels[:, order], weights)
    return TreeOperator(frame.structure, locals_, cores)


def _locals(field: LinearField, node: int, slot: int) -> tuple[Any, ...]:
    matrices = field.cores.matrices[node][slot]
    size = field.frame.structure.size[field.frame.slots[node][slot].leg]
    found = []
    for place in field.cores.places[node][slot]:
        if place == IDENTITY:
            found.append(np.eye(size))
        else:
            matrix = matrices[place]
            found.append(matrix if hasattr(matrix, "nnz") else arrays_.to_numpy(matrix))
    return tuple(found)
