"""Nonlinear: any function from networks to networks as what drives a state.

The function gets the state as a network and returns F(t, Y) as one on the same tree, with ranks
of its own. A core's equation is F between the bases around the core: the restriction of F to
what the core can move (Ceruti, Lubich and Walach, SIAM J. Numer. Anal. 59 (2021) 289).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

from contraction.arrays import Array, namespace
from contraction.errors import InputError, StructureError
from integrators.field import AbstractField, Environment
from integrators.frame import Frame
from integrators.local_problem import LocalProblem, right_side
from tnet.network import Network


@dataclass(frozen=True, eq=False)
class Nonlinear:
    """A generator given as a function: dY/dt = function(t, Y).

    Parameters
    ----------
    function
        (time, network) -> network on the same tree, any ranks. It gets the time at the middle
        of the step, and the state with its centre at the node that moves.

    Notes
    -----
    The function is called once for every stage of every node, and its result is restricted in
    one pass over the tree: O(nodes) calls per step, each of O(nodes). Use operators for what is
    linear, and `Together` for sums of both.

    Products multiply ranks: the square of a state of rank r has rank r^2, its cube r^3. Round in
    between (`tnet.truncate(tnet.hadamard(y, y), Truncation(tol=1e-6))`) where factors follow.
    `RungeKutta4()` as the local solver takes four calls a node and step; the default follows the
    equations of the cores to 1e-8 with more. The directions of `evolve(opening=...)` are made
    for operators only, so give a start that has no symmetry the solution lacks.

    Examples
    --------
    >>> import numpy as np, tnet
    >>> from integrators import AugmentedBUG, evolve
    >>> logistic = Nonlinear(lambda t, y: y - tnet.hadamard(y, y))
    >>> tree = tnet.balanced_tree({"a": 2, "b": 3})
    >>> start = tnet.product_state(tree, {"a": [0.5, 0.5], "b": [1.0, 1.0, 1.0]})
    >>> end = evolve(logistic, start, t1=1.0, dt=0.1, stepper=AugmentedBUG()).state
    >>> bool(np.allclose(end.to_dense(), 1 / (1 + np.exp(-1.0)), atol=1e-4))
    True
    """

    function: Callable[[float, Network], Network]

    def on_frame(self, frame: Frame, like: Array) -> AbstractField:
        """Return the field on a frame."""
        return NonlinearField(frame, self.function)


@dataclass(frozen=True, eq=False)
class Together:
    """The sum of several generators of different kinds.

    Parameters
    ----------
    generators
        Operators, `Driven`, `Nonlinear`, fields.

    Examples
    --------
    >>> import tnet
    >>> tree = tnet.balanced_tree({"a": 2, "b": 3})
    >>> decay = tnet.operator(tree, [(-1.0, {})])
    >>> len(Together((decay, Nonlinear(lambda t, y: tnet.hadamard(y, y)))).generators)
    2
    """

    generators: Sequence[Any]

    def on_frame(self, frame: Frame, like: Array) -> AbstractField:
        """Return the field on a frame."""
        from integrators.binding import bind  # it calls this

        if not self.generators:
            raise InputError("`Together` needs at least one generator.")
        return SumField(frame, [bind(generator, frame, like) for generator in self.generators])


class Below(NamedTuple):
    """The basis of a subtree: its top core and the bases below it."""

    node: int
    core: Array
    children: tuple[Below, ...]


class Outside(NamedTuple):
    """The basis of everything but a subtree: the orthonormal rest of the node above, and on."""

    node: int
    slot: int
    rest: Array  # (parent, other slots, basis)
    above: Outside | None
    siblings: tuple[Below, ...]


@final
class NonlinearField(AbstractField):
    """A function of networks on a frame; its environments are the bases themselves."""

    def __init__(
        self, frame: Frame, function: Callable[[float, Network], Network], time: float = 0.0
    ) -> None:
        self.frame, self._function, self._time = frame, function, time

    def at(self, t: float) -> AbstractField:
        """Return the field frozen at time `t`."""
        return NonlinearField(self.frame, self._function, t)

    def up(self, node: int, core: Array, below: Sequence[Environment]) -> Environment:
        """Return the basis of the subtree of `node`."""
        return Below(node, core, self._children(node, below, -1))

    def down(
        self, node: int, slot: int, rest: Array, above: Environment, below: Sequence[Environment]
    ) -> Environment:
        """Return the basis of everything outside the subtree in a slot of `node`."""
        return Outside(node, slot, rest, above, self._children(node, below, slot))

    def local(self, node: int, above: Environment, below: Sequence[Environment]) -> LocalProblem:
        """Return the equation of the core of `node`."""
        around = Around(self.frame, node, above, self._children(node, below, -1))
        return LocalProblem(lambda z: self._restricted(around, z), linear=False)

    def bond(self, node: int, above: Environment, below: Sequence[Environment]) -> LocalProblem:
        """Return the equation of the matrix on the bond above `node`."""
        under: Below = below[node]
        around = Around(self.frame, node, above, under.children)
        core = under.core
        rows = core.reshape(core.shape[0], math.prod(core.shape[1:]))
        adjoint = namespace(core).conj(rows).T

        def apply(matrix: Array) -> Array:
            z = (matrix @ rows).reshape((matrix.shape[0], *core.shape[1:]))
            moved = self._restricted(around, z)
            found: Array = moved.reshape(moved.shape[0], rows.shape[1]) @ adjoint
            return found

        return LocalProblem(apply, linear=False)

    def _children(self, node: int, below: Sequence[Environment], without: int) -> tuple[Below, ...]:
        return tuple(
            below[slot.child]
            for k, slot in enumerate(self.frame.slots[node])
            if slot.child >= 0 and k != without
        )

    def _restricted(self, around: Around, core: Array) -> Array:
        moved = self._function(self._time, around.network(core))
        if not isinstance(moved, Network):
            raise InputError(
                f"a nonlinear generator returns a Network, got {type(moved).__name__}."
            )
        return around.restricted(moved)


class Around:
    """The bases around one core: puts a core between them, and restricts networks to it."""

    def __init__(
        self, frame: Frame, node: int, above: Outside | None, children: tuple[Below, ...]
    ) -> None:
        self.frame, self.node = frame, node
        self.path: list[Outside] = []  # from the parent to the root
        while above is not None:
            self.path.append(above)
            above = above.above
        stack = [*children, *(b for out in self.path for b in out.siblings)]
        self.bases: dict[int, Array] = {}
        while stack:
            base = stack.pop()
            self.bases[base.node] = base.core
            stack.extend(base.children)

    def network(self, core: Array) -> Network:
        """Return the state with `core` at the node, which is its centre."""
        arrays = {node: self._turned(node, x) for node, x in self.bases.items()}
        arrays[self.node] = self._turned(self.node, core)
        for out in self.path:
            xp = namespace(out.rest)
            arrays[out.node] = self._turned(out.node, xp.moveaxis(out.rest, -1, out.slot + 1))
        names = self.frame.names
        structure = self.frame.structure
        sizes = {
            leg: int(n)
            for node, x in arrays.items()
            for leg, n in zip(structure.legs[names[node]], x.shape, strict=True)
        }
        held = {names[node]: x for node, x in arrays.items()}
        return Network(structure.resized(sizes), held, center=names[self.node])

    def restricted(self, net: Network) -> Array:
        """Return <bases around the core, net>, in the shape of the core."""
        if net.structure.nodes != self.frame.structure.nodes:
            raise StructureError(
                "a nonlinear generator returns a network on the tree of the state; this one has "
                f"nodes {list(net.structure.node_names[:6])}."
            )
        cores = {
            node: self._straight(node, net[name]) for node, name in enumerate(self.frame.names)
        }
        overlaps: dict[int, Array] = {}  # node -> (basis, rank of net) on the bond above it
        for node in sorted(self.bases, reverse=True):
            moved = self._seen(node, cores[node], overlaps, -1)
            overlaps[node] = _product(self.bases[node], moved, 0)
        above: Array | None = None
        for out in reversed(self.path):
            moved = self._seen(out.node, cores[out.node], overlaps, out.slot, above)
            xp = namespace(moved)
            rest = xp.moveaxis(out.rest, -1, out.slot + 1)
            above = _product(rest, moved, out.slot + 1)
        return self._seen(self.node, cores[self.node], overlaps, -1, above)

    def _seen(
        self,
        node: int,
        core: Array,
        overlaps: dict[int, Array],
        without: int,
        above: Array | None = None,
    ) -> Array:
        """Return a core of the other network with its known sides in our bases."""
        xp = namespace(core)
        x: Any = core
        sides = [(0, above)] if above is not None else []
        sides += [
            (k + 1, overlaps[slot.child])
            for k, slot in enumerate(self.frame.slots[node])
            if slot.child >= 0 and k != without
        ]
        for axis, matrix in sides:
            x = xp.moveaxis(xp.tensordot(matrix, x, axes=((1,), (axis,))), 0, axis)
        found: Array = x
        return found

    def _turned(self, node: int, core: Array) -> Array:
        """Return a core with its axes in the order of the node's legs."""
        xp = namespace(core)
        if not node:
            return core.reshape(tuple(core.shape[1:]))
        order = [0] * len(core.shape)
        order[self.frame.axis[node]] = 0
        for k, slot in enumerate(self.frame.slots[node]):
            order[slot.axis] = k + 1
        turned: Array = xp.permute_dims(core, tuple(order))
        return turned

    def _straight(self, node: int, x: Array) -> Array:
        """Return a node's array with its axes in the order of a core."""
        if not node:
            return x.reshape((1, *x.shape))
        axes = [slot.axis for slot in self.frame.slots[node]]
        found: Array = namespace(x).permute_dims(x, (self.frame.axis[node], *axes))
        return found


def _product(basis: Array, x: Array, axis: int) -> Array:
    """Return <basis, x> over all axes but one: (size in basis, size in x)."""
    xp = namespace(basis)
    a, b = (xp.moveaxis(y, axis, 0) for y in (basis, x))
    a, b = (y.reshape(y.shape[0], math.prod(y.shape[1:])) for y in (a, b))
    found: Array = xp.conj(a) @ b.T
    return found


@final
class SumField(AbstractField):
    """The sum of fields on one frame; an environment is one of each."""

    def __init__(self, frame: Frame, fields: Sequence[AbstractField]) -> None:
        self.frame, self._fields = frame, tuple(fields)

    def at(self, t: float) -> AbstractField:
        """Return the fields frozen at time `t`."""
        return SumField(self.frame, [field.at(t) for field in self._fields])

    def top(self) -> Environment:
        """Return the environments above the root."""
        return tuple(field.top() for field in self._fields)

    def up(self, node: int, core: Array, below: Sequence[Environment]) -> Environment:
        """Return the environments of the bond above `node`, from below."""
        parts = self._parts(below)
        return tuple(f.up(node, core, part) for f, part in zip(self._fields, parts, strict=True))

    def down(
        self, node: int, slot: int, rest: Array, above: Environment, below: Sequence[Environment]
    ) -> Environment:
        """Return the environments of the bond in a slot of `node`, from above."""
        parts = zip(self._fields, above, self._parts(below), strict=True)
        return tuple(field.down(node, slot, rest, over, part) for field, over, part in parts)

    def local(self, node: int, above: Environment, below: Sequence[Environment]) -> LocalProblem:
        """Return the equation of the core of `node`."""
        parts = zip(self._fields, above, self._parts(below), strict=True)
        return _summed([field.local(node, over, part) for field, over, part in parts])

    def bond(self, node: int, above: Environment, below: Sequence[Environment]) -> LocalProblem:
        """Return the equation of the matrix on the bond above `node`."""
        parts = zip(self._fields, above, self._parts(below), strict=True)
        return _summed([field.bond(node, over, part) for field, over, part in parts])

    def seeds(self, node: int, core: Array, below: Sequence[Environment]) -> Sequence[Array]:
        """Return the seeds of all fields."""
        parts = zip(self._fields, self._parts(below), strict=True)
        return [seed for field, part in parts for seed in field.seeds(node, core, part)]

    def _parts(self, below: Sequence[Environment]) -> list[list[Environment]]:
        return [
            [None if env is None else env[k] for env in below] for k in range(len(self._fields))
        ]


def _summed(problems: Sequence[LocalProblem]) -> LocalProblem:
    sides = [right_side(problem) for problem in problems]

    def apply(z: Array) -> Array:
        total: Any = sides[0](z)
        for side in sides[1:]:
            total = total + side(z)
        found: Array = total
        return found

    return LocalProblem(apply, linear=all(problem.linear for problem in problems))
