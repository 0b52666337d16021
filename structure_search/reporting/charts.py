"""Small charts as SVG text: axes with good ticks, dots, lines, bars, a legend, tooltips.

No library is needed, so the plain installation gives the full report. Colours come from classes
(see `CSS`), so one style sheet serves light and dark pages.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from structure_search.reporting.ticks import Scale as Scale
from structure_search.reporting.ticks import ticks

Point = tuple[float, float]
Box = tuple[float, float, float, float]  # left, top, right, bottom
LEFT, RIGHT, TOP, BOTTOM = 70.0, 18.0, 14.0, 44.0
LEGEND = 22.0
CSS = """
.chart{--ink:#1c2733;--soft:#5c6773;--grid:#e3e8ee;--c0:#2f6f9f;--c1:#c2571a;--c2:#2c8a57;
--c3:#8a4fa3;--c4:#b5332e;--c5:#8795a5;--c6:#0f8b8d;--c7:#c7a008;--c8:#d14b8f;--c9:#5b4a3f;
--paper:#ffffff;
font-family:system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
@media (prefers-color-scheme:dark){.chart{--ink:#e8edf2;--soft:#a7b3c0;--grid:#2b3440;--c0:#6cb2e4;
--c1:#f0975c;--c2:#66c794;--c3:#c493dc;--c4:#f07f79;--c5:#75849a;--c6:#4fc4c6;--c7:#e3c44a;
--c8:#ef8fc0;--c9:#b9a18f;--paper:#161c23}}
.chart text{font-size:12px;fill:var(--soft)}
.chart .strong{fill:var(--ink);font-weight:600}.chart .onmark{fill:var(--paper);font-weight:600}
.chart .grid{stroke:var(--grid);stroke-width:1}
.chart .axis{stroke:var(--soft);stroke-width:1}
.chart .guide{stroke:var(--c4);stroke-width:1;stroke-dasharray:5 4}
.chart .line{fill:none;stroke-width:2;stroke-linejoin:round}
.chart .mark{stroke:var(--paper);stroke-width:.75}
.chart .cross{fill:none;stroke-width:1.75}
.chart .halo{paint-order:stroke;stroke:var(--paper);stroke-width:4px}
.chart .f0{fill:var(--c0)}.chart .f1{fill:var(--c1)}.chart .f2{fill:var(--c2)}
.chart .f3{fill:var(--c3)}.chart .f4{fill:var(--c4)}.chart .f5{fill:var(--c5)}
.chart .s0{stroke:var(--c0)}.chart .s1{stroke:var(--c1)}.chart .s2{stroke:var(--c2)}
.chart .s3{stroke:var(--c3)}.chart .s4{stroke:var(--c4)}.chart .s5{stroke:var(--c5)}
.chart .f6{fill:var(--c6)}.chart .f7{fill:var(--c7)}.chart .f8{fill:var(--c8)}
.chart .f9{fill:var(--c9)}.chart .s6{stroke:var(--c6)}.chart .s7{stroke:var(--c7)}
.chart .s8{stroke:var(--c8)}.chart .s9{stroke:var(--c9)}
"""


class Mark(Enum):
    """What is drawn for the points of a series."""

    DOTS = "dots"
    RINGS = "rings"
    DIAMONDS = "diamonds"
    CROSSES = "crosses"
    LINE = "line"
    STEPS = "steps"  # constant up to the next point: a running best, a Pareto front


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One axis: its label, its scale, and the range if the data do not decide it.

    `whole` says that only whole numbers mean anything on it: no others get a tick.
    """

    label: str
    scale: Scale = Scale.LINEAR
    low: float | None = None
    high: float | None = None
    whole: bool = False


@dataclass(frozen=True, kw_only=True)
class Series:
    """Points with one colour (0 to 9) and one kind of mark.

    `titles` are the tooltips, `labels` the texts beside the points; both are optional.
    """

    name: str
    points: Sequence[Point]
    color: int = 0
    mark: Mark = Mark.DOTS
    titles: Sequence[str] = ()
    labels: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Guide:
    """A dashed line across the chart at one value of an axis, with a label."""

    value: float
    label: str
    upright: bool = False


@dataclass(frozen=True)
class _Map:
    """A scale with its range: data -> pixels."""

    scale: Scale
    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        if self.scale is Scale.LOG:
            part = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            part = (value - self.low) / (self.high - self.low)
        return round(self.start + part * (self.stop - self.start), 1)


@dataclass(frozen=True)
class Chart:
    """A finished chart: the inside of an `<svg>` element and its size."""

    width: float
    height: float
    body: str
    label: str

    def svg(self, *, extra: str = "") -> str:
        """Return the `<svg>` element; `extra` goes into its opening tag."""
        return (
            f'<svg {extra}class="chart" role="img" aria-label="{escape(self.label)}" '
            f'viewBox="0 0 {self.width:g} {self.height:g}" width="{self.width:g}" '
            f'height="{self.height:g}" style="--w:{self.width:g}px;'
            f'max-width:{1.15 * self.width:g}px">\n{self.body}\n'
            "</svg>\n"
        )

    def standalone(self) -> str:
        """Return a file of its own, with the style inside."""
        opened = self.svg(extra='xmlns="http://www.w3.org/2000/svg" ')
        head, body = opened.split(">", 1)
        return f"{head}>\n<style>{CSS.strip()}</style>{body}"


def escape(text: str) -> str:
    """Return `text` safe in elements and in quoted attributes.

    Examples
    --------
    >>> escape('<b> "x"')
    '&lt;b&gt; &quot;x&quot;'
    """
    return html.escape(text, quote=True)


def chart(
    series: Sequence[Series],
    x: Axis,
    y: Axis,
    *,
    label: str,
    guides: Sequence[Guide] = (),
    width: float = 560.0,
    height: float = 330.0,
) -> Chart:
    """Draw series of points over two axes.

    Points that a logarithmic axis cannot show (zero, negative, not finite) are left out.

    Examples
    --------
    >>> dots = Series(name="seen", points=[(1, 0.5), (10, 0.1)])
    >>> log = Axis(label="error", scale=Scale.LOG)
    >>> drawn = chart([dots], Axis(label="step"), log, label="errors by step")
    >>> drawn.svg().count("<circle")
    3
    """
    shown = [(s, _visible(s, x, y)) for s in series]
    xs = [series_.points[k][0] for series_, kept in shown for k in kept]
    ys = [series_.points[k][1] for series_, kept in shown for k in kept]
    xs += [g.value for g in guides if g.upright]
    ys += [g.value for g in guides if not g.upright]
    top = TOP + LEGEND
    x_map = _Map(x.scale, *_range(xs, x), LEFT, width - RIGHT)
    y_map = _Map(y.scale, *_range(ys, y), height - BOTTOM, top)
    body = [*_frame(x, y, x_map, y_map)]
    taken = [
        (x_map(a) - 7.0, y_map(b) - 7.0, x_map(a) + 7.0, y_map(b) + 7.0)
        for one, kept in shown
        if one.labels
        for a, b in (one.points[k] for k in kept)
    ]
    for one, kept in shown:
        body += _marks(one, kept, x_map, y_map)
    for guide in guides:
        body += _guide(guide, x_map, y_map, taken)
    for one, kept in shown:
        body += _labels(one, kept, x_map, y_map, taken)
    body += _legend([s for s, kept in shown if kept and s.name], width)
    return Chart(width, height, "\n".join(body), label)


def bars(
    rows: Sequence[tuple[str, float, str]], axis: Axis, *, label: str, width: float = 900.0
) -> Chart:
    """Draw horizontal bars: (name, value, tooltip) a row.

    Examples
    --------
    >>> drawn = bars([("x0", 0.5, ""), ("x1", 0.25, "")], Axis(label="error"), label="by mode")
    >>> drawn.svg().count('class="f0"')
    2
    """
    room = min(180.0, 16.0 + 8.0 * max((len(name) for name, _, _ in rows), default=0))
    height = 26.0 * len(rows) + TOP + BOTTOM
    values = [value for _, value, _ in rows]
    low, high = _range(values + ([] if axis.scale is Scale.LOG else [0.0]), axis)
    place = _Map(axis.scale, low, high, room, width - 60.0)
    body = [_text((room + width - 60.0) / 2, height - 8.0, axis.label, "middle")]
    for value, text in ticks(low, high, axis.scale):
        at = place(value)
        body.append(_line(at, TOP, at, height - BOTTOM + 4.0, "grid"))
        body.append(_text(at, height - BOTTOM + 18.0, text, "middle"))
    for k, (name, value, title) in enumerate(rows):
        y = TOP + 26.0 * k
        end = place(max(value, low) if axis.scale is Scale.LOG else value)
        body.append(
            f'<rect x="{room:g}" y="{y + 4:g}" width="{max(end - room, 0.5):.1f}" height="18" '
            f'rx="2" class="f0"><title>{escape(title or name)}</title></rect>'
        )
        body.append(_text(room - 8.0, y + 17.0, _cut(name), "end", "strong"))
        body.append(_text(end + 6.0, y + 17.0, f"{value:.3g}", "start"))
    return Chart(width, height, "\n".join(body), label)


def _cut(name: str) -> str:
    return name if len(name) <= 20 else f"{name[:9]}…{name[-9:]}"


def _visible(series: Series, x: Axis, y: Axis) -> list[int]:
    def fits(value: float, axis: Axis) -> bool:
        return math.isfinite(value) and (axis.scale is Scale.LINEAR or value > 0.0)

    return [k for k, (a, b) in enumerate(series.points) if fits(a, x) and fits(b, y)]


def _range(values: Sequence[float], axis: Axis) -> tuple[float, float]:
    """Return the range of an axis, with a margin and never empty."""
    seen = [v for v in values if math.isfinite(v) and (axis.scale is Scale.LINEAR or v > 0.0)]
    low, high = (min(seen), max(seen)) if seen else (1.0, 1.0)
    if axis.scale is Scale.LOG:
        spread = max(high / low, 1.5)
        low, high = low / spread**0.06, high * spread**0.06
    else:
        margin = 0.05 * (high - low) or 0.5
        low, high = (low - margin if low < 0.0 or axis.low is None else low), high + margin
    return (low if axis.low is None else axis.low), (high if axis.high is None else axis.high)


def _frame(x: Axis, y: Axis, x_map: _Map, y_map: _Map) -> list[str]:
    left, right, bottom, top = x_map.start, x_map.stop, y_map.start, y_map.stop
    parts = []
    for value, text in ticks(x_map.low, x_map.high, x.scale):
        if x.whole and not float(value).is_integer():
            continue
        at = x_map(value)
        parts.append(_line(at, top, at, bottom, "grid"))
        parts.append(_text(at, bottom + 16.0, text, "middle"))
    for value, text in ticks(y_map.low, y_map.high, y.scale):
        at = y_map(value)
        parts.append(_line(left, at, right, at, "grid"))
        parts.append(_text(left - 7.0, at + 4.0, text, "end"))
    parts.append(_line(left, bottom, right, bottom, "axis"))
    parts.append(_line(left, top, left, bottom, "axis"))
    parts.append(_text((left + right) / 2, bottom + 36.0, x.label, "middle"))
    middle = (top + bottom) / 2
    turned = f' transform="rotate(-90 14 {middle:g})"'
    parts.append(_text(14.0, middle, y.label, "middle", extra=turned))
    return parts


def _guide(guide: Guide, x_map: _Map, y_map: _Map, taken: list[Box]) -> list[str]:
    wide = 6.4 * len(guide.label)
    if guide.upright:
        at = x_map(guide.value)
        line = _line(at, y_map.start, at, y_map.stop, "guide")
        x, y = at + 5.0, y_map.stop + 14.0
    else:
        at = y_map(guide.value)
        line = _line(x_map.start, at, x_map.stop, at, "guide")
        x, y = x_map.stop - wide - 4.0, at - 5.0
    taken.append((x, y - 12.0, x + wide, y + 3.0))
    return [line, _text(x, y, guide.label, "start", "halo")]


def _marks(series: Series, kept: Sequence[int], x_map: _Map, y_map: _Map) -> list[str]:
    places = [(x_map(series.points[k][0]), y_map(series.points[k][1])) for k in kept]
    if not places:
        return []
    parts = []
    if series.mark in (Mark.LINE, Mark.STEPS):
        way = f"M{places[0][0]:g} {places[0][1]:g}"
        for a, b in places[1:]:
            way += f"H{a:g}V{b:g}" if series.mark is Mark.STEPS else f"L{a:g} {b:g}"
        if series.mark is Mark.STEPS:
            way += f"H{x_map.stop:g}"
        parts.append(f'<path d="{way}" class="line s{series.color}"/>')
    else:
        for k, (a, b) in zip(kept, places, strict=True):
            title = f"<title>{escape(series.titles[k])}</title>" if series.titles else ""
            parts.append(_mark(series.mark, a, b, series.color, title))
    return parts


def _labels(
    series: Series, kept: Sequence[int], x_map: _Map, y_map: _Map, taken: list[Box]
) -> list[str]:
    """Write labels beside their points, each where it covers none that is there already."""
    parts = []
    for k in kept:
        text = series.labels[k] if series.labels else ""
        if not text:
            continue
        x, y = x_map(series.points[k][0]), y_map(series.points[k][1])
        wide = 7.2 * len(text)
        boxes = [
            (left, y + down - 12.0, left + wide, y + down + 3.0)
            for down in (-6.0, 16.0, -22.0, 32.0, -38.0)
            for left in (x + 9.0, x - 9.0 - wide)
            if left > x_map.start and left + wide < x_map.stop + RIGHT
        ]
        free = (box for box in boxes if not any(_overlap(box, other) for other in taken))
        left, top, right, bottom = next(free, (x + 9.0, y - 18.0, x + 9.0 + wide, y - 3.0))
        taken.append((left, top, right, bottom))
        parts.append(_text(left, bottom - 3.0, text, "start", "strong halo"))
    return parts


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _mark(mark: Mark, a: float, b: float, color: int, title: str) -> str:
    if mark is Mark.CROSSES:
        way = f"M{a - 4:g} {b - 4:g}l8 8m0 -8l-8 8"
        return f'<path d="{way}" class="cross s{color}">{title}</path>'
    if mark is Mark.DIAMONDS:
        way = f"M{a:g} {b - 6.5:g}l6 6.5l-6 6.5l-6 -6.5z"
        return f'<path d="{way}" class="mark f{color}">{title}</path>'
    if mark is Mark.RINGS:
        return f'<circle cx="{a:g}" cy="{b:g}" r="8" class="cross s{color}">{title}</circle>'
    return f'<circle cx="{a:g}" cy="{b:g}" r="3.4" class="mark f{color}">{title}</circle>'


def _legend(series: Sequence[Series], width: float) -> list[str]:
    parts: list[str] = []
    at = LEFT
    for one in series:
        if one.mark in (Mark.LINE, Mark.STEPS):
            parts.append(f'<path d="M{at:g} 15h16" class="line s{one.color}"/>')
        else:
            parts.append(_mark(one.mark, at + 8.0, 15.0, one.color, ""))
        parts.append(_text(at + 22.0, 19.0, one.name, "start"))
        at += 36.0 + 6.7 * len(one.name)
    return parts


def _line(a: float, b: float, c: float, d: float, kind: str) -> str:
    return f'<line x1="{a:g}" y1="{b:g}" x2="{c:g}" y2="{d:g}" class="{kind}"/>'


def _text(x: float, y: float, text: str, anchor: str, kind: str = "", *, extra: str = "") -> str:
    shown = f' class="{kind}"' if kind else ""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{shown}{extra}>{escape(text)}</text>'
