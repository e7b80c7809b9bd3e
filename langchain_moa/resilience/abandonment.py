"""Abandonment: the caller of a stream has left, and whoever works for them is to stop."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_moa.resilience.deadline import Limit


class Abandonment(threading.Event):
    """An event that also ends the calls under way when it is set."""

    def __init__(self) -> None:
        """Make it, not set."""
        super().__init__()
        self._lock = threading.Lock()
        self._limits: set[Limit] = set()

    @override
    def set(self) -> None:
        """Say that the caller has left."""
        super().set()
        with self._lock:
            for limit in self._limits:
                _end(limit)

    @contextmanager
    def ends(self, limit: Limit) -> Iterator[Limit]:
        """Let a call's limit come at once when the caller leaves.

        Args:
            limit: The limit; it is handed on.
        """
        with self._lock:
            self._limits.add(limit)
            if self.is_set():
                _end(limit)
        try:
            yield limit
        finally:
            with self._lock:
                self._limits.discard(limit)


def _end(limit: Limit) -> None:
    limit.bring_forward(monotonic(), "abandoned", "the caller has left")
