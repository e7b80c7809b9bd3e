"""Many questions at once: a bounded number is under way, and the answers come as they are complete.

Batches, `eval compare`, `eval generate` and `tune` ask their questions with it.
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
    """Ask about every item, and yield the results in the order in which they are complete.

    Items are taken as they are needed, and results that are not read yet do not pile up. If you leave the loop, what is under
    way is cancelled.

    Args:
        items: What is asked about.
        ask: Asks about one item; `None` is a result that is not yielded.
        at_once: How many items are under way at once.
        goes_on: Tells before each item whether it may begin.
        in_rounds: Whether the next items begin only when all that are under way are complete.

    Raises:
        Exception: What `ask` raised, at once; or what the items raised, when those under way are complete.
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
    """Ask about every item, as `as_answered` does, where there is no result to read.

    Args:
        items: What is asked about.
        ask: Asks about one item.
        at_once: How many items are under way at once.
        goes_on: Tells before each item whether it may begin.

    Raises:
        Exception: What `ask` raised; the others under way are cancelled.
    """
    results: AsyncGenerator[None] = as_answered(items, ask, at_once=at_once, goes_on=goes_on)
    async with aclosing(results):
        async for _ in results:
            pass


class _Workers(Generic[T, R]):
    """What the tasks share.

    Attributes:
        found: The results, each in a tuple; `None` when a task has ended.
        room: Places for results that are not read yet.
        error: What asking has raised.
        items_error: What taking an item has raised.
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
        except Exception as error:  # noqa: BLE001  # raised again where the results are read
            self.error = self.error or error
        finally:
            self.found.put_nowait(None)

    async def _take(self) -> tuple[T] | None:
        async with self._taking:
            if not self._goes_on():
                return None
            try:
                # At their end, or after an error, the items have none for the other tasks either.
                return (await anext(self._items),)
            except StopAsyncIteration:
                return None
            except Exception as error:  # noqa: BLE001  # raised again when those under way are complete
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
    """The items that are under way at the same time; each waits at its end for all others, so that the next begin together."""

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
