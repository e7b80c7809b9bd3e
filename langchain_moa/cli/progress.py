"""The live view of a run: the calls in progress, and a line for each completed layer."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any, Self

from langchain_moa.cli.console import elided, one_line
from langchain_moa.cli.run_views import NOT_WAITED_FOR, RunView
from langchain_moa.data.figures import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console, RenderableType
    from rich.text import Text

_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_FRAMES_PER_SECOND = 10

_WIDEST_NAME = 60
_NARROWEST_NAME = 12
# A row has a sign, the seconds, and a reason, which gets at least half of the remaining width.
_BESIDE_NAME = 16

_DASH = "\N{EN DASH}"


@dataclass
class _ShownCall:
    """A call in the view. Its status is `waiting`, `running`, or the status of its final event."""

    name: str
    status: str = "waiting"
    since: float = 0.0
    seconds: float = 0.0
    first_token: float = 0.0
    words: int = 0
    reason: str = ""

    @classmethod
    def started(cls, name: str) -> _ShownCall:
        call = cls(name)
        call.start()
        return call

    def start(self) -> None:
        self.status, self.since = "running", perf_counter()

    def hear(self, text: str) -> None:
        self.first_token = self.first_token or self.elapsed
        self.words += len(text.split())

    def end(self, event: Mapping[str, Any]) -> None:
        self.seconds = event.get("seconds", self.elapsed)
        self.status = event.get("status", "ok")
        if error := event.get("error"):
            kind = "" if error["kind"] == self.status else f"{error['kind']}: "
            self.reason = f"{kind}{error['message']}"

    @property
    def elapsed(self) -> float:
        return perf_counter() - self.since if self.status == "running" else self.seconds

    @property
    def is_over(self) -> bool:
        return self.status not in {"waiting", "running"}


@dataclass(eq=False)
class _ShownStage:
    """The part of the run that the view currently shows: a layer, the calls of a strategy, or the aggregator."""

    title: str
    calls: list[_ShownCall] = field(default_factory=list)
    since: float = field(default_factory=perf_counter)

    @property
    def elapsed(self) -> float:
        # Events arrive late while clients are made; a stage is not shorter than a call in it.
        return max([perf_counter() - self.since, *(call.seconds for call in self.calls if call.is_over)])


class ProgressView(RunView):
    """Shows the progress of a run on a terminal, and prints a line for each completed layer.

    Use it as a context manager, which restores the terminal on exit.
    """

    def __init__(self, console: Console, layers: Sequence[Sequence[str]], *, yields: bool, awaits_tokens: bool = False) -> None:
        """Create the view.

        Args:
            console: The console of the terminal.
            layers: The names of each layer's proposers.
            yields: Whether the answer is written to the same terminal, so that the view must be removed before it.
            awaits_tokens: Whether proposers are streamed, so that "no token yet" can be shown.
        """
        from langchain_moa.cli.live_view import LiveView

        self._console = console
        self._layers = {
            number: _ShownStage(f"layer {number}", [_ShownCall(name) for name in names])
            for number, names in enumerate(layers, start=1)
        }
        self._stage = _ShownStage("starting")
        self._words = 0
        self._yields = yields
        self._awaits_tokens = awaits_tokens
        self._live = LiveView(console, self._render, redirect_stderr=True)

    def __enter__(self) -> Self:
        """Show the view."""
        if not self._console.is_dumb_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the view and restore the terminal."""
        self._live.stop()

    def on_event(self, event: Mapping[str, Any]) -> None:
        """Update the view with an event of the run."""
        match event["moa"]:
            case "proposing":
                self._enter_layer(event["layer"])
                self._proposer(event).start()
            case "proposed":
                self._proposer(event).end(event)
            case "merged":
                self._print_layer(event)
            case "asking":
                self._enter("strategy", f"{event['node']}: {event['name']}")
            case "asked":
                self._leave("strategy", f"{event['node']}: {event['name']}", event)
            case "aggregating":
                self._enter("aggregator", event["name"])
            case "aggregated":
                self._leave("aggregator", event["name"], event)
        self._live.refresh()

    def on_tick(self) -> None:
        """Redraw the view."""
        self._live.refresh()

    def on_proposer_text(self, layer: int, proposer: int, text: str) -> None:
        """Count the words of a proposer."""
        calls = self._layer(layer).calls
        if proposer <= len(calls):
            calls[proposer - 1].hear(text)

    def on_text(self, text: str) -> None:
        """Remove the view before the answer, or count the words if the answer is written elsewhere."""
        if text.strip() and self._yields and not self._words:
            self._live.stop()
            self._console.line()
        self._words += len(text.split())

    def _layer(self, number: int) -> _ShownStage:
        return self._layers.setdefault(number, _ShownStage(f"layer {number}"))

    def _proposer(self, event: Mapping[str, Any]) -> _ShownCall:
        calls = self._layer(event["layer"]).calls
        while len(calls) < event["proposer"]:
            calls.append(_ShownCall(event["name"]))
        call: _ShownCall = calls[event["proposer"] - 1]
        return call

    def _enter_layer(self, number: int) -> None:
        stage = self._layer(number)
        if stage is not self._stage:
            stage.since = perf_counter()
            self._stage = stage

    def _enter(self, title: str, name: str) -> None:
        if self._stage.title != title:
            self._stage = _ShownStage(title)
        self._stage.calls.append(_ShownCall.started(name))

    def _leave(self, title: str, name: str, event: Mapping[str, Any]) -> None:
        calls = self._stage.calls if self._stage.title == title else []
        call = next((call for call in calls if call.name == name and not call.is_over), _ShownCall(name))
        call.end(event)
        if call.reason:
            self._live.print(_failures([call], title))

    def _print_layer(self, event: Mapping[str, Any]) -> None:
        """Print the line of a completed layer, and a line for each failure in it."""
        from rich.text import Text

        stage = self._layer(event["layer"])
        good = sum(call.status == "ok" for call in stage.calls)
        others = {status: sum(call.status == status for call in stage.calls) for status in NOT_WAITED_FOR}
        failed = any(call.is_over and call.status not in ("ok", *NOT_WAITED_FOR) for call in stage.calls)
        remarks = [
            "".join(f", {count} {status}" for status, count in others.items() if count),
            " · goes on with the layer before" if event.get("fell_back") else "",
            f" · stopped: {one_line(event['stopped'])}" if event.get("stopped") else "",
        ]
        line = Text.assemble(
            ("! ", "yellow") if failed or not good else ("✓ ", "green"),
            (f"{stage.title}: ", "bold"),
            f"{good}/{len(stage.calls)} done",
            remarks[0],
            (f"  {stage.elapsed:.1f} s", "dim"),
            ("".join(remarks[1:]), "yellow"),
        )
        self._live.print(line)
        if remarked := [call for call in stage.calls if call.reason]:
            self._live.print(_failures(remarked))

    def _render(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        stage = self._stage
        over = sum(call.is_over for call in stage.calls)
        done = f": {over}/{len(stage.calls)} done" if len(stage.calls) > 1 or stage in self._layers.values() else ""
        title = Text.assemble((f"{_spinner()} ", "cyan"), (stage.title, "bold"), done, (f"  {stage.elapsed:.1f} s", "dim"))
        room = self._console.width - _BESIDE_NAME
        cells = min(_WIDEST_NAME, max(room // 2, _NARROWEST_NAME))
        names = [elided(call.name, cells=cells) for call in stage.calls]
        width = max((name.cell_len for name in names), default=0)
        rows = [_row(call, name, width, self._remark(call)) for call, name in zip(stage.calls, names, strict=True)]
        # Lines above the top of the screen could not be erased.
        shown = rows[: max(self._console.height - 4, 1)]
        hidden = [Text(f"    … and {len(rows) - len(shown)} more", "dim")] if len(shown) < len(rows) else []
        return Group(title, *shown, *hidden)

    def _remark(self, call: _ShownCall) -> str:
        """Return the remark on a call in progress."""
        if call.words:
            return f"first token {call.first_token:.1f} s · {counted(call.words, 'word')}"
        if self._awaits_tokens and self._stage in self._layers.values():
            return "no token yet"
        return counted(self._words, "word") if self._words else ""


def _spinner() -> str:
    return _SPINNER[int(perf_counter() * _FRAMES_PER_SECOND) % len(_SPINNER)]


def _row(call: _ShownCall, name: Text, width: int, running: str) -> Text:
    """Return the line of a call: a sign, its name, its seconds and a remark, cut to the width."""
    from rich.text import Text

    match call.status:
        case "waiting":
            sign, style, remark = "·", "dim", "waiting"
        case "running":
            sign, style, remark = _spinner(), "cyan", running
        case "ok":
            sign, style, remark = "✓", "green", ""
        case "late" | "cancelled" as status:
            sign, style, remark = _DASH, "yellow", f"{status}: {one_line(call.reason)}" if call.reason else status
        case status:
            sign, style, remark = "✗", "red", one_line(call.reason) or status
    name.pad_right(width - name.cell_len)
    seconds = f"{call.elapsed:.1f} s" if call.status != "waiting" else ""
    line = Text.assemble("  ", (sign, style), " ", name, (f" {seconds:>8}", "dim"), no_wrap=True, overflow="ellipsis")
    return line.append(f"  {remark}", style if style in {"red", "yellow"} else "dim")


def _failures(calls: Sequence[_ShownCall], place: str = "") -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    rows = Table.grid(padding=(0, 1))
    for call in calls:
        who = f"{place}, {call.name}" if place else call.name
        if call.status in NOT_WAITED_FOR:
            said = f"{one_line(who)}: {call.status}: {one_line(call.reason)}"
            rows.add_row(" ", Text(_DASH, "yellow"), Text(said, "yellow"))
        else:
            rows.add_row(" ", Text("✗", "red"), Text(f"{one_line(who)}: {one_line(call.reason)}", "red"))
    return rows
