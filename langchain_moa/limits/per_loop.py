"""Values that belong to an event loop."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

T = TypeVar("T")


class PerLoop(Generic[T]):
    """A value for each event loop. Values of closed loops are dropped.

    Weak references to the loops would not do: clients, semaphores and async generators refer to their loop.
    """

    def __init__(self) -> None:
        """Start without values."""
        self._values: dict[asyncio.AbstractEventLoop, T] = {}

    def get(self) -> T | None:
        """Return the value of the running loop, or `None` if it has none yet."""
        return self._values.get(asyncio.get_running_loop())

    def set(self, value: T) -> T:
        """Set the value of the running loop and return it."""
        # A copy: other loops, in other threads, set theirs at the same time.
        for loop in [*self._values]:
            if loop.is_closed():
                self._values.pop(loop, None)
        self._values[asyncio.get_running_loop()] = value
        return value
