"""Where the command line writes: answers on standard output, everything about them on standard error."""

from __future__ import annotations

import sys
import warnings
from contextlib import contextmanager
from io import TextIOWrapper
from typing import TYPE_CHECKING, TextIO
from warnings import catch_warnings

from langchain_moa.data.sanitizing import left_out

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console
    from rich.text import Text

_LONGEST_LINE = 300


def printable(text: str) -> str:
    """Return a text without what would steer the reader's terminal, or hides from them: escape sequences above all."""
    return left_out(text)


def one_line(text: str) -> str:
    """Return a text as one line of bounded length, for a report: some servers answer an error with a whole page."""
    line = " ".join(printable(text).split())
    return line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE - 1]}…"


def counted(number: int, noun: str) -> str:
    """Return a number and its noun, `1 call` or `2 calls`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def is_terminal(stream: TextIO | None) -> bool:
    """Tell whether a person looks at a stream; unlike rich, not swayed by `FORCE_COLOR`, which speaks of colour only."""
    return stream is not None and not stream.closed and stream.isatty()


def console_on(stream: TextIO) -> Console:
    """Return a rich console that writes what it is given: no markup, no guesses at what is a number or a path."""
    from langchain_moa.cli.live import Console

    return Console(file=stream, markup=False, highlight=False, emoji=False)


def tolerate(stream: TextIO) -> None:
    """Have a stream write `?` for what its encoding lacks, half an emoji for example, where it would fail."""
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="replace")


@contextmanager
def warnings_in_words() -> Iterator[None]:
    """Say warnings as the command line says things; deprecations are for those who write code, and are left out."""

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

    words = Text.assemble((f"{kind}: ", style), printable(redact(text)))
    # In a log a line stays a line, for those who search it.
    console_on(sys.stderr).print(words, soft_wrap=not is_terminal(sys.stderr))


def elided(text: str, *, cells: int) -> Text:
    """Return a name with its middle left out where it is too wide: what tells model ids apart stands at their ends.

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
