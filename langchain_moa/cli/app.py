"""The typer application: all commands, and the options of `langchain-moa` itself."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import Annotated

import typer

from langchain_moa.cli import commands
from langchain_moa.cli.exit_codes import EXIT_CODES

app = typer.Typer(
    name="langchain-moa",
    help="Mixture-of-Agents: several language models answer, and one writes the final answer from theirs.",
    epilog=EXIT_CODES,
    rich_markup_mode="rich",
    no_args_is_help=True,
    # `exit_codes.explained` reports errors; a traceback with local variables could show a key.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"langchain-moa {version('langchain-moa')}")
        except PackageNotFoundError:
            typer.echo("langchain-moa, run from its sources and not installed")
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[
        bool, typer.Option("--version", "-V", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


for _module in iter_modules(commands.__path__):
    # Commands of an app without a name are added at the top level; an app with a name is a command with subcommands.
    app.add_typer(import_module(f"{commands.__name__}.{_module.name}").app)

__all__ = ["app"]
