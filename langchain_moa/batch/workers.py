"""Process many items with bounded concurrency, and yield the results as they complete.

Used by batches, `eval compare`, `eval generate` and `tune`.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, nullcontext
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable

T = TypeVar("T")
R = TypeVar("R")


async def as_answered(
    items: AsyncIterator[T] | Iterable[T],
    ask: Callable[[T], Awaitable[R | None]],
    *,
    at_once: int,
    goes_on: Callable[[], bool],
    in_rounds: bool = False,
) -> AsyncGenerator[R]:
    """Process every item, and yield the results in the order in which they complete.

    Items are taken lazily, and the number of results that are not read yet is bounded. If you leave the loop, items in progress
    are cancelled.

    Args:
        items: The items.
        ask: Processes one item. A result of `None` is not yielded.
        at_once: The maximum number of items in progress.
        goes_on: Called before each item; returns whether it may begin.
        in_rounds: Whether the next items begin only after all items in progress are complete.

    Raises:
        Exception: An error of `ask`, immediately; or an error of `items`, after the items in progress are complete.
    """
    workers = _Workers(items, ask, at_once=at_once, goes_on=goes_on, in_rounds=in_rounds)
    tasks = [asyncio.create_task(workers.run()) for _ in range(at_once)]
    try:
        running = len(tasks)
        while running:
            results = await workers.found.get()
            if results is None:
                running -= 1
            if workers.error is not None:
                raise workers.error
            for result in results or ():
                yield result
                workers.room.release()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if workers.items_error is not None:
        raise workers.items_error


async def ask_all(
    items: Iterable[T], ask: Callable[[T], Awaitable[None]], *, at_once: int, goes_on: Callable[[], bool]
) -> None:
    """Process every item like `as_answered`, without results.

    Args:
        items: The items.
        ask: Processes one item.
        at_once: The maximum number of items in progress.
        goes_on: Called before each item; returns whether it may begin.

    Raises:
        Exception: An error of `ask`; the other items in progress are cancelled.
    """
    results: AsyncGenerator[None] = as_answered(items, ask, at_once=at_once, goes_on=goes_on)
    async with aclosing(results):
        async for _ in results:
            pass


class _Workers(Generic[T, R]):
    """The state shared by the worker tasks.

    Attributes:
        found: The results, each in a tuple, and `None` for each task that has ended.
        room: Limits the number of results that are not read yet.
        error: The first error of `ask`.
        items_error: The error of the items.
    """

    def __init__(
        self,
        items: AsyncIterator[T] | Iterable[T],
        ask: Callable[[T], Awaitable[R | None]],
        *,
        at_once: int,
        goes_on: Callable[[], bool],
        in_rounds: bool,
    ) -> None:
        self.found: asyncio.Queue[tuple[R] | None] = asyncio.Queue()
        self.room = asyncio.Semaphore(at_once)
        self.error: Exception | None = None
        self.items_error: Exception | None = None
        self._items = _iterated(items)
        self._ask = ask
        self._goes_on = goes_on
        self._round = _Round() if in_rounds else nullcontext()
        self._taking = asyncio.Lock()

    async def run(self) -> None:
        try:
            while (taken := await self._take()) is not None:
                async with self._round:
                    result = await self._ask(*taken)
                    if result is not None:
                        await self.room.acquire()
                        self.found.put_nowait((result,))
        except Exception as error:  # noqa: BLE001  # raised again by the reader of the results
            self.error = self.error or error
        finally:
            self.found.put_nowait(None)

    async def _take(self) -> tuple[T] | None:
        async with self._taking:
            if not self._goes_on():
                return None
            try:
                # After its end or an error, the generator has no items for the other tasks either.
                return (await anext(self._items),)
            except StopAsyncIteration:
                return None
            except Exception as error:  # noqa: BLE001  # raised again when the items in progress are complete
                self.items_error = error
                return None


async def _iterated(items: AsyncIterator[T] | Iterable[T]) -> AsyncIterator[T]:
    if hasattr(items, "__aiter__"):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


class _Round:
    """A barrier: each item waits at its end for all others in progress, so that the next ones begin together."""

    def __init__(self) -> None:
        self._under_way = 0
        self._over = asyncio.Event()

    async def __aenter__(self) -> None:
        self._under_way += 1

    async def __aexit__(self, error: type[BaseException] | None, *_: object) -> None:
        self._under_way -= 1
        over = self._over
        if not self._under_way:
            self._over = asyncio.Event()
            over.set()
        elif error is None:
            await over.wait()
