"""Balanced data: the singular values of every mode brought nearer to each other.

Positive data are one large term of rank one plus little: seen from a random start all nodes
first turn to that term, and the rest is found by ten thousands of sweeps or never. A linear map
of every mode that can be undone changes neither the graph nor its ranks. With the Gram matrix G
of each unfolding, data multiplied by G^(-power) in every mode have a rest of much larger share,
and a network found there is carried back exactly. Noise grows along with the rest, so strong
powers suit clean data and weak ones noisy data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from contraction.arrays import Array, namespace
from tnet.als.layout import Layout
from tnet.als.pairs import transposed

POWERS = (0.15, 0.1, 0.05)  # of the random starts, in turn: the noisier the data, the weaker
LEAST = 1e-6  # smaller eigenvalues of a Gram matrix, as a share of the largest, count as this
WIDEST = 512  # modes wider than this stay as they are: the eigenvalues would cost too much
ENTRIES = 1 << 21  # of the largest data that are balanced
COPIES = 2 * len(POWERS)  # of the data: balanced, and permuted


@dataclass(frozen=True, eq=False)
class Balanced:
    """Balanced data of norm one, and the way back.

    Attributes
    ----------
    x
        The data multiplied by one matrix in every mode.
    back
        What undoes it, per mode; None where the mode is as it was.
    norm
        What the data were divided by besides.
    """

    x: Array
    back: tuple[Array | None, ...]
    norm: float

    def restored(self, layout: Layout, cores: Sequence[Array]) -> list[Array]:
        """Return the cores of the network that fits the data before they were balanced."""
        place = {mode: k for k, mode in enumerate(layout.structure.modes)}
        size = layout.structure.size
        found = []
        for k, name in enumerate(layout.names):
            core: Any = cores[k]
            own = layout.own[name]
            axes = tuple(size[x] for x in own)
            core = core.reshape((*axes, -1))
            for axis, mode in enumerate(own):
                matrix = self.back[place[mode]]
                core = core if matrix is None else multiplied(core, matrix, axis)
            found.append(core.reshape(layout.core_shapes[k]))
        found[-1] = found[-1] * self.norm
        return found


def balanced_data(x: Array, power: float) -> Balanced:
    """Return `x` with G^(-power) applied to every mode, where G is the mode's Gram matrix.

    Parameters
    ----------
    x
        Data, not zero, whose squares are in range.
    power
        0 changes nothing, 1/2 makes all singular values of all unfoldings nearly equal.

    Notes
    -----
    Cost: 4 |X| sum(sizes) flops, and the eigenvalues of one Gram matrix per mode.
    """
    xp: Any = namespace(x)
    y: Any = x
    back: list[Array | None] = []
    for axis, size in enumerate(x.shape):
        if not 1 < size <= WIDEST:
            back.append(None)
            continue
        front = transposed(x, (axis, *(k for k in range(x.ndim) if k != axis)))
        rows = front.reshape((size, -1))
        w, V = xp.linalg.eigh(rows @ xp.conj(rows).T)
        least = LEAST * w[-1]
        w = xp.where(w > least, w, least) / w[-1]
        adjoint = xp.conj(V).T
        y = multiplied(y, (V * w**-power) @ adjoint, axis)
        back.append((V * w**power) @ adjoint)
    norm = float(xp.linalg.vector_norm(y))
    return Balanced(y / norm, tuple(back), norm)


def multiplied(x: Any, matrix: Any, axis: int) -> Array:
    """Return `x` with `matrix` applied to one axis."""
    shape = tuple(x.shape)
    after = (*shape[:axis], int(matrix.shape[0]), *shape[axis + 1 :])
    if axis == 0:
        first: Array = (matrix @ x.reshape((shape[0], -1))).reshape(after)
        return first
    rows = 1
    for size in shape[:axis]:
        rows *= int(size)
    out: Array = (matrix @ x.reshape((rows, shape[axis], -1))).reshape(after)
    return out
