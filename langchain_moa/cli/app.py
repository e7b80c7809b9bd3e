"""The typer application: all commands, and the options of `langchain-moa` itself."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typing_extensions import override

from langchain_moa.cli import commands
from langchain_moa.cli.exit_codes import EXIT_CODES


class _Commands(TyperGroup):
    @override
    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command = super().get_command(ctx, cmd_name)
        if command is None and " " in cmd_name:
            msg = f"{cmd_name!r} is not a command; to ask a question, write: langchain-moa ask {cmd_name!r}"
            raise typer.BadParameter(msg)
        return command


app = typer.Typer(
    name="langchain-moa",
    cls=_Commands,
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
