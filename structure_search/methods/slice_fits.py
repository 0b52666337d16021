"""New slices of one bond: their best values against a residual, and what they gain.

For nodes i and j let B be the block of all other nodes, with columns (a, b): the legs from it
to i and to j. New slices V_i, V_j on the bond i-j change the network by B (V_i x V_j), so their
worth is the best rank-one-like fit of that to the residual R.

Where the block is small, B = Q S and only R conj(Q) is needed: the top singular pair of the
gradient is a start, and alternating least squares on the pair does the rest. Where it is large
(graphs with many bonds), or where only some entries count, the block is never formed: the
gradient is one contraction of R with the other nodes, its top singular pair gives the direction,
and the length is exact, <T, R> / ||T||^2 with T = B (V_i x V_j). After Hashemizadeh, Liu, Miller,
Rabusseau, arXiv:2008.05437, who sweep on the residual itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from contraction import linalg
from contraction.arrays import Array, namespace
from tnet.als.kernels import Kernels, kernels
from tnet.als.pairs import Block, compile_block
from tnet.network import Network
from tnet.structure import Structure

PAIR_STEPS = 2
POWER_STEPS = 12
RIDGE = 1e-12
GRADIENT = 2**16  # entries of a gradient that is formed
FEW_STEPS = 3
WIDE = 200  # rows and columns of a block that is not formed
ONCE = 5e7  # multiplications of a contraction that runs once: more are worth the best order
DEAR = 1e11  # flops of one contraction with the residual: an edge that costs more is passed over


class NewSlices(NamedTuple):
    """Slices of both ends of a bond, each with the legs of its node but the bond."""

    gain: float  # decrease of the squared residual by them
    first: Array
    second: Array


class _Pair(NamedTuple):
    """Two nodes and what surrounds them."""

    i: str
    j: str
    modes: tuple[list[str], list[str]]
    outer: tuple[list[str], list[str]]  # legs to other nodes
    others: tuple[str, ...]
    rest: list[str]  # modes of the others


def bond_between(structure: Structure, i: str, j: str) -> str | None:
    """Return the (first) bond between two nodes, or None."""
    shared = (leg for leg in structure.legs[i] if structure.holders[leg] in ((i, j), (j, i)))
    return next(shared, None)


def new_slices(
    net: Network, residual: Array, i: str, j: str, *, observed: Array | None = None
) -> NewSlices | None:
    """Return the slices by which one more value on the bond i-j lowers the squared residual.

    Parameters
    ----------
    net
        The present network.
    residual
        What it leaves, of the shape of its tensor; zero where nothing is known.
    i, j
        Two nodes.
    observed
        One where an entry counts and zero elsewhere; None if all do.

    Returns
    -------
    NewSlices or None
        None if the contraction would take more than `DEAR` flops.

    Notes
    -----
    Cost: a block with q rows and c columns, the smaller of them up to 200, is formed:
    2 |X| c flops, and a few products with the projected residual. Larger blocks: two
    contractions of the size of one full contraction of the network.

    Examples
    --------
    >>> import numpy as np
    >>> pair = Structure({"a": ("x", "r"), "b": ("r", "y")}, {"x": 2, "y": 2, "r": 1})
    >>> net = Network(pair, {"a": np.eye(2)[:, :1], "b": np.eye(2)[:1]})
    >>> round(new_slices(net, np.diag([0.0, 3.0]), "a", "b").gain, 6)
    9.0
    """
    pair = _surroundings(net.structure, i, j)
    size = net.structure.size
    rows = math.prod(size[m] for m in pair.rest)
    columns = math.prod(size[leg] for legs in pair.outer for leg in legs)
    if observed is not None or min(rows, columns) > WIDE:
        return _by_gradient(net, residual, pair, observed)
    return _by_projection(net, residual, pair)


def _surroundings(s: Structure, i: str, j: str) -> _Pair:
    bond = bond_between(s, i, j)
    open_legs = set(s.modes)
    legs = [[leg for leg in s.legs[node] if leg != bond] for node in (i, j)]
    modes = [[leg for leg in side if leg in open_legs] for side in legs]
    outer = [[leg for leg in side if leg not in open_legs] for side in legs]
    others = tuple(node for node in s.node_names if node not in (i, j))
    rest = [leg for node in others for leg in s.legs[node] if leg in open_legs]
    return _Pair(i, j, (modes[0], modes[1]), (outer[0], outer[1]), others, rest)


def _shaped(s: Structure, pair: _Pair, found: Sequence[Any]) -> list[Array]:
    """Return slices as matrices (modes, outer legs) with the axis order of their nodes."""
    shaped = []
    bond = bond_between(s, pair.i, pair.j)
    for node, v, modes, outer in zip((pair.i, pair.j), found, pair.modes, pair.outer, strict=True):
        have = [*modes, *outer]
        xp: Any = namespace(v)
        v = v.reshape(tuple(s.size[leg] for leg in have))
        legs = [leg for leg in s.legs[node] if leg != bond]
        shaped.append(xp.permute_dims(v, tuple(have.index(leg) for leg in legs)))
    return shaped


# ---- blocks that are not formed ------------------------------------------------------------


def _by_gradient(
    net: Network, residual: Array, pair: _Pair, observed: Array | None
) -> NewSlices | None:
    """Take the top singular pair of the gradient, and the best length."""
    s = net.structure
    xp: Any = namespace(residual)
    conj = kernels(residual).conj
    nodes = [s.legs[node] for node in pair.others]
    sides = [(*m, *o) for m, o in zip(pair.modes, pair.outer, strict=True)]
    down = _compiled([s.modes, *nodes], sides[0], sides[1], s)
    if down.flops > DEAR:
        return None
    gradient: Any = down.run([residual, *(conj(net[node]) for node in pair.others)])
    w = _top_right(gradient, xp, conj)
    v = _normed(gradient @ conj(w), xp)
    up = _compiled([*sides, *nodes], s.modes, (), s)
    shaped = [
        x.reshape(tuple(s.size[leg] for leg in side)) for x, side in zip((v, w), sides, strict=True)
    ]
    change: Any = up.run([*shaped, *(net[node] for node in pair.others)]).reshape(residual.shape)
    if observed is not None:
        change = change * observed
    squared = float(xp.linalg.vector_norm(change)) ** 2
    if not 0.0 < squared < math.inf:
        return NewSlices(0.0, *_shaped(s, pair, (0.0 * v, w)))
    length = complex(xp.sum(conj(change) * residual)) / squared
    gain = abs(length) ** 2 * squared
    factor: Any = length if xp.isdtype(v.dtype, "complex floating") else length.real
    return NewSlices(gain, *_shaped(s, pair, (factor * v, w)))


def _compiled(
    inputs: Sequence[Sequence[str]], rows: Sequence[str], columns: Sequence[str], s: Structure
) -> Block:
    return compile_block([tuple(x) for x in inputs], tuple(rows), tuple(columns), s.size, dear=ONCE)


# ---- blocks that are formed ----------------------------------------------------------------


def _by_projection(net: Network, residual: Array, pair: _Pair) -> NewSlices:
    """Project the residual on the block, and fit the pair by alternating least squares."""
    s = net.structure
    xp: Any = namespace(residual)
    kernel: Kernels = kernels(residual)
    modes_i, modes_j = pair.modes
    order = tuple(s.modes.index(leg) for leg in (*modes_i, *modes_j, *pair.rest))
    n_i, n_j = (math.prod(s.size[m] for m in modes) for modes in pair.modes)
    a, b = (math.prod(s.size[m] for m in legs) for legs in pair.outer)
    data: Any = xp.permute_dims(residual, order).reshape((n_i * n_j, -1))
    if pair.others:
        # a leg from i to j through nothing but the pair itself is no part of the block
        nodes = [s.legs[node] for node in pair.others]
        compiled = _compiled(nodes, pair.rest, [*pair.outer[0], *pair.outer[1]], s)
        block: Any = compiled.run([net[node] for node in pair.others])
    else:
        block = xp.ones((1, 1), dtype=residual.dtype, device=residual.device)  # type: ignore[attr-defined]
    if block.shape[0] > block.shape[1]:
        Q, S = kernel.qr(block)
        data, block = data @ kernel.conj(Q), S
    data = data.reshape((n_i, n_j, -1))
    gain, v, w = _fit_pair(data, block.reshape((-1, a, b)), xp, kernel.conj)
    return NewSlices(gain, *_shaped(s, pair, (v, w)))


def _fit_pair(data: Any, tensor: Any, xp: Any, conj: Any) -> tuple[float, Any, Any]:
    """Minimise ||data(x, y, q) - sum_ab V(x, a) W(y, b) tensor(q, a, b)||^2 from the gradient.

    Returns the decrease from zero, V and W.
    """
    n_i, n_j, q = data.shape
    _, a, b = tensor.shape
    by_q_a = tensor.reshape((q * a, b))
    by_q_b = xp.permute_dims(tensor, (0, 2, 1)).reshape((q * b, a))
    data_i = data.reshape((n_i, n_j * q))
    data_j = xp.permute_dims(data, (1, 0, 2)).reshape((n_j, n_i * q))
    if n_i * a * n_j * b <= GRADIENT:
        gradient = data.reshape((n_i * n_j, q)) @ conj(tensor.reshape((q, a * b)))
        gradient = xp.permute_dims(gradient.reshape((n_i, n_j, a, b)), (0, 2, 1, 3))
        w = _top_right(gradient.reshape((n_i * a, n_j * b)), xp, conj).reshape((n_j, b))
    else:  # the same by products with the factors of the gradient, and fewer of them
        w = _some_row(data, tensor, xp, conj)
        for _ in range(FEW_STEPS):
            v = _normed(data_i @ conj(_spread(by_q_a @ w.T, (q, a, n_j), xp)), xp)
            w = _normed(data_j @ conj(_spread(by_q_b @ v.T, (q, b, n_i), xp)), xp)
    gain, v = 0.0, w
    for _ in range(PAIR_STEPS):
        gain, v = _solve(data_i, _spread(by_q_a @ w.T, (q, a, n_j), xp), xp, conj)
        gain, w = _solve(data_j, _spread(by_q_b @ v.T, (q, b, n_i), xp), xp, conj)
    return gain, v, w


def _spread(half: Any, shape: tuple[int, int, int], xp: Any) -> Any:
    """Return half(q, a; other) as the matrix M(other, q; a)."""
    q, a, other = shape
    return xp.permute_dims(half.reshape((q, a, other)), (2, 0, 1)).reshape((other * q, a))


def _normed(x: Any, xp: Any) -> Any:
    size = float(xp.linalg.vector_norm(x))
    return x / size if size else x


def _some_row(data: Any, tensor: Any, xp: Any, conj: Any) -> Any:
    """Return a row of the gradient: a start that is not orthogonal to its large part."""
    x = int(xp.argmax(xp.linalg.vector_norm(data, axis=(1, 2))))
    leg = int(xp.argmax(xp.linalg.vector_norm(tensor, axis=(0, 2))))
    return _normed(data[x, :, :] @ conj(tensor[:, leg, :]), xp)


def _solve(data: Any, M: Any, xp: Any, conj: Any) -> tuple[float, Any]:
    """Minimise ||data - V M^T||^2; return its decrease from V = 0, and V."""
    rhs, G = data @ conj(M), conj(M).T @ M
    found: Any = linalg.solve_psd(G, rhs.T, ridge=RIDGE)
    V = found.T
    # 2 <rhs, V> - <V, V G> is right to second order where the equations are ill-conditioned
    gain = 2.0 * xp.sum(xp.real(conj(rhs) * V)) - xp.sum(xp.real(conj(V) * (V @ G.T)))
    return float(gain), V


def _top_right(matrix: Any, xp: Any, conj: Any) -> Any:
    """Return w of the best u w^T, the conjugate of the top right singular vector."""
    norms = xp.linalg.vector_norm(matrix, axis=1)
    row = int(xp.argmax(norms))
    w = matrix[row, :]
    size = float(norms[row])
    if size == 0.0:
        return xp.ones_like(w) / math.sqrt(w.shape[0])
    w = w / size
    for _ in range(POWER_STEPS):
        w = matrix.T @ (conj(matrix) @ w)
        w = w / float(xp.linalg.vector_norm(w))
    return w
