"""A view that is drawn again is wiped off the screen whole, at whatever width the terminal has by then."""

from __future__ import annotations

import io

from rich.console import Console
from rich.text import Text

from langchain_moa.cli.live import Live

UP = "\x1b[1A"


class Resized:
    """A view on a terminal whose width the test sets."""

    def __init__(self, text: str) -> None:
        self.file = io.StringIO()
        self.console = Console(file=self.file, force_terminal=True, width=60, height=24)
        self.view = Live(console=self.console, get_renderable=lambda: Text(text), auto_refresh=False, transient=True)

    def written(self) -> str:
        text = self.file.getvalue()
        self.file.seek(0)
        self.file.truncate()
        return text


def test_lines_that_the_terminal_has_broken_anew_are_wiped_off() -> None:
    screen = Resized(f"{'x' * 50}\nshort")
    screen.view.start(refresh=True)
    screen.written()
    screen.view.refresh()
    assert screen.written().count(UP) == 1
    screen.console.width = 20
    screen.view.refresh()
    # Three lines for the long one, and one for the short.
    assert screen.written().count(UP) == 3
    screen.console.width = 60
    screen.view.stop()


def test_a_wider_terminal_needs_no_more_lines() -> None:
    screen = Resized("one\n\nthree\n")
    screen.view.start(refresh=True)
    screen.console.width = 200
    screen.written()
    screen.view.refresh()
    # Empty lines are lines, too, the one that the cursor stands on as well.
    assert screen.written().count(UP) == 3
    screen.view.stop()
