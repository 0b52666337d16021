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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from contraction.arrays import Array, namespace
from tnet.als.dimension_tree import DimensionTree, dimension_tree
from tnet.als.kernels import Kernels
from tnet.als.pairs import Block, Labels, compile_block, transposed
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
    """Everything about a sweep that depends on the structure alone.

    A core is a node's array with its own modes merged to one leading axis.
    """

    structure: Structure
    names: tuple[str, ...]  # nodes in visiting order; cores stand in this order
    to_core: tuple[tuple[int, ...], ...]
    core_shapes: tuple[tuple[int, ...], ...]
    axes: tuple[int, ...]  # order of the data's axes
    rows: int  # entries spanned by the modes of the first child of the root
    visits: tuple[Visit, ...]
    halves: tuple[Block, ...]  # the children of the root, for the reconstruction
    split: int  # nodes in the first half
    flops: float

    def cores(self, arrays: Mapping[str, Array]) -> list[Array]:
        """Return the cores of node arrays."""
        return [
            transposed(arrays[name], axes).reshape(shape)
            for name, axes, shape in zip(self.names, self.to_core, self.core_shapes, strict=True)
        ]

    def arrays(self, cores: Sequence[Array]) -> dict[str, Array]:
        """Return the node arrays of cores, in the axis order of the structure."""
        found = {}
        for name, axes, core in zip(self.names, self.to_core, cores, strict=True):
            shape = self.structure.node_shape(name)
            back = tuple(axes.index(k) for k in range(len(axes)))
            found[name] = transposed(core.reshape(tuple(shape[k] for k in axes)), back)
        return found


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
        One array per node, as `program.cores` makes them.

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
    tree = dimension_tree(structure)
    return _Compiler(structure, tree).program()


class _Compiler:
    def __init__(self, structure: Structure, tree: DimensionTree) -> None:
        self.structure = structure
        self.tree = tree
        self.place = {name: k for k, name in enumerate(tree.order)}
        size = structure.size
        open_legs = set(structure.open_legs)
        self.own = {n: tuple(x for x in ls if x in open_legs) for n, ls in structure.nodes}
        self.ranks = {n: tuple(x for x in ls if x not in open_legs) for n, ls in structure.nodes}
        self.group = {n: f"\n{n}" for n in tree.order}
        self.sizes = dict(size)
        for name in tree.order:
            self.sizes[self.group[name]] = math.prod(size[x] for x in self.own[name])

    def program(self) -> Program:
        structure, order = self.structure, self.tree.order
        legs = structure.legs
        to_core = [tuple(legs[n].index(x) for x in self.own[n] + self.ranks[n]) for n in order]
        modes = {mode: k for k, mode in enumerate(structure.modes)}
        root = self.tree.vertices[0]
        halves: tuple[Block, ...] = ()
        first: tuple[str, ...] = order
        if root.children:
            first, second = (self.tree.vertices[k].nodes for k in root.children)
            cut = self.crossing(first)
            halves = tuple(
                compile_block(self.labels(part), self.groups(part), cut, self.sizes)
                for part in (first, second)
            )
        return Program(
            structure,
            order,
            tuple(to_core),
            tuple(tuple(self.sizes[x] for x in self.core_labels(n)) for n in order),
            tuple(modes[x] for n in order for x in self.own[n]),
            self.span(first),
            tuple(self.visits()),
            halves,
            len(first),
            self.tree.flops,
        )

    def visits(self) -> list[Visit]:
        """List the visits depth first, so that the second child sees the first one's nodes."""
        vertices = self.tree.vertices
        found: list[Visit] = []
        todo = [(0, child, 0, 1) for child in reversed(vertices[0].children)]
        while todo:
            parent, child, depth, auxiliary = todo.pop()
            visit, below = self.visit(parent, child, depth, auxiliary)
            found.append(visit)
            grand = reversed(vertices[child].children)
            todo.extend((child, k, depth + 1, below) for k in grand)
        return found

    def visit(self, parent: int, child: int, depth: int, auxiliary: int) -> tuple[Visit, int]:
        vertices = self.tree.vertices
        above, here = vertices[parent], vertices[child]
        sides = tuple(vertices[k].nodes for k in above.children)
        first = sides[0] == here.nodes
        others = sides[1] if first else sides[0]
        leaf = not here.children
        columns = self.ranks[here.nodes[0]] if leaf else self.crossing(here.nodes)
        rows = self.groups(others)
        inputs = self.labels(others)
        sizes = {**self.sizes, AUXILIARY: auxiliary}
        if depth:
            rows = (*rows, AUXILIARY)
            inputs.append((AUXILIARY, *self.crossing(above.nodes)))
        block = compile_block(inputs, rows, columns, sizes)
        height, width = self.span(others) * auxiliary, math.prod(sizes[x] for x in columns)
        project = height > width and not leaf
        below = width if project else height
        if leaf:
            shape = tuple(self.sizes[x] for x in self.core_labels(here.nodes[0]))
        else:
            shape = (below, *(sizes[x] for x in columns))
        data_shape = (self.span(sides[0]), self.span(sides[1]), auxiliary)
        operands = tuple(self.place[n] for n in others)
        node = self.place[here.nodes[0]] if leaf else -1
        return Visit(depth, operands, block, first, data_shape, project, node, shape), below

    def crossing(self, nodes: tuple[str, ...]) -> Labels:
        """Return the legs between `nodes` and the rest, in order of appearance."""
        inside = set(nodes)
        holders = self.structure.holders
        legs = dict.fromkeys(x for n in nodes for x in self.ranks[n])
        return tuple(x for x in legs if not inside.issuperset(holders[x]))

    def core_labels(self, node: str) -> Labels:
        return (self.group[node], *self.ranks[node])

    def labels(self, nodes: tuple[str, ...]) -> list[Labels]:
        return [self.core_labels(n) for n in nodes]

    def groups(self, nodes: tuple[str, ...]) -> Labels:
        return tuple(self.group[n] for n in nodes)

    def span(self, nodes: tuple[str, ...]) -> int:
        return math.prod(self.sizes[self.group[n]] for n in nodes)
