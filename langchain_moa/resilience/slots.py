"""How many calls of a mixture run at once."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from langchain_moa.resilience.deadline import Limit

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator


class Slots:
    """Places for calls; who finds none free waits.

    They are a mixture's, for all answers that are under way: a provider's limit does not ask which answer a call is for.
    LangGraph's own `max_concurrency` would count for each answer, and its sync executor gives one place to a thread that
    waits for the stream: with a single place, nothing would run. Sync and async calls are counted apart, and async ones
    by event loop. A sync call that is given up leaves its place, though its thread may not be done: a few calls that hang
    would else hold up all others.
    """

    def __init__(self, most: int | None) -> None:
        """Make the places.

        Args:
            most: How many there are; `None`: as many as are wanted.
        """
        self._most = most
        self._taken = 0
        self._free = threading.Condition()
        self._tasks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.BoundedSemaphore] = WeakKeyDictionary()

    @contextmanager
    def taken(self, limit: Limit | None = None) -> Generator[None]:
        """Have a place in sync code.

        Args:
            limit: Until when to wait for it, and how long the call may then take: its own seconds begin with the place.

        Raises:
            OutOfTimeError: The time was over before there was one.
        """
        if self._most is not None:
            self._take(self._most, limit)
        try:
            if limit is not None:
                limit.begin()
            yield
        finally:
            if self._most is not None:
                with self._free:
                    self._taken -= 1
                    self._free.notify()

    @asynccontextmanager
    async def ataken(self, limit: Limit | None = None) -> AsyncGenerator[None]:
        """Have a place in async code.

        Args:
            limit: How long the call may then take. The wait is not limited here: async code is cancelled.
        """
        async with nullcontext() if self._most is None else self._semaphore(self._most):
            if limit is not None:
                limit.begin()
            yield

    def _semaphore(self, most: int) -> asyncio.BoundedSemaphore:
        return self._tasks.setdefault(asyncio.get_running_loop(), asyncio.BoundedSemaphore(most))

    def _take(self, most: int, limit: Limit | None) -> None:
        until = limit or Limit()
        with until.telling(self._wake), self._free:
            while self._taken >= most:
                until.check()
                self._free.wait(min(until.left(), threading.TIMEOUT_MAX))
            self._taken += 1

    def _wake(self) -> None:
        with self._free:
            self._free.notify_all()
