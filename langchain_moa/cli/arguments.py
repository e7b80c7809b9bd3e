"""Options that several commands share, and a decorator for groups of options."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, fields, is_dataclass
from functools import update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

MIXTURE = "Mixture"
CALLS = "Calls"
OUTPUT = "Output"


def _preset_names() -> list[str]:
    from langchain_moa.mixture.config import presets

    return list(presets())


_DEFAULT = "  [dim]\\[default: ./moa.yaml if there, else the preset local][/dim]"

Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", metavar="FILE", help=f"YAML file with the mixture.{_DEFAULT}", rich_help_panel=MIXTURE),
]

Preset = Annotated[
    str | None,
    typer.Option(
        "--preset",
        metavar="NAME",
        help="A mixture of the package; 'langchain-moa presets' lists them.",
        autocompletion=_preset_names,
        rich_help_panel=MIXTURE,
    ),
]

Configs = Annotated[
    list[Path] | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help=f"YAML file with a mixture, or with several under 'mixtures'; repeat it for each file.{_DEFAULT}",
        rich_help_panel=MIXTURE,
    ),
]

Presets = Annotated[
    list[str] | None,
    typer.Option(
        "--preset",
        metavar="NAME",
        help="A mixture of the package; repeat it for several. 'langchain-moa presets' lists them.",
        autocompletion=_preset_names,
        rich_help_panel=MIXTURE,
    ),
]

Proposers = Annotated[
    list[str] | None,
    typer.Option(
        "--proposer",
        "-p",
        metavar="MODEL",
        help="A proposer, 'provider:model'; repeat it for each. They replace those of the file or preset.",
        rich_help_panel=MIXTURE,
    ),
]

Aggregator = Annotated[
    str | None,
    typer.Option(
        "--aggregator",
        "-a",
        metavar="MODEL",
        help="The model that writes the answer, 'provider:model'; replaces that of the file or preset.",
        rich_help_panel=MIXTURE,
    ),
]

Layers = Annotated[
    int | None,
    typer.Option("--layers", "-l", metavar="N", help="Layers of proposers; the aggregator is extra.", rich_help_panel=MIXTURE),
]

Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="Set any field of the mixture, as in a file: --set min_references=2.",
        rich_help_panel=MIXTURE,
    ),
]

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors to standard error.")]

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]

Plain = Annotated[
    bool,
    typer.Option("--plain", help="Do not render the answer's Markdown on a terminal.", rich_help_panel=OUTPUT),
]


def with_arguments(command: Callable[..., None]) -> Callable[..., None]:
    """Expand dataclass parameters of a command into options.

    Each field of a parameter whose type is a dataclass becomes an option; the command receives an instance of the dataclass.
    Put the decorator below `@app.command()`.

    Args:
        command: The function. The defaults of its parameters and of the dataclass fields become those of the options.

    Example:
        ```python
        import typer

        from langchain_moa.cli.arguments import with_arguments
        from langchain_moa.cli.mixture_arguments import MixtureArguments

        app = typer.Typer()


        @app.command()
        @with_arguments
        def show(*, mixture: MixtureArguments, debug: bool = False) -> None:
            print(mixture.written())
        ```
    """
    hints = get_type_hints(command, include_extras=True)
    groups = {name: hint for name, hint in hints.items() if isinstance(hint, type) and is_dataclass(hint)}
    parameters = []
    for parameter in inspect.signature(command).parameters.values():
        group = groups.get(parameter.name)
        if group is None:
            parameters.append(parameter.replace(annotation=hints[parameter.name], kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        own = get_type_hints(group, include_extras=True)
        parameters += [
            inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=own[field.name])
            for field in fields(group)
        ]

    def expanded(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{field.name: given.pop(field.name) for field in fields(group)})
        command(**given)

    update_wrapper(expanded, command, updated=())
    expanded.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    # `inspect.signature`, which typer uses, reads this attribute (PEP 362).
    vars(expanded)["__signature__"] = inspect.Signature(parameters)
    return expanded


@dataclass(frozen=True, kw_only=True)
class CallArguments:
    """Options of the commands that ask a question.

    Attributes:
        system: The system message.
        temperature: The temperature.
        max_tokens: The limit of output tokens.
        timeout: The time limit of each call, in seconds.
    """

    system: Annotated[
        str | None, typer.Option("--system", "-s", metavar="TEXT", help="System message.", rich_help_panel=CALLS)
    ] = None
    temperature: Annotated[
        float | None,
        typer.Option("--temperature", "-t", metavar="T", help="Sampling temperature of every call.", rich_help_panel=CALLS),
    ] = None
    max_tokens: Annotated[
        int | None,
        typer.Option("--max-tokens", metavar="N", help="Maximum length of every answer, in tokens.", rich_help_panel=CALLS),
    ] = None
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", metavar="SECONDS", help="Time limit of each call.", rich_help_panel=CALLS),
    ] = None

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of the mixture that these options set; `None` for options that were not given."""
        return {"temperature": self.temperature, "max_tokens": self.max_tokens, "timeout": self.timeout}
