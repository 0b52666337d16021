"""Pictures of where the error sits: over two modes at a time, as images inside the page.

The cells are stored in the run folder when the data are at hand (`residual_maps`), and drawn from
there without them (`map_figures`). An image is a PNG in a `data:` address: 4096 cells cost a few
kilobytes, where as many rectangles would cost some hundred.
"""

from __future__ import annotations

import base64
import itertools
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from contraction.arrays import Array, to_numpy
from structure_search.journal import RunRecord
from structure_search.reporting.charts import Chart, escape
from structure_search.reporting.figures import Figure, best_of, figure_of
from structure_search.reporting.residuals import read_residuals

CELLS = 64  # most of them along a mode: longer modes are taken together in blocks
PAIRS = 3  # of modes, those with the most cells
LEAST = 4  # entries of a mode, below which there is nothing to see
WIDE = 300.0  # pixels of the longer side
LEFT, TOP, LEGEND = 30.0, 24.0, 46.0
# from near black to pale yellow in even steps of lightness: seen alike by the colour-blind
COLOURS = ((0, 0, 4), (81, 18, 124), (183, 55, 121), (252, 137, 97), (252, 253, 191))


def residual_maps(gone: Any, modes: Mapping[str, int], norm: float) -> list[dict[str, Any]]:
    """Return the error over pairs of the longest modes, in at most `CELLS` blocks along each.

    Parameters
    ----------
    gone
        |X - T|**2, of the shape of `modes`.
    modes
        Mode -> size, in the order of the axes.
    norm
        ||X||.

    Returns
    -------
    list of dict
        "rows" and "columns" (modes), and "values": of each cell the norm of the error over that
        of its even share of X, ||X|| / sqrt(cells), so that the mean of the squares is the
        squared relative error of the whole.

    Examples
    --------
    >>> found = residual_maps(np.eye(4), {"a": 4, "b": 4}, 2.0)
    >>> found[0]["rows"], found[0]["values"][0]
    ('a', [2.0, 0.0, 0.0, 0.0])
    """
    axes = {mode: axis for axis, mode in enumerate(modes) if modes[mode] >= LEAST}
    pairs = sorted(
        itertools.combinations(axes, 2), key=lambda pair: -modes[pair[0]] * modes[pair[1]]
    )
    found = []
    for rows, columns in pairs[:PAIRS]:
        others = tuple(axis for axis, mode in enumerate(modes) if mode not in (rows, columns))
        part = np.asarray(to_numpy(gone), dtype=float).sum(axis=others)
        for axis in range(2):
            size = part.shape[axis]
            starts = np.arange(min(size, CELLS)) * size // min(size, CELLS)
            part = np.add.reduceat(part, starts, axis=axis)
        shares = np.sqrt(part * part.size) / (norm or 1.0)
        values = [[float(f"{v:.3g}") for v in row] for row in shares]
        found.append({"rows": rows, "columns": columns, "values": values})
    return found


def map_figures(run: RunRecord) -> list[Figure]:
    """Draw the error of the best network over pairs of modes, if the folder knows it."""
    best, known = best_of(run), read_residuals(run.folder)
    if best is None or known is None or known.index != best.index:
        return []
    made = []
    sizes = dict(zip(best.structure.modes, best.structure.shape, strict=True))
    for k, one in enumerate(known.maps):
        rows, columns, values = str(one["rows"]), str(one["columns"]), one["values"]
        drawn = map_chart(values, rows, columns, sizes)
        caption = (
            f"The error over {rows} and {columns}, all other modes taken together; it is relative "
            "to an even share of the data, and the mean of the squares is that of the whole."
        )
        made.append(figure_of(f"residual-{k + 1}", f"{rows} and {columns}", caption, drawn))
    return made


def map_chart(
    values: Sequence[Sequence[float]], rows: str, columns: str, sizes: Mapping[str, int]
) -> Chart:
    """Draw cells as an image between its axes, with the scale of its colours below."""
    tall, wide = len(values), len(values[0])
    scale = WIDE / max(tall, wide)
    # a mode of few entries is drawn broader than it is, or nothing could be seen
    height, width = max(90.0, scale * tall), max(90.0, scale * wide)
    top = max(map(max, values))
    body = [
        _image(_png(_colours(values, top)), LEFT, TOP, width, height),
        _text(LEFT + width / 2, TOP - 8.0, f"{columns}, 0 to {sizes[columns] - 1:,}", "middle"),
        f'<g transform="rotate(-90 {LEFT - 10:g} {TOP + height / 2:g})">'
        + _text(LEFT - 10.0, TOP + height / 2, f"{rows}, 0 to {sizes[rows] - 1:,}", "middle")
        + "</g>",
    ]
    low = TOP + height + 12.0
    bar = [[k / 63.0 for k in range(64)]]
    body.append(_image(_png(_colours(bar, 1.0)), LEFT, low, 90.0, 10.0))
    body.append(_text(LEFT, low + 24.0, "0", "start"))
    body.append(_text(LEFT + 90.0, low + 24.0, f"{top:.3g}", "end"))
    body.append(_text(LEFT + 98.0, low + 9.0, "relative error", "start"))
    return Chart(
        width=round(max(LEFT + width + 8.0, 230.0), 1),
        height=round(TOP + height + LEGEND, 1),
        body="\n".join(body),
        label=f"relative error over {rows} and {columns}",
    )


def _colours(values: Sequence[Sequence[float]], top: float) -> Any:
    """Return the values as colours, of shape (rows, columns, 3)."""
    share = np.clip(np.asarray(values, dtype=float) / (top or 1.0), 0.0, 1.0)
    known = np.asarray(COLOURS, dtype=float)
    places = np.linspace(0.0, 1.0, len(known))
    parts = [np.interp(share, places, known[:, channel]) for channel in range(3)]
    return np.rint(np.stack(parts, axis=-1)).astype(np.uint8)


def _png(pixels: Array) -> bytes:
    """Return an image of 8 bits a channel as a PNG file (ISO/IEC 15948)."""
    tall, wide, _ = pixels.shape

    def chunk(name: bytes, data: bytes) -> bytes:
        check = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)

    lines = b"".join(b"\0" + pixels[row].tobytes() for row in range(tall))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", wide, tall, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b"")
    )


def _image(png: bytes, x: float, y: float, width: float, height: float) -> str:
    told = base64.b64encode(png).decode("ascii")
    return (
        f'<image x="{x:g}" y="{y:g}" width="{width:.1f}" height="{height:.1f}" '
        f'preserveAspectRatio="none" style="image-rendering:pixelated" '
        f'href="data:image/png;base64,{told}"/>'
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
