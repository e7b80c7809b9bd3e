"""SVG: a drawing as text that browsers show, in the colours of the reader's own scheme."""

from __future__ import annotations

import zlib
from itertools import groupby
from math import ceil
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from langchain_moa.drawing import text
from langchain_moa.drawing.diagram import Source, read
from langchain_moa.drawing.layout import DETAIL_SIZE, TITLE_SIZE, Box, lay_out
from langchain_moa.drawing.painter import RADIUS, Painter
from langchain_moa.drawing.palette import COLOURS, EMPHASIS
from langchain_moa.drawing.parts import Kind
from langchain_moa.drawing.pen import Pen
from langchain_moa.drawing.routing import Area, Route, Router

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_moa.drawing.parts import Diagram

# The system's own, by name: where it is DejaVu, `system-ui` would be a fifth wider than all the others.
SYSTEM_FONTS = "-apple-system,BlinkMacSystemFont,'Segoe UI',Roboto,'Noto Sans',Helvetica,Arial,system-ui,sans-serif"
MARGIN = 18.0
HEADING_SIZE = 17.0
HEADING_HEIGHT = 38.0


def draw_svg(graph: Source, *, title: str | None = None) -> str:
    """Draw a graph as SVG.

    The drawing needs no script and no font of its own, has a light and a dark scheme, and names everything in it for those
    who cannot see it. The same graph gives the same text, to the byte.

    Args:
        graph: What to draw: a compiled graph, a `StateGraph`, the `Graph` that `get_graph()` returns, or a mixture. Pass
            `compiled.get_graph(xray=True)` to see the nodes inside of subgraphs.
        title: A heading above the drawing. Defaults to none.

    Returns:
        The SVG document.

    Raises:
        TypeError: If `graph` is nothing that has a graph.
        ValueError: If the graph has no nodes.

    Example:
        ```python
        from pathlib import Path

        from langchain_moa import create_moa
        from langchain_moa.drawing import draw_svg

        moa = create_moa(["openai:gpt-6-luna", "openai:gpt-6.1-terra"], "openai:gpt-6.1-sol")
        Path("moa.svg").write_text(draw_svg(moa, title="My mixture"), encoding="utf-8")
        ```
    """
    return render(read(graph), title=title)


def render(diagram: Diagram, *, title: str | None = None, fonts: str = SYSTEM_FONTS, dark: bool = True) -> str:
    """Return a diagram as SVG.

    Args:
        diagram: What to draw.
        title: A heading above the drawing. Defaults to none.
        fonts: The CSS list of font families. Defaults to the reader's own.
        dark: Whether a reader with a dark scheme sees dark colours.
    """
    root = lay_out(diagram)
    routes = Router(root, diagram.edges).routes()
    left, top, right, bottom = _extent(root, routes)
    heading = text.clean(title) if title else ""
    above = MARGIN + (HEADING_HEIGHT if heading else 0.0)
    # Whole pixels, or a PNG would have another shape than the SVG.
    width = ceil(max(right - left, text.width(heading, HEADING_SIZE, bold=True)) + 2 * MARGIN)
    height = ceil(above + bottom - top + MARGIN)
    svg = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "class": "moa", "role": "img"})
    pen = Pen(svg)
    key = _identify(svg, pen, heading or "Mixture of Agents", _description(diagram))
    svg.attrib |= {
        "width": str(width),
        "height": str(height),
        "viewBox": f"0 0 {width} {height}",
    }
    pen.add("style").text = _style(fonts, dark=dark)
    gradient = Pen(Pen(pen.add("defs")).add("linearGradient", id=f"{key}-fill", x1="0", y1="0", x2="1", y2="1"))
    for offset, colour in enumerate(EMPHASIS):
        gradient.add("stop", **{"offset": str(offset), "stop-color": colour})
    pen.rectangle((0.5, 0.5), (width - 1, height - 1), RADIUS, style="canvas")
    if heading:
        length = text.set_length(heading, HEADING_SIZE, width - 2 * MARGIN - 2, bold=True)
        pen.text((MARGIN + 2, MARGIN + HEADING_SIZE), heading, style="title heading", length=length)
    body = pen.group(offset=((width - left - right) / 2, above - top))
    boxes = [box for box in root.walk() if box is not root]
    Painter(body, diagram, emphasis=f"url(#{key}-fill)").paint(boxes, routes)
    ET.indent(svg, " ")
    return ET.tostring(svg, encoding="unicode") + "\n"


def _identify(svg: ET.Element, pen: Pen, name: str, description: str) -> str:
    """Say what the drawing shows to those who cannot see it; return what its ids begin with."""
    # Ids are the page's, so two drawings on one page must not share them.
    key = f"moa-{zlib.crc32(f'{name}: {description}'.encode()):08x}"
    svg.set("aria-labelledby", f"{key}-title {key}-desc")
    pen.add("title", id=f"{key}-title").text = name
    pen.add("desc", id=f"{key}-desc").text = description
    return key


def _description(diagram: Diagram) -> str:
    """Return what the drawing shows, in words."""
    parts = []
    for layer, nodes in groupby(diagram.root.nodes(), key=lambda node: node.layer if node.kind is Kind.PROPOSER else None):
        names = ", ".join(node.full_name for node in nodes)
        parts.append(names if layer is None else f"layer {layer}: {names}")
    return f"A graph of {'; '.join(parts)}. It has {len(diagram.edges)} edges."


def _style(fonts: str, *, dark: bool) -> str:
    rules = [
        f".moa text{{font-family:{fonts};font-size:{DETAIL_SIZE}px}}",
        f".moa .title{{font-size:{TITLE_SIZE}px;font-weight:600}}",
        f".moa .heading{{font-size:{HEADING_SIZE}px}}",
        ".moa .caption{font-weight:600}",
        ".moa .halo{stroke-width:5px;stroke-linejoin:round;paint-order:stroke}",
        ".moa .middle{text-anchor:middle}",
        ".moa .line,.moa .dashed{fill:none;stroke-width:1.4}",
        ".moa .dashed{stroke-dasharray:5 4}",
        ".moa .nest{stroke-dasharray:3 3}",
        ".moa .ring{fill:none;stroke-width:1.6}",
        *(f".moa {selector}{{{name}:{light}}}" for selector, name, light, _ in COLOURS),
    ]
    rules += [".moa text.onaccent{fill:#ffffff}", ".moa text.detail.onaccent{fill:#e4e0ff}"]
    if dark:
        night = "".join(f".moa {selector}{{{name}:{colour}}}" for selector, name, _, colour in COLOURS)
        rules.append(f"@media (prefers-color-scheme:dark){{{night}}}")
    return "\n".join(["", *rules, ""])


def _extent(root: Box, routes: Sequence[Route]) -> Area:
    areas = [(root.x, root.y, root.right, root.bottom), *(way.area for way in routes)]
    lefts, tops, rights, bottoms = zip(*areas, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)
