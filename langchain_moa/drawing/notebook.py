"""Drawings in notebooks: how a mixture and its graph show themselves as the last value of a cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_moa.drawing.diagram import Source


def drawing_html(source: Source) -> str | None:
    """Return the picture of a mixture as HTML that loads nothing.

    Args:
        source: The mixture's graph.

    Returns:
        The HTML. `None` if there is no picture; notebooks then show the value as text.
    """
    from langchain_moa.drawing.svg import draw_svg

    try:
        svg = draw_svg(source)
    except Exception:  # noqa: BLE001  # a cell must show its value, drawn or not
        return None
    # A picture wider than the cell scrolls: made smaller, its names could not be read.
    return f'<div style="overflow-x:auto">{svg}</div>'
