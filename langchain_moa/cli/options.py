"""The options that several commands share, so that each means the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_MIXTURE = "Mixture"
_CALLS = "Calls"
OUTPUT = "Output"


def _preset_names() -> list[str]:
    from langchain_moa.mixture.config import presets

    return list(presets())


Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="Mixture from a YAML file.  [dim]\\[default: ./moa.yaml if there, else the preset local][/dim]",
        rich_help_panel=_MIXTURE,
    ),
]

Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="NAME",
        help="Mixture that comes along; 'langchain-moa presets' lists them.",
        autocompletion=_preset_names,
        rich_help_panel=_MIXTURE,
    ),
]

Configs = Annotated[
    list[Path] | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="Mixture from a YAML file, or several under 'mixtures'; give it once for each file.  "
        "[dim]\\[default: ./moa.yaml if there, else the preset local][/dim]",
        rich_help_panel=_MIXTURE,
    ),
]

Presets = Annotated[
    list[str] | None,
    typer.Option(
        "--preset",
        metavar="NAME",
        help="Mixture that comes along; give it once for each. 'langchain-moa presets' lists them.",
        autocompletion=_preset_names,
        rich_help_panel=_MIXTURE,
    ),
]

Proposers = Annotated[
    list[str] | None,
    typer.Option(
        "--proposer",
        "-p",
        metavar="MODEL",
        help="A proposer, 'provider:model'; give it once for each. They replace those of the file or preset.",
        rich_help_panel=_MIXTURE,
    ),
]

Aggregator = Annotated[
    str | None,
    typer.Option(
        "--aggregator",
        "-a",
        metavar="MODEL",
        help="Who writes the answer, 'provider:model'; replaces that of the file or preset.",
        rich_help_panel=_MIXTURE,
    ),
]

Layers = Annotated[
    int | None,
    typer.Option(
        "--layers",
        "-l",
        metavar="N",
        help="Layers of proposers; the aggregator is extra.",
        rich_help_panel=_MIXTURE,
    ),
]

Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="Any other field of the mixture, as a file would have it: --set min_references=2.",
        rich_help_panel=_MIXTURE,
    ),
]

System = Annotated[str | None, typer.Option("--system", "-s", metavar="TEXT", help="System message.", rich_help_panel=_CALLS)]

Temperature = Annotated[
    float | None, typer.Option("--temperature", "-t", metavar="T", help="Of every call.", rich_help_panel=_CALLS)
]

MaxTokens = Annotated[
    int | None, typer.Option("--max-tokens", metavar="N", help="Longest answer of every call.", rich_help_panel=_CALLS)
]

Timeout = Annotated[
    float | None,
    typer.Option("--timeout", metavar="SECONDS", help="How long to wait for each call.", rich_help_panel=_CALLS),
]

Plain = Annotated[
    bool,
    typer.Option("--plain", help="Leave the answer's Markdown as it is on a terminal, too.", rich_help_panel=OUTPUT),
]

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on standard error but errors.")]

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
