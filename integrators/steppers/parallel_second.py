"""ParallelBUG2: second order with all cores moved at once, from bases augmented beforehand."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, final

from contraction.arrays import Array, namespace
from contraction.linalg import qr
from integrators.directions import new_directions, padded
from integrators.environments import Above, part, upward, weigh
from integrators.field import AbstractField, Environment
from integrators.local_problem import LocalProblem, first_rate
from integrators.local_solvers import solved
from integrators.steppers.base import AbstractStepper, Statistics, Step, least_weight, prepared
from integrators.steppers.branches import (
    Branch,
    Snapshot,
    down,
    gathered,
    grown,
    snapshot,
    wider,
)
from integrators.steppers.gluing import along_new, folded, glued, widened_slots
from integrators.steppers.growth import Growth
from integrators.tree_state import TreeState
from tnet._axes import contiguous


class Wide(NamedTuple):
    """The old state on augmented bases, seen from below.

    Attributes
    ----------
    state
        The old state: every core padded, the old basis first.
    below
        The field from below in the augmented bases.
    """

    state: TreeState
    below: list[Environment]


class Seen(NamedTuple):
    """A node between augmented bases on all sides, before it moves.

    Attributes
    ----------
    start
        Weighted core on the augmented bases, padded.
    environment
        The field from above in the augmented basis.
    problem
        Its equation, with what the field makes of `start`.
    """

    start: Array
    environment: Environment
    problem: LocalProblem


class Way(NamedTuple):
    """How a node hangs on its parent in the augmented bases.

    Attributes
    ----------
    rest
        Augmented orthonormal columns over the other axes of the parent's core, column axis last.
    middle
        (columns, rows): orthonormal, the columns that the state in the middle of the step has.
    """

    rest: Array
    middle: Array


class Hinge(NamedTuple):
    """How a node's new directions reach into its parent's core: `rest` times `coupling`."""

    rest: Array
    coupling: Array


@final
@dataclass(frozen=True, kw_only=True)
class ParallelBUG2(AbstractStepper):
    """Second-order parallel BUG: bases augmented by the field first, then all cores at once.

    Bases below and above every bond are joined by what the field makes of them; in these bases
    every core moves on its own, all in parallel; what the cores became is glued as in
    `ParallelBUG`. Order two. Norm and energy drift, by O(h^4) where the ranks hold the state and
    by O(eps h^2) a step where they leave out a part eps of the field.

    Parameters
    ----------
    growth
        `Growth.THREE` (ranks up to threefold) looks for last directions along the columns that
        the state has in the middle of the step; `Growth.FOUR` along all. Errors differ by less
        than two per cent.

    Notes
    -----
    Kusch, "Second-order robust parallel integrators for dynamical low-rank approximation",
    arXiv:2403.02834, for matrices; on a tree every edge is treated as
    such a matrix. A step costs 2 to 2.5 times one of `AugmentedBUG` at ranks of 16, and more at
    larger ones, since cores are doubled in every direction.

    Examples
    --------
    >>> import numpy as np, tnet
    >>> from integrators.binding import bind
    >>> from integrators.tree_state import TreeState
    >>> tree = tnet.balanced_tree({"a": 4, "b": 4}, 1)
    >>> net = tnet.random_network(tree, rng=np.random.default_rng(0), dtype="complex128")
    >>> state = TreeState.from_network(net)
    >>> hamiltonian = tnet.operator(tree, [(1.0, {"a": "sx", "b": "sx"}), (0.5, {"a": "sz"})])
    >>> field = bind(-1j * hamiltonian, state.frame, state.cores[0])
    >>> after = ParallelBUG2().step(field, 0.0, 0.01, state).state
    >>> bool(abs(after.norm - state.norm) < 1e-4 * state.norm)
    True
    """

    order: ClassVar[int] = 2

    growth: Growth = Growth.THREE

    def step(self, field: AbstractField, t: float, h: float, state: TreeState) -> Step:
        """Return the augmented state at `t` + `h`."""
        return prepared(self._step, self.workers, field, t, h, state)

    def _step(self, field: AbstractField, t: float, h: float, state: TreeState) -> Step:
        frozen = field.at(t + h / 2)
        shot = snapshot(frozen, state, upward(frozen, state, self.workers))
        least = least_weight(self.truncation, h, state)
        wide, statistics = self._widened(shot, least_weight(self.truncation, 1.0, state))
        root = _seen(frozen, 0, wide, Above(state.cores[0], frozen.top()), 1)

        def work(child: int) -> Branch:
            return self._branch(shot, wide, root, h, least, child)

        done = gathered(shot, work, self.workers)
        end, used = solved(self.local, root.problem, root.start, h)
        glue = _glued(wide.state, 0, end, done)
        shape = wider(state, done.cores, 0)
        return Step(
            state.moved({**done.cores, 0: glue}),
            statistics=done.statistics.plus(statistics).plus(Statistics(1, used + 1)),
            widened=state.moved({**done.cores, 0: padded(state.cores[0], shape)}),
        )

    def _widened(self, shot: Snapshot, least: float) -> tuple[Wide, Statistics]:
        """Join every basis by what the field makes of it, from the leaves up."""
        state = shot.state

        def work(child: int) -> Branch:
            descent = down(shot, child)
            done = Branch({}, list(shot.below), Statistics(0, len(descent.active)), {}, None)
            for node in reversed(descent.active):
                seen = descent.above[node]
                shape = wider(state, done.cores, node)
                start = padded(seen.weighted, (int(seen.weighted.shape[0]), *shape[1:]))
                rate = first_rate(shot.field.local(node, seen.environment, done.below), start)
                done.cores[node], _ = grown(state.cores[node], shape, rate, least)
                done.below[node] = shot.field.up(node, done.cores[node], done.below)
            return done

        done = gathered(shot, work, self.workers)
        done.cores[0] = padded(state.cores[0], wider(state, done.cores, 0))
        return Wide(state.with_cores(done.cores), done.below), done.statistics

    def _branch(
        self, shot: Snapshot, wide: Wide, root: Seen, h: float, least: float, child: int
    ) -> Branch:
        """Descend in augmented bases, move every core below a child of the root, glue upward."""
        field, state, frame = shot.field, shot.state, shot.state.frame
        active = [n for n in frame.subtree(child) if not state.saturated[n]]
        seen: dict[int, Seen] = {0: root}
        weighted: dict[int, Array] = {0: state.cores[0]}
        ways: dict[int, Way] = {}
        for node in active:
            parent = frame.parent[node]
            way, weighted[node] = _way(shot, node, weighted[parent], seen[parent], h, least)
            above = field.down(
                parent, frame.place[node], way.rest, seen[parent].environment, wide.below
            )
            ways[node] = way
            columns = int(way.rest.shape[-1])
            seen[node] = _seen(field, node, wide, Above(weighted[node], above), columns)
        done = Branch({}, list(shot.below), Statistics(0, len(active)), {}, None)
        for node in reversed(active):
            way, here = ways.pop(node), seen.pop(node)
            end, used = solved(self.local, here.problem, here.start, h)
            done = done._replace(statistics=done.statistics.plus(Statistics(1, used)))
            glue = _glued(wide.state, node, end, done)
            looked = self._looked(glue, way)
            shape = wider(wide.state, done.cores, node)
            done.cores[node], fresh = grown(wide.state.cores[node], shape, looked, least)
            done.coupling[node] = Hinge(way.rest, along_new(glue, fresh))
        return done

    def _looked(self, glue: Array, way: Way) -> Array:
        """Return the rows of a moved core that are looked at for last directions."""
        if self.growth is Growth.FOUR:
            return glue
        xp = namespace(glue)
        E: Any = xp.conj(way.middle).T
        found: Array = (E @ glue.reshape(glue.shape[0], -1)).reshape((-1, *glue.shape[1:]))
        return found


def _seen(field: AbstractField, node: int, wide: Wide, above: Above, columns: int) -> Seen:
    """Return a node on augmented bases, with the field there."""
    shape = (columns, *(int(n) for n in wide.state.cores[node].shape[1:]))
    start = contiguous(padded(above.weighted, shape))
    problem = field.local(node, above.environment, wide.below)
    return Seen(start, above.environment, problem._replace(known=problem.apply(start)))


def _way(
    shot: Snapshot, node: int, weighted: Array, parent: Seen, h: float, least: float
) -> tuple[Way, Array]:
    """Augment what a node sees above by what the field makes of it; weigh the node's old core."""
    state, frame = shot.state, shot.state.frame
    slot = frame.place[node]
    rank = int(state.cores[node].shape[0])
    parted = part(weighted, slot)
    xp = namespace(weighted)
    columns = int(parted.rest.shape[-1])
    sides = [int(n) for k, n in enumerate(parent.start.shape) if k != slot + 1]
    old: Any = padded(parted.rest, (*sides, columns)).reshape(math.prod(sides), columns)
    moved: Any = first_rate(parent.problem, parent.start)
    rate: Any = xp.moveaxis(moved, slot + 1, -1)[..., :rank].reshape(-1, rank)
    fresh = new_directions(old.T, rate.T, least / abs(h) if h else least)
    rest: Any = xp.concat([old, fresh.T], axis=1)
    start: Any = parent.start
    before: Any = xp.moveaxis(start, slot + 1, -1)[..., :rank].reshape(-1, rank)
    middle, _ = qr(xp.conj(rest).T @ (before + rate * (h / 2)))
    shaped = contiguous(rest.reshape((*sides, rest.shape[1])))
    return Way(shaped, middle), weigh(state.cores[node], parted.matrix)


def _glued(state: TreeState, node: int, end: Array, done: Branch) -> Array:
    """Put a moved core and its coupling blocks on the new bases; the other blocks are zero."""
    old = tuple(int(n) for n in end.shape)
    wide = (old[0], *wider(state, done.cores, node)[1:])
    blocks: dict[int, Array] = {}
    for slot, child in widened_slots(state.frame, node, old, wide):
        hinge: Hinge = done.coupling[child]
        blocks[slot] = folded(hinge.rest, hinge.coupling, slot)
    return glued(end, wide, blocks)
