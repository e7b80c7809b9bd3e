"""Error handling of the commands: one message on standard error, and an exit code."""

from __future__ import annotations

import errno
import sys
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import typer

from langchain_moa.cli.console import complain, discard_unwritten, printable, tolerate, warnings_in_words

if TYPE_CHECKING:
    from collections.abc import Iterator

FAILED = 1
"""The mixture gave no answer, or the command failed for another reason."""

MISUSED = 2
"""Invalid usage or configuration; also typer's code for invalid options."""

INTERRUPTED = 130
"""Ctrl-C: 128 plus the signal number, as in shells."""

EXIT_CODES = (
    "[bold]Exit codes:[/bold] 0 it worked · 1 it failed: the mixture gave no answer, for example · "
    "2 wrong usage or configuration · 130 or 143 ended by Ctrl-C or SIGTERM"
)
"""The description of the exit codes at the end of help pages."""


class UsageError(Exception):
    """Invalid usage of a command. The message has the remedy."""


@contextmanager
def explained(*, debug: bool) -> Iterator[None]:
    """Run the body of a command, and turn exceptions into a message on standard error and an exit code.

    Args:
        debug: Whether to also show tracebacks, and Python's own warnings.

    Raises:
        typer.Exit: The body raised an exception.
    """
    tolerate(sys.stdout)
    try:
        with nullcontext() if debug else warnings_in_words():
            yield
    except typer.Exit:
        raise
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except Exception as error:
        # The reader of a pipe has exited; typer ends the program without a message.
        if isinstance(error, OSError) and error.errno == errno.EPIPE:
            raise
        tell(error, debug=debug)
        discard_unwritten()
        raise typer.Exit(MISUSED if isinstance(error, UsageError) else FAILED) from None


def tell(error: Exception, *, debug: bool) -> None:
    """Print an exception on standard error.

    Args:
        error: The exception.
        debug: Whether to also show its traceback.
    """
    if debug:
        _print_traceback(error)
    complain(_message(error))


def explain(error: Exception) -> str:
    """Return the message of an error with secrets redacted; a validation error of pydantic becomes one line per field."""
    from pydantic import ValidationError

    from langchain_moa.data.redaction import redact
    from langchain_moa.data.validation import explain as explain_fields

    if isinstance(error, ValidationError):
        return explain_fields(error)
    return redact(str(error)) or type(error).__name__


def _message(error: Exception) -> str:
    from langchain_moa.data.connections import too_many_files
    from langchain_moa.data.errors import MoAError
    from langchain_moa.local import PullError

    text = explain(error)
    if (remedy := too_many_files(error)) is not None:
        return f"{text}: {remedy}"
    if isinstance(error, (UsageError, MoAError, OSError, PullError)):
        return text
    if isinstance(error, ImportError) and "pip install" in text:
        return text
    return f"{type(error).__name__}: {text} (unexpected; --debug shows the traceback)"


def _print_traceback(error: Exception) -> None:
    from traceback import format_exception

    from langchain_moa.data.redaction import redact

    if sys.stderr is not None:
        sys.stderr.write(printable(redact("".join(format_exception(error)))))
