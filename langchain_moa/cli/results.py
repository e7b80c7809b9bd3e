"""The results of a run besides its answer: the table of calls, the references, the JSON document."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from langchain_moa.cli.console import elided, printable
from langchain_moa.cli.run_views import NOT_WAITED_FOR, RunResult, RunView
from langchain_moa.cli.spending import Spending
from langchain_moa.data.figures import counted, dollars
from langchain_moa.data.sanitizing import replaced

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import Console
    from rich.table import Table

    from langchain_moa.data.reference import Reference

# The width of the columns other than the names.
_COLUMNS = 42
_COST_COLUMN = 10
_NARROWEST_NAME = 16

_UNKNOWN = "?"


def calls_table(moa: Mapping[str, Any], *, seconds: float, width: int) -> Table:
    """Return the table of an answer's calls: seconds, tokens, and dollars if any price is known.

    Args:
        moa: The answer's `response_metadata["moa"]`.
        seconds: The duration of the whole run.
        width: The terminal's width in cells.
    """
    from rich.table import Table

    from langchain_moa.data.usage import total_usage

    calls = list(_calls(moa))
    priced = any("cost_usd" in call for _, call in calls)
    cells = max(width - _COLUMNS - (_COST_COLUMN if priced else 0), _NARROWEST_NAME)
    rows = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("", "model"):
        rows.add_column(title, no_wrap=True)
    for title in ("seconds", "in", "out", *(["cost"] if priced else [])):
        rows.add_column(title, justify="right", no_wrap=True)
    before = None
    for place, call in calls:
        rows.add_row(place if place != before else "", *_cells(call, cells, priced=priced))
        before = place
    spent = Spending.of(moa)
    usage = total_usage(moa)
    total = {"usage": usage, "seconds": seconds, "cost_usd": spent.cost_usd}
    rows.add_row("total", counted(moa["calls"], "call"), *_figures(total, priced=priced), style="bold")
    if (usage is not None and spent.uncounted) or (priced and spent.unpriced):
        rows.caption, rows.caption_justify = f"{_UNKNOWN} is not known; the total is at least this", "left"
    return rows


def result_document(result: RunResult) -> str:
    """Return a run as JSON.

    Args:
        result: The run.
    """
    return _json(answer=result.answer, references=result.references, usage=result.usage, moa=result.moa, error=None)


def failure_document(reason: str, references: Sequence[Reference]) -> str:
    """Return a failed run as JSON: the reason, and the references so far, which are paid for.

    Args:
        reason: The reason, with secrets redacted.
        references: The references so far.
    """
    return _json(answer=None, references=references, usage=None, moa=None, error=reason)


class ReferencesView(RunView):
    """Prints the references of each layer when the layer is complete."""

    def __init__(self, console: Console) -> None:
        """Create the view.

        Args:
            console: The console to print on.
        """
        self._console = console
        self._shown = 0

    def on_references(self, references: Sequence[Reference]) -> None:
        """Print the new references."""
        for reference in references[self._shown :]:
            print_reference(reference, self._console)
            self._console.line()
        self._shown = len(references)


def print_reference(reference: Reference, console: Console) -> None:
    """Print the answer of a proposer, or its error.

    Args:
        reference: The reference.
        console: The console to print on.
    """
    from rich.rule import Rule
    from rich.text import Text

    error = reference["error"]
    title = Text.assemble(
        (f"layer {reference['layer']}, {reference['proposer']}: ", "dim"),
        elided(reference["name"], cells=max(console.width - 36, _NARROWEST_NAME)),
        (f"  {reference['seconds']:.1f} s", "dim"),
    )
    console.print(Rule(title, align="left", style="dim"))
    if error is None:
        console.print(Text(printable(reference["text"]).strip()))
    else:
        status = reference["status"]
        kind = "" if error["kind"] == status else f"{error['kind']}: "
        console.print(Text(printable(f"{status}: {kind}{error['message']}"), _style(status)))


def _calls(moa: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each call with its place in the graph."""
    for number, layer in enumerate(moa["layers"], start=1):
        for call in layer:
            yield f"layer {number}", call
    for step in moa.get("steps", ()):
        yield step["node"], step
    if moa["aggregator"] is not None:
        yield "aggregator", moa["aggregator"]


def _cells(call: Mapping[str, Any], cells: int, *, priced: bool) -> list[Any]:
    from rich.text import Text

    name = elided(call["name"], cells=cells)
    seconds, *figures = _figures(call, priced=priced)
    if call["status"] == "ok":
        return [name, seconds, *figures]
    style = _style(call["status"])
    name.stylize(style)
    return [name, seconds, Text(call["status"], style)]


def _style(status: str) -> str:
    """Return the colour of a call without an answer: red if it failed, yellow if it was not waited for."""
    return "yellow" if status in NOT_WAITED_FOR else "red"


def _figures(call: Mapping[str, Any], *, priced: bool) -> list[str]:
    usage = call.get("usage") or {}
    tokens = [f"{usage[key]:,}" if key in usage else _UNKNOWN for key in ("input_tokens", "output_tokens")]
    return [f"{call['seconds']:.1f}", *tokens, *([_cost(call.get("cost_usd"))] if priced else [])]


def _cost(cost: float | None) -> str:
    return _UNKNOWN if cost is None else dollars(cost)


def _json(**fields: Any) -> str:
    # Control and invisible characters are escaped, which makes no difference to a JSON parser.
    text = json.dumps(fields, ensure_ascii=False, indent=2)
    return replaced(text, lambda character: json.dumps(character)[1:-1])
