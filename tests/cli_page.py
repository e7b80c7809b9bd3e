"""Generate the documentation page on the command line from the commands' help: `python -m tests.cli_page`."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer.main
from rich.text import Text

from langchain_moa.cli.app import app

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"

INTRODUCTION = """\
# Command line

```sh
pip install "langchain-moa[cli]"
```

This page lists every command and its options, as `langchain-moa COMMAND --help` does. `python -m langchain_moa` runs the same
program.

Commands that work on a mixture choose it in this order:

1. `--config FILE` or `--preset NAME`.
2. `--proposer` and `--aggregator`, if both are given.
3. `moa.yaml` in the current folder.
4. `--proposer` alone, with an `aggregation` that needs no aggregator.
5. The preset `local`.

`--proposer`, `--aggregator`, `--layers` and `--set` override fields of the file or preset: `--set deadline=30`. See
[Options](options.md) for all fields and [YAML file](config-file.md) for files.

| Exit code | Meaning |
|---|---|
| 0 | success |
| 1 | failure: for example, the mixture gave no answer |
| 2 | wrong usage or configuration |
| 130, 143 | ended by Ctrl-C or SIGTERM |

| Environment variable | Meaning |
|---|---|
| `OPENAI_API_KEY`, ... | keys and addresses of [providers](keys.md#providers-packages) and [local servers](local-servers.md) |
| `LANGCHAIN_MOA_CACHE` | folder of the downloaded local models |
| `LANGCHAIN_MOA_API_KEY` | keys that clients of [`serve`](#serve) must send, separated by commas |
| `LANGCHAIN_MOA_CONFIG`, `LANGCHAIN_MOA_PRESET` | the mixture of [Studio](studio.md#choose-the-mixture) |
| `LANGCHAIN_MOA_MODELS` | models that callers of Studio may name |
| `NO_COLOR` | no colours |
"""


def cli_page() -> str:
    """Return the text of the page."""
    return "\n".join([INTRODUCTION, *_commands(typer.main.get_command(app), "langchain-moa")])


def _commands(command: Any, name: str) -> Iterator[str]:
    subcommands = getattr(command, "commands", {})
    for each in sorted(subcommands):
        if getattr(subcommands[each], "commands", None):
            yield from _commands(subcommands[each], f"{name} {each}")
        else:
            yield _command(subcommands[each], f"{name} {each}")


def _command(command: Any, name: str) -> str:
    lines = [f"## {name.partition(' ')[2]}", "", *_help(inspect.cleandoc(command.help or ""))]
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    usage = " ".join([name, "[OPTIONS]", *(_argument(each) for each in arguments)])
    lines += ["```text", usage, "```", ""]
    rows = [f"| `{_argument(each)}` | {_cell(each)} |" for each in arguments]
    rows += [f"| {_option(each)} | {_cell(each)} |" for each in command.params if each.param_type_name == "option"]
    return "\n".join([*lines, "| Argument or option | Meaning |", "|---|---|", *rows, ""])


def _help(text: str) -> Iterator[str]:
    """Yield the help of a command: its paragraphs, and its examples as a shell block."""
    for paragraph in re.split(r"\n\s*\n", _plain(text)):
        if not paragraph.lstrip().startswith("$ "):
            yield from (paragraph, "")
            continue
        yield from ("```sh", re.sub(r"^\$ ", "", paragraph, flags=re.MULTILINE), "```", "")


def _argument(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    name = f"{name}..." if argument.nargs == -1 else name
    return name if argument.required else f"[{name}]"


def _option(option: Any) -> str:
    names = ", ".join(f"`{each}`" for each in [*option.opts, *option.secondary_opts])
    value = (option.metavar or option.name.upper()).replace("|", r"\|")
    return names if option.is_flag else f"{names} `{value}`"


def _cell(param: Any) -> str:
    text = _plain(param.help or "").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ").strip()
    text = re.sub(r"\s*\[default: (.*?)\]", r" Default: \1.", text)
    if param.required:
        text += " Required."
    elif "Default: " not in text and param.default not in (None, False, (), []) and not callable(param.default):
        text += f" Default: {param.default:g}." if isinstance(param.default, float) else f" Default: {param.default}."
    if getattr(param, "multiple", False) and "once for each" not in text and "several" not in text:
        text += " Can be repeated."
    return re.sub(r"\s+", " ", text)


def _plain(text: str) -> str:
    return Text.from_markup(text).plain


if __name__ == "__main__":
    PAGE.write_text(cli_page(), encoding="utf-8")
