"""Where the command line writes: answers on standard output, everything about them on standard error.

Texts of models, servers and files are untrusted. `printable` is what they pass on their way to a terminal; consoles of
`console_on`, and every function here, apply it.
"""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import contextmanager
from io import StringIO, TextIOWrapper
from pathlib import Path
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
    """Return a text without what would steer a terminal or hide from its reader: escape sequences, bidi and other controls."""
    return left_out(text)


def one_line(text: str) -> str:
    """Return a text as one line of bounded length, for a report: some servers answer an error with a whole page."""
    line = " ".join(printable(text).split())
    return line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE - 1]}…"


def counted(number: int, noun: str) -> str:
    """Return a number and its noun, `1 call` or `2 calls`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def is_terminal(stream: TextIO | None) -> bool:
    """Tell whether a stream is a terminal. Unlike rich, this ignores `FORCE_COLOR`, which is about colour only."""
    return stream is not None and not stream.closed and stream.isatty()


def console_on(stream: TextIO | None) -> Console:
    """Return a rich console that prints texts as they are, without markup or highlighting, and safe for a terminal.

    Args:
        stream: Where it writes; `None`, which Python has for a closed standard stream, writes nowhere.
    """
    from langchain_moa.cli.live_view import SafeConsole

    return SafeConsole(file=StringIO() if stream is None else stream, markup=False, highlight=False, emoji=False)


def emit(text: str, *, end: str = "\n") -> None:
    """Write a result to standard output: exactly as it is, or printable if that is a terminal.

    Args:
        text: The result.
        end: What is written after it.

    Raises:
        OSError: It cannot be written.
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


_CLOSED = "standard output is closed; redirect it to a file, or to /dev/null"


def require_output() -> None:
    """Check that there is a standard output, before anything is asked and paid for.

    Raises:
        OSError: It is closed.
    """
    if sys.stdout is None or sys.stdout.closed:
        raise OSError(_CLOSED)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read: under another name first, then renamed, so that it is never incomplete.

    Args:
        path: The file; one that is there is replaced.
        text: What it will hold.

    Raises:
        OSError: It cannot be written; a file that was there is unchanged.
    """
    import tempfile

    # The files of `tempfile` are the owner's alone.
    descriptor, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
        Path(aside).replace(path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def tolerate(stream: TextIO | None) -> None:
    """Have a stream write `?` for characters that its encoding lacks, instead of failing."""
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="replace")


@contextmanager
def warnings_in_words() -> Iterator[None]:
    """Print Python's warnings as notes of the command line, without deprecations, which concern programmers only."""

    def say(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        if not issubclass(category, (DeprecationWarning, PendingDeprecationWarning)):
            warn(one_line(str(message)))

    with catch_warnings():
        warnings.showwarning = say
        yield


def note(text: str) -> None:
    """Say something about the run on standard error."""
    _say("note", "dim", text)


def warn(text: str) -> None:
    """Say on standard error what went wrong and did not end the run."""
    _say("warning", "yellow", text)


def complain(text: str) -> None:
    """Say on standard error what ended the run."""
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
    # Further lines are indented, also where the terminal is too narrow, so that a text cannot look like a line of this program.
    console.print(Text(f"\n{_FURTHER}").join(lines), soft_wrap=True)


def elided(text: str, *, cells: int) -> Text:
    """Return a name that fits, its middle left out if necessary: model ids differ at their ends.

    Args:
        text: The name.
        cells: How many cells of the terminal it may take.
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
    """Print a list on standard output: a table on a terminal, else lines with tabs between the cells.

    Args:
        titles: The columns' headings; only a terminal shows them.
        rows: The cells of each row, in the order of the columns.
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
