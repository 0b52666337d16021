"""What the BUG steppers share: one branch below the root is one task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from contraction.arrays import Array
from integrators.directions import new_directions, padded, stacked
from integrators.environments import Above, Parted, descend, root_above
from integrators.field import AbstractField, Environment
from integrators.steppers.base import Statistics
from integrators.threads import in_turn_or_threads
from integrators.tree_state import TreeState


class Snapshot(NamedTuple):
    """A state with its environments from below, from which a step starts.

    Attributes
    ----------
    field, state
        What drives (frozen in time), and the state.
    below
        Environments from below, by node number.
    root
        What the root sees.
    """

    field: AbstractField
    state: TreeState
    below: list[Environment]
    root: Above


class Descent(NamedTuple):
    """What the active nodes below one child of the root see, and how they were parted."""

    active: list[int]  # parents first
    above: dict[int, Above]
    parted: dict[int, Parted]  # child -> its slot at the parent


class Branch(NamedTuple):
    """Everything below one child of the root after its part of a step.

    Attributes
    ----------
    cores
        Node -> its new core.
    below
        Node -> environment of the new bases from below, where that was made.
    moved
        The child of the root, and what it became along its new directions: (columns above,
        new rows); None where the method does not couple that way.
    corner
        Largest part of the field that was dropped at a node.
    """

    cores: dict[int, Array]
    below: dict[int, Environment]
    statistics: Statistics
    coupling: dict[int, Array]
    corner: float | None


def snapshot(field: AbstractField, state: TreeState, below: list[Environment]) -> Snapshot:
    """Return the snapshot of a state."""
    return Snapshot(field, state, below, root_above(field, state))


def over_branches(shot: Snapshot, work: Callable[[int], Branch], workers: int) -> list[Branch]:
    """Work on every branch that is not saturated, in threads if there are workers."""
    open_ = [n for n in shot.state.frame.branches if not shot.state.saturated[n]]
    return in_turn_or_threads(work, open_, workers)


def down(shot: Snapshot, child: int) -> Descent:
    """Go from the root to every active node below one of its children."""
    state, frame = shot.state, shot.state.frame
    active = [n for n in frame.subtree(child) if not state.saturated[n]]
    above: dict[int, Above] = {0: shot.root}
    parted: dict[int, Parted] = {}
    for node in active:
        parent = frame.parent[node]
        above[node], parted[node] = descend(
            shot.field, state, parent, above[parent], shot.below, frame.place[node]
        )
    return Descent(active, above, parted)


def wider(state: TreeState, cores: dict[int, Array], node: int) -> tuple[int, ...]:
    """Return the shape of a node's old core on the bases its children have now."""
    shape = [int(n) for n in state.cores[node].shape]
    for k, slot in enumerate(state.frame.slots[node]):
        if slot.child in cores:
            shape[k + 1] = int(cores[slot.child].shape[0])
    return tuple(shape)


def grown(core: Array, shape: Sequence[int], moved: Array, least: float) -> tuple[Array, Array]:
    """Return the old core on wider bases with the new directions of `moved` behind, and those.

    Parameters
    ----------
    core
        The isometric core before.
    shape
        Its shape on the bases its children have now.
    moved
        The weighted core after, of that shape but for axis 0.
    least
        Directions of a weight not above this are left out.
    """
    basis = padded(core, tuple(shape))
    fresh = new_directions(core, moved, least)
    return stacked(basis, fresh), fresh
