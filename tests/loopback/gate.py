"""A gate that holds answers back until a test opens it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Gate:
    """Holds answers back until the test opens it; created by `Loopback.gate()`."""

    def __init__(self, opened: Callable[[], object]) -> None:
        """Create a closed gate.

        Args:
            opened: Called when the gate is opened, in the thread that opens it.
        """
        self._opened = opened
        self.is_open = False

    def open(self) -> None:
        """Release all answers held by the gate. It stays open. Can be called from any thread."""
        self.is_open = True
        self._opened()
