"""ParallelBUG: every core moves at once, from one snapshot; then the new directions are glued."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple, final

from contraction.arrays import Array, namespace
from contraction.elementary import norm as norm_of
from integrators.directions import padded
from integrators.environments import Above, Parted, part, upward
from integrators.field import AbstractField, Environment
from integrators.local_solvers import solved
from integrators.steppers.base import (
    AbstractStepper,
    Estimates,
    Statistics,
    Step,
    least_weight,
)
from integrators.steppers.branches import (
    Branch,
    Snapshot,
    down,
    grown,
    over_branches,
    snapshot,
    wider,
)
from integrators.threads import blas_for
from integrators.tree_state import TreeState


class Coupling(Enum):
    """How a core meets the new directions of a child."""

    K = "k"  # by what the child became along them: no further evaluation of the field
    FIELD = "field"  # by one step of Euler's method with the field between them


class Glue(NamedTuple):
    """A core on the new bases, before its own directions are looked at.

    Attributes
    ----------
    core
        The moved core with its coupling blocks; blocks with two new slots or more are zero.
    shape
        Shape of the old core on the new bases.
    corner
        Norm of the field in the blocks that are zero; None where it was not asked for.
    """

    core: Array
    shape: tuple[int, ...]
    corner: float | None


@final
@dataclass(frozen=True, kw_only=True)
class ParallelBUG(AbstractStepper):
    """Parallel rank-adaptive BUG: all equations are solved at once on the old bases.

    The equations do not depend on each other, and stand on the old bases instead of the doubled
    ones: a node of three large bonds takes about a seventh of the work of `AugmentedBUG`. Order
    one; neither norm nor energy is kept, they drift by O(h^2) a step. Asks for a tolerance of the
    truncation seven to ten times tighter than `AugmentedBUG` for the same quality.

    Parameters
    ----------
    coupling
        How a core meets the new directions of its children. `Coupling.K` is four to ten times as
        accurate at no cost; `Coupling.FIELD` is the published form for trees.
    measure_corner
        Report `Estimates.corner`, the part of the field that has two new directions or more at
        a node: what this method leaves out. Costs an application of the field per node on the
        new bases (always known with `Coupling.FIELD`).

    Notes
    -----
    Ceruti, Kusch and Lubich, BIT 64 (2024) 30, for matrices; Ceruti, Kusch, Lubich and Sulz,
    arXiv:2412.00858, for trees.

    Examples
    --------
    >>> import numpy as np, tnet
    >>> from integrators.binding import bind
    >>> from integrators.tree_state import TreeState
    >>> tree = tnet.balanced_tree({"a": 3, "b": 3}, 2)
    >>> net = tnet.random_network(tree, rng=np.random.default_rng(0), dtype="complex128")
    >>> state = TreeState.from_network(net)
    >>> hamiltonian = tnet.operator(tree, [(1.0, {"a": "sx", "b": "sx"}), (0.5, {"a": "sz"})])
    >>> field = bind(-1j * hamiltonian, state.frame, state.cores[0])
    >>> ParallelBUG().step(field, 0.0, 0.1, state).state.ranks
    {'t0-u0': 3, 't0-u1': 3}
    """

    coupling: Coupling = Coupling.K
    measure_corner: bool = False

    def step(self, field: AbstractField, t: float, h: float, state: TreeState) -> Step:
        """Return the augmented state at `t` + `h`."""
        with blas_for(state, self.workers):
            return self._step(field, t, h, state)

    def _step(self, field: AbstractField, t: float, h: float, state: TreeState) -> Step:
        frozen = field.at(t + h / 2)
        shot = snapshot(frozen, state, upward(frozen, state, self.workers))
        least = least_weight(self.truncation, h, state)
        done = over_branches(shot, lambda child: self._branch(shot, h, least, child), self.workers)
        cores: dict[int, Array] = {}
        coupling: dict[int, Array] = {}
        below, statistics, corners = list(shot.below), Statistics(), []
        for branch in done:
            cores.update(branch.cores)
            coupling.update(branch.coupling)
            statistics = statistics.plus(branch.statistics)
            corners.append(branch.corner)
            for node, environment in branch.below.items():
                below[node] = environment
        problem = frozen.local(0, shot.root.environment, shot.below)
        end, used = solved(self.local, problem, state.cores[0], h)
        glue = self._glued(shot, 0, shot.root, end, cores, coupling, below, h, {})
        corners.append(glue.corner)
        start = padded(state.cores[0], glue.shape)
        return Step(
            state.moved({**cores, 0: glue.core}),
            Estimates(corner=_largest(corners)),
            statistics.plus(Statistics(1, used)),
            state.moved({**cores, 0: start}),
        )

    def _branch(self, shot: Snapshot, h: float, least: float, child: int) -> Branch:
        """Solve every equation below one child of the root, then glue from the leaves up."""
        field, state = shot.field, shot.state
        descent = down(shot, child)
        ends: dict[int, Array] = {}
        statistics = Statistics()
        for node in descent.active:
            seen = descent.above[node]
            problem = field.local(node, seen.environment, shot.below)
            ends[node], used = solved(self.local, problem, seen.weighted, h)
            statistics = statistics.plus(Statistics(1, used))
        cores: dict[int, Array] = {}
        coupling: dict[int, Array] = {}
        below: list[Environment] = list(shot.below)
        corners: list[float | None] = []
        for node in reversed(descent.active):
            seen = descent.above[node]
            glue = self._glued(
                shot, node, seen, ends[node], cores, coupling, below, h, descent.parted
            )
            corners.append(glue.corner)
            cores[node], fresh = grown(state.cores[node], glue.shape, glue.core, least)
            xp = namespace(fresh)
            flat = glue.core.reshape(glue.core.shape[0], -1)
            coupling[node] = flat @ xp.conj(fresh).T
            if self._looks:
                below[node] = field.up(node, cores[node], below)
        made = {n: below[n] for n in descent.active} if self._looks else {}
        return Branch(cores, made, statistics, coupling, _largest(corners))

    @property
    def _looks(self) -> bool:
        """Whether the field is asked for on the new bases."""
        return self.measure_corner or self.coupling is Coupling.FIELD

    def _glued(
        self,
        shot: Snapshot,
        node: int,
        seen: Above,
        end: Array,
        cores: dict[int, Array],
        coupling: dict[int, Array],
        below: Sequence[Environment],
        h: float,
        parted: dict[int, Parted],
    ) -> Glue:
        """Put a moved core and its coupling blocks on the new bases of its children."""
        shape = wider(shot.state, cores, node)
        old = tuple(int(n) for n in end.shape)
        wide = (old[0], *shape[1:])
        if wide == old:
            return Glue(end, shape, 0.0 if self._looks else None)
        field_there: Any = None
        if self._looks:
            problem = shot.field.local(node, seen.environment, below)
            field_there = problem.apply(padded(seen.weighted, wide)) * _number(problem.factor)
        whole: Any = _own(padded(end, wide), end)
        for slot, below_ in enumerate(shot.state.frame.slots[node]):
            child = below_.child
            if child not in cores or wide[slot + 1] == old[slot + 1]:
                continue
            place = _block(old, wide, slot)
            if self.coupling is Coupling.FIELD:
                whole[place] = field_there[place] * h
            else:
                pieces = parted[child] if child in parted else part(seen.weighted, slot)
                whole[place] = _folded(pieces.rest, coupling[child], slot)
            if field_there is not None:
                field_there[place] = 0.0
        if field_there is None:
            return Glue(whole, shape, None)
        field_there[tuple(slice(0, n) for n in old)] = 0.0
        return Glue(whole, shape, norm_of(field_there.reshape(-1)))


def _block(old: Sequence[int], wide: Sequence[int], slot: int) -> tuple[slice, ...]:
    """Return the place of the block that is new in one slot and old in all others."""
    return tuple(
        slice(n, m) if axis == slot + 1 else slice(0, n)
        for axis, (n, m) in enumerate(zip(old, wide, strict=True))
    )


def _folded(rest: Any, matrix: Any, slot: int) -> Any:
    """Return rest (..., c) times (c, new), with the new axis in its slot."""
    xp = namespace(rest)
    shape = tuple(rest.shape)
    found = (rest.reshape(-1, shape[-1]) @ matrix).reshape((*shape[:-1], matrix.shape[1]))
    return xp.moveaxis(found, -1, slot + 1)


def _own(x: Any, given: Any) -> Any:
    """Return `x` in memory of its own."""
    return x * 1.0 if x is given else x


def _number(factor: complex) -> complex:
    return factor if complex(factor).imag else complex(factor).real


def _largest(corners: Sequence[float | None]) -> float | None:
    known = [c for c in corners if c is not None]
    return max(known) if known else None
