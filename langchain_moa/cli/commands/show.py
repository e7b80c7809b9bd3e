"""`show`: the mixture that the options describe, as a configuration file."""

from __future__ import annotations

import typer

from langchain_moa.cli.choosing import MixtureOptions
from langchain_moa.cli.failing import EXIT_CODES, explained
from langchain_moa.cli.options import Aggregator, Config, Debug, Layers, Preset, Proposers, Settings

app = typer.Typer()


@app.command(epilog=EXIT_CODES)
def show(
    *,
    config: Config = None,
    preset: Preset = None,
    proposers: Proposers = None,
    aggregator: Aggregator = None,
    layers: Layers = None,
    settings: Settings = None,
    debug: Debug = False,
) -> None:
    """Show a mixture as YAML.

    It is what the options come to, checked, and a start for a file of your
    own. No key is needed.

    [dim]$[/dim] langchain-moa show --preset together > moa.yaml
    """
    with explained(debug=debug):
        from langchain_moa.mixture.config import written

        options = MixtureOptions(
            config=config, preset=preset, proposers=proposers, aggregator=aggregator, layers=layers, settings=settings
        )
        options.mixture(asked=False)
        typer.echo(written(options.written()), nl=False)
