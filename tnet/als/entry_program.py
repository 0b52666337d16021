"""What a sweep over observed entries needs from the structure: the order of visits, compiled.

At a vertex with nodes A of the dimension tree stands the environment of A: for every entry, the
contraction of all nodes outside A at the indices of that entry. A group of nodes whose modes
span no more than the number of entries is contracted once to a table, from which entries are
gathered; the others are gathered node by node. A node with many bond values may take its normal
equations from the whole grid instead (`tnet.als.grid_program`) and then needs no environment.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from tnet.als.dimension_tree import dimension_tree
from tnet.als.grid_program import GridVisit, grid_visit
from tnet.als.layout import Layout
from tnet.als.pairs import Block, Labels, compile_block
from tnet.structure import Structure

ENTRY = "\nentry"  # no leg can have this name


@dataclass(frozen=True)
class Source:
    """One operand of an environment: a core, or a table of several."""

    nodes: tuple[int, ...]
    table: Block | None
    keyed: bool  # gathered by the indices of the entries; else it has no modes
    shape: tuple[int, ...]
    labels: Labels


@dataclass(frozen=True)
class EntryVisit:
    """Go from the environment at depth `depth` to that of one child."""

    depth: int
    sources: tuple[Source, ...]
    block: Block | None  # None: the sources alone are the environment, ungathered
    node: int  # the node solved for, or -1
    columns: int
    shape: tuple[int, ...]  # of one row of the environment
    width: int  # most numbers held per entry
    grid: GridVisit | None = None  # the way over the grid, which needs none of the sources


@dataclass(frozen=True)
class EntryProgram:
    """Everything about a sweep over entries that depends on the structure and their number."""

    layout: Layout
    visits: tuple[EntryVisit, ...]
    whole: EntryVisit  # all nodes: the value of the network
    flops: float  # of a sweep, roughly


@lru_cache(maxsize=256)
def compile_entry_program(structure: Structure, entries: int) -> EntryProgram:
    """Choose the dimension tree for `entries` observed entries and compile its visits."""
    layout = Layout(structure, dimension_tree(structure, entries))
    vertices = layout.tree.vertices
    visits = []
    todo = [(0, child, 0) for child in reversed(vertices[0].children)]
    while todo:
        parent, child, depth = todo.pop()
        visits.append(_visit(layout, parent, child, depth, entries))
        todo.extend((child, k, depth + 1) for k in reversed(vertices[child].children))
    if not visits:  # a single node
        visits.append(EntryVisit(0, (), None, 0, 1, (), 1))
    visits = _without_idle(visits)
    everything = _sources(layout, vertices[0].children or (0,), entries)
    inputs = [source.labels for source in everything]
    block = compile_block(inputs, (ENTRY,), (), {**layout.sizes, ENTRY: -1})
    whole = EntryVisit(0, everything, block, -1, 1, (), _width(block, everything))
    flops = sum(_flops(visit, entries) for visit in visits)
    return EntryProgram(layout, tuple(visits), whole, flops)


def _flops(visit: EntryVisit, entries: int) -> float:
    if visit.grid is not None:
        return visit.grid.gram.flops + visit.grid.rhs.flops + visit.columns**3 / 3.0
    normal = visit.columns**2 if visit.node >= 0 else 0
    return 2.0 * entries * (visit.width + normal)


def _visit(layout: Layout, parent: int, child: int, depth: int, entries: int) -> EntryVisit:
    vertices = layout.tree.vertices
    above, here = vertices[parent], vertices[child]
    others = tuple(k for k in above.children if k != child)
    sources = _sources(layout, others, entries)
    columns = layout.columns(here.nodes)
    shape = tuple(layout.sizes[x] for x in columns)
    leaf = not here.children
    node = layout.place[here.nodes[0]] if leaf else -1
    grid = grid_visit(layout, here.nodes[0], entries) if leaf else None
    if grid is not None:
        return EntryVisit(depth, (), None, node, math.prod(shape), shape, 1, grid)
    block: Block | None = None
    if depth or leaf or [source.labels for source in sources] != [(ENTRY, *columns)]:
        inputs = [source.labels for source in sources]
        if depth:
            inputs.append((ENTRY, *layout.crossing(above.nodes)))
        block = compile_block(inputs, (ENTRY,), columns, {**layout.sizes, ENTRY: -1})
    width = math.prod(shape)
    return EntryVisit(depth, sources, block, node, width, shape, max(width, _width(block, sources)))


def _without_idle(visits: list[EntryVisit]) -> list[EntryVisit]:
    """Return the visits without the environments that no node below takes anything from."""
    kept: list[EntryVisit] = []
    wanted: set[int] = set()  # depths whose environment some later visit reads
    for visit in reversed(visits):
        if visit.node < 0:
            if visit.depth + 1 not in wanted:
                continue
            wanted.discard(visit.depth + 1)
        if visit.grid is None:
            wanted.add(visit.depth)
        kept.append(visit)
    return kept[::-1]


def _sources(layout: Layout, vertices: tuple[int, ...], entries: int) -> tuple[Source, ...]:
    """Return tables for groups with few index combinations, single cores for the others."""
    found: list[Source] = []
    todo = list(reversed(vertices))
    while todo:
        vertex = layout.tree.vertices[todo.pop()]
        nodes, span = vertex.nodes, layout.span(vertex.nodes)
        if span > entries and vertex.children:
            todo.extend(reversed(vertex.children))
            continue
        ranks = layout.columns(nodes)
        table = None
        if vertex.children:
            table = compile_block(layout.labels(nodes), layout.groups(nodes), ranks, layout.sizes)
        keyed = span > 1
        labels = (ENTRY, *ranks) if keyed else ranks
        rest = tuple(layout.sizes[x] for x in ranks)
        shape = (span, *rest) if keyed else rest
        places = tuple(layout.place[n] for n in nodes)
        found.append(Source(places, table, keyed, shape, labels))
    if not any(source.keyed for source in found):
        # every entry then has the same environment; one row of it per entry is asked for
        first = found[0]
        found[0] = Source(first.nodes, first.table, True, (1, *first.shape), (ENTRY, *first.labels))
    return tuple(found)


def _width(block: Block | None, sources: tuple[Source, ...]) -> int:
    gathered = [math.prod(source.shape[1:]) for source in sources if source.keyed]
    made = [abs(math.prod(step.shape)) for step in block.steps] if block is not None else []
    return max([*gathered, *made, 1])
