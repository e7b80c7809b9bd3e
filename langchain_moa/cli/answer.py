"""The streamed final answer on standard output: rendered Markdown on a terminal, otherwise plain text."""

from __future__ import annotations

import errno
from contextlib import ExitStack
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Self, TextIO

from langchain_moa.cli.console import console_on, is_terminal, printable
from langchain_moa.cli.run_views import RunView

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.markdown import Markdown

# Longer blocks, and those with more brackets, are not rendered as Markdown: parsing some of them takes minutes.
_LONGEST_BLOCK = 20_000
_MOST_BRACKETS = 500


class AnswerView(RunView):
    """Writes the answer: rendered to a terminal, and unchanged to a file or pipe.

    Use it as a context manager: it ends the last line, even if the run fails.
    """

    def __init__(self, stream: TextIO, *, plain: bool) -> None:
        """Create the view.

        Args:
            stream: Standard output.
            plain: Whether to show the text on a terminal without rendering its Markdown.
        """
        self._stream = stream
        self._is_terminal = is_terminal(stream)
        self._rendered: StreamedMarkdown | None = None
        self._plain = plain
        self._closing = ExitStack()
        self._last = ""
        self.error: OSError | None = None
        """The error if the answer could not be written, for example because of a full disk, or `None`."""

    def __enter__(self) -> Self:
        if self._is_terminal and not self._plain:
            console = console_on(self._stream)
            if not console.is_dumb_terminal:
                self._rendered = self._closing.enter_context(StreamedMarkdown(console))
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()
        if self._last and not self._last.endswith("\n") and self._rendered is None:
            self._write("\n")

    def on_text(self, text: str) -> None:
        """Write a chunk of the answer."""
        if not text:
            return
        self._last = text
        if self._rendered is not None:
            self._rendered.write(text)
        else:
            self._write(printable(text) if self._is_terminal else text)

    def on_tick(self) -> None:
        """Draw the text that arrived since the last tick."""
        if self._rendered is not None:
            self._rendered.refresh()

    def _write(self, text: str) -> None:
        if self.error is not None:
            return
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError as error:
            # The reader of the pipe has exited. After any other error the run continues, because its answer is paid for.
            if error.errno == errno.EPIPE:
                raise
            self.error = error


class StreamedMarkdown:
    """Renders streamed Markdown: prints complete blocks, and redraws the last block until it is complete.

    The work is linear in the length of the text. Use it as a context manager; on exit, it prints the rest.
    """

    def __init__(self, console: Console) -> None:
        """Create the view; it shows nothing before the first text.

        Args:
            console: A terminal.
        """
        from langchain_moa.cli.live_view import LiveView

        self._console = console
        self._pieces: list[str] = []
        self._length = 0
        self._parse_at = 0
        self._printed = False
        self._view = LiveView(console, lambda: MarkdownBlock(self._open, apart=self._printed, growing=True))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._view.stop()
        for block in split_blocks(self._open):
            self._print(block)

    def write(self, text: str) -> None:
        """Add a chunk of the text."""
        piece = printable(text)
        self._pieces.append(piece)
        self._length += len(piece)
        if not self._view.is_started and piece.strip():
            self._view.start()
        # Parse again only after the length has doubled, so that the total work for a long block stays linear.
        if "\n" in piece and self._length >= self._parse_at:
            *complete, last = split_blocks(self._open)
            self._pieces, self._length, self._parse_at = [last], len(last), 2 * len(last)
            for block in complete:
                self._print(block)

    def refresh(self) -> None:
        """Redraw the last block."""
        self._view.refresh()

    @property
    def _open(self) -> str:
        self._pieces = ["".join(self._pieces)]
        return self._pieces[0]

    def _print(self, text: str) -> None:
        if not text.strip():
            return
        block = MarkdownBlock(text, apart=self._printed)
        self._printed = True
        if self._view.is_started:
            self._view.print(block)
        else:
            self._console.print(block)


class MarkdownBlock:
    """A Markdown block, rendered without the empty lines that rich adds around headings, tables and code.

    HTML tags stay visible as text, and links show their URLs.
    """

    def __init__(self, text: str, *, apart: bool, growing: bool = False) -> None:
        """Create the block.

        Args:
            text: The Markdown.
            apart: Whether an empty line precedes it.
            growing: Whether it is incomplete and will be redrawn.
        """
        self._text = text
        self._apart = apart
        self._growing = growing

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.segment import Segment
        from rich.text import Text

        # Lines above the top of the screen could not be erased.
        most = max(console.height - 3, 1)
        if self._growing and (len(self._text) > options.max_width * most or self._text.count("\n") > most):
            # Rendering all of a long block for each redraw would be slow: show the end of its source.
            end = self._text[-options.max_width * most :].splitlines()[-most:]
            shown: Markdown | Text = Text("\n".join(end))
        else:
            shown = _markdown(self._text) if is_simple(self._text) else Text(self._text)
        lines = console.render_lines(shown, options.update(height=None), pad=False)
        filled = [number for number, line in enumerate(lines) if "".join(segment.text for segment in line).strip()]
        lines = lines[filled[0] : filled[-1] + 1] if filled else []
        if self._apart:
            yield Segment.line()
        for line in lines[-most:] if self._growing else lines:
            yield from line
            yield Segment.line()


def is_simple(text: str) -> bool:
    """Return whether the Markdown of a block can be rendered quickly."""
    return len(text) <= _LONGEST_BLOCK and text.count("[") <= _MOST_BRACKETS


def split_blocks(text: str) -> list[str]:
    """Split Markdown into blocks: paragraphs, lists, tables, code. Appended text can change only the last block."""
    tokens = _parser(blocks_only=True).parse(text)
    starts = [token.map[0] for token in tokens if token.level == 0 and token.map and token.nesting >= 0]
    lines = text.splitlines(keepends=True)
    places = [0, *starts[1:], len(lines)]
    return ["".join(lines[start:end]) for start, end in pairwise(places)]


def _markdown(text: str) -> Markdown:
    from rich.markdown import Markdown

    rendered = Markdown("", hyperlinks=False)
    rendered.parsed = _parser(blocks_only=False).parse(text)
    return rendered


@cache
def _parser(*, blocks_only: bool) -> MarkdownIt:
    from markdown_it import MarkdownIt

    # Keep tags, which would be dropped as HTML, and the backslashes of formulas, \( and \[.
    parser = MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"]).disable("escape")
    return parser.disable("inline") if blocks_only else parser
