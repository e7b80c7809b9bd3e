"""`draw`: the graph of a mixture, as text or as a picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from langchain_moa.cli.arguments import Debug, with_arguments
from langchain_moa.cli.console import emit
from langchain_moa.cli.exit_codes import EXIT_CODES, UsageError, explain, explained
from langchain_moa.cli.mixture_arguments import MixtureArguments

if TYPE_CHECKING:
    from langchain_moa.mixture.mixture import Mixture

app = typer.Typer()

Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="File to write; its suffix is the format: .svg, .png, or .mmd and .md for Mermaid.",
    ),
]
Title = Annotated[str | None, typer.Option("--title", metavar="TEXT", help="A heading above the drawing.")]

_MEMBERS = ("proposers", "aggregator", "aggregator_fallbacks")


@app.command(epilog=EXIT_CODES)
@with_arguments
def draw(*, output: Output = None, title: Title = None, mixture: MixtureArguments, debug: Debug = False) -> None:
    """Draw the graph of a mixture.

    Without a file it prints Mermaid, which GitHub and many editors show as a
    picture. No model is called, so no key is needed.

    [dim]$[/dim] langchain-moa draw --config moa.yaml -o moa.svg
    """
    with explained(debug=debug):
        # Clients of strategies' models are created, too; any string works as their key.
        from langchain_moa.engine.graph import build_graph

        graph = build_graph(mixture.build(drawable_mixture, {"api_key": "none"}))
        if output is None:
            from langchain_moa.drawing import draw_mermaid

            emit(draw_mermaid(graph, title=title), end="")
            return
        if not output.parent.is_dir():
            msg = f"--output {output}: there is no folder {output.parent}"
            raise UsageError(msg)
        from langchain_moa.drawing import save_drawing
        from langchain_moa.drawing.save import SUFFIXES

        if output.suffix.lower() not in SUFFIXES:
            msg = f"--output {output}: its name must end in {', '.join(SUFFIXES)}, which choose the format"
            raise UsageError(msg)
        try:
            written = save_drawing(graph, output, title=title)
        except (ValueError, ImportError) as error:
            raise UsageError(explain(error)) from error
        emit(str(written))


def drawable_mixture(**fields: Any) -> Mixture:
    """Create a mixture to draw, without the clients of its models, which take seconds to create.

    Its members have names but cannot be called. Models and keys are not checked.

    Args:
        **fields: The fields of a mixture, as in a file.

    Raises:
        ValueError: A field is invalid. The message names the field and the remedy.
    """
    from langchain_core.runnables import Runnable

    from langchain_moa.members.proposer import Proposer
    from langchain_moa.mixture.mixture import Mixture

    class NamedModel(Runnable[Any, Any]):
        """A placeholder with the name of a model, which cannot be called."""

        def __init__(self, name: str) -> None:
            self.name = name

        def invoke(self, *_: Any, **__: Any) -> NoReturn:
            msg = f"{self.name!r} was made for a drawing and cannot be called"
            raise NotImplementedError(msg)

    def named(written: Any) -> Any:
        if isinstance(written, (list, tuple)):
            return [named(item) for item in written]
        try:
            member = Proposer.coerce(written)
        except ValueError:
            return written  # the mixture's validation reports the error
        fallbacks = [named(each) for each in member.fallbacks]
        model: Any = NamedModel(member.model) if isinstance(member.model, str) else member.model
        return replace(member, model=model, base_url=None, settings={}, fallbacks=fallbacks)

    return Mixture(**{name: named(value) if name in _MEMBERS else value for name, value in fields.items()})
