"""`presets`: list the mixtures of the package, and the keys and packages that are missing to use them."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import typer

from langchain_moa.cli.arguments import Debug
from langchain_moa.cli.console import print_list
from langchain_moa.cli.exit_codes import EXIT_CODES, explained
from langchain_moa.cli.mixture_arguments import MixtureArguments

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.text import Text

app = typer.Typer()

_LOCAL = "local"


@app.command("presets", epilog=EXIT_CODES)
def list_presets(debug: Debug = False) -> None:
    """List the mixtures of the package, and what is missing to use each of them.

    [dim]$[/dim] langchain-moa ask --preset together-lite "Why is the sky blue?"
    """
    with explained(debug=debug):
        from langchain_moa.mixture.config import presets

        print_list(("preset", "missing", "what it is"), [(name, _missing(name), what) for name, what in presets().items()])


def keys_of(preset: str) -> list[str]:
    """Return the environment variables with the keys of a preset's providers.

    Args:
        preset: The preset's name.
    """
    providers = {model.partition(":")[0] for model in _models(preset)}
    # All providers of presets follow this naming; creating the models to get the names would take seconds.
    return sorted(f"{provider.upper()}_API_KEY" for provider in providers - {_LOCAL})


def _models(preset: str) -> list[str]:
    written = MixtureArguments(preset=preset).written()
    return list(_strings([written["proposers"], written["aggregator"]]))


def _strings(value: Any) -> Iterator[str]:
    """Yield the model strings of members, in all notations."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield value["model"]
    else:
        for item in value:
            yield from _strings(item)


def _missing(preset: str) -> Text:
    """Return the keys and commands that a preset still needs, one per line."""
    from rich.text import Text

    missing = [key for key in keys_of(preset) if not os.environ.get(key)] + _missing_commands(preset)
    return Text("\n".join(missing), "yellow") if missing else Text("nothing", "green")


def _missing_commands(preset: str) -> list[str]:
    """Return the commands that install the missing local models of a preset."""
    from langchain_moa.local import CATALOG, is_present

    names = dict.fromkeys(model.removeprefix(f"{_LOCAL}:") for model in _models(preset) if model.startswith(f"{_LOCAL}:"))
    absent = [name for name in names if not is_present(CATALOG[name])]
    return [
        *(['pip install "langchain-moa[local]"'] if names and find_spec("xllamacpp") is None else []),
        *([f"langchain-moa models pull {' '.join(absent)}"] if absent else []),
    ]
