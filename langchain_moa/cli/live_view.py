"""Rich's console and live display, as this command line uses them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType, Segment

from langchain_moa.cli.console import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rich.console import ConsoleOptions, RenderableType, RenderResult


class SafeConsole(Console):
    """Rich's `Console`, which writes no text that steers the terminal or hides from the reader.

    Everything that is printed, tables and progress bars included, is rendered here.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render as rich does, and remove control and invisible characters from every text."""
        for segment in super().render(renderable, options):
            if segment.control or (text := printable(segment.text)) == segment.text:
                yield segment
            else:
                yield Segment(text, segment.style)


class LiveView:
    """A part of the screen that is drawn again and again.

    The caller of `refresh` draws it, so that nothing is printed in the middle of a drawing. Most terminals wrap the lines
    again when they become narrower; the view counts these lines and erases them, too.
    """

    def __init__(self, console: Console, render: Callable[[], RenderableType], *, redirect_stderr: bool = False) -> None:
        """Make the view; nothing is shown before `start`.

        Args:
            console: A terminal.
            render: Returns what to draw; it should be lower than the screen.
            redirect_stderr: Whether text that is written to standard error is printed above the view.
        """
        self._console = console
        self._render = render
        self._widths: list[int] = []
        self._live = Live(
            console=console,
            get_renderable=self._measured,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=redirect_stderr,
        )

    @property
    def is_started(self) -> bool:
        """Whether it is on the screen."""
        return self._live.is_started

    def start(self) -> None:
        """Show it."""
        self._live.start(refresh=True)

    def stop(self) -> None:
        """Remove it from the screen."""
        self._erase_wrapped()
        self._live.stop()

    def refresh(self) -> None:
        """Draw it again, if it is on the screen."""
        if self.is_started:
            self._erase_wrapped()
            self._live.refresh()

    def print(self, renderable: RenderableType) -> None:
        """Print something above it."""
        self._erase_wrapped()
        self._console.print(renderable)
        self.refresh()

    def _measured(self) -> _MeasuredLines:
        lines = self._console.render_lines(self._render(), self._console.options.update(height=None), pad=False)
        self._widths = [sum(cell_len(segment.text) for segment in line) for line in lines]
        return _MeasuredLines(lines)

    def _erase_wrapped(self) -> None:
        """Move to the line that rich takes for the last one, where the terminal has wrapped lines since the last drawing."""
        width = max(self._console.width, 1)
        more = sum(max(-(-cells // width), 1) - 1 for cells in self._widths) if self.is_started else 0
        if more:
            self._console.control(Control(*[(ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1)] * more))
        self._widths = [min(cells, width) for cells in self._widths]


class _MeasuredLines:
    def __init__(self, lines: list[list[Segment]]) -> None:
        self._lines = lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in self._lines:
            yield from line
            yield Segment.line()
