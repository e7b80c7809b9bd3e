"""A part of the screen that is drawn again and again, also while the terminal's width changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich import live, live_render
from rich.cells import cell_len
from rich.segment import Segment

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.control import Control


class Live(live.Live):
    """Rich's `Live`, for terminals that break their lines anew when they become narrower, as most do today.

    Rich moves up by as many lines as it has drawn, and would leave the rest of them on the screen.
    """

    def __init__(self, *, console: Console, **options: Any) -> None:
        """Make the view; the arguments are those of rich's `Live`."""
        super().__init__(console=console, **options)
        self._live_render = _Drawn(console, self.get_renderable(), vertical_overflow=self.vertical_overflow)


class _Drawn(live_render.LiveRender):
    """What is on the screen, and how many lines it takes there now."""

    def __init__(self, console: Console, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._console = console
        self._widths: list[int] = []

    def position_cursor(self) -> Control:
        self._break_anew()
        return super().position_cursor()

    def restore_cursor(self) -> Control:
        self._break_anew()
        return super().restore_cursor()

    def _break_anew(self) -> None:
        if self._shape is not None:
            width = max(self._console.width, 1)
            self._shape = (width, sum(max(-(-cells // width), 1) for cells in self._widths))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        drawn = list(super().__rich_console__(console, options))
        text = "".join(part.text for part in drawn if isinstance(part, Segment) and not part.control)
        self._widths = [cell_len(line) for line in text.split("\n")] if self.last_render_height else []
        yield from drawn
