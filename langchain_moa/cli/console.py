"""Output of the command line: results on standard output, everything else on standard error.

Text from models, servers and files is untrusted. `printable` sanitizes it for a terminal; consoles from `console_on` and all
functions of this module apply it.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from contextlib import contextmanager
from io import StringIO, TextIOWrapper
from typing import TYPE_CHECKING, TextIO
from warnings import catch_warnings

from langchain_moa.data.sanitizing import left_out

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console
    from rich.text import Text

_LONGEST_LINE = 300

_FURTHER = "  "


def printable(text: str) -> str:
    """Return a text without escape sequences, control characters, bidi controls and invisible characters."""
    return left_out(text)


def one_line(text: str) -> str:
    """Return a text as one line of bounded length: some servers return a whole page as an error message."""
    line = " ".join(printable(text).split())
    return line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE - 1]}…"


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal. Unlike rich, ignore `FORCE_COLOR`, which is only about colour."""
    return stream is not None and not stream.closed and stream.isatty()


def console_on(stream: TextIO | None) -> Console:
    """Return a rich console without markup or highlighting that sanitizes all text.

    Args:
        stream: The stream to write to. `None`, Python's value for a closed standard stream, discards the output.
    """
    from langchain_moa.cli.live_view import SafeConsole

    return SafeConsole(file=StringIO() if stream is None else stream, markup=False, highlight=False, emoji=False)


def emit(text: str, *, end: str = "\n") -> None:
    """Write a result to standard output: sanitized if that is a terminal, otherwise unchanged.

    Args:
        text: The result.
        end: A suffix to write after it.

    Raises:
        OSError: Standard output cannot be written.
    """
    if sys.stdout is None:
        raise OSError(_CLOSED)
    try:
        sys.stdout.write((printable(text) if is_terminal(sys.stdout) else text) + end)
        sys.stdout.flush()
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), "standard output") from error


def say(text: str) -> None:
    """Write sentences to standard output, wrapped between words if that is a terminal, else on one line.

    Args:
        text: The sentences; line breaks stay.
    """
    if not is_terminal(sys.stdout):
        emit(text)
        return
    console_on(sys.stdout).print(text)


_CLOSED = "standard output is closed; redirect it to a file, or to /dev/null"


def require_output() -> None:
    """Check that standard output is open, before any call is made.

    Raises:
        OSError: Standard output is closed.
    """
    if sys.stdout is None or sys.stdout.closed:
        raise OSError(_CLOSED)


def discard_unwritten() -> None:
    """Discard output that standard output does not take, which Python would try to write again when the program ends."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def hide_log() -> None:
    """Keep Python from printing warnings of the package's log, for commands that report them in another way."""
    logging.getLogger("langchain_moa").addHandler(_NO_LOG)


_NO_LOG = logging.NullHandler()


def tolerate(stream: TextIO | None) -> None:
    """Make a stream write `?` for characters that its encoding does not have, instead of raising an error."""
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="replace")


@contextmanager
def warnings_in_words() -> Iterator[None]:
    """Print Python warnings as notes of the command line, except deprecation warnings."""

    def say(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        if not issubclass(category, (DeprecationWarning, PendingDeprecationWarning)):
            warn(one_line(str(message)))

    with catch_warnings():
        warnings.showwarning = say
        yield


def note(text: str) -> None:
    """Print information about the run on standard error."""
    _say("note", "dim", text)


def warn(text: str) -> None:
    """Print a warning on standard error."""
    _say("warning", "yellow", text)


def complain(text: str) -> None:
    """Print an error on standard error."""
    _say("error", "bold red", text)


def _say(kind: str, style: str, text: str) -> None:
    from rich.text import Text

    from langchain_moa.data.redaction import redact

    said = printable(redact(text)).splitlines()
    console = console_on(sys.stderr)
    on_terminal = is_terminal(sys.stderr)
    lines = list(Text.assemble((f"{kind}: ", style), "\n".join(said)).split(allow_blank=True))
    if on_terminal:
        lines = [part for line in lines for part in line.wrap(console, max(console.width - len(_FURTHER), 1))]
    # Further and wrapped lines are indented, so that untrusted text cannot imitate a message of this program.
    console.print(Text(f"\n{_FURTHER}").join(lines), soft_wrap=True)


def elided(text: str, *, cells: int) -> Text:
    """Shorten a name in the middle to fit into a width: model ids differ at their ends.

    Args:
        text: The name.
        cells: The maximum width in terminal cells.
    """
    from rich.cells import cell_len, set_cell_size
    from rich.text import Text

    text = one_line(text)
    if cell_len(text) <= cells:
        return Text(text)
    tail = text
    while cell_len(tail) > cells // 2:
        tail = tail[1:]
    head = set_cell_size(text, max(cells - cell_len(tail) - 1, 0)).rstrip()
    return Text(f"{head}…{tail}")


def print_list(titles: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> None:
    """Print a list on standard output: as a table on a terminal, otherwise as tab-separated lines.

    Args:
        titles: The headings of the columns, shown only on a terminal.
        rows: The cells of each row.
    """
    if not is_terminal(sys.stdout):
        for row in rows:
            emit("\t".join(one_line(str(cell)) for cell in row))
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for title in titles:
        table.add_column(title)
    for row in rows:
        table.add_row(*row)
    console_on(sys.stdout).print(table)
