"""Directions that no step would find by itself: where a conserved quantity keeps sectors apart.

A basis-update step looks for new directions below a bond through the basis above it. If the
operator moves a charge across the bond (a spin flip, a particle), the new direction below goes
with a direction above that has one charge less; where neither basis has one, each waits for the
other, for ever: a magnon stands still at the edge of where it was, and the error that is reported
stays small. Two-site steps have the same fault on trees with nodes between the sites. So the
bases are widened first by what the operator's open channels make of them, weighted by the state:

    directions of A_k U S, k the channels that act on both sides of the bond,

strongest first (as subspace expansion does for sweeps: Hubig, McCulloch, Schollwoeck and Wolf,
PRB 91, 155115, 2015; Yang and White, PRB 102, 094315, 2020). The state stays the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from contraction.arrays import Array, namespace
from integrators.directions import new_directions, padded, stacked
from integrators.environments import part, weigh
from integrators.field import AbstractField
from integrators.linear_field import LinearField
from integrators.programs import IDENTITY
from integrators.steppers.base import AbstractStepper
from integrators.steppers.branches import wider
from integrators.steppers.fixed import FixedBUG
from integrators.threads import in_turn_or_threads
from integrators.tree_state import TreeState

LEAST_SHARE = 0.1  # of the tolerance per unit of time: weaker directions would not survive


def keeps_ranks(stepper: AbstractStepper) -> bool:
    """Tell whether a stepper leaves all ranks as they are.

    Examples
    --------
    >>> from integrators import TDVP
    >>> keeps_ranks(TDVP(sites=1)), keeps_ranks(TDVP(sites=2))
    (True, False)
    """
    return isinstance(stepper, FixedBUG) or getattr(stepper, "sites", 2) == 1


def opened(
    state: TreeState, field: AbstractField, most: int, *, least: float = 0.0, workers: int = 1
) -> TreeState:
    """Return the same state in bases with up to `most` directions more at every bond.

    Parameters
    ----------
    state
        Isometric but for the root.
    field
        What drives it, frozen in time; only operators (`LinearField`) open anything.
    most
        Directions per bond. Two for a bond are enough: one for a charge more, one for a charge
        less; steps fill the sectors once they are there.
    least
        Weight (Frobenius norm of the part of A_k U S along it, relative to that of the state)
        below which one is left out.
    workers
        Number of threads, one task per branch of the root; the result does not depend on it.

    Notes
    -----
    A QR factorisation and one application of the operator per node, and a Gram matrix of r times
    the number of open channels. The environments of the new bases are left in the field's memory
    for the step that follows.
    """
    if not isinstance(field, LinearField) or most < 1:
        return state
    amplitudes = _amplitudes(state)
    cores = dict(enumerate(state.cores))
    below: list[Any] = [None] * state.frame.count

    def work(top: int) -> None:
        known: dict[int, bool] = {}
        for node in reversed(state.frame.subtree(top)):
            core = padded(cores[node], wider(state, cores, node))
            if node in amplitudes:
                rows = weigh(core, amplitudes[node])
                core = _joined(core, _across(field, node, rows, below), most, least)
            cores[node] = core
            known[node] = _seen(field, node, core, below, known)

    in_turn_or_threads(work, state.frame.branches, workers)
    if all(cores[node] is core for node, core in enumerate(state.cores)):
        return state
    cores[0] = padded(state.cores[0], wider(state, cores, 0))
    return TreeState(state.frame, tuple(cores[node] for node in range(len(cores))), state.settled)


def _joined(core: Array, candidates: Sequence[Array], most: int, least: float) -> Array:
    """Return a core with the strongest new directions of some rows behind its own."""
    if not candidates:
        return core
    moved = namespace(core).concat(list(candidates), axis=0)
    return stacked(core, new_directions(core, moved, least, most))


def _across(field: LinearField, node: int, rows: Array, below: Sequence[Any]) -> list[Array]:
    """Return what the channels that act on both sides of the bond make of some rows.

    A channel that is the identity above is the part of the operator within the subtree: what it
    makes is found by every step.
    """
    upward, downward = field.upward[node], field.downward[node]
    both = {p for p, q in zip(upward, downward, strict=True) if p >= 0 and q != IDENTITY}
    if not both:
        return []
    found = field.seeds(node, rows, below)
    if len(found) < sum(place >= 0 for place in upward):
        return list(found)  # some are zero: what is left has lost its place
    return [found[place] for place in sorted(both)]


def _seen(
    field: LinearField,
    node: int,
    core: Array,
    below: list[Any],
    known: Mapping[int, bool],
) -> bool:
    """Put the environment of a node into `below`; tell whether the field remembered it."""
    memory = field.memory
    held = None if memory is None else memory.get(node)
    if held is not None and held[0] is core and all(known[n] for n in field.frame.children(node)):
        below[node] = held[1]
        return True
    below[node] = field.up(node, core, below)
    if memory is not None:
        memory[node] = (core, below[node])
    return False


def _amplitudes(state: TreeState) -> dict[int, Array]:
    """Return node -> the matrix S on the bond above it (its rank, directions above), of norm one.

    Saturated bonds have none: nothing can be opened there.
    """
    if not 0.0 < state.norm < math.inf:
        return {}
    root: Any = state.cores[0]
    weighted: dict[int, Array] = {0: root / state.norm}
    found: dict[int, Array] = {}
    for node in range(state.frame.count):
        above = weighted.pop(node, None)
        for place, slot in enumerate(state.frame.slots[node]):
            if above is not None and slot.child >= 0 and not state.saturated[slot.child]:
                found[slot.child] = part(above, place).matrix
                weighted[slot.child] = weigh(state.cores[slot.child], found[slot.child])
    return found
