"""`show`: print the mixture that the options describe as a configuration file."""

from __future__ import annotations

import typer

from langchain_moa.cli.arguments import Debug, with_arguments
from langchain_moa.cli.console import emit
from langchain_moa.cli.exit_codes import EXIT_CODES, explained
from langchain_moa.cli.mixture_arguments import MixtureArguments

app = typer.Typer()


@app.command(epilog=EXIT_CODES)
@with_arguments
def show(*, mixture: MixtureArguments, debug: Debug = False) -> None:
    """Show a mixture as YAML.

    Prints the mixture that the options define, after checking it. Use it as a
    start for a file of your own. No key is needed.

    [dim]$[/dim] langchain-moa show --preset together > moa.yaml
    """
    with explained(debug=debug):
        from langchain_moa.mixture.config import written

        mixture.mixture(asked=False)
        emit(written(mixture.written()), end="")
