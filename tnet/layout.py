"""Layouts: where the nodes, hyperbonds and open legs of a structure stand in a drawing.

Positions are in units of one bond length, x to the right and y downwards. Every layout is
deterministic: the same structure always gives the same picture. Trees, trains and stars take time
linear in the number of nodes; only the layout of general graphs compares all pairs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

import numpy as np

from contraction.errors import StructureError
from tnet.structure import Structure

Point: TypeAlias = tuple[float, float]
Adjacency: TypeAlias = "Sequence[Sequence[int]]"
Points: TypeAlias = "np.ndarray[Any, np.dtype[np.float64]]"
LONGEST_ROW = 10  # nodes of a train in one row, before it turns
MOST_FOR_STRESS = 400  # vertices; above this, all pairs would take too long
SWEEPS = 120  # of stress majorisation; pictures stop changing visibly after about 60


class Layout(Enum):
    """How to place the nodes of a drawing."""

    AUTO = "auto"  # LINE for trains, RADIAL for stars, LAYERED for trees, CIRCULAR for rings
    LINE = "line"
    LAYERED = "layered"
    RADIAL = "radial"
    CIRCULAR = "circular"
    SPRING = "spring"


@dataclass(frozen=True)
class Placement:
    """Positions of everything that a drawing shows.

    Attributes
    ----------
    node, mode, hub
        Node, open leg (its free end) and hyperbond (the dot where it branches) -> (x, y).
    """

    node: dict[str, Point]
    mode: dict[str, Point]
    hub: dict[str, Point]


@dataclass(frozen=True)
class _Graph:
    """Nodes, then hubs, then open legs, as numbered vertices."""

    structure: Structure
    vertices: tuple[str, ...]
    nodes: int
    hubs: int
    adjacency: tuple[tuple[int, ...], ...]
    parallel: bool

    @property
    def is_tree(self) -> bool:
        edges = sum(len(row) for row in self.adjacency) // 2
        return not self.parallel and edges == len(self.vertices) - 1 and _connected(self.adjacency)

    def inner(self, vertex: int) -> list[int]:
        """Return the neighbours of a vertex that are no open legs."""
        return [other for other in self.adjacency[vertex] if other < self.nodes + self.hubs]


def place(structure: Structure, layout: Layout = Layout.AUTO) -> Placement:
    """Return positions for all nodes, hyperbonds and open legs of `structure`.

    Raises
    ------
    StructureError
        A line, or a layered or radial drawing, of something that is no train or no tree.

    Notes
    -----
    General graphs: stress majorisation (Gansner, Koren, North, GD 2004) from classical scaling.

    Examples
    --------
    >>> s = Structure({"a": ("x", "r"), "b": ("r", "y")}, {"x": 4, "r": 2, "y": 5})
    >>> place(s).node
    {'a': (0.0, 0.0), 'b': (1.0, 0.0)}
    """
    graph = _graph_of(structure)
    kind = _choose(graph) if layout is Layout.AUTO else layout
    if kind in (Layout.LAYERED, Layout.RADIAL, Layout.LINE) and not graph.is_tree:
        raise StructureError(
            f"a {kind.value} drawing needs one connected tree; this structure has cycles or "
            "several parts. Use Layout.CIRCULAR or Layout.SPRING."
        )
    if kind is Layout.LINE:
        points = _line(graph)
    elif kind is Layout.LAYERED:
        points = _layered(graph.adjacency, _middle(graph))
    elif kind is Layout.RADIAL:
        points = _radial(graph.adjacency, _middle(graph))
    elif kind is Layout.CIRCULAR:
        points = _circular(graph)
    else:
        points = _spring(graph)
    return _named(graph, points)


def _graph_of(structure: Structure) -> _Graph:
    hubs = list(structure.hyperbonds)
    vertices = [*structure.node_names, *hubs, *structure.open_legs]
    place_of = {("node", name): i for i, name in enumerate(structure.node_names)}
    for k, leg in enumerate([*hubs, *structure.open_legs]):
        place_of["leg", leg] = len(structure.nodes) + k
    rows: list[dict[int, None]] = [{} for _ in vertices]
    parallel = False
    for leg, holders in structure.holders.items():
        ends = [place_of["node", holder] for holder in holders]
        pairs = (
            [(ends[0], ends[1])] if len(ends) == 2 else [(e, place_of["leg", leg]) for e in ends]
        )
        for a, b in pairs:
            parallel = parallel or b in rows[a]
            rows[a][b] = rows[b][a] = None
    adjacency = tuple(tuple(row) for row in rows)
    return _Graph(structure, tuple(vertices), len(structure.nodes), len(hubs), adjacency, parallel)


def _named(graph: _Graph, points: Points) -> Placement:
    rounded = [(round(float(x), 4) + 0.0, round(float(y), 4) + 0.0) for x, y in points]
    pairs = list(zip(graph.vertices, rounded, strict=True))
    first, second = graph.nodes, graph.nodes + graph.hubs
    return Placement(dict(pairs[:first]), dict(pairs[second:]), dict(pairs[first:second]))


def _connected(adjacency: Adjacency) -> bool:
    return len(_reach(adjacency, 0)[0]) == len(adjacency)


def _reach(adjacency: Adjacency, start: int) -> tuple[list[int], dict[int, int]]:
    """Return the vertices reachable from `start`, breadth first, and their parents."""
    parent = {start: -1}
    order = [start]
    for vertex in order:  # grows while it is walked
        for other in adjacency[vertex]:
            if other not in parent:
                parent[other] = vertex
                order.append(other)
    return order, parent


def _choose(graph: _Graph) -> Layout:
    count = graph.nodes
    if graph.is_tree:
        if not graph.hubs and all(len(graph.inner(v)) <= 2 for v in range(count)):
            return Layout.LINE
        height = _height(graph, _middle(graph))
        spread = sum(len(row) == 1 for row in graph.adjacency)
        return Layout.RADIAL if height <= 1 or spread > 24 else Layout.LAYERED
    degrees = {len(graph.inner(v)) for v in range(count)}
    whole = not graph.hubs and _connected(graph.adjacency)
    if whole and count >= 3 and degrees in ({2}, {count - 1}):
        return Layout.CIRCULAR
    return Layout.SPRING if len(graph.vertices) <= MOST_FOR_STRESS else Layout.CIRCULAR


def _height(graph: _Graph, root: int) -> int:
    order, parent = _reach(graph.adjacency, root)
    depth = {root: 0}
    for vertex in order[1:]:
        depth[vertex] = depth[parent[vertex]] + 1
    return max(depth[vertex] for vertex in order if vertex < graph.nodes)


def _middle(graph: _Graph) -> int:
    """Return the centre of a tree: halfway on a longest path between nodes."""
    inner = graph.nodes + graph.hubs
    far = [v for v in _reach(graph.adjacency, 0)[0] if v < inner][-1]
    order, parent = _reach(graph.adjacency, far)
    way = [[v for v in order if v < inner][-1]]
    while parent[way[-1]] >= 0:
        way.append(parent[way[-1]])
    middle = {way[(len(way) - 1) // 2], way[len(way) // 2]}
    return max(sorted(middle), key=lambda v: len(graph.adjacency[v]))


def _layered(adjacency: Adjacency, root: int) -> Points:
    """Leaves in equal slots, parents above the middle of their children."""
    order, parent = _reach(adjacency, root)
    depth = {root: 0}
    children: dict[int, list[int]] = {vertex: [] for vertex in order}
    for vertex in order[1:]:
        depth[vertex] = depth[parent[vertex]] + 1
        children[parent[vertex]].append(vertex)
    points = np.zeros((len(adjacency), 2))
    slot = 0.0
    walk = [root]
    while walk:  # depth first, so that slots follow the order of the legs
        vertex = walk.pop()
        points[vertex, 1] = depth[vertex]
        if not children[vertex]:
            points[vertex, 0] = slot
            slot += 1.0
        walk.extend(reversed(children[vertex]))
    for vertex in reversed(order):
        if children[vertex]:
            below = points[children[vertex], 0]
            points[vertex, 0] = (below[0] + below[-1]) / 2
    return points


def _radial(adjacency: Adjacency, root: int) -> Points:
    """Rings around the root; every subtree gets an angle in proportion to its leaves."""
    order, parent = _reach(adjacency, root)
    leaves = dict.fromkeys(order, 0)
    for vertex in reversed(order):
        leaves[vertex] = leaves[vertex] or 1
        if parent[vertex] >= 0:
            leaves[parent[vertex]] += leaves[vertex]
    points = np.zeros((len(adjacency), 2))
    start = {root: -math.pi / 2 - math.pi / leaves[root]}  # the first leaf stands on top
    used = dict(start)
    depth = {root: 0}
    # rings far apart enough that neighbours on the first one do not touch
    step = max(1.0, leaves[root] / (2 * math.pi) * 0.6)
    for vertex in order[1:]:
        above = parent[vertex]
        depth[vertex] = depth[above] + 1
        start[vertex] = used[vertex] = used[above]
        wedge = 2 * math.pi * leaves[vertex] / leaves[root]
        used[above] += wedge
        angle = start[vertex] + wedge / 2
        reach = step + (depth[vertex] - 1)
        points[vertex] = reach * math.cos(angle), reach * math.sin(angle)
    return points


def _line(graph: _Graph) -> Points:
    """Nodes in a row that turns at the end, open legs hanging below."""
    ends = [v for v in range(graph.nodes) if len(graph.inner(v)) <= 1]
    order = [v for v in _reach(graph.adjacency, ends[0])[0] if v < graph.nodes]
    points = np.zeros((len(graph.vertices), 2))
    rows = -(-len(order) // LONGEST_ROW)
    width = -(-len(order) // rows)
    for k, vertex in enumerate(order):
        row, column = divmod(k, width)
        points[vertex] = (column if row % 2 == 0 else width - 1 - column), 1.7 * row
    slant = 0.0 if rows == 1 else 0.45  # keeps clear of the bonds between rows
    for vertex in order:
        _hang(graph, vertex, points, math.pi / 2 + slant)
    return points


def _hang(graph: _Graph, vertex: int, points: Points, angle: float, reach: float = 0.8) -> None:
    """Fan out the open legs of a vertex around `angle`."""
    hanging = [v for v in graph.adjacency[vertex] if v >= graph.nodes + graph.hubs]
    step = min(0.7, math.pi / max(len(hanging), 1))
    for k, leg in enumerate(hanging):
        turned = angle - (k - (len(hanging) - 1) / 2) * step
        points[leg] = points[vertex] + reach * np.array([math.cos(turned), math.sin(turned)])


def _circular(graph: _Graph) -> Points:
    """Nodes on a circle in the order of a walk along the bonds, open legs outwards."""
    count = graph.nodes + graph.hubs
    order: list[int] = []
    seen: set[int] = set()
    for start in range(count):
        walk = [start]
        while walk:  # depth first: a ring is walked around once
            vertex = walk.pop()
            if vertex in seen:
                continue
            seen.add(vertex)
            order.append(vertex)
            walk.extend(v for v in reversed(graph.inner(vertex)) if v not in seen)
    points = np.zeros((len(graph.vertices), 2))
    radius = max(0.75, 0.5 / math.sin(math.pi / max(count, 2)))
    for k, vertex in enumerate(order):
        angle = -math.pi / 2 + 2 * math.pi * (k - 0.5 * (count % 2 == 0)) / count
        points[vertex] = radius * math.cos(angle), radius * math.sin(angle)
        _hang(graph, vertex, points, angle)
    return points


def _spring(graph: _Graph) -> Points:
    """Distances on the page as close as can be to distances in the graph, part by part."""
    points = np.zeros((len(graph.vertices), 2))
    left = 0.0
    done: set[int] = set()
    for start in range(graph.nodes):
        if start in done:
            continue
        part = _reach(graph.adjacency, start)[0]
        done.update(part)
        local = {vertex: k for k, vertex in enumerate(part)}
        found = _stress([[local[v] for v in graph.adjacency[vertex]] for vertex in part])
        found -= found.min(axis=0)
        points[part] = found + np.array([left, 0.0])
        left += float(found[:, 0].max()) + 1.0
    return points


def _stress(adjacency: Adjacency) -> Points:
    count = len(adjacency)
    if count == 1:
        return np.zeros((1, 2))
    distance = _distances(adjacency)
    points = _classical_scaling(distance)
    np.fill_diagonal(distance, 1.0)
    weight = distance**-2.0
    np.fill_diagonal(weight, 0.0)
    inverse = np.linalg.pinv(np.diag(weight.sum(axis=1)) - weight)
    for _ in range(SWEEPS):
        apart = np.linalg.norm(points[:, None] - points[None], axis=2)
        pull = weight * distance / np.maximum(apart, 1e-6)
        points = inverse @ (np.diag(pull.sum(axis=1)) - pull) @ points
    return _turned(points, adjacency)


def _distances(adjacency: Adjacency) -> Points:
    found = np.zeros((len(adjacency), len(adjacency)))
    for start in range(len(adjacency)):
        order, parent = _reach(adjacency, start)
        for vertex in order[1:]:
            found[start, vertex] = found[start, parent[vertex]] + 1
    return found


def _classical_scaling(distance: Points) -> Points:
    squared = distance**2
    centred = squared - squared.mean(axis=0) - squared.mean(axis=1)[:, None] + squared.mean()
    values, vectors = np.linalg.eigh(-0.5 * centred)
    found = np.zeros((len(distance), 2))
    best = vectors[:, ::-1][:, :2] * np.sqrt(np.maximum(values[::-1][:2], 0.0))
    found[:, : best.shape[1]] = best
    # vertices with the same neighbours fall on one point: a spiral tells them apart
    turn = np.arange(len(distance)) * (math.pi * (3 - math.sqrt(5)))
    found += 0.02 * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    return found


def _turned(points: Points, adjacency: Adjacency) -> Points:
    """Turn the picture so that most edges lie flat or upright, and it is wider than high."""
    ends = np.array([(v, other) for v, row in enumerate(adjacency) for other in row if other > v])
    along = points[ends[:, 1]] - points[ends[:, 0]]
    # edges a quarter turn apart count as parallel: the mean of exp(4 i angle)
    mean = np.exp(4j * np.arctan2(along[:, 1], along[:, 0])).sum()
    turn = np.exp(-0.25j * np.angle(mean))
    flat = (points[:, 0] + 1j * points[:, 1]) * turn
    wide, high = np.ptp(flat.real), np.ptp(flat.imag)
    flat = flat * 1j if high > wide * (1 + 1e-6) else flat
    found = np.stack([flat.real, flat.imag], axis=1)
    found -= found.mean(axis=0)
    signs = np.sign(np.where(np.abs(found[0]) < 1e-6, -1.0, found[0]))
    result: Points = -found * signs  # the first vertex stands upper left
    return result
