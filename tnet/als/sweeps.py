"""The projected sweep: alternating least squares along a dimension tree, compiled per structure.

At a vertex with nodes A stands a small problem (Y, F): Y has the modes of A and one auxiliary
leg, F the auxiliary leg and the ranks that leave A, and the network below minimises
||Y - (nodes of A) F||. Going to the child A1, the nodes of A2 and F are contracted to a block B.
With B = Q S,

    ||Y - L B^T||^2 = ||Y||^2 - ||Y conj(Q)||^2 + ||Y conj(Q) - L S^T||^2,

so (Y conj(Q), S) is the problem of A1, exactly, and X itself is read only at the root: two
matrix products with the data per sweep, whatever the number of nodes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from contraction.arrays import Array, namespace
from tnet.als.dimension_tree import dimension_tree
from tnet.als.kernels import Kernels
from tnet.als.layout import Layout
from tnet.als.pairs import Block, compile_block, transposed
from tnet.structure import Structure

AUXILIARY = "\nauxiliary"  # no leg can have this name: it is not printable
CHUNK = 1 << 22  # entries of the reconstruction that are held at once


@dataclass(frozen=True)
class Visit:
    """Go from the problem at depth `depth` of the dimension tree to one child of it."""

    depth: int
    operands: tuple[int, ...]  # nodes contracted to the block
    block: Block
    first: bool  # the child's modes are the leading ones of Y
    data_shape: tuple[int, int, int]  # (first child, second child, auxiliary)
    project: bool
    node: int  # the node solved for, or -1
    shape: tuple[int, ...]  # of the node's core, or of the child's F


@dataclass(frozen=True)
class Program:
    """Everything about a sweep that depends on the structure alone."""

    layout: Layout
    axes: tuple[int, ...]  # order of the data's axes
    rows: int  # entries spanned by the modes of the first child of the root
    visits: tuple[Visit, ...]
    halves: tuple[Block, ...]  # the children of the root, for the reconstruction
    split: int  # nodes in the first half
    flops: float


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
    stack: list[tuple[Array, Array | None]] = [(matrix, None)] * (len(cores) + 1)
    solve, qr = kernels.solve, kernels.qr
    explained: Callable[[], float] = float
    for visit in program.visits:
        Y, F = stack[visit.depth]
        operands = [cores[k] for k in visit.operands]
        if F is not None:
            operands.append(F)
        block = visit.block.run(operands)
        first, second, auxiliary = visit.data_shape
        if visit.first:
            data = Y.reshape((first, second * auxiliary))
        elif auxiliary == 1:
            data = transposed(Y.reshape((first, second)), (1, 0))
        else:
            data = transposed(Y.reshape(visit.data_shape), (1, 0, 2)).reshape((second, -1))
        if visit.node >= 0:
            old = cores[visit.node].reshape((data.shape[0], -1))
            W, explained = solve(data, block, old)
            cores[visit.node] = W.reshape(visit.shape)
        elif visit.project:
            Q, S = qr(block)
            stack[visit.depth + 1] = (data @ kernels.conj(Q), S.reshape(visit.shape))
        else:
            stack[visit.depth + 1] = (data, block.reshape(visit.shape))
    return cores, max(squared_norm - explained(), 0.0)


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


@lru_cache(maxsize=512)
def compile_program(structure: Structure) -> Program:
    """Choose the dimension tree of `structure` and compile its visits."""
    layout = Layout(structure, dimension_tree(structure))
    root = layout.tree.vertices[0]
    halves: tuple[Block, ...] = ()
    first = layout.names
    if root.children:
        first, second = (layout.tree.vertices[k].nodes for k in root.children)
        halves = tuple(
            compile_block(
                layout.labels(part), layout.groups(part), layout.crossing(first), layout.sizes
            )
            for part in (first, second)
        )
    modes = {mode: k for k, mode in enumerate(structure.modes)}
    return Program(
        layout,
        tuple(modes[x] for n in layout.names for x in layout.own[n]),
        layout.span(first),
        tuple(_visits(layout)),
        halves,
        len(first),
        layout.tree.flops,
    )


def _visits(layout: Layout) -> list[Visit]:
    """List the visits depth first, so that the second child sees the first one's new nodes."""
    vertices = layout.tree.vertices
    found: list[Visit] = []
    todo = [(0, child, 0, 1) for child in reversed(vertices[0].children)]
    while todo:
        parent, child, depth, auxiliary = todo.pop()
        visit, below = _visit(layout, parent, child, depth, auxiliary)
        found.append(visit)
        todo.extend((child, k, depth + 1, below) for k in reversed(vertices[child].children))
    return found


def _visit(
    layout: Layout, parent: int, child: int, depth: int, auxiliary: int
) -> tuple[Visit, int]:
    """Compile one visit; also return the size of the auxiliary leg it leads to."""
    vertices = layout.tree.vertices
    above, here = vertices[parent], vertices[child]
    sides = [vertices[k].nodes for k in above.children]
    first = above.children[0] == child
    others = sides[1] if first else sides[0]
    leaf = not here.children
    columns = layout.columns(here.nodes)
    rows, inputs = layout.groups(others), layout.labels(others)
    sizes = {**layout.sizes, AUXILIARY: auxiliary}
    if depth:
        rows = (*rows, AUXILIARY)
        inputs.append((AUXILIARY, *layout.crossing(above.nodes)))
    block = compile_block(inputs, rows, columns, sizes)
    height, width = layout.span(others) * auxiliary, math.prod(sizes[x] for x in columns)
    project = height > width and not leaf
    below = width if project else height
    node = layout.place[here.nodes[0]] if leaf else -1
    return Visit(
        depth,
        tuple(layout.place[n] for n in others),
        block,
        first,
        (layout.span(sides[0]), layout.span(sides[1]), auxiliary),
        project,
        node,
        layout.core_shapes[node] if leaf else (below, *(sizes[x] for x in columns)),
    ), below
