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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from contraction.arrays import Array, namespace
from tnet.als.dimension_tree import dimension_tree
from tnet.als.kernels import Kernels
from tnet.als.layout import Layout
from tnet.als.pairs import Block, Labels, View, compile_block, permutation, transposed, viewed
from tnet.structure import Structure

AUXILIARY = "\nauxiliary"  # no leg can have this name: it is not printable
CHEAP = 2e5  # flops below which the parts of a leaf are not worth telling apart
CHUNK = 1 << 22  # entries of the reconstruction that are held at once


@dataclass(frozen=True)
class Part:
    """One factor of the block of a visit."""

    operands: tuple[int, ...]  # nodes contracted to it
    factors: tuple[int, ...]  # places of factors of F contracted to it
    block: Block
    data_shape: tuple[int, ...]  # one axis per label of Y
    view: View  # of Y as (everything else, rows of the block)
    project: bool
    shape: tuple[int, ...]  # of the factor of the child's F: (auxiliary, ranks)


@dataclass(frozen=True)
class Visit:
    """Go from the problem at depth `depth` of the dimension tree to one child of it."""

    depth: int
    parts: tuple[Part, ...]
    kept: tuple[int, ...]  # places of factors of F that stay as they are
    node: int  # the node solved for, or -1
    shape: tuple[int, ...]  # of its core
    core_view: View  # its core as (own, columns of each part)
    back: View  # and back: the permutation follows the shape


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
    stack: list[tuple[Array, list[Array]]] = [(matrix, [])] * (len(cores) + 1)
    explained: Callable[[], float] = float
    for visit in program.visits:
        Y, F = stack[visit.depth]
        if visit.node >= 0:
            explained = _solve(visit, kernels, Y, F, cores)
            continue
        factors = [F[k] for k in visit.kept]
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
    blocks = []
    for part in visit.parts:
        operands = [cores[k] for k in part.operands] + [F[k] for k in part.factors]
        blocks.append(part.block.run(operands))
    if len(blocks) == 1:
        part = visit.parts[0]
        data = viewed(Y.reshape(part.data_shape), part.view)
        W, explained = kernels.solve(data, blocks[0], old.reshape((data.shape[0], -1)))
        cores[visit.node] = W.reshape(visit.shape)
        return explained
    for part, block in zip(visit.parts, blocks, strict=True):
        Y = viewed(Y.reshape(part.data_shape), part.view) @ kernels.conj(block)
    before = viewed(old, visit.core_view)
    W, explained = kernels.solve_product(Y.reshape(before.shape), blocks, before)
    back, shape = visit.back
    W = W.reshape(shape)
    cores[visit.node] = W if back is None else transposed(W, back)
    return explained


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


@dataclass(frozen=True)
class _State:
    """The labels of the problem at a vertex: those of Y, and of each factor of F."""

    data: Labels
    factors: tuple[Labels, ...]
    sizes: Mapping[str, int]


def _visits(layout: Layout) -> list[Visit]:
    """List the visits depth first, so that the second child sees the first one's new nodes."""
    vertices = layout.tree.vertices
    found: list[Visit] = []
    root = _State(layout.groups(layout.names), (), layout.sizes)
    todo = [(0, child, 0, root) for child in reversed(vertices[0].children)]
    while todo:
        parent, child, depth, state = todo.pop()
        visit, below = _visit(layout, parent, child, depth, state)
        found.append(visit)
        todo.extend((child, k, depth + 1, below) for k in reversed(vertices[child].children))
    return found


def _visit(
    layout: Layout, parent: int, child: int, depth: int, state: _State
) -> tuple[Visit, _State]:
    """Compile one visit; also return the labels of the problem it leads to."""
    vertices = layout.tree.vertices
    here = vertices[child]
    others = next(vertices[k].nodes for k in vertices[parent].children if k != child)
    leaf = not here.children
    inputs = layout.labels(others) + list(state.factors)
    groups = _connected(inputs)
    untouched = [g for g in groups if min(g) >= len(others) and not leaf]
    groups = [g for g in groups if g not in untouched]
    columns = layout.columns(here.nodes)
    if leaf and _cheap_together(inputs, groups, columns, state.sizes):
        groups = [sorted(k for g in groups for k in g)]
    kept = tuple(k - len(others) for g in untouched for k in g)
    factors = [state.factors[k] for k in kept]
    data, sizes = state.data, dict(state.sizes)
    places = [layout.place[n] for n in others]
    parts = []
    for number, group in enumerate(groups):
        part, data, factor = _part(
            inputs, group, places, columns, data, sizes, f"{AUXILIARY}{depth}.{number}", leaf
        )
        parts.append(part)
        factors.append(factor)
    node = layout.place[here.nodes[0]] if leaf else -1
    mine = layout.core_labels(here.nodes[0]) if leaf else ()
    order = layout.groups(here.nodes) + tuple(x for f in factors for x in f[1:]) if leaf else ()
    visit = Visit(
        depth,
        tuple(parts),
        kept,
        node,
        layout.core_shapes[node] if leaf else (),
        (
            permutation(mine, order),
            (layout.span(here.nodes), *(math.prod(sizes[x] for x in f[1:]) for f in factors)),
        ),
        (permutation(order, mine), tuple(sizes[x] for x in order)),
    )
    return visit, _State(data, tuple(factors), sizes)


def _part(
    inputs: Sequence[Labels],
    group: Sequence[int],
    places: Sequence[int],
    columns: Labels,
    data: Labels,
    sizes: dict[str, int],
    name: str,
    leaf: bool,
) -> tuple[Part, Labels, Labels]:
    """Compile one part; `name` is its auxiliary leg, whose size is added to `sizes`.

    Returns
    -------
    part, data, factor
        The labels of Y and of the part's factor of F after it.
    """
    held = {x for k in group for x in inputs[k]}
    rows = tuple(x for x in data if x in held)
    rest = tuple(x for x in data if x not in held)
    mine = tuple(x for x in columns if x in held)
    height, width = (math.prod(sizes[x] for x in labels) for labels in (rows, mine))
    project = height > width
    sizes[name] = width if project or leaf else height
    part = Part(
        tuple(places[k] for k in group if k < len(places)),
        tuple(k - len(places) for k in group if k >= len(places)),
        compile_block([inputs[k] for k in group], rows, mine, sizes),
        tuple(sizes[x] for x in data),
        (permutation(data, rest + rows), (math.prod(sizes[x] for x in rest), height)),
        project,
        (sizes[name], *(sizes[x] for x in mine)),
    )
    return part, (*rest, name), (name, *mine)


def _connected(inputs: Sequence[Labels]) -> list[list[int]]:
    """Return the groups of operands that hang together by shared labels, each ascending."""
    groups: list[tuple[set[str], list[int]]] = []
    for k, labels in enumerate(inputs):
        met = [g for g in groups if not g[0].isdisjoint(labels)]
        groups = [g for g in groups if g not in met]
        joined = set(labels).union(*(g[0] for g in met))
        groups.append((joined, sorted([k, *(i for g in met for i in g[1])])))
    return sorted(members for _, members in groups)


def _cheap_together(
    inputs: Sequence[Labels],
    groups: Sequence[Sequence[int]],
    columns: Labels,
    sizes: Mapping[str, int],
) -> bool:
    """Tell whether one small dense solve beats the eigenvalues of several smaller blocks."""
    held = {x for g in groups for k in g for x in inputs[k]}
    width = math.prod(sizes[x] for x in columns)
    height = math.prod(sizes[x] for x in held if not x.isprintable())
    return float(height) * width**2 < CHEAP
