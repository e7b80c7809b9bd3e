"""The routes: the way of every edge from box to box, around what stands between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from langchain_moa.drawing.lanes import Lane, Trip, assign
from langchain_moa.drawing.layout import DETAIL_SIZE, Box, label_width
from langchain_moa.drawing.parts import Edge, Group
from langchain_moa.drawing.ways import Curve, Point, at, bent, flowing, path, points, towards

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HEAD = 7.0  # the length of an arrow's head
LANE_GAP = 24.0  # between two lanes, which must leave room for a label
CLEARANCE = 5.0  # how near an edge may come to a box that it passes above or below
LABEL_HEIGHT = 18.0
LABEL_PLACES = (0.5, 0.62, 0.38, 0.72, 0.28)  # where on its way a label may stand, best first
PORT_GAP = 14.0  # between two edges that end at the same upper or lower side
LOOP_WIDTH, LOOP_HEIGHT = 24.0, 26.0  # of an edge from a box to itself

Area: TypeAlias = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True, slots=True)
class Route:
    """One edge's way.

    Attributes:
        edge: The edge.
        path: Its way, in SVG's path language, up to the arrow's head.
        tip: Where the arrow's head ends.
        direction: Where the head points: a step of length 1.
        area: What it takes up, its label included.
        label: Where the middle of the label stands, if there is one.
    """

    edge: Edge
    path: str
    tip: Point
    direction: Point
    area: Area
    label: Point | None = None


class Router:
    """Looks for the routes; knows what stands where, and which labels have a place already.

    Args:
        root: The box of the whole diagram.
        edges: The edges.
    """

    def __init__(self, root: Box, edges: Sequence[Edge]) -> None:
        self._root = root
        self._boxes = [box for box in root.walk() if box is not root]
        self._leaves = {box.item.id: box for box in self._boxes if not isinstance(box.item, Group)}
        self._edges = edges
        self._labels: list[Area] = []
        self._labelled: set[int] = set()

    def routes(self) -> list[Route]:
        """Return the routes of all edges, in the edges' order."""
        straight: dict[Edge, list[Curve]] = {}
        trips: dict[Edge, Trip] = {}
        for edge in self._edges:
            source, target = self._leaves[edge.source], self._leaves[edge.target]
            if source is target:
                continue
            if way := self._straight(source, target):
                straight[edge] = way
            else:
                trips[edge] = self._trip(edge, source, target)
        lanes = assign(trips)
        return [
            self._flowing(edge, straight[edge]) if edge in straight
            else self._around(edge, lanes[edge]) if edge in lanes
            else self._loop(edge)
            for edge in self._edges
        ]  # fmt: skip

    def _straight(self, source: Box, target: Box) -> list[Curve] | None:
        """Return a way that leads onwards and passes no third box, the softest that there is; None without one."""
        if target.x < source.right + 2 * HEAD:
            return None
        start, end = (source.right, source.middle), (target.x - HEAD, target.middle)
        first_gap = {"leave": source.cell_right, "arrive": 2 * source.after - source.cell_right}
        last_gap = {"leave": 2 * target.before - target.cell_left, "arrive": target.cell_left - HEAD}
        ways = (flowing(start, end), flowing(start, end, **first_gap), flowing(start, end, **last_gap))
        others = [box for box in self._boxes if not box.holds(source) and not box.holds(target)]
        return next((way for way in ways if not _meets_any(way, others)), None)

    def _trip(self, edge: Edge, source: Box, target: Box) -> Trip:
        """Return what lanes must know of an edge that goes around everything."""
        forward = target.centre > source.centre
        open_above = self._is_open(source, above=True) + self._is_open(target, above=True)
        open_below = self._is_open(source, above=False) + self._is_open(target, above=False)
        return Trip(
            # The edges between the same two boxes share a lane, and so does the whole fan into or out of a layer.
            key=(_trunk(source, target), _trunk(target, source), edge.label),
            span=(min(source.centre, target.centre), max(source.centre, target.centre)),
            forward=forward,
            above=forward if open_above == open_below else open_above > open_below,
        )

    def _flowing(self, edge: Edge, way: Sequence[Curve]) -> Route:
        x, y = way[-1][-1]
        label = self._label(edge, [at(way, share) for share in LABEL_PLACES])
        return Route(edge, path(way), (x + HEAD, y), (1.0, 0.0), _area(points(way), edge, label), label)

    def _loop(self, edge: Edge) -> Route:
        """Return the route of an edge that leads from a box to itself: a loop over its upper right corner."""
        box = self._leaves[edge.source]
        right = box.right - LOOP_WIDTH / 2
        start, top = (right - LOOP_WIDTH, box.y), box.y - LOOP_HEIGHT
        way = [(start, (start[0], top), (right, top), (right, box.y - HEAD))]
        label = self._label(edge, [((start[0] + right) / 2, top - 5)])
        return Route(edge, path(way), (right, box.y), (0.0, 1.0), _area(points(way), edge, label), label)

    def _around(self, edge: Edge, lane: Lane) -> Route:
        """Return a route above or below everything: out of the source, along the lane, into the target."""
        source, target = self._leaves[edge.source], self._leaves[edge.target]
        offset = LANE_GAP * (lane.number + 1) - 4
        y = self._root.y - offset if lane.above else self._root.bottom + offset
        side = 1 if lane.forward else -1
        way = self._turn_off(source, lane, y, shift=-side * PORT_GAP * lane.out, exit_x=source.right, free=source.after)
        into = self._turn_off(target, lane, y, shift=side * PORT_GAP * lane.into, exit_x=target.x, free=target.before)
        left, right = way[-1][0], into[-1][0]
        way += reversed(into)
        tip, before = way[-1], way[-2]
        near = towards(tip, before, 1.0)
        way[-1] = towards(tip, before, HEAD)
        # On a lane that several edges share, their word stands once.
        places = [(left + (right - left) * share, y) for share in LABEL_PLACES]
        label = None if id(lane) in self._labelled else self._label(edge, places)
        self._labelled.add(id(lane))
        return Route(edge, bent(way), tip, (tip[0] - near[0], tip[1] - near[1]), _area(way, edge, label), label)

    def _turn_off(self, box: Box, lane: Lane, y: float, *, shift: float, exit_x: float, free: float) -> list[Point]:
        """Return the corners between a box and a lane, the box's first.

        Args:
            box: The box.
            lane: The lane.
            y: The lane's height.
            shift: How far from the box's middle the way meets its upper or lower side.
            exit_x: The side of the box where the way begins if it cannot use these.
            free: Where the way then runs up or down.
        """
        if self._is_open(box, above=lane.above):
            x = box.centre + max(min(shift, box.width / 2 - 4), 4 - box.width / 2)
            return [(x, box.y if lane.above else box.bottom), (x, y)]
        return [(exit_x, box.middle), (free, box.middle), (free, y)]

    def _is_open(self, box: Box, *, above: bool) -> bool:
        """Return whether nothing stands between a box and the lanes above or below; cards of a layer are never open."""
        if box.parent is not None and box.parent.is_layer:
            return False
        return not any(
            other.x - CLEARANCE < box.right
            and other.right + CLEARANCE > box.x
            and (other.y < box.y if above else other.bottom > box.bottom)
            for other in self._boxes
            if not other.holds(box)
        )

    def _label(self, edge: Edge, places: Iterable[Point]) -> Point | None:
        """Return the first of some places where a label meets no other, or the first one."""
        if not edge.label:
            return None
        half, candidates = label_width(edge.label) / 2, list(places)
        areas = [(x - half, y - DETAIL_SIZE, x + half, y + DETAIL_SIZE) for x, y in candidates]
        best = next((index for index, area in enumerate(areas) if not any(_overlap(area, a) for a in self._labels)), 0)
        self._labels.append(areas[best])
        return candidates[best]


def _trunk(box: Box, other: Box) -> int:
    """Return what stands for the layer that a box is in, or for the box itself where the other one is in it too."""
    parent = box.parent
    return id(parent) if parent is not None and parent.is_layer and not parent.holds(other) else id(box)


def _meets_any(way: Sequence[Curve], boxes: Iterable[Box]) -> bool:
    looked_at = list(points(way))
    left, top, right, bottom = _bounds(looked_at)
    near = [
        box
        for box in boxes
        if box.x < right and left < box.right and box.y - CLEARANCE < bottom and top < box.bottom + CLEARANCE
    ]
    return any(box.x < x < box.right and box.y - CLEARANCE < y < box.bottom + CLEARANCE for box in near for x, y in looked_at)


def _overlap(one: Area, other: Area) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _area(way: Iterable[Point], edge: Edge, label: Point | None) -> Area:
    corners = list(way)
    if label is not None and edge.label is not None:
        half = label_width(edge.label) / 2
        corners += [(label[0] + x, label[1] + y) for x in (-half, half) for y in (-LABEL_HEIGHT / 2, LABEL_HEIGHT / 2)]
    return _bounds(corners)


def _bounds(corners: Iterable[Point]) -> Area:
    xs, ys = zip(*corners, strict=True)
    return min(xs), min(ys), max(xs), max(ys)
