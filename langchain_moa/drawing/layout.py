"""The layout: every node and group in a column by its longest way from the start, with a place and a size."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING

from langchain_moa.drawing import text
from langchain_moa.drawing.parts import Diagram, Edge, Group, Kind, Node
from langchain_moa.drawing.ranks import ranks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

TITLE_SIZE = 13.5  # of a card's title, in pixels; so are all lengths here
DETAIL_SIZE = 11.5  # of what stands below it, and of labels
LINE_HEIGHT = 15.5
CARD_PADDING = 13.0
CARD_TEXT_LEFT = 22.0  # leaves room for the coloured bar
CARD_MIN_WIDTH, CARD_MAX_WIDTH = 64.0, 212.0
PILL_HEIGHT = 26.0
DOT_SIZE = 20.0
CAPTION_HEIGHT = 16.0  # what stands below a dot
GROUP_PADDING = 14.0
GROUP_HEAD = 32.0  # the strip at a group's top with its title
ROW_GAP = 9.0
FREE_ROW_GAP = 26.0  # between nodes that are in no layer
COLUMN_GAP = 34.0
COLUMN_GAP_MAX = 88.0
LABEL_PADDING = 12.0  # of a label, both sides together
LABEL_ROOM = 36.0  # what a label's edge needs on both sides of the label
STEEPNESS = 0.055  # how much a column gap grows with the height that its edges span


@dataclass(frozen=True, slots=True)
class _Frame:
    """How far a group reaches over what it holds: at its top, where its title stands, and at the other sides."""

    top: float
    side: float


_FRAME = _Frame(GROUP_HEAD, GROUP_PADDING)
_NO_FRAME = _Frame(0.0, 0.0)


@dataclass(slots=True)
class Box:
    """A node or a group, with its place.

    Attributes:
        item: The node or the group.
        width: In pixels, like everything here.
        height: The same.
        columns: What a group holds, by column; empty for a node.
        gaps: The room between those columns, one less than there are.
        x: The left edge.
        y: The upper edge.
        axis: How far below its upper edge edges come in and go out.
        cell_left: The left edge of its column, or of its group's where it stands in the group's first column.
        cell_right: The right edge, in the same way.
        before: The middle of the free room left of it, where edges may run up and down.
        after: The same, right of it.
        parent: The group that it stands in.
    """

    item: Node | Group
    width: float = 0.0
    height: float = 0.0
    columns: list[list[Box]] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    x: float = 0.0
    y: float = 0.0
    axis: float = 0.0
    cell_left: float = 0.0
    cell_right: float = 0.0
    before: float = 0.0
    after: float = 0.0
    parent: Box | None = None

    @property
    def right(self) -> float:
        """The right edge."""
        return self.x + self.width

    @property
    def bottom(self) -> float:
        """The lower edge."""
        return self.y + self.height

    @property
    def middle(self) -> float:
        """The height at which edges come in and go out."""
        return self.y + self.axis

    @property
    def is_layer(self) -> bool:
        """Whether it is a layer's."""
        return isinstance(self.item, Group) and self.item.layer

    @property
    def centre(self) -> float:
        """The middle between the left and the right edge."""
        return self.x + self.width / 2

    def walk(self) -> Iterator[Box]:
        """Yield this box and all boxes inside it, outer ones first."""
        yield self
        for column in self.columns:
            for box in column:
                yield from box.walk()

    def holds(self, other: Box) -> bool:
        """Return whether `other` is this box or stands inside it."""
        up: Box | None = other
        while up is not None:
            if up is self:
                return True
            up = up.parent
        return False


def lay_out(diagram: Diagram) -> Box:
    """Return the box of the whole diagram, with every box inside it in its place; its corner is at 0, 0."""
    root = _sized_group(diagram.root, diagram.edges, _NO_FRAME)
    root.cell_right = root.width
    root.before, root.after = -COLUMN_GAP / 2, root.width + COLUMN_GAP / 2
    _place(root, _NO_FRAME)
    return root


def card_lines(node: Node) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the lines of a card's title, and those of what stands below it, as they fit."""
    room = CARD_MAX_WIDTH - CARD_TEXT_LEFT - CARD_PADDING
    title, detail = node.caption
    return text.wrap(title, TITLE_SIZE, room, bold=True), text.wrap(detail, DETAIL_SIZE, room) if detail else ()


def label_width(label: str) -> float:
    """Return how wide an edge's label is, with the room around its text."""
    return text.width(short_label(label), DETAIL_SIZE) + LABEL_PADDING


def short_label(label: str) -> str:
    """Return an edge's label as it fits."""
    return text.elide(label, DETAIL_SIZE, CARD_MAX_WIDTH)


def _sized_node(node: Node) -> Box:
    if node.kind in {Kind.START, Kind.END}:
        return Box(node, DOT_SIZE, DOT_SIZE + CAPTION_HEIGHT, axis=DOT_SIZE / 2)
    if node.kind is Kind.MERGE:
        return Box(node, text.width(node.title, DETAIL_SIZE) + 20, PILL_HEIGHT, axis=PILL_HEIGHT / 2)
    title, detail = card_lines(node)
    widths = [text.width(line, TITLE_SIZE, bold=True) for line in title]
    widths += [text.width(line, DETAIL_SIZE) for line in detail]
    height = 2 * CARD_PADDING + LINE_HEIGHT * (len(title) + len(detail)) - 3
    return Box(node, max(CARD_MIN_WIDTH, max(widths) + CARD_TEXT_LEFT + CARD_PADDING), height, axis=height / 2)


def _sized_group(group: Group, edges: Sequence[Edge], frame: _Frame) -> Box:
    boxes = [_sized_group(child, edges, _FRAME) if isinstance(child, Group) else _sized_node(child) for child in group.children]
    if group.layer:
        _make_alike(boxes)
    owners = {node.id: index for index, box in enumerate(boxes) for node in _nodes(box.item)}
    inner = [edge for edge in edges if edge.source in owners and edge.target in owners]
    ends = [(owners[edge.source], owners[edge.target]) for edge in inner]
    rank = ranks(len(boxes), ends, first=_of_kind(boxes, Kind.START), last=_of_kind(boxes, Kind.END))
    result = Box(group, columns=_columns(boxes, rank, ends))
    for box in boxes:
        box.parent = result
    heights = [_above(column, group) + _below(column, group) for column in result.columns]
    result.gaps = [_gap(heights[index : index + 2], _labels(index, inner, owners, rank)) for index in range(len(heights) - 1)]
    widths = [max(box.width for box in column) for column in result.columns]
    caption = text.width(group.title, DETAIL_SIZE, bold=True)
    result.width = max(sum(widths) + sum(result.gaps), caption) + 2 * frame.side
    result.axis = frame.top + max(_above(column, group) for column in result.columns)
    result.height = result.axis + max(_below(column, group) for column in result.columns) + frame.side
    return result


def _make_alike(boxes: Sequence[Box]) -> None:
    """Give the cards of one layer one width, so that their sides stand in line."""
    width = max(box.width for box in boxes)
    for box in boxes:
        box.width = width


def _nodes(item: Node | Group) -> Iterator[Node]:
    if isinstance(item, Group):
        yield from item.nodes()
    else:
        yield item


def _of_kind(boxes: Sequence[Box], kind: Kind) -> list[int]:
    return [index for index, box in enumerate(boxes) if isinstance(box.item, Node) and box.item.kind is kind]


def _columns(boxes: Sequence[Box], rank: Sequence[int], ends: Sequence[tuple[int, int]]) -> list[list[Box]]:
    """Return the columns, each in the order that keeps edges from crossing: by where their sources stand."""
    height: dict[int, float] = {}
    columns = []
    for column in range(max(rank) + 1):
        members = [index for index in range(len(boxes)) if rank[index] == column]
        pull = {
            index: fmean([height[source] for source, target in ends if target == index and source in height] or [0.0])
            for index in members
        }
        members.sort(key=lambda index: pull[index])
        height.update({index: place - (len(members) - 1) / 2 for place, index in enumerate(members)})
        columns.append([boxes[index] for index in members])
    return columns


def _labels(column: int, edges: Sequence[Edge], owners: Mapping[str, int], rank: Sequence[int]) -> list[str]:
    """Return the labels that stand between a column and the next one."""
    return [
        edge.label
        for edge in edges
        if edge.label and rank[owners[edge.source]] == column and rank[owners[edge.target]] == column + 1
    ]


def _gap(heights: Sequence[float], labels: Sequence[str]) -> float:
    gap = min(COLUMN_GAP + STEEPNESS * max(heights), COLUMN_GAP_MAX)
    return max([gap, *(label_width(label) + LABEL_ROOM for label in labels)])


def _row_gap(group: Group) -> float:
    return ROW_GAP if group.layer else FREE_ROW_GAP


def _above(column: Sequence[Box], group: Group) -> float:
    """Return how far a column reaches above its group's axis: there is its middle, or its middle box's own axis."""
    half, odd = divmod(len(column), 2)
    gap = _row_gap(group)
    if odd:
        return sum(box.height + gap for box in column[:half]) + column[half].axis
    return (sum(box.height + gap for box in column) - gap) / 2


def _below(column: Sequence[Box], group: Group) -> float:
    gap = _row_gap(group)
    return sum(box.height + gap for box in column) - gap - _above(column, group)


def _place(box: Box, frame: _Frame) -> None:
    """Give everything inside a group its place; the group's own is known."""
    if not isinstance(box.item, Group):
        return
    widths = [max(child.width for child in column) for column in box.columns]
    last = len(widths) - 1
    x = box.x + max(frame.side, (box.width - sum(widths) - sum(box.gaps)) / 2)
    for index, (column, width) in enumerate(zip(box.columns, widths, strict=True)):
        y = box.middle - _above(column, box.item)
        for child in column:
            child.x, child.y = x + (width - child.width) / 2, y
            child.cell_left = box.cell_left if index == 0 else x
            child.cell_right = box.cell_right if index == last else x + width
            child.before = box.before if index == 0 else x - box.gaps[index - 1] / 2
            child.after = box.after if index == last else x + width + box.gaps[index] / 2
            _place(child, _FRAME)
            y += child.height + _row_gap(box.item)
        x += width + (box.gaps[index] if index < last else 0.0)
