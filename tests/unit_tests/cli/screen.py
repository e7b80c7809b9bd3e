"""A screen that tests can read."""

from __future__ import annotations

import io
import re

from rich.console import Console

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Screen:
    """A rich console and its output.

    Args:
        width: Its width.
        height: Its height.
        is_terminal: Whether it takes itself for one.
        colors: Its colour system.
    """

    def __init__(self, *, width: int = 80, height: int = 24, is_terminal: bool = False, colors: str | None = None) -> None:
        """Make an empty screen."""
        self._file = io.StringIO()
        self.console = Console(
            file=self._file,
            force_terminal=is_terminal,
            width=width,
            height=height,
            color_system=colors,  # type: ignore[arg-type]  # a literal, passed on
            markup=False,
            highlight=False,
        )

    @property
    def raw(self) -> str:
        """The whole output."""
        return self._file.getvalue()

    @property
    def text(self) -> str:
        """The output without the sequences that move the cursor and set colors."""
        return _CONTROL.sub("", self.raw)

    def drawn(self, renderable: object) -> list[str]:
        """Return the lines of a renderable as they would appear on this screen."""
        with self.console.capture() as capture:
            self.console.print(renderable)
        return [line.rstrip() for line in _CONTROL.sub("", capture.get()).splitlines()]
