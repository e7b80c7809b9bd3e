"""`report`: create a page from recorded runs."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from langchain_moa.cli.arguments import Debug
from langchain_moa.cli.console import emit
from langchain_moa.cli.exit_codes import EXIT_CODES, UsageError, explain, explained

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from langchain_moa.runs import MoARun

app = typer.Typer()


@app.command(epilog=EXIT_CODES)
def report(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Recorded runs: .jsonl for many, .json for one.")],
    *,
    which: Annotated[
        str | None,
        typer.Option(
            "--run", metavar="NUMBER", help="Make the page of this run of a .jsonl file: its number, from 1, or its id."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The page; an existing file is overwritten.  [dim]\\[default: the first file's name with .html][/dim]",
            show_default=False,
        ),
    ] = None,
    debug: Debug = False,
) -> None:
    """Make a page of recorded runs.

    A .json file becomes the page of that run; a .jsonl file, or several files,
    become a summary: times, costs, members, failures. The page is one file
    that loads nothing. No model is called, so no key is needed.

    [dim]$[/dim] langchain-moa ask --report runs.jsonl "Why is the sky blue?"
    [dim]$[/dim] langchain-moa report runs.jsonl -o summary.html
    [dim]$[/dim] langchain-moa report runs.jsonl --run 3
    """
    with explained(debug=debug):
        if missing := [file for file in files if not file.is_file()]:
            msg = f"there is no file {missing[0]}"
            raise UsageError(msg)
        page = output or _named(files[0], which)
        if page in files:
            msg = f"{page} is the input; give another name for the page with --output"
            raise UsageError(msg)
        if output is None and page.exists():
            msg = f"{page} already exists; to overwrite it, give --output {page}"
            raise UsageError(msg)
        _write(files, which, page)
        emit(str(page))


def _named(file: Path, which: str | None) -> Path:
    name = file.stem if which is None else f"{file.stem}-{which}"
    return file.with_name(f"{name}.html")


def _write(files: Sequence[Path], which: str | None, page: Path) -> None:
    from langchain_moa.runs import read_runs, summary_html

    runs = chain.from_iterable(map(read_runs, files))
    try:
        if which is not None:
            _found(runs, which).to_html(page)
        elif len(files) == 1 and files[0].suffix.lower() == ".json":
            next(runs).to_html(page)
        else:
            summary_html(runs, page)
    except ValueError as error:
        raise UsageError(explain(error)) from error


def _found(runs: Iterable[MoARun], which: str) -> MoARun:
    """Return a run by its number or id."""
    last = 0
    for last, run in enumerate(runs, start=1):
        if which in (str(last), run.id):
            return run
    msg = f"--run {which}: there is no such run; give a number from 1 to {last}, or an id"
    raise UsageError(msg)
