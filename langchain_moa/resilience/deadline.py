"""Limits in time: how long a call may take, which may become less while the call is under way."""

from __future__ import annotations

import asyncio
import math
import threading
from concurrent.futures import Future
from contextvars import copy_context
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


class OutOfTimeError(TimeoutError):
    """A call was given up because its time was over.

    Attributes:
        kind: What set the limit: `timeout`, `quorum` or `deadline`.
    """

    def __init__(self, kind: str, message: str) -> None:
        """Make the error.

        Args:
            kind: What set the limit.
            message: The same in words.
        """
        super().__init__(message)
        self.kind = kind


class Limit:
    """A point in time that a call must not outlast; others may bring it forward.

    Attributes:
        at: The point, on the clock of `time.monotonic`.
        kind: What set it: `timeout`, `quorum` or `deadline`.
        why: The same in words.
        changed: Called when it has been brought forward.
    """

    __slots__ = ("at", "changed", "kind", "why")

    def __init__(self, at: float = math.inf, kind: str = "", why: str = "") -> None:
        """Make a limit; without arguments, one that never comes."""
        self.at = at
        self.kind = kind
        self.why = why
        self.changed: Callable[[], object] = _nothing

    def left(self) -> float:
        """Return the seconds that are left, less than 0 when the time is over."""
        return self.at - monotonic()

    def bring_forward(self, at: float, kind: str, why: str) -> None:
        """Set an earlier point; a later one changes nothing."""
        if at < self.at:
            self.at, self.kind, self.why = at, kind, why
            self.changed()

    def error(self) -> OutOfTimeError:
        """Return the error for a call that has outlasted the limit."""
        return OutOfTimeError(self.kind, self.why)

    def check(self) -> None:
        """Raise if the time is over.

        Raises:
            OutOfTimeError: It is.
        """
        if self.left() <= 0:
            raise self.error()


def call_within(limit: Limit, call: Callable[[], T]) -> T:
    """Call, and wait no longer than the limit allows.

    Sync code cannot be stopped from outside. What outlasts the limit is left to a daemon thread, which ends when its client
    gives up and keeps no program from ending; a thread of an executor would be waited for.

    Args:
        limit: Until when.
        call: What to do; it runs in a thread of its own, in a copy of the context.

    Raises:
        OutOfTimeError: The time was over before the call was.
    """
    limit.check()
    outcome: Future[T] = Future()
    wakes: SimpleQueue[object] = SimpleQueue()
    outcome.add_done_callback(wakes.put)
    limit.changed = lambda: wakes.put(None)

    def work() -> None:
        try:
            outcome.set_result(call())
        except BaseException as error:  # noqa: BLE001  # it is raised where the outcome is read
            outcome.set_exception(error)

    threading.Thread(target=copy_context().run, args=(work,), name="moa-call", daemon=True).start()
    try:
        while not outcome.done() and (left := limit.left()) > 0:
            _wait(wakes, left)
    finally:
        limit.changed = _nothing
    if not outcome.done():
        raise limit.error()
    return outcome.result()


async def acall_within(limit: Limit, call: Callable[[], Awaitable[T]]) -> T:
    """Call, and cancel the call when the limit comes: its request is closed at the server.

    Args:
        limit: Until when.
        call: What to do.

    Raises:
        OutOfTimeError: The time was over before the call was.
    """
    limit.check()
    loop = asyncio.get_running_loop()

    def when() -> float | None:
        # The loop's clock need not be ours.
        return None if limit.at == math.inf else loop.time() + limit.left()

    scope = asyncio.timeout_at(when())

    def reschedule() -> None:
        if not scope.expired():
            scope.reschedule(when())

    try:
        async with scope:
            limit.changed = reschedule
            try:
                return await call()
            finally:
                limit.changed = _nothing
    except Exception as error:
        # Some clients turn their being cancelled into an error of their own.
        if not scope.expired():
            raise
        raise limit.error() from error


def _wait(wakes: SimpleQueue[object], seconds: float) -> None:
    try:
        wakes.get(timeout=min(seconds, threading.TIMEOUT_MAX))
    except Empty:
        return


def _nothing() -> None:
    return None
