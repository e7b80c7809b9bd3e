"""Abandonment: the caller has left, and whoever works for them is to stop."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakSet

from typing_extensions import override

from langchain_moa.resilience.deadline import Limit, call_within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

_around: ContextVar[Abandonment | None] = ContextVar("around", default=None)


class Abandonment(threading.Event):
    """An event that also ends the calls under way when it is set.

    Attributes:
        is_possible: Whether the caller may leave before the answer is there; if not, nobody need prepare for it.
    """

    def __init__(self, *, is_possible: bool = False) -> None:
        """Make it, not set.

        Args:
            is_possible: Whether the caller may leave before the answer is there.
        """
        super().__init__()
        self.is_possible = is_possible
        self._lock = threading.Lock()
        self._limits: set[Limit] = set()
        self._inside: WeakSet[Abandonment] = WeakSet()

    @classmethod
    def of_call(cls, *, is_possible: bool) -> Abandonment:
        """Return one for a call of a mixture; it is set with that of the mixture around it, if there is one.

        Args:
            is_possible: Whether the call's own caller may leave.
        """
        around = _around.get()
        abandoned = cls(is_possible=is_possible or (around is not None and around.is_possible))
        if around is not None:
            around._add(abandoned)  # noqa: SLF001  # of the same class
        return abandoned

    @override
    def set(self) -> None:
        """Say that the caller has left."""
        super().set()
        with self._lock:
            limits, inside = [*self._limits], [*self._inside]
        for limit in limits:
            _end(limit)
        for each in inside:
            each.set()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Let the mixtures that are called inside be abandoned with this one."""
        token = _around.set(self)
        try:
            yield
        finally:
            _around.reset(token)

    def call(self, limit: Limit | None, call: Callable[[Limit | None], T]) -> T:
        """Call, and wait no longer than the limit allows, nor longer than the caller does.

        Args:
            limit: Until when. Default: as long as it takes.
            call: What to do, and until when, if there is an end to it.

        Raises:
            OutOfTimeError: The time was over, or the caller had left, before the call was done.
        """
        if not self.is_possible:
            return call(None) if limit is None else call_within(limit, lambda: call(limit))
        with self.ends(limit or Limit()) as ending:
            return call_within(ending, lambda: call(ending))

    @contextmanager
    def ends(self, limit: Limit) -> Iterator[Limit]:
        """Let a call's limit come at once when the caller leaves.

        Args:
            limit: The limit; it is handed on.
        """
        with self._lock:
            self._limits.add(limit)
        # Whoever sets it now finds the limit; if it was set before, this does.
        if self.is_set():
            _end(limit)
        try:
            yield limit
        finally:
            with self._lock:
                self._limits.discard(limit)

    def _add(self, other: Abandonment) -> None:
        with self._lock:
            self._inside.add(other)
        if self.is_set():
            other.set()


def _end(limit: Limit) -> None:
    limit.bring_forward(monotonic(), "abandoned", "the caller has left")
