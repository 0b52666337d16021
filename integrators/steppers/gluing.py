"""Gluing: cores that moved apart from each other meet again on the new bases of their children."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from contraction.arrays import Array, namespace
from integrators.directions import padded
from integrators.frame import Frame
from integrators.norms import frobenius


def widened_slots(
    frame: Frame, node: int, old: Sequence[int], wide: Sequence[int]
) -> list[tuple[int, int]]:
    """Return (slot, child) of the bonds below a node whose bases have new directions."""
    return [
        (slot, below.child)
        for slot, below in enumerate(frame.slots[node])
        if below.child >= 0 and wide[slot + 1] > old[slot + 1]
    ]


def glued(end: Array, wide: Sequence[int], blocks: Mapping[int, Array]) -> Array:
    """Return a moved core on wider bases.

    Parameters
    ----------
    end
        The core on the old bases.
    wide
        Its shape on the new ones, old directions first.
    blocks
        Slot -> the block that is new in this slot and old in all others. Blocks that are new in
        two slots or more are zero.

    Examples
    --------
    >>> import numpy as np
    >>> glued(np.ones((1, 1, 1)), (1, 2, 2), {0: 2 * np.ones((1, 1, 1)), 1: 3 * np.ones((1, 1, 1))})
    array([[[1., 3.],
            [2., 0.]]])
    """
    if not blocks:
        return end
    old = tuple(int(n) for n in end.shape)
    whole: Any = padded(end, tuple(wide))
    for slot, values in blocks.items():
        whole[new_block(old, wide, slot)] = values
    found: Array = whole
    return found


def new_block(old: Sequence[int], wide: Sequence[int], slot: int) -> tuple[slice, ...]:
    """Return the place of the block that is new in one slot and old in all others.

    Examples
    --------
    >>> new_block((1, 2, 3), (1, 4, 6), 0)
    (slice(0, 1, None), slice(2, 4, None), slice(0, 3, None))
    """
    return tuple(
        slice(n, m) if axis == slot + 1 else slice(0, n)
        for axis, (n, m) in enumerate(zip(old, wide, strict=True))
    )


def folded(rest: Array, coupling: Array, slot: int) -> Array:
    """Return what a child became along its new directions, as a block of its parent's core.

    Parameters
    ----------
    rest
        Orthonormal columns over the other axes of the parent's core, column axis last.
    coupling
        The child's moved core times its new directions: (columns, new).
    slot
        Where the new axis goes.

    Examples
    --------
    >>> import numpy as np
    >>> folded(np.ones((2, 3, 4)), np.ones((4, 5)), 0).shape
    (2, 5, 3)
    """
    xp = namespace(rest)
    shape = tuple(rest.shape)
    matrix: Any = rest.reshape(-1, shape[-1])
    found = (matrix @ coupling).reshape((*shape[:-1], coupling.shape[1]))
    moved: Array = xp.moveaxis(found, -1, slot + 1)
    return moved


def along_new(core: Array, fresh: Array) -> Array:
    """Return (rows of a core, new directions): the core's part along them.

    Examples
    --------
    >>> import numpy as np
    >>> along_new(np.arange(4.0).reshape(1, 2, 2), np.eye(4)[:2])
    array([[0., 1.]])
    """
    rows: Any = core.reshape(core.shape[0], -1)
    found: Array = rows @ namespace(core).conj(fresh).T
    return found


def corner_of(there: Any, old: Sequence[int], blocks: Mapping[int, Array]) -> float:
    """Return the norm of a core outside its old block and the blocks that are new in one slot.

    Parameters
    ----------
    there
        The field at a node on the new bases.
    old
        Shape of the core on the old ones.
    blocks
        The slots that are wider.

    Examples
    --------
    >>> import numpy as np
    >>> corner_of(np.full((1, 2, 2), 3.0), (1, 1, 1), {0: np.ones(1), 1: np.ones(1)})
    3.0
    """
    rest: Any = there * 1.0
    rest[tuple(slice(0, n) for n in old)] = 0.0
    wide = tuple(int(n) for n in rest.shape)
    for slot in blocks:
        rest[new_block(old, wide, slot)] = 0.0
    return frobenius(rest)
