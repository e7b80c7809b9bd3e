"""Limits in time: how long a call may take, which may become less while the call is under way."""

from __future__ import annotations

import asyncio
import math
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from langchain_moa.data.errors import OutOfTimeError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

T = TypeVar("T")


class Limit:
    """A point in time that a call must not outlast; others may bring it forward.

    Attributes:
        at: The point, on the clock of `time.monotonic`.
        kind: What set it: `timeout`, `quorum`, `deadline` or `decided`.
        why: The same in words.
        has_begun: Whether the call has been made.
    """

    __slots__ = ("_changed", "_others", "_timeout", "at", "has_begun", "kind", "why")

    def __init__(self, at: float = math.inf, kind: str = "", why: str = "", *, timeout: float | None = None) -> None:
        """Make a limit; without arguments, one that never comes.

        Args:
            at: The point.
            kind: What set it.
            why: The same in words.
            timeout: Seconds that the call has once it is made, which `begin` says.
        """
        self.at = at
        self.kind = kind
        self.why = why
        self.has_begun = False
        self._changed: Callable[[], object] | None = None
        self._timeout = timeout
        # What would set the limit without the call's own seconds.
        self._others = (at, kind, why)

    def begin(self) -> None:
        """Say that the call is being made: its own seconds count from the first time on, not while it waits for its turn.

        Raises:
            OutOfTimeError: The time was over before; the call must not be made.
        """
        self.check()
        self.has_begun = True
        if (seconds := self._timeout) is not None:
            self._timeout = None
            why = f"no answer within {seconds:g} s (proposer_timeout)"
            self.bring_forward(monotonic() + seconds, "timeout", why)

    def left(self) -> float:
        """Return the seconds that are left, less than 0 when the time is over."""
        return self.at - monotonic()

    def bring_forward(self, at: float, kind: str, why: str) -> None:
        """Set an earlier point; a later one changes nothing."""
        if kind != "timeout" and at < self._others[0]:
            self._others = (at, kind, why)
        if at < self.at:
            self._set(at, kind, why)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let the call's own seconds not pass; all other limits go on."""
        if self.kind != "timeout":
            yield
            return
        left, why = self.left(), self.why
        self._set(*self._others)
        try:
            yield
        finally:
            self.bring_forward(monotonic() + left, "timeout", why)

    def _set(self, at: float, kind: str, why: str) -> None:
        self.at, self.kind, self.why = at, kind, why
        if (changed := self._changed) is not None:
            changed()

    @contextmanager
    def telling(self, changed: Callable[[], object]) -> Iterator[None]:
        """Call something when it is brought forward; for the one waiter of a call.

        Args:
            changed: What to call.
        """
        self._changed = changed
        try:
            yield
        finally:
            self._changed = None

    def error(self) -> OutOfTimeError:
        """Return the error for a call that has outlasted the limit."""
        return OutOfTimeError(self.kind, self.why, was_sent=self.has_begun)

    def check(self) -> None:
        """Raise if the time is over.

        Raises:
            OutOfTimeError: It is.
        """
        if self.left() <= 0:
            raise self.error()


async def call_within(limit: Limit | None, call: Callable[[], Awaitable[T]]) -> T:
    """Call, and cancel the call when the limit comes: its request is closed at the server.

    Args:
        limit: Until when; `None`: as long as it takes.
        call: What to do.

    Raises:
        OutOfTimeError: The time was over before the call was.
    """
    if limit is None:
        return await call()
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
            with limit.telling(reschedule):
                return await call()
    except Exception as error:
        # Some clients turn their being cancelled into an error of their own.
        if not scope.expired():
            raise
        raise limit.error() from error
