"""Scene: a drawing as plain shapes, made once and rendered as SVG or by matplotlib.

What is shown: the width of a bond grows with log2 of its rank, its colour with the entropy of its
singular values (where they are known), and the area of a node with its number of parameters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tnet.layout import Layout, Point, place
from tnet.structure import Structure

UNIT = 96.0  # pixels of one bond length
MARGIN = 14.0
LETTER = 7.0  # pixels, on average
SMALLEST, LARGEST = 7.0, 25.0  # radii of nodes, in pixels
LONGEST_LABEL = 18
# light blue (little entanglement) to dark violet (much): lightness falls, so it prints in grey
RAMP = ((158, 202, 225), (107, 136, 205), (110, 78, 172), (92, 26, 110))


@dataclass(frozen=True)
class Line:
    """A bond, or an open leg."""

    points: tuple[Point, ...]  # a polyline of 2 points, or a curve through the middle one of 3
    width: float
    color: str | None  # None: the colour of bonds whose spectrum is not known
    title: str
    is_open: bool = False


@dataclass(frozen=True)
class Disc:
    """A node, or the dot of a hyperbond."""

    center: Point
    radius: float
    title: str
    is_hub: bool = False


@dataclass(frozen=True)
class Label:
    """A text; `anchor` is "start", "middle" or "end"."""

    at: Point
    text: str
    title: str
    kind: str  # "node", "rank" or "mode"
    anchor: str = "middle"


@dataclass(frozen=True)
class Scene:
    """Everything to draw, in pixels, back to front, and the box around it."""

    left: float
    top: float
    width: float
    height: float
    lines: tuple[Line, ...]
    discs: tuple[Disc, ...]
    labels: tuple[Label, ...]
    most_entropy: float | None  # in bits, the top of the colour scale; None without spectra


def short(text: str, longest: int = LONGEST_LABEL) -> str:
    """Return `text`, cut in the middle where it is too long for a label.

    Examples
    --------
    >>> short("abcdefghijklmnopqrstuvwxyz", 9)
    'abcd…wxyz'
    """
    if len(text) <= longest:
        return text
    half = (longest - 1) // 2
    return f"{text[: longest - 1 - half]}…{text[len(text) - half :]}"


def entropy(values: Any) -> float:
    """Return the entropy of the squared singular `values` in bits: log2 of the effective rank.

    Examples
    --------
    >>> entropy([1.0, 1.0]), entropy([1.0, 0.0])
    (1.0, 0.0)
    """
    weights = np.asarray(values, dtype=np.float64) ** 2
    total = float(weights.sum())
    weights = weights[weights > 0.0] / total if total > 0.0 else weights[:0]
    return max(0.0, -float((weights * np.log2(weights)).sum())) + 0.0


def color_of(share: float) -> str:
    """Return a colour of the ramp for a number between 0 and 1.

    Examples
    --------
    >>> color_of(0.0)
    '#9ecae1'
    """
    position = min(max(share, 0.0), 1.0) * (len(RAMP) - 1)
    low = min(int(position), len(RAMP) - 2)
    part = position - low
    mixed = [round(a + (b - a) * part) for a, b in zip(RAMP[low], RAMP[low + 1], strict=True)]
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def width_of(rank: int) -> float:
    """Return the width of a bond in pixels: linear in log2 of its rank.

    Examples
    --------
    >>> width_of(1), width_of(4)
    (1.25, 4.25)
    """
    return 1.25 + 1.5 * math.log2(rank)


def scene_of(
    structure: Structure,
    *,
    layout: Layout = Layout.AUTO,
    spectra: Mapping[str, Any] | None = None,
) -> Scene:
    """Lay out `structure` and return the shapes of its drawing.

    Parameters
    ----------
    structure
        What to draw.
    layout
        How to place the nodes.
    spectra
        Bond -> singular values, for the colours.

    Examples
    --------
    >>> s = Structure({"a": ("x", "r"), "b": ("r", "y")}, {"x": 4, "r": 2, "y": 5})
    >>> [label.text for label in scene_of(s).labels]
    ['2', 'x 4', 'y 5', 'a', 'b']
    """
    placed = place(structure, layout)

    def pixel(point: Point) -> Point:
        return round(point[0] * UNIT, 1), round(point[1] * UNIT, 1)

    node = {name: pixel(point) for name, point in placed.node.items()}
    mode = {name: pixel(point) for name, point in placed.mode.items()}
    hub = {name: pixel(point) for name, point in placed.hub.items()}
    radius = _radii(structure)
    lines, labels = _bonds(structure, node, hub, spectra or {})
    open_lines, open_labels = _open_legs(structure, node, mode)
    discs, names = _discs(structure, node, hub, radius, _ends(structure, node, mode, hub))
    every = (*labels, *open_labels, *names)
    left, top, right, bottom = _box((*open_lines, *lines), discs, every)
    return Scene(
        left,
        top,
        round(right - left, 1),
        round(bottom - top, 1),
        (*open_lines, *lines),
        tuple(discs),
        every,
        _most_entropy(structure, spectra or {}),
    )


def _box(
    lines: Sequence[Line], discs: Sequence[Disc], labels: Sequence[Label]
) -> tuple[float, float, float, float]:
    """Return left, top, right and bottom of everything, with a margin."""
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    for disc in discs:
        xs += [disc.center[0] - disc.radius, disc.center[0] + disc.radius]
        ys += [disc.center[1] - disc.radius, disc.center[1] + disc.radius]
    for label in labels:
        wide = LETTER * len(label.text)
        start = label.at[0] - {"start": 0.0, "middle": wide / 2, "end": wide}[label.anchor]
        xs += [start, start + wide]
        ys += [label.at[1] - 8.0, label.at[1] + 8.0]
    box = min(xs) - MARGIN, min(ys) - MARGIN, max(xs) + MARGIN, max(ys) + MARGIN
    return round(box[0], 1), round(box[1], 1), round(box[2], 1), round(box[3], 1)


def _mode_text(structure: Structure, leg: str) -> str:
    return f"{short(leg)} {structure.size[leg]}"


def _radii(structure: Structure) -> dict[str, float]:
    """Areas in proportion to parameters, from the largest node down to a smallest dot."""
    counts = {name: math.prod(structure.node_shape(name)) or 1 for name in structure.node_names}
    top = max(counts.values())
    largest = min(LARGEST, SMALLEST + 5.0 * math.log10(top + 1))
    return {
        name: round(max(SMALLEST, largest * math.sqrt(count / top)), 1)
        for name, count in counts.items()
    }


def _bonds(
    structure: Structure,
    node: Mapping[str, Point],
    hub: Mapping[str, Point],
    spectra: Mapping[str, Any],
) -> tuple[list[Line], list[Label]]:
    lines, labels = [], []
    between: dict[tuple[str, ...], int] = {}
    most = _most_entropy(structure, spectra)
    for leg, rank in structure.ranks.items():
        holders = structure.holders[leg]
        color, note = _shade(leg, rank, spectra, most)
        title = f"bond {leg}: rank {rank}{note}"
        width = round(width_of(rank), 2)
        if len(holders) > 2:
            title = f"hyperbond {leg}: rank {rank}, shared by {len(holders)} nodes"
            lines += [Line((node[name], hub[leg]), width, color, title) for name in holders]
            x, y = hub[leg]
            labels.append(Label((x + 12.0, y - 12.0), str(rank), title, "rank"))
            continue
        pair = tuple(sorted(holders))
        between[pair] = between.get(pair, 0) + 1
        points = _bent(node[holders[0]], node[holders[1]], between[pair] - 1)
        lines.append(Line(points, width, color, title))
        x, y = points[1] if len(points) == 3 else _halfway(points[0], points[1])
        labels.append(Label((round(x, 1), round(y, 1)), str(rank), title, "rank"))
    return lines, labels


def _most_entropy(structure: Structure, spectra: Mapping[str, Any]) -> float | None:
    return max((entropy(spectra[leg]) for leg in structure.ranks if leg in spectra), default=None)


def _shade(
    leg: str, rank: int, spectra: Mapping[str, Any], most: float | None
) -> tuple[str | None, str]:
    if leg not in spectra:
        return None, ""
    bits = entropy(spectra[leg])
    note = f", entropy {bits:.2f} of at most {math.log2(rank):.2f} bits"
    return color_of(bits / most if most else 0.0), note


def _halfway(a: Point, b: Point) -> Point:
    return (a[0] + b[0]) / 2, (a[1] + b[1]) / 2


def _bent(a: Point, b: Point, number: int) -> tuple[Point, ...]:
    """Return a straight line for the first bond of a pair, bows for the further ones."""
    if number == 0:
        return (a, b)
    x, y = _halfway(a, b)
    length = math.hypot(b[0] - a[0], b[1] - a[1]) or 1.0
    side = (18.0 if number % 2 else -18.0) * ((number + 1) // 2)
    bow = (x - (b[1] - a[1]) / length * side, y + (b[0] - a[0]) / length * side)
    return (a, (round(bow[0], 1), round(bow[1], 1)), b)


def _open_legs(
    structure: Structure, node: Mapping[str, Point], mode: Mapping[str, Point]
) -> tuple[list[Line], list[Label]]:
    lines, labels = [], []
    for leg in structure.open_legs:
        start, far = node[structure.holders[leg][0]], mode[leg]
        dx, dy = far[0] - start[0], far[1] - start[1]
        length = math.hypot(dx, dy) or 1.0
        stub = min(length - 18.0, 0.62 * UNIT)  # the label takes the rest of the way
        end = (start[0] + dx / length * stub, start[1] + dy / length * stub)
        rounded = (round(end[0], 1), round(end[1], 1))
        title = f"mode {leg}: size {structure.size[leg]}"
        lines.append(Line((start, rounded), 1.5, None, title, is_open=True))
        flat = abs(dx) / length > 0.5
        anchor = ("start" if dx > 0 else "end") if flat else "middle"
        at = (end[0] + (5.0 if dx > 0 else -5.0) * flat, end[1] + dy / length * 12.0)
        text = _mode_text(structure, leg)
        labels.append(Label((round(at[0], 1), round(at[1], 1)), text, title, "mode", anchor))
    return lines, labels


def _freest_corner(center: Point, ends: Sequence[Point]) -> tuple[int, int]:
    """Return the diagonal (right, down) that points farthest away from all lines."""
    angles = [math.atan2(y - center[1], x - center[0]) for x, y in ends]

    def clear(corner: tuple[int, int]) -> float:
        angle = math.atan2(corner[1], corner[0])
        apart = (abs(math.remainder(angle - other, 2 * math.pi)) for other in angles)
        return round(min(apart, default=math.pi), 6)

    return max(((1, -1), (-1, -1), (1, 1), (-1, 1)), key=clear)


def _ends(
    structure: Structure,
    node: Mapping[str, Point],
    mode: Mapping[str, Point],
    hub: Mapping[str, Point],
) -> dict[str, list[Point]]:
    """Return node -> the far ends of the lines that leave it."""
    found: dict[str, list[Point]] = {name: [] for name in structure.node_names}
    for leg, holders in structure.holders.items():
        for name in holders:
            if leg in mode:
                found[name].append(mode[leg])
            elif leg in hub:
                found[name].append(hub[leg])
            else:
                found[name].append(node[holders[1] if name == holders[0] else holders[0]])
    return found


def _discs(
    structure: Structure,
    node: Mapping[str, Point],
    hub: Mapping[str, Point],
    radius: Mapping[str, float],
    around: Mapping[str, Sequence[Point]],
) -> tuple[list[Disc], list[Label]]:
    discs = [Disc(hub[leg], 5.0, f"hyperbond {leg}", is_hub=True) for leg in hub]
    labels = []
    for name in structure.node_names:
        shape = " \N{MULTIPLICATION SIGN} ".join(map(str, structure.node_shape(name))) or "scalar"
        count = math.prod(structure.node_shape(name))
        title = f"node {name}: {shape}, {count:,} parameters"
        discs.append(Disc(node[name], radius[name], title))
        inside = len(name) * 7.0 + 6.0 <= 2 * radius[name]
        if inside:
            labels.append(Label(node[name], short(name), title, "node"))
            continue
        x, y = node[name]
        right, down = _freest_corner(node[name], around[name])
        at = (round(x + right * (radius[name] + 2.0), 1), round(y + down * radius[name], 1))
        labels.append(Label(at, short(name), title, "name", "start" if right > 0 else "end"))
    return discs, labels
