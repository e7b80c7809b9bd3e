"""The command line, `langchain-moa`. It needs the extra `cli`.

Each command is a module in `commands`; the other modules are shared by the commands. This module imports no package of the
extra, so that it can report a missing one.
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
        # Ctrl-C during the first imports.
        sys.exit(_INTERRUPTED)
    except OSError as error:
        # The help or the version could not be written; commands report their errors themselves.
        sys.exit(f"error: {error}")


__all__ = ["main"]
