"""The graph of a mixture as boxes on a terminal, with what has become of each call."""

from __future__ import annotations

from itertools import chain, groupby
from typing import TYPE_CHECKING, Any

from langchain_moa.cli.console import elided
from langchain_moa.drawing.diagram import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

    from langchain_moa.cli.chat.turn import Turn
    from langchain_moa.drawing.diagram import Box, Diagram

_WIDEST_NAME = 60
_NARROWEST_NAME = 8
# What a line has beside the name: the box, a sign, and the seconds.
_BESIDE_NAME = 16

_UNBOUNDED = 100_000


def overview(diagram: Diagram, turn: Turn | None, console: Console) -> RenderableType:
    """Return the stages of a graph, side by side if there is room, else one below the other.

    Args:
        diagram: The graph.
        turn: The latest question, whose calls are marked; `None` if nothing was asked yet.
        console: Where it will be shown.
    """
    from rich import console as rich_console
    from rich.measure import Measurement
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    cells = max(min(_WIDEST_NAME, console.width - _BESIDE_NAME), _NARROWEST_NAME)
    calls = {} if turn is None else _calls(turn)
    boxes = [
        Panel.fit(_rows(nodes, calls, cells), title=Text(title, "bold"), title_align="left", border_style="dim")
        for title, nodes in _stages(diagram)
    ]
    row = Table.grid()
    for _ in range(2 * len(boxes) - 1):
        row.add_column(vertical="middle")
    row.add_row(*_between(boxes, Text(" → ", "dim")))
    if Measurement.get(console, console.options.update(max_width=_UNBOUNDED), row).maximum <= console.width:
        return row
    return rich_console.Group(*_between(boxes, Text("    ↓", "dim")))


def _between(boxes: Sequence[RenderableType], arrow: Text) -> list[RenderableType]:
    return list(chain.from_iterable((arrow, box) for box in boxes))[1:]


def _stages(diagram: Diagram) -> Iterator[tuple[str, dict[Any, Box]]]:
    """Yield what runs one after the other: a layer, or what follows the layers; merges are left out."""
    shown = {Kind.PROPOSER, Kind.STEP, Kind.ANSWER}
    for is_framed, several in groupby(diagram.stages, key=lambda stage: bool(stage.title)):
        if is_framed:
            for stage in several:
                boxes = [box for column in stage.columns for box in column if box.kind in shown]
                places = [(stage.layer, place) if stage.layer else box.id for place, box in enumerate(boxes, start=1)]
                yield stage.title.lower(), dict(zip(places, boxes, strict=True))
        elif last := {box.id: box for stage in several for column in stage.columns for box in column if box.kind in shown}:
            yield ("aggregator" if last.keys() == {"aggregator"} else "aggregation"), last


def _calls(turn: Turn) -> dict[Any, Mapping[str, Any]]:
    """Return every call by its place: layer and proposer, or its node."""
    moa = turn.moa
    layers = enumerate(moa["layers"], start=1)
    calls: dict[Any, Mapping[str, Any]] = {(str(number), each["proposer"]): each for number, layer in layers for each in layer}
    calls |= {step["node"]: step for step in moa.get("steps", ())}
    if (aggregator := moa["aggregator"]) is not None:
        calls["aggregator"] = aggregator
    return calls


def _rows(boxes: Mapping[Any, Box], calls: Mapping[Any, Mapping[str, Any]], cells: int) -> Table:
    from rich.table import Table
    from rich.text import Text

    rows = Table.grid(padding=(0, 1, 0, 0), pad_edge=False)
    for place, box in boxes.items():
        name = _name(box, cells)
        if (call := calls.get(place)) is None:
            rows.add_row(name)
        else:
            sign = Text("✓", "green") if call["status"] == "ok" else Text("✗", "red")
            rows.add_row(sign, name, Text(f"{call['seconds']:.1f} s", "dim", justify="right"))
    return rows


def _name(box: Box, cells: int) -> Text:
    """Return what a node is called, and its model where that is another."""
    title = box.model or box.name if box.id == "aggregator" else box.name
    name = elided(title, cells=cells)
    if box.model not in {None, title} and name.cell_len + len(str(box.model)) < cells:
        name.append(f" {box.model}", "dim")
    return name
