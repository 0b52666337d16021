"""The picture of a plan: its tree, with time, sizes and slices to be seen."""

from __future__ import annotations

import math
from typing import NamedTuple

from contraction.explanation import ExplainedStep, Explanation, printable, word
from contraction.report import amount
from contraction.step_table import share
from tnet.drawing import STYLE, escape
from tnet.scene import color_of

COLUMN, ROW = 34.0, 46.0  # pixels between inputs, and between levels
WIDEST = 2400.0
MARGIN = 24.0
MOST_NAMED = 60  # inputs up to which every one has its labels, or its number, below it
LONGEST = 5  # letters of labels that fit there
KEY_HEIGHT = 64.0
OWN_STYLE = """
.tn .sliced{stroke-dasharray:5 4}
.tn .leaf{fill:var(--soft)}
.tn .small{font-size:10px;fill:var(--soft);text-anchor:middle}
"""


class _Spot(NamedTuple):
    x: float
    y: float


def plan_svg(explanation: Explanation) -> str:
    """Return the contraction tree of a plan as a self-contained SVG text.

    Inputs stand in the last row, every step above what it joins. The width of a line grows with
    log2 of the entries of the value it stands for, and is dashed where the value changes from
    slice to slice; the area of a disc grows with the share of the step in the time, and so does
    its colour.

    Parameters
    ----------
    explanation
        Of the plan, from `contraction.explain`.

    Examples
    --------
    >>> from contraction import explain, plan
    >>> svg = plan_svg(explain(plan("ab,bc->ac", [(2, 3), (3, 4)])))
    >>> svg.count("<circle")
    3
    """
    spots = _spots(explanation)
    count = len(explanation.input_labels)
    wide = max((spot.x for spot in spots), default=0.0)
    width = max(wide + 2 * MARGIN, 420.0)
    height = max((spot.y for spot in spots), default=0.0) + 2 * MARGIN + KEY_HEIGHT
    low = -MARGIN, -MARGIN
    label = f"contraction tree of {count} inputs and {len(explanation.steps)} steps"
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="tn" role="img" aria-label="{label}" '
        f'viewBox="{low[0]:g} {low[1]:g} {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}">',
        f"<style>{(STYLE + OWN_STYLE).strip()}</style>",
        *_lines(explanation, spots),
        *_leaves(explanation, spots),
        *_steps(explanation, spots),
        *_key(explanation, height - KEY_HEIGHT - MARGIN + 16.0),
    ]
    return "\n".join([*body, "</svg>\n"])


def _by_value(explanation: Explanation) -> list[ExplainedStep]:
    """Return the steps in the order of the values they make; loops may run them in another."""
    return sorted(explanation.steps, key=lambda step: step.made)


def _spots(explanation: Explanation) -> list[_Spot]:
    """Return where every value stands: inputs in the order of the tree, steps above."""
    count = len(explanation.input_labels)
    height = [0] * count
    children: dict[int, tuple[int, int]] = {}
    for step in _by_value(explanation):
        height.append(max(height[step.left], height[step.right]) + 1)
        children[step.made] = (step.left, step.right)
    order: list[int] = []
    stack = [count + len(explanation.steps) - 1]
    while stack:
        value = stack.pop()
        if value < count:
            order.append(value)
        else:
            stack += sorted(children[value], key=lambda v: height[v])
    gap = min(COLUMN, WIDEST / max(count, 1))
    top = max(height)
    row = ROW if top <= 40 else max(8.0, 40 * ROW / top)
    x = [0.0] * len(height)
    for place, value in enumerate(order):
        x[value] = place * gap
    for step in _by_value(explanation):
        x[step.made] = (x[step.left] + x[step.right]) / 2
    return [_Spot(round(a, 1), round((top - h) * row, 1)) for a, h in zip(x, height, strict=True)]


def _sliced(explanation: Explanation) -> list[bool]:
    """Tell for every value whether it changes from slice to slice."""
    labels = {name for name, _ in explanation.slices}
    found = [bool(labels & set(names)) for names in explanation.input_labels]
    for step in _by_value(explanation):
        found.append(found[step.left] or found[step.right])
    return found


def _sizes(explanation: Explanation) -> list[int]:
    sizes = [0] * len(explanation.input_labels)
    for step in _by_value(explanation):
        sizes[step.left] = math.prod(step.shapes[0])
        sizes[step.right] = math.prod(step.shapes[1])
        sizes.append(math.prod(step.shapes[2]))
    return sizes


def _lines(explanation: Explanation, spots: list[_Spot]) -> list[str]:
    sliced, sizes = _sliced(explanation), _sizes(explanation)
    drawn = []
    for step in explanation.steps:
        for value, shape in ((step.left, step.shapes[0]), (step.right, step.shapes[1])):
            (a, b), (c, d) = spots[value], spots[step.made]
            width = 1.0 + 0.35 * math.log2(max(sizes[value], 1))
            kind = ' class="sliced"' if sliced[value] else ""
            what = f"input {value}" if value < len(explanation.input_labels) else f"value {value}"
            title = f"{what}: {_times(shape)}, {amount(sizes[value])} entries"
            title += ", another one in every slice" if sliced[value] else ""
            drawn.append(
                f'<line x1="{a:g}" y1="{b:g}" x2="{c:g}" y2="{d:g}"{kind} '
                f'stroke-width="{width:.2f}"><title>{escape(title)}</title></line>'
            )
    return drawn


def _leaves(explanation: Explanation, spots: list[_Spot]) -> list[str]:
    drawn, count = [], len(explanation.input_labels)
    for value, labels in enumerate(explanation.input_labels):
        text = word(labels)
        x, y = spots[value]
        title = escape(f"input {value}: {text}")
        drawn.append(
            f'<circle class="leaf" cx="{x:g}" cy="{y:g}" r="4"><title>{title}</title></circle>'
        )
        if count <= MOST_NAMED:
            name = text if len(text) <= LONGEST else str(value)
            drawn.append(f'<text class="small" x="{x:g}" y="{y + 14:g}">{escape(name)}</text>')
    return drawn


def _steps(explanation: Explanation, spots: list[_Spot]) -> list[str]:
    total = sum(step.total_seconds for step in explanation.steps)
    drawn = []
    for step in explanation.steps:
        part = share(step.total_seconds, total)
        x, y = spots[step.made]
        radius = 3.0 + 15.0 * math.sqrt(part)
        drawn.append(
            f'<circle cx="{x:g}" cy="{y:g}" r="{radius:.1f}" style="fill:{color_of(part**0.5)}">'
            f"<title>{escape(_title(step, part))}</title></circle>"
        )
    return drawn


def _title(step: ExplainedStep, part: float) -> str:
    how = "measured" if step.measured is not None else "predicted"
    often = f", {amount(step.runs)} times" if step.runs > 1 else ""
    return (
        f"step {step.index}: {step.equation}, {' , '.join(map(_times, step.shapes[:2]))} -> "
        f"{_times(step.shapes[2])}; {step.lowering}; {amount(step.flops)} flops; "
        f"{step.seconds:.3g} s {how}{often}; {part:.1%} of the time"
    )


def _times(shape: tuple[int, ...]) -> str:
    return " \N{MULTIPLICATION SIGN} ".join(map(str, shape)) or "scalar"


def _key(explanation: Explanation, y: float) -> list[str]:
    seconds = explanation.predicted if explanation.measured is None else explanation.measured
    how = "predicted" if explanation.measured is None else "measured"
    lines = [
        f"10^{math.log10(max(explanation.flops, 1)):.2f} flops, {seconds:.3g} s {how}, "
        f"peak {amount(explanation.peak_bytes)} bytes",
        "line: log2 of the entries; disc: share of the time",
    ]
    if explanation.slices:
        names = ", ".join(f"{printable(name)} ({size})" for name, size in explanation.slices[:12])
        more = "" if len(explanation.slices) <= 12 else f" and {len(explanation.slices) - 12} more"
        lines.append(
            f"{amount(explanation.num_slices)} slices over {names}{more}; "
            "dashed: another in every slice"
        )
    return [
        f'<text class="key" x="0" y="{y + 18 * k:g}">{escape(line)}</text>'
        for k, line in enumerate(lines)
    ]
