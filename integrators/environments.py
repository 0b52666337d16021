"""Passes over a tree: environments from below, and amplitude and environments from above."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from contraction.arrays import Array, namespace
from contraction.linalg import qr
from integrators.field import AbstractField, Environment
from integrators.threads import in_turn_or_threads
from integrators.tree_state import TreeState
from tnet._axes import contiguous


class Above(NamedTuple):
    """What a node sees above: its core times the amplitude, and the environment.

    Attributes
    ----------
    weighted
        Core with the amplitude: the state is sum weighted[c, ...] V_c x U x ... x U with V
        orthonormal.
    environment
        The field from above, in the basis V.
    """

    weighted: Array
    environment: Environment


class Parted(NamedTuple):
    """A slot of a weighted core parted by a thin QR factorisation.

    Attributes
    ----------
    rest
        Orthonormal columns over the other axes of the core (parent first), column axis last.
    matrix
        (size of the slot, columns): the weighted core is rest @ matrix.T in that slot.
    """

    rest: Array
    matrix: Array


def upward(field: AbstractField, state: TreeState, workers: int = 1) -> list[Environment]:
    """Return the environments from below of all nodes but the root, by number.

    Parameters
    ----------
    field, state
        What drives, and the isometric cores.
    workers
        Number of threads, one task per branch of the root; the result does not depend on it.

    Notes
    -----
    One application of the operator per node: about (terms that are no identities) * 8 r^4 real
    flops for complex nodes of three bonds of rank r. Subtrees that have not changed since the
    last pass of the same field (saturated ones, above all) are taken from its memory.
    """
    frame = state.frame
    found: list[Environment] = [None] * frame.count

    def work(top: int) -> None:
        known: dict[int, bool] = {}
        for node in reversed(frame.subtree(top)):
            known[node] = _environment(field, state, node, found, known)

    in_turn_or_threads(work, frame.branches, workers)
    return found


def _environment(
    field: AbstractField,
    state: TreeState,
    node: int,
    found: list[Environment],
    known: dict[int, bool],
) -> bool:
    """Put the environment of a node into `found`; tell whether the field remembered it."""
    core, memory = state.cores[node], field.memory
    held = None if memory is None else memory.get(node)
    if held is not None and held[0] is core and all(known[n] for n in state.frame.children(node)):
        found[node] = held[1]
        return True
    found[node] = field.up(node, core, found)
    if memory is not None:
        memory[node] = (core, found[node])
    return False


def part(weighted: Array, slot: int) -> Parted:
    """Part one slot from a weighted core: thin QR of its unfolding.

    Examples
    --------
    >>> import numpy as np
    >>> core = np.random.default_rng(0).normal(size=(2, 3, 4))
    >>> rest, matrix = part(core, 0)
    >>> rest.shape, np.allclose(np.einsum("acx,bx->abc", rest, matrix), core)
    ((2, 4, 3), True)
    """
    xp = namespace(weighted)
    axis = slot + 1
    order = [k for k in range(len(weighted.shape)) if k != axis]
    moved = xp.permute_dims(weighted, (*order, axis))
    shape = tuple(moved.shape)
    Q, R = qr(moved.reshape(math.prod(shape[:-1]), shape[-1]))
    rest = Q.reshape((*shape[:-1], Q.shape[1]))
    return Parted(rest, R.T)  # type: ignore[attr-defined]


def weigh(core: Array, matrix: Array) -> Array:
    """Return a child's core with the amplitude `matrix` (its rank, columns) on axis 0.

    Examples
    --------
    >>> import numpy as np
    >>> weigh(np.ones((3, 4, 2)), np.ones((3, 1))).shape
    (1, 4, 2)
    """
    shape = tuple(core.shape)
    turned = matrix.T  # type: ignore[attr-defined]
    found: Array = (turned @ core.reshape(shape[0], math.prod(shape[1:]))).reshape(
        (turned.shape[0], *shape[1:])
    )
    return found


def descend(
    field: AbstractField,
    state: TreeState,
    node: int,
    above: Above,
    below: Sequence[Environment],
    slot: int,
) -> tuple[Above, Parted]:
    """Step from a node to the child in one of its slots.

    Returns
    -------
    Above, Parted
        What the child sees, and how the slot was parted.
    """
    child = state.frame.slots[node][slot].child
    parted = part(above.weighted, slot)
    rest = contiguous(parted.rest)
    environment = field.down(node, slot, rest, above.environment, below)
    return Above(weigh(state.cores[child], parted.matrix), environment), parted


def root_above(field: AbstractField, state: TreeState) -> Above:
    """Return what the root sees above: nothing, and its own core."""
    return Above(state.cores[0], field.top())
