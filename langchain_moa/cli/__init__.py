"""The command line, `langchain-moa`. It needs the extra `cli`.

Each command is a module in `commands`; the other modules are what the commands share. This module imports nothing of the
extra, so that the command can say what is missing.
"""

from __future__ import annotations

import sys

_EXTRA = 'pip install "langchain-moa[cli]"'
_PACKAGES = {"typer", "rich", "prompt_toolkit", "platformdirs"}

_FAILED = 1
_INTERRUPTED = 130


def main() -> None:
    """Run the command line; the entry point of `langchain-moa`."""
    try:
        try:
            from langchain_moa.cli.app import app
        except ModuleNotFoundError as error:
            if error.name not in _PACKAGES:
                raise
            if sys.stderr is not None:
                sys.stderr.write(f"error: the command line needs more packages: {_EXTRA}\n")
            sys.exit(_FAILED)
        app(prog_name="langchain-moa")
    except KeyboardInterrupt:
        # Ctrl-C while the first packages are imported.
        sys.exit(_INTERRUPTED)


__all__ = ["main"]
