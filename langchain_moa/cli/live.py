"""A part of the screen that is drawn again and again, also while the terminal's width changes and others print."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from rich import console, live, live_render
from rich.cells import cell_len
from rich.segment import Segment

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from rich.console import ConsoleOptions, ConsoleRenderable, RenderResult
    from rich.control import Control


class Console(console.Console):
    """Rich's `Console`, which prints nothing while a view on it is being drawn.

    A view is drawn by a thread of its own. Where it stands on the screen is known when a print begins, and has changed when the
    print of another thread ends first: lines are then overwritten, or stay where they should have been wiped off.
    """

    def print(self, *objects: Any, **options: Any) -> None:
        """Print, as rich does."""
        with self._undisturbed():
            super().print(*objects, **options)

    def _undisturbed(self) -> AbstractContextManager[Any]:
        """Return the lock that the drawing thread of the view holds, if there is a view.

        Rich itself takes it only to ask where the view stands, and neither the view nor the console has another name for it. A
        lock of ours would be taken before it by a print, and after it by the thread, which then wait for each other.
        """
        return self._live_stack[0]._lock if self._live_stack else nullcontext()  # noqa: SLF001  # see above


class Live(live.Live):
    """Rich's `Live`, for terminals that break their lines anew when they become narrower, as most do today.

    Rich moves up by as many lines as it has drawn, and would leave the rest of them on the screen.
    """

    def __init__(self, *, console: console.Console, **options: Any) -> None:
        """Make the view; the arguments are those of rich's `Live`."""
        super().__init__(console=console, **options)
        self._live_render = _Drawn(console, self.get_renderable(), vertical_overflow=self.vertical_overflow)

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Return what a print puts on the screen: what is printed, and below it the view as it is now."""
        self._live_render.set_renderable(self.renderable)
        return super().process_renderables(renderables)


class _Drawn(live_render.LiveRender):
    """What is on the screen, and how many lines it takes there now."""

    def __init__(self, console: console.Console, *args: Any, **options: Any) -> None:
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

    def __rich_console__(self, console: console.Console, options: ConsoleOptions) -> RenderResult:
        drawn = list(super().__rich_console__(console, options))
        text = "".join(part.text for part in drawn if isinstance(part, Segment) and not part.control)
        self._widths = [cell_len(line) for line in text.split("\n")] if self.last_render_height else []
        yield from drawn
