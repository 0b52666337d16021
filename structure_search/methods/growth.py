"""Which bond to enlarge: the gain of one more slice on every pair of nodes.

For nodes i and j let B be the block of all other nodes, with columns (a, b): the legs from it
to i and to j. New slices V_i, V_j on the bond i-j change the network by B (V_i x V_j), so their
worth is the best rank-one-like fit of that to the residual R. With B = Q S only R conj(Q) is
needed. The top singular pair of the gradient is a start; alternating least squares on the pair
does the rest. After Hashemizadeh, Liu, Miller, Rabusseau, arXiv:2008.05437, who sweep on the
residual itself.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from contraction import linalg
from contraction.arrays import Array, namespace
from structure_search.canonical import reduced
from tnet.als.kernels import kernels
from tnet.als.pairs import compile_block
from tnet.als.start import carried_over
from tnet.network import Network, contract
from tnet.structure import Structure

PAIR_STEPS = 2
POWER_STEPS = 12
RIDGE = 1e-12
GRADIENT = 2**16  # entries of a gradient that is formed
FEW_STEPS = 3
STRIDE = 8


@dataclass(frozen=True, kw_only=True)
class Growth:
    """One more slice on the bond between two nodes.

    Attributes
    ----------
    ends
        The two nodes.
    structure
        The structure with the bond enlarged, or made: by one, or by an eighth of a large rank.
    added
        Parameters of one slice more.
    gain
        Decrease of the squared error by one slice, with everything else held fixed.
    slices
        The new slices of both ends, each with the legs of its node but the bond.
    """

    ends: tuple[str, str]
    structure: Structure
    added: int
    gain: float
    slices: tuple[Array, Array] = field(repr=False)

    @property
    def rate(self) -> float:
        """Gain per parameter."""
        return self.gain / self.added


def growths(net: Network, x: Array, *, most_params: float, max_degree: int | None) -> list[Growth]:
    """Return every bond that can grow by one, with its gain; the largest rate first.

    Parameters
    ----------
    net
        The present network.
    x
        The data.
    most_params
        Structures with more parameters are left out.
    max_degree
        Most bonds at one node, or None.

    Notes
    -----
    Cost per pair: one product of the residual with the columns of the block.
    """
    dense: Any = contract(net)
    residual: Array = x - dense
    kernel = kernels(x)
    found = []
    for i, j in itertools.combinations(net.structure.node_names, 2):
        one = enlarged(net.structure, i, j)
        if one is None or one.num_params > most_params:
            continue
        bigger = _stride(net.structure, one, i, j, most_params)
        if max_degree is not None and max(_degree(bigger, i), _degree(bigger, j)) > max_degree:
            continue
        gain, slices = _pair_gain(net, residual, kernel, i, j)
        found.append(
            Growth(
                ends=(i, j),
                structure=bigger,
                added=one.num_params - net.num_params,
                gain=gain,
                slices=slices,
            )
        )
    return sorted(found, key=lambda g: (-g.rate, g.ends))


def bond_between(structure: Structure, i: str, j: str) -> str | None:
    """Return the (first) bond between two nodes, or None."""
    shared = (leg for leg in structure.legs[i] if structure.holders[leg] in ((i, j), (j, i)))
    return next(shared, None)


def _stride(structure: Structure, one: Structure, i: str, j: str, most_params: float) -> Structure:
    """Return the structure with an eighth of a large rank added, if it fits; else `one`."""
    bond = bond_between(one, i, j)
    assert bond is not None
    more = one.resized({bond: one.size[bond] + (one.size[bond] - 1) // STRIDE})
    useful = reduced(more).size.get(bond) == more.size[bond]
    return more if useful and more.num_params <= most_params else one


def enlarged(structure: Structure, i: str, j: str) -> Structure | None:
    """Return the structure with one more value on the bond i-j; None if it could not be used."""
    bond = bond_between(structure, i, j)
    if bond is None:
        name = f"{i}-{j}"
        while name in structure.size:
            name += "'"
        bigger = structure.with_bond(i, j, 2, name=name)
        bond = name
    else:
        bigger = structure.resized({bond: structure.size[bond] + 1})
    usable = reduced(bigger)
    return bigger if usable.size.get(bond) == bigger.size[bond] else None


def _degree(structure: Structure, node: str) -> int:
    return sum(structure.size[x] > 1 for x in structure.legs[node] if x in structure.ranks)


def appended(net: Network, growth: Growth, rng: np.random.Generator) -> Network:
    """Return the network with the new slices in place; its tensor is the old one plus theirs."""
    arrays: dict[str, Array] = dict(net.arrays)
    (bond,) = (
        leg
        for leg in growth.structure.ranks
        if net.structure.size.get(leg, 0) != growth.structure.size[leg]
    )
    norms = [float(namespace(v).linalg.vector_norm(v)) for v in growth.slices]
    balance = math.sqrt(norms[1] / norms[0]) if min(norms) > 0.0 else 1.0
    for node, new, factor in zip(growth.ends, growth.slices, (balance, 1.0 / balance), strict=True):
        axis = growth.structure.legs[node].index(bond)
        xp: Any = namespace(new)
        old: Any = arrays[node]
        if bond not in net.structure.size:
            old = xp.expand_dims(old, axis=axis)
        arrays[node] = xp.concat([old, xp.expand_dims(new * factor, axis=axis)], axis=axis)
    grown = net.structure
    if bond not in grown.size:
        grown = grown.with_bond(*growth.ends, 1, name=bond)
    one = Network(grown.resized({bond: grown.size[bond] + 1}), arrays)
    return carried_over(one, growth.structure, rng=rng)


def _pair_gain(
    net: Network, residual: Array, kernel: Any, i: str, j: str
) -> tuple[float, tuple[Array, Array]]:
    """Return the decrease of the squared error by one more slice on i-j, and the slices."""
    s = net.structure
    xp: Any = namespace(residual)
    legs_i, legs_j, modes_i, modes_j = _legs_without_bond(s, i, j)
    outer_i = [leg for leg in legs_i if leg not in modes_i]
    outer_j = [leg for leg in legs_j if leg not in modes_j]
    others = [node for node in s.node_names if node not in (i, j)]
    rest = [leg for node in others for leg in s.legs[node] if leg in s.modes]
    order = tuple(s.modes.index(leg) for leg in (*modes_i, *modes_j, *rest))
    n_i, n_j = (math.prod(s.size[m] for m in modes) for modes in (modes_i, modes_j))
    a, b = (math.prod(s.size[m] for m in legs) for legs in (outer_i, outer_j))
    data: Any = xp.permute_dims(residual, order).reshape((n_i * n_j, -1))
    if others:
        # a leg from i to j through nothing but the pair itself is no part of the block
        block: Any = _block(s, tuple(others), tuple(rest), tuple(outer_i), tuple(outer_j)).run(
            [net[node] for node in others]
        )
    else:
        block = xp.ones((1, 1), dtype=residual.dtype, device=residual.device)  # type: ignore[attr-defined]
    if block.shape[0] > block.shape[1]:
        Q, S = kernel.qr(block)
        data, block = data @ kernel.conj(Q), S
    data = data.reshape((n_i, n_j, -1))
    tensor = block.reshape((-1, a, b))
    gain, v_i, v_j = _fit_pair(data, tensor, xp, kernel.conj)
    shaped = []
    for v, modes, outer, legs in ((v_i, modes_i, outer_i, legs_i), (v_j, modes_j, outer_j, legs_j)):
        have = [*modes, *outer]
        v = v.reshape(tuple(s.size[leg] for leg in have))
        shaped.append(xp.permute_dims(v, tuple(have.index(leg) for leg in legs)))
    return gain, (shaped[0], shaped[1])


def _legs_without_bond(
    s: Structure, i: str, j: str
) -> tuple[list[str], list[str], list[str], list[str]]:
    bond = bond_between(s, i, j)
    legs_i = [leg for leg in s.legs[i] if leg != bond]
    legs_j = [leg for leg in s.legs[j] if leg != bond]
    open_legs = set(s.modes)
    return (
        legs_i,
        legs_j,
        [leg for leg in legs_i if leg in open_legs],
        [leg for leg in legs_j if leg in open_legs],
    )


def _block(
    s: Structure,
    others: tuple[str, ...],
    rows: tuple[str, ...],
    to_i: tuple[str, ...],
    to_j: tuple[str, ...],
) -> Any:
    return compile_block([s.legs[node] for node in others], rows, (*to_i, *to_j), s.size)


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
