"""A gate that a test opens when the answers behind it may go out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Gate:
    """Holds answers back until the test opens it. Made by `Loopback.gate()`."""

    def __init__(self, opened: Callable[[], object]) -> None:
        """Make a closed gate.

        Args:
            opened: Called once the gate is open, from whatever thread opened it.
        """
        self._opened = opened
        self.is_open = False

    def open(self) -> None:
        """Let every answer behind the gate go out; it stays open. Callable from any thread."""
        self.is_open = True
        self._opened()
