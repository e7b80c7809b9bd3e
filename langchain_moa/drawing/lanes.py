"""The lanes: the ways above and below a diagram, for edges that cannot go straight to their target."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_moa.drawing.parts import Edge

Key: TypeAlias = "tuple[int, int, str | None]"


@dataclass(frozen=True, slots=True)
class Trip:
    """What an edge wants of a lane.

    Attributes:
        key: What stands for its source, what for its target, and its label; edges with the same key share a lane.
        span: From where to where it runs.
        forward: Whether it leads to the right.
        above: Whether it runs above the diagram; else below.
    """

    key: Key
    span: tuple[float, float]
    forward: bool
    above: bool


@dataclass(frozen=True, slots=True)
class Lane:
    """The way of one edge, or of several that lead from the same box to the same box.

    Attributes:
        forward: Whether it leads to the right.
        above: Whether it runs above the diagram; else below.
        number: How far out it runs, from 0.
        out: Which one it is of the lanes that leave its source on that side, from the innermost, 0.
        into: Which one it is of the lanes that reach its target on that side, from the innermost, 0.
    """

    forward: bool
    above: bool
    number: int
    out: int
    into: int


def assign(trips: Mapping[Edge, Trip]) -> dict[Edge, Lane]:
    """Give every edge a lane, short ones next to the diagram, so that no two lanes lie on each other."""
    shared: dict[tuple[Key, bool, bool], list[Trip]] = {}
    for trip in trips.values():
        shared.setdefault((trip.key, trip.forward, trip.above), []).append(trip)
    spans = {
        group: (min(trip.span[0] for trip in members), max(trip.span[1] for trip in members))
        for group, members in shared.items()
    }
    taken: dict[bool, list[list[tuple[float, float]]]] = {True: [], False: []}
    ports: Counter[tuple[int, bool]] = Counter()
    lanes: dict[tuple[Key, bool, bool], Lane] = {}
    for group in sorted(spans, key=lambda group: spans[group][1] - spans[group][0]):
        (source, target, _), forward, above = group
        left, right = spans[group]
        rows = taken[above]
        # Outside of all that it runs over, or it would cross their ends.
        number = max((n + 1 for n, row in enumerate(rows) if any(left < b and a < right for a, b in row)), default=0)
        if number == len(rows):
            rows.append([])
        rows[number].append((left, right))
        lanes[group] = Lane(forward, above, number, ports[source, above], ports[target, above])
        ports[source, above] += 1
        ports[target, above] += 1
    return {edge: lanes[trip.key, trip.forward, trip.above] for edge, trip in trips.items()}
