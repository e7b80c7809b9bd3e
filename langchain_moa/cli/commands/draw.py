"""`draw`: the graph of a mixture, as text or as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from langchain_moa.cli.choosing import MixtureOptions
from langchain_moa.cli.failing import EXIT_CODES, UsageError, explain, explained
from langchain_moa.cli.options import Aggregator, Config, Debug, Layers, Preset, Proposers, Settings
from langchain_moa.engine.graph import build_graph

app = typer.Typer()

Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="File to write; its name says the format: .svg, .png, or .mmd and .md for Mermaid.",
    ),
]
Title = Annotated[str | None, typer.Option("--title", metavar="TEXT", help="A heading above the drawing.")]


@app.command(epilog=EXIT_CODES)
def draw(
    *,
    output: Output = None,
    title: Title = None,
    config: Config = None,
    preset: Preset = None,
    proposers: Proposers = None,
    aggregator: Aggregator = None,
    layers: Layers = None,
    settings: Settings = None,
    debug: Debug = False,
) -> None:
    """Draw the graph of a mixture.

    Without a file it prints Mermaid, which GitHub and many editors show as a
    picture. Nobody is asked: no key is needed, and no model has to be there.

    [dim]$[/dim] langchain-moa draw --config moa.yaml -o moa.svg
    """
    with explained(debug=debug):
        options = MixtureOptions(
            config=config, preset=preset, proposers=proposers, aggregator=aggregator, layers=layers, settings=settings
        )
        graph = build_graph(options.sketch())
        if output is None:
            from langchain_moa.drawing import draw_mermaid

            typer.echo(draw_mermaid(graph, title=title), nl=False)
            return
        if not output.parent.is_dir():
            msg = f"--output {output}: there is no folder {output.parent}"
            raise UsageError(msg)
        from langchain_moa.drawing import save_drawing

        try:
            written = save_drawing(graph, output, title=title)
        except (ValueError, ImportError) as error:
            raise UsageError(explain(error)) from error
        typer.echo(written)
