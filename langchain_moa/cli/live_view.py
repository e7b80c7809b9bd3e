"""Rich's console and live display, adapted for this command line."""

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
    """Rich's `Console`, which removes control and invisible characters from all text.

    Everything it prints, including tables and progress bars, passes `render`.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render as rich does, and remove control and invisible characters from every text."""
        for segment in super().render(renderable, options):
            if segment.control or (text := printable(segment.text)) == segment.text:
                yield segment
            else:
                yield Segment(text, segment.style)


class LiveView:
    """A part of the screen that is redrawn on demand.

    It is drawn only by `refresh`, in the caller's thread, so that nothing else is printed at the same time. Most terminals
    rewrap lines when they become narrower; the view also erases these additional lines.
    """

    def __init__(self, console: Console, render: Callable[[], RenderableType], *, redirect_stderr: bool = False) -> None:
        """Create the view; it shows nothing before `start`.

        Args:
            console: A terminal.
            render: Returns the content, which should be lower than the screen.
            redirect_stderr: Whether to print text written to standard error above the view.
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
        """Whether the view is on the screen."""
        return self._live.is_started

    def start(self) -> None:
        """Show the view."""
        self._live.start(refresh=True)

    def stop(self) -> None:
        """Remove the view from the screen."""
        self._erase_wrapped()
        self._live.stop()

    def refresh(self) -> None:
        """Redraw the view if it is on the screen."""
        if self.is_started:
            self._erase_wrapped()
            self._live.refresh()

    def print(self, renderable: RenderableType) -> None:
        """Print something above the view."""
        self._erase_wrapped()
        self._console.print(renderable)
        self.refresh()

    def _measured(self) -> _MeasuredLines:
        lines = self._console.render_lines(self._render(), self._console.options.update(height=None), pad=False)
        self._widths = [sum(cell_len(segment.text) for segment in line) for line in lines]
        return _MeasuredLines(lines)

    def _erase_wrapped(self) -> None:
        """Erase the lines that the terminal added by rewrapping, so that the cursor is on the line that rich expects."""
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
