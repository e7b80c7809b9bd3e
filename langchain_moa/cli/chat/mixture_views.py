"""Views of a mixture on a terminal: a table of its members, and its graph as boxes with the status of each call."""

from __future__ import annotations

from itertools import chain, groupby
from typing import TYPE_CHECKING, Any

from langchain_moa.cli.console import elided, one_line
from langchain_moa.cli.run_views import NOT_WAITED_FOR
from langchain_moa.data.redaction import masked
from langchain_moa.drawing.diagram import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

    from langchain_moa.cli.chat.conversation import ChatTurn
    from langchain_moa.drawing.diagram import Box, Diagram
    from langchain_moa.members.member import Member
    from langchain_moa.mixture.mixture import Mixture

_MEMBER_WIDTHS = (16, 50)
_BOX_WIDTHS = (8, 60)
# The width of a box's borders, sign and seconds.
_BESIDE_NAME = 16

_SIGNS = {"ok": ("✓", "green"), **dict.fromkeys(NOT_WAITED_FOR, ("\N{EN DASH}", "yellow"))}

_UNBOUNDED = 100_000


def members_table(mixture: Mixture, *, width: int) -> Table:
    """Return a table of the members with their settings, in the order in which they are called.

    Args:
        mixture: The mixture.
        width: The terminal's width in cells.
    """
    from rich.table import Table

    cells = min(max(width // 2 - 8, _MEMBER_WIDTHS[0]), _MEMBER_WIDTHS[1])
    rows = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for title, no_wrap in (("", True), ("model", True), ("", False)):
        rows.add_column(title, no_wrap=no_wrap)
    before = None
    for place, member in _places(mixture):
        rows.add_row(place if place != before else "", elided(member.id, cells=cells), _manner(member))
        before = place
    return rows


def _places(mixture: Mixture) -> Iterator[tuple[str, Member]]:
    members = mixture.members
    number = 1
    for layer, same in groupby(members.layers):
        last = number + len(list(same)) - 1
        place = f"layer {number}" if last == number else f"layers {number}-{last}"
        for member in layer:
            yield place, member
            yield from (("fallback", other) for other in member.fallbacks)
        number = last + 1
    yield from (("strategy", member) for _, member in members.others)
    if mixture.aggregator is not None:
        yield "aggregator", members.aggregator
    yield from (("fallback", member) for member in members.fallbacks)


def _manner(member: Member) -> Text:
    """Return the name, settings and system prompt of a member."""
    from rich.text import Text

    spec = member.spec
    settings = ", ".join(f"{name}={one_line(str(value))}" for name, value in masked(spec.settings).items())
    told = f"“{one_line(spec.system_prompt)}”" if spec.system_prompt else ""
    return Text(" · ".join(part for part in (spec.name or "", settings, told) if part), "dim")


def graph_boxes(diagram: Diagram, turn: ChatTurn | None, console: Console) -> RenderableType:
    """Return the stages of a graph, side by side if they fit, otherwise one below the other.

    Args:
        diagram: The graph.
        turn: The latest turn, whose calls are shown, or `None`.
        console: The console that will show it.
    """
    from rich import console as rich_console
    from rich.measure import Measurement
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    cells = max(min(_BOX_WIDTHS[1], console.width - _BESIDE_NAME), _BOX_WIDTHS[0])
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
    """Yield the stages in order: each layer, and what follows the layers. Merge nodes are left out."""
    shown = {Kind.PROPOSER, Kind.STEP, Kind.ANSWER}
    for is_framed, several in groupby(diagram.stages, key=lambda stage: bool(stage.title)):
        if is_framed:
            for stage in several:
                boxes = [box for column in stage.columns for box in column if box.kind in shown]
                places = [(stage.layer, place) if stage.layer else box.id for place, box in enumerate(boxes, start=1)]
                yield stage.title.lower(), dict(zip(places, boxes, strict=True))
        elif last := {box.id: box for stage in several for column in stage.columns for box in column if box.kind in shown}:
            yield ("aggregator" if last.keys() == {"aggregator"} else "aggregation"), last


def _calls(turn: ChatTurn) -> dict[Any, Mapping[str, Any]]:
    """Return the calls by place: layer and proposer, or node."""
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
            mark, style = _SIGNS.get(call["status"], ("✗", "red"))
            rows.add_row(Text(mark, style), name, Text(f"{call['seconds']:.1f} s", "dim", justify="right"))
    return rows


def _name(box: Box, cells: int) -> Text:
    """Return the name of a node, with its model if that differs."""
    title = box.model or box.name if box.id == "aggregator" else box.name
    name = elided(title, cells=cells)
    if box.model is not None and not title.startswith(box.model) and name.cell_len + len(str(box.model)) < cells:
        name.append(f" {box.model}", "dim")
    return name
