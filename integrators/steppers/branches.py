"""What the BUG steppers share: one branch below the root is one task."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

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
    """Everything below one child of the root, or below the root, after its part of a step.

    Attributes
    ----------
    cores
        Node -> its new core.
    below
        Environments from below by node number: those of the snapshot, or of the new bases where
        a method made these.
    statistics
        What it cost.
    coupling
        Node -> how its new directions reach into its parent's core; what it is depends on the
        method.
    corner
        Largest part of the field that was dropped at a node.
    """

    cores: dict[int, Array]
    below: list[Environment]
    statistics: Statistics
    coupling: dict[int, Any]
    corner: float | None


def snapshot(field: AbstractField, state: TreeState, below: list[Environment]) -> Snapshot:
    """Return the snapshot of a state."""
    return Snapshot(field, state, below, root_above(field, state))


def gathered(shot: Snapshot, work: Callable[[int], Branch], workers: int) -> Branch:
    """Work on every branch that is not saturated, in threads if there are workers.

    Returns
    -------
    Branch
        All of them as one.
    """
    open_ = [n for n in shot.state.frame.branches if not shot.state.saturated[n]]
    found = Branch({}, list(shot.below), Statistics(), {}, None)
    for branch in in_turn_or_threads(work, open_, workers):
        found.cores.update(branch.cores)
        found.coupling.update(branch.coupling)
        for node in branch.cores:
            found.below[node] = branch.below[node]
        found = found._replace(
            statistics=found.statistics.plus(branch.statistics),
            corner=largest([found.corner, branch.corner]),
        )
    return found


def largest(corners: Sequence[float | None]) -> float | None:
    """Return the largest of the numbers that are known.

    Examples
    --------
    >>> largest([None, 1.0, 2.0]), largest([None])
    (2.0, None)
    """
    known = [corner for corner in corners if corner is not None]
    return max(known) if known else None


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
