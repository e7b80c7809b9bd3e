"""The painter: what a node, a group and an edge look like."""

from __future__ import annotations

from typing import TYPE_CHECKING

from langchain_moa.drawing import text
from langchain_moa.drawing.layout import (
    CARD_PADDING,
    CARD_TEXT_LEFT,
    DETAIL_SIZE,
    GROUP_PADDING,
    LABEL_PADDING,
    LINE_HEIGHT,
    TITLE_SIZE,
    Box,
    card_lines,
    label_width,
    short_label,
)
from langchain_moa.drawing.palette import ACCENTS
from langchain_moa.drawing.parts import Group, Kind, Node
from langchain_moa.drawing.routing import HEAD, LABEL_HEIGHT, Route
from langchain_moa.drawing.ways import number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from langchain_moa.drawing.parts import Diagram
    from langchain_moa.drawing.pen import Pen

BAR_WIDTH, BAR_LEFT, BAR_MARGIN = 3.5, 9.0, 10.0  # of the bar that shows a proposer's model
RADIUS = 12.0  # of a group's corners
CARD_RADIUS = 9.0
DOT_RADIUS, RING_RADIUS, PUPIL_RADIUS = 8.0, 8.5, 4.5
SINK = 4.0  # how far below the middle of a line of small text its base line is


class Painter:
    """Paints a diagram's parts.

    Args:
        pen: Draws them.
        diagram: The diagram; the models in it have their colours.
        emphasis: What fills the card of whoever gives the answer.
    """

    def __init__(self, pen: Pen, diagram: Diagram, *, emphasis: str) -> None:
        self._pen = pen
        self._emphasis = emphasis
        # The same colour for a model in every layer, so that it is seen to be the same.
        models = dict.fromkeys(_model(node) for node in diagram.root.nodes() if node.kind is Kind.PROPOSER)
        self._accents = {model: ACCENTS[index % len(ACCENTS)] for index, model in enumerate(models)}

    def paint(self, boxes: Sequence[Box], routes: Sequence[Route]) -> None:
        """Paint everything, what lies lower first."""
        groups = [(box, box.item) for box in boxes if isinstance(box.item, Group)]
        for box, group in groups:
            self._pen.rectangle((box.x, box.y), (box.width, box.height), RADIUS, style="group" if group.layer else "nest")
        for route in routes:
            self._edge(route)
        for box, group in groups:
            style = "detail caption" if group.layer else "detail caption halo"
            length = text.set_length(group.title, DETAIL_SIZE, box.width - 2 * GROUP_PADDING, bold=True)
            self._pen.text((box.x + GROUP_PADDING + 1, box.y + 20.5), group.title, style=style, length=length)
        for box in boxes:
            if isinstance(box.item, Node):
                self._node(box, box.item)
        for route in routes:
            self._label(route)

    def _node(self, box: Box, node: Node) -> None:
        pen = self._pen.group(name=node.full_name, style="node")
        if node.kind in {Kind.START, Kind.END}:
            _dot(pen, box, node)
        elif node.kind is Kind.MERGE:
            pen.rectangle((box.x, box.y), (box.width, box.height), box.height / 2, style="pill")
            pen.text((box.centre, box.middle + SINK), node.title, style="detail middle")
        else:
            self._card(pen, box, node)

    def _card(self, pen: Pen, box: Box, node: Node) -> None:
        corner, size = (box.x, box.y), (box.width, box.height)
        proposes, emphasised = node.kind is Kind.PROPOSER, node.answers
        if emphasised:
            pen.rectangle(corner, size, CARD_RADIUS, fill=self._emphasis)
        else:
            pen.rectangle(corner, size, CARD_RADIUS, style="card")
        if proposes:
            bar = (BAR_WIDTH, box.height - 2 * BAR_MARGIN)
            pen.rectangle((box.x + BAR_LEFT, box.y + BAR_MARGIN), bar, BAR_WIDTH / 2, fill=self._accents[_model(node)])
        left = box.x + (CARD_TEXT_LEFT if proposes else CARD_TEXT_LEFT - SINK)
        title, detail = card_lines(node)
        first = box.middle - LINE_HEIGHT * (len(title) + len(detail) - 1) / 2 + SINK
        room = box.right - CARD_PADDING - left
        for index, line in enumerate([*title, *detail]):
            bold = index < len(title)
            style, font_size = ("title", TITLE_SIZE) if bold else ("detail", DETAIL_SIZE)
            length = text.set_length(line, font_size, room, bold=bold)
            at = (left, first + LINE_HEIGHT * index + 0.5)
            pen.text(at, line, style=f"{style} onaccent" if emphasised else style, length=length)

    def _edge(self, route: Route) -> None:
        edge = route.edge
        name = f"{text.clean(edge.source)} to {text.clean(edge.target)}"
        pen = self._pen.group(name=f"{name} ({edge.label})" if edge.label else name, style="edge")
        pen.path(route.path, style="dashed" if edge.conditional else "line")
        (x, y), (dx, dy) = route.tip, (route.direction[0] * HEAD, route.direction[1] * HEAD)
        corners = ((x, y), (x - dx - dy / 2, y - dy + dx / 2), (x - dx + dy / 2, y - dy - dx / 2))
        outline = "L".join(f"{number(corner[0])} {number(corner[1])}" for corner in corners)
        pen.path(f"M{outline}Z", style="tip" if edge.conditional else "head")

    def _label(self, route: Route) -> None:
        label = route.edge.label
        if route.label is None or label is None:
            return
        (x, y), width = route.label, label_width(label)
        corner = (x - width / 2, y - LABEL_HEIGHT / 2)
        self._pen.rectangle(corner, (width, LABEL_HEIGHT), LABEL_HEIGHT / 2, style="chip")
        shown = short_label(label)
        length = text.set_length(shown, DETAIL_SIZE, width - LABEL_PADDING)
        self._pen.text((x, y + SINK), shown, style="label middle", length=length)


def _model(node: Node) -> str:
    return node.model or node.title


def _dot(pen: Pen, box: Box, node: Node) -> None:
    centre = (box.centre, box.middle)
    if node.kind is Kind.START:
        pen.circle(centre, DOT_RADIUS, style="dot")
    else:
        pen.circle(centre, RING_RADIUS, style="ring")
        pen.circle(centre, PUPIL_RADIUS, style="dot")
    # Inside a subgraph its first and last points are passed through, they are no start and no end.
    if box.parent is not None and box.parent.parent is None:
        pen.text((box.centre, box.bottom - 1), node.title, style="detail middle")
