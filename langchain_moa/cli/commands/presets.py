"""`presets`: the mixtures that come with the package, and what they need."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import typer

from langchain_moa.cli.choosing import MixtureOptions
from langchain_moa.cli.failing import EXIT_CODES, explained
from langchain_moa.cli.listing import print_list
from langchain_moa.cli.options import Debug

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.text import Text

app = typer.Typer()

_LOCAL = "local"


@app.command("presets", epilog=EXIT_CODES)
def list_presets(debug: Debug = False) -> None:
    """List the mixtures that come along, and what they need.

    [dim]$[/dim] langchain-moa ask --preset together-lite "Why is the sky blue?"
    """
    with explained(debug=debug):
        from langchain_moa.mixture.config import presets

        print_list(
            ("preset", "needs (✓ is there)", "what it is"), [(name, _needs(name), what) for name, what in presets().items()]
        )


def keys_of(preset: str) -> list[str]:
    """Return the environment variables that a preset's providers take their keys from.

    Args:
        preset: The preset's name.
    """
    providers = {model.partition(":")[0] for model in _models(preset)}
    # So every provider of a preset names its variable; making the models, to ask them, would take seconds.
    return sorted(f"{provider.upper()}_API_KEY" for provider in providers - {_LOCAL})


def _models(preset: str) -> list[str]:
    written = MixtureOptions(preset=preset).written()
    return list(_strings([written["proposers"], written["aggregator"]]))


def _strings(value: Any) -> Iterator[str]:
    """Yield the model strings of members, however these are written."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield value["model"]
    else:
        for item in value:
            yield from _strings(item)


def _needs(preset: str) -> Text:
    """Return what a preset needs, a line each, with a sign that says whether it is there."""
    from rich.text import Text

    needs = {key: bool(os.environ.get(key)) for key in keys_of(preset)} | _local_needs(preset)
    lines = [Text(f"{'✓' if there else '✗'} {what}", "green" if there else "yellow") for what, there in needs.items()]
    return Text("\n").join(lines)


def _local_needs(preset: str) -> dict[str, bool]:
    """Return the commands that the local models of a preset take, each with whether it has been given."""
    from langchain_moa.local import CATALOG, is_present

    names = {model.removeprefix(f"{_LOCAL}:") for model in _models(preset) if model.startswith(f"{_LOCAL}:")}
    if not names:
        return {}
    return {
        'pip install "langchain-moa[local]"': find_spec("xllamacpp") is not None,
        "langchain-moa models pull": all(is_present(CATALOG[name]) for name in names),
    }
