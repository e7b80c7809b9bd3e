"""Abandonment: nobody waits for an answer any more, and whoever works on it is to stop."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic
from typing import TYPE_CHECKING
from weakref import WeakSet

from langchain_moa.resilience.deadline import Limit

if TYPE_CHECKING:
    from collections.abc import Iterator

_around: ContextVar[Abandonment | None] = ContextVar("around", default=None)


class Abandonment:
    """Says whether a run, or a call, is still waited for; and ends what is under way inside when it no longer is.

    Async code is cancelled, and needs no more than that. Sync code cannot be; it is left to its thread. What is inside, a
    mixture's own calls above all, finds in its context that nobody waits, and asks nobody any more.
    """

    def __init__(self) -> None:
        """Make it for what is waited for; inside another one, it is set with that."""
        self._lock = threading.Lock()
        self._is_set = False
        self._limits: set[Limit] = set()
        self._inside: WeakSet[Abandonment] = WeakSet()
        if (around := _around.get()) is not None:
            around._add(self)  # noqa: SLF001  # of this very class

    def is_set(self) -> bool:
        """Tell whether nobody waits any more."""
        return self._is_set

    def set(self) -> None:
        """Say that nobody waits any more."""
        with self._lock:
            self._is_set = True
            limits, inside = [*self._limits], [*self._inside]
        for limit in limits:
            _end(limit)
        for each in inside:
            each.set()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Let what is called inside find it."""
        token = _around.set(self)
        try:
            yield
        finally:
            _around.reset(token)

    @contextmanager
    def ends(self, limit: Limit) -> Iterator[None]:
        """Let a limit come at once when nobody waits any more.

        Args:
            limit: The limit.
        """
        with self._lock:
            self._limits.add(limit)
        # Whoever sets it now finds the limit; if it was set before, this does.
        if self._is_set:
            _end(limit)
        try:
            yield
        finally:
            with self._lock:
                self._limits.discard(limit)

    def _add(self, other: Abandonment) -> None:
        with self._lock:
            self._inside.add(other)
        if self._is_set:
            other.set()


def is_abandoned() -> bool:
    """Tell whether nobody waits any more for what is done here."""
    around = _around.get()
    return around is not None and around.is_set()


@contextmanager
def abandoned_on_error() -> Iterator[None]:
    """Tell whatever sync code is still at work inside to stop, if this is left by an error: a limit that has come, say."""
    inside = Abandonment()
    with inside.entered():
        try:
            yield
        except BaseException:
            inside.set()
            raise


@contextmanager
def given_up(limit: Limit | None) -> Iterator[Limit | None]:
    """Make sync calls that end with their limit, or as soon as nobody waits for them; what is inside then stops, too.

    Args:
        limit: Until when all calls inside may take. Default: as long as they take.

    Returns:
        The limit for the calls; `None` where nothing could end them early.
    """
    around = _around.get()
    if limit is None and around is None:
        yield None
        return
    ending = limit or Limit()
    with abandoned_on_error():
        if around is None:
            yield ending
            return
        with around.ends(ending):
            yield ending


def _end(limit: Limit) -> None:
    limit.bring_forward(monotonic(), "abandoned", "nobody waits for it any more")
