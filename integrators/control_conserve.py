"""What a truncation must not change: the norm, or chosen linear moments of the state.

A truncation turns Y into Z = Y + E with a small E. Linear functionals <w, .> that the step kept
are lost with E; they are restored by the smallest change of the root's core alone,

    C += sum_k a_k D_k,   D_k = w_k in the bases of Z,   sum_k <D_j, D_k> a_k = <w_j, Y - Z>,

so that they have the values they had before the truncation, to rounding. The bases stay.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from contraction.arrays import Array, dtype_name, is_complex, namespace, to_numpy
from contraction.errors import InputError
from integrators.tree_state import TreeState
from tnet._axes import apply_matrix
from tnet.network import Network

NOISE = 1e-13  # relative to the largest: below it a moment is a combination of the others


@dataclass(frozen=True, kw_only=True, eq=False)
class AbstractKeep(ABC):
    """Restores something after a truncation."""

    @abstractmethod
    def restored(self, before: TreeState, after: TreeState) -> TreeState:
        """Return `after` with what is kept as it was `before`."""


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class KeepNorm(AbstractKeep):
    """Keep the norm of the first state: for flows that are unitary in exact arithmetic.

    The norms and the drift of a `Flow` are still those of the scheme itself.
    """

    def restored(self, before: TreeState, after: TreeState) -> TreeState:
        """Return `after` as it is: the evolution scales it, since it knows the first norm."""
        return after


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class KeepMoments(AbstractKeep):
    """Keep linear functionals <w, Y> (mass, momentum, ...) through the truncations.

    It makes an evolution conserve them as well as its steps do: Galerkin steps in bases that
    contain w to rounding, others to their order.

    Parameters
    ----------
    moments
        The w, as networks on the graph of the state (product states mostly); <w, Y> is the sum
        of conj(w) Y.

    Raises
    ------
    InputError
        No moments.
    """

    moments: Sequence[Network]

    def __post_init__(self) -> None:
        if not self.moments:
            raise InputError("`KeepMoments` needs one network or more.")

    def restored(self, before: TreeState, after: TreeState) -> TreeState:
        """Return `after` with a corrected core at the root.

        Notes
        -----
        One contraction of each w with the bases before and after: linear in the number of
        nodes.
        """
        wanted, found, directions = [], [], []
        for moment in self.moments:
            alike = moment.to(dtype=dtype_name(before.cores[0]))
            w = TreeState.from_network(alike, before.frame)
            wanted.append(_inner(in_bases(w, before), before.cores[0]))
            directions.append(in_bases(w, after))
            found.append(_inner(directions[-1], after.cores[0]))
        gram = np.asarray([[_inner(a, b) for b in directions] for a in directions])
        missing = np.asarray(wanted) - np.asarray(found)
        shares: Any = np.linalg.pinv(gram, rcond=NOISE, hermitian=True) @ missing
        core: Any = after.cores[0]
        real = not is_complex(core)
        for share, direction in zip(shares.tolist(), directions, strict=True):
            core = core + (share.real if real else share) * direction
        return after.with_cores({0: core})


def in_bases(w: TreeState, state: TreeState) -> Array:
    """Return a state in the bases of another, as an array shaped like the other's root core.

    Its inner product with the other's core is the inner product of the states.
    """
    xp = namespace(state.cores[0])
    below: dict[int, Any] = {}
    for node in state.frame.post_order:
        found: Any = w.cores[node]
        for axis, slot in enumerate(state.frame.slots[node], start=1):
            if slot.child >= 0:
                found = apply_matrix(found, below.pop(slot.child), axis, xp)
        if node == 0:
            root: Array = found
            return root
        basis: Any = state.cores[node]
        flat = xp.reshape(basis, (int(basis.shape[0]), -1))
        # rows: bases of `state`, columns: bases of w
        below[node] = xp.conj(flat) @ xp.reshape(found, (int(found.shape[0]), -1)).T
    raise AssertionError("the root comes last.")


def _inner(a: Any, b: Any) -> complex:
    return complex(np.vdot(to_numpy(a).reshape(-1), to_numpy(b).reshape(-1)))
