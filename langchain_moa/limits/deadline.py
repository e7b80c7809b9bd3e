"""Time limits of calls. A limit can be brought forward while the call is in progress."""

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
    """A point in time at which a call is cancelled.

    Attributes:
        at: The point in time, on the clock of `time.monotonic`.
        kind: What set the limit: `timeout`, `quorum`, `deadline` or `decided`.
        why: The message of the error.
        has_begun: Whether the call has been made.
    """

    __slots__ = ("_changed", "_others", "_timeout", "at", "has_begun", "kind", "why")

    def __init__(self, at: float = math.inf, kind: str = "", why: str = "", *, timeout: float | None = None) -> None:
        """Make a limit. Default: one that is never reached.

        Args:
            at: The point in time, on the clock of `time.monotonic`.
            kind: What set the limit.
            why: The message of the error.
            timeout: Seconds that the call may take, counted from `begin`.
        """
        self.at = at
        self.kind = kind
        self.why = why
        self.has_begun = False
        self._changed: Callable[[], object] | None = None
        self._timeout = timeout
        # The limit without the timeout.
        self._others = (at, kind, why)

    def begin(self) -> None:
        """Start the timeout: the call has stopped waiting for its turn and is being made. Only the first `begin` counts.

        Raises:
            OutOfTimeError: The limit has already passed, so the call must not be made.
        """
        self.check()
        self.has_begun = True
        if (seconds := self._timeout) is not None:
            self._timeout = None
            why = f"no answer within {seconds:g} s (proposer_timeout)"
            self.bring_forward(monotonic() + seconds, "timeout", why)

    def left(self) -> float:
        """Return the remaining seconds; negative after the limit."""
        return self.at - monotonic()

    def bring_forward(self, at: float, kind: str, why: str) -> None:
        """Move the limit to an earlier point in time. A later one has no effect."""
        if kind != "timeout" and at < self._others[0]:
            self._others = (at, kind, why)
        if at < self.at:
            self._set(at, kind, why)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the clock of the timeout inside the context. Other limits are not affected."""
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
        """Within the context, call a function whenever the limit is brought forward. Only one function can be set.

        Args:
            changed: The function.
        """
        self._changed = changed
        try:
            yield
        finally:
            self._changed = None

    def error(self) -> OutOfTimeError:
        """Return the error for a call that exceeded the limit."""
        return OutOfTimeError(self.kind, self.why, was_sent=self.has_begun)

    def check(self) -> None:
        """Raise an error if the limit has passed.

        Raises:
            OutOfTimeError: The limit has passed.
        """
        if self.left() <= 0:
            raise self.error()


async def call_within(limit: Limit | None, call: Callable[[], Awaitable[T]]) -> T:
    """Make a call and cancel it at its time limit, which also closes its HTTP request.

    Args:
        limit: Time limit of the call, or `None`.
        call: Makes the call.

    Raises:
        OutOfTimeError: The call exceeded its limit.
    """
    if limit is None:
        return await call()
    limit.check()
    loop = asyncio.get_running_loop()

    def when() -> float | None:
        # The event loop's clock may differ from `time.monotonic`.
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
        # Some clients raise their own error when they are cancelled.
        if not scope.expired():
            raise
        raise limit.error() from error
