"""How many calls of a mixture run at once."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator


class Slots:
    """Places for calls; who finds none free waits.

    They are a mixture's, for all answers that are under way: a provider's limit does not ask which answer a call is for.
    LangGraph's own `max_concurrency` would count for each answer, and its sync executor gives one place to a thread that
    waits for the stream: with a single place, nothing would run. Sync and async calls are counted apart, and async ones
    by event loop.
    """

    def __init__(self, most: int | None) -> None:
        """Make the places.

        Args:
            most: How many there are; `None`: as many as are wanted.
        """
        self._most = most
        self._threads = threading.BoundedSemaphore(most or 1)
        self._tasks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.BoundedSemaphore] = WeakKeyDictionary()

    @contextmanager
    def taken(self) -> Generator[None]:
        """Have a place in sync code."""
        if self._most is None:
            yield
            return
        with self._threads:
            yield

    @asynccontextmanager
    async def ataken(self) -> AsyncGenerator[None]:
        """Have a place in async code."""
        if self._most is None:
            yield
            return
        semaphore = self._tasks.setdefault(asyncio.get_running_loop(), asyncio.BoundedSemaphore(self._most))
        async with semaphore:
            yield
