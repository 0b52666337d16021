"""Drawings of networks as text: trees as trees, everything else as a table of nodes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tnet.network import Network
from tnet.scene import short
from tnet.structure import Structure
from tnet.trees import RootedTree, rooted

CHAIN = 4  # nodes below a node with one child that are drawn straight down
DEEPEST = 6  # levels of indentation before the largest branch goes straight on


@dataclass(frozen=True, kw_only=True)
class Glyphs:
    """The characters of a text drawing.

    Examples
    --------
    >>> ASCII.branch
    '|-'
    """

    branch: str = "├─"
    last: str = "└─"
    down: str = "│"
    line: str = "─"
    times: str = "\N{MULTIPLICATION SIGN}"
    more: str = "…"


UNICODE = Glyphs()
ASCII = Glyphs(branch="|-", last="`-", down="|", line="-", times="x", more="...")


def draw_text(
    target: Network | Structure, *, max_lines: int = 200, glyphs: Glyphs = UNICODE
) -> str:
    """Return a drawing of a network or structure as text.

    A tree is drawn from its centre: each row is a node with its open legs and their sizes, the
    number on a branch is the rank of the bond. A hyperbond has a row of its own with an asterisk,
    and no parameters. A graph with cycles becomes a table with one row per node. The last column
    counts parameters.

    Parameters
    ----------
    target
        What to draw.
    max_lines
        Rows after which the drawing breaks off and says how many nodes are missing.
    glyphs
        `UNICODE`, or `ASCII` for terminals that know nothing else.

    Examples
    --------
    >>> from tnet.formats import tucker
    >>> print(draw_text(tucker((4, 5, 6), 2)))
    4 nodes, 38 parameters; 4 × 5 × 6 = 120 entries
    <BLANKLINE>
    core                 8
    ├─ 2 ─ u0 ── x0 4    8
    ├─ 2 ─ u1 ── x1 5   10
    └─ 2 ─ u2 ── x2 6   12
    """
    structure = target.structure if isinstance(target, Network) else target
    spread, hubs = _with_hubs(structure)
    rows = _tree_rows(spread, glyphs, hubs) if spread.is_tree else _table_rows(structure)
    shown: list[tuple[str, int | None]] = []
    for row in rows:  # a generator: nothing is drawn beyond the last line that is shown
        if len(shown) == max_lines:
            seen = sum(count is not None for _, count in shown)
            left = len(structure.nodes) - seen
            shown.append((f"{glyphs.more} {left:,} more nodes", None))
            break
        shown.append(row)
    wide = max(len(text) for text, _ in shown)
    digits = max(len(f"{count:,}") for _, count in shown if count is not None)
    body = [
        text if count is None else f"{text:<{wide}}   {count:>{digits},}" for text, count in shown
    ]
    return "\n".join([headline(structure, glyphs), "", *body])


def _with_hubs(structure: Structure) -> tuple[Structure, dict[str, str]]:
    """Return the structure with a node in the place of every hyperbond, and their texts."""
    if not structure.hyperbonds:
        return structure, {}
    mark = "*"
    while any(name.startswith(mark) for name in (*structure.node_names, *structure.size)):
        mark += "*"
    hubs = {leg: f"{mark}{k}" for k, leg in enumerate(structure.hyperbonds)}
    size = {leg: n for leg, n in structure.sizes if leg not in hubs}
    nodes: dict[str, list[str]] = {hub: [] for hub in hubs.values()}
    for i, (node, legs) in enumerate(structure.nodes):
        nodes[node] = []
        for leg in legs:
            bond = f"{hubs[leg]}-{i}" if leg in hubs else leg
            if leg in hubs:
                nodes[hubs[leg]].append(bond)
                size[bond] = structure.size[leg]
            nodes[node].append(bond)
    texts = {hub: f"{short(leg)} *" for leg, hub in hubs.items()}
    return Structure(nodes, size, structure.modes), texts


def headline(structure: Structure, glyphs: Glyphs = UNICODE) -> str:
    """Return the size of a structure in one line.

    Examples
    --------
    >>> from tnet.formats import tensor_train
    >>> headline(tensor_train((4, 5, 6), 2))
    '3 nodes, 40 parameters; 4 × 5 × 6 = 120 entries'
    """
    nodes, count = len(structure.nodes), structure.num_params
    shape = f" {glyphs.times} ".join(map(str, structure.shape)) or "a scalar"
    if len(structure.shape) > 12:
        shape = f"{len(structure.shape)} modes"
    entries = math.prod(structure.shape)
    size = f" = {entries:,} entries" if len(structure.shape) > 1 and entries < 10**15 else ""
    return f"{_plural(nodes, 'node')}, {_plural(count, 'parameter')}; {shape}{size}"


def _plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _node_text(structure: Structure, node: str, glyphs: Glyphs) -> str:
    open_legs = [leg for leg in structure.legs[node] if len(structure.holders[leg]) == 1]
    held = ", ".join(f"{short(leg)} {structure.size[leg]}" for leg in open_legs)
    return short(node) + (f" {glyphs.line * 2} {held}" if held else "")


def _tree_rows(
    structure: Structure, glyphs: Glyphs, hubs: Mapping[str, str]
) -> Iterator[tuple[str, int | None]]:
    tree = rooted(structure, _root(structure))
    weight = _weights(tree)
    work = [(tree.root, "", "", 0)]  # node, text before it, text before what is below, depth
    while work:
        node, before, below, depth = work.pop()
        upright = depth < 0
        if upright:  # a straight step down: the rank has a line of its own
            yield f"{before}{glyphs.down} {structure.size[tree.bond[node]]}", None
            before, depth = below, -depth
        if node in hubs:
            yield before + hubs[node], None
        else:
            text = before + _node_text(structure, node, glyphs)
            yield text, math.prod(structure.node_shape(node))
        children = tree.children[node]
        long = depth == 0 or upright or weight[node] > CHAIN
        chain = len(children) == 1 and long
        straight = chain or depth >= DEEPEST
        if straight:  # the largest branch goes straight on, which bounds the width
            children = tuple(sorted(children, key=lambda child: weight[child]))
        fresh = []
        for k, child in enumerate(children):
            last = k == len(children) - 1
            if last and straight:
                fresh.append((child, below, below, -max(depth, 1)))
                continue
            rank = f" {structure.size[tree.bond[child]]} {glyphs.line} "
            mark = glyphs.last if last else glyphs.branch
            bar = " " if last else glyphs.down
            pad = bar + " " * (len(mark) + len(rank) - 1)
            fresh.append((child, below + mark + rank, below + pad, depth + 1))
        work.extend(reversed(fresh))


def _weights(tree: RootedTree) -> dict[str, int]:
    weight = dict.fromkeys(tree.pre_order, 1)
    for node in tree.post_order:
        above = tree.parent[node]
        if above is not None:
            weight[above] += weight[node]
    return weight


def _root(structure: Structure) -> str:
    """Return an end of a train, the middle of any other tree."""
    neighbours = {node: len(structure.neighbours(node)) for node in structure.node_names}
    first = structure.node_names[0]
    if max(neighbours.values()) <= 2:
        return next((node for node, count in neighbours.items() if count <= 1), first)
    far = rooted(structure, first).pre_order[-1]
    other = rooted(structure, far).pre_order[-1]
    way = rooted(structure, first).path(far, other)
    middle = {way[(len(way) - 1) // 2], way[len(way) // 2]}
    both = [node for node in structure.node_names if node in middle]
    return max(both, key=lambda node: neighbours[node])


def _table_rows(structure: Structure) -> Iterator[tuple[str, int | None]]:
    rows = []
    for node in structure.node_names:
        held = []
        for leg in structure.legs[node]:
            others = [short(name) for name in structure.holders[leg] if name != node]
            size = structure.size[leg]
            if not others:
                held.append(f"{short(leg)} {size}")
            elif len(others) == 1:
                held.append(f"-{size}- {others[0]}")
            else:
                held.append(f"*{size}* {short(leg)}")
        rows.append((short(node), "   ".join(held), math.prod(structure.node_shape(node))))
    wide = max(len(name) for name, _, _ in rows)
    for name, text, count in rows:
        yield f"{name:<{wide}}   {text}", count
    for leg in structure.hyperbonds:
        names = ", ".join(short(name) for name in structure.holders[leg][:8])
        more = len(structure.holders[leg]) - 8
        tail = f" and {more:,} more" if more > 0 else ""
        yield f"*{structure.size[leg]}* {short(leg)} joins {names}{tail}", None
