"""A redrawn view is erased completely even if the terminal was resized, and no text can control the terminal."""

from __future__ import annotations

import io
import re

from rich.console import Console
from rich.table import Table
from rich.text import Text

from langchain_moa.cli.console import console_on
from langchain_moa.cli.live_view import LiveView

UP = "\x1b[1A"
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Resized:
    """A view on a terminal whose width the test sets."""

    def __init__(self, text: str) -> None:
        self.file = io.StringIO()
        self.said = text
        self.console = Console(file=self.file, force_terminal=True, width=60, height=24)
        self.view = LiveView(self.console, lambda: Text(self.said))

    def written(self) -> str:
        text = self.file.getvalue()
        self.file.seek(0)
        self.file.truncate()
        return text


def test_lines_that_the_terminal_has_wrapped_again_are_erased() -> None:
    screen = Resized(f"{'x' * 50}\nshort")
    screen.view.start()
    screen.written()
    screen.view.refresh()
    assert screen.written().count(UP) == 1
    screen.console.width = 20
    screen.view.refresh()
    # Three lines for the long one, and one for the short.
    assert screen.written().count(UP) == 3
    # Redrawn, they are three lines and one for rich as well.
    screen.view.refresh()
    assert screen.written().count(UP) == 3
    screen.console.width = 60
    screen.view.stop()


def test_lines_that_are_wrapped_while_something_is_printed_are_erased() -> None:
    screen = Resized(f"{'x' * 50}\nshort")
    screen.view.start()
    screen.written()
    screen.console.width = 20
    screen.view.print("printed")
    # Four lines; then the two to which rich has cropped the old view.
    assert screen.written().count(UP) == 3 + 1
    screen.view.stop()


def test_a_wider_terminal_needs_no_more_lines() -> None:
    screen = Resized("one\n\nthree\n")
    screen.view.start()
    screen.console.width = 200
    screen.written()
    screen.view.refresh()
    assert screen.written().count(UP) == 3
    screen.view.stop()


def test_a_print_leaves_the_view_as_it_is_by_then() -> None:
    screen = Resized("before")
    screen.view.start()
    screen.said = "after"
    screen.view.print("printed")
    lines = [line.rstrip() for line in CONTROL.sub("", screen.written()).replace("\r", "\n").split("\n") if line.strip()]
    assert lines[-1] == "after"
    assert "printed" in lines
    screen.view.stop()
    assert not screen.view.is_started


def test_no_text_steers_the_terminal_wherever_it_is_printed() -> None:
    hostile = "a\x1b]0;title\x07b\x1b[8m\x9b31mc\u202ed\u2066e"
    screen = io.StringIO()
    console = console_on(screen)
    table = Table(hostile, title=hostile, caption=hostile)
    table.add_row(Text(hostile, "red"))
    for printed in (hostile, Text(hostile), table):
        console.print(printed)
    console.rule(hostile)
    shown = screen.getvalue()
    assert "a]0;titleb[8m31mcde" in shown
    assert not set(shown) & set("\x1b\x07\x9b\u202e\u2066")
