"""Draw a mixture as SVG, with colours for light and dark pages."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from langchain_moa.drawing import text
from langchain_moa.drawing.diagram import Diagram, Kind, Source, read
from langchain_moa.drawing.layout import (
    CAPTION,
    CARD_LEFT,
    CARD_PADDING,
    DETAIL_SIZE,
    FRAME_PADDING,
    LABEL_PADDING,
    LINE_HEIGHT,
    TITLE_SIZE,
    Area,
    Card,
    Frame,
    Label,
    Layout,
    Point,
    Route,
    lay_out,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

# Listed explicitly, because `system-ui` may be DejaVu, which is a fifth wider than all of these.
SYSTEM_FONTS = "-apple-system,BlinkMacSystemFont,'Segoe UI',Roboto,'Noto Sans',Helvetica,Arial,system-ui,sans-serif"
MARGIN = 14.0
HEADING_SIZE, HEADING_HEIGHT = 16.0, 34.0
CORNER, CARD_CORNER = 10.0, 7.0  # the radii of frames and cards
BEND = 7.0  # the radius of an arrow's bends
HEAD = 7.0  # the length of an arrow's head
SINK = 3.7  # from the middle of a line of text to its baseline

# Selector, property, colour on light pages, colour on dark pages. The canvas is painted, so that a drawing is readable even if
# the page does not follow the colour scheme of the reader's system.
COLOURS = (
    (".canvas", "fill", "#ffffff", "#0d1117"),
    (".canvas", "stroke", "#d1d9e0", "#30363d"),
    (".group", "fill", "#f6f8fa", "#151b23"),
    (".group", "stroke", "#d8dee4", "#2a313a"),
    (".card", "fill", "#ffffff", "#212830"),
    (".card", "stroke", "#d1d9e0", "#3d444d"),
    (".merge", "fill", "#e6eaef", "#2f3742"),
    (".merge", "stroke", "#c4ccd6", "#4a525d"),
    (".title", "fill", "#1f2328", "#f0f6fc"),
    (".detail", "fill", "#59636e", "#9198a1"),
    (".line", "stroke", "#98a2ad", "#6b7480"),
    (".head", "fill", "#98a2ad", "#6b7480"),
    (".dashed", "stroke", "#7c6bd6", "#9d8df1"),
    (".tip", "fill", "#7c6bd6", "#9d8df1"),
    (".label", "fill", "#5b46c8", "#b3a6f7"),
    (".chip", "fill", "#ffffff", "#0d1117"),
    (".dot", "fill", "#59636e", "#9198a1"),
    (".ring", "stroke", "#59636e", "#9198a1"),
    (".answer", "fill", "#5a48e0", "#5a48e0"),
    (".answer", "stroke", "#5a48e0", "#5a48e0"),
    (".onanswer", "fill", "#ffffff", "#ffffff"),
)

# One per model, in order of appearance. They are distinguishable on light and dark cards.
ACCENTS = (
    *("#6366f1", "#10b981", "#f59e0b", "#f43f5e", "#0ea5e9", "#a855f7"),
    *("#14b8a6", "#f97316", "#ec4899", "#84cc16", "#3b82f6", "#94a3b8"),
)


def draw_svg(graph: Source, *, title: str | None = None) -> str:
    """Draw a mixture as SVG.

    The picture has a column for each layer, frames around parallel steps, and dashed arrows for early exits and loops. It needs
    no script and no font, has colours for light and dark pages, and has a description for screen readers. The output is
    deterministic.

    Args:
        graph: The mixture's graph: the `StateGraph` that `create_moa()` returns, the compiled graph, or what its `get_graph()`
            returns. Any other graph is LangGraph's to draw: `graph.get_graph().draw_mermaid()`.
        title: A heading above the picture. Default: none.

    Returns:
        The SVG document.

    Raises:
        TypeError: `graph` has no graph.
        ValueError: The graph has no nodes, or is not that of a mixture.

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
        diagram: The diagram.
        title: A heading above the picture. Default: none.
        fonts: The CSS list of font families. Default: system fonts.
        dark: Whether to include colours for dark pages.
    """
    layout = lay_out(diagram)
    area = layout.area
    heading = text.clean(title) if title else ""
    above = MARGIN + (HEADING_HEIGHT if heading else 0.0)
    # Whole pixels, so that a PNG has the same proportions as the SVG.
    width = ceil(max(area.width, min(text.width(heading, HEADING_SIZE, bold=True), 900)) + 2 * MARGIN)
    height = ceil(above + area.height + MARGIN)
    svg = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "class": "moa", "role": "img"})
    svg.set("aria-label", heading or "Mixture of Agents")
    svg.attrib |= {"width": str(width), "height": str(height), "viewBox": f"0 0 {width} {height}"}
    _add(svg, "desc").text = _description(diagram)
    _add(svg, "style").text = _style(fonts, dark=dark)
    _rectangle(svg, Area(0.5, 0.5, width - 0.5, height - 0.5), CORNER, "canvas")
    if heading:
        shown = text.elide(heading, HEADING_SIZE, width - 2 * MARGIN, bold=True)
        _text(svg, Point(MARGIN, MARGIN + HEADING_SIZE), shown, "title heading", room=width - 2 * MARGIN)
    move = f"translate({_number((width - area.left - area.right) / 2)} {_number(above - area.top)})"
    _paint(_add(svg, "g", transform=move), diagram, layout)
    ET.indent(svg, " ")
    return ET.tostring(svg, encoding="unicode") + "\n"


def _description(diagram: Diagram) -> str:
    """Return a description of the picture for screen readers."""
    parts = []
    for stage in diagram.stages:
        boxes = [box.full_name for column in stage.columns for box in column]
        parts.append(f"{stage.title}{': ' if stage.title else ''}{', '.join([*boxes, *stage.notes])}")
    arrows = [f"{arrow.source} to {arrow.target} ({arrow.label})" for arrow in diagram.arrows if arrow.label]
    return text.clean(". ".join([*parts, *arrows]) + ".")


def _style(fonts: str, *, dark: bool) -> str:
    rules = [
        f".moa text{{font-family:{fonts};font-size:{DETAIL_SIZE}px}}",
        f".moa .title{{font-size:{TITLE_SIZE}px;font-weight:600}}",
        f".moa .heading{{font-size:{HEADING_SIZE}px}}",
        ".moa .caption{font-weight:600}",
        ".moa .middle{text-anchor:middle}",
        ".moa .line,.moa .dashed{fill:none;stroke-width:1.3}",
        ".moa .dashed{stroke-dasharray:5 4}",
        ".moa .ring{fill:none;stroke-width:1.6}",
        *(f".moa {selector}{{{name}:{light}}}" for selector, name, light, _ in COLOURS),
    ]
    if dark:
        night = "".join(f".moa {selector}{{{name}:{colour}}}" for selector, name, _, colour in COLOURS)
        rules.append(f"@media (prefers-color-scheme:dark){{{night}}}")
    return "\n".join(["", *rules, ""])


def _paint(svg: ET.Element, diagram: Diagram, layout: Layout) -> None:
    """Add all elements, from bottom to top."""
    for frame in layout.frames:
        _paint_frame(svg, frame)
    for route in layout.routes:
        _paint_route(svg, route)
    # Each model has the same colour in every layer.
    models = dict.fromkeys(box.model or box.label for box in diagram.boxes() if box.kind is Kind.PROPOSER)
    accents = {model: ACCENTS[index % len(ACCENTS)] for index, model in enumerate(models)}
    for card in layout.cards.values():
        group = _add(svg, "g", **{"class": "node", "data-node": text.clean(card.box.id)})
        _add(group, "title").text = card.box.full_name
        if card.box.kind in {Kind.START, Kind.END}:
            _paint_dot(group, card)
        elif card.box.kind is Kind.MERGE:
            _paint_merge(group, card)
        else:
            _paint_card(group, card, accents.get(card.box.model or card.box.label, ""))
    for route in layout.routes:
        if route.label is not None:
            _paint_label(svg, route.label)


def _paint_frame(svg: ET.Element, frame: Frame) -> None:
    area, left = frame.area, frame.area.left + FRAME_PADDING + 1
    room = area.width - 2 * FRAME_PADDING
    _rectangle(svg, area, CORNER, "group")
    title = text.elide(frame.title, DETAIL_SIZE, room, bold=True)
    _text(svg, Point(left, area.top + 17), title, "detail caption", room=room)
    for index, line in enumerate(reversed(frame.notes)):
        _text(svg, Point(left, area.bottom - FRAME_PADDING - index * LINE_HEIGHT), line, "detail", room=room)


def _paint_dot(group: ET.Element, card: Card) -> None:
    x, y = card.area.centre
    if card.box.kind is Kind.START:
        _add(group, "circle", **{"class": "dot", "cx": _number(x), "cy": _number(y), "r": _number(card.area.width / 2)})
    else:
        _add(group, "circle", **{"class": "ring", "cx": _number(x), "cy": _number(y), "r": _number(card.area.width / 2 - 0.8)})
        _add(group, "circle", **{"class": "dot", "cx": _number(x), "cy": _number(y), "r": _number(card.area.width / 4)})
    _text(group, Point(x, card.area.bottom + CAPTION - 2), card.box.label, "detail middle")


def _paint_merge(group: ET.Element, card: Card) -> None:
    _rectangle(group, card.area, CARD_CORNER, "merge")
    x, y = (_number(each) for each in card.area.centre)
    sunk = {"dy": f"{SINK}", "transform": f"rotate(-90 {x} {y})"}
    _add(group, "text", **{"class": "detail middle", "x": x, "y": y, **sunk}).text = card.box.label


def _paint_card(group: ET.Element, card: Card, accent: str) -> None:
    area, answers = card.area, card.box.kind is Kind.ANSWER
    _rectangle(group, area, CARD_CORNER, "answer" if answers else "card")
    if card.box.kind is Kind.PROPOSER:
        bar = Area(area.left + 7, area.top + 7, area.left + 10, area.bottom - 7)
        _rectangle(group, bar, 1.5, "", fill=accent)
    left = area.left + (CARD_LEFT if card.box.kind is Kind.PROPOSER else (CARD_LEFT + CARD_PADDING) / 2)
    room = area.width - CARD_LEFT - CARD_PADDING
    y = area.centre.y - LINE_HEIGHT * (len(card.title) + len(card.details) - 1) / 2 + SINK
    for index, line in enumerate((*card.title, *card.details)):
        style = f"{'title' if index < len(card.title) else 'detail'}{' onanswer' if answers else ''}"
        _text(group, Point(left, y + index * LINE_HEIGHT), line, style, room=room)


def _paint_route(svg: ET.Element, route: Route) -> None:
    first = route.arrows[0]
    group = _add(svg, "g", **{"class": "edge"})
    targets = ", ".join(arrow.target for arrow in route.arrows)
    label = f" ({first.label})" if first.label else ""
    _add(group, "title").text = f"{text.clean(f'{first.source} to {targets}')}{label}"
    _add(group, "path", **{"class": "dashed" if first.conditional else "line", "d": _bent(route.points)})
    (x, y), back = route.points[-1], _towards(route.points[-1], route.points[-2], HEAD)
    across = Point((back.y - y) * 0.45, (back.x - x) * 0.45)
    corners = (Point(x, y), Point(back.x + across.x, back.y + across.y), Point(back.x - across.x, back.y - across.y))
    outline = "L".join(f"{_number(corner.x)} {_number(corner.y)}" for corner in corners)
    _add(group, "path", **{"class": "tip" if first.conditional else "head", "d": f"M{outline}Z"})


def _paint_label(svg: ET.Element, label: Label) -> None:
    _rectangle(svg, label.area, label.area.height / 2, "chip")
    x, y = label.area.centre
    _text(svg, Point(x, y + SINK), label.text, "label middle", room=label.area.width - LABEL_PADDING)


def _bent(points: Sequence[Point]) -> str:
    """Return the SVG path through some points, with rounded corners."""
    parts = [f"M{_number(points[0].x)} {_number(points[0].y)}"]
    for before, bend, after in zip(points, points[1:], points[2:], strict=False):
        enters, leaves = _towards(bend, before, BEND), _towards(bend, after, BEND)
        parts.append(f"L{_number(enters.x)} {_number(enters.y)}")
        parts.append(f"Q{_number(bend.x)} {_number(bend.y)} {_number(leaves.x)} {_number(leaves.y)}")
    return "".join([*parts, f"L{_number(points[-1].x)} {_number(points[-1].y)}"])


def _towards(start: Point, end: Point, length: float) -> Point:
    """Return the point at a distance from a start towards an end, at most half way. The line is horizontal or vertical."""
    whole = abs(end.x - start.x) + abs(end.y - start.y) or 1.0
    share = min(length / whole, 0.5)
    return Point(start.x + (end.x - start.x) * share, start.y + (end.y - start.y) * share)


def _rectangle(parent: ET.Element, area: Area, radius: float, style: str, *, fill: str = "") -> None:
    lengths = {"x": area.left, "y": area.top, "width": area.width, "height": area.height, "rx": radius}
    _add(parent, "rect", **{"class": style, "fill": fill}, **{name: _number(length) for name, length in lengths.items()})


def _text(parent: ET.Element, start: Point, content: str, style: str, *, room: float = 0.0) -> None:
    """Add a line of text. If `room` is given, set its length so that it fits in any font."""
    sizes = {"title": TITLE_SIZE, "title heading": HEADING_SIZE}
    bold = style in {"detail caption", "title", "title heading", "title onanswer"}
    size = sizes.get(style.removesuffix(" onanswer"), DETAIL_SIZE)
    length = text.set_length(content, size, room, bold=bold) if room else None
    fitted = {"textLength": _number(length), "lengthAdjust": "spacingAndGlyphs"} if length else {}
    _add(parent, "text", **{"class": style, "x": _number(start.x), "y": _number(start.y)}, **fitted).text = content


def _add(parent: ET.Element, tag: str, **attributes: str) -> ET.Element:
    """Add an element and return it. Empty attributes are left out; ElementTree escapes all text."""
    return ET.SubElement(parent, tag, {name: value for name, value in attributes.items() if value})


def _number(length: float) -> str:
    """Format a length with at most one decimal."""
    return f"{round(length, 1) + 0.0:.1f}".removesuffix(".0")  # adding 0.0 turns -0.0 into 0.0


def drawing_html(source: Source) -> str | None:
    """Return the picture of a mixture as self-contained HTML.

    Args:
        source: The mixture's graph.

    Returns:
        The HTML, or `None` if it cannot be drawn; notebooks then show the value as text.
    """
    try:
        svg = draw_svg(source)
    except Exception:  # noqa: BLE001  # a notebook must show the value even if drawing fails
        return None
    # A wide picture scrolls, because scaled down its text would not be readable.
    return f'<div style="overflow-x:auto">{svg}</div>'
