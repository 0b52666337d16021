"""TreeState: a network as time steppers hold it, with the amplitude at the root."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from contraction.arrays import Array, namespace
from contraction.elementary import times_power
from contraction.errors import NonFiniteError, StructureError
from integrators.frame import Frame, frame_of
from integrators.norms import frobenius
from tnet._axes import contiguous
from tnet.gauge import orthogonalize
from tnet.network import Network

SMALL = 16  # saturated bonds of this rank are kept as soon as a step has reached it


@dataclass(frozen=True, eq=False)
class TreeState:
    """An immutable snapshot of a tree network.

    Parameters
    ----------
    frame
        The tree and its numbering.
    cores
        One array per node, by number. Axis 0 is the bond to the parent (size one at the root),
        then the slots of `frame.slots[node]`. All but the root's are isometries: unfolded as
        (axis 0) x (the rest) their rows are orthonormal. The root's carries the amplitude.
        Never written to.
    settled
        Nodes whose bonds are saturated (see `saturated`) and small, or were saturated before the
        last step already: the cut after a step lowers them for `max_rank` only. A step cannot
        err there, and costs nothing.

    Notes
    -----
    With U_b the vector of a subtree that row b of its core stands for, a core C of slots 1, ...,
    m means U_a = sum_b C[a, b_1, ..., b_m] U_b1 x ... x U_bm.

    Examples
    --------
    >>> import numpy as np, tnet
    >>> net = tnet.random_network(tnet.balanced_tree((2, 3, 4), 2), rng=np.random.default_rng(0))
    >>> state = TreeState.from_network(net)
    >>> np.allclose(state.to_network().to_dense(), net.to_dense())
    True
    >>> bool(np.isclose(state.norm, np.linalg.norm(net.to_dense())))
    True
    """

    frame: Frame
    cores: tuple[Array, ...]
    settled: frozenset[int] = frozenset()

    @classmethod
    def from_network(cls, net: Network, frame: Frame | None = None) -> TreeState:
        """Return the state of a network, orthogonalised towards the root of the frame.

        Raises
        ------
        StructureError
            The network is no tree, or not on the graph of the frame.
        NonFiniteError
            An array holds NaN or infinity.

        Notes
        -----
        One QR factorisation per bond (`tnet.orthogonalize`); ranks above the size of one side of
        their bond come down to it. A network that is centred at the root already is taken as it
        is.
        """
        frame = frame_of(net.structure) if frame is None else frame
        if net.structure.nodes != frame.structure.nodes:
            raise StructureError("the network and the frame are not on the same graph.")
        return cls(frame, cores_of(orthogonalize(net, frame.root), frame))

    def to_network(self) -> Network:
        """Return the state as a network with its centre at the root."""
        frame = self.frame
        structure = frame.structure.resized(self.ranks)
        xp = namespace(self.cores[0])
        arrays = {}
        for node, name in enumerate(frame.names):
            x: Any = self.cores[node]
            if node:
                order = [0] * len(x.shape)
                order[frame.axis[node]] = 0
                for k, slot in enumerate(frame.slots[node]):
                    order[slot.axis] = k + 1
                x = xp.permute_dims(x, tuple(order))
            else:
                x = x.reshape(tuple(x.shape[1:]))
            arrays[name] = contiguous(x)
        return Network(structure, arrays, center=frame.root)

    @cached_property
    def ranks(self) -> dict[str, int]:
        """Bond -> its rank."""
        return {
            self.frame.bond[node]: int(self.cores[node].shape[0])
            for node in range(1, self.frame.count)
        }

    @cached_property
    def norm(self) -> float:
        """Frobenius norm of the tensor: that of the root's core."""
        return frobenius(self.cores[0])

    @cached_property
    def saturated(self) -> tuple[bool, ...]:
        """Node -> whether its bond spans the whole space of the modes below it.

        Such a subtree can represent anything: no step has to touch it. False at the root.
        """
        found = [False] * self.frame.count
        for node in reversed(range(1, self.frame.count)):
            below = self.frame.slots[node]
            shape = self.cores[node].shape
            found[node] = all(s.child < 0 or found[s.child] for s in below) and int(
                shape[0]
            ) == math.prod(int(n) for n in shape[1:])
        return tuple(found)

    def times_power(self, e: int) -> TreeState:
        """Return the state times 2^e, exactly; itself where e is zero."""
        if e == 0:
            return self
        cores = (times_power(self.cores[0], e), *self.cores[1:])
        return TreeState(self.frame, cores, self.settled)

    def with_cores(self, cores: dict[int, Array]) -> TreeState:
        """Return the state with some cores exchanged; the others are shared."""
        held = tuple(cores.get(node, core) for node, core in enumerate(self.cores))
        return TreeState(self.frame, held)

    def moved(self, cores: dict[int, Array]) -> TreeState:
        """Return the state after a step that left the saturated subtrees of this one alone."""
        after = self.with_cores(cores)
        settled = frozenset(
            node
            for node, full in enumerate(after.saturated)
            if full and (self.saturated[node] or after.cores[node].shape[0] <= SMALL)
        )
        return TreeState(self.frame, after.cores, settled)


def require_finite_norm(state: TreeState) -> None:
    """Raise `NonFiniteError` if the norm of a state is NaN or infinite."""
    if not math.isfinite(state.norm):
        raise NonFiniteError(
            f"the norm of the state is {state.norm}; check its numbers, and whether the step "
            "before was too long for the local solver or the solution leaves the range of the "
            "floats."
        )


def cores_of(net: Network, frame: Frame) -> tuple[Array, ...]:
    """Return the arrays of a network by number, with the axes of the frame; no gauge is made.

    Examples
    --------
    >>> import numpy as np, tnet
    >>> net = tnet.random_network(tnet.tensor_train((2, 3), 2), rng=np.random.default_rng(0))
    >>> [core.shape for core in cores_of(net, frame_of(net.structure))]
    [(1, 2, 2), (2, 3)]
    """
    xp = namespace(net[frame.root])
    cores = []
    for node, name in enumerate(frame.names):
        x: Any = net[name]
        if node:
            x = xp.permute_dims(x, (frame.axis[node], *(s.axis for s in frame.slots[node])))
        else:
            x = x.reshape((1, *x.shape))
        cores.append(contiguous(x))
    return tuple(cores)
