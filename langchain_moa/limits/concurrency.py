"""Concurrency: limits the number of simultaneous calls of a mixture or a server, and keeps values for each event loop."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from langchain_moa.limits.deadline import Limit


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


class CallLimiter:
    """Limits the number of simultaneous calls. Further calls wait.

    The limit applies across all answers that a mixture is working on, unlike LangGraph's `max_concurrency`, which applies to
    each run. Each event loop has its own count; all sync calls share one loop.
    """

    def __init__(self, most: int | None, *, within: CallLimiter | None = None) -> None:
        """Make the limiter.

        Args:
            most: Maximum number of simultaneous calls; `None` for no limit.
            within: The limiter of a larger group, such as all calls of the mixture. Its place is taken after this one's, so a
                call that waits for its server does not block calls to other servers.
        """
        self._most = most
        self._within = within
        self._semaphores = PerLoop[asyncio.BoundedSemaphore]()

    @asynccontextmanager
    async def taken(self, limit: Limit | None = None) -> AsyncGenerator[None]:
        """Wait for a place and hold it.

        Args:
            limit: Time limit of the call. Its timeout starts when the place is taken.
        """
        async with nullcontext() if self._most is None else self._semaphore(self._most):
            if self._within is not None:
                async with self._within.taken(limit):
                    yield
                return
            if limit is not None:
                limit.begin()
            yield

    def _semaphore(self, most: int) -> asyncio.BoundedSemaphore:
        return self._semaphores.get() or self._semaphores.set(asyncio.BoundedSemaphore(most))
