"""`report`: recorded runs as a page."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from langchain_moa.cli.failing import EXIT_CODES, UsageError, explain, explained
from langchain_moa.cli.options import Debug

if TYPE_CHECKING:
    from collections.abc import Sequence

app = typer.Typer()


@app.command(epilog=EXIT_CODES)
def report(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Recorded runs: .jsonl for many, .json for one.")],
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Page to write.  [dim]\\[default: the first file's name with .html][/dim]",
            show_default=False,
        ),
    ] = None,
    debug: Debug = False,
) -> None:
    """Make a page of recorded runs.

    One .json becomes the page of that run; .jsonl, or several files, become a
    summary: times, costs, whose answers were used, what failed. The page is
    one file that loads nothing. Nobody is asked, so no key is needed.

    [dim]$[/dim] langchain-moa ask --report runs.jsonl "Why is the sky blue?"
    [dim]$[/dim] langchain-moa report runs.jsonl -o summary.html
    """
    with explained(debug=debug):
        page = output or files[0].with_suffix(".html")
        if page in files:
            msg = f"{page} is what is to be read; name the page to write with --output"
            raise UsageError(msg)
        _write(files, page)
        typer.echo(page)


def _write(files: Sequence[Path], page: Path) -> None:
    from langchain_moa.runs import read_runs, summary_html

    try:
        if len(files) == 1 and files[0].suffix.lower() == ".json":
            next(read_runs(files[0])).to_html(page)
        else:
            summary_html(chain.from_iterable(map(read_runs, files)), page)
    except ValueError as error:
        raise UsageError(explain(error)) from error
