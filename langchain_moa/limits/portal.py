"""Sync over async: one event loop in a daemon thread for sync callers, and worker threads for sync functions.

All model calls are async. Sync code runs them on this loop, which lives as long as the process, and waits for the result.
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
    """A cancel scope for the sync waits of one run."""

    def __init__(self) -> None:
        """Make an empty scope."""
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
        """Raise an error if the scope was cancelled.

        Raises:
            concurrent.futures.CancelledError: The scope was cancelled.
        """
        if self._is_cancelled:
            raise CancelledError

    @contextmanager
    def holding(self, cancellable: Any) -> Generator[None]:
        """Within the context, cancel a future or another scope when this scope is cancelled.

        Args:
            cancellable: An object with a method `cancel()`.
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
        """Within the context, make this the current scope, to which new waits are added."""
        token = _waits.set(self)
        try:
            yield
        finally:
            _waits.reset(token)


_waits: ContextVar[Waits | None] = ContextVar("moa_waits", default=None)


def is_on_portal() -> bool:
    """Return whether the caller runs in the thread of the portal's loop."""
    return _portal.is_current()


def wait_for(call: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run async code from sync code and wait for it, in a copy of the caller's context.

    The async code is cancelled when the wait is interrupted (by Ctrl-C, for example) or its scope is cancelled.

    Args:
        call: The async function.
        *args: The arguments of the function.

    Raises:
        concurrent.futures.CancelledError: The scope was cancelled.
        RuntimeError: This was called on the portal's loop, which would deadlock.
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
        ended: SimpleQueue[object] = SimpleQueue()
        _at_end(future, ended.put)
        with scope.holding(future):
            ended.get()
        result, error = future.result()
        if error is not None:
            raise error  # noqa: TRY301  # with the task's own traceback
        return cast("T", result)
    except BaseException:
        interrupted = True
        if future is not None:
            future.cancel()
        raise


def _at_end(future: Future[Any], tell: Callable[[Future[Any]], object]) -> None:
    """Call a function when a future is done, but not if the program ends.

    By then only daemon threads wait. An error would have them print tracebacks and run while the interpreter is taken down.
    """
    future.add_done_callback(lambda done: None if _portal.is_stopping else tell(done))


def iterate(make: Callable[[], AsyncGenerator[T]]) -> Generator[T]:
    """Iterate over an async generator from sync code. If the iteration ends early, the generator is cancelled.

    Args:
        make: Makes the generator, which runs on the portal's loop.
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
    _at_end(future, ended)
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


async def in_worker(call: Callable[[], T], *, context: Context | None = None) -> T:  # noqa: C901  # three small nested functions
    """Run a sync function in a new daemon thread and await its result.

    A thread cannot be stopped: if the task is cancelled, the thread is abandoned, and waits for mixtures inside it are
    cancelled. An abandoned thread does not keep the process from exiting. The number of threads is not limited, because nested
    mixtures need a thread for each level and a limit could deadlock; `max_concurrency` limits the calls.

    Args:
        call: The sync function.
        context: The context in which it runs. Default: a copy of the current one.
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
        # The outcome is reported after leaving the context, so that the next call can enter it.
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
    """Iterate over a sync iterable in a worker thread. If the iteration ends early, the iterator stops at its next item.

    Args:
        make: Makes the iterable; called in the worker thread.
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
            # Yield the items that arrived just before the end.
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
    """Iterate over the steps of a sync run of a graph. If the iteration ends early, the calls in progress are cancelled.

    LangGraph's sync loop always waits for its nodes, even after Ctrl-C, and the nodes wait for their calls; so the calls are
    cancelled first. In the main thread, where Ctrl-C is raised, the steps run in another thread, so that the interrupt is
    raised here instead of inside LangGraph's loop.

    Args:
        steps: The generator of steps.
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
    """Yield a function that runs one step of a generator: in another thread if this is the main thread, or else directly."""

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
    # All steps share one context, because LangGraph sets context variables in one step and resets them in another.
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
