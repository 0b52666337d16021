"""ParallelBUG2: second order with all cores moved at once, from bases augmented beforehand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

from contraction.arrays import Array, namespace
from contraction.linalg import qr
from integrators.directions import new_directions, padded
from integrators.environments import Above, part, upward, weigh
from integrators.field import AbstractField, Environment
from integrators.local_problem import LocalProblem, right_side
from integrators.local_solvers import solved
from integrators.steppers.base import AbstractStepper, Statistics, Step, least_weight
from integrators.steppers.branches import (
    Branch,
    Snapshot,
    down,
    grown,
    over_branches,
    snapshot,
    wider,
)
from integrators.steppers.growth import Growth
from integrators.steppers.parallel import _block, _folded
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
    rate
        The field at `start`: what the core would become in unit time.
    """

    start: Array
    environment: Environment
    rate: Array


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
    Kusch, SIAM J. Numer. Anal. 63 (2025), "Second-order robust parallel integrators for dynamical
    low-rank approximation" (arXiv:2403.02834), for matrices; on a tree every edge is treated as
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

    growth: Growth = Growth.THREE

    def step(self, field: AbstractField, t: float, h: float, state: TreeState) -> Step:
        """Return the augmented state at `t` + `h`."""
        frozen = field.at(t + h / 2)
        shot = snapshot(frozen, state, upward(frozen, state))
        least = least_weight(self.truncation, h, state)
        wide, statistics = self._widened(shot, least / abs(h) if h else least)
        root = _seen(frozen, 0, wide, Above(state.cores[0], frozen.top()))
        ways: dict[int, Way] = {}  # each thread writes the nodes of its own branch

        def work(child: int) -> Branch:
            return self._branch(shot, wide, root, ways, h, least, child)

        cores: dict[int, Array] = {}
        coupling: dict[int, Array] = {}
        for branch in over_branches(shot, work, self.workers):
            cores.update(branch.cores)
            coupling.update(branch.coupling)
            statistics = statistics.plus(branch.statistics)
        problem = frozen.local(0, root.environment, wide.below)
        end, used = solved(self.local, problem, root.start, h)
        glue = _glued(wide.state, 0, end, cores, coupling, ways)
        shape = wider(state, cores, 0)
        return Step(
            state.with_cores({**cores, 0: glue}),
            statistics=statistics.plus(Statistics(1, used + 1)),
            widened=state.with_cores({**cores, 0: padded(state.cores[0], shape)}),
        )

    def _widened(self, shot: Snapshot, least: float) -> tuple[Wide, Statistics]:
        """Join every basis by what the field makes of it, from the leaves up."""
        state = shot.state

        def work(child: int) -> Branch:
            descent = down(shot, child)
            below = list(shot.below)
            cores: dict[int, Array] = {}
            for node in reversed(descent.active):
                seen = descent.above[node]
                shape = wider(state, cores, node)
                start = padded(seen.weighted, (int(seen.weighted.shape[0]), *shape[1:]))
                rate = _rate(shot.field.local(node, seen.environment, below), start)
                cores[node], _ = grown(state.cores[node], shape, rate, least)
                below[node] = shot.field.up(node, cores[node], below)
            made = {node: below[node] for node in descent.active}
            return Branch(cores, made, Statistics(0, len(cores)), {}, None)

        below, statistics = list(shot.below), Statistics()
        cores: dict[int, Array] = {}
        for branch in over_branches(shot, work, self.workers):
            cores.update(branch.cores)
            statistics = statistics.plus(branch.statistics)
            for node, environment in branch.below.items():
                below[node] = environment
        cores[0] = padded(state.cores[0], wider(state, cores, 0))
        return Wide(state.with_cores(cores), below), statistics

    def _branch(
        self,
        shot: Snapshot,
        wide: Wide,
        root: Seen,
        ways: dict[int, Way],
        h: float,
        least: float,
        child: int,
    ) -> Branch:
        """Descend in augmented bases, move every core below a child of the root, glue upward."""
        field, state, frame = shot.field, shot.state, shot.state.frame
        active = [n for n in frame.subtree(child) if not state.saturated[n]]
        seen: dict[int, Seen] = {0: root}
        weighted: dict[int, Array] = {0: state.cores[0]}
        for node in active:
            parent = frame.parent[node]
            ways[node], weighted[node] = _way(
                shot, wide, node, weighted[parent], seen[parent], h, least
            )
            above = field.down(
                parent, frame.place[node], ways[node].rest, seen[parent].environment, wide.below
            )
            start = Above(weighted[node], above)
            seen[node] = _seen(field, node, wide, start, int(ways[node].rest.shape[-1]))
        statistics = Statistics(0, len(active))
        cores: dict[int, Array] = {}
        coupling: dict[int, Array] = {}
        for node in reversed(active):
            problem = field.local(node, seen[node].environment, wide.below)
            end, used = solved(self.local, problem, seen[node].start, h)
            statistics = statistics.plus(Statistics(1, used))
            glue = _glued(wide.state, node, end, cores, coupling, ways)
            rows: Any = glue.reshape(glue.shape[0], -1)
            xp = namespace(glue)
            looked = glue
            if self.growth is Growth.THREE:
                E: Any = xp.conj(ways[node].middle).T
                looked = (E @ rows).reshape((E.shape[0], *glue.shape[1:]))
            shape = wider(wide.state, cores, node)
            cores[node], fresh = grown(wide.state.cores[node], shape, looked, least)
            coupling[node] = rows @ xp.conj(fresh).T
        return Branch(cores, {}, statistics, coupling, None)


def _seen(
    field: AbstractField, node: int, wide: Wide, above: Above, columns: int | None = None
) -> Seen:
    """Return a node on augmented bases, with the field there."""
    shape = [int(n) for n in wide.state.cores[node].shape]
    shape[0] = int(above.weighted.shape[0]) if columns is None else columns
    start = contiguous(padded(above.weighted, tuple(shape)))
    problem = field.local(node, above.environment, wide.below)
    return Seen(start, above.environment, _rate(problem, start))


def _way(
    shot: Snapshot,
    wide: Wide,
    node: int,
    weighted: Array,
    parent: Seen,
    h: float,
    least: float,
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
    rate: Any = xp.moveaxis(parent.rate, slot + 1, -1)[..., :rank].reshape(-1, rank)
    fresh = new_directions(old.T, rate.T, least / abs(h) if h else least)
    rest: Any = xp.concat([old, fresh.T], axis=1)
    state_part: Any = xp.moveaxis(parent.start, slot + 1, -1)[..., :rank].reshape(-1, rank)
    middle, _ = qr(xp.conj(rest).T @ (state_part + rate * (h / 2)))
    shaped = contiguous(rest.reshape((*sides, rest.shape[1])))
    return Way(shaped, middle), weigh(state.cores[node], parted.matrix)


def _glued(
    state: TreeState,
    node: int,
    end: Array,
    cores: dict[int, Array],
    coupling: dict[int, Array],
    ways: dict[int, Way],
) -> Array:
    """Put a moved core and its coupling blocks on the new bases; the other blocks are zero."""
    old = tuple(int(n) for n in end.shape)
    wide: Sequence[int] = (old[0], *wider(state, cores, node)[1:])
    if tuple(wide) == old:
        return end
    whole: Any = padded(end, tuple(wide))
    for slot, below in enumerate(state.frame.slots[node]):
        if below.child in cores and wide[slot + 1] > old[slot + 1]:
            rest = ways[below.child].rest
            whole[_block(old, wide, slot)] = _folded(rest, coupling[below.child], slot)
    found: Array = whole
    return found


def _rate(problem: LocalProblem, core: Array) -> Array:
    found: Array = right_side(problem)(core)
    return found
