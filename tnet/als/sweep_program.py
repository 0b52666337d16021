"""The program of a projected sweep: everything about it that depends on the structure alone.

Where a block would be wider than high nothing can be projected. Such blocks are contracted on the
way down only if that makes them smaller; else the nodes wait, and each node below contracts what
it needs in the order that is best for it. On dense graphs all nodes wait: then the sweep is one
contraction of all other nodes per node, and the dimension tree only says in which turn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from tnet.als.dimension_tree import dimension_tree
from tnet.als.doubled import Doubled, compile_doubled
from tnet.als.layout import Layout
from tnet.als.pairs import (
    COPY,
    Block,
    Labels,
    View,
    compile_block,
    compile_loose_block,
    permutation,
)
from tnet.structure import Structure

AUXILIARY = "\nauxiliary"  # no leg can have this name: it is not printable
CHEAP = 2e5  # flops below which the parts of a leaf are not worth telling apart
SMALL = 1 << 13  # entries of a block that is made at once: calls cost more than it does
DEAR = 3e8  # flops above which a sweep without projections is compiled too, and compared
HOPELESS = 1e13  # flops above which nobody will run it: any program will do
QR_PENALTY = 12.0  # a QR factorisation, with its basis, runs at a fraction of the speed of a matmul
UP_TO = 9  # nodes: more operands than a block may have for its best order to be found


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
    doubled: Doubled | None = None  # of a leaf: instead of the block


@dataclass(frozen=True)
class Visit:
    """Go from the problem at depth `depth` of the dimension tree to one child of it."""

    depth: int
    parts: tuple[Part, ...]
    waiting: tuple[int, ...]  # nodes that become factors of the child's F as they are
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


def planned_flops(structure: Structure) -> float:
    """Return the floating-point operations that one sweep over a full tensor is worth, about.

    Entries that are moved count as well, so that a core of today, at 3e10 a second, is through
    with a sweep in this number over 3e10.

    Parameters
    ----------
    structure
        The graph with its ranks; connected.

    Notes
    -----
    Nothing is allocated. Cost: 1 to 3 ms for five to eight nodes, up to 0.1 s where sweeps take
    about as long themselves; the program is kept, so a second question, or a fit, has it at once.

    Examples
    --------
    >>> import tnet
    >>> tnet.planned_flops(tnet.tensor_ring((4,) * 8, 3)) < 1e8
    True
    >>> tnet.planned_flops(tnet.fully_connected((4,) * 5, 9)) > 1e10
    True
    """
    return compile_program(structure).flops


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
    visits = tuple(_visits(layout, _grows))
    flops = sum(map(visit_flops, visits))
    if DEAR < flops < HOPELESS and len(layout.names) <= UP_TO:
        direct = tuple(_visits(layout, _always))
        visits = min(visits, direct, key=lambda found: sum(map(visit_flops, found)))
        flops = sum(map(visit_flops, visits))
    return Program(
        layout,
        tuple(modes[x] for n in layout.names for x in layout.own[n]),
        layout.span(first),
        visits,
        halves,
        len(first),
        flops,
    )


def visit_flops(visit: Visit) -> float:
    """Return about how many flops a visit takes as long as, with the entries it moves."""
    leaf = visit.node >= 0
    flops = 0.0
    for part in visit.parts:
        rows, columns = part.block.final[1]
        size = math.prod(part.data_shape)
        if part.doubled is not None:
            flops += part.doubled.flops
        elif leaf:
            flops += _block_flops(part.block, size)
        else:
            flops += part.block.flops + 2.0 * COPY * (part.block.moved + size)
            if part.project:
                flops += 2.0 * size * columns + QR_PENALTY * rows * columns**2
    return flops


def _block_flops(block: Block, size: int) -> float:
    """Return the flops of a node's normal equations, with data of `size`, by way of its block."""
    rows, columns = block.final[1]
    small = min(rows, columns)
    made = block.flops + 2.0 * COPY * (block.moved + size)
    return made + 2.0 * size * columns + float(rows * columns * small + small**3)


Rule = Callable[[Sequence[Labels], Sequence[int], Labels, Labels, Mapping[str, int]], bool]


@dataclass(frozen=True)
class _State:
    """The labels of the problem at a vertex: those of Y, and of each factor of F."""

    data: Labels
    factors: tuple[Labels, ...]
    sizes: Mapping[str, int]


def _visits(layout: Layout, waits: Rule) -> list[Visit]:
    """List the visits depth first, so that the second child sees the first one's new nodes."""
    vertices = layout.tree.vertices
    found: list[Visit] = []
    root = _State(layout.groups(layout.names), (), layout.sizes)
    todo = [(0, child, 0, root) for child in reversed(vertices[0].children)]
    while todo:
        parent, child, depth, state = todo.pop()
        visit, below = _visit(layout, parent, child, depth, state, waits)
        found.append(visit)
        todo.extend((child, k, depth + 1, below) for k in reversed(vertices[child].children))
    return found


def _visit(
    layout: Layout, parent: int, child: int, depth: int, state: _State, waits: Rule
) -> tuple[Visit, _State]:
    """Compile one visit; also return the labels of the problem it leads to."""
    vertices = layout.tree.vertices
    here = vertices[child]
    others = next(vertices[k].nodes for k in vertices[parent].children if k != child)
    leaf = not here.children
    inputs = layout.labels(others) + list(state.factors)
    groups = _connected(inputs)
    columns = layout.columns(here.nodes)
    untouched = [
        g
        for g in groups
        if not leaf
        and (min(g) >= len(others) or waits(inputs, g, state.data, columns, state.sizes))
    ]
    groups = [g for g in groups if g not in untouched]
    if leaf and _cheap_together(inputs, groups, columns, state.sizes):
        groups = [sorted(k for g in groups for k in g)]
    places = [layout.place[n] for n in others]
    postponed = sorted(k for g in untouched for k in g)
    waiting = tuple(places[k] for k in postponed if k < len(others))
    kept = tuple(k - len(others) for k in postponed if k >= len(others))
    factors = [inputs[k] for k in postponed]
    data, sizes = state.data, dict(state.sizes)
    parts = []
    for number, group in enumerate(groups):
        part, data, factor = _part(
            inputs, group, places, columns, data, sizes, f"{AUXILIARY}{depth}.{number}", leaf
        )
        if leaf and len(groups) == 1:
            part = _with_doubled(part, [inputs[k] for k in group], state.data, factor[1:], sizes)
        parts.append(part)
        factors.append(factor)
    node = layout.place[here.nodes[0]] if leaf else -1
    mine = layout.core_labels(here.nodes[0]) if leaf else ()
    order = layout.groups(here.nodes) + tuple(x for f in factors for x in f[1:]) if leaf else ()
    visit = Visit(
        depth,
        tuple(parts),
        waiting,
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
    rest = tuple(x for x in data if x not in held)
    rows = tuple(x for x in data if x in held)
    mine = tuple(x for x in columns if x in held)
    height, width = (math.prod(sizes[x] for x in labels) for labels in (rows, mine))
    operands = [inputs[k] for k in group]
    if height * width > math.prod(sizes[x] for x in data):
        block, rows, mine = compile_loose_block(operands, rows, mine, sizes)
    else:  # the data are the larger ones to copy: their order stands
        block = compile_block(operands, rows, mine, sizes)
    project = height > width
    sizes[name] = width if project or leaf else height
    part = Part(
        tuple(places[k] for k in group if k < len(places)),
        tuple(k - len(places) for k in group if k >= len(places)),
        block,
        tuple(sizes[x] for x in data),
        (permutation(data, rest + rows), (math.prod(sizes[x] for x in rest), height)),
        project,
        (sizes[name], *(sizes[x] for x in mine)),
    )
    return part, (*rest, name), (name, *mine)


def _with_doubled(
    part: Part, inputs: Sequence[Labels], data: Labels, columns: Labels, sizes: Mapping[str, int]
) -> Part:
    """Return the part of a leaf with normal equations that need no block, if that pays."""
    held = {x for labels in inputs for x in labels}
    found = compile_doubled(
        inputs,
        data,
        tuple(x for x in data if x not in held),
        columns,
        sizes,
        less_than=_block_flops(part.block, math.prod(part.data_shape)),
    )
    return part if found is None else replace(part, doubled=found)


def _connected(inputs: Sequence[Labels]) -> list[list[int]]:
    """Return the groups of operands that hang together by shared labels, each ascending."""
    groups: list[tuple[set[str], list[int]]] = []
    for k, labels in enumerate(inputs):
        met = [g for g in groups if not g[0].isdisjoint(labels)]
        groups = [g for g in groups if g not in met]
        joined = set(labels).union(*(g[0] for g in met))
        groups.append((joined, sorted([k, *(i for g in met for i in g[1])])))
    return sorted(members for _, members in groups)


def _grows(
    inputs: Sequence[Labels],
    group: Sequence[int],
    data: Labels,
    columns: Labels,
    sizes: Mapping[str, int],
) -> bool:
    """Tell whether a block is wider than high, large, and larger than what it is made of.

    Nothing is projected there, and nothing gained: each node below contracts what it needs.
    """
    held = {x for k in group for x in inputs[k]}
    height = math.prod(sizes[x] for x in data if x in held)
    width = math.prod(sizes[x] for x in columns if x in held)
    entries = sum(math.prod(sizes[x] for x in inputs[k]) for k in group)
    return height <= width and height * width > max(entries, SMALL)


def _always(
    inputs: Sequence[Labels],
    group: Sequence[int],
    data: Labels,
    columns: Labels,
    sizes: Mapping[str, int],
) -> bool:
    """Tell that a block waits: nothing is projected."""
    return True


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
