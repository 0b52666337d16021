"""Fields: what drives a state, bound to a frame, through environments that only fields read.

A stepper asks three things of a field, for one node at a time, and everything else about it is
linear algebra on cores:

- `up`: what the field looks like from the bond above a node, in the basis of its subtree;
- `down`: what it looks like from a bond below a node, in the basis of everything else;
- `local`: the differential equation of one core between the environments around it.

`up` and `down` return environments that are opaque to the stepper: it keeps them in a list by
node number and hands them back. They may belong to any orthonormal bases (old, augmented,
half-way), as long as both sides of a bond mean the same.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TypeAlias

from contraction.arrays import Array
from integrators.frame import Frame
from integrators.local_problem import LocalProblem

Environment: TypeAlias = Any


class AbstractField(ABC):
    """The right-hand side of dY/dt = F(t, Y), seen from the bonds and nodes of a tree."""

    frame: Frame
    #: Whether F(t, c Y) = c F(t, Y): what is very large or small may then be scaled for a step.
    homogeneous: bool = False
    #: node -> (core, its environment from below) of the last pass; None forgets. A subtree whose
    #: cores are the same objects as before is not looked at again (`environments.upward`).
    memory: dict[int, tuple[Array, Environment]] | None = None

    def at(self, t: float) -> AbstractField:
        """Return the field with its time-dependent coefficients frozen at time `t`."""
        return self

    def top(self) -> Environment:
        """Return the environment above the root."""
        return None

    @abstractmethod
    def up(self, node: int, core: Array, below: Sequence[Environment]) -> Environment:
        """Return the environment of the bond above `node`, from below.

        Parameters
        ----------
        node
            Its number.
        core
            Isometric core (rows orthonormal), axis 0 to the parent.
        below
            The upward environments, by node number; those of the children are read.
        """

    @abstractmethod
    def down(
        self, node: int, slot: int, rest: Array, above: Environment, below: Sequence[Environment]
    ) -> Environment:
        """Return the environment of the bond in a slot of `node`, from above.

        Parameters
        ----------
        node, slot
            Number of the node, and which of its slots is the bond.
        rest
            Orthonormal columns: the other axes of the core in their order (parent first), then
            one axis that numbers the new basis of everything outside the child's subtree.
        above
            The environment above the node.
        below
            The upward environments, by node number; those of the other children are read.
        """

    @abstractmethod
    def local(self, node: int, above: Environment, below: Sequence[Environment]) -> LocalProblem:
        """Return the equation of the core of `node` between its environments."""

    @abstractmethod
    def bond(self, node: int, above: Environment, below: Sequence[Environment]) -> LocalProblem:
        """Return the equation of the matrix on the bond above `node`.

        The matrix S (basis above, basis below) stands for the state sum S[c, a] V_c x U_a; the
        environments are `above` of the bond, and `below[node]`.
        """

    def seeds(self, node: int, core: Array, below: Sequence[Environment]) -> Sequence[Array]:
        """Return cores that the field would turn the basis of `node` into, most useful first.

        Used to pad product states (`integrators.seeding.seeded`); none by default.
        """
        return ()
