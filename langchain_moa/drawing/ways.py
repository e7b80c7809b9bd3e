"""The ways: curves and bends, of which routes are made, as points and as SVG paths."""

from __future__ import annotations

from math import ceil, hypot
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Point: TypeAlias = tuple[float, float]
Curve: TypeAlias = tuple[Point, Point, Point, Point]  # a cubic Bézier curve: from, two that pull, to

BEND = 12.0  # the radius of a bend
STEP = 6.0  # how near to each other the looked-at points of a curve are


def flowing(start: Point, end: Point, *, leave: float | None = None, arrive: float | None = None) -> list[Curve]:
    """Return the way that leaves to the right and arrives from the left.

    Args:
        start: Where it begins.
        end: Where it ends.
        leave: Up to where it runs straight on. Defaults to nowhere.
        arrive: From where on it runs straight. Defaults to nowhere.
    """
    left = start[0] if leave is None else max(start[0], leave)
    right = end[0] if arrive is None else min(end[0], arrive)
    reach = max((right - left) / 2, 12.0)
    (_, y), (_, z) = start, end
    way = [((left, y), (left + reach, y), (right - reach, z), (right, z))]
    if left > start[0]:
        way.insert(0, _line(start, (left, y)))
    if right < end[0]:
        way.append(_line((right, z), end))
    return way


def at(way: Sequence[Curve], share: float) -> Point:
    """Return the point that lies a share of the way, from 0 to 1, along it."""
    rest = share * sum(map(_length, way))
    for curve in way[:-1]:
        if rest <= (length := _length(curve)):
            return _point(curve, rest / length)
        rest -= length
    return _point(way[-1], min(rest / _length(way[-1]), 1.0))


def points(way: Sequence[Curve]) -> Iterator[Point]:
    """Yield points along a way, close to each other."""
    for curve in way:
        count = max(2, ceil(_length(curve) / STEP))
        for step in range(count + 1):
            yield _point(curve, step / count)


def path(way: Sequence[Curve]) -> str:
    """Return a way in SVG's path language."""
    parts = [f"M{number(way[0][0][0])} {number(way[0][0][1])}"]
    for _, (ax, ay), (bx, by), (x, y) in way:
        parts.append(f"C{number(ax)} {number(ay)} {number(bx)} {number(by)} {number(x)} {number(y)}")
    return "".join(parts)


def bent(corners: Sequence[Point]) -> str:
    """Return the path along lines that run up, down or across, with round bends, in SVG's path language."""
    parts = [f"M{number(corners[0][0])} {number(corners[0][1])}"]
    for before, bend, after in zip(corners, corners[1:], corners[2:], strict=False):
        radius = min(
            BEND, hypot(bend[0] - before[0], bend[1] - before[1]) / 2, hypot(after[0] - bend[0], after[1] - bend[1]) / 2
        )
        (ax, ay), (bx, by) = towards(bend, before, radius), towards(bend, after, radius)
        parts.append(f"L{number(ax)} {number(ay)}Q{number(bend[0])} {number(bend[1])} {number(bx)} {number(by)}")
    parts.append(f"L{number(corners[-1][0])} {number(corners[-1][1])}")
    return "".join(parts)


def towards(start: Point, end: Point, length: float) -> Point:
    """Return the point that lies `length` from one point on the way to another."""
    share = length / (hypot(end[0] - start[0], end[1] - start[1]) or 1.0)
    return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share


def number(length: float) -> str:
    """Return a length as SVG has it, no finer than anyone sees."""
    return f"{round(length, 1) + 0.0:.1f}".removesuffix(".0")  # adding 0.0 takes the sign off a negative zero


def _line(start: Point, end: Point) -> Curve:
    return start, towards(start, end, hypot(end[0] - start[0], end[1] - start[1]) / 3), end, end


def _length(curve: Curve) -> float:
    start, _, _, end = curve
    return hypot(end[0] - start[0], end[1] - start[1])


def _point(curve: Curve, t: float) -> Point:
    weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
    x = sum(weight * point[0] for weight, point in zip(weights, curve, strict=True))
    y = sum(weight * point[1] for weight, point in zip(weights, curve, strict=True))
    return x, y
