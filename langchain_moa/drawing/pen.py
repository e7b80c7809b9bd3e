"""The pen: draws shapes and texts as SVG elements."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from langchain_moa.drawing.ways import number

if TYPE_CHECKING:
    from langchain_moa.drawing.ways import Point


class Pen:
    """Draws into one SVG element; the element escapes whatever text it gets.

    Args:
        element: The element.
    """

    def __init__(self, element: ET.Element) -> None:
        self._element = element

    def group(self, *, name: str = "", style: str = "", offset: Point | None = None) -> Pen:
        """Return a pen for a new group.

        Args:
            name: What the group shows, for those who point at it.
            style: The CSS classes.
            offset: By how much all in it is moved.
        """
        move = f"translate({number(offset[0])} {number(offset[1])})" if offset is not None else ""
        pen = Pen(self.add("g", **{"class": style, "transform": move}))
        if name:
            pen.add("title").text = name
        return pen

    def rectangle(self, corner: Point, size: Point, radius: float, *, style: str = "", fill: str = "") -> None:
        """Draw a rectangle with round corners.

        Args:
            corner: Its upper left corner.
            size: Its width and its height.
            radius: The radius of its corners.
            style: The CSS classes.
            fill: Its colour, if no class says it.
        """
        lengths = {"x": corner[0], "y": corner[1], "width": size[0], "height": size[1], "rx": radius}
        self.add("rect", **{"class": style, "fill": fill}, **{name: number(length) for name, length in lengths.items()})

    def circle(self, centre: Point, radius: float, *, style: str) -> None:
        """Draw a circle."""
        self.add("circle", **{"class": style, "cx": number(centre[0]), "cy": number(centre[1]), "r": number(radius)})

    def path(self, path: str, *, style: str) -> None:
        """Draw a path, given in SVG's path language."""
        self.add("path", **{"class": style, "d": path})

    def text(self, start: Point, content: str, *, style: str, length: float | None = None) -> None:
        """Write one line of text.

        Args:
            start: Where its base line begins; its middle, if the style says so.
            content: The text.
            style: The CSS classes.
            length: How long the line is made, whatever the font. Default: as the font has it.
        """
        fitted = {} if not length else {"textLength": number(length), "lengthAdjust": "spacingAndGlyphs"}
        self.add("text", **{"class": style, "x": number(start[0]), "y": number(start[1])}, **fitted).text = content

    def add(self, tag: str, **attributes: str) -> ET.Element:
        """Add an element and return it; empty attributes are left out."""
        return ET.SubElement(self._element, tag, {name: value for name, value in attributes.items() if value})
