"""The layout: the positions of boxes and frames, and the routes of arrows."""

from __future__ import annotations

from collections import Counter
from dataclasses import astuple, dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from langchain_moa.drawing import text
from langchain_moa.drawing.diagram import Arrow, Box, Diagram, Kind, Stage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# All lengths are in pixels. Three layers should fit into 900 pixels, the width of a README.
TITLE_SIZE = 12.5  # font size of a card's title
DETAIL_SIZE = 10.5  # font size of all other text
LINE_HEIGHT = 14.0
CARD_MAX_WIDTH = 162.0
CARD_PADDING = 9.0
CARD_LEFT = 17.0  # left of a card's text, with room for the coloured bar
CARD_BORDER = 6.5  # above and below a card's text
BAR_WIDTH, BAR_HEIGHT = 18.0, 46.0  # of a merge; its height grows with the layer
DOT = 18.0  # the diameter of the start and the end
CAPTION = 15.0  # the height of the word below a dot
ROW_GAP = 6.0
FRAME_PADDING = 8.0
FRAME_HEAD = 26.0  # a frame's title
FAN_GAP, STRAIGHT_GAP = 34.0, 18.0  # between columns, with and without branching arrows
LABEL_HEIGHT, LABEL_PADDING, LABEL_MAX_WIDTH = 16.0, 12.0, 170.0
LANE = 18.0  # the distance between a lane and its neighbours
PORT, LOOP = 11.0, 30.0  # between adjacent arrows at a box, and between the ends of a loop


class Point(NamedTuple):
    """A point in the drawing."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Area:
    """A rectangle."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """The width."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """The height."""
        return self.bottom - self.top

    @property
    def centre(self) -> Point:
        """The centre."""
        return Point((self.left + self.right) / 2, (self.top + self.bottom) / 2)


@dataclass(frozen=True, slots=True)
class Card:
    """A box with its position and its lines of text."""

    box: Box
    area: Area
    title: tuple[str, ...] = ()
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Frame:
    """The frame of a stage with its position and the lines of its notes."""

    title: str
    area: Area
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Label:
    """The text on an arrow with its position."""

    text: str
    area: Area


@dataclass(frozen=True, slots=True)
class Route:
    """The route of one arrow, or the shared route of arrows from one box to all boxes of a frame.

    Attributes:
        arrows: The arrows.
        points: The points from start to tip. Every segment is horizontal or vertical.
        label: The label, or `None`.
    """

    arrows: tuple[Arrow, ...]
    points: tuple[Point, ...]
    label: Label | None = None


@dataclass(slots=True)
class Layout:
    """A diagram with positions. All columns are vertically centred at 0.

    Attributes:
        cards: The boxes, by id.
        frames: The frames of stages that have a title.
        routes: The routes of the arrows.
        area: The bounding box of everything.
    """

    cards: dict[str, Card] = field(default_factory=dict)
    frames: list[Frame] = field(default_factory=list)
    routes: list[Route] = field(default_factory=list)

    @property
    def area(self) -> Area:
        """The bounding box of everything."""
        areas = [*self.obstacles(), *(route.label.area for route in self.routes if route.label)]
        areas += [Area(x, y, x, y) for route in self.routes for x, y in route.points]
        lefts, tops, rights, bottoms = zip(*map(astuple, areas), strict=True)
        return Area(min(lefts), min(tops), max(rights), max(bottoms))

    def obstacles(self) -> Iterator[Area]:
        """Yield the areas that lanes must not cross."""
        yield from (frame.area for frame in self.frames)
        for card in self.cards.values():
            caption = CAPTION if card.box.kind in {Kind.START, Kind.END} else 0.0
            yield Area(card.area.left, card.area.top, card.area.right, card.area.bottom + caption)


def lay_out(diagram: Diagram) -> Layout:
    """Compute the layout of a diagram."""
    layout = Layout()
    columns = [column for stage in diagram.stages for column in stage.columns]
    places = {box.id: index for index, column in enumerate(columns) for box in column}
    gaps = _gaps(diagram, columns, places)
    edges = _place_columns(layout, diagram.stages, gaps)
    _Router(layout, columns, places, edges).add(diagram.arrows)
    return layout


def _gaps(diagram: Diagram, columns: Sequence[Sequence[Box]], places: dict[str, int]) -> list[float]:
    """Return the gap between each column and the next, without frames."""
    gaps = []
    for before, after in pairwise(columns):
        kinds = {box.kind for box in (*before, *after)}
        is_straight = len(before) == len(after) == 1 or Kind.MERGE in kinds
        gaps.append(STRAIGHT_GAP if is_straight else FAN_GAP)
    for arrow in diagram.arrows:
        place = places[arrow.source]
        if arrow.label and places[arrow.target] == place + 1:
            gaps[place] = max(gaps[place], label_width(arrow.label) + 2 * FAN_GAP)
    return gaps


def label_width(label: str) -> float:
    """Return the width of an arrow's label."""
    return min(text.width(label, DETAIL_SIZE) + LABEL_PADDING, LABEL_MAX_WIDTH)


def _card(box: Box) -> Card:
    """Return a box with its size, not yet positioned."""
    if box.kind in {Kind.START, Kind.END}:
        return Card(box, Area(0, 0, DOT, DOT))
    if box.kind is Kind.MERGE:
        return Card(box, Area(0, 0, BAR_WIDTH, BAR_HEIGHT))
    room = CARD_MAX_WIDTH - CARD_LEFT - CARD_PADDING
    title = text.wrap(box.label, TITLE_SIZE, room, bold=True)
    below = ([box.sublabel] if box.sublabel else []) + list(box.notes)
    details = tuple(line for each in below for line in text.wrap(each, DETAIL_SIZE, room))
    longest = max(
        *(text.width(line, TITLE_SIZE, bold=True) for line in title), *(text.width(line, DETAIL_SIZE) for line in details), 24
    )
    height = LINE_HEIGHT * (len(title) + len(details)) + 2 * CARD_BORDER
    return Card(box, Area(0, 0, longest + CARD_LEFT + CARD_PADDING, max(height, 34.0)), title, details)


def _place_columns(layout: Layout, stages: Sequence[Stage], gaps: Sequence[float]) -> list[tuple[float, float]]:
    """Position all boxes and frames, and return the left and right edge of each column."""
    sized = [[_card(box) for box in column] for stage in stages for column in stage.columns]
    reach = [_height(column) / 2 for column in sized]
    edges: list[tuple[float, float]] = []
    x, free = 0.0, [0.0, *gaps]
    for stage in stages:
        first = len(edges)
        padding = FRAME_PADDING if stage.title else 0.0
        for place in range(first, first + len(stage.columns)):
            x += free[place] + (padding if place == first else 0.0)
            width = max(card.area.width for card in sized[place])
            edges.append((x, x + width))
            _place_column(layout, sized[place], edges[-1], reach=max(reach[max(place - 1, 0) : place + 2]))
            x += width
        if stage.title:
            x = _add_frame(layout, stage, edges[first][0] - padding, x + padding)
            edges[-1] = edges[-1][0], max(edges[-1][1], x - padding)
    return edges


def _height(column: Sequence[Card]) -> float:
    return sum(card.area.height for card in column) + ROW_GAP * (len(column) - 1)


def _place_column(layout: Layout, column: Sequence[Card], edges: tuple[float, float], *, reach: float) -> None:
    """Position the boxes of a column. A merge that is alone in its column is as high as the adjacent columns."""
    is_bar = len(column) == 1 and column[0].box.kind is Kind.MERGE
    y = -reach if is_bar else -_height(column) / 2
    for card in column:
        # Cards are as wide as their column; dots and merges are centred.
        spare = 0.0 if card.title else (edges[1] - edges[0] - card.area.width) / 2
        height = 2 * reach if is_bar else card.area.height
        area = Area(edges[0] + spare, y, edges[1] - spare, y + height)
        layout.cards[card.box.id] = Card(card.box, area, card.title, card.details)
        y += height + ROW_GAP


def _add_frame(layout: Layout, stage: Stage, left: float, right: float) -> float:
    """Add the frame of a stage, and return its right edge, which depends on the length of its title."""
    cards = [layout.cards[box.id].area for column in stage.columns for box in column]
    wanted = text.width(stage.title, DETAIL_SIZE, bold=True) + 2 * FRAME_PADDING + 4
    right = max(right, left + min(wanted, CARD_MAX_WIDTH))
    room = right - left - 2 * FRAME_PADDING
    notes = tuple(line for note in stage.notes for line in text.wrap(note, DETAIL_SIZE, room, lines=3))
    bottom = max(area.bottom for area in cards) + FRAME_PADDING + len(notes) * LINE_HEIGHT + (3 if notes else 0)
    layout.frames.append(Frame(stage.title, Area(left, min(area.top for area in cards) - FRAME_HEAD, right, bottom), notes))
    return right


class _Router:
    """Routes arrows: directly to the next column, above the columns if they skip one, below if they lead back."""

    def __init__(
        self,
        layout: Layout,
        columns: Sequence[Sequence[Box]],
        places: Mapping[str, int],
        edges: Sequence[tuple[float, float]],
    ) -> None:
        self._layout = layout
        self._columns = columns
        self._places = places
        self._edges = edges
        self._lanes: list[tuple[bool, Area]] = []
        self._labelled_into: Counter[str] = Counter()

    def add(self, arrows: Sequence[Arrow]) -> None:
        """Add the routes of all arrows to the layout."""
        spans = {arrow: self._places[arrow.target] - self._places[arrow.source] for arrow in arrows}
        onwards = [arrow for arrow, span in spans.items() if span == 1]
        self._labelled_into.update(arrow.target for arrow in onwards if arrow.label)
        self._layout.routes += map(self._onwards, onwards)
        trips = self._trips([arrow for arrow, span in spans.items() if span != 1])
        ports = self._ports(trips)
        self._layout.routes += [self._around(trip, ports) for trip in trips]

    def _onwards(self, arrow: Arrow) -> Route:
        source, target = self._layout.cards[arrow.source].area, self._layout.cards[arrow.target].area
        y, z = source.centre.y, target.centre.y
        # A merge is as high as its neighbours, so arrows can enter and leave it horizontally.
        if self._is_merge(arrow.source) and source.top < z < source.bottom:
            y = z
        elif self._is_merge(arrow.target) and target.top < y < target.bottom:
            z = y
        start, end = Point(source.right, y), Point(target.left, z)
        bend, label = self._gap(self._places[arrow.target]), None
        if arrow.label:
            size = label_width(arrow.label)
            # Put the label next to the target, unless several labelled arrows end there.
            if self._labelled_into[arrow.target] > 1:
                bend = end.x - FAN_GAP / 2
                label = _label(arrow.label, Point(bend - FAN_GAP / 3 - size / 2, y))
            else:
                bend = start.x + FAN_GAP / 2
                label = _label(arrow.label, Point(bend + FAN_GAP / 3 + size / 2, z))
        corners = () if y == z else (Point(bend, y), Point(bend, z))
        return Route((arrow,), (start, *corners, end), label)

    def _is_merge(self, box: str) -> bool:
        return self._layout.cards[box].box.kind is Kind.MERGE

    def _gap(self, place: int) -> float:
        """Return the centre of the gap to the left of a column."""
        left = self._edges[place - 1][1] if place > 0 else self._edges[0][0] - FAN_GAP
        right = self._edges[place][0] if place < len(self._edges) else left + FAN_GAP
        return (left + right) / 2

    def _trips(self, arrows: Sequence[Arrow]) -> list[_Trip]:
        """Group arrows from one box to all boxes of a column, and return all trips sorted by length."""
        groups: dict[tuple[str, int, str | None, bool], list[Arrow]] = {}
        for arrow in arrows:
            groups.setdefault((arrow.source, self._places[arrow.target], arrow.label, arrow.conditional), []).append(arrow)
        trips = []
        for (source, place, _, _), several in groups.items():
            span = place - self._places[source]
            if {arrow.target for arrow in several} == {box.id for box in self._columns[place]}:
                trips.append(_Trip(tuple(several), source, place, span, is_whole=True))
            else:
                trips += [_Trip((arrow,), source, place, span, is_whole=False) for arrow in several]
        return sorted(trips, key=lambda trip: abs(trip.span))

    def _ports(self, trips: Sequence[_Trip]) -> dict[tuple[_Trip, bool], float]:
        """Return the x positions where trips leave a box that is alone in its column, and where they enter a whole column."""
        sides: dict[tuple[int, bool], list[tuple[_Trip, bool]]] = {}
        # Left to right on a top side and right to left on a bottom side, so that no two trips cross.
        for leaves in (False, True):
            for trip in trips if not leaves else reversed(trips):
                place = self._places[trip.source] if leaves else trip.place
                if trip.is_whole if not leaves else len(self._columns[place]) == 1:
                    sides.setdefault((place, trip.above), []).append((trip, leaves))
        found = {}
        for (place, above), several in sides.items():
            left, right = self._edges[place]
            if len(self._columns[place]) == 1:
                area = self._layout.cards[self._columns[place][0].id].area
                left, right = area.left, area.right
            apart = LOOP if any(trip.span == 0 for trip, _ in several) else PORT
            step = min(apart, (right - left - 2) / len(several))
            for index, port in enumerate(several if above else reversed(several)):
                found[port] = (left + right) / 2 + (index - (len(several) - 1) / 2) * step
        return found

    def _around(self, trip: _Trip, ports: Mapping[tuple[_Trip, bool], float]) -> Route:
        source, place = self._layout.cards[trip.source].area, self._places[trip.source]
        if (leave := ports.get((trip, True))) is not None:
            start = [Point(leave, source.top if trip.above else source.bottom)]
        else:
            leave = self._gap(place + 1)
            start = [Point(source.right, source.centre.y), Point(leave, source.centre.y)]
        target = self._layout.cards[trip.arrows[0].target].area
        if (enter := ports.get((trip, False))) is not None:
            if len(trip.arrows) > 1:
                target = next(frame.area for frame in self._layout.frames if frame.area.left < target.left < frame.area.right)
            end = [Point(enter, target.top if trip.above else target.bottom)]
        else:
            enter = self._gap(trip.place)
            end = [Point(enter, target.centre.y), Point(target.left, target.centre.y)]
        label, middle = trip.arrows[0].label, (leave + enter) / 2
        size = label_width(label) if label else 0.0
        left, right = min(leave, enter, middle - size / 2), max(leave, enter, middle + size / 2)
        y = self._level(left, right, above=trip.above)
        # The label of a short trip is next to the line.
        beside = 0.0 if abs(leave - enter) > size + LANE else LANE * 2 / 3
        at = Point(middle, y - beside if trip.above else y + beside)
        half = LABEL_HEIGHT / 2
        self._lanes.append((trip.above, Area(left, min(y, at.y) - half, right, max(y, at.y) + half)))
        points = (*start, Point(leave, y), Point(enter, y), *end)
        return Route(trip.arrows, points, _label(label, at) if label is not None else None)

    def _level(self, left: float, right: float, *, above: bool) -> float:
        """Return the y position of a new lane, outside of the obstacles and lanes in its range."""
        areas = [*self._layout.obstacles(), *(area for side, area in self._lanes if side == above)]
        passed = [area for area in areas if area.left < right and left < area.right]
        if above:
            return min((area.top for area in passed), default=0.0) - LANE * 0.7
        return max((area.bottom for area in passed), default=0.0) + LANE * 0.7


@dataclass(frozen=True, slots=True)
class _Trip:
    """A route above or below the columns.

    Attributes:
        arrows: The arrows.
        source: The id of the source box.
        place: The index of the target column.
        span: The number of columns to the right; negative or 0 if it leads back.
        is_whole: Whether it ends at all boxes of that column.
    """

    arrows: tuple[Arrow, ...]
    source: str
    place: int
    span: int
    is_whole: bool

    @property
    def above(self) -> bool:
        """Whether it runs above the columns."""
        return self.span > 0


def _label(content: str, centre: Point) -> Label:
    width = label_width(content)
    shown = text.elide(content, DETAIL_SIZE, LABEL_MAX_WIDTH - LABEL_PADDING)
    left, top = centre.x - width / 2, centre.y - LABEL_HEIGHT / 2
    return Label(shown, Area(left, top, left + width, top + LABEL_HEIGHT))
