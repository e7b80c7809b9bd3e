"""Signal handling: Ctrl-C and SIGTERM cancel the work promptly, whatever the models' clients are doing."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

import typer

from langchain_moa.cli.console import is_terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from types import FrameType
    from typing import Any, TypeVar

    T = TypeVar("T")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_SECONDS_BETWEEN = 0.1
_SECONDS_AT_MOST = 2.0

_SHOW_CURSOR = "\x1b[?25h"


class Interrupted(Exception):  # noqa: N818  # requested by the user, not an error
    """Ctrl-C was pressed during `interruptible` work."""


def run_until_signalled(
    work: Coroutine[Any, Any, T],
    *,
    by: Collection[signal.Signals] = _SIGNALS,
    drain: Callable[[signal.Signals], object] | None = None,
) -> T:
    """Run a coroutine like `asyncio.run`, and cancel it on a signal.

    Args:
        work: The coroutine.
        by: The signals that cancel it. SIGINT or SIGTERM are ignored if they are not among these.
        drain: Called for the first signal instead of cancelling, to let the work end by itself; the second signal cancels.
            Default: the first signal cancels.

    Raises:
        typer.Exit: A signal cancelled the work. The code is 128 plus the signal number, as in shells.
    """
    ending = _Ending(by, drain)
    try:
        return asyncio.run(ending.watch(work))
    except asyncio.CancelledError:
        raise typer.Exit(ending.code) from None
    finally:
        ending.is_over()


async def interruptible(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine so that Ctrl-C cancels it without ending the program.

    Args:
        work: The coroutine.

    Raises:
        Interrupted: Ctrl-C was pressed; all calls in progress were cancelled.
    """
    loop, others = asyncio.get_running_loop(), asyncio.all_tasks()
    task = loop.create_task(work)
    interrupted_at: float | None = None

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted_at
        if interrupted_at is None:
            interrupted_at = monotonic()
            loop.call_soon_threadsafe(_cancel, loop, [task], lambda: [] if task.done() else asyncio.all_tasks() - others)
        elif monotonic() - interrupted_at > _SECONDS_AT_MOST:
            # The work does not react to cancellation, so end the program.
            signal.default_int_handler(number, frame)

    with _handled({signal.SIGINT: interrupt}):
        try:
            return await task
        except asyncio.CancelledError:
            if interrupted_at is None:
                raise
            raise Interrupted from None


def end_whatever_is_left() -> None:
    """Make sure that the program ends within two seconds, even if calls that cannot be cancelled are in progress."""
    _give_up_later(0)


class _Ending:
    def __init__(self, by: Collection[signal.Signals], drain: Callable[[signal.Signals], object] | None) -> None:
        self.code = 0
        self._by = by
        self._drain = drain
        self._watchdog: threading.Timer | None = None
        self._threads = {*threading.enumerate()}

    def is_over(self) -> None:
        if self._watchdog is not None:
            # Since Python 3.13, a loop that is cancelled while it shuts down does not wait for its threads. The interpreter
            # would wait for them without a time limit; here the watchdog limits it.
            for thread in {*threading.enumerate()} - self._threads:
                if not thread.daemon:
                    thread.join()
            self._watchdog.cancel()

    async def watch(self, work: Coroutine[Any, Any, T]) -> T:
        with self._handling(asyncio.get_running_loop(), asyncio.current_task()):
            return await work

    def _handling(self, loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any] | None) -> AbstractContextManager[None]:
        def end(number: int, _frame: FrameType | None) -> None:
            if self._drain is not None:
                drain, self._drain = self._drain, None
                loop.call_soon_threadsafe(drain, signal.Signals(number))
                return
            # Restore the default handler for the next signal.
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
            self.code = 128 + number
            self._watchdog = _give_up_later(self.code)
            loop.call_soon_threadsafe(_cancel, loop, [task], asyncio.all_tasks)

        # A no-op handler instead of `SIG_IGN`, which child processes would inherit.
        return _handled({number: end if number in self._by else lambda *_: None for number in _SIGNALS})


@contextmanager
def _handled(handlers: Mapping[signal.Signals, Callable[[int, FrameType | None], None]]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread can handle signals
        return
    # Not the event loop's handlers: they do not run while a model is being loaded in the loop's thread.
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _cancel(
    loop: asyncio.AbstractEventLoop,
    tasks: Iterable[asyncio.Task[Any] | None],
    left: Callable[[], Collection[asyncio.Task[Any]]],
) -> None:
    """Cancel tasks repeatedly until they end: before Python 3.12, `asyncio.wait_for` may swallow a cancellation."""
    for task in tasks:
        if task is not None:
            task.cancel()
    loop.call_later(_SECONDS_BETWEEN, lambda: _cancel_left(loop, left))


def _cancel_left(loop: asyncio.AbstractEventLoop, left: Callable[[], Collection[asyncio.Task[Any]]]) -> None:
    if tasks := left():
        _cancel(loop, tasks, left)


def _give_up_later(code: int) -> threading.Timer:
    """Start a timer that ends the program even if calls cannot be cancelled, such as those of synchronous clients."""
    watchdog = threading.Timer(_SECONDS_AT_MOST, _give_up, args=(code,))
    watchdog.daemon = True
    watchdog.start()
    return watchdog


def _give_up(code: int) -> None:
    if is_terminal(sys.stderr):
        sys.stderr.write(_SHOW_CURSOR)
        sys.stderr.flush()
    os._exit(code)
