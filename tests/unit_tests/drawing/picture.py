"""The contents of an SVG, parsed from its text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from langchain_moa.drawing import draw_svg

NAMESPACE = {"s": "http://www.w3.org/2000/svg"}


@dataclass(frozen=True)
class Rectangle:
    x: float
    y: float
    width: float
    height: float

    def overlaps(self, other: Rectangle) -> bool:
        return (
            self.x < other.x + other.width
            and other.x < self.x + self.width
            and self.y < other.y + other.height
            and other.y < self.y + self.height
        )

    def touches(self, point: tuple[float, float]) -> bool:
        """Whether a point lies on the border, within the precision of one decimal."""
        x, y = point
        beside = min(abs(x - self.x), abs(x - self.x - self.width)) <= 1 and self.y - 1 <= y <= self.y + self.height + 1
        above = min(abs(y - self.y), abs(y - self.y - self.height)) <= 1 and self.x - 1 <= x <= self.x + self.width + 1
        return beside or above

    def inside(self, other: Rectangle) -> bool:
        return (
            other.x <= self.x
            and other.y <= self.y
            and self.x + self.width <= other.x + other.width
            and self.y + self.height <= other.y + other.height
        )


class Picture:
    """An SVG, parsed."""

    def __init__(self, svg: str) -> None:
        self.root = ET.fromstring(svg)  # noqa: S314  # our own text
        move = self.root.find("s:g", NAMESPACE)
        assert move is not None
        found = re.fullmatch(r"translate\(([-\d.]+) ([-\d.]+)\)", move.attrib["transform"])
        assert found is not None
        self.offset = float(found[1]), float(found[2])

    @classmethod
    def of(cls, graph: object, *, title: str | None = None) -> Picture:
        return cls(draw_svg(graph, title=title))  # type: ignore[arg-type]  # the tests draw whatever can be drawn

    @property
    def size(self) -> tuple[float, float]:
        return float(self.root.attrib["width"]), float(self.root.attrib["height"])

    @property
    def texts(self) -> list[str]:
        return [text.text or "" for text in self.root.iterfind(".//s:text", NAMESPACE)]

    @property
    def nodes(self) -> dict[str, ET.Element]:
        """The nodes by their ids in the graph."""
        return {node.attrib["data-node"]: node for node in self.root.iterfind(".//s:g[@class='node']", NAMESPACE)}

    @property
    def names(self) -> list[str]:
        """The full names of the nodes."""
        return [self.name(node) for node in self.nodes.values()]

    @property
    def edges(self) -> dict[str, ET.Element]:
        """The arrows by their ends: "merge_1 to aggregator (early exit)"; arrows to all boxes of a frame count as one."""
        return {self.name(edge): edge for edge in self.root.iterfind(".//s:g[@class='edge']", NAMESPACE)}

    @property
    def box(self) -> dict[str, Rectangle]:
        """The outer rectangle of each node, by its id in the graph."""
        return {id_: self.outline(node) for id_, node in self.nodes.items()}

    @classmethod
    def outline(cls, node: ET.Element) -> Rectangle:
        shape = node.find("s:rect", NAMESPACE)
        if shape is not None:
            return cls.rectangle(shape)
        circle = node.find("s:circle", NAMESPACE)
        assert circle is not None
        x, y, r = (float(circle.attrib[name]) for name in ("cx", "cy", "r"))
        return Rectangle(x - r, y - r, 2 * r, 2 * r)

    @staticmethod
    def ends(edge: ET.Element) -> tuple[tuple[float, float], tuple[float, float]]:
        """Where an arrow begins, and its tip."""
        line, head = (path.attrib["d"] for path in edge.iterfind("s:path", NAMESPACE))
        (x, y, *_), (tip_x, tip_y, *_) = (list(map(float, re.findall(r"-?\d+(?:\.\d+)?", path))) for path in (line, head))
        return (x, y), (tip_x, tip_y)

    @property
    def cards(self) -> list[Rectangle]:
        """The outer rectangle of each node that has one."""
        shapes = (node.find("s:rect", NAMESPACE) for node in self.root.iterfind(".//s:g[@class='node']", NAMESPACE))
        return [self.rectangle(shape) for shape in shapes if shape is not None]

    def groups(self, style: str) -> list[Rectangle]:
        return [self.rectangle(shape) for shape in self.root.iterfind(f".//s:rect[@class='{style}']", NAMESPACE)]

    @staticmethod
    def name(element: ET.Element) -> str:
        title = element.find("s:title", NAMESPACE)
        assert title is not None
        return title.text or ""

    @staticmethod
    def rectangle(element: ET.Element) -> Rectangle:
        return Rectangle(*(float(element.attrib[name]) for name in ("x", "y", "width", "height")))

    @staticmethod
    def lines(element: ET.Element) -> list[str]:
        return [text.text or "" for text in element.iterfind("s:text", NAMESPACE)]

    def points(self) -> list[tuple[float, float]]:
        """All points of a path, in coordinates of the canvas."""
        found = []
        for path in self.root.iterfind(".//s:path", NAMESPACE):
            numbers = [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", path.attrib["d"])]
            found += [(x + self.offset[0], y + self.offset[1]) for x, y in zip(numbers[::2], numbers[1::2], strict=True)]
        return found
