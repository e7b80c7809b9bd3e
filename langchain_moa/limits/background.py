"""Background event loops in daemon threads, started on first use and stopped at exit."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio
from anyio.from_thread import BlockingPortal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

T = TypeVar("T")

# LangChain runs sync handlers and tools in the loop's default executor. These may wait for a nested mixture, so that a
# small pool would deadlock. Threads start on demand.
_MAX_THREADS = 1_000

# Maximum number of items that a generator on another loop may be ahead of its consumer.
_AHEAD = 64

_here = threading.local()


def is_on_background_loop() -> bool:
    """Return whether the caller runs on an event loop of this module."""
    return getattr(_here, "is_loop", False)


class BackgroundLoop:
    """An event loop in a daemon thread. A forked child starts its own."""

    def __init__(self, name: str) -> None:
        """Create the loop. Its thread starts on first use.

        Args:
            name: The name of the thread.
        """
        self._name = name
        self.drop()
        atexit.register(self.stop)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.drop)

    def drop(self) -> None:
        """Forget the thread. A forked child has a copy of the memory, but no copy of the thread."""
        self._lock = threading.Lock()
        self._running: tuple[BlockingPortal, asyncio.AbstractEventLoop] | None = None
        self._thread: threading.Thread | None = None
        self.is_stopping = False

    def portal(self) -> BlockingPortal:
        """Return the portal through which sync code calls the loop."""
        return self._started()[0]

    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the running loop."""
        return self._started()[1]

    def is_current(self) -> bool:
        """Return whether the caller runs on this loop."""
        return self._thread is threading.current_thread()

    def stop(self) -> None:
        """Cancel all tasks and end the loop."""
        with self._lock:
            running, thread, self._running = self._running, self._thread, None
        if running is not None and thread is not None:
            self.is_stopping = True
            with suppress(RuntimeError):
                running[0].start_task_soon(running[0].stop, True)  # noqa: FBT003  # anyio's positional `cancel_remaining`
            thread.join(timeout=5)
            self.is_stopping = False

    def _started(self) -> tuple[BlockingPortal, asyncio.AbstractEventLoop]:
        with self._lock:
            if self._running is None or self._thread is None or not self._thread.is_alive():
                started: Future[tuple[BlockingPortal, asyncio.AbstractEventLoop]] = Future()
                self._thread = threading.Thread(target=self._run, args=(started,), name=self._name, daemon=True)
                self._thread.start()
                self._running = started.result()
            return self._running

    def _run(self, started: Future[tuple[BlockingPortal, asyncio.AbstractEventLoop]]) -> None:
        try:
            anyio.run(_serve, started)
        except RuntimeError:
            # asyncio starts a thread to shut down the default executor. From Python 3.12 on, no thread starts while the
            # interpreter ends; all tasks have ended by then, and the loop is closed all the same.
            if self._running is not None:
                raise


class _Workers(ThreadPoolExecutor):
    """Threads, and when the main thread has ended, the caller's thread.

    From then on Python's executors refuse work. But threads for which the program waits still call mixtures, and asyncio
    looks up the address of each new connection in its executor.
    """

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function with arguments."""
        try:
            return super().submit(fn, *args, **kwargs)
        except RuntimeError:
            if threading.main_thread().is_alive():
                raise
            done: Future[Any] = Future()
            try:
                done.set_result(fn(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001  # it is raised where the result is read
                done.set_exception(error)
            return done


async def _serve(started: Future[tuple[BlockingPortal, asyncio.AbstractEventLoop]]) -> None:
    _here.is_loop = True
    loop = asyncio.get_running_loop()
    loop.set_default_executor(_Workers(_MAX_THREADS, thread_name_prefix="moa-worker"))
    try:
        async with BlockingPortal() as portal:
            started.set_result((portal, loop))
            await portal.sleep_until_stopped()
    except BaseException as error:
        if not started.done():
            started.set_exception(error)
        raise


class Raised(BaseException):
    """Wraps an error that would end a background loop, and with it all other calls."""

    def __init__(self, error: BaseException) -> None:
        """Wrap an error.

        Args:
            error: A `KeyboardInterrupt` or `SystemExit`.
        """
        super().__init__(error)
        self.error = error


async def outcome_of(awaitable: Awaitable[T]) -> tuple[T | None, BaseException | None]:
    """Await and return the result and `None`, or `None` and the error that was raised. Cancellation is raised."""
    try:
        return await awaitable, None
    except asyncio.CancelledError:
        raise
    except Raised as raised:
        return None, raised.error
    except BaseException as error:  # noqa: BLE001  # it is raised where the outcome is read
        return None, error


async def iterate_on(background: BackgroundLoop, make: Callable[[], AsyncGenerator[T]]) -> AsyncGenerator[T]:
    """Iterate over an async generator that runs on a background loop, in a copy of the caller's context.

    Leaving the iteration cancels the generator and waits until it has ended. The generator is at most 64 items ahead of its
    consumer.

    Args:
        background: The loop.
        make: Makes the generator; it is called on the background loop.

    Yields:
        The generator's items.
    """
    run = _Elsewhere(background.loop(), make)
    try:
        while (item := await run.next()) is not None:
            yield item[0]
    finally:
        await run.leave()


class _Elsewhere(Generic[T]):
    """An async generator that runs on another event loop."""

    def __init__(self, there: asyncio.AbstractEventLoop, make: Callable[[], AsyncGenerator[T]]) -> None:
        self._here, self._there = asyncio.get_running_loop(), there
        self._make = make
        # Each item is a tuple of one; the end is an error or `None`.
        self._items: asyncio.Queue[tuple[T] | BaseException | None] = asyncio.Queue()
        self._places = asyncio.Semaphore(_AHEAD)
        self._has_ended = False
        there.call_soon_threadsafe(self._start)

    async def next(self) -> tuple[T] | None:
        """Return the next item in a tuple, or `None` at the end."""
        item = await self._items.get()
        if isinstance(item, tuple):
            self._there.call_soon_threadsafe(self._places.release)
            return item
        self._has_ended = True
        if item is not None:
            raise item
        return None

    async def leave(self) -> None:
        """Cancel the generator if it still runs, and wait until it has ended."""
        interrupted = None
        if not self._has_ended:
            self._there.call_soon_threadsafe(self._cancel)
        while not self._has_ended:
            try:
                self._has_ended = not isinstance(await self._items.get(), tuple)
            except asyncio.CancelledError as error:
                # If the caller is cancelled again, cancel again: before Python 3.12, a cancellation can be lost.
                interrupted = error
                self._there.call_soon_threadsafe(self._cancel)
        if interrupted is not None:
            raise interrupted

    # --- on the other loop ---

    def _start(self) -> None:
        self._task = self._there.create_task(self._run())
        self._task.add_done_callback(self._end)

    async def _run(self) -> tuple[None, BaseException | None]:
        return await outcome_of(self._pump())

    async def _pump(self) -> None:
        async with aclosing(self._make()) as source:
            async for item in source:
                await self._places.acquire()
                self._put((item,))

    def _end(self, task: asyncio.Task[tuple[None, BaseException | None]]) -> None:
        self._put(asyncio.CancelledError() if task.cancelled() else task.exception() or task.result()[1])

    def _put(self, item: tuple[T] | BaseException | None) -> None:
        with suppress(RuntimeError):  # the consumer's loop has been closed
            self._here.call_soon_threadsafe(self._items.put_nowait, item)

    def _cancel(self) -> None:
        self._task.cancel()
