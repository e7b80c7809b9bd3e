"""A thread-safe LRU cache for objects that are costly to create."""

from __future__ import annotations

from collections import OrderedDict
from concurrent.futures import Future
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Shelf(Generic[T]):
    """A thread-safe LRU cache that creates each value once.

    Attributes:
        size: The maximum number of values.
    """

    def __init__(self, *, size: int = 32) -> None:
        """Create an empty cache.

        Args:
            size: The maximum number of values, at least 1. The least recently used value is removed first.
        """
        self.size = size
        self._kept: OrderedDict[str, Future[T]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        """Return the number of values."""
        return len(self._kept)

    def find(self, key: str) -> T | None:
        """Return a value without waiting, or `None` if it does not exist or is not ready."""
        with self._lock:
            future = self._kept.get(key)
            if future is None or not future.done() or future.exception() is not None:
                return None
            self._kept.move_to_end(key)
            return future.result()

    def get(self, key: str, make: Callable[[], T]) -> T:
        """Return a value, and create it if it does not exist. Concurrent callers wait for the same value.

        Args:
            key: The key.
            make: Creates the value. Its error is raised to all waiting callers and not cached.
        """
        with self._lock:
            future = self._kept.get(key)
            is_mine = future is None
            if future is None:
                future = self._kept[key] = Future()
                while len(self._kept) > self.size:
                    self._kept.popitem(last=False)
            else:
                self._kept.move_to_end(key)
        if is_mine:
            self._make(key, future, make)
        return future.result()

    def _make(self, key: str, future: Future[T], make: Callable[[], T]) -> None:
        try:
            made = make()
        except BaseException as error:  # noqa: BLE001  # any error must reach the waiting callers
            with self._lock:
                if self._kept.get(key) is future:
                    del self._kept[key]
            future.set_exception(error)
        else:
            future.set_result(made)
