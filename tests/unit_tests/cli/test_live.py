"""A view that is drawn again is wiped off the screen whole, whatever the terminal's width is by then and whoever prints."""

from __future__ import annotations

import io
import re
from threading import Event, Thread
from typing import TYPE_CHECKING

from rich.text import Text

from langchain_moa.cli.live import Console, Live

if TYPE_CHECKING:
    from collections.abc import Iterator

UP = "\x1b[1A"
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


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


def test_no_print_and_no_drawing_come_in_between_each_other() -> None:
    screen = Resized("the view")
    screen.view.start(refresh=True)
    drawn = Event()

    def draw() -> None:
        screen.view.refresh()
        drawn.set()

    class Slow:
        """What takes its time to be printed, while the thread of the view comes to draw it."""

        def __rich_console__(self, *_: object) -> Iterator[Text]:
            thread.start()
            drawn.wait(0.2)
            assert not drawn.is_set()
            yield Text("printed")

    thread = Thread(target=draw)
    screen.written()
    screen.console.print(Slow())
    thread.join()
    assert [line.rstrip() for line in CONTROL.sub("", screen.written()).replace("\r", "\n").split("\n") if line.strip()] == [
        "printed",
        "the view",
        "the view",
    ]
    screen.view.stop()


def test_a_print_leaves_the_view_as_it_is_by_then() -> None:
    said = ["before"]
    screen = Resized("")
    view = Live(console=screen.console, get_renderable=lambda: Text(said[-1]), auto_refresh=False, transient=True)
    view.start(refresh=True)
    screen.written()
    said.append("after")
    screen.console.print("printed")
    assert "before" not in screen.written()
    view.stop()
