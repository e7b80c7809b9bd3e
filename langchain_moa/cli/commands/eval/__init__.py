"""`eval`: evaluate mixtures. Each module of this package is a command."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

import typer

from langchain_moa.cli.exit_codes import EXIT_CODES

app = typer.Typer(
    name="eval",
    help="Measure whether a mixture is worth its cost.",
    no_args_is_help=True,
    epilog=EXIT_CODES,
)

for _module in iter_modules(__path__):
    app.add_typer(import_module(f"{__name__}.{_module.name}").app)

__all__ = ["app"]
