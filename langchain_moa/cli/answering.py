"""The final answer, on standard output as it comes."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Self, TextIO

from langchain_moa.cli.console import console_on, is_terminal, printable
from langchain_moa.cli.running import Watcher

if TYPE_CHECKING:
    from langchain_moa.cli.markdown import StreamedMarkdown


class Answer(Watcher):
    """Writes the answer: to a terminal as it reads best, to anything else exactly as the model wrote it.

    Use it as a context manager: the last line is always ended, however the run ends.
    """

    def __init__(self, stream: TextIO, *, plain: bool) -> None:
        """Make the writer.

        Args:
            stream: Standard output.
            plain: Whether a terminal, too, gets the text as it is, and not its Markdown rendered.
        """
        self._stream = stream
        self._is_terminal = is_terminal(stream)
        self._rendered: StreamedMarkdown | None = None
        self._plain = plain
        self._closing = ExitStack()
        self._last = ""

    def __enter__(self) -> Self:
        if self._is_terminal and not self._plain:
            from langchain_moa.cli.markdown import StreamedMarkdown

            console = console_on(self._stream)
            if not console.is_dumb_terminal:
                self._rendered = self._closing.enter_context(StreamedMarkdown(console))
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()
        if self._last and not self._last.endswith("\n") and self._rendered is None:
            self._stream.write("\n")
            self._stream.flush()

    def on_text(self, text: str) -> None:
        """Write a piece of the answer."""
        if not text:
            return
        self._last = text
        if self._rendered is not None:
            self._rendered.write(text)
            return
        self._stream.write(printable(text) if self._is_terminal else text)
        self._stream.flush()
