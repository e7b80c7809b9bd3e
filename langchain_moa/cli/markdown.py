"""Markdown on a terminal, as it streams in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from langchain_moa.cli.console import printable

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.markdown import Markdown

_FRAMES_PER_SECOND = 10


def markdown(text: str) -> Markdown:
    """Return a text as Markdown for a console, with nothing of it lost and nowhere to click.

    Args:
        text: What a model wrote; its tags stay visible, its links show where they lead.
    """
    from rich.markdown import Markdown

    rendered = Markdown(text, hyperlinks=False)
    rendered.parsed = _parser().parse(text)
    return rendered


class StreamedMarkdown:
    r"""Shows Markdown while it grows: blocks that are complete are printed, the last one is redrawn until it is.

    Use it as a context manager; what is still open is printed at its end.

    Args:
        console: A terminal.
    """

    def __init__(self, console: Console) -> None:
        """Make the view; nothing is shown before the first text."""
        from langchain_moa.cli.live import Live

        self._console = console
        self._open = ""
        self._printed = False
        self._live = Live(
            console=console,
            get_renderable=lambda: _Block(self._open, apart=self._printed, growing=True),
            refresh_per_second=_FRAMES_PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()
        self._print(self._open)

    def write(self, text: str) -> None:
        """Add a piece of the text."""
        self._open += printable(text)
        if not self._live.is_started and self._open.strip():
            self._live.start()
        if "\n" in text:
            done, self._open = _split(self._open)
            self._print(done)

    def _print(self, text: str) -> None:
        if not text.strip():
            return
        self._console.print(_Block(text, apart=self._printed))
        self._printed = True


class _Block:
    """Some Markdown without the empty lines that rich puts around headings, tables and code.

    Args:
        text: The Markdown.
        apart: Whether an empty line stands before it.
        growing: Whether it will be wiped off the screen and drawn again.
    """

    def __init__(self, text: str, *, apart: bool, growing: bool = False) -> None:
        self._text = text
        self._apart = apart
        self._growing = growing

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.segment import Segment

        lines = console.render_lines(markdown(self._text), options.update(height=None), pad=False)
        filled = [number for number, line in enumerate(lines) if "".join(segment.text for segment in line).strip()]
        lines = lines[filled[0] : filled[-1] + 1] if filled else []
        if self._apart:
            yield Segment.line()
        # What is taller than the screen could not be wiped off it.
        for line in lines[-max(console.height - 3, 1) :] if self._growing else lines:
            yield from line
            yield Segment.line()


def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    # Tags would be dropped as HTML, and the backslashes of formulas, \( and \[, as escapes.
    return MarkdownIt("commonmark", {"html": False}).enable(["strikethrough", "table"]).disable("escape")


def _split(text: str) -> tuple[str, str]:
    """Split a text before its last block, the only one that more text can still change."""
    starts = [token.map[0] for token in _parser().parse(text) if token.level == 0 and token.map and token.nesting >= 0]
    if len(starts) < 2:  # noqa: PLR2004  # one block is the last one
        return "", text
    lines = text.splitlines(keepends=True)
    return "".join(lines[: starts[-1]]), "".join(lines[starts[-1] :])
