"""The skeleton of a page that is complete in itself: it loads nothing, and carries its numbers.

Its content security policy forbids every request. Whatever comes from data is escaped.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from structure_search.reporting import page_style
from structure_search.reporting.charts import CSS as CHART_CSS
from structure_search.reporting.charts import escape
from structure_search.reporting.figures import Figure

TIMES, NONE = "\N{MULTIPLICATION SIGN}", "\N{EN DASH}"
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def page(title: str, subtitle: str, parts: Sequence[str], data: Mapping[str, Any]) -> str:
    """Return a page.

    Parameters
    ----------
    title
        Heading, as plain text.
    subtitle
        What stands below it, as plain text.
    parts
        The sections, as HTML; empty ones are left out.
    data
        The numbers behind the page, which go into it as JSON.
    """
    lines = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{escape(f'tnet: {title}')}</title>",
        f"<style>{page_style.CSS.strip()}\n{CHART_CSS.strip()}</style></head><body>",
        f"<header><h1>{escape(title)}</h1><p>{escape(subtitle)}</p></header><main>",
        *parts,
        "</main><footer>The numbers of this page are inside it as JSON: "
        "<code>document.getElementById('data')</code>.</footer>",
        f'<script type="application/json" id="data">{json_text(data)}</script>',
        "</body></html>\n",
    ]
    return "\n".join(line for line in lines if line)


def section(title: str, body: str) -> str:
    """Return a section; `body` is HTML."""
    return f"<section><h2>{escape(title)}</h2>{body}</section>"


def figure_block(figures: Sequence[Figure]) -> str:
    """Return figures side by side, or one alone."""
    body = "".join(_figure(figure, alone=len(figures) == 1) for figure in figures)
    return f"<div class={'grid' if len(figures) > 1 else 'alone'}>{body}</div>"


def _figure(figure: Figure, *, alone: bool) -> str:
    heading = "" if alone else f"<h3>{escape(figure.title)}</h3>"
    return (
        f"<figure>{heading}<div class=scroll>{figure.svg}</div>"
        f"<figcaption>{escape(figure.caption)}</figcaption></figure>"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]], marked: str = "") -> str:
    """Return a table; the rows that begin with `marked` stand out.

    Examples
    --------
    >>> table(["a"], [["<b>"]])
    '<div class=scroll><table><tr><th>a</th></tr><tr><td>&lt;b&gt;</td></tr></table></div>'
    """
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(
        f"<tr{' class=marked' if row[0] == marked else ''}>"
        + "".join(f"<td>{escape(cell)}</td>" for cell in row)
        + "</tr>"
        for row in rows
    )
    return f"<div class=scroll><table><tr>{top}</tr>{body}</table></div>"


def cards(facts: Sequence[tuple[str, str, str]]) -> str:
    """Return facts as cards: name, value, note."""
    body = "".join(
        f"<div class=card><span>{escape(name)}</span><b>{escape(value)}</b>"
        f"<small>{escape(note)}</small></div>"
        for name, value, note in facts
    )
    return f"<div class=cards>{body}</div>"


def json_text(data: Any) -> str:
    r"""Return JSON that cannot end its script element.

    Examples
    --------
    >>> json_text({"a": float("inf"), "b": "</script>"})
    '{"a":null,"b":"\\u003c/script\\u003e"}'
    """
    text = json.dumps(_strict(data), separators=(",", ":"), sort_keys=True, allow_nan=False)
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


def _strict(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {str(key): _strict(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_strict(value) for value in data]
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    return data
