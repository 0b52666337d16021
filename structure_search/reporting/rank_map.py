"""The heat map of a search: the rank of every edge in the best network so far, step by step."""

from __future__ import annotations

import math
from collections.abc import Sequence

from structure_search.journal import RunRecord
from structure_search.reporting.charts import Chart, escape
from structure_search.reporting.figures import Figure, figure_of, running_best
from tnet.structure import Structure

MOST_STEPS, MOST_EDGES = 60, 36
CELL, TALL, TOP, BOTTOM, WIDE = 30.0, 20.0, 8.0, 52.0, 900.0
CHARACTER = 6.6  # pixels of a letter
LONGEST = 26  # characters of an edge's name
LEAST = 0.14  # how opaque a bond of rank one is


def edge_ranks(structure: Structure) -> dict[str, int]:
    """Return edge -> rank; an edge is named by what its ends hold, whatever nodes are called.

    Several bonds between the same nodes count as one, with the product of their ranks.

    Examples
    --------
    >>> import tnet
    >>> edge_ranks(tnet.tensor_train({"a": 4, "b": 5, "c": 6}, (2, 3)))
    {'a - b': 2, 'b - c': 3}
    """
    modes = set(structure.modes)
    name = {
        node: "+".join(leg for leg in structure.legs[node] if leg in modes) or f"({node})"
        for node in structure.node_names
    }
    found: dict[str, int] = {}
    for bond, rank in structure.ranks.items():
        ends = sorted({name[node] for node in structure.holders[bond]})
        key = " - ".join(ends) if len(ends) < 4 else f"{ends[0]} - … - {ends[-1]}"
        found[key] = found.get(key, 1) * rank
    return found


def rank_figure(run: RunRecord) -> Figure | None:
    """Draw the ranks of the best network so far: a row for each edge, a column for each step."""
    bests = running_best(run)
    every = max(1, -(-len(bests) // MOST_STEPS))
    shown = [e for k, e in enumerate(bests) if (len(bests) - 1 - k) % every == 0]
    ranks = [{edge: r for edge, r in edge_ranks(e.structure).items() if r > 1} for e in shown]
    seen = list(dict.fromkeys(edge for one in reversed(ranks) for edge in one))
    if not seen:
        return None
    edges = seen[:MOST_EDGES]
    drawn = heat_map(
        [[one.get(edge) for one in ranks] for edge in edges],
        edges,
        [f"{e.index + 1:,}" for e in shown],
        label="ranks of the best network so far, by edge and evaluation",
    )
    caption = (
        "Each column is a network that was the best so far, at the evaluation below it; each row "
        "is an edge, named by the modes at its ends. An empty cell: no such edge, or rank one."
    )
    if every > 1:
        caption += f" Every {every} of {len(bests)} improvements are shown."
    if len(seen) > len(edges):
        caption += f" {len(seen) - len(edges)} more edges came and went."
    return figure_of("ranks", "Ranks of the best so far", caption, drawn)


def heat_map(
    cells: Sequence[Sequence[int | None]],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    label: str,
) -> Chart:
    """Draw whole numbers >= 1 as shades (by their logarithm) with the number in each.

    Examples
    --------
    >>> heat_map([[1, 2], [None, 4]], ["a", "b"], ["1", "5"], label="ranks").body.count("<rect")
    3
    """
    left = 16.0 + CHARACTER * min(LONGEST, max(map(len, rows)))
    cell = max(12.0, min(CELL + 14.0, (WIDE - left - 20.0) / max(1, len(columns))))
    width = max(320.0, left + cell * len(columns) + 20.0)
    top = max((c for row in cells for c in row if c is not None), default=1)
    parts = []
    for i, row in enumerate(cells):
        y = TOP + TALL * i
        name = rows[i] if len(rows[i]) <= LONGEST else f"{rows[i][: LONGEST - 1]}…"
        parts.append(_text(left - 8.0, y + 14.0, name, "end"))
        for j, value in enumerate(row):
            if value is not None:
                told = f"{rows[i]}: rank {value:,} at evaluation {columns[j]}"
                parts.append(_cell(left + cell * j, y, cell, value, top, told))
    low = TOP + TALL * len(cells)
    wide = CHARACTER * max(map(len, columns), default=1) + 8.0
    skip = max(1, math.ceil(wide / cell))
    for j in range(len(columns) - 1, -1, -skip):
        parts.append(_text(left + cell * (j + 0.5), low + 16.0, columns[j], "middle"))
    parts.append(_text(left + cell * len(columns) / 2, low + 38.0, "evaluation", "middle"))
    return Chart(width=round(width, 1), height=low + BOTTOM, body="\n".join(parts), label=label)


def _cell(x: float, y: float, wide: float, value: int, top: int, told: str) -> str:
    share = math.log2(value) / math.log2(top) if top > 1 else 1.0
    shade = LEAST + (1.0 - LEAST) * share
    text = f"{value}"
    number = ""
    if CHARACTER * len(text) + 2.0 <= wide:
        kind = "onmark" if shade > 0.5 else "strong"
        number = _text(x + wide / 2, y + 14.0, text, "middle", kind)
    return (
        f'<g><title>{escape(told)}</title><rect x="{x:.1f}" y="{y + 1:.1f}" '
        f'width="{wide - 1.5:.1f}" height="{TALL - 2:g}" rx="2" class="f0" '
        f'fill-opacity="{shade:.2f}"/>{number}</g>'
    )


def _text(x: float, y: float, text: str, anchor: str, kind: str = "") -> str:
    shown = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{shown}>{escape(text)}</text>'
