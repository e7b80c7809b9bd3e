"""Sync over async: one event loop in a daemon thread, and worker threads for what can only be called sync.

Everything that calls a model is written once, async. Sync code waits for it here, on a loop that lives as long as the process.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import aclosing, contextmanager, suppress
from contextvars import Context, ContextVar, copy_context
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar, cast

from langchain_moa.limits.background import BackgroundLoop, Raised, is_on_background_loop, outcome_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Iterator

T = TypeVar("T")

_ON_PORTAL = "sync code cannot wait on the event loop that runs it; use the async method, such as `ainvoke`"


_portal = BackgroundLoop("moa-portal")


class Waits:
    """The sync waits of one run: when the run is given up, all of them are cancelled together."""

    def __init__(self) -> None:
        """Start with no waits; waits of an enclosing scope cancel these, too."""
        self._lock = threading.Lock()
        self._inside: set[Any] = set()
        self._is_cancelled = False

    def cancel(self) -> None:
        """Cancel all waits, present and future."""
        with self._lock:
            self._is_cancelled = True
            inside = list(self._inside)
        for each in inside:
            each.cancel()

    def check(self) -> None:
        """Raise if the run was given up.

        Raises:
            concurrent.futures.CancelledError: It was.
        """
        if self._is_cancelled:
            raise CancelledError

    @contextmanager
    def holding(self, cancellable: Any) -> Generator[None]:
        """Cancel something together with these waits, as long as the context lasts.

        Args:
            cancellable: A future or another scope: anything with `cancel()`.
        """
        with self._lock:
            self._inside.add(cancellable)
            is_cancelled = self._is_cancelled
        if is_cancelled:
            cancellable.cancel()
        try:
            yield
        finally:
            with self._lock:
                self._inside.discard(cancellable)

    @contextmanager
    def entered(self) -> Generator[None]:
        """Make this the scope of the waits that start in the context."""
        token = _waits.set(self)
        try:
            yield
        finally:
            _waits.reset(token)


_waits: ContextVar[Waits | None] = ContextVar("moa_waits", default=None)


def is_on_portal() -> bool:
    """Tell whether the caller runs on the portal's loop, that is, for sync code."""
    return _portal.is_current()


def wait_for(call: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run async code from sync code and wait for it, in a copy of the caller's context.

    The code is cancelled when the wait is interrupted (by Ctrl-C, for example), or when the enclosing run is given up.

    Args:
        call: The async function.
        *args: Its arguments.

    Raises:
        concurrent.futures.CancelledError: The run was given up.
        RuntimeError: This was called on the portal's own loop, which would wait for itself.
    """
    if is_on_portal():
        raise RuntimeError(_ON_PORTAL)
    interrupted = False

    async def run() -> tuple[T | None, BaseException | None]:
        if interrupted:
            raise asyncio.CancelledError
        return await outcome_of(call(*args))

    scope = _waits.get() or Waits()
    scope.check()
    future: Future[tuple[T | None, BaseException | None]] | None = None
    try:
        future = _portal.portal().start_task_soon(run)
        with scope.holding(future):
            result, error = future.result()
        if error is not None:
            raise error  # noqa: TRY301  # as the task raised it
        return cast("T", result)
    except BaseException:
        interrupted = True
        if future is not None:
            future.cancel()
        raise


def iterate(make: Callable[[], AsyncGenerator[T]]) -> Generator[T]:
    """Iterate over an async generator from sync code; leaving the iteration cancels it.

    Args:
        make: Makes the generator; it is called, and runs, on the portal's loop.
    """
    items: SimpleQueue[tuple[str, Any]] = SimpleQueue()

    if is_on_portal():
        raise RuntimeError(_ON_PORTAL)

    async def pump() -> None:
        async with aclosing(make()) as source:
            async for item in source:
                items.put(("item", item))

    async def run() -> tuple[None, BaseException | None]:
        return await outcome_of(pump())

    def ended(future: Future[Any]) -> None:
        items.put(("end", CancelledError() if future.cancelled() else future.exception() or future.result()[1]))

    scope = _waits.get() or Waits()
    scope.check()
    future = _portal.portal().start_task_soon(run)
    future.add_done_callback(ended)
    try:
        with scope.holding(future):
            while True:
                kind, value = items.get()
                if kind == "item":
                    yield cast("T", value)
                elif value is None:
                    return
                else:
                    raise value
    finally:
        future.cancel()


async def in_worker(call: Callable[[], T], *, context: Context | None = None) -> T:  # noqa: C901  # three small functions in one
    """Call sync code in a worker thread of ours.

    A thread cannot be stopped. When the task is cancelled, the thread is left, and what waits inside it for a mixture is
    cancelled. Threads are daemons, so that a call that hangs keeps no program from ending. Their number is not limited here:
    nested mixtures hold one thread for each level, and a limit would deadlock; `max_concurrency` limits the calls.

    Args:
        call: The sync function.
        context: The context that it runs in. Default: a copy of the current one.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()
    waits = Waits()

    def settle(result: T | None, error: BaseException | None) -> None:
        if outcome.done():
            return
        if isinstance(error, StopIteration):  # asyncio's futures refuse it
            stopped, error = error, RuntimeError("the function raised StopIteration")
            error.__cause__ = stopped
        if isinstance(error, (KeyboardInterrupt, SystemExit)) and is_on_background_loop():
            error = Raised(error)
        if error is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(cast("T", result))

    def work() -> tuple[T | None, BaseException | None]:
        try:
            with waits.entered():
                return call(), None
        except BaseException as error:  # noqa: BLE001  # it is raised where the outcome is read
            return None, error

    def thread() -> None:
        # The outcome is told when the context has been left, so that the next call may enter it.
        result, failed = (context or copied).run(work)
        with suppress(RuntimeError):  # the loop has been closed: nothing waits for the outcome
            loop.call_soon_threadsafe(settle, result, failed)

    copied = copy_context()
    enclosing = _waits.get() or Waits()
    with enclosing.holding(waits):
        threading.Thread(target=thread, name="moa-call", daemon=True).start()
        try:
            return await outcome
        except BaseException:
            if not outcome.done() or outcome.cancelled():
                waits.cancel()
            raise


async def iterate_in_worker(make: Callable[[], Iterable[T]]) -> AsyncGenerator[T]:
    """Iterate over a sync iterator in a worker thread; leaving the iteration ends it at its next item.

    Args:
        make: Makes the iterator; it is called in the worker thread.
    """
    loop = asyncio.get_running_loop()
    items: asyncio.Queue[T] = asyncio.Queue()
    has_left = False

    def pump() -> None:
        source: Iterator[T] = iter(make())
        try:
            for item in source:
                if has_left:
                    return
                loop.call_soon_threadsafe(items.put_nowait, item)
        finally:
            if (close := getattr(source, "close", None)) is not None:
                close()

    task = asyncio.ensure_future(in_worker(pump))
    task.add_done_callback(lambda done: done.cancelled() or done.exception())  # of one that was left, too
    getting: asyncio.Future[T] | None = None
    try:
        while True:
            getting = asyncio.ensure_future(items.get())
            await asyncio.wait({task, getting}, return_when=asyncio.FIRST_COMPLETED)
            if getting.done():
                yield getting.result()
                continue
            getting.cancel()
            # What the thread said last comes before its end.
            while not items.empty():
                yield items.get_nowait()
            await task
            return
    finally:
        has_left = True
        task.cancel()
        if getting is not None:
            getting.cancel()


def leavable(steps: Any) -> Generator[Any]:
    """Iterate over the steps of a sync run of a graph; the calls under way are cancelled when the iteration is left.

    LangGraph's sync loop waits for its nodes whatever happens, Ctrl-C included, and these wait for their calls. So the calls
    are cancelled first. Ctrl-C is raised in the main thread; there the steps run in a thread of their own, so that it is
    raised here and not inside of LangGraph's loop.

    Args:
        steps: The generator of steps; each starts when it is asked for.
    """
    waits = Waits()
    scope = _waits.get() or Waits()
    with scope.holding(waits), _stepper(waits) as step:
        try:
            while True:
                is_done, item = step(lambda: next(steps))
                if is_done:
                    return
                yield item
        except BaseException:
            waits.cancel()
            raise
        finally:
            step(steps.close)


@contextmanager
def _stepper(waits: Waits) -> Generator[Callable[[Callable[[], Any]], tuple[bool, Any]]]:
    """Return a function that takes a step of a generator, in another thread where this is the main one."""

    def here(take: Callable[[], Any]) -> tuple[bool, Any]:
        with waits.entered():
            try:
                return False, take()
            except StopIteration:
                return True, None

    if threading.current_thread() is not threading.main_thread():
        yield here
        return
    executor = ThreadPoolExecutor(1, thread_name_prefix="moa-run")
    # One context for all steps: what LangGraph sets in one of them it resets in another.
    context = copy_context()

    def there(take: Callable[[], Any]) -> tuple[bool, Any]:
        try:
            future = executor.submit(context.run, here, take)
        except RuntimeError:  # the interpreter is ending and starts nothing in other threads
            return context.run(here, take)
        return future.result()

    try:
        yield there
    finally:
        executor.shutdown(wait=False)
