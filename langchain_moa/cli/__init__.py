"""The command line, `langchain-moa`. It needs the extra `cli`.

Each command is a module in `commands`; the other modules are what the commands share. This module imports nothing of the
extra, so that the command can say what is missing.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

_EXTRA = 'pip install "langchain-moa[cli]"'
_PACKAGES = ("platformdirs", "prompt_toolkit", "rich", "typer")

_INTERRUPTED = 130


def main() -> None:
    """Run the command line; the entry point of `langchain-moa`."""
    try:
        if any(find_spec(package) is None for package in _PACKAGES):
            sys.exit(f"error: the command line needs more packages: {_EXTRA}")
        from langchain_moa.cli.app import app

        app(prog_name="langchain-moa")
    except KeyboardInterrupt:
        # Ctrl-C while the first packages are imported.
        sys.exit(_INTERRUPTED)


__all__ = ["main"]
