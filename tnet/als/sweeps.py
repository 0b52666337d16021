"""The projected sweep: alternating least squares along a dimension tree, compiled per structure.

At a vertex with nodes A stands a small problem (Y, F): Y has the modes of A and one auxiliary
leg, F the auxiliary leg and the ranks that leave A, and the network below minimises
||Y - (nodes of A) F||. Going to the child A1, the nodes of A2 and F are contracted to a block B.
With B = Q S,

    ||Y - L B^T||^2 = ||Y||^2 - ||Y conj(Q)||^2 + ||Y conj(Q) - L S^T||^2,

so (Y conj(Q), S) is the problem of A1, exactly, and X itself is read only at the root: two
matrix products with the data per sweep, whatever the number of nodes. Where the outside of A1
falls into parts that hang together only through A1, B is a Kronecker product; the parts are then
projected one after the other and F is kept in factors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from contraction.arrays import Array, namespace
from tnet.als.kernels import Kernels
from tnet.als.pairs import View, transposed, viewed
from tnet.als.sweep_program import Program, Visit
from tnet.als.sweep_program import compile_program as compile_program

CHUNK = 1 << 22  # entries of the reconstruction that are held at once


def sweep(
    program: Program, kernels: Kernels, matrix: Array, squared_norm: float, cores: Sequence[Array]
) -> tuple[list[Array], float]:
    """Solve for every node once, in visiting order.

    Parameters
    ----------
    program, kernels
        From `compile_program` and `kernels`.
    matrix, squared_norm
        The data with axes in the order `program.axes`, as a matrix with `program.rows` rows.
    cores
        One array per node, as `Layout.cores` makes them.

    Returns
    -------
    cores, squared_error
        The squared error is that after the last solve. It comes from differences of squared
        norms, so below about 1e-15 of the squared norm it is rounding.

    Notes
    -----
    Cost: two products with the data, 4 |X| cut flops, and the small problems below.
    """
    cores = list(cores)
    stack: list[tuple[Array, list[Array]]] = [(matrix, [])] * (len(cores) + 1)
    explained: Callable[[], float] = float
    for visit in program.visits:
        Y, F = stack[visit.depth]
        if visit.node >= 0:
            explained = _solve(visit, kernels, Y, F, cores)
            continue
        factors = [cores[k] for k in visit.waiting] + [F[k] for k in visit.kept]
        for part in visit.parts:
            block = part.block.run([cores[k] for k in part.operands] + [F[k] for k in part.factors])
            Y = viewed(Y.reshape(part.data_shape), part.view)
            if part.project:
                Q, block = kernels.qr(block)
                Y = Y @ kernels.conj(Q)
            factors.append(block.reshape(part.shape))
        stack[visit.depth + 1] = (Y, factors)
    return cores, max(squared_norm - explained(), 0.0)


def _solve(
    visit: Visit, kernels: Kernels, Y: Array, F: list[Array], cores: list[Array]
) -> Callable[[], float]:
    """Exchange the core of a leaf; return what tells the squared norm that is explained."""
    old = cores[visit.node]
    if visit.parts and visit.parts[0].doubled is not None:
        return _solve_doubled(visit, kernels, Y, F, cores)
    blocks = []
    for part in visit.parts:
        operands = [cores[k] for k in part.operands] + [F[k] for k in part.factors]
        blocks.append(part.block.run(operands))
    if len(blocks) == 1:
        part = visit.parts[0]
        data = viewed(Y.reshape(part.data_shape), part.view)
        before = viewed(old, visit.core_view)
        W, explained = kernels.solve(data, blocks[0], before)
        cores[visit.node] = viewed_back(W, visit.back)
        return explained
    for part, block in zip(visit.parts, blocks, strict=True):
        Y = viewed(Y.reshape(part.data_shape), part.view) @ kernels.conj(block)
    before = viewed(old, visit.core_view)
    W, explained = kernels.solve_product(Y.reshape(before.shape), blocks, before)
    cores[visit.node] = viewed_back(W, visit.back)
    return explained


def _solve_doubled(
    visit: Visit, kernels: Kernels, Y: Array, F: list[Array], cores: list[Array]
) -> Callable[[], float]:
    """Do the same from normal equations that are made without the block."""
    (part,) = visit.parts
    assert part.doubled is not None
    data = kernels.raised(Y).reshape(part.data_shape)
    operands = [cores[k] for k in part.operands] + [F[k] for k in part.factors]
    operands = [kernels.raised(x) for x in operands]
    G, rhs = part.doubled.equations(data, operands, kernels.conj)
    before = kernels.raised(viewed(cores[visit.node], visit.core_view))
    W, explained = kernels.solve_normal(
        G, rhs, before, lambda: (viewed(data, part.view), part.block.run(list(operands)))
    )
    cores[visit.node] = viewed_back(W, visit.back)
    return explained


def viewed_back(x: Array, back: View) -> Array:
    """Return `x` reshaped and then permuted as `back` says."""
    order, shape = back
    x = x.reshape(shape)
    return x if order is None else transposed(x, order)


def residual(program: Program, matrix: Array, cores: Sequence[Array]) -> float:
    """Return the Frobenius norm of the data minus the network, entry by entry.

    Cost: one product of the size of the data; at most `CHUNK` entries are held at once.
    """
    xp = namespace(matrix)
    if not program.halves:
        return float(xp.linalg.vector_norm(matrix - cores[0].reshape(matrix.shape)))
    left = program.halves[0].run(list(cores[: program.split]))
    right = transposed(program.halves[1].run(list(cores[program.split :])), (1, 0))
    height = max(1, CHUNK // max(int(matrix.shape[1]), 1))
    parts = [
        float(xp.linalg.vector_norm(matrix[k : k + height] - left[k : k + height] @ right))
        for k in range(0, int(matrix.shape[0]), height)
    ]
    return math.hypot(*parts)
