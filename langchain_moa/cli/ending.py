"""Ending a run at Ctrl-C or SIGTERM: at once, whatever the clients of the models are doing."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from langchain_moa.cli.console import is_terminal

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from types import FrameType
    from typing import Any, TypeVar

    T = TypeVar("T")

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_SECONDS_BETWEEN = 0.1
_SECONDS_AT_MOST = 2.0

_SHOW_CURSOR = "\x1b[?25h"


def run_until_signalled(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine as `asyncio.run` does, and cancel it when a signal asks for it.

    Args:
        work: What to run.

    Raises:
        typer.Exit: A signal came; the code is 128 and its number, as shells have it.
    """
    ending = _Ending()
    try:
        return asyncio.run(ending.watch(work))
    except asyncio.CancelledError:
        raise typer.Exit(ending.code) from None
    finally:
        ending.is_over()


class _Ending:
    def __init__(self) -> None:
        self.code = 0
        self._watchdog: threading.Timer | None = None

    def is_over(self) -> None:
        if self._watchdog is not None:
            self._watchdog.cancel()

    async def watch(self, work: Coroutine[Any, Any, T]) -> T:
        with self._handling(asyncio.get_running_loop(), asyncio.current_task()):
            return await work

    @contextmanager
    def _handling(self, loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any] | None) -> Iterator[None]:
        def end(number: int, _frame: FrameType | None) -> None:
            # A second signal does what it does in any program.
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
            self.code = 128 + number
            self._give_up_later()
            loop.call_soon_threadsafe(self._cancel, loop, task)

        if threading.current_thread() is not threading.main_thread():
            yield  # signals are the main thread's
            return
        # Not the loop's own handlers: those wait while a model is being loaded in the loop's thread.
        before = {number: signal.signal(number, end) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _cancel(self, loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any] | None) -> None:
        """Cancel the work, and again until it is heard: before Python 3.12 `asyncio.wait_for` may lose a cancellation."""
        for each in [task] if task is not None else asyncio.all_tasks(loop):
            each.cancel()
        loop.call_later(_SECONDS_BETWEEN, self._cancel, loop, None)

    def _give_up_later(self) -> None:
        """End the program even if a call cannot be cancelled, as those of clients that know no async cannot."""
        self._watchdog = threading.Timer(_SECONDS_AT_MOST, _give_up, args=(self.code,))
        self._watchdog.daemon = True
        self._watchdog.start()


def _give_up(code: int) -> None:
    if is_terminal(sys.stderr):
        sys.stderr.write(_SHOW_CURSOR)
        sys.stderr.flush()
    os._exit(code)
