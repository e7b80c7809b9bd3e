"""Drawings in notebooks: how a mixture and its graph show themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_moa.drawing.diagram import Source


def drawing_html(source: Source) -> str | None:
    """Return a drawing as HTML that needs nothing but itself; `None`, which notebooks take for "no HTML", if there is none.

    Args:
        source: What to draw: a compiled graph, a `StateGraph`, the `Graph` that `get_graph()` returns, or a mixture.
    """
    from langchain_moa.drawing.svg import draw_svg

    try:
        svg = draw_svg(source)
    except Exception:  # noqa: BLE001  # a cell must show its value, drawn or not
        return None
    # One that is wider than the cell is scrolled, since made smaller its names could not be read.
    return f'<div style="overflow-x:auto">{svg}</div>'
