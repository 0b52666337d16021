"""Operator-seeded padding: the directions a product state needs before it can move.

A product state may be a fixed point of every projected flow, since what the generator does to it
is orthogonal to the tangent space. Padding the bases with what the operators of the open bonds do
to them opens the directions of the first step (and costs no accuracy: the state is the same).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from contraction.arrays import Array, namespace
from contraction.errors import InputError
from contraction.truncation import check_rank
from integrators.directions import new_directions, padded, stacked
from integrators.field import AbstractField
from integrators.tree_state import TreeState


def seeded(
    state: TreeState, field: AbstractField, rank: int, *, rounds: int | None = None
) -> TreeState:
    """Return the same state with bases padded by the generator, up to `rank` each.

    Parameters
    ----------
    state
        Usually a product state; bonds of rank `rank` or more stay as they are.
    field
        What will drive it, bound to the same frame.
    rank
        Largest rank of a padded bond.
    rounds
        How often the operators act: once gives what the first step needs, and the smallest
        errors where no symmetry keeps sectors apart; by default as often as there is room.

    Notes
    -----
    From the leaves up, each basis U is joined by A_k U for every channel k of the operator on the
    bond above it (the finished terms and the open ones), projected on the padded bases of the
    children, then by what the channels make of the directions just won, and so on while there is
    room: where a symmetry keeps sectors apart, no later step may find one that has no vector yet.
    The root's core is padded with zeros.

    Raises
    ------
    InputError
        The field is bound to another frame.
    """
    check_rank(rank, "rank")
    if rounds is not None:
        check_rank(rounds, "rounds")
    if field.frame is not state.frame:
        raise InputError("the field is bound to another frame than the state.")
    frame = state.frame
    cores = list(state.cores)
    below: list[object] = [None] * frame.count
    for node in reversed(range(frame.count)):
        core = _widened(cores, node, state)
        if node:
            fresh, left = core, math.inf if rounds is None else rounds
            while core.shape[0] < rank and fresh.shape[0] and left > 0:
                left -= 1
                fresh = _joined(field.seeds(node, fresh, below), core, rank - core.shape[0])
                core = stacked(core, fresh)
                fresh = fresh.reshape((fresh.shape[0], *core.shape[1:]))
            below[node] = field.up(node, core, below)
        cores[node] = core
    return TreeState(frame, tuple(cores))


def _joined(seeds: Sequence[Array], core: Array, most: int) -> Array:
    """Return what the seeds add to the rows of a core, the strongest `most`."""
    if not len(seeds):
        nothing: Array = core.reshape(core.shape[0], -1)[:0]
        return nothing
    moved = namespace(core).concat(list(seeds), axis=0)
    found: Array = new_directions(core, moved, most=most)
    return found


def _widened(cores: list[Array], node: int, state: TreeState) -> Any:
    """Return a core with zeros where its children have become wider."""
    slots = state.frame.slots[node]
    shape = [int(cores[node].shape[0])]
    for k, slot in enumerate(slots):
        wide = cores[slot.child].shape[0] if slot.child >= 0 else cores[node].shape[k + 1]
        shape.append(int(wide))
    return padded(cores[node], tuple(shape))
