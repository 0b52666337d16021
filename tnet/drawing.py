"""Drawings of networks: text that works everywhere, SVG without any library, matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, final

from contraction.errors import DeviceError
from tnet.layout import Layout
from tnet.network import Network
from tnet.scene import Disc, Label, Line, Scene, color_of, scene_of
from tnet.structure import Structure
from tnet.text_drawing import draw_text

if TYPE_CHECKING:
    from tnet.operators.tree_operator import TreeOperator

Drawable: TypeAlias = "Network | Structure | TreeOperator"

STYLE = """
.tn{--line:#5b6b7f;--node:#2f6f9f;--edge:#ffffff;--ink:#1c2733;--soft:#5c6773;--halo:#ffffff;
font-family:system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
@media (prefers-color-scheme:dark){.tn{--line:#93a4b8;--node:#5aa2d6;--edge:#11161c;--ink:#e8edf2;
--soft:#a7b3c0;--halo:#11161c}}
.tn line,.tn path{stroke:var(--line);fill:none;stroke-linecap:round}
.tn .open{stroke:var(--soft)}
.tn circle{fill:var(--node);stroke:var(--edge);stroke-width:1.5}
.tn .hub{fill:var(--line)}
.tn text{dominant-baseline:central;font-size:12px;fill:var(--ink)}
.tn .node{fill:var(--edge);font-weight:600;font-size:11px}
.tn .name{font-weight:600;font-size:11px;paint-order:stroke;stroke:var(--halo);stroke-width:3px}
.tn .rank{font-weight:600;font-size:11px;paint-order:stroke;stroke:var(--halo);stroke-width:4px}
.tn .mode,.tn .key{fill:var(--soft)}
"""


@final
class Drawing(str):
    """The text drawing of a network, which notebooks show as a picture.

    It is a `str`: print it, log it, compare it. `svg()` gives the picture.
    """

    _structure: Structure
    _spectra: Mapping[str, Any] | None

    def __new__(cls, structure: Structure, spectra: Mapping[str, Any] | None = None) -> Drawing:
        """Draw `structure`; `spectra` (bond -> singular values) colours the bonds."""
        made = super().__new__(cls, draw_text(structure))
        made._structure = structure
        made._spectra = spectra
        return made

    def __repr__(self) -> str:
        return str(self)

    def svg(self) -> str:
        """Return the picture as SVG text."""
        return draw_svg(self._structure, spectra=self._spectra)

    def _repr_svg_(self) -> str:
        return self.svg()


def draw(target: Drawable) -> Drawing:
    """Return a drawing of a network or structure: text, and in notebooks a picture.

    A tree is drawn as a tree with its ranks, anything else as a table of nodes. Networks that are
    trees have their bonds coloured by entropy in the picture.

    Cost: for a tree network, one orthogonalisation for the singular values of the bonds.

    Examples
    --------
    >>> s = Structure({"a": ("x", "r"), "b": ("r", "y")}, {"x": 4, "r": 2, "y": 5})
    >>> draw(s)
    2 nodes, 18 parameters; 4 × 5 = 20 entries
    <BLANKLINE>
    a ── x 4    8
    │ 2
    b ── y 5   10
    """
    return Drawing(_structure_of(target), _spectra_of(target, None))


def draw_svg(
    target: Drawable,
    *,
    layout: Layout = Layout.AUTO,
    spectra: Mapping[str, Any] | None = None,
) -> str:
    """Return a picture of a network or structure as a self-contained SVG text.

    Names are escaped, so nothing in them can become markup.

    Parameters
    ----------
    target
        What to draw.
    layout
        How to place the nodes; by default by the shape of the graph.
    spectra
        Bond -> singular values, for the colours; by default computed if `target` is a network
        on a tree.

    Raises
    ------
    StructureError
        A `layout` that the graph does not allow.

    Examples
    --------
    >>> s = Structure({"a": ("x", "r"), "b": ("r", "y")}, {"x": 4, "r": 2, "y": 5})
    >>> draw_svg(s).count("<circle")
    2
    """
    structure = _structure_of(target)
    scene = scene_of(structure, layout=layout, spectra=_spectra_of(target, spectra))
    height = scene.height + (0.0 if scene.most_entropy is None else 34.0)
    width = max(scene.width, 0.0 if scene.most_entropy is None else 250.0)
    label = f"tensor network of {len(structure.nodes)} nodes, {structure.num_params} parameters"
    body = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="tn" role="img" aria-label="{label}" '
        f'viewBox="{scene.left:g} {scene.top:g} {width:g} {height:g}" width="{width:g}" '
        f'height="{height:g}">',
        f"<style>{STYLE.strip()}</style>",
        *map(_svg_line, scene.lines),
        *map(_svg_disc, scene.discs),
        *map(_svg_label, scene.labels),
    ]
    if scene.most_entropy is not None:
        body.append(_svg_key(scene, scene.most_entropy))
    return "\n".join([*body, "</svg>\n"])


def draw_axes(
    target: Drawable,
    axes: Any = None,
    *,
    layout: Layout = Layout.AUTO,
    spectra: Mapping[str, Any] | None = None,
) -> Any:
    """Draw a network or structure with matplotlib and return the `Axes`.

    Parameters
    ----------
    target, layout, spectra
        As in `draw_svg`.
    axes
        The `matplotlib.axes.Axes` to draw on; a new figure by default.

    Raises
    ------
    DeviceError
        matplotlib is not installed.

    Examples
    --------
    >>> s = Structure({"a": ("x", "r"), "b": ("r", "y")}, {"x": 4, "r": 2, "y": 5})
    >>> axes = draw_axes(s)  # doctest: +SKIP
    >>> axes.figure.savefig("network.png")  # doctest: +SKIP
    """
    scene = scene_of(_structure_of(target), layout=layout, spectra=_spectra_of(target, spectra))
    if axes is None:
        axes = _new_axes(scene)
    for line in scene.lines:
        xs, ys = zip(*_through(line.points), strict=True)
        color = line.color or ("#5c6773" if line.is_open else "#5b6b7f")
        axes.plot(xs, ys, color=color, linewidth=0.75 * line.width, solid_capstyle="round")
    for disc in scene.discs:
        size = (2 * 0.75 * disc.radius) ** 2  # matplotlib counts points squared, 0.75 a pixel
        color = "#5b6b7f" if disc.is_hub else "#2f6f9f"
        axes.scatter(*disc.center, s=size, color=color, edgecolor="white", zorder=3)
    for label in scene.labels:
        _write(axes, label)
    axes.set_xlim(scene.left, scene.left + scene.width)
    axes.set_ylim(scene.top + scene.height, scene.top)
    axes.set_aspect("equal")
    axes.set_axis_off()
    return axes


def _structure_of(target: Drawable) -> Structure:
    if isinstance(target, Network):
        return target.structure
    return target if isinstance(target, Structure) else target.dense_structure


def _spectra_of(target: Drawable, given: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    if given is not None or not isinstance(target, Network) or not target.structure.is_tree:
        return given
    from tnet.spectra import bond_spectra  # only pictures of networks need it

    return bond_spectra(target)


def escape(text: str) -> str:
    """Return `text` safe for SVG and HTML, in elements and in quoted attributes.

    Examples
    --------
    >>> escape("<script> & 'x'")
    '&lt;script&gt; &amp; &#x27;x&#x27;'
    """
    import html

    return html.escape(text, quote=True)


def _svg_line(line: Line) -> str:
    style = f' style="stroke:{line.color}"' if line.color else ""
    kind = ' class="open"' if line.is_open else ""
    common = f'{kind} stroke-width="{line.width:g}"{style}><title>{escape(line.title)}</title>'
    if len(line.points) == 2:
        (a, b), (c, d) = line.points
        return f'<line x1="{a:g}" y1="{b:g}" x2="{c:g}" y2="{d:g}"{common}</line>'
    (a, b), (x, y), (c, d) = line.points
    # the control point of a quadratic curve that passes through the middle point
    u, v = 2 * x - (a + c) / 2, 2 * y - (b + d) / 2
    return f'<path d="M{a:g} {b:g}Q{u:g} {v:g} {c:g} {d:g}"{common}</path>'


def _svg_disc(disc: Disc) -> str:
    kind = ' class="hub"' if disc.is_hub else ""
    x, y = disc.center
    title = f"<title>{escape(disc.title)}</title>"
    return f'<circle cx="{x:g}" cy="{y:g}" r="{disc.radius:g}"{kind}>{title}</circle>'


def _svg_label(label: Label) -> str:
    x, y = label.at
    return (
        f'<text x="{x:g}" y="{y:g}" class="{label.kind}" text-anchor="{label.anchor}">'
        f"{escape(label.text)}<title>{escape(label.title)}</title></text>"
    )


def _svg_key(scene: Scene, most: float) -> str:
    """Return the key of the colours: a row of swatches from no entropy to the highest."""
    x, y = scene.left + 10.0, scene.top + scene.height + 10.0
    swatches = "".join(
        f'<rect x="{x + 62 + 10 * k:g}" y="{y - 4:g}" width="10" height="8" '
        f'fill="{color_of(k / 9)}"/>'
        for k in range(10)
    )
    return (
        f'<text x="{x:g}" y="{y:g}" class="key">entropy 0</text>{swatches}'
        f'<text x="{x + 168:g}" y="{y:g}" class="key">{most:.2g} bits</text>'
    )


def _through(points: tuple[Any, ...]) -> list[tuple[float, float]]:
    if len(points) == 2:
        return list(points)
    (a, b), (x, y), (c, d) = points
    u, v = 2 * x - (a + c) / 2, 2 * y - (b + d) / 2
    steps = [k / 16 for k in range(17)]
    return [
        ((1 - t) ** 2 * a + 2 * t * (1 - t) * u + t * t * c,
         (1 - t) ** 2 * b + 2 * t * (1 - t) * v + t * t * d)
        for t in steps
    ]  # fmt: skip


def _new_axes(scene: Scene) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DeviceError(
            "drawing on axes needs matplotlib (`pip install 'tnet[plots]'`); "
            "tnet.draw and tnet.draw_svg need nothing."
        ) from error
    figure = Figure(figsize=(scene.width / 96, scene.height / 96), layout="constrained")
    return figure.add_subplot()


def _write(axes: Any, label: Label) -> None:
    place = {"start": "left", "middle": "center", "end": "right"}[label.anchor]
    color = {"node": "white", "mode": "#5c6773"}.get(label.kind, "#1c2733")
    box = {"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none"}
    text = label.text.replace("$", r"\$")  # matplotlib would read it as a formula
    axes.text(
        *label.at, text, ha=place, va="center", fontsize=8, color=color, zorder=4,
        fontweight="normal" if label.kind == "mode" else "bold",
        bbox=box if label.kind == "rank" else None,
    )  # fmt: skip
