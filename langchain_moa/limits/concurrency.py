"""How many calls of a mixture run at once."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from langchain_moa.limits.deadline import Limit


class CallLimiter:
    """A limiter of calls: one that finds all places taken waits.

    It belongs to a mixture and counts over all answers under way: a provider's limit does not ask which answer a call is for.
    LangGraph's own `max_concurrency` would count for each answer. Calls are counted apart for each event loop; all sync calls
    share one loop.
    """

    def __init__(self, most: int | None, *, within: CallLimiter | None = None) -> None:
        """Make the limiter.

        Args:
            most: How many calls may run at once; `None`: any number.
            within: The limiter of a larger group of calls. Its place is taken after this one's, so that a call which waits
                for its server keeps no place from calls to other servers.
        """
        self._most = most
        self._within = within
        self._semaphores: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.BoundedSemaphore] = WeakKeyDictionary()

    @asynccontextmanager
    async def taken(self, limit: Limit | None = None) -> AsyncGenerator[None]:
        """Hold a place.

        Args:
            limit: How long the call may then take; its own seconds begin with the place.
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
        loop = asyncio.get_running_loop()
        if loop not in self._semaphores:
            # A semaphore refers to its loop, which would so be kept for ever.
            for each in [each for each in self._semaphores if each.is_closed()]:
                del self._semaphores[each]
        return self._semaphores.setdefault(loop, asyncio.BoundedSemaphore(most))
